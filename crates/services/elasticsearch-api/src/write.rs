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
use store::{Action, Expected, Operation, Refresh, Source, Update};

use crate::aliases::Aliases;
use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::catalog::Catalog;
use crate::error::ApiError;
use crate::params::Params;
use crate::{closing, dated_names, indices, names, pipelines};

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
    pub(crate) require_alias: bool,
    /// `if_seq_no` and `if_primary_term`.
    pub(crate) expected: Option<(u64, u64)>,
    /// `version` and `version_type`.
    pub(crate) version: Option<External>,
    pub(crate) body: Body,
}

/// A version that the client keeps count of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct External {
    version: u64,
    /// `external_gte`: an equal one may be written again.
    or_equal: bool,
}

impl External {
    /// Of `version` and `version_type`, where the write may have them.
    pub(crate) fn parse(
        kind: Kind,
        version: Option<&str>,
        version_type: Option<&str>,
    ) -> Result<Option<Self>, ApiError> {
        let (version_type, or_equal) = match version_type {
            None | Some("internal") if version.is_none() => return Ok(None),
            Some("external" | "external_gt") => ("EXTERNAL", false),
            Some("external_gte") => ("EXTERNAL_GTE", true),
            None | Some("internal") => return Err(internal()),
            Some(other) => {
                return Err(ApiError::illegal(format!("No version type match [{other}]")));
            }
        };
        if kind == Kind::Update {
            return Err(internal());
        }
        if kind == Kind::Create {
            return Err(ApiError::validation(&format!(
                "create operations only support internal versioning. use index instead, not [{version_type}]"
            )));
        }
        let text = version.unwrap_or("-3");
        let number: i64 = text
            .parse()
            .map_err(|_| ApiError::illegal(format!("Failed to parse long parameter [version] with value [{text}]")))?;
        match u64::try_from(number) {
            Ok(version) => Ok(Some(Self { version, or_equal })),
            Err(_) => Err(ApiError::validation(&format!(
                "illegal version value [{number}] for version type [{version_type}]"
            ))),
        }
    }

    fn expected(self) -> Expected {
        Expected::Version {
            new: self.version,
            or_equal: self.or_equal,
        }
    }
}

fn internal() -> ApiError {
    ApiError::validation(
        "internal versioning can not be used for optimistic concurrency control. Please use `if_seq_no` and `if_primary_term` instead",
    )
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
    /// Itself, or the index that writes to the alias go to.
    index: String,
    is_alias: bool,
    exists: bool,
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
        writes: impl Iterator<Item = (&'a str, Kind)>,
    ) -> Result<Self, ApiError> {
        let catalog = api.catalogs.current(&*api.store).await?;
        let mut by_index = HashMap::new();
        for (index, kind) in writes {
            if !by_index.contains_key(index) {
                let target = Target::of(api, caller, &catalog, index).await;
                by_index.insert(index.to_owned(), target);
            }
            // Every write but a delete makes the index for those behind it.
            if let Some(Ok(target)) = by_index.get_mut(index) {
                target.exists |= kind != Kind::Delete;
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
    async fn of(
        api: &ElasticsearchApi,
        caller: &Caller,
        catalog: &Arc<Catalog>,
        index: &str,
    ) -> Result<Self, ApiError> {
        let dated = dated_names::resolve(index, api.clock.now())?;
        let index = dated.as_ref();
        names::check(index)?;
        let principal = &caller.0;
        let aliases = Aliases::of(catalog);
        let written = aliases.write_index(index)?;
        let closed = aliases.is_closed(&written);
        let may = |privilege| principal.may_index(index, privilege) || principal.may_index(&written, privilege);
        let allowed = Kind::ALL.map(|kind| may(kind.privilege()));
        let may_create_it = may(IndexPrivilege::AutoCreate);
        let exists = names::exists(api, &written).await?;
        if allowed.contains(&true) && !may_create_it && !exists {
            return Err(caller.index_refusal(index, IndexPrivilege::AutoCreate, "indices:admin/auto_create"));
        }
        if closed && allowed.contains(&true) {
            return Err(closing::is_closed(&written));
        }
        let target = Self {
            allowed,
            pipeline: catalog.default_pipeline(&written).map(str::to_owned),
            stamped: names::is_agent_data(&written),
            is_alias: written != index,
            exists,
            index: written,
        };
        target.make_for_aliases(api, catalog).await?;
        Ok(target)
    }

    /// An index whose template puts it into aliases is made here: stores know of none.
    async fn make_for_aliases(&self, api: &ElasticsearchApi, catalog: &Catalog) -> Result<(), ApiError> {
        let template = catalog
            .template_for(&self.index)
            .filter(|template| template.get("data_stream").is_none());
        let has_aliases = template.is_some_and(|template| template.pointer("/template/aliases").is_some());
        if !has_aliases || !self.allowed.contains(&true) || self.exists {
            return Ok(());
        }
        match indices::create_with_aliases(api, &self.index, Value::Object(Map::new())).await {
            Err(error) if error.kind == "resource_already_exists_exception" => Ok(()),
            done => done,
        }
    }
}

/// Checks one write and turns it into an operation; `None` when a pipeline drops the document.
pub(crate) fn prepare(write: Write, targets: &Targets) -> Result<Option<Operation>, Refused> {
    let target = targets.of(&write.index)?;
    if write.require_alias && !target.is_alias {
        return Err(Refused(not_an_alias(&write.index)));
    }
    if !target.allowed[write.kind as usize] {
        let refusal = targets
            .caller
            .index_refusal(&write.index, write.kind.privilege(), "indices:data/write/bulk[s]");
        return Err(Refused(refusal));
    }
    check_id(write.id.as_deref())?;
    if write.kind == Kind::Delete && !target.exists {
        // A delete makes no index.
        return Err(Refused(ApiError::no_such_index(&write.index)));
    }
    let expected = match (write.expected, write.version) {
        (None, None) => None,
        (None, Some(version)) => Some(version.expected()),
        (Some((seq_no, 1)), None) => Some(Expected::SeqNo(seq_no)),
        (Some((_, term)), None) => return Err(Refused(wrong_term(&write, term))),
        (Some(_), Some(_)) => {
            let error = ApiError::validation("compare and write operations can not use versioning");
            return Err(Refused(error));
        }
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
            let Some(source) = document(&target.index, id, text, pipeline, target.stamped, targets)? else {
                return Ok(None);
            };
            match write.kind {
                Kind::Index => Action::Index { source, expected },
                _ => Action::Create(source),
            }
        }
    };
    Ok(Some(Operation {
        index: target.index.clone(),
        id: write.id,
        require_data_stream: write.require_data_stream,
        action,
    }))
}

fn not_an_alias(index: &str) -> ApiError {
    let mut error = ApiError::no_such_index(index);
    error.reason =
        format!("no such index [{index}] and [require_alias] request flag is [true] and [{index}] is not an alias");
    error
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
    let known = targets.catalog.pipelines();
    let done = known
        .run(name, document, targets.now)
        .map_err(|error| pipelines::failed(&error))?;
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
    script: Option<Value>,
    #[serde(default, rename = "detect_noop")]
    _detect_noop: Option<bool>,
    #[serde(default, rename = "scripted_upsert")]
    _scripted_upsert: Option<bool>,
    #[serde(default, rename = "_source")]
    _source: Option<Value>,
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
        (None, Some(script)) => match serde_json::from_value::<Script>(script) {
            Ok(script) if body.upsert.is_none() && !script.params.is_empty() => Ok(Update::Script(script.params)),
            _ => Err(ApiError::illegal(
                "failed to execute script: only the update scripts of a Fleet Server are known here; use [doc] or [upsert]",
            )),
        },
        (Some(_), Some(_)) => Err(ApiError::validation("can't provide both script and doc")),
        (None, None) => Err(ApiError::validation("script or doc is missing")),
    }
}
