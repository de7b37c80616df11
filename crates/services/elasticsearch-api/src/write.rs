//! One write, of `_bulk` or of a document call: may the caller, which pipeline, which stamp; then an operation of the store.

use std::collections::HashMap;
use std::sync::Arc;

use access::IndexPrivilege;
use bytes::Bytes;
use http::StatusCode;
use ingest::stamp::{self, AgentIdStatus};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use store::{Action, Operation, Refresh, Source, Update};

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::catalog::Catalog;
use crate::error::ApiError;
use crate::names;
use crate::params::Params;

/// Longer ids are refused, as in the original.
const LONGEST_ID: usize = 512;

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Create,
    Index,
    Update,
    Delete,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Create, Self::Index, Self::Update, Self::Delete];

    /// The action's name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Index => "index",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    fn privilege(self) -> IndexPrivilege {
        match self {
            Self::Create => IndexPrivilege::CreateDocument,
            Self::Index => IndexPrivilege::IndexDocument,
            Self::Update => IndexPrivilege::Update,
            Self::Delete => IndexPrivilege::Delete,
        }
    }
}

/// A write as the client asked for it.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) kind: Kind,
    pub(crate) index: String,
    pub(crate) id: Option<String>,
    pub(crate) pipeline: Option<String>,
    pub(crate) require_data_stream: bool,
    /// `if_seq_no` and `if_primary_term`.
    pub(crate) expected: Option<(u64, u64)>,
    pub(crate) body: Body,
}

/// The second line of the write.
#[derive(Debug)]
pub(crate) enum Body {
    None,
    /// A document.
    Source(Bytes),
    /// `doc`, `script`, `upsert`.
    Update(Bytes),
}

/// A write that is refused before the store sees it.
pub(crate) struct Refused(pub(crate) ApiError);

impl<E: Into<ApiError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// `refresh=true|wait_for|false`.
pub(crate) fn refresh_of(params: &Params) -> Result<Refresh, ApiError> {
    match params.text("refresh") {
        None | Some("false") => Ok(Refresh::Soon),
        Some("" | "true" | "wait_for") => Ok(Refresh::WaitFor),
        Some(other) => Err(ApiError::illegal(format!("Unknown value for refresh: [{other}]."))),
    }
}

/// What holds for all writes of a request, and for those into each index.
pub(crate) struct Targets {
    caller: Caller,
    catalog: Arc<Catalog>,
    by_index: HashMap<String, Result<Target, ApiError>>,
    /// `event.ingested`.
    ingested: String,
    now: jiff::Timestamp,
}

/// An index that is written to.
struct Target {
    allowed: [bool; 4],
    /// Its pipeline when the write names none.
    pipeline: Option<String>,
    /// Documents get the final stamp.
    stamped: bool,
}

impl Targets {
    /// Looks at each index once, however many documents go into it.
    pub(crate) async fn resolve<'a>(
        api: &ElasticsearchApi,
        caller: &Caller,
        indices: impl Iterator<Item = &'a str>,
    ) -> Result<Self, ApiError> {
        let catalog = api.catalogs.current(&*api.store).await?;
        let mut by_index = HashMap::new();
        for index in indices {
            if !by_index.contains_key(index) {
                let target = Target::of(api, caller, &catalog, index).await;
                by_index.insert(index.to_owned(), target);
            }
        }
        let now = api.clock.now();
        Ok(Self {
            caller: caller.clone(),
            catalog,
            by_index,
            ingested: clock::rfc3339_seconds(now),
            now,
        })
    }

    fn of(&self, index: &str) -> Result<&Target, ApiError> {
        match self.by_index.get(index) {
            Some(Ok(target)) => Ok(target),
            Some(Err(error)) => Err(error.clone()),
            None => Err(ApiError::no_such_index(index)),
        }
    }

    fn vouched_for(&self) -> Option<&str> {
        self.caller.0.verified_agent_id()
    }
}

impl Target {
    async fn of(api: &ElasticsearchApi, caller: &Caller, catalog: &Catalog, index: &str) -> Result<Self, ApiError> {
        names::check(index)?;
        let principal = &caller.0;
        let allowed = Kind::ALL.map(|kind| principal.may_index(index, kind.privilege()));
        let may_create_it = principal.may_index(index, IndexPrivilege::AutoCreate);
        if allowed.contains(&true) && !may_create_it && !names::exists(api, index).await? {
            return Err(caller.index_refusal(index, IndexPrivilege::AutoCreate, "indices:admin/auto_create"));
        }
        Ok(Self {
            allowed,
            pipeline: catalog.default_pipeline(index).map(str::to_owned),
            stamped: names::is_agent_data(index),
        })
    }
}

/// Checks one write and turns it into an operation; `None` when a pipeline drops the document.
pub(crate) fn prepare(write: Write, targets: &Targets) -> Result<Option<Operation>, Refused> {
    let target = targets.of(&write.index)?;
    if !target.allowed[write.kind as usize] {
        let refusal = targets
            .caller
            .index_refusal(&write.index, write.kind.privilege(), "indices:data/write/bulk[s]");
        return Err(Refused(refusal));
    }
    check_id(write.id.as_deref())?;
    let expected = match write.expected {
        None => None,
        Some((seq_no, 1)) => Some(seq_no),
        Some((_, term)) => return Err(Refused(wrong_term(&write, term))),
    };
    let action = match write.body {
        Body::None => Action::Delete { expected },
        Body::Update(text) => Action::Update {
            update: update(&text)?,
            expected,
        },
        Body::Source(text) => {
            let pipeline = write
                .pipeline
                .as_deref()
                .or(target.pipeline.as_deref())
                .filter(|name| *name != "_none");
            let id = write.id.as_deref();
            let Some(source) = document(&write.index, id, text, pipeline, target.stamped, targets)? else {
                return Ok(None);
            };
            match write.kind {
                Kind::Index => Action::Index { source, expected },
                _ => Action::Create(source),
            }
        }
    };
    Ok(Some(Operation {
        index: write.index,
        id: write.id,
        require_data_stream: write.require_data_stream,
        action,
    }))
}

fn check_id(id: Option<&str>) -> Result<(), ApiError> {
    match id {
        Some("") => Err(ApiError::illegal("if _id is specified it must not be empty")),
        Some(id) if id.len() > LONGEST_ID => Err(ApiError::illegal(format!(
            "id [{id}] is too long, must be no longer than {LONGEST_ID} bytes but was: {}",
            id.len()
        ))),
        _ => Ok(()),
    }
}

fn wrong_term(write: &Write, term: u64) -> ApiError {
    let id = write.id.as_deref().unwrap_or_default();
    ApiError::new(
        StatusCode::CONFLICT,
        "version_conflict_engine_exception",
        format!("[{id}]: version conflict, required primary term [{term}], the current primary term is [1]"),
    )
}

/// The document as it is kept; `None` when a pipeline drops it.
fn document(
    index: &str,
    id: Option<&str>,
    text: Bytes,
    pipeline: Option<&str>,
    stamped: bool,
    targets: &Targets,
) -> Result<Option<Source>, ApiError> {
    let text = match pipeline {
        None => text,
        Some(name) => match through_pipeline(index, id, &text, name, targets)? {
            Some(text) => text,
            None => return Ok(None),
        },
    };
    if stamped {
        stamp_document(&text, targets).map(Some)
    } else {
        check_object(text).map(Some)
    }
}

fn stamp_document(text: &Bytes, targets: &Targets) -> Result<Source, ApiError> {
    let outline = std::str::from_utf8(text)
        .map_err(|_| unparsable("it is not UTF-8"))
        .and_then(|text| stamp::outline(text).map_err(|error| unparsable(&error.to_string())))?;
    let status: AgentIdStatus = outline.agent_id_status(targets.vouched_for());
    let stamped = outline
        .stamped(&targets.ingested, status)
        .map_err(|error| unparsable(&error.to_string()))?;
    Ok(Source::from_checked(Bytes::from(stamped)))
}

fn check_object(text: Bytes) -> Result<Source, ApiError> {
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(unparsable("it is not a JSON object"));
    }
    serde_json::from_slice::<IgnoredAny>(&text).map_err(|error| unparsable(&error.to_string()))?;
    if std::str::from_utf8(&text).is_err() {
        return Err(unparsable("it is not UTF-8"));
    }
    Ok(Source::from_checked(text))
}

fn unparsable(why: &str) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "document_parsing_exception",
        format!("failed to parse: {why}"),
    )
}

fn through_pipeline(
    index: &str,
    id: Option<&str>,
    text: &[u8],
    name: &str,
    targets: &Targets,
) -> Result<Option<Bytes>, ApiError> {
    let source: Map<String, Value> = serde_json::from_slice(text).map_err(|error| unparsable(&error.to_string()))?;
    let document = ingest::Document {
        index: index.to_owned(),
        id: id.map(str::to_owned),
        source,
    };
    let pipelines = targets.catalog.pipelines();
    let done = pipelines
        .run(name, document, targets.now)
        .map_err(|error| ApiError::illegal(error.to_string()))?;
    let Some(document) = done else { return Ok(None) };
    if document.index != index {
        return Err(ApiError::illegal(format!(
            "pipeline [{name}] changed the index from [{index}] to [{}], which is not supported",
            document.index
        )));
    }
    let text = serde_json::to_vec(&document.source).map_err(|error| unparsable(&error.to_string()))?;
    Ok(Some(Bytes::from(text)))
}

/// The body of an update.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    #[serde(default)]
    doc: Option<Map<String, Value>>,
    #[serde(default)]
    doc_as_upsert: bool,
    #[serde(default)]
    upsert: Option<Map<String, Value>>,
    #[serde(default)]
    script: Option<Script>,
    #[serde(default, rename = "detect_noop")]
    _detect_noop: Option<bool>,
}

/// A script: only its parameters are looked at, `source` is never run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Script {
    #[serde(default)]
    pub(crate) params: Map<String, Value>,
    #[serde(default, rename = "source")]
    _source: Option<String>,
    #[serde(default, rename = "lang")]
    _lang: Option<String>,
}

pub(crate) fn update(text: &[u8]) -> Result<Update, ApiError> {
    let body: UpdateBody = serde_json::from_slice(text)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "x_content_parse_exception", error.to_string()))?;
    match (body.doc, body.script) {
        (Some(partial), None) => {
            let upsert = if body.doc_as_upsert {
                Some(partial.clone())
            } else {
                body.upsert
            };
            Ok(Update::Merge { partial, upsert })
        }
        (None, Some(script)) if body.upsert.is_none() => Ok(Update::Script(script.params)),
        (None, Some(_)) => Err(ApiError::illegal("[upsert] beside [script] is not supported")),
        (Some(_), Some(_)) => Err(ApiError::illegal(
            "Validation Failed: 1: can't provide both script and doc;",
        )),
        (None, None) => Err(ApiError::illegal("Validation Failed: 1: script or doc is missing;")),
    }
}
