//! Data streams with their counts, and the newest documents of one.

use askama::Template;
use axum::extract::Path;
use axum::response::Html;
use jiff::Timestamp;
use query::{SearchRequest, SortOrder};
use serde_json::Value;

use super::frame::Frame;
use super::look::{Moment, bytes, figure};
use super::problem::{Problem, show};
use super::session::SignedIn;
use crate::domain::data_streams;
use crate::domain::error::FleetError;

/// Documents of a stream that are shown.
const NEWEST: usize = 25;

#[derive(Template)]
#[template(path = "data_streams.html")]
struct List {
    frame: Frame,
    rows: Vec<Row>,
    documents: String,
    size: String,
}

struct Row {
    name: String,
    dataset: String,
    kind: String,
    namespace: String,
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
    documents: Vec<Shown>,
}

/// A document: one line, and all of it when opened.
struct Shown {
    time: Moment,
    line: String,
    json: String,
}

pub(super) async fn list(reader: SignedIn) -> Result<Html<String>, Problem> {
    let streams = data_streams::list(&reader.console).await?;
    let now = reader.console.clock.now();
    let page = List {
        frame: Frame::new(&reader, "Data streams", "Data streams"),
        documents: figure(streams.iter().map(|stream| stream.documents).sum()),
        size: bytes(streams.iter().map(|stream| stream.size_in_bytes).sum()),
        rows: streams
            .into_iter()
            .map(|stream| Row {
                newest: newest(now, stream.last_activity_ms),
                documents: figure(stream.documents),
                size: bytes(stream.size_in_bytes),
                name: stream.index,
                dataset: stream.dataset,
                kind: stream.kind,
                namespace: stream.namespace,
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
    let text = part.to_string();
    text.chars().take(300).collect()
}
