//! One document: get, write, update, delete; and `_mget`.

use std::sync::Arc;

use access::IndexPrivilege;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use ciborium::Value as Cbor;
use http::{HeaderMap, StatusCode, header};
use query::SourceFilter;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::{Document, Outcome, WriteResult, Written};

use crate::aliases::Aliases;
use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::{Media, Payload};
use crate::write::{Body, External, Kind, Targets, Write, prepare, refresh_of};
use crate::{answer, closing, dated_names, names, search};

const WRITE_PARAMETERS: &[&str] = &[
    "if_primary_term",
    "if_seq_no",
    "include_source_on_error",
    "op_type",
    "pipeline",
    "refresh",
    "require_alias",
    "require_data_stream",
    "retry_on_conflict",
    "routing",
    "timeout",
    "version",
    "version_type",
    "wait_for_active_shards",
];
/// Of updates alone.
const UPDATE_PARAMETERS: &[&str] = &["_source", "_source_excludes", "_source_includes", "detect_noop", "lang"];
pub(crate) const READ_PARAMETERS: &[&str] = &[
    "_source",
    "_source_excludes",
    "_source_includes",
    "preference",
    "realtime",
    "refresh",
    "routing",
    "stored_fields",
    "version",
    "version_type",
];

/// `PUT|POST /{index}/_doc/{id}`.
pub(crate) async fn index(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((index, id)): Path<(String, String)>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let kind = match params.text("op_type") {
        Some("create") => Kind::Create,
        None | Some("index") => Kind::Index,
        Some(other) => {
            return Err(ApiError::illegal(format!(
                "opType must be 'create' or 'index', found: [{other}]"
            )));
        }
    };
    write(&api, &caller, kind, index, Some(id), params, Some(payload)).await
}

/// `POST /{index}/_doc`: the store makes the id.
pub(crate) async fn append(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    write(&api, &caller, Kind::Create, index, None, params, Some(payload)).await
}

/// `PUT|POST /{index}/_create/{id}`.
pub(crate) async fn create(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((index, id)): Path<(String, String)>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    write(&api, &caller, Kind::Create, index, Some(id), params, Some(payload)).await
}

/// `POST /{index}/_update/{id}`.
pub(crate) async fn update(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((index, id)): Path<(String, String)>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    write(&api, &caller, Kind::Update, index, Some(id), params, Some(payload)).await
}

/// `DELETE /{index}/_doc/{id}`.
pub(crate) async fn delete(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((index, id)): Path<(String, String)>,
    params: Params,
) -> Result<Response, ApiError> {
    write(&api, &caller, Kind::Delete, index, Some(id), params, None).await
}

async fn write(
    api: &ElasticsearchApi,
    caller: &Caller,
    kind: Kind,
    index: String,
    id: Option<String>,
    params: Params,
    payload: Option<Payload>,
) -> Result<Response, ApiError> {
    let params = if kind == Kind::Update {
        params.only(&[WRITE_PARAMETERS, UPDATE_PARAMETERS].concat())?
    } else {
        params.only(WRITE_PARAMETERS)?
    };
    let refresh = refresh_of(&params)?;
    let body = match (kind, payload) {
        (Kind::Delete, _) | (_, None) => Body::None,
        (Kind::Update, Some(payload)) => Body::Update(payload.bytes.clone()),
        (_, Some(payload)) => Body::Source(source_of(&payload)?),
    };
    let expected = match (params.number("if_seq_no")?, params.number("if_primary_term")?) {
        (None, None) => None,
        (Some(seq_no), Some(term)) => Some((seq_no, term)),
        _ => {
            return Err(ApiError::validation("ifSeqNo is set, but primary term is [0]"));
        }
    };
    let write = Write {
        kind,
        index: index.clone(),
        id: id.clone(),
        pipeline: params.text("pipeline").map(str::to_owned),
        require_data_stream: params.flag("require_data_stream")?,
        require_alias: params.flag("require_alias")?,
        expected,
        version: External::parse(kind, params.text("version"), params.text("version_type"))?,
        body,
    };
    let targets = Targets::resolve(api, caller, std::iter::once((index.as_str(), kind))).await?;
    let Some(operation) = prepare(write, &targets).map_err(|refused| refused.0)? else {
        return Ok(answer::json(&json!({ "_index": index, "_id": id, "result": "noop" })));
    };
    match api.store.bulk(vec![operation], refresh).await?.pop() {
        Some(Outcome::Done(written)) => {
            let forced = matches!(params.text("refresh"), Some("" | "true"));
            let source = if kind == Kind::Update {
                source_wanted(&params)
            } else {
                SourceFilter::None
            };
            written_answer(api, &written, forced, &source).await
        }
        Some(Outcome::Rejected(rejection)) => Err(rejection.into()),
        None => Err(ApiError::too_busy("the store did not answer for this document")),
    }
}

/// The document's JSON text; CBOR is turned into it, its bytes into base64.
fn source_of(payload: &Payload) -> Result<Bytes, ApiError> {
    if payload.media == Media::Json {
        return if payload.bytes.trim_ascii().is_empty() {
            Err(ApiError::no_body())
        } else {
            Ok(payload.bytes.clone())
        };
    }
    let value: Cbor = ciborium::from_reader(&payload.bytes[..])
        .map_err(|error| ApiError::parsing(format!("the body is not CBOR: {error}")))?;
    let text = serde_json::to_vec(&json_of(value)?).expect("a JSON value can always be written");
    Ok(Bytes::from(text))
}

fn json_of(value: Cbor) -> Result<Value, ApiError> {
    Ok(match value {
        Cbor::Integer(number) => {
            let wide = i128::from(number);
            match (u64::try_from(wide), i64::try_from(wide)) {
                (Ok(number), _) => json!(number),
                (_, Ok(number)) => json!(number),
                _ => return Err(ApiError::parsing(format!("the CBOR integer {wide} is out of range"))),
            }
        }
        Cbor::Bytes(bytes) => Value::String(BASE64_STANDARD.encode(bytes)),
        Cbor::Float(number) => json!(number),
        Cbor::Text(text) => Value::String(text),
        Cbor::Bool(flag) => Value::Bool(flag),
        Cbor::Null => Value::Null,
        Cbor::Tag(_, inner) => json_of(*inner)?,
        Cbor::Array(values) => Value::Array(values.into_iter().map(json_of).collect::<Result<_, _>>()?),
        Cbor::Map(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let Cbor::Text(key) = key else {
                    return Err(ApiError::parsing("a CBOR map has a key that is not a text"));
                };
                map.insert(key, json_of(value)?);
            }
            Value::Object(map)
        }
        _ => {
            return Err(ApiError::parsing(
                "the CBOR body holds a kind of value that is not supported",
            ));
        }
    })
}

/// What of the source an update gives back: nothing, unless it is asked for.
fn source_wanted(params: &Params) -> SourceFilter {
    let asked = ["_source", "_source_includes", "_source_excludes"]
        .iter()
        .any(|name| params.text(name).is_some());
    if asked {
        source_filter(params)
    } else {
        SourceFilter::None
    }
}

async fn written_answer(
    api: &ElasticsearchApi,
    written: &Written,
    forced_refresh: bool,
    source: &SourceFilter,
) -> Result<Response, ApiError> {
    let (result, status) = match written.result {
        WriteResult::Created => ("created", StatusCode::CREATED),
        WriteResult::Updated => ("updated", StatusCode::OK),
        WriteResult::Deleted => ("deleted", StatusCode::OK),
        WriteResult::Noop => ("noop", StatusCode::OK),
        WriteResult::NotFound => ("not_found", StatusCode::NOT_FOUND),
    };
    let shards = u8::from(written.result != WriteResult::Noop);
    let mut body = json!({
        "_index": written.index, "_id": written.id, "_version": written.version, "result": result,
        "_shards": { "total": shards, "successful": shards, "failed": 0 },
        "_seq_no": written.seq_no, "_primary_term": 1,
    });
    if forced_refresh {
        body["forced_refresh"] = json!(true);
    }
    if *source != SourceFilter::None
        && let Some(document) = api.store.get(&written.index, &written.id).await?
    {
        body["get"] = json!({
            "_seq_no": document.seq_no, "_primary_term": 1, "found": true, "_source": filtered(&document, source),
        });
    }
    Ok(answer::with_status(status, &body))
}

/// `GET|HEAD /{index}/_doc/{id}`.
pub(crate) async fn get(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((index, id)): Path<(String, String)>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = params.only(READ_PARAMETERS)?;
    let document = read(&api, &caller, &index, &id).await?;
    let Some(document) = document else {
        let missing = json!({ "_index": index, "_id": id, "found": false });
        return Ok(answer::with_status(StatusCode::NOT_FOUND, &missing));
    };
    if let Some(version) = params.number::<u64>("version")?
        && version != document.version
    {
        let mut error = ApiError::new(
            StatusCode::CONFLICT,
            "version_conflict_engine_exception",
            format!(
                "[{id}]: version conflict, current version [{}] is different than the one provided [{version}]",
                document.version
            ),
        );
        error.details.insert("index".to_owned(), json!(document.index));
        return Err(error);
    }
    if let Some(fields) = params.list("stored_fields") {
        return stored_fields(&document, &fields, &headers);
    }
    Ok(answer::json(&found(&document, &source_filter(&params))))
}

/// `GET|HEAD /{index}/_source/{id}`.
pub(crate) async fn source(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((index, id)): Path<(String, String)>,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(READ_PARAMETERS)?;
    let document = read(&api, &caller, &index, &id).await?;
    let document = document.ok_or_else(|| ApiError::not_found(format!("Document not found [{index}]/[{id}]")))?;
    Ok(answer::json(
        &filtered(&document, &source_filter(&params)).unwrap_or(Value::Null),
    ))
}

pub(crate) async fn read(
    api: &ElasticsearchApi,
    caller: &Caller,
    index: &str,
    id: &str,
) -> Result<Option<Document>, ApiError> {
    let dated = dated_names::resolve(index, api.clock.now())?;
    let index = dated.as_ref();
    names::check(index)?;
    let aliases = Aliases::current(api).await?;
    let read = aliases.read_index(index)?;
    if !caller.0.may_index(&read, IndexPrivilege::Read) {
        caller.needs_index(index, IndexPrivilege::Read, "indices:data/read/get")?;
    }
    let index = read.as_str();
    if aliases.is_closed(index) {
        return Err(closing::is_closed(index));
    }
    let document = api.store.get(index, id).await?;
    if document.is_none() && !names::exists(api, index).await? {
        return Err(ApiError::no_such_index(index));
    }
    Ok(document)
}

/// The document as it stands below `get` of another answer.
pub(crate) fn found_part(document: &Document, params: &Params) -> Value {
    json!({
        "_seq_no": document.seq_no, "_primary_term": 1, "found": true,
        "_source": filtered(document, &source_filter(params)),
    })
}

fn found(document: &Document, filter: &SourceFilter) -> Value {
    let mut found = json!({
        "_index": document.index, "_id": document.id, "_version": document.version,
        "_seq_no": document.seq_no, "_primary_term": 1, "found": true,
    });
    if let (Some(source), Some(map)) = (filtered(document, filter), found.as_object_mut()) {
        map.insert("_source".to_owned(), source);
    }
    found
}

fn filtered(document: &Document, filter: &SourceFilter) -> Option<Value> {
    filter.apply(document.source.to_value())
}

/// `_source`, `_source_includes`, `_source_excludes`.
fn source_filter(params: &Params) -> SourceFilter {
    let includes = params.list("_source_includes").unwrap_or_default();
    let excludes = params.list("_source_excludes").unwrap_or_default();
    match params.text("_source") {
        None | Some("" | "true") if includes.is_empty() && excludes.is_empty() => SourceFilter::All,
        None | Some("" | "true") => SourceFilter::Some { includes, excludes },
        Some("false") => SourceFilter::None,
        Some(_) => {
            let named = params.list("_source").unwrap_or_default();
            SourceFilter::Some {
                includes: [named, includes].concat(),
                excludes,
            }
        }
    }
}

/// The bytes of a file's chunk, as Fleet Server reads them; in CBOR when that is accepted.
fn stored_fields(document: &Document, fields: &[String], headers: &HeaderMap) -> Result<Response, ApiError> {
    let source = document.source.to_value();
    let wants_cbor = headers
        .get(header::ACCEPT)
        .is_some_and(|accept| accept.as_bytes().starts_with(b"application/cbor"));
    let values: Vec<_> = fields
        .iter()
        .filter_map(|name| Some((name.clone(), source.pointer(&pointer(name))?.clone())))
        .collect();
    if !wants_cbor {
        let fields: Map<String, Value> = values.into_iter().map(|(name, value)| (name, json!([value]))).collect();
        return Ok(answer::json(&json!({
            "_index": document.index, "_id": document.id, "_version": document.version,
            "_seq_no": document.seq_no, "_primary_term": 1, "found": true, "fields": fields,
        })));
    }
    let text = |text: &str| Cbor::Text(text.to_owned());
    let fields = values
        .into_iter()
        .map(|(name, value)| (Cbor::Text(name), Cbor::Array(vec![cbor_of(value)])));
    let body = Cbor::Map(vec![
        (text("_index"), text(&document.index)),
        (text("_id"), text(&document.id)),
        (text("_version"), Cbor::from(document.version)),
        (text("_seq_no"), Cbor::from(document.seq_no)),
        (text("_primary_term"), Cbor::from(1)),
        (text("found"), Cbor::Bool(true)),
        (text("fields"), Cbor::Map(fields.collect())),
    ]);
    let mut bytes = Vec::new();
    ciborium::into_writer(&body, &mut bytes).map_err(|error| ApiError::illegal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/cbor")], bytes).into_response())
}

fn pointer(name: &str) -> String {
    format!("/{}", name.replace('.', "/"))
}

/// Base64 texts become bytes again: that is what a binary field holds.
fn cbor_of(value: Value) -> Cbor {
    match value {
        Value::String(text) => match BASE64_STANDARD.decode(&text) {
            Ok(bytes) => Cbor::Bytes(bytes),
            Err(_) => Cbor::Text(text),
        },
        Value::Bool(flag) => Cbor::Bool(flag),
        Value::Number(number) => number
            .as_i64()
            .map_or_else(|| Cbor::Float(number.as_f64().unwrap_or_default()), Cbor::from),
        _ => Cbor::Null,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mget {
    #[serde(default)]
    docs: Vec<MgetDocument>,
    #[serde(default)]
    ids: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MgetDocument {
    #[serde(rename = "_index")]
    index: Option<String>,
    #[serde(rename = "_id")]
    id: String,
    #[serde(default, rename = "_source")]
    source: Option<Value>,
    #[serde(default, rename = "routing")]
    _routing: Option<Value>,
}

/// `GET|POST /_mget`.
pub(crate) async fn mget(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    multiple(&api, &caller, None, params, payload).await
}

/// `GET|POST /{index}/_mget`.
pub(crate) async fn mget_in(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    multiple(&api, &caller, Some(index), params, payload).await
}

async fn multiple(
    api: &ElasticsearchApi,
    caller: &Caller,
    index: Option<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(READ_PARAMETERS)?;
    let body: Mget = payload.parse()?;
    let ids = body.ids.into_iter().map(|id| MgetDocument {
        index: None,
        id,
        source: None,
        _routing: None,
    });
    let wanted: Vec<_> = body.docs.into_iter().chain(ids).collect();
    if wanted.is_empty() {
        return Err(ApiError::validation("no documents to get"));
    }
    let mut docs = Vec::with_capacity(wanted.len());
    for document in wanted {
        let Some(index) = document.index.clone().or_else(|| index.clone()) else {
            return Err(ApiError::validation(&format!(
                "index is missing for doc {}",
                docs.len()
            )));
        };
        let filter = match &document.source {
            None => source_filter(&params),
            Some(value) => search::source_filter(value)?,
        };
        docs.push(match read(api, caller, &index, &document.id).await {
            Ok(Some(document)) => found(&document, &filter),
            Ok(None) => json!({ "_index": index, "_id": document.id, "found": false }),
            Err(error) => json!({ "_index": index, "_id": document.id, "error": error.body()["error"] }),
        });
    }
    Ok(answer::json(&json!({ "docs": docs })))
}
