//! `_count` and `_validate/query`.

use std::sync::Arc;

use access::IndexPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use query::Query;
use serde_json::json;

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::Payload;
use crate::search_body::body_with;
use crate::{answer, names};

const COUNT_PARAMETERS: &[&str] = &[
    "allow_no_indices",
    "analyze_wildcard",
    "default_operator",
    "df",
    "expand_wildcards",
    "ignore_unavailable",
    "lenient",
    "min_score",
    "preference",
    "q",
    "routing",
    "terminate_after",
];

/// `GET|POST /_count`.
pub(crate) async fn count_all(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    count(&api, &caller, "", params, payload).await
}

/// `GET|POST /{index}/_count`.
pub(crate) async fn count_in(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    count(&api, &caller, &index, params, payload).await
}

async fn count(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(COUNT_PARAMETERS)?;
    let body = body_with(payload.json()?, &params)?;
    let query = match body.as_object() {
        Some(map) => {
            if let Some(key) = map.keys().find(|key| *key != "query") {
                return Err(ApiError::parsing(format!("request does not support [{key}]")));
            }
            map.get("query").map_or(Ok(Query::MatchAll), Query::from_json)?
        }
        None => Query::MatchAll,
    };
    let options = names::Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        ..Default::default()
    };
    let action = "indices:data/read/search";
    let found = names::resolve_filtered(api, caller, expression, IndexPrivilege::Read, action, options).await?;
    let query = found.narrow(query)?;
    let count = if found.names.is_empty() {
        0
    } else {
        let counted = api.store.count(&found.names, &query).await;
        counted.map_err(|error| ApiError::from(error).in_search())?
    };
    Ok(answer::json(&json!({
        "count": count, "_shards": { "total": 1, "successful": 1, "skipped": 0, "failed": 0 },
    })))
}

/// `GET|POST /_validate/query`, `/{index}/_validate/query`: whether the query can be read.
pub(crate) async fn validate(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    index: Option<Path<String>>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(&[COUNT_PARAMETERS, &["all_shards", "explain", "rewrite"]].concat())?;
    let expression = index.map_or_else(String::new, |Path(index)| index);
    let options = names::Options::default();
    let action = "indices:admin/validate/query";
    names::resolve(&api, &caller, &expression, IndexPrivilege::Read, action, options).await?;
    let body = body_with(payload.json()?, &params)?;
    let read = body.get("query").map_or(Ok(Query::MatchAll), Query::from_json);
    let mut answer = json!({ "_shards": { "total": 1, "successful": 1, "failed": 0 }, "valid": read.is_ok() });
    if let (Err(error), true) = (read, params.flag("explain")?) {
        answer["error"] = json!(error.message);
    }
    Ok(answer::json(&answer))
}
