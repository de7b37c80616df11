//! Data streams with their counts, and the newest documents of one.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::{Path, RawQuery};
use axum::response::Html;
use jiff::Timestamp;
use query::{SearchRequest, SortOrder};
use serde_json::Value;

use super::agents::Chip;
use super::explore::fields::{flatten, shown};
use super::form::Values;
use super::frame::Frame;
use super::look::{Moment, Paging, bytes, figure, url_part};
use super::order::{Column, Head, Order};
use super::problem::{Problem, show};
use super::session::SignedIn;
use crate::domain::data_streams::{self, DataStream};
use crate::domain::error::FleetError;
use crate::domain::page::PageRequest;

/// Streams of a page.
const PER_PAGE: usize = 50;
/// Fields of a metrics document in its line.
const MOST_FIELDS: usize = 12;
/// Documents of a stream that are shown.
const NEWEST: usize = 25;

#[derive(Template)]
#[template(path = "data_streams.html")]
struct List {
    frame: Frame,
    query: String,
    sort: String,
    heads: Vec<Head>,
    chips: Vec<Chip>,
    filtered: bool,
    live_url: String,
    rows: Vec<Row>,
    paging: Paging,
    all: usize,
    documents: String,
    size: String,
}

struct Row {
    name: String,
    dataset: String,
    kind: String,
    namespace: String,
    /// The package that defines it; empty when none does.
    package: String,
    documents: String,
    size: String,
    newest: Moment,
}

#[derive(Template)]
#[template(path = "data_stream.html")]
struct Page {
    frame: Frame,
    name: String,
    total: String,
    /// There are more than those that are shown.
    has_older: bool,
    documents: Vec<Shown>,
}

/// A document: one line, and all of it when opened.
struct Shown {
    time: Moment,
    line: String,
    json: String,
}

const COLUMNS: &[Column] = &[
    Column::rising("Dataset", "dataset", ""),
    Column::rising("Type", "kind", "p2"),
    Column::rising("Namespace", "space", "p3"),
    Column::rising("Integration", "package", "p4"),
    Column::falling("Documents", "documents", "right p2"),
    Column::falling("Size", "size", "right p2"),
    Column::falling("Last activity", "activity", "right"),
];

/// Which streams, and in which order.
struct Filters {
    query: String,
    order: Order,
    values: Values,
    page: usize,
}

/// The filters that open as menus: their name, their name in the URL, and what of a stream they are about.
type Part = (&'static str, &'static str, fn(&DataStream) -> &str);
const PARTS: [Part; 4] = [
    ("Type", "type", |stream| &stream.kind),
    ("Namespace", "namespace", |stream| &stream.namespace),
    ("Dataset", "dataset", |stream| &stream.dataset),
    ("Integration", "integration", |stream| &stream.package),
];

impl Filters {
    fn of_query(query: &str) -> Self {
        let mut values = Values::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            values.push(&name, value.into_owned());
        }
        Self {
            query: values.one("q").to_owned(),
            order: Order::parse(values.one("sort")),
            page: values.one("page").parse().unwrap_or(1).max(1),
            values,
        }
    }

    fn takes(&self, stream: &DataStream) -> bool {
        let is_chosen = |(_, key, of): &Part| {
            let chosen = self.values.all(key);
            chosen.is_empty() || chosen.contains(&of(stream))
        };
        stream.index.contains(&self.query.to_lowercase()) && PARTS.iter().all(is_chosen)
    }

    fn any(&self) -> bool {
        !self.query.is_empty() || PARTS.iter().any(|(_, key, _)| !self.values.all(key).is_empty())
    }

    fn url(&self, sort: &str, page: usize) -> String {
        let mut pairs = vec![format!("q={}", url_part(&self.query)), format!("page={page}")];
        if !sort.is_empty() {
            pairs.push(format!("sort={sort}"));
        }
        for (_, key, _) in PARTS {
            let chosen = self.values.all(key).into_iter();
            pairs.extend(chosen.map(|value| format!("{key}={}", url_part(value))));
        }
        format!("/app/fleet/data-streams?{}", pairs.join("&"))
    }

    fn chips(&self, streams: &[DataStream]) -> Vec<Chip> {
        let chip = |(name, key, of): Part| {
            let present: BTreeSet<&str> = streams.iter().map(of).filter(|text| !text.is_empty()).collect();
            let choices = present.into_iter().map(|text| (text.to_owned(), text.to_owned()));
            let chosen: Vec<String> = self.values.all(key).into_iter().map(str::to_owned).collect();
            Chip::new(name, key, choices, &chosen)
        };
        PARTS.into_iter().map(chip).collect()
    }
}

fn sort(streams: &mut [DataStream], order: &Order) {
    match order.key() {
        "dataset" => order.sort(streams, |stream| stream.dataset.clone()),
        "kind" => order.sort(streams, |stream| stream.kind.clone()),
        "space" => order.sort(streams, |stream| stream.namespace.clone()),
        "package" => order.sort(streams, |stream| stream.package.clone()),
        "documents" => order.sort(streams, |stream| stream.documents),
        "size" => order.sort(streams, |stream| stream.size_in_bytes),
        "activity" => order.sort(streams, |stream| stream.last_activity_ms),
        _ => {}
    }
}

pub(super) async fn list(reader: SignedIn, RawQuery(query): RawQuery) -> Result<Html<String>, Problem> {
    let filters = Filters::of_query(&query.unwrap_or_default());
    let streams = data_streams::list(&reader.console).await?;
    let now = reader.console.clock.now();
    let (chips, all) = (filters.chips(&streams), streams.len());
    let mut chosen: Vec<DataStream> = streams.into_iter().filter(|stream| filters.takes(stream)).collect();
    sort(&mut chosen, &filters.order);
    let sorted = filters.order.written(COLUMNS);
    let (documents, size) = (
        chosen.iter().map(|stream| stream.documents).sum(),
        chosen.iter().map(|stream| stream.size_in_bytes).sum(),
    );
    let request = PageRequest {
        page: filters.page,
        per_page: PER_PAGE,
    };
    let found = request.of(chosen);
    let page = List {
        frame: Frame::new(&reader, "Data streams", "Data streams"),
        documents: figure(documents),
        size: bytes(size),
        chips,
        all,
        filtered: filters.any(),
        live_url: filters.url(sorted, filters.page),
        paging: Paging::of(&found, |number| filters.url(sorted, number)),
        heads: filters.order.heads(COLUMNS, |sort| filters.url(sort, 1)),
        sort: sorted.to_owned(),
        query: filters.query.clone(),
        rows: found
            .items
            .into_iter()
            .map(|stream| Row {
                newest: newest(now, stream.last_activity_ms),
                documents: figure(stream.documents),
                size: bytes(stream.size_in_bytes),
                name: stream.index,
                dataset: stream.dataset,
                kind: stream.kind,
                namespace: stream.namespace,
                package: stream.package,
            })
            .collect(),
    };
    show(&page)
}

fn newest(now: Timestamp, milliseconds: i64) -> Moment {
    match Timestamp::from_millisecond(milliseconds) {
        Ok(time) if milliseconds > 0 => Moment::of(now, time),
        _ => Moment::parse(now, None),
    }
}

pub(super) async fn page(reader: SignedIn, Path(name): Path<String>) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    if !data_streams::list(console)
        .await?
        .iter()
        .any(|stream| stream.index == name)
    {
        return Err(FleetError::NotFound(format!("There is no data stream {name}.")).into());
    }
    let request = SearchRequest {
        track_total_hits: u64::MAX,
        ..SearchRequest::new(name.as_str())
    };
    let found = console
        .store
        .search(request.size(NEWEST).sort_by("@timestamp", SortOrder::Descending))
        .await
        .map_err(FleetError::from)?;
    let now = console.clock.now();
    let page = Page {
        frame: Frame::new(&reader, "Data streams", name.as_str()),
        name,
        total: figure(found.total),
        has_older: found.total > found.hits.len() as u64,
        documents: found
            .hits
            .iter()
            .map(|hit| Shown::of(&hit.document.source.to_value(), now))
            .collect(),
    };
    show(&page)
}

impl Shown {
    fn of(source: &Value, now: Timestamp) -> Self {
        let line = match source["message"].as_str() {
            Some(message) => message.to_owned(),
            None => own_fields(source),
        };
        Self {
            time: Moment::parse(now, source["@timestamp"].as_str()),
            line,
            json: serde_json::to_string_pretty(source).unwrap_or_default(),
        }
    }
}

/// What a metrics document is about: the part below its module.
fn own_fields(source: &Value) -> String {
    let module = source
        .pointer("/event/module")
        .and_then(Value::as_str)
        .unwrap_or("system");
    let part = source.get(module).or_else(|| source.get("host")).unwrap_or(source);
    let fields = flatten(part).into_iter();
    let fields = fields.map(|(name, value)| format!("{name} {}", shown(value)));
    fields.take(MOST_FIELDS).collect::<Vec<_>>().join(" · ")
}
