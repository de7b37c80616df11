//! One agent: what it runs, how that is, what it says.

use askama::Template;
use axum::extract::{Path, Query as UrlQuery};
use axum::response::{Html, IntoResponse, Response};
use http::header;
use query::{Query, SearchRequest, SortOrder};
use serde::Deserialize;
use serde_json::Value;

use super::agents::{host_name, is_unverified};
use super::frame::Frame;
use super::look::{Look, Moment};
use super::problem::{Problem, show};
use super::session::SignedIn;
use crate::Console;
use crate::domain::agent_policies;
use crate::domain::agents::{self, Agent};
use crate::domain::connections::{self, Connection};
use crate::domain::error::FleetError;
use crate::domain::uploads;

/// Lines of the log that are shown.
const LOG_LINES: usize = 50;

#[derive(Template)]
#[template(path = "agent.html")]
struct Page {
    frame: Frame,
    id: String,
    host: String,
    look: Look,
    message: String,
    tags: Vec<String>,
    facts: Vec<(&'static str, String)>,
    policy_id: String,
    policy_name: String,
    behind: bool,
    unverified: bool,
    components: Vec<Component>,
    log: Vec<LogLine>,
    may_change: bool,
    connections: Vec<Leg>,
    diagnostics: Vec<Diagnostic>,
}

/// A connection of the agent as it is configured.
struct Leg {
    to: String,
    urls: String,
    /// What the other end is checked with, and where that is set.
    trust: Vec<(String, String)>,
    presents: String,
    look: Look,
}

/// A zip that was asked for.
struct Diagnostic {
    id: String,
    name: String,
    asked: Moment,
    look: Look,
    error: String,
    is_there: bool,
}

struct Component {
    id: String,
    look: Look,
    message: String,
    units: Vec<(String, Look, String)>,
}

/// A line of a log.
pub(super) struct LogLine {
    pub(super) time: Moment,
    pub(super) level: String,
    pub(super) message: String,
}

#[derive(Deserialize)]
pub(super) struct Done {
    done: Option<String>,
}

pub(super) async fn page(
    reader: SignedIn,
    Path(id): Path<String>,
    UrlQuery(done): UrlQuery<Done>,
) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let agent = agents::read(console, &id).await?;
    let now = console.clock.now();
    let policy_id = agent.document.policy_id.as_str().to_owned();
    let policy = match agent_policies::read(console, &policy_id).await {
        Ok(policy) => Some(policy),
        Err(FleetError::NotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let toast = done.done.as_deref().and_then(super::agent_actions::done);
    let page = Page {
        frame: Frame::new(&reader, "Agents", host_name(&agent)).toast(toast),
        host: host_name(&agent),
        look: Look::of_agent(agent.status),
        message: agent.document.last_checkin_message.clone().unwrap_or_default(),
        tags: agent.document.tags.clone(),
        facts: facts(&agent, now),
        behind: policy
            .as_ref()
            .is_some_and(|policy| Some(policy.revision) != agent.document.policy_revision_idx),
        policy_name: policy.map_or_else(|| policy_id.clone(), |policy| policy.name),
        policy_id,
        unverified: is_unverified(&agent),
        components: components(agent.document.components.as_ref()),
        log: log(console, &agent.id, now).await?,
        may_change: reader.may_change() && agent.document.active,
        connections: legs(console, agent.document.policy_id.as_str(), is_unverified(&agent)).await?,
        diagnostics: uploads::list(console, &agent.id)
            .await?
            .into_iter()
            .map(|upload| Diagnostic::of(upload, now))
            .collect(),
        id: agent.id,
    };
    show(&page)
}

/// The zip of an agent's diagnostics.
pub(super) async fn diagnostics(
    reader: SignedIn,
    Path((_, file)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let content = uploads::content(&reader.console, &file).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/zip"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"diagnostics.zip\""),
    ];
    Ok((headers, content).into_response())
}

/// The connections that the agent's policy makes; one enrolled with `--insecure` verifies no Fleet Server.
async fn legs(console: &Console, policy_id: &str, unverified: bool) -> Result<Vec<Leg>, FleetError> {
    let all = connections::all(console).await?;
    let from = format!("policy-{policy_id}");
    let leg = |connection: &Connection| {
        let to = all.parties.iter().find(|party| party.id == connection.to);
        let is_unverified = connection.is_unverified() || unverified && !connection.is_data;
        let look = match (is_unverified, connection.is_encrypted(), connection.is_mutual()) {
            (_, false, _) => Look::new("bad", "Not encrypted"),
            (true, ..) => Look::new("warn", "Not verified"),
            (_, _, true) => Look::new("ok", "Mutual TLS"),
            _ => Look::new("ok", "One-way TLS"),
        };
        Leg {
            to: to.map_or_else(|| connection.to.clone(), |party| party.name.clone()),
            urls: connection.urls.join(", "),
            trust: connection
                .trust
                .iter()
                .map(|setting| (setting.text.clone(), setting.from.clone()))
                .collect(),
            presents: connection
                .client_certificate
                .as_ref()
                .map_or_else(|| "nothing".to_owned(), |setting| setting.text.clone()),
            look,
        }
    };
    Ok(all
        .connections
        .iter()
        .filter(|connection| connection.from == from)
        .map(leg)
        .collect())
}

impl Diagnostic {
    fn of(upload: uploads::Upload, now: jiff::Timestamp) -> Self {
        let look = match upload.status {
            "READY" => Look::new("ok", "Ready"),
            "FAILED" => Look::new("bad", "Failed"),
            "DELETED" | "EXPIRED" => Look::new("off", "Gone"),
            _ => Look::new("act", "Waiting for the agent"),
        };
        Self {
            is_there: upload.status == "READY",
            look,
            asked: Moment::parse(now, Some(&upload.created_at)),
            error: upload.error.unwrap_or_default(),
            id: upload.id,
            name: upload.name,
        }
    }
}

fn facts(agent: &Agent, now: jiff::Timestamp) -> Vec<(&'static str, String)> {
    let metadata = |pointer: &str| {
        let value = agent
            .document
            .local_metadata
            .as_ref()
            .and_then(|metadata| metadata.pointer(pointer));
        match value {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            Some(Value::Null) | None => "–".to_owned(),
            Some(other) => other.to_string(),
        }
    };
    let revision = agent
        .document
        .policy_revision_idx
        .map_or_else(|| "–".to_owned(), |revision| revision.to_string());
    vec![
        ("Agent id", agent.id.clone()),
        (
            "Version",
            agent
                .document
                .agent
                .as_ref()
                .map(|agent| agent.version.clone())
                .unwrap_or_default(),
        ),
        ("Operating system", metadata("/os/full")),
        ("Kernel", metadata("/os/kernel")),
        ("Architecture", metadata("/host/architecture")),
        ("Addresses", metadata("/host/ip")),
        ("Log level", metadata("/elastic/agent/log_level")),
        ("Policy revision", revision),
        (
            "Last check-in",
            Moment::parse(now, agent.document.last_checkin.as_deref()).relative,
        ),
        ("Enrolled", Moment::parse(now, Some(&agent.document.enrolled_at)).exact),
    ]
}

fn components(components: Option<&Value>) -> Vec<Component> {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let unit = |unit: &Value| {
        let name = format!("{} {}", text(unit, "type"), text(unit, "id"));
        (name, Look::of_unit(&text(unit, "status")), text(unit, "message"))
    };
    let component = |component: &Value| Component {
        id: text(component, "id"),
        look: Look::of_unit(&text(component, "status")),
        message: text(component, "message"),
        units: component["units"].as_array().into_iter().flatten().map(unit).collect(),
    };
    components
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(component)
        .collect()
}

async fn log(console: &Console, agent_id: &str, now: jiff::Timestamp) -> Result<Vec<LogLine>, FleetError> {
    let request = SearchRequest::new("logs-elastic_agent*")
        .query(Query::term("agent.id", agent_id))
        .size(LOG_LINES)
        .sort_by("@timestamp", SortOrder::Descending);
    let found = console.store.search(request).await?;
    Ok(found
        .hits
        .iter()
        .map(|hit| LogLine::of(&hit.document.source.to_value(), now))
        .collect())
}

impl LogLine {
    /// From a document; dotted and nested fields alike.
    pub(super) fn of(source: &Value, now: jiff::Timestamp) -> Self {
        let field = |nested: &str, dotted: &str| {
            source
                .pointer(nested)
                .or_else(|| source.get(dotted))
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        Self {
            time: Moment::parse(now, source["@timestamp"].as_str()),
            level: field("/log/level", "log.level").unwrap_or_default().to_lowercase(),
            message: field("/message", "message").unwrap_or_else(|| source.to_string()),
        }
    }

    /// The class that colours it.
    pub(super) fn class(&self) -> &'static str {
        match self.level.as_str() {
            "error" | "critical" | "fatal" => "l-error",
            "warn" | "warning" => "l-warn",
            _ => "l-info",
        }
    }
}
