//! Reads: index expressions are resolved, both halves asked, and hits and totals merged.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use query::aggregate::Plan;
use query::{Query, QueryError, SearchRequest, SourceFilter, pattern};
use rusqlite::Connection;
use serde_json::{Map, Value};
use store::{Document, Hit, SearchResponse, Source, StoreError};
use tantivy::Searcher;

use super::EmbeddedStore;
use crate::aggregations::StateView;
use crate::point_in_time::PointInTime;
use crate::results::Page;
use crate::state::search as state_search;
use crate::state::{State, store_error};
use crate::streams::backing::Backing;
use crate::streams::fast_aggregations;
use crate::streams::search as stream_search;

/// What an index expression stands for.
pub(super) struct Targets {
    indices: Vec<String>,
    backing: Vec<(Arc<Backing>, Searcher)>,
}

impl EmbeddedStore {
    pub(super) async fn read_document(&self, index: &str, id: &str) -> Result<Option<Document>, StoreError> {
        let (index, id, state) = (index.to_owned(), id.to_owned(), self.state.clone());
        let stream = self
            .streams
            .get(&index)
            .or_else(|| self.streams.backing(&index).map(|(stream, _)| stream));
        blocking(move || match stream {
            Some(stream) => stream.get(&id),
            None => match state.index(&index) {
                Some(meta) => state.read(|connection| state_search::get(connection, &index, &meta, &id)),
                None => Ok(None),
            },
        })
        .await
    }

    pub(super) async fn run_search(&self, request: SearchRequest) -> Result<SearchResponse, StoreError> {
        let now = self.options.clock.now();
        let state = self.state.clone();
        if let Some(id) = &request.point_in_time {
            let view = self.points_in_time.get(id)?;
            return blocking(move || {
                let targets = Targets {
                    indices: view.indices.clone(),
                    backing: view.searchers.clone(),
                };
                let connection = view.connection.lock().unwrap_or_else(PoisonError::into_inner);
                search_in(&connection, &state, &targets, &request, now)
            })
            .await;
        }
        let targets = self.targets(&request.indices, request.ignore_unavailable)?;
        blocking(move || state.read(|connection| search_in(connection, &state, &targets, &request, now))).await
    }

    pub(super) async fn run_count(&self, indices: &[String], query: &Query) -> Result<u64, StoreError> {
        let now = self.options.clock.now();
        let targets = self.targets(indices, true)?;
        let (state, query) = (self.state.clone(), query.clone());
        blocking(move || {
            let mut total = 0;
            for (backing, searcher) in &targets.backing {
                total += stream_search::count(backing, searcher, &query, now)?;
            }
            state.read(|connection| {
                for name in &targets.indices {
                    if let Some(meta) = state.index(name) {
                        total += state_search::count(connection, name, &meta, &query, now)?;
                    }
                }
                Ok(total)
            })
        })
        .await
    }

    pub(super) async fn freeze(&self, indices: &[String], keep_alive: Duration) -> Result<String, StoreError> {
        let targets = self.targets(indices, true)?;
        let state = self.state.clone();
        let view = blocking(move || {
            let connection = state.reader()?;
            // The snapshot starts with the first read, not with BEGIN.
            connection
                .execute_batch("BEGIN; SELECT count(*) FROM indices;")
                .map_err(store_error)?;
            Ok(PointInTime {
                connection: connection.into(),
                indices: targets.indices,
                searchers: targets.backing,
            })
        })
        .await?;
        self.points_in_time.insert(view, keep_alive)
    }

    /// What an index expression stands for; a name that is not there is an error unless it may be missing.
    pub(super) fn targets(&self, expression: &[String], ignore_unavailable: bool) -> Result<Targets, StoreError> {
        let expression: Vec<String> = expression
            .iter()
            .flat_map(|part| part.split(','))
            .map(|part| part.trim().to_owned())
            .collect();
        let all = ["*".to_owned()];
        let expression = if expression.is_empty() {
            &all[..]
        } else {
            &expression[..]
        };
        let mut found = Targets {
            indices: Vec::new(),
            backing: Vec::new(),
        };
        for (name, _) in self.state.indices() {
            if pattern::selects(expression, &name) {
                found.indices.push(name);
            }
        }
        let mut names: Vec<String> = found.indices.clone();
        for stream in self.streams.all() {
            let whole = pattern::selects(expression, &stream.name);
            names.push(stream.name.clone());
            let backing = stream.parts().backing.clone();
            for one in backing {
                if whole || pattern::selects(expression, &one.row.name) {
                    let searcher = one.searcher()?;
                    names.push(one.row.name.clone());
                    found.backing.push((one, searcher));
                }
            }
        }
        let missing = expression.iter().find(|part| {
            !pattern::is_pattern(part) && !part.starts_with('-') && *part != "_all" && !names.contains(part)
        });
        match missing {
            Some(missing) if !ignore_unavailable => Err(StoreError::IndexNotFound(missing.clone())),
            _ => Ok(found),
        }
    }
}

fn search_in(
    connection: &Connection,
    state: &State,
    targets: &Targets,
    request: &SearchRequest,
    now: jiff::Timestamp,
) -> Result<SearchResponse, StoreError> {
    let refused = |error: QueryError| StoreError::Unsupported(error.message);
    let plan = Plan::compile_at(&request.aggregations, now).map_err(refused)?;
    let mut gathered = plan.start();
    let fast = fast_aggregations(targets, request, now)?;
    let aggregates = !request.aggregations.is_empty() && fast.is_none();
    let mut failed = None;
    let keep = request.from.saturating_add(request.size);
    let mut page = Page::new(&request.sort, request.search_after.as_deref(), keep);
    let mut total = 0;
    for name in &targets.indices {
        let Some(meta) = state.index(name) else { continue };
        total += state_search::search(connection, name, &meta, request, now, &mut page, &mut |found| {
            if aggregates && failed.is_none() {
                let mut view = StateView {
                    plan: &plan,
                    found,
                    now,
                };
                failed = plan.collect(&mut gathered, &mut view).err();
            }
        })?;
    }
    for (backing, searcher) in &targets.backing {
        let aggregating = aggregates.then_some((&plan, &mut gathered));
        total += stream_search::search(backing, searcher, request, now, &mut page, aggregating)?;
    }
    if let Some(error) = failed {
        return Err(refused(error));
    }
    let aggregations = match fast {
        Some(fast) => fast,
        None => plan.finish(gathered).map_err(refused)?,
    };
    let hits = page
        .finish(request.from)
        .into_iter()
        .map(|hit| shown(hit, request))
        .collect();
    Ok(SearchResponse {
        hits,
        total,
        total_is_lower_bound: false,
        aggregations,
    })
}

/// What tantivy itself can aggregate, when only data streams are asked.
fn fast_aggregations(
    targets: &Targets,
    request: &SearchRequest,
    now: jiff::Timestamp,
) -> Result<Option<Map<String, Value>>, StoreError> {
    if request.aggregations.is_empty() || !targets.indices.is_empty() || targets.backing.is_empty() {
        return Ok(None);
    }
    fast_aggregations::aggregate(&targets.backing, &request.aggregations, &request.query, now)
}

/// Cuts the source down to what was asked for.
fn shown(mut hit: Hit, request: &SearchRequest) -> Hit {
    if request.source == SourceFilter::All && request.fields.is_empty() {
        return hit;
    }
    let source = hit.document.source.to_value();
    hit.fields = query::fields(&source, &request.fields);
    if request.source != SourceFilter::All {
        let kept = request.source.apply(source).unwrap_or_else(|| serde_json::json!({}));
        hit.document.source = Source::from_checked(kept.to_string().into());
    }
    hit
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::Unavailable(error.to_string()))?
}
