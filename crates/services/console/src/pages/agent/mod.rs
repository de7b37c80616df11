//! One agent: what it is and runs ([`overview`]), what it says ([`logs`]), its zips ([`diagnostics`]), its own settings.

mod diagnostics;
mod logs;
mod overview;

pub(super) use diagnostics::{delete as delete_diagnostics, zip as diagnostics_zip};

use askama::Template;
use axum::extract::{Path, Query as UrlQuery};
use axum::response::Html;
use policy::model::AgentPolicy;

use self::diagnostics::Diagnostic;
use self::logs::{Logs, Wanted};
use self::overview::Overview;
use super::agents::{host_name, is_unverified};
use super::frame::Frame;
use super::log_line::LogLine;
use super::look::{Look, Moment, url_part};
use super::problem::{Problem, show};
use super::session::SignedIn;
use super::upgrade::{self, Upgrade};
use crate::domain::agent_policies;
use crate::domain::agent_status::AgentStatus;
use crate::domain::agents::{self, Agent};
use crate::domain::error::FleetError;

#[derive(Template)]
#[template(path = "agent.html")]
struct Page {
    frame: Frame,
    id: String,
    host: String,
    look: Look,
    /// Where the measurements of its host are, when it says its name.
    measured_at: Option<String>,
    /// When it was last heard of.
    heard: Moment,
    /// Its system, address and version, in a line.
    facts: Vec<String>,
    /// What it says about its trouble.
    trouble: String,
    tags: Vec<String>,
    behind: bool,
    upgrade: Option<Upgrade>,
    unverified: bool,
    may_change: bool,
    tab: Tab,
    content: Content,
}

/// A part of an agent's page: the last part of its path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Tab {
    Details,
    Logs,
    Diagnostics,
    Settings,
}

impl Tab {
    const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Details, "Agent details", ""),
        (Self::Logs, "Logs", "/logs"),
        (Self::Diagnostics, "Diagnostics", "/diagnostics"),
        (Self::Settings, "Settings", "/settings"),
    ];
}

impl Tab {
    /// What the browser calls the page.
    fn title(self, host: &str) -> String {
        match self {
            Self::Details => format!("Agent {host}"),
            Self::Logs => format!("Logs of agent {host}"),
            Self::Diagnostics => format!("Diagnostics of agent {host}"),
            Self::Settings => format!("Settings of agent {host}"),
        }
    }
}

/// What the chosen part shows.
enum Content {
    Details(Box<Overview>, Vec<LogLine>),
    Logs(Box<Logs>),
    Diagnostics(Vec<Diagnostic>),
    /// The levels to choose from, the present one marked.
    Settings(Vec<(&'static str, bool)>),
}

/// Lines of its log beside the rest.
const NEWEST_LINES: usize = 8;
/// What an agent may log; it refuses others.
const LOG_LEVELS: [&str; 4] = ["debug", "info", "warning", "error"];

pub(super) async fn page(
    reader: SignedIn,
    Path(id): Path<String>,
    UrlQuery(wanted): UrlQuery<Wanted>,
) -> Result<Html<String>, Problem> {
    render(reader, &id, Tab::Details, wanted).await
}

pub(super) async fn part(
    reader: SignedIn,
    Path((id, part)): Path<(String, String)>,
    UrlQuery(wanted): UrlQuery<Wanted>,
) -> Result<Html<String>, Problem> {
    let tab = Tab::ALL
        .into_iter()
        .find(|(_, _, path)| path.strip_prefix('/') == Some(&part));
    let Some((tab, ..)) = tab else {
        return Err(FleetError::NotFound("There is no such page.".to_owned()).into());
    };
    render(reader, &id, tab, wanted).await
}

async fn render(reader: SignedIn, id: &str, tab: Tab, wanted: Wanted) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let agent = agents::read(console, id).await?;
    let policy = match agent_policies::read(console, agent.document.policy_id.as_str()).await {
        Ok(policy) => Some(policy),
        Err(FleetError::NotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let toast = wanted.done.as_deref().and_then(super::agent_actions::done);
    let page = Page {
        frame: Frame::new(&reader, "Agents", tab.title(&host_name(&agent))).toast(toast),
        host: host_name(&agent),
        look: Look::of_agent(agent.status),
        measured_at: overview::metadata(&agent, "/host/hostname").map(|name| format!("/app/hosts/{}", url_part(&name))),
        heard: Moment::parse(console.clock.now(), agent.document.last_checkin.as_deref()),
        facts: in_short(&agent),
        trouble: match agent.status {
            AgentStatus::Degraded | AgentStatus::Error => {
                agent.document.last_checkin_message.clone().unwrap_or_default()
            }
            _ => String::new(),
        },
        tags: agent.document.tags.clone(),
        behind: agent.document.active && is_behind(&agent, policy.as_ref()),
        upgrade: match tab {
            Tab::Details => upgrade::of(console, &agent).await?,
            _ => None,
        },
        unverified: is_unverified(&agent),
        may_change: reader.may_change() && agent.document.active,
        content: match tab {
            Tab::Details => Content::Details(
                Box::new(Overview::of(console, &agent, policy.as_ref()).await?),
                logs::newest(console, &agent, NEWEST_LINES).await?,
            ),
            Tab::Logs => Content::Logs(Box::new(Logs::of(console, &agent, wanted).await?)),
            Tab::Diagnostics => Content::Diagnostics(diagnostics::of(console, &agent.id).await?),
            Tab::Settings => Content::Settings(levels(&agent)),
        },
        tab,
        id: agent.id,
    };
    show(&page)
}

fn in_short(agent: &Agent) -> Vec<String> {
    let said = |pointer: &str| overview::metadata(agent, pointer);
    let is_own =
        |address: &&str| !address.starts_with("127.") && !address.starts_with("::1") && !address.starts_with("fe80");
    let addresses = said("/host/ip").unwrap_or_default();
    let address = addresses
        .split(", ")
        .find(is_own)
        .and_then(|text| text.split('/').next());
    let version = agent
        .document
        .agent
        .as_ref()
        .map(|agent| format!("agent {}", agent.version));
    let facts = [
        overview::system(agent),
        said("/host/architecture"),
        address.filter(|text| !text.is_empty()).map(str::to_owned),
        version,
    ];
    facts.into_iter().flatten().collect()
}

/// Whether the agent runs an older revision of its policy.
fn is_behind(agent: &Agent, policy: Option<&AgentPolicy>) -> bool {
    policy.is_some_and(|policy| Some(policy.revision) != agent.document.policy_revision_idx)
}

fn levels(agent: &Agent) -> Vec<(&'static str, bool)> {
    let present = overview::metadata(agent, "/elastic/agent/log_level");
    LOG_LEVELS
        .map(|level| (level, present.as_deref() == Some(level)))
        .to_vec()
}
