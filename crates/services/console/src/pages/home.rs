//! Home: how the fleet is, what comes in, what was changed, what to do next.

use askama::Template;
use axum::response::Html;
use serde_json::Value;

use super::frame::Frame;
use super::look::{Look, Moment, Segment, bytes, figure, segments};
use super::problem::{Problem, show};
use super::session::SignedIn;
use crate::domain::agent_status::AgentStatus;
use crate::domain::agents::{self, AgentFilter, StatusSummary};
use crate::domain::{audit, data_streams};

const CHANGES: usize = 8;

#[derive(Template)]
#[template(path = "home.html")]
struct Page {
    frame: Frame,
    name: String,
    agents: String,
    healthy: String,
    segments: Vec<Segment>,
    counts: Vec<(Look, String, &'static str)>,
    documents: String,
    size: String,
    streams: usize,
    newest: Moment,
    attention: Vec<(&'static str, String, String)>,
    changes: Vec<Change>,
}

struct Change {
    time: Moment,
    text: String,
}

/// Worst last, as the meter shows them.
const SHOWN: [(AgentStatus, &str); 5] = [
    (AgentStatus::Online, "ok"),
    (AgentStatus::Degraded, "warn"),
    (AgentStatus::Error, "bad"),
    (AgentStatus::Updating, "act"),
    (AgentStatus::Offline, "off"),
];

pub(super) async fn page(reader: SignedIn) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let now = console.clock.now();
    let summary = agents::summary(console, &AgentFilter::default()).await?;
    let streams = data_streams::list(console).await?;
    let total: u64 = SHOWN.iter().map(|(status, _)| summary.of(*status)).sum();
    let newest = streams
        .iter()
        .map(|stream| stream.last_activity_ms)
        .max()
        .filter(|newest| *newest > 0);
    let newest = newest.and_then(|newest| jiff::Timestamp::from_millisecond(newest).ok());
    let page = Page {
        frame: Frame::new(&reader, "Home", "Home"),
        name: console.settings.host_name.clone(),
        agents: figure(total),
        healthy: share(summary.of(AgentStatus::Online), total),
        segments: segments(&SHOWN.map(|(status, tone)| (tone, summary.of(status)))),
        counts: SHOWN
            .iter()
            .map(|(status, _)| (Look::of_agent(*status), figure(summary.of(*status)), status.name()))
            .collect(),
        documents: figure(streams.iter().map(|stream| stream.documents).sum()),
        size: bytes(streams.iter().map(|stream| stream.size_in_bytes).sum()),
        streams: streams.len(),
        newest: newest.map_or_else(|| Moment::parse(now, None), |newest| Moment::of(now, newest)),
        attention: attention(&summary, total),
        changes: audit::newest(console, CHANGES)
            .await?
            .iter()
            .map(|record| Change::of(&record.fields, now))
            .collect(),
    };
    show(&page)
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        "–".to_owned()
    } else {
        format!("{:.1}", part as f64 * 100.0 / whole as f64)
    }
}

/// Icon, what is wrong, where to look.
fn attention(summary: &StatusSummary, total: u64) -> Vec<(&'static str, String, String)> {
    let mut rows = Vec::new();
    let link = |status: AgentStatus| format!("/app/fleet/agents?status={}", status.name());
    let plural = |count: u64| if count == 1 { "agent" } else { "agents" };
    let mut add = |status: AgentStatus, icon, what: &str| {
        let count = summary.of(status);
        if count > 0 {
            rows.push((
                icon,
                format!("{} {} {what}", figure(count), plural(count)),
                link(status),
            ));
        }
    };
    add(AgentStatus::Error, "error", "failed");
    add(
        AgentStatus::Degraded,
        "warning",
        "unhealthy: a part of them does not work",
    );
    add(AgentStatus::Offline, "warning", "offline for five minutes or more");
    if total == 0 {
        rows.push((
            "plus",
            "No agent is enrolled yet".to_owned(),
            "/app/fleet/agents/add".to_owned(),
        ));
    }
    rows
}

impl Change {
    fn of(record: &serde_json::Map<String, Value>, now: jiff::Timestamp) -> Self {
        let record = Value::Object(record.clone());
        let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let verb = match text("/action") {
            "create" => "created",
            "delete" => "deleted",
            _ => "changed",
        };
        let object = text("/object/type").replace(['_', '-'], " ");
        Self {
            time: Moment::parse(now, record["@timestamp"].as_str()),
            text: format!("{} {verb} {object} {}", text("/actor"), text("/object/id")),
        }
    }
}
