//! `_fleet/*`: what a stock Fleet Server needs beyond the public API. Long polls, searches at a checkpoint, secrets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use access::{ClusterPrivilege, IndexPrivilege, Secret};
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::Payload;
use crate::{answer, names, search};

/// When the request does not say. Source: Elasticsearch reference, get global checkpoints.
const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// Longer waits are cut: a connection that nobody reads any more must not hold memory for ever.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// Secrets are keys and passwords, certificates at most.
const LONGEST_SECRET: usize = 1024 * 1024;

/// `GET /{index}/_fleet/global_checkpoints`.
pub(crate) async fn global_checkpoints(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(&["checkpoints", "timeout", "wait_for_advance", "wait_for_index"])?;
    names::check(&index)?;
    caller.needs_index(
        &index,
        IndexPrivilege::Monitor,
        "indices:monitor/fleet/global_checkpoints",
    )?;
    let known = known_checkpoint(&params)?;
    let timeout = params.duration("timeout")?.unwrap_or(DEFAULT_WAIT).min(LONGEST_WAIT);
    let waits_for_index = params.flag("wait_for_index")?;
    let waits_for_advance = params.flag("wait_for_advance")?;
    if !names::exists(&api, &index).await? {
        if !waits_for_index {
            return Err(ApiError::no_such_index(&index));
        }
        let started = Instant::now();
        let first = api.store.wait_for_checkpoint(&index, None, timeout).await?;
        if first.is_none() && !names::exists(&api, &index).await? {
            return Err(ApiError::no_such_index(&index));
        }
        let timed_out = first.is_none() && started.elapsed() >= timeout;
        return Ok(checkpoints(first, timed_out));
    }
    if !waits_for_advance {
        return Ok(checkpoints(api.store.checkpoint(&index).await?, false));
    }
    let present = api.store.wait_for_checkpoint(&index, known, timeout).await?;
    let advanced = match (present, known) {
        (Some(present), Some(known)) => present > known,
        (Some(_), None) => true,
        (None, _) => false,
    };
    Ok(checkpoints(present, !advanced))
}

/// `checkpoints=n`: -1 and nothing at all are "none yet".
fn known_checkpoint(params: &Params) -> Result<Option<u64>, ApiError> {
    let wrong = |text: &str| ApiError::illegal(format!("[checkpoints] must be one whole number, not [{text}]"));
    let Some(text) = params.text("checkpoints").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let number: i64 = text.parse().map_err(|_| wrong(text))?;
    Ok(u64::try_from(number).ok())
}

fn checkpoints(checkpoint: Option<u64>, timed_out: bool) -> Response {
    let value = checkpoint.map_or_else(|| json!(-1), |checkpoint| json!(checkpoint));
    answer::json(&json!({ "global_checkpoints": [value], "timed_out": timed_out }))
}

/// Waits until everything up to the given checkpoints can be found in the index.
pub(crate) async fn wait_for(
    api: &ElasticsearchApi,
    caller: &Caller,
    index: &str,
    checkpoints: &Value,
) -> Result<(), ApiError> {
    let wrong = || ApiError::illegal("[wait_for_checkpoints] must be whole numbers");
    let numbers: Vec<i64> = match checkpoints {
        Value::Array(list) => list
            .iter()
            .map(|value| value.as_i64().ok_or_else(wrong))
            .collect::<Result<_, _>>()?,
        Value::String(text) => {
            let parts = text.split(',').filter(|part| !part.is_empty());
            parts
                .map(|part| part.trim().parse().map_err(|_| wrong()))
                .collect::<Result<_, _>>()?
        }
        other => vec![other.as_i64().ok_or_else(wrong)?],
    };
    let Some(wanted) = numbers.into_iter().max().and_then(|number| u64::try_from(number).ok()) else {
        return Ok(());
    };
    caller.needs_index(index, IndexPrivilege::Read, "indices:data/read/fleet_search")?;
    if !names::exists(api, index).await? {
        return Err(ApiError::no_such_index(index));
    }
    let after = wanted.checked_sub(1);
    let reached = api.store.wait_for_checkpoint(index, after, DEFAULT_WAIT).await?;
    if reached.is_none_or(|reached| reached < wanted) {
        return Err(ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout_exception",
            format!(
                "checkpoint [{wanted}] of [{index}] was not reached in {} s",
                DEFAULT_WAIT.as_secs()
            ),
        ));
    }
    Ok(())
}

/// `GET|POST /{index}/_fleet/_fleet_search`.
pub(crate) async fn fleet_search(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(&[
        "allow_partial_search_results",
        "ignore_unavailable",
        "wait_for_checkpoints",
        "wait_for_checkpoints_timeout",
    ])?;
    if index.contains(['*', ',']) {
        return Err(ApiError::illegal(
            "Fleet search API only supports searching a single index",
        ));
    }
    if let Some(text) = params.text("wait_for_checkpoints") {
        wait_for(&api, &caller, &index, &json!(text)).await?;
    }
    let options = names::Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        ..Default::default()
    };
    let body = payload.json()?.unwrap_or_else(|| json!({}));
    let answer = search::one(&api, &caller, &index, body, options, false).await?;
    Ok(answer::text_json(StatusCode::OK, answer.text(false, None).into()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSecret {
    value: String,
}

/// `POST /_fleet/secret`.
pub(crate) async fn put_secret(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    caller.needs_cluster(ClusterPrivilege::WriteFleetSecrets, "cluster:admin/fleet/secrets/post")?;
    let body: NewSecret = payload.parse()?;
    if body.value.is_empty() || body.value.len() > LONGEST_SECRET {
        return Err(ApiError::illegal(format!(
            "[value] of a secret must have 1 to {LONGEST_SECRET} bytes"
        )));
    }
    let id = api.access.put_secret(&Secret::from(body.value)).await?;
    Ok(answer::json(&json!({ "id": id })))
}

/// `GET /_fleet/secret/{id}`.
pub(crate) async fn secret(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    caller.needs_cluster(ClusterPrivilege::ReadFleetSecrets, "cluster:admin/fleet/secrets/get")?;
    let value = api.access.secret(&id).await?.ok_or_else(|| no_such_secret(&id))?;
    Ok(answer::json(&json!({ "id": id, "value": value.expose() })))
}

/// `DELETE /_fleet/secret/{id}`.
pub(crate) async fn delete_secret(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    caller.needs_cluster(
        ClusterPrivilege::WriteFleetSecrets,
        "cluster:admin/fleet/secrets/delete",
    )?;
    if api.access.delete_secret(&id).await? {
        return Ok(answer::json(&json!({ "deleted": true })));
    }
    Err(no_such_secret(&id))
}

fn no_such_secret(id: &str) -> ApiError {
    ApiError::not_found(format!("No secret with id [{id}]"))
}
