//! Indices and data streams: create, delete, refresh, mappings, what exists.

use std::sync::Arc;

use access::{ClusterPrivilege, IndexPrivilege};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::names::Options;
use crate::params::Params;
use crate::payload::Payload;
use crate::{answer, names};

const TUNING: &[&str] = &[
    "allow_no_indices",
    "expand_wildcards",
    "features",
    "flat_settings",
    "force",
    "ignore_unavailable",
    "include_defaults",
    "local",
    "master_timeout",
    "timeout",
    "verbose",
    "wait_for_active_shards",
    "write_index_only",
];

/// `PUT /{index}`.
pub(crate) async fn create(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(TUNING)?;
    names::check(&index)?;
    caller.needs_index(&index, IndexPrivilege::Create, "indices:admin/create")?;
    let body = payload.json()?.unwrap_or_else(|| json!({}));
    for key in body
        .as_object()
        .ok_or_else(|| ApiError::parsing("the body must be an object"))?
        .keys()
    {
        if !["settings", "mappings", "aliases"].contains(&key.as_str()) {
            return Err(ApiError::parsing(format!("unknown key [{key}] for create index")));
        }
    }
    api.store.create_index(&index, body).await?;
    Ok(answer::json(
        &json!({ "acknowledged": true, "shards_acknowledged": true, "index": index }),
    ))
}

/// `DELETE /{index}`.
pub(crate) async fn delete(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(TUNING)?;
    let options = Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        ..Options::default()
    };
    if index.contains('*') || index == "_all" {
        return Err(ApiError::illegal("Wildcard expressions or all indices are not allowed"));
    }
    let action = "indices:admin/delete";
    for name in names::resolve(&api, &caller, &index, IndexPrivilege::DeleteIndex, action, options).await? {
        if !api.store.data_streams(std::slice::from_ref(&name)).await?.is_empty() {
            return Err(ApiError::illegal(format!(
                "The provided expression [{name}] matches a data stream, specify the corresponding concrete indices instead."
            )));
        }
        api.store.delete_index(&name).await?;
    }
    Ok(answer::acknowledged())
}

/// `GET|HEAD /{index}`.
pub(crate) async fn get(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(TUNING)?;
    let mut found = Map::new();
    for name in visible(&api, &caller, &index, &params, "indices:admin/get").await? {
        for info in concrete(&api, &name).await? {
            let mappings = api.store.mapping(&info.name).await?.unwrap_or_else(|| json!({}));
            let settings =
                json!({ "index": { "uuid": info.uuid, "number_of_shards": "1", "number_of_replicas": "0" } });
            let mut about = json!({ "aliases": {}, "mappings": mappings, "settings": settings });
            if let Some(stream) = info.data_stream {
                about["data_stream"] = json!(stream);
            }
            found.insert(info.name, about);
        }
    }
    Ok(answer::json(&found))
}

/// `GET /{index}/_mapping`.
pub(crate) async fn mapping(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(TUNING)?;
    let mut found = Map::new();
    for name in visible(&api, &caller, &index, &params, "indices:admin/mappings/get").await? {
        for info in concrete(&api, &name).await? {
            let mappings = api.store.mapping(&info.name).await?.unwrap_or_else(|| json!({}));
            found.insert(info.name, json!({ "mappings": mappings }));
        }
    }
    Ok(answer::json(&found))
}

/// `GET /{index}/_settings`.
pub(crate) async fn settings(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(TUNING)?;
    let mut found = Map::new();
    for name in visible(&api, &caller, &index, &params, "indices:monitor/settings/get").await? {
        for info in concrete(&api, &name).await? {
            let settings = json!({ "uuid": info.uuid, "number_of_shards": "1", "number_of_replicas": "0", "provided_name": info.name });
            found.insert(info.name, json!({ "settings": { "index": settings } }));
        }
    }
    Ok(answer::json(&found))
}

/// `GET|HEAD /{index}/_alias`, `/_alias/{name}`: there are no aliases.
pub(crate) async fn no_alias(
    State(_): State<Arc<ElasticsearchApi>>,
    _caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(TUNING)?;
    let body = json!({ "error": format!("alias [{name}] missing"), "status": 404 });
    Ok(answer::with_status(StatusCode::NOT_FOUND, &body))
}

/// `GET|HEAD /_alias`.
pub(crate) async fn aliases(
    State(_): State<Arc<ElasticsearchApi>>,
    _caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(TUNING)?;
    Ok(answer::json(&json!({})))
}

/// `GET|POST /_refresh`.
pub(crate) async fn refresh_all(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    refreshed(&api, &caller, "*", params).await
}

/// `GET|POST /{index}/_refresh`.
pub(crate) async fn refresh(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    refreshed(&api, &caller, &index, params).await
}

async fn refreshed(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(TUNING)?;
    let options = Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        ..Options::default()
    };
    let action = "indices:admin/refresh";
    for name in names::resolve(api, caller, expression, IndexPrivilege::Maintenance, action, options).await? {
        api.store.refresh(&name).await?;
    }
    Ok(answer::json(
        &json!({ "_shards": { "total": 1, "successful": 1, "failed": 0 } }),
    ))
}

/// `GET /_data_stream`.
pub(crate) async fn data_streams(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    streams(&api, &caller, "*", params).await
}

/// `GET /_data_stream/{name}`.
pub(crate) async fn data_stream(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    streams(&api, &caller, &name, params).await
}

async fn streams(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(TUNING)?;
    let action = "indices:admin/data_stream/get";
    let names = names::resolve(
        api,
        caller,
        expression,
        IndexPrivilege::ViewMetadata,
        action,
        Options::default(),
    )
    .await?;
    let mut streams = if names.is_empty() {
        Vec::new()
    } else {
        api.store.data_streams(&names).await?
    };
    if streams.is_empty() && !expression.contains('*') {
        return Err(ApiError::no_such_index(expression));
    }
    streams.sort_by(|left, right| left.name.cmp(&right.name));
    let mut described = Vec::with_capacity(streams.len());
    for stream in streams {
        let mut indices = Vec::new();
        for name in &stream.backing_indices {
            let uuid = api
                .store
                .indices(std::slice::from_ref(name))
                .await?
                .pop()
                .map(|info| info.uuid);
            indices.push(json!({ "index_name": name, "index_uuid": uuid, "prefer_ilm": false, "managed_by": "Data stream lifecycle" }));
        }
        described.push(json!({
            "name": stream.name, "timestamp_field": { "name": "@timestamp" }, "indices": indices,
            "generation": stream.backing_indices.len(), "status": "GREEN", "template": stream.template,
            "lifecycle": { "enabled": true }, "hidden": stream.name.starts_with('.'), "system": false, "allow_custom_routing": false,
            "replicated": false, "rollover_on_write": false,
        }));
    }
    Ok(answer::json(&json!({ "data_streams": described })))
}

/// `PUT /_data_stream/{name}`: made by its first document as well.
pub(crate) async fn create_data_stream(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(TUNING)?;
    names::check(&name)?;
    caller.needs_index(&name, IndexPrivilege::Create, "indices:admin/data_stream/create")?;
    api.store.create_data_stream(&name).await?;
    Ok(answer::acknowledged())
}

/// `DELETE /_data_stream/{name}`.
pub(crate) async fn delete_data_stream(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(TUNING)?;
    let action = "indices:admin/data_stream/delete";
    let names = names::resolve(
        &api,
        &caller,
        &name,
        IndexPrivilege::DeleteIndex,
        action,
        Options::default(),
    )
    .await?;
    let streams = if names.is_empty() {
        Vec::new()
    } else {
        api.store.data_streams(&names).await?
    };
    if streams.is_empty() && !name.contains('*') {
        return Err(ApiError::no_such_index(&name));
    }
    for stream in streams {
        api.store.delete_index(&stream.name).await?;
    }
    Ok(answer::acknowledged())
}

/// `POST /{index}/_rollover`.
pub(crate) async fn rollover(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(TUNING)?;
    names::check(&name)?;
    caller.needs_index(&name, IndexPrivilege::Manage, "indices:admin/rollover")?;
    if payload
        .json()?
        .and_then(|body| body.get("conditions").cloned())
        .is_some_and(|conditions| conditions != json!({}))
    {
        return Err(ApiError::illegal(
            "[conditions] are not supported; roll over without, or set retention",
        ));
    }
    let (old, new) = api.store.rollover(&name).await?;
    Ok(answer::json(&json!({
        "acknowledged": true, "shards_acknowledged": true, "old_index": old, "new_index": new,
        "rolled_over": true, "dry_run": false, "lazy": false, "conditions": {},
    })))
}

/// `GET /_resolve/index/{name}`.
pub(crate) async fn resolve_index(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(expression): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(TUNING)?;
    let names = visible(&api, &caller, &expression, &params, "indices:admin/resolve/index").await?;
    let (mut indices, mut streams) = (Vec::new(), Vec::new());
    for name in names {
        if let Some(stream) = api.store.data_streams(std::slice::from_ref(&name)).await?.pop() {
            streams.push(json!({
                "name": stream.name, "backing_indices": stream.backing_indices, "timestamp_field": "@timestamp",
            }));
        } else {
            indices.push(json!({ "name": name, "attributes": ["open"] }));
        }
    }
    Ok(answer::json(
        &json!({ "indices": indices, "aliases": [], "data_streams": streams }),
    ))
}

/// `POST /_analyze` and its like need an analyzer of their own; the standard one splits as the store does.
pub(crate) async fn analyze(
    State(_): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[serde(default)]
        analyzer: Option<String>,
        text: Value,
    }
    params.only(&["index"])?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "indices:admin/analyze")?;
    let body: Body = payload.parse()?;
    if let Some(other) = body.analyzer.filter(|name| name != "standard") {
        return Err(ApiError::illegal(format!("failed to find global analyzer [{other}]")));
    }
    let texts: Vec<String> = match body.text {
        Value::String(text) => vec![text],
        Value::Array(texts) => texts
            .into_iter()
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect(),
        _ => return Err(ApiError::illegal("[text] must be a text or a list of texts")),
    };
    let words = texts.iter().flat_map(|text| query::analysis::words(text));
    let tokens: Vec<_> = words
        .enumerate()
        .map(|(at, word)| json!({ "token": word, "type": "<ALPHANUM>", "position": at }))
        .collect();
    Ok(answer::json(&json!({ "tokens": tokens })))
}

/// `GET /_stats`, `/{index}/_stats`: documents and bytes.
pub(crate) async fn stats(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    index: Option<Path<String>>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&["level", "metric", "expand_wildcards", "forbid_closed_indices"])?;
    let expression = index.map_or_else(|| "*".to_owned(), |Path(index)| index);
    let action = "indices:monitor/stats";
    let names = names::resolve(
        &api,
        &caller,
        &expression,
        IndexPrivilege::Monitor,
        action,
        Options::default(),
    )
    .await?;
    let (mut documents, mut bytes, mut by_index) = (0, 0, Map::new());
    for name in names {
        for info in concrete(&api, &name).await? {
            documents += info.documents;
            bytes += info.bytes;
            let primaries =
                json!({ "docs": { "count": info.documents, "deleted": 0 }, "store": { "size_in_bytes": info.bytes } });
            by_index.insert(
                info.name,
                json!({ "uuid": info.uuid, "primaries": primaries, "total": primaries }),
            );
        }
    }
    let all = json!({ "docs": { "count": documents, "deleted": 0 }, "store": { "size_in_bytes": bytes } });
    Ok(answer::json(&json!({
        "_shards": { "total": by_index.len(), "successful": by_index.len(), "failed": 0 },
        "_all": { "primaries": all, "total": all }, "indices": by_index,
    })))
}

/// What of `expression` the caller may know about; an exact name that is not there is a 404.
async fn visible(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    params: &Params,
    action: &str,
) -> Result<Vec<String>, ApiError> {
    let options = Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        refuse_no_indices: params.boolean("allow_no_indices")? == Some(false),
    };
    names::resolve(api, caller, expression, IndexPrivilege::ViewMetadata, action, options).await
}

/// The indices behind a name: itself, or those of the data stream.
async fn concrete(api: &ElasticsearchApi, name: &str) -> Result<Vec<store::IndexInfo>, ApiError> {
    let streams = api.store.data_streams(&[name.to_owned()]).await?;
    let names = streams
        .into_iter()
        .next()
        .map_or_else(|| vec![name.to_owned()], |stream| stream.backing_indices);
    Ok(api.store.indices(&names).await?)
}

/// The answer of HEAD requests that only ask whether something is there.
pub(crate) fn exists(there: bool) -> Response {
    if there { StatusCode::OK } else { StatusCode::NOT_FOUND }.into_response()
}
