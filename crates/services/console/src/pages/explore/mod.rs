//! Explore: search in what agents ship, over time, by field, document by document.
//!
//! [`state`] is the URL, [`documents`] the rows, [`fields`] the list beside them, [`suggest`] what the search bar offers.

pub(in crate::pages) mod documents;
pub(in crate::pages) mod fields;
pub(in crate::pages) mod state;
mod suggest;

use std::time::Instant;

use askama::Template;
use axum::extract::{Form, Path, RawQuery};
use axum::response::{Html, IntoResponse, Redirect, Response};
use query::{Aggregation, Query, SearchRequest};
use serde::Deserialize;
use serde_json::{Value, json};
use store::Hit;

use self::documents::{Row, around, order, words};
use self::fields::FieldList;
use self::state::{PATH, State, View};
pub(super) use self::suggest::list as suggest;
use super::chart::{self, Chart, Series};
use super::form::Submission;
use super::frame::Frame;
use super::look::{figure, url_part};
use super::mistake;
use super::problem::{Problem, show};
use super::question::{self, Question};
use super::session::SignedIn;
use super::timeline::{RANGES, Timeline, aggregation};
use crate::Console;
use crate::domain::data_streams;
use crate::domain::error::FleetError;
use crate::domain::saved_searches::{self, SavedSearch};

/// What a search may look like.
const EXAMPLE: &str = "log.level : error and host.name : web*";

/// Documents on a page.
const ROWS: usize = 50;

#[derive(Template)]
#[template(path = "explore.html")]
struct Page {
    frame: Frame,
    state: State,
    written: String,
    indices: Vec<(String, bool)>,
    wrong: String,
    chips: Vec<(String, String)>,
    clear: String,
    ranges: Vec<(&'static str, String, bool)>,
    span: String,
    live_url: String,
    live_switch: String,
    found: Found,
    saved: Vec<(SavedSearch, String)>,
    may_change: bool,
    share: String,
}

/// What a search brought.
#[derive(Default)]
struct Found {
    total: String,
    of: String,
    took: u128,
    levels: Vec<(&'static str, &'static str, String)>,
    chart: Chart,
    fields: FieldList,
    rows: Vec<Row>,
    columns: Vec<(String, String)>,
    older: Option<String>,
    newest: Option<String>,
    is_default_table: bool,
}

#[derive(Deserialize)]
pub(super) struct NewSearch {
    #[serde(default)]
    csrf_token: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    url_query: String,
}

pub(super) async fn page(reader: SignedIn, RawQuery(query): RawQuery) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let query = query.unwrap_or_default();
    let state = State::parse(&query);
    let (wrong, found) = match state.clause() {
        Ok(clause) => (String::new(), Found::of(console, &state, clause).await?),
        Err(error) => (
            mistake::told(&state.query, &error.to_string(), EXAMPLE),
            Found::default(),
        ),
    };
    let done = query.split('&').find_map(|pair| pair.strip_prefix("done="));
    let toast = match done {
        Some("saved") => Some("The search is saved."),
        Some("forgotten") => Some("The saved search is gone."),
        _ => None,
    };
    let page = Page {
        frame: Frame::new(&reader, "Explore", "Explore").toast(toast),
        written: state.written(),
        indices: indices(console, &state.index).await?,
        wrong,
        chips: chips(&state),
        clear: state.narrowed(|state| {
            state.filters.clear();
            state.query.clear();
        }),
        ranges: RANGES
            .iter()
            .map(|range| {
                let span = super::timeline::Span::Last(*range);
                (
                    range.name(),
                    state.narrowed(|state| state.span = span),
                    state.span == span,
                )
            })
            .collect(),
        span: state.span.name(),
        live_url: state.href(),
        live_switch: state.narrowed(|state| state.live = !state.live),
        found,
        saved: saved_searches::list(console)
            .await?
            .into_iter()
            .map(|search| {
                let href = format!("{PATH}?{}", search.url_query);
                (search, href)
            })
            .collect(),
        may_change: reader.may_change(),
        share: state.href(),
        state,
    };
    show(&page)
}

pub(super) async fn save(reader: SignedIn, Form(new): Form<NewSearch>) -> Result<Redirect, Problem> {
    let actor = reader.who_changes(&new.csrf_token)?;
    // Parsed and written again, so that only a search can be kept.
    let written = State::parse(&new.url_query).written();
    saved_searches::keep(&reader.console, &actor, &new.name, &written).await?;
    Ok(Redirect::to(&format!("{PATH}?{written}&done=saved")))
}

pub(super) async fn forget(
    reader: SignedIn,
    Path(id): Path<String>,
    submission: Submission,
) -> Result<Response, Problem> {
    let actor = reader.who_changes(submission.values.one("csrf_token"))?;
    if question::comes_first(&submission.values) {
        return Question {
            section: "Explore",
            title: "Delete this saved search?".to_owned(),
            effect: "Links to it go on working: they hold the whole search.".to_owned(),
            verb: "Delete search".to_owned(),
            action: format!("{PATH}/saved/{}/delete", url_part(&id)),
            back: PATH.to_owned(),
        }
        .ask(&reader);
    }
    saved_searches::forget(&reader.console, &actor, &id).await?;
    Ok(Redirect::to(&format!("{PATH}?done=forgotten")).into_response())
}

fn chips(state: &State) -> Vec<(String, String)> {
    let chip = |filter: &String| {
        let without = state.narrowed(|state| state.filters.retain(|other| other != filter));
        (filter.clone(), without)
    };
    state.filters.iter().map(chip).collect()
}

async fn indices(console: &Console, chosen: &str) -> Result<Vec<(String, bool)>, FleetError> {
    let mut names = vec![
        "logs-*".to_owned(),
        "metrics-*".to_owned(),
        "logs-*,metrics-*".to_owned(),
    ];
    names.extend(
        data_streams::list(console)
            .await?
            .into_iter()
            .map(|stream| stream.index),
    );
    if !names.iter().any(|name| name == chosen) {
        names.push(chosen.to_owned());
    }
    let choice = |name: String| {
        let is_chosen = name == chosen;
        (name, is_chosen)
    };
    Ok(names.into_iter().map(choice).collect())
}

impl Found {
    async fn of(console: &Console, state: &State, clause: Query) -> Result<Self, FleetError> {
        let started = Instant::now();
        let now = console.clock.now();
        let timeline = Timeline::of(now, state.span);
        let time = timeline.filter();
        let words = words(&clause);
        let query = Query::all_of(vec![clause, time.clone()]);
        let indices: Vec<String> = state.index.split(',').map(str::to_owned).collect();
        let request = SearchRequest {
            indices: indices.clone(),
            ignore_unavailable: true,
            query: query.clone(),
            sort: order(),
            size: ROWS,
            search_after: serde_json::from_str(&state.after).ok(),
            aggregations: vec![timeline.histogram(vec![levels()])],
            track_total_hits: u64::MAX,
            ..SearchRequest::default()
        };
        let of = async {
            Ok(if state.is_narrowed() {
                figure(console.store.count(&indices, &time).await?)
            } else {
                String::new()
            })
        };
        let found = async { Ok::<_, FleetError>(console.store.search(request).await?) };
        // Side by side: each of them may go through all documents.
        let values = fields::top_values(console, state, &query);
        let (answer, of, values) = tokio::try_join!(found, of, values)?;
        let (chart, levels) = histogram(&timeline, state, &answer.aggregations);
        let sources: Vec<Value> = answer.hits.iter().map(|hit| hit.document.source.to_value()).collect();
        let mut rows = rows(console, state, &answer.hits, &words).await?;
        if let Some(opened) = elsewhere(console, state, &answer.hits).await? {
            rows.insert(0, row(console, state, &opened, &words).await?);
        }
        let last = answer.hits.last().filter(|_| answer.hits.len() == ROWS);
        let cursor = last.map(|hit| Value::from(hit.sort.clone()).to_string());
        Ok(Self {
            total: figure(answer.total),
            of,
            levels,
            chart,
            fields: FieldList::of(state, &values, answer.total, sources.iter()),
            rows,
            columns: columns(state),
            older: cursor.map(|cursor| {
                state.narrowed(|state| {
                    state.after = cursor;
                    state.live = false;
                })
            }),
            newest: (!state.after.is_empty()).then(|| state.narrowed(|_| {})),
            is_default_table: state.columns.is_empty(),
            took: started.elapsed().as_millis(),
        })
    }
}

fn columns(state: &State) -> Vec<(String, String)> {
    let column = |name: &String| {
        let without = state.shown(|state| state.columns.retain(|other| other != name));
        (name.clone(), without)
    };
    state.columns.iter().map(column).collect()
}

async fn rows(console: &Console, state: &State, hits: &[Hit], words: &[String]) -> Result<Vec<Row>, FleetError> {
    let mut rows = Vec::with_capacity(hits.len());
    for hit in hits {
        rows.push(row(console, state, hit, words).await?);
    }
    Ok(rows)
}

async fn row(console: &Console, state: &State, hit: &Hit, words: &[String]) -> Result<Row, FleetError> {
    let mut row = Row::of(hit, state, words, console.clock.now());
    if let Some(open) = row.open.as_mut().filter(|_| state.view == View::Surrounding) {
        open.around = around(console, &hit.document).await?;
    }
    Ok(row)
}

/// The opened document when the page does not hold it, because time went on or the link came from elsewhere.
async fn elsewhere(console: &Console, state: &State, hits: &[Hit]) -> Result<Option<Hit>, FleetError> {
    let Some((index, id)) = &state.open else {
        return Ok(None);
    };
    let is_there = |hit: &Hit| hit.document.index == *index && hit.document.id == *id;
    let is_ours = index.starts_with(".ds-logs-") || index.starts_with(".ds-metrics-") || !index.starts_with('.');
    if hits.iter().any(is_there) || !is_ours || !state::is_searchable(index.trim_start_matches(".ds-")) {
        return Ok(None);
    }
    let request = SearchRequest::new(index.as_str())
        .query(Query::Ids(vec![id.clone()]))
        .size(1);
    Ok(console.store.search(request).await?.hits.into_iter().next())
}

/// Words for a level that is told apart.
const LEVELS: [(&str, &[&str]); 2] = [
    ("error", &["error", "critical", "fatal"]),
    ("warn", &["warn", "warning"]),
];

/// Documents by their level, in each bucket of time: one pass over a column, however many documents there are.
fn levels() -> Aggregation {
    aggregation("levels", "terms", json!({"field": "log.level", "size": 50}))
}

/// How many documents of a bucket have that level, by any of its words.
fn of_level(bucket: &Value, level: &str) -> Option<f64> {
    let words = LEVELS
        .iter()
        .find(|(name, _)| *name == level)
        .map(|(_, words)| *words)?;
    let is_it = |one: &&Value| {
        let key = one["key"].as_str().unwrap_or_default();
        words.iter().any(|word| word.eq_ignore_ascii_case(key))
    };
    let buckets = bucket["levels"]["buckets"].as_array()?;
    Some(
        buckets
            .iter()
            .filter(is_it)
            .filter_map(|one| one["doc_count"].as_f64())
            .sum(),
    )
}

/// Bars of errors, warnings and the rest, and how many of each there are.
fn histogram(
    timeline: &Timeline,
    state: &State,
    answer: &serde_json::Map<String, Value>,
) -> (Chart, Vec<(&'static str, &'static str, String)>) {
    let rest_name = if state.index.starts_with("logs") {
        "info"
    } else {
        "documents"
    };
    let of = |level: &'static str| timeline.values(answer, move |bucket| of_level(bucket, level));
    let (error, warn) = (of("error"), of("warn"));
    let all = timeline.values(answer, |bucket| bucket["doc_count"].as_f64());
    let rest = all
        .iter()
        .zip(error.iter().zip(&warn))
        .map(|(all, (error, warn))| all.map(|all| (all - error.unwrap_or(0.0) - warn.unwrap_or(0.0)).max(0.0)));
    let rest = rest.collect();
    let series = [
        ("error", "bad", error),
        ("warn", "warn", warn),
        (rest_name, "off", rest),
    ]
    .map(|(name, tone, values)| Series { name, tone, values });
    let count = |series: &Series| series.values.iter().flatten().sum::<f64>() as u64;
    let levels = series
        .iter()
        .filter(|series| count(series) > 0)
        .map(|series| (series.name, series.tone, figure(count(series))))
        .collect();
    let buckets = timeline
        .buckets(|from, to| Some(state.narrowed(|state| state.span = super::timeline::Span::Between(from, to))));
    (
        chart::bars("Documents over time", "documents", &buckets, &series),
        levels,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_has_several_words() {
        let bucket = json!({"levels": {"buckets": [
            {"key": "ERROR", "doc_count": 2}, {"key": "fatal", "doc_count": 1}, {"key": "Warning", "doc_count": 4}, {"key": "info", "doc_count": 9},
        ]}});
        assert_eq!(of_level(&bucket, "error"), Some(3.0));
        assert_eq!(of_level(&bucket, "warn"), Some(4.0));
        assert_eq!(of_level(&json!({"doc_count": 1}), "warn"), None);
    }
}
