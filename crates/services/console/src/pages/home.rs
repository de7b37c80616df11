//! Home: how the fleet is, what comes in, what was changed, what to do next.

use askama::Template;
use axum::response::Html;
use jiff::Timestamp;
use serde_json::Value;

use super::audit_log::Change;
use super::chart::{self, Chart, Series};
use super::frame::Frame;
use super::look::{Look, Moment, Segment, bytes, figure, segments, url_part};
use super::problem::{Problem, show};
use super::session::SignedIn;
use super::timeline::{RANGES, Timeline, aggregate};
use super::trust::Certificate;
use super::trust::verdict::{SOON, Verdict, days, days_until, tone};
use crate::Console;
use crate::domain::agent_status::AgentStatus;
use crate::domain::agents::{self, AgentFilter, StatusSummary};
use crate::domain::certificates::{self, CertificateInUse};
use crate::domain::connections::{self, Connection, Connections, Kind, Party};
use crate::domain::error::FleetError;
use crate::domain::{audit, connection_tests, data_streams};

const CHANGES: usize = 6;

/// Certificates that are shown.
const CERTIFICATES: usize = 4;

#[derive(Template)]
#[template(path = "home.html")]
struct Page {
    frame: Frame,
    name: String,
    agents: String,
    healthy: String,
    healthy_count: String,
    segments: Vec<Segment>,
    counts: Vec<(Look, String, &'static str)>,
    rate: String,
    documents: String,
    size: String,
    streams: usize,
    newest: Moment,
    ingest: Chart,
    attention: Vec<Attention>,
    certificates: Vec<Certificate>,
    certificate_count: usize,
    changes: Vec<Change>,
    servers: Vec<Server>,
    may_see_audit: bool,
}

/// Something to do: what, what is lost, where to look.
struct Attention {
    icon: &'static str,
    tone: &'static str,
    what: String,
    effect: String,
    href: String,
    button: &'static str,
}

/// A server that agents or people connect to.
struct Server {
    name: String,
    url: String,
    href: String,
    look: Look,
    took: String,
}

/// Worst last, as the meter shows them.
const SHOWN: [&[AgentStatus]; 5] = [
    &[AgentStatus::Online],
    &[AgentStatus::Degraded, AgentStatus::Orphaned],
    &[AgentStatus::Error],
    &[AgentStatus::Updating, AgentStatus::Enrolling, AgentStatus::Unenrolling],
    &[AgentStatus::Offline],
];

pub(super) async fn page(reader: SignedIn) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let now = console.clock.now();
    let summary = agents::summary(console, &AgentFilter::default()).await?;
    let streams = data_streams::list(console).await?;
    let total: u64 = SHOWN.iter().map(|group| summary.of_all(group)).sum();
    let newest = streams
        .iter()
        .map(|stream| stream.last_activity_ms)
        .max()
        .filter(|newest| *newest > 0);
    let newest = newest.and_then(|newest| jiff::Timestamp::from_millisecond(newest).ok());
    let map = connections::all(console).await?;
    let known = certificates::of(console, &map).await?;
    let (ingest, rate) = ingest(console).await?;
    let page = Page {
        frame: Frame::new(&reader, "Home", "Home"),
        healthy_count: figure(summary.of(AgentStatus::Online)),
        certificate_count: known.len(),
        certificates: known
            .iter()
            .take(CERTIFICATES)
            .map(|one| Certificate::of(one, now))
            .collect(),
        servers: servers(console, &map, now),
        may_see_audit: reader.may_change(),
        rate,
        ingest,
        name: console.settings.host_name.clone(),
        agents: figure(total),
        healthy: share(summary.of(AgentStatus::Online), total),
        segments: segments(&SHOWN.map(|group| (Look::of_agent(group[0]).tone, summary.of_all(group)))),
        counts: SHOWN
            .iter()
            .map(|group| (Look::of_agent(group[0]), figure(summary.of_all(group)), group[0].name()))
            .collect(),
        documents: figure(streams.iter().map(|stream| stream.documents).sum()),
        size: bytes(streams.iter().map(|stream| stream.size_in_bytes).sum()),
        streams: streams.len(),
        newest: newest.map_or_else(|| Moment::parse(now, None), |newest| Moment::of(now, newest)),
        attention: {
            let mut rows = agents_to_look_at(&summary, total);
            rows.extend(certificates_to_replace(&known, now));
            rows.extend(connections_to_look_at(console, &map, now));
            rows.extend(next_steps(&summary, total, streams.len()));
            rows
        },
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
        let share = format!("{:.1}", part as f64 * 100.0 / whole as f64);
        share.trim_end_matches(".0").to_owned()
    }
}

/// Documents a second, all data streams together.
async fn ingest(console: &Console) -> Result<(Chart, String), FleetError> {
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
    let mut buckets =
        timeline.buckets(|from, to| Some(format!("/app/explore?index=logs-*%2Cmetrics-*&from={from}&to={to}")));
    // The minute that is not over would look like a fall, unless it is the first.
    if values.iter().rev().skip(1).any(Option::is_some) {
        values.pop();
        buckets.pop();
    }
    let last = values.last().copied().flatten();
    let series = [Series {
        name: "all data streams",
        tone: "c1",
        values,
    }];
    let chart = chart::lines("Ingest", "documents a second", &buckets, &series);
    Ok((chart, last.map_or_else(|| "0".to_owned(), chart::short)))
}

fn agents_to_look_at(summary: &StatusSummary, total: u64) -> Vec<Attention> {
    let texts = [
        (
            AgentStatus::Error,
            "error",
            "bad",
            "failed",
            "What they collect may be missing until they are repaired.",
        ),
        (
            AgentStatus::Degraded,
            "warning",
            "warn",
            "unhealthy",
            "A part of them does not work; the rest goes on.",
        ),
        (
            AgentStatus::Offline,
            "warning",
            "warn",
            "offline",
            "They keep what they collect and send it when they are back.",
        ),
    ];
    let row = |(status, icon, tone, word, effect): (AgentStatus, &'static str, &'static str, &str, &str)| {
        let count = summary.of(status);
        let verb = if count == 1 { "agent is" } else { "agents are" };
        (count > 0).then(|| Attention {
            icon,
            tone,
            what: format!("{} of {} {verb} {word}", figure(count), figure(total)),
            effect: effect.to_owned(),
            href: format!("/app/fleet/agents?status={}", status.name()),
            button: "View agents",
        })
    };
    texts.into_iter().filter_map(row).collect()
}

fn certificates_to_replace(known: &[CertificateInUse], now: Timestamp) -> Vec<Attention> {
    let row = |certificate: &CertificateInUse| {
        let left = days_until(now, certificate.summary.not_after);
        (left <= SOON).then(|| Attention {
            icon: "certificate",
            tone: tone(left),
            what: if left < 0 {
                format!("{} {}", certificate.name(), days(left))
            } else {
                format!("{} expires in {}", certificate.name(), days(left))
            },
            effect: "Whoever checks it will refuse the connection from then on.".to_owned(),
            href: format!("/app/trust/certificates?q={}", certificate.summary.fingerprint),
            button: "View",
        })
    };
    known.iter().filter_map(row).collect()
}

/// Connections that fail or are not verified; what expires is told with its certificate.
fn connections_to_look_at(console: &Console, map: &Connections, now: Timestamp) -> Vec<Attention> {
    let name = |id: &str| {
        map.parties
            .iter()
            .find(|party| party.id == id)
            .map_or(id.to_owned(), |party| party.name.clone())
    };
    let row = |connection: &Connection| {
        let tested = connection_tests::outcome(console, connection);
        let verdict = Verdict::of(connection, tested.as_ref(), now);
        if !matches!(verdict.look.word.as_str(), "Failing" | "Not verified") {
            return None;
        }
        let (tone, what, _) = verdict
            .rules
            .into_iter()
            .find(|(tone, ..)| matches!(*tone, "bad" | "warn"))?;
        Some(Attention {
            icon: if tone == "bad" { "error" } else { "unlock" },
            tone,
            what: format!(
                "{} to {}: {}",
                name(&connection.from),
                name(&connection.to),
                verdict.look.word.to_lowercase()
            ),
            effect: what,
            href: format!("/app/trust/map?edge={}#connection", url_part(&connection.id)),
            button: "View",
        })
    };
    map.connections.iter().filter_map(row).take(5).collect()
}

/// For who has just begun.
fn next_steps(summary: &StatusSummary, total: u64, streams: usize) -> Vec<Attention> {
    let step = |icon, what: &str, effect: &str, href: &str, button| Attention {
        icon,
        tone: "",
        what: what.to_owned(),
        effect: effect.to_owned(),
        href: href.to_owned(),
        button,
    };
    let mut steps = Vec::new();
    if total == 0 {
        let effect = "One command on a host enrolls it.";
        steps.push(step(
            "plus",
            "No agent is enrolled yet",
            effect,
            "/app/fleet/agents/add",
            "Add agent",
        ));
    } else if total == 1 && summary.of(AgentStatus::Online) == 1 {
        let effect = "This host reports already. One command enrolls another.";
        steps.push(step(
            "plus",
            "Add a second host",
            effect,
            "/app/fleet/agents/add",
            "Add agent",
        ));
        let effect = "Its policy collects the host's own; any log file is one integration away.";
        steps.push(step(
            "policy",
            "Collect the logs of your programs",
            effect,
            "/app/fleet/policies/default-policy",
            "Add integration",
        ));
        if streams > 0 {
            let effect = "Search the logs and metrics that have come in.";
            steps.push(step("chart", "Look at your data", effect, "/app/explore", "Explore"));
        }
    }
    if total > 0 && streams == 0 {
        let effect = "Integrations of a policy say what its agents collect.";
        steps.push(step(
            "streams",
            "No data has come in yet",
            effect,
            "/app/fleet/policies",
            "Agent policies",
        ));
    }
    steps
}

/// Each server once, with how it answered last.
fn servers(console: &Console, map: &Connections, now: Timestamp) -> Vec<Server> {
    let is_server = |kind: Kind| matches!(kind, Kind::Console | Kind::FleetServer | Kind::Output);
    let server = |party: &Party| {
        let connection = map.connections.iter().find(|connection| connection.to == party.id)?;
        let tested = connection_tests::outcome(console, connection);
        Some(Server {
            name: party.name.clone(),
            url: connection.urls.first().cloned().unwrap_or_default(),
            href: format!("/app/trust/map?edge={}#connection", url_part(&connection.id)),
            look: Verdict::of(connection, tested.as_ref(), now).look,
            took: tested.map_or_else(|| "–".to_owned(), |tested| format!("{} ms", tested.milliseconds)),
        })
    };
    map.parties
        .iter()
        .filter(|party| is_server(party.kind))
        .filter_map(server)
        .collect()
}
