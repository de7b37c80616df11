//! Reads: index expressions are resolved, both halves asked, and hits and totals merged.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use query::aggregate::Plan;
use query::mapping::Mapping;
use query::matcher::Matcher;
use query::{Query, SearchRequest, Sort, SortOrder, SourceFilter, pattern};
use rusqlite::Connection;
use serde_json::{Map, Value};
use store::{Document, Hit, Name, NameKind, Newer, SearchResponse, SeqNo, Source, StoreError};
use tantivy::Searcher;

use super::EmbeddedStore;
use crate::aggregations::StateView;
use crate::point_in_time::PointInTime;
use crate::results::Page;
use crate::state::search::{self as state_search, Place};
use crate::state::{IndexMeta, State, store_error};
use crate::streams::backing::Backing;
use crate::streams::fast_aggregations;
use crate::streams::schema::NAMED_MAPPING;
use crate::streams::search as stream_search;
use crate::streams::{Stream, Streams};

/// What an index expression stands for.
pub(super) struct Targets {
    indices: Vec<String>,
    backing: Vec<(Arc<Backing>, Searcher)>,
}

impl EmbeddedStore {
    pub(super) async fn read_document(&self, index: &str, id: &str) -> Result<Option<Document>, StoreError> {
        if let Some(meta) = self.state.index(index) {
            // One look into a table of the page cache: to hand it to another thread would cost more than it.
            return self
                .state
                .read(|connection| state_search::get(connection, index, &meta, id));
        }
        let stream = self.streams.get(index);
        let stream = stream.or_else(|| self.streams.backing(index).map(|(stream, _)| stream));
        let Some(stream) = stream else { return Ok(None) };
        let id = id.to_owned();
        blocking(move || stream.get(&id)).await
    }

    /// Only the number is looked up when it is the known one; it stands in the index of ids.
    pub(super) async fn read_newer(&self, index: &str, id: &str, known: SeqNo) -> Result<Newer, StoreError> {
        if let Some(meta) = self.state.index(index)
            && let Some(seq_no) = self
                .state
                .read(|connection| state_search::seq_no(connection, &meta, id))?
            && seq_no == known
        {
            return Ok(Newer::Unchanged);
        }
        let document = self.read_document(index, id).await?;
        Ok(document.map_or(Newer::Missing, Newer::Changed))
    }

    pub(super) async fn run_search(&self, request: SearchRequest) -> Result<SearchResponse, StoreError> {
        let now = self.options.clock.now();
        let (state, streams) = (self.state.clone(), self.streams.clone());
        if let Some(id) = &request.point_in_time {
            let view = self.points_in_time.get(id)?;
            return blocking(move || {
                let targets = Targets {
                    indices: view.indices.clone(),
                    backing: view.searchers.clone(),
                };
                let connection = view.connection.lock().unwrap_or_else(PoisonError::into_inner);
                search_in(&connection, &state, &streams, &targets, &request, now)
            })
            .await;
        }
        self.catch_up(&request.indices).await;
        let targets = self.targets(&request.indices, request.ignore_unavailable)?;
        blocking(move || {
            state.read(|connection| {
                // Sources are read after all documents were looked at: a document that changes meanwhile must still be there.
                let snapshot = connection.unchecked_transaction().map_err(store_error)?;
                let found = search_in(&snapshot, &state, &streams, &targets, &request, now)?;
                snapshot.commit().map_err(store_error)?;
                Ok(found)
            })
        })
        .await
    }

    pub(super) async fn run_count(&self, indices: &[String], query: &Query) -> Result<u64, StoreError> {
        let now = self.options.clock.now();
        self.catch_up(indices).await;
        let targets = self.targets(indices, true)?;
        let (state, streams, query) = (self.state.clone(), self.streams.clone(), query.clone());
        blocking(move || {
            let mut total = 0;
            for (backing, searcher) in &targets.backing {
                total += stream_search::count(backing, searcher, &query, now, &streams.answers)?;
            }
            state.read(|connection| {
                for name in &targets.indices {
                    if let Some(index) = state.index(name) {
                        let place = Place {
                            connection,
                            state: &state,
                            name,
                            index: &index,
                            now,
                        };
                        total += state_search::count(place, &query)?;
                    }
                }
                Ok(total)
            })
        })
        .await
    }

    pub(super) async fn freeze(&self, indices: &[String], keep_alive: Duration) -> Result<String, StoreError> {
        self.catch_up(indices).await;
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

    pub(super) fn known_names(&self, patterns: &[String]) -> Vec<Name> {
        let fits = |name: &str| super::lifecycle::listed(patterns, name);
        let name = |name: &str, kind| Name {
            name: name.to_owned(),
            kind,
        };
        let indices = self.state.indices().into_iter().filter(|(one, _)| fits(one));
        let mut found: Vec<Name> = indices.map(|(one, _)| name(&one, NameKind::Index)).collect();
        for stream in self.streams.all() {
            let whole = fits(&stream.name);
            if whole {
                found.push(name(&stream.name, NameKind::DataStream));
            }
            let backing = stream.parts().backing.clone();
            let backing = backing.iter().filter(|one| whole || fits(&one.row.name));
            found.extend(backing.map(|one| name(&one.row.name, NameKind::Backing(stream.name.clone()))));
        }
        found
    }

    /// Lets the documents be found of streams that nobody has looked into lately, and that somebody looks into now.
    pub(super) async fn catch_up(&self, expression: &[String]) {
        let expression = parts_of(expression);
        let is_behind = |stream: &Arc<Stream>| {
            let selected = pattern::selects(&expression, &stream.name) || {
                let backing = stream.parts().backing.clone();
                backing.iter().any(|one| pattern::selects(&expression, &one.row.name))
            };
            selected && stream.ask()
        };
        let behind = self.streams.all().iter().filter(|stream| is_behind(stream)).count();
        if behind > 0
            && let Err(error) = self.streams.flush().await
        {
            tracing::warn!(%error, "the newest documents cannot be found yet");
        }
    }

    /// What an index expression stands for; a name that is not there is an error unless it may be missing.
    pub(super) fn targets(&self, expression: &[String], ignore_unavailable: bool) -> Result<Targets, StoreError> {
        let expression = &parts_of(expression)[..];
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

/// The parts of an index expression; an empty one is everything.
fn parts_of(expression: &[String]) -> Vec<String> {
    let parts = expression.iter().flat_map(|part| part.split(','));
    let parts: Vec<String> = parts.map(|part| part.trim().to_owned()).collect();
    if parts.is_empty() { vec!["*".to_owned()] } else { parts }
}

fn search_in(
    connection: &Connection,
    state: &State,
    streams: &Streams,
    targets: &Targets,
    request: &SearchRequest,
    now: jiff::Timestamp,
) -> Result<SearchResponse, StoreError> {
    let plan = Plan::compile_at(&request.aggregations, now)?;
    let mut gathered = plan.start();
    let fast = fast_aggregations(targets, request, now, streams)?;
    let aggregating = (!request.aggregations.is_empty() && fast.is_none()).then_some(&plan);
    let keep = request.from.saturating_add(request.size);
    let mut page = Page::new(&order(request, targets), request.search_after.as_deref(), keep);
    let mut total = 0;
    for name in &targets.indices {
        let Some(index) = state.index(name) else { continue };
        let place = Place {
            connection,
            state,
            name,
            index: &index,
            now,
        };
        total += search_state(place, request, aggregating, &mut gathered, &mut page)?;
    }
    for (backing, searcher) in &targets.backing {
        let aggregating = aggregating.map(|plan| (plan, &mut gathered));
        total += stream_search::search(
            backing,
            searcher,
            request,
            now,
            &streams.answers,
            &mut page,
            aggregating,
        )?;
    }
    let aggregations = match fast {
        Some(fast) => fast,
        None => plan.finish(gathered)?,
    };
    let mut hits = Vec::new();
    for hit in page.finish(request.from) {
        hits.push(shown(hit, request, connection, state, streams)?);
    }
    Ok(SearchResponse {
        hits,
        total,
        total_is_lower_bound: false,
        aggregations,
    })
}

/// By score where nothing else is asked for and scores can differ; hits of data streams have none.
fn order(request: &SearchRequest, targets: &Targets) -> Vec<Sort> {
    if request.sort.is_empty() && !targets.indices.is_empty() && request.query.scores_differ() {
        return vec![Sort {
            field: "_score".to_owned(),
            order: SortOrder::Descending,
            ..Sort::default()
        }];
    }
    request.sort.clone()
}

fn search_state(
    place: Place<'_>,
    request: &SearchRequest,
    aggregating: Option<&Plan>,
    gathered: &mut query::aggregate::State,
    page: &mut Page,
) -> Result<u64, StoreError> {
    let filters = aggregating.map_or(&[][..], Plan::filters).iter();
    let filters = filters.map(|filter| Matcher::compile(filter, place.index.mapping.as_deref(), Some(place.now)));
    let filters: Vec<Matcher> = filters.collect::<Result<_, _>>()?;
    let mut failed = None;
    let total = state_search::search(place, request, aggregating, page, &mut |found| {
        let (Some(plan), None) = (aggregating, &failed) else {
            return;
        };
        let mut view = StateView {
            plan,
            filters: &filters,
            found,
            error: None,
        };
        failed = plan
            .collect(gathered, &mut view)
            .map_err(StoreError::from)
            .err()
            .or(view.error);
    })?;
    failed.map_or(Ok(total), Err)
}

/// What tantivy itself can aggregate, when only data streams are asked.
fn fast_aggregations(
    targets: &Targets,
    request: &SearchRequest,
    now: jiff::Timestamp,
    streams: &Streams,
) -> Result<Option<Map<String, Value>>, StoreError> {
    if request.aggregations.is_empty() || !targets.indices.is_empty() || targets.backing.is_empty() {
        return Ok(None);
    }
    let (aggregations, query) = (&request.aggregations, &request.query);
    fast_aggregations::aggregate(&targets.backing, aggregations, query, now, &streams.answers)
}

/// Reads the source, cuts it down to what was asked for, and shows what was asked for beside it.
fn shown(
    mut hit: Hit,
    request: &SearchRequest,
    connection: &Connection,
    state: &State,
    streams: &Streams,
) -> Result<Hit, StoreError> {
    let index = state.index(&hit.document.index);
    if let (Some(index), true) = (&index, hit.document.source.bytes().is_empty()) {
        hit.document.source = state_search::source(connection, index, hit.document.seq_no)?;
    }
    if request.sort.is_empty() {
        hit.sort = Vec::new();
    } else {
        for (sort, value) in request.sort.iter().zip(&mut hit.sort) {
            format_date(sort, value);
        }
    }
    if request.source == SourceFilter::All && request.fields.is_empty() {
        return Ok(hit);
    }
    let source = hit.document.source.to_value();
    hit.fields = match (index, streams.backing(&hit.document.index)) {
        (
            Some(IndexMeta {
                mapping: Some(mapping), ..
            }),
            _,
        ) => mapping.shown_fields(&source, &request.fields),
        (None, Some((_, backing))) => stream_fields(&source, request, backing.declared().as_deref()),
        _ => query::fields(&source, &request.fields),
    };
    if request.source != SourceFilter::All {
        let kept = request.source.apply(source).unwrap_or_else(|| serde_json::json!({}));
        hit.document.source = Source::from_checked(kept.to_string().into());
    }
    Ok(hit)
}

/// Values as the types show them that the template or the layout gives; all others as they came.
fn stream_fields(source: &Value, request: &SearchRequest, declared: Option<&Mapping>) -> Map<String, Value> {
    let mut shown = query::fields(source, &request.fields);
    shown.extend(NAMED_MAPPING.shown_fields(source, &request.fields));
    if let Some(declared) = declared {
        shown.extend(declared.shown_fields(source, &request.fields));
    }
    shown
}

/// A sort value of a date in the format that was asked for.
fn format_date(sort: &Sort, value: &mut Value) {
    if let (Some(format), Some(millis)) = (&sort.format, value.as_i64())
        && let Ok(time) = jiff::Timestamp::from_millisecond(millis)
    {
        let time = time.to_zoned(jiff::tz::TimeZone::UTC);
        *value = Value::from(query::date_math::write_format(&time, Some(format)));
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::Unavailable(error.to_string()))?
}
