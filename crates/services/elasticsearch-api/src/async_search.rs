//! `_async_search`: a search that is over when it is answered. Nothing is kept to be asked for later.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};

use crate::answer;
use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::Payload;
use crate::search;

/// `POST /_async_search`, `/{index}/_async_search`.
pub(crate) async fn submit(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    index: Option<Path<String>>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    if params.flag("keep_on_completion")? {
        return Err(ApiError::illegal(
            "[keep_on_completion] is not supported: the answer holds the whole result and nothing is kept",
        ));
    }
    let own = ["keep_alive", "keep_on_completion", "wait_for_completion_timeout"];
    let params = params.without(&own).only(search::SEARCH_PARAMETERS)?;
    let expression = index.map_or_else(String::new, |Path(index)| index);
    let started = api.clock.now().as_millisecond();
    let text = search::whole(&api, &caller, &expression, &params, &payload).await?;
    let response: Value = serde_json::from_slice(&text).map_err(|error| ApiError::illegal(error.to_string()))?;
    let ended = api.clock.now().as_millisecond();
    Ok(answer::json(&json!({
        "is_partial": false, "is_running": false, "start_time_in_millis": started, "expiration_time_in_millis": ended,
        "completion_time_in_millis": ended, "response": response,
    })))
}

/// `GET|DELETE /_async_search/{id}`, `GET /_async_search/status/{id}`.
pub(crate) async fn missing(
    State(_api): State<Arc<ElasticsearchApi>>,
    _caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    Err(ApiError::not_found(id))
}
