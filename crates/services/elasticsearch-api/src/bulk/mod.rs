//! `_bulk`: many writes in one request.
//!
//! scan (action lines, source bytes) -> [`crate::write`] (rights, pipelines, stamp) -> one call of the store -> answer, item by item.
//! No JSON tree is built for a document that goes through no pipeline.

mod render;
mod scan;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use store::{Operation, Outcome};

use crate::answer::{self, AlreadyFiltered};
use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::{Media, Payload};
use crate::write::{Kind, Refused, Targets, Write, prepare, refresh_of};

/// Parameters of `_bulk`. Those that only tune shards and routing are accepted: there is one shard.
const PARAMETERS: &[&str] = &[
    "include_source_on_error",
    "list_executed_pipelines",
    "master_timeout",
    "pipeline",
    "refresh",
    "require_alias",
    "require_data_stream",
    "routing",
    "timeout",
    "wait_for_active_shards",
];
/// From this size on a body is worked on off the runtime's threads.
const ELSEWHERE_FROM: usize = 64 * 1024;

/// What came of one item before the store saw it.
pub(crate) struct Item {
    pub(crate) kind: Kind,
    pub(crate) index: String,
    pub(crate) id: Option<String>,
    pub(crate) fate: Fate,
}

pub(crate) enum Fate {
    /// The next of the store's outcomes is its own.
    Sent,
    /// A pipeline dropped it.
    Dropped,
    Refused(ApiError),
}

/// `POST|PUT /_bulk`.
pub(crate) async fn bulk(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    run(&api, &caller, None, params, payload).await
}

/// `POST|PUT /{index}/_bulk`.
pub(crate) async fn bulk_into(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    run(&api, &caller, Some(index), params, payload).await
}

async fn run(
    api: &ElasticsearchApi,
    caller: &Caller,
    index: Option<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let started = Instant::now();
    if payload.media != Media::Json {
        return Err(ApiError::illegal("_bulk takes newline-delimited JSON"));
    }
    let params = params.only(PARAMETERS)?;
    let defaults = scan::Defaults {
        index,
        pipeline: params.text("pipeline").map(str::to_owned),
        require_data_stream: params.flag("require_data_stream")?,
        require_alias: params.flag("require_alias")?,
    };
    let refresh = refresh_of(&params)?;
    let large = payload.bytes.len() >= ELSEWHERE_FROM;
    let bytes = payload.bytes.clone();
    let writes = here_or_elsewhere(large, move || scan::scan(&bytes, &defaults)).await??;
    let named = writes.iter().map(|write| (write.index.as_str(), write.kind));
    let targets = Targets::resolve(api, caller, named).await?;
    let (items, operations) = here_or_elsewhere(large, move || prepare_all(writes, &targets)).await?;
    let outcomes = if operations.is_empty() {
        Vec::new()
    } else {
        api.store.bulk(operations, refresh).await?
    };
    log_refusals(&items);
    let filter = params.text("filter_path").filter(|path| !path.is_empty());
    let forced_refresh = matches!(params.text("refresh"), Some("" | "true"));
    Ok(respond(&items, outcomes, filter, forced_refresh, started))
}

fn respond(
    items: &[Item],
    outcomes: Vec<Outcome>,
    filter: Option<&str>,
    forced_refresh: bool,
    started: Instant,
) -> Response {
    let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let text = render::render(items, outcomes, filter, forced_refresh, took);
    let mut response = answer::text_json(StatusCode::OK, text.into()).into_response();
    response.extensions_mut().insert(AlreadyFiltered);
    response
}

async fn here_or_elsewhere<T: Send + 'static>(
    elsewhere: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    if !elsewhere {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", error.to_string()))
}

fn prepare_all(writes: Vec<Write>, targets: &Targets) -> (Vec<Item>, Vec<Operation>) {
    let mut items = Vec::with_capacity(writes.len());
    let mut operations = Vec::with_capacity(writes.len());
    for write in writes {
        let (kind, index, id) = (write.kind, write.index.clone(), write.id.clone());
        let fate = match prepare(write, targets) {
            Ok(Some(operation)) => {
                operations.push(operation);
                Fate::Sent
            }
            Ok(None) => Fate::Dropped,
            Err(Refused(error)) => Fate::Refused(error),
        };
        items.push(Item { kind, index, id, fate });
    }
    (items, operations)
}

/// A document that is refused for want of rights is lost by its shipper without a word: say it here, once a request.
fn log_refusals(items: &[Item]) {
    let refused = |item: &&Item| matches!(&item.fate, Fate::Refused(error) if error.status == StatusCode::FORBIDDEN);
    let Some(first) = items.iter().find(refused) else {
        return;
    };
    let count = items.iter().filter(refused).count();
    if let Fate::Refused(error) = &first.fate {
        tracing::warn!(documents = count, index = %first.index, reason = %error.reason, "documents refused for want of rights");
    }
}
