//! `_tasks`: nothing here runs on after its request was answered, so that there are none.

use std::sync::Arc;

use access::ClusterPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::json;

use crate::answer;
use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::params::Params;

const PARAMETERS: &[&str] = &[
    "actions",
    "detailed",
    "group_by",
    "master_timeout",
    "nodes",
    "parent_task_id",
    "timeout",
    "wait_for_completion",
];

/// `GET /_tasks`, `POST /_tasks/_cancel`.
pub(crate) async fn none(
    State(_api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "cluster:monitor/tasks/lists")?;
    let key = match params.text("group_by") {
        None | Some("nodes") => "nodes",
        Some("parents" | "none") => "tasks",
        Some(other) => return Err(ApiError::illegal(format!("[group_by] cannot be [{other}]"))),
    };
    Ok(answer::json(&json!({ key: {} })))
}

/// `GET /_tasks/{id}`, `POST /_tasks/{id}/_cancel`.
pub(crate) async fn missing(
    State(_api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "cluster:monitor/task/get")?;
    Err(ApiError::not_found(format!(
        "task [{id}] isn't running and hasn't stored its results"
    )))
}
