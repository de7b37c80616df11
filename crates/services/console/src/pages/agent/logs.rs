//! What an agent says: searched, narrowed by dataset, level and time, newest first, live.

use query::{Query, SearchRequest, SortOrder};
use serde::Deserialize;
use serde_json::json;
use store::StoreError;

use super::super::agents::Choice;
use super::super::explore::state::{State, kql};
use super::super::log_line::LogLine;
use super::super::look::{figure, url_part};
use super::super::timeline::{RANGES, Range, Span, Timeline, aggregate, aggregation};
use crate::Console;
use crate::domain::agents::Agent;
use crate::domain::error::FleetError;
use crate::domain::kuery;

/// Lines that are shown.
const LINES: usize = 200;
/// Datasets to choose from.
const DATASETS: usize = 50;
/// What the agent says about itself; its integrations' logs are in others.
const OWN: &str = "logs-elastic_agent*";
const ALL: &str = "logs-*-*";
const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

/// What stands in the URL.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::pages) struct Wanted {
    pub(super) done: Option<String>,
    /// KQL, or words of the message.
    q: String,
    /// Empty: the agent's own; `all`; a dataset.
    dataset: String,
    level: String,
    range: String,
}

pub(super) struct Logs {
    pub(super) query: String,
    pub(super) wrong: String,
    pub(super) datasets: Vec<Choice>,
    pub(super) levels: Vec<Choice>,
    pub(super) ranges: Vec<Choice>,
    pub(super) lines: Vec<LogLine>,
    pub(super) total: String,
    pub(super) is_narrowed: bool,
    pub(super) live_url: String,
    pub(super) explore: String,
}

impl Logs {
    pub(super) async fn of(console: &Console, agent: &Agent, wanted: Wanted) -> Result<Self, FleetError> {
        let range = wanted.range();
        let (found, wrong) = match wanted.text() {
            Ok(text) => (Found::of(console, &agent.id, &wanted, text).await?, String::new()),
            Err(error @ FleetError::Invalid { .. }) => (Found::default(), error.to_string()),
            Err(error) => return Err(error),
        };
        let choices = |any: &str, values: Vec<String>, chosen: &str| {
            let first = (String::new(), any.to_owned());
            let all = std::iter::once(first).chain(values.into_iter().map(|value| (value.clone(), value)));
            all.map(|(value, name)| Choice {
                selected: value == chosen,
                value,
                name,
            })
            .collect::<Vec<_>>()
        };
        let mut datasets = choices(
            "The agent itself",
            datasets(console, &agent.id, range).await?,
            &wanted.dataset,
        );
        datasets.insert(
            1,
            Choice {
                value: "all".to_owned(),
                name: "All its logs".to_owned(),
                selected: wanted.dataset == "all",
            },
        );
        Ok(Self {
            datasets,
            levels: choices("Any level", LEVELS.map(str::to_owned).to_vec(), &wanted.level),
            ranges: RANGES
                .map(|one| Choice {
                    value: one.key.to_owned(),
                    name: Span::Last(one).name(),
                    selected: one.key == range.key,
                })
                .to_vec(),
            lines: found.lines,
            total: figure(found.total),
            wrong,
            is_narrowed: !wanted.q.is_empty() || !wanted.level.is_empty(),
            live_url: wanted.url(&agent.id),
            explore: wanted.explore(&agent.id),
            query: wanted.q,
        })
    }
}

/// What the agent said last about itself, the newest first.
pub(super) async fn newest(console: &Console, agent: &Agent, lines: usize) -> Result<Vec<LogLine>, FleetError> {
    let wanted = Wanted::default();
    let mut found = Found::of(console, &agent.id, &wanted, Query::MatchAll).await?.lines;
    found.truncate(lines);
    Ok(found)
}

#[derive(Default)]
struct Found {
    lines: Vec<LogLine>,
    total: u64,
}

impl Found {
    async fn of(console: &Console, id: &str, wanted: &Wanted, text: Query) -> Result<Self, FleetError> {
        let mut clauses = vec![
            Query::term("agent.id", id),
            Timeline::ending(console.clock.now(), wanted.range()).filter(),
            text,
        ];
        if !wanted.level.is_empty() {
            clauses.push(Query::term("log.level", wanted.level.as_str()));
        }
        if wanted.names_dataset() {
            clauses.push(Query::term("data_stream.dataset", wanted.dataset.as_str()));
        }
        let index = if wanted.dataset.is_empty() { OWN } else { ALL };
        let request = SearchRequest {
            ignore_unavailable: true,
            ..SearchRequest::new(index)
        };
        let request = request
            .query(Query::all_of(clauses))
            .size(LINES)
            .sort_by("@timestamp", SortOrder::Descending);
        match console.store.search(request).await {
            Ok(found) => Ok(Self {
                total: found.total,
                lines: found
                    .hits
                    .iter()
                    .map(|hit| LogLine::of(&hit.document.source.to_value()))
                    .collect(),
            }),
            Err(StoreError::IndexNotFound(_)) => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The datasets that the agent has logged to in that time.
async fn datasets(console: &Console, id: &str, range: Range) -> Result<Vec<String>, FleetError> {
    let query = Query::all_of(vec![
        Query::term("agent.id", id),
        Timeline::ending(console.clock.now(), range).filter(),
    ]);
    let names = aggregation(
        "names",
        "terms",
        json!({"field": "data_stream.dataset", "size": DATASETS}),
    );
    let answer = aggregate(console, ALL, query, vec![names]).await?;
    let buckets = answer.get("names").and_then(|names| names["buckets"].as_array());
    let mut datasets: Vec<String> = buckets
        .into_iter()
        .flatten()
        .filter_map(|bucket| bucket["key"].as_str().map(str::to_owned))
        .collect();
    datasets.sort();
    Ok(datasets)
}

impl Wanted {
    fn range(&self) -> Range {
        let named = RANGES.into_iter().find(|range| range.key == self.range);
        // The agent says little: a day of it is soon read.
        named.unwrap_or(RANGES[2])
    }

    fn names_dataset(&self) -> bool {
        !self.dataset.is_empty() && self.dataset != "all"
    }

    /// KQL as it is; plain words look into the message.
    fn text(&self) -> Result<Query, FleetError> {
        let text = self.q.trim();
        if text.is_empty() || text.contains([':', '<', '>', '(']) {
            return kuery::parse(Some(text));
        }
        kuery::parse(Some(&format!("message : ({text})")))
    }

    fn url(&self, id: &str) -> String {
        let pairs = [
            ("q", &self.q),
            ("dataset", &self.dataset),
            ("level", &self.level),
            ("range", &self.range),
        ];
        let set = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        let pairs: Vec<String> = set.map(|(name, value)| format!("{name}={}", url_part(value))).collect();
        let mark = if pairs.is_empty() { "" } else { "?" };
        format!("/app/fleet/agents/{id}/logs{mark}{}", pairs.join("&"))
    }

    /// The same lines with all that Explore can do.
    fn explore(&self, id: &str) -> String {
        let mut filters = vec![kql("agent.id", id)];
        if !self.level.is_empty() {
            filters.push(kql("log.level", &self.level));
        }
        if self.names_dataset() {
            filters.push(kql("data_stream.dataset", &self.dataset));
        }
        let index = if self.dataset.is_empty() { OWN } else { ALL };
        State::of(index, &self.q, Span::Last(self.range()), filters).href()
    }
}
