//! Home: how the fleet is, what comes in, what was changed, what to do next.

use askama::Template;
use axum::response::Html;
use serde_json::Value;

use super::chart::{self, Chart, Series};
use super::frame::Frame;
use super::look::{Look, Moment, Segment, bytes, figure, segments};
use super::problem::{Problem, show};
use super::session::SignedIn;
use super::timeline::{RANGES, Timeline, aggregate};
use crate::Console;
use crate::domain::agent_status::AgentStatus;
use crate::domain::agents::{self, AgentFilter, StatusSummary};
use crate::domain::error::FleetError;
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
    ingest: Chart,
    attention: Vec<Attention>,
    changes: Vec<Change>,
}

/// Something to do: what, what is lost, where to look.
struct Attention {
    icon: &'static str,
    what: String,
    effect: &'static str,
    href: String,
    button: &'static str,
}

struct Change {
    time: Moment,
    actor: String,
    what: String,
    object: String,
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
        ingest: ingest(console).await?,
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

/// Documents a second, all data streams together.
async fn ingest(console: &Console) -> Result<Chart, FleetError> {
    let timeline = Timeline::ending(console.clock.now(), RANGES[1]);
    let answer = aggregate(
        console,
        "logs-*,metrics-*",
        timeline.filter(),
        vec![timeline.histogram(Vec::new())],
    )
    .await?;
    let rate = |bucket: &Value| {
        bucket["doc_count"]
            .as_f64()
            .map(|count| count / timeline.seconds_per_bucket())
    };
    let mut values = timeline.values(&answer, rate);
    // The minute that is not over would look like a fall.
    values.pop();
    let mut buckets = timeline.buckets(|_, _| None);
    buckets.pop();
    let series = [Series {
        name: "all data streams",
        tone: "c1",
        values,
    }];
    Ok(chart::lines("Ingest", "documents a second", &buckets, &series))
}

fn attention(summary: &StatusSummary, total: u64) -> Vec<Attention> {
    let texts = [
        (
            AgentStatus::Error,
            "error",
            "failed",
            "What they collect may be missing until they are repaired.",
        ),
        (
            AgentStatus::Degraded,
            "warning",
            "unhealthy",
            "A part of them does not work; the rest goes on.",
        ),
        (
            AgentStatus::Offline,
            "warning",
            "offline",
            "They keep what they collect and send it when they are back.",
        ),
    ];
    let row = |(status, icon, word, effect): (AgentStatus, &'static str, &str, &'static str)| {
        let count = summary.of(status);
        let verb = if count == 1 { "agent is" } else { "agents are" };
        (count > 0).then(|| Attention {
            icon,
            what: format!("{} {verb} {word}", figure(count)),
            effect,
            href: format!("/app/fleet/agents?status={}", status.name()),
            button: "View agents",
        })
    };
    let mut rows: Vec<Attention> = texts.into_iter().filter_map(row).collect();
    if total == 0 {
        rows.push(Attention {
            icon: "plus",
            what: "No agent is enrolled yet".to_owned(),
            effect: "One command on a host enrols it.",
            href: "/app/fleet/agents/add".to_owned(),
            button: "Add agent",
        });
    }
    rows
}

impl Change {
    fn of(record: &serde_json::Map<String, Value>, now: jiff::Timestamp) -> Self {
        let text = |key: &str| record.get(key).and_then(Value::as_str).unwrap_or_default();
        let object = record.get("object").cloned().unwrap_or_default();
        let verb = match text("action") {
            "create" => "created",
            "delete" => "deleted",
            _ => "changed",
        };
        let kind = object["type"].as_str().unwrap_or_default().replace(['_', '-'], " ");
        // Names say more than ids; they are in what was written.
        let named = |key: &str| {
            let content: Value = serde_json::from_str(text(key)).ok()?;
            content["name"].as_str().map(str::to_owned)
        };
        let name = named("after").or_else(|| named("before"));
        Self {
            time: Moment::parse(now, record.get("@timestamp").and_then(Value::as_str)),
            actor: text("actor").to_owned(),
            what: format!("{verb} {kind}"),
            object: name.unwrap_or_else(|| object["id"].as_str().unwrap_or_default().to_owned()),
        }
    }
}
