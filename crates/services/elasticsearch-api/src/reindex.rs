//! `_reindex`: what a search finds is written into another index.

use std::sync::Arc;
use std::time::Instant;

use access::IndexPrivilege;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use query::{Query, SearchRequest, SortOrder, SourceFilter};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Outcome, Refresh, RejectionKind, WriteResult};

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::Payload;
use crate::write::{Body, Kind, Targets, Write, prepare};
use crate::{answer, names, search};

/// Hits of one round.
const BATCH: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    source: Source,
    dest: Destination,
    #[serde(default)]
    conflicts: Option<String>,
    #[serde(default)]
    max_docs: Option<u64>,
    /// Refused, by its name.
    #[serde(default)]
    script: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    index: Value,
    #[serde(default)]
    query: Option<Value>,
    #[serde(default, rename = "_source")]
    shown: Option<Value>,
    /// Of one round: it changes nothing.
    #[serde(default, rename = "size")]
    _size: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Destination {
    index: String,
    #[serde(default)]
    op_type: Option<String>,
    #[serde(default)]
    pipeline: Option<String>,
}

#[derive(Default)]
struct Tally {
    total: u64,
    created: u64,
    updated: u64,
    conflicts: u64,
    noops: u64,
    batches: u64,
    failures: Vec<Value>,
}

/// `POST /_reindex`.
pub(crate) async fn reindex(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let started = Instant::now();
    let params = params.only(&[
        "refresh",
        "requests_per_second",
        "scroll",
        "slices",
        "timeout",
        "wait_for_active_shards",
        "wait_for_completion",
    ])?;
    if params.boolean("wait_for_completion")? == Some(false) {
        return Err(ApiError::illegal(
            "[wait_for_completion=false] is not supported: there are no tasks to ask for",
        ));
    }
    let asked: Asked = payload.parse()?;
    if asked.script.is_some() {
        return Err(ApiError::illegal(
            "[reindex] [script] is not supported: scripts are not run",
        ));
    }
    let proceeds = match asked.conflicts.as_deref() {
        None | Some("abort") => false,
        Some("proceed") => true,
        Some(other) => {
            return Err(ApiError::illegal(format!(
                "conflicts may only be \"proceed\" or \"abort\" but was [{other}]"
            )));
        }
    };
    let walk = Walk::of(&api, &caller, &asked).await?;
    let mut tally = Tally::default();
    for index in walk.indices.clone() {
        walk.copy(&api, &caller, &index, &mut tally, proceeds).await?;
        if tally.is_over(proceeds) {
            break;
        }
    }
    if params.flag("refresh")? {
        api.store.refresh(&asked.dest.index).await?;
    }
    Ok(tally.answer(proceeds, started))
}

/// What is copied, and where to.
struct Walk {
    indices: Vec<String>,
    query: Query,
    filter: SourceFilter,
    most: u64,
    to: String,
    kind: Kind,
    pipeline: Option<String>,
}

impl Walk {
    async fn of(api: &ElasticsearchApi, caller: &Caller, asked: &Asked) -> Result<Self, ApiError> {
        let expression = match &asked.source.index {
            Value::String(name) => name.clone(),
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            _ => return Err(ApiError::parsing("[source] [index] must be a name or a list of names")),
        };
        let kind = match asked.dest.op_type.as_deref() {
            None | Some("index") => Kind::Index,
            Some("create") => Kind::Create,
            Some(other) => {
                return Err(ApiError::illegal(format!(
                    "opType must be 'create' or 'index', found: [{other}]"
                )));
            }
        };
        let action = "indices:data/read/search";
        let options = names::Options::default();
        let found = names::resolve_filtered(api, caller, &expression, IndexPrivilege::Read, action, options).await?;
        if found.names.contains(&asked.dest.index) {
            let reason = format!(
                "reindex cannot write into an index its reading from [{}]",
                asked.dest.index
            );
            return Err(ApiError::validation(&reason));
        }
        let query = asked
            .source
            .query
            .as_ref()
            .map_or(Ok(Query::MatchAll), Query::from_json)?;
        let filter = asked
            .source
            .shown
            .as_ref()
            .map_or(Ok(SourceFilter::All), search::source_filter)?;
        Ok(Self {
            query: found.narrow(query)?,
            indices: found.names,
            filter,
            most: asked.max_docs.unwrap_or(u64::MAX),
            to: asked.dest.index.clone(),
            kind,
            pipeline: asked.dest.pipeline.clone(),
        })
    }

    /// Goes through one index by its sequence numbers.
    async fn copy(
        &self,
        api: &ElasticsearchApi,
        caller: &Caller,
        index: &str,
        tally: &mut Tally,
        proceeds: bool,
    ) -> Result<(), ApiError> {
        api.store.refresh(index).await?;
        let view = api
            .store
            .open_point_in_time(&[index.to_owned()], std::time::Duration::from_mins(5))
            .await?;
        let mut after = None;
        loop {
            let window = usize::try_from(self.most - tally.total).unwrap_or(BATCH).min(BATCH);
            if window == 0 {
                break;
            }
            let mut request = SearchRequest::new(index)
                .query(self.query.clone())
                .sort_by("_shard_doc", SortOrder::Ascending)
                .size(window);
            request.point_in_time = Some(view.clone());
            request.search_after = after;
            request.track_total_hits = 0;
            let hits = api.store.search(request).await?.hits;
            after = hits.last().map(|hit| hit.sort.clone());
            if hits.is_empty() {
                break;
            }
            tally.batches += 1;
            tally.total += hits.len() as u64;
            let full = hits.len() == window;
            let writes = hits.into_iter().map(|hit| self.write(hit)).collect();
            self.send(api, caller, writes, tally).await?;
            if !full || tally.is_over(proceeds) {
                break;
            }
        }
        api.store.close_point_in_time(&view).await?;
        Ok(())
    }

    fn write(&self, hit: store::Hit) -> Write {
        let source = match &self.filter {
            SourceFilter::All => hit.document.source.bytes().clone(),
            filter => {
                let kept = filter
                    .apply(hit.document.source.to_value())
                    .unwrap_or_else(|| json!({}));
                Bytes::from(kept.to_string())
            }
        };
        Write {
            kind: self.kind,
            index: self.to.clone(),
            id: Some(hit.document.id),
            pipeline: self.pipeline.clone(),
            require_data_stream: false,
            require_alias: false,
            expected: None,
            version: None,
            body: Body::Source(source),
        }
    }

    async fn send(
        &self,
        api: &ElasticsearchApi,
        caller: &Caller,
        writes: Vec<Write>,
        tally: &mut Tally,
    ) -> Result<(), ApiError> {
        let targets = Targets::resolve(api, caller, std::iter::once((self.to.as_str(), self.kind))).await?;
        let mut operations = Vec::with_capacity(writes.len());
        for write in writes {
            let id = write.id.clone();
            match prepare(write, &targets) {
                Ok(Some(operation)) => operations.push(operation),
                Ok(None) => tally.noops += 1,
                Err(refused) if refused.0.status == StatusCode::FORBIDDEN => return Err(refused.0),
                Err(refused) => tally.fail(&self.to, id.as_deref(), &refused.0),
            }
        }
        for outcome in api.store.bulk(operations, Refresh::Soon).await? {
            tally.add(outcome);
        }
        Ok(())
    }
}

impl Tally {
    fn is_over(&self, proceeds: bool) -> bool {
        !self.failures.is_empty() || (self.conflicts > 0 && !proceeds)
    }

    fn fail(&mut self, index: &str, id: Option<&str>, error: &ApiError) {
        self.failures
            .push(json!({ "index": index, "id": id, "cause": error.cause(), "status": error.status.as_u16() }));
    }

    fn add(&mut self, outcome: Outcome) {
        match outcome.written() {
            Ok(written) if written.result == WriteResult::Created => self.created += 1,
            Ok(_) => self.updated += 1,
            Err(rejection) if rejection.kind == RejectionKind::VersionConflict => self.conflicts += 1,
            Err(rejection) => {
                let (index, id) = (rejection.index.clone(), rejection.id.clone());
                self.fail(&index, Some(&id), &ApiError::from(rejection));
            }
        }
    }

    fn answer(&self, proceeds: bool, started: Instant) -> Response {
        let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let body = json!({
            "took": took, "timed_out": false, "total": self.total, "updated": self.updated, "created": self.created,
            "deleted": 0, "batches": self.batches, "version_conflicts": self.conflicts, "noops": self.noops,
            "retries": { "bulk": 0, "search": 0 }, "throttled_millis": 0, "requests_per_second": -1.0,
            "throttled_until_millis": 0, "failures": self.failures,
        });
        let failed = self.failures.first().and_then(|failure| failure["status"].as_u64());
        let failed = failed.and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok());
        let conflict = (self.conflicts > 0 && !proceeds).then_some(StatusCode::CONFLICT);
        answer::with_status(failed.or(conflict).unwrap_or(StatusCode::OK), &body)
    }
}
