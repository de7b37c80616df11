//! `_update_by_query` and `_delete_by_query`: a search, and a write for each hit.

use std::sync::Arc;
use std::time::Instant;

use access::IndexPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use query::{Query, SearchRequest, SortOrder};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::{Action, Expected, Hit, Operation, Outcome, Refresh, RejectionKind, Update, WriteResult};

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::Payload;
use crate::write::Script;
use crate::{answer, names};

const PARAMETERS: &[&str] = &[
    "allow_no_indices",
    "conflicts",
    "expand_wildcards",
    "ignore_unavailable",
    "max_docs",
    "refresh",
    "requests_per_second",
    "routing",
    "scroll",
    "scroll_size",
    "slices",
    "timeout",
    "wait_for_active_shards",
    "wait_for_completion",
];
/// Hits of one round.
const BATCH: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    query: Option<Value>,
    #[serde(default)]
    script: Option<Script>,
    #[serde(default)]
    conflicts: Option<String>,
    #[serde(default)]
    max_docs: Option<u64>,
}

/// What each hit gets.
enum Change {
    Delete,
    Update(Map<String, Value>),
    /// An update without a script: indexed again as it is.
    Touch,
}

#[derive(Default)]
struct Tally {
    total: u64,
    updated: u64,
    deleted: u64,
    noops: u64,
    conflicts: u64,
    batches: u64,
    failures: Vec<Value>,
}

/// `POST /{index}/_delete_by_query`.
pub(crate) async fn delete(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let body: Body = payload.parse()?;
    if body.query.is_none() {
        return Err(ApiError::validation("query is missing"));
    }
    if body.script.is_some() {
        return Err(ApiError::parsing("request does not support [script]"));
    }
    run(&api, &caller, &index, params, body, Change::Delete).await
}

/// `POST /{index}/_update_by_query`.
pub(crate) async fn update(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let value = payload.json()?.unwrap_or_else(|| json!({}));
    let mut body: Body = serde_json::from_value(value).map_err(|error| ApiError::illegal(error.to_string()))?;
    let change = body
        .script
        .take()
        .map_or(Change::Touch, |script| Change::Update(script.params));
    run(&api, &caller, &index, params, body, change).await
}

async fn run(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    params: Params,
    body: Body,
    change: Change,
) -> Result<Response, ApiError> {
    let started = Instant::now();
    let params = params.only(PARAMETERS)?;
    if params.boolean("wait_for_completion")? == Some(false) {
        return Err(ApiError::illegal(
            "[wait_for_completion=false] is not supported: there are no tasks to ask for",
        ));
    }
    let conflicts = body
        .conflicts
        .as_deref()
        .or(params.text("conflicts"))
        .unwrap_or("abort");
    let proceeds = match conflicts {
        "proceed" => true,
        "abort" => false,
        other => {
            return Err(ApiError::illegal(format!(
                "conflicts may only be \"proceed\" or \"abort\" but was [{other}]"
            )));
        }
    };
    let most = body.max_docs.or(params.number("max_docs")?).unwrap_or(u64::MAX);
    let query = body.query.as_ref().map_or(Ok(Query::MatchAll), Query::from_json)?;
    let options = names::Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        ..Default::default()
    };
    let action = if matches!(change, Change::Delete) {
        "indices:data/write/delete/byquery"
    } else {
        "indices:data/write/update/byquery"
    };
    let privilege = if matches!(change, Change::Delete) {
        IndexPrivilege::Delete
    } else {
        IndexPrivilege::Update
    };
    let found = names::resolve_filtered(api, caller, expression, privilege, action, options).await?;
    let query = found.narrow(query)?;
    let mut tally = Tally::default();
    for index in found.names {
        caller.needs_index(&index, IndexPrivilege::Read, action)?;
        change_all(api, &index, &query, &change, most, &mut tally).await?;
        if (tally.conflicts > 0 && !proceeds) || !tally.failures.is_empty() {
            break;
        }
    }
    if params.flag("refresh")? {
        api.store.refresh(expression).await?;
    }
    Ok(tally.answer(&change, proceeds, started))
}

/// Walks through the matching documents by their sequence numbers, which the walk's own writes move behind it.
async fn change_all(
    api: &ElasticsearchApi,
    index: &str,
    query: &Query,
    change: &Change,
    most: u64,
    tally: &mut Tally,
) -> Result<(), ApiError> {
    api.store.refresh(index).await?;
    let Some(last) = api.store.checkpoint(index).await? else {
        return Ok(());
    };
    let mut after: Option<u64> = None;
    while tally.total < most {
        let bounds = [
            Some(Query::at_most("_seq_no", last)),
            after.map(|seq_no| Query::greater_than("_seq_no", seq_no)),
            Some(query.clone()),
        ];
        let window = usize::try_from(most - tally.total).unwrap_or(BATCH).min(BATCH);
        let mut request = SearchRequest::new(index)
            .query(Query::all_of(bounds.into_iter().flatten().collect()))
            .sort_by("_seq_no", SortOrder::Ascending)
            .size(window);
        request.seq_no_primary_term = true;
        request.track_total_hits = 0;
        let hits = api.store.search(request).await?.hits;
        let Some(newest) = hits.last().map(|hit| hit.document.seq_no) else {
            return Ok(());
        };
        after = Some(newest);
        tally.batches += 1;
        tally.total += hits.len() as u64;
        let operations = hits.iter().map(|hit| operation(hit, change)).collect();
        for outcome in api.store.bulk(operations, Refresh::WaitFor).await? {
            tally.add(outcome);
        }
        if !tally.failures.is_empty() || hits.len() < window {
            return Ok(());
        }
    }
    Ok(())
}

fn operation(hit: &Hit, change: &Change) -> Operation {
    let expected = Some(Expected::SeqNo(hit.document.seq_no));
    let action = match change {
        Change::Delete => Action::Delete { expected },
        Change::Update(params) => Action::Update {
            update: Update::Script(params.clone()),
            expected,
        },
        Change::Touch => Action::Index {
            source: hit.document.source.clone(),
            expected,
        },
    };
    Operation {
        index: hit.document.index.clone(),
        id: Some(hit.document.id.clone()),
        require_data_stream: false,
        action,
    }
}

impl Tally {
    fn add(&mut self, outcome: Outcome) {
        match outcome.written() {
            Ok(written) => match written.result {
                WriteResult::Deleted => self.deleted += 1,
                WriteResult::Noop => self.noops += 1,
                WriteResult::Created | WriteResult::Updated => self.updated += 1,
                WriteResult::NotFound => self.conflicts += 1,
            },
            Err(rejection)
                if matches!(
                    rejection.kind,
                    RejectionKind::VersionConflict | RejectionKind::DocumentMissing
                ) =>
            {
                self.conflicts += 1;
            }
            Err(rejection) => {
                let (index, id) = (rejection.index.clone(), rejection.id.clone());
                let error = ApiError::from(rejection);
                self.failures.push(json!({
                    "index": index, "id": id, "cause": error.cause(), "status": error.status.as_u16(),
                }));
            }
        }
    }

    fn answer(&self, change: &Change, proceeds: bool, started: Instant) -> Response {
        let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut body = json!({
            "took": took, "timed_out": false, "total": self.total, "batches": self.batches,
            "version_conflicts": self.conflicts, "noops": self.noops, "retries": { "bulk": 0, "search": 0 },
            "throttled_millis": 0, "requests_per_second": -1.0, "throttled_until_millis": 0, "failures": self.failures,
        });
        let done = if matches!(change, Change::Delete) {
            ("deleted", self.deleted)
        } else {
            ("updated", self.updated)
        };
        body["deleted"] = json!(0);
        body[done.0] = json!(done.1);
        let failed = self
            .failures
            .first()
            .and_then(|failure| failure["status"].as_u64())
            .and_then(|s| u16::try_from(s).ok());
        let status = match failed.and_then(|status| http::StatusCode::from_u16(status).ok()) {
            Some(status) => status,
            None if self.conflicts > 0 && !proceeds => http::StatusCode::CONFLICT,
            None => http::StatusCode::OK,
        };
        answer::with_status(status, &body)
    }
}
