//! Calls that look after indices. What they ask for is done all the time here: they answer that it is done.

use std::sync::Arc;

use access::IndexPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::json;

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::params::Params;
use crate::{answer, names};

const PARAMETERS: &[&str] = &[
    "allow_no_indices",
    "expand_wildcards",
    "fielddata",
    "fields",
    "flush",
    "force",
    "ignore_unavailable",
    "max_num_segments",
    "only_expunge_deletes",
    "query",
    "request",
    "wait_for_completion",
    "wait_if_ongoing",
];

/// `GET|POST /_refresh`, `/_flush`; `POST /_forcemerge`, `/_cache/clear`.
pub(crate) async fn all(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    done(&api, &caller, "*", params).await
}

/// `/{index}/_refresh`, `/{index}/_flush`, `/{index}/_forcemerge`, `/{index}/_cache/clear`.
pub(crate) async fn some(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    done(&api, &caller, &index, params).await
}

/// Everything acknowledged can be found afterwards: that is what all of them promise at most.
async fn done(api: &ElasticsearchApi, caller: &Caller, expression: &str, params: Params) -> Result<Response, ApiError> {
    let params = params.only(PARAMETERS)?;
    let options = names::Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        ..names::Options::default()
    };
    let action = "indices:admin/refresh";
    let found = names::resolve(api, caller, expression, IndexPrivilege::Maintenance, action, options).await?;
    for name in &found {
        api.store.refresh(name).await?;
    }
    let shards = found.len();
    Ok(answer::json(
        &json!({ "_shards": { "total": shards, "successful": shards, "failed": 0 } }),
    ))
}
