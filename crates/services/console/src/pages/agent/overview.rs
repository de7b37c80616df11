//! What an agent is, what it runs, and how it is connected.

use policy::model::AgentPolicy;
use serde_json::Value;

use super::super::agents::is_unverified;
use super::super::look::{Look, Moment, bytes, url_part};
use super::super::trust::verdict::Verdict;
use crate::Console;
use crate::domain::agents::Agent;
use crate::domain::connections::{self, Connection};
use crate::domain::error::FleetError;
use crate::domain::{agent_metrics, connection_tests, outputs};

pub(super) struct Overview {
    pub(super) facts: Vec<Fact>,
    pub(super) components: Vec<Component>,
    pub(super) connections: Vec<Leg>,
}

/// A name and what it says; `exact` is for the title, `href` leads to more.
#[derive(Default)]
pub(super) struct Fact {
    pub(super) name: &'static str,
    pub(super) text: String,
    pub(super) exact: String,
    pub(super) href: Option<String>,
    /// An id: each character counts.
    pub(super) is_id: bool,
}

/// An input or output as the agent sees it.
pub(super) struct Component {
    pub(super) id: String,
    pub(super) look: Look,
    pub(super) message: String,
    pub(super) units: Vec<(String, Look, String)>,
}

/// A connection of the agent as it is configured.
pub(super) struct Leg {
    pub(super) to: String,
    pub(super) urls: String,
    /// What the other end is checked with, and where that is set.
    pub(super) trust: Vec<(String, String)>,
    pub(super) presents: String,
    pub(super) look: Look,
    /// What a test of the same connection from here found, and when.
    pub(super) tested: Option<(Look, Moment)>,
    /// The connection on the map.
    pub(super) href: String,
}

impl Overview {
    pub(super) async fn of(console: &Console, agent: &Agent, policy: Option<&AgentPolicy>) -> Result<Self, FleetError> {
        Ok(Self {
            facts: facts(console, agent, policy).await?,
            components: components(agent.document.components.as_ref()),
            connections: match policy {
                Some(policy) => legs(console, &policy.id, is_unverified(agent)).await?,
                None => Vec::new(),
            },
        })
    }
}

/// A value that the agent says about itself, as text; several with commas.
pub(super) fn metadata(agent: &Agent, pointer: &str) -> Option<String> {
    let value = agent.document.local_metadata.as_ref()?.pointer(pointer)?;
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        Value::Null => return None,
        other => other.to_string(),
    };
    (!text.is_empty()).then_some(text)
}

/// Name and version of the operating system: what agents call its full name reads badly.
pub(super) fn system(agent: &Agent) -> Option<String> {
    let name = metadata(agent, "/os/name").or_else(|| metadata(agent, "/os/platform"))?;
    Some(match metadata(agent, "/os/version") {
        Some(version) => format!("{name} {version}"),
        None => name,
    })
}

/// In the words and the order of Fleet's own page. Source: fleet-ui, agent details.
async fn facts(console: &Console, agent: &Agent, policy: Option<&AgentPolicy>) -> Result<Vec<Fact>, FleetError> {
    let document = &agent.document;
    let said = |pointer: &str| metadata(agent, pointer).unwrap_or_else(|| "–".to_owned());
    let yes_or_no = |pointer: &str, yes: &str, no: &str| match metadata(agent, pointer).as_deref() {
        Some("true") => yes.to_owned(),
        Some(_) => no.to_owned(),
        None => "–".to_owned(),
    };
    let moment = |name, time: Option<&str>| {
        let moment = Moment::parse(console.clock.now(), time);
        Fact {
            name,
            exact: moment.exact,
            ..Fact::new(name, moment.relative)
        }
    };
    let version = document.agent.as_ref().map(|agent| agent.version.clone());
    let mut facts = vec![moment("Last activity", document.last_checkin.as_deref())];
    facts.extend(of_policy(console, agent, policy).await?);
    facts.extend([
        Fact::new("Agent version", version.unwrap_or_else(|| "–".to_owned())),
        Fact::id("Agent ID", agent.id.clone()),
        Fact::new("Host name", said("/host/hostname")),
        Fact::id("Host ID", said("/host/id")),
        Fact::new("Logging level", said("/elastic/agent/log_level")),
        Fact::new(
            "Privilege mode",
            yes_or_no("/elastic/agent/unprivileged", "Running as non-root", "Running as root"),
        ),
        Fact::new(
            "Agent release",
            yes_or_no("/elastic/agent/snapshot", "snapshot", "stable"),
        ),
        Fact::new("Platform", said("/os/platform")),
        Fact::new("Operating system", system(agent).unwrap_or_else(|| "–".to_owned())),
        Fact::new("Kernel", said("/os/kernel")),
        Fact::new("Architecture", said("/host/architecture")),
        Fact::new("Addresses", said("/host/ip")),
        Fact::new("FIPS mode", yes_or_no("/elastic/agent/fips", "enabled", "not enabled")),
    ]);
    facts.extend(use_of_host(console, &agent.id).await?);
    facts.push(moment("Enrolled", Some(&document.enrolled_at)));
    Ok(facts)
}

async fn of_policy(console: &Console, agent: &Agent, policy: Option<&AgentPolicy>) -> Result<Vec<Fact>, FleetError> {
    let policy_id = agent.document.policy_id.as_str();
    let revision = agent.document.policy_revision_idx;
    let revision = revision.map_or_else(String::new, |revision| format!(" rev. {revision}"));
    let name = policy.map_or(policy_id, |policy| policy.name.as_str());
    let mut facts = vec![Fact {
        href: policy.map(|policy| format!("/app/fleet/policies/{}", policy.id)),
        ..Fact::new("Agent policy", format!("{name}{revision}"))
    }];
    let Some(policy) = policy else { return Ok(facts) };
    let all = outputs::list(console).await?;
    for (label, chosen, is_default) in [
        (
            "Output for integrations",
            &policy.data_output_id,
            (|output| output.is_default) as fn(&policy::model::Output) -> bool,
        ),
        ("Output for monitoring", &policy.monitoring_output_id, |output| {
            output.is_default_monitoring
        }),
    ] {
        let output = match chosen {
            Some(id) => all.iter().find(|output| output.id == *id),
            None => all.iter().find(|output| is_default(output)),
        };
        facts.push(Fact {
            href: output.map(|output| format!("/app/fleet/settings?flyout=output-{}", output.id)),
            ..Fact::new(
                label,
                output.map_or_else(|| "–".to_owned(), |output| output.name.clone()),
            )
        });
    }
    let monitored = policy.monitoring_enabled.clone().unwrap_or_default();
    for (label, kind) in [("Monitor logs", "logs"), ("Monitor metrics", "metrics")] {
        let is_on = monitored.iter().any(|enabled| enabled == kind);
        facts.push(Fact::new(label, if is_on { "Enabled" } else { "Disabled" }.to_owned()));
    }
    Ok(facts)
}

/// Averages over five minutes, as the agent measures them.
async fn use_of_host(console: &Console, id: &str) -> Result<[Fact; 2], FleetError> {
    let measured = agent_metrics::of_agents(console, &[id.to_owned()]).await?;
    let measured = measured.get(id).copied().unwrap_or_default();
    let percent = |cpu: f64| format!("{:.2}%", cpu * 100.0);
    let size = |memory: f64| bytes(memory.max(0.0) as u64);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    Ok([
        Fact::new("CPU", or_dash(measured.cpu_avg.map(percent))),
        Fact::new("Memory", or_dash(measured.memory_size_byte_avg.map(size))),
    ])
}

impl Fact {
    fn id(name: &'static str, text: String) -> Self {
        Self {
            is_id: true,
            ..Self::new(name, text)
        }
    }

    fn new(name: &'static str, text: String) -> Self {
        Self {
            name,
            text,
            ..Self::default()
        }
    }
}

/// The connections that the agent's policy makes; one enrolled with `--insecure` verifies no Fleet Server.
async fn legs(console: &Console, policy_id: &str, unverified: bool) -> Result<Vec<Leg>, FleetError> {
    let all = connections::of_policy(console, policy_id).await?;
    let from = format!("policy-{policy_id}");
    let name = |id: &str| {
        let party = all.parties.iter().find(|party| party.id == id);
        party.map_or_else(|| id.to_owned(), |party| party.name.clone())
    };
    let of_policy = all.connections.iter().filter(|connection| connection.from == from);
    Ok(of_policy
        .map(|connection| Leg {
            tested: tested(console, connection),
            ..Leg::of(connection, name(&connection.to), unverified)
        })
        .collect())
}

/// The outcome of the last test, without what is known from the settings alone.
fn tested(console: &Console, connection: &Connection) -> Option<(Look, Moment)> {
    let now = console.clock.now();
    let outcome = connection_tests::outcome(console, connection)?;
    let at = Moment::of(now, outcome.at);
    Some((Verdict::of(connection, Some(&outcome), now).look, at))
}

impl Leg {
    fn of(connection: &Connection, to: String, unverified: bool) -> Self {
        let is_unverified = connection.verifies_nothing() || unverified && !connection.is_data;
        let look = match (is_unverified, connection.is_encrypted(), connection.is_mutual()) {
            (_, false, _) => Look::new("bad", "Not encrypted"),
            (true, ..) => Look::new("warn", "Not verified"),
            (_, _, true) => Look::new("ok", "Mutual TLS"),
            _ => Look::new("ok", "One-way TLS"),
        };
        let trust = connection.trust.iter();
        let certificate = connection.client_certificate.as_ref();
        Self {
            to,
            urls: connection.urls.join(", "),
            trust: trust
                .map(|setting| (setting.text.clone(), setting.from.clone()))
                .collect(),
            tested: None,
            href: format!("/app/trust/map?edge={}#connection", url_part(&connection.id)),
            presents: certificate.map_or_else(|| "nothing".to_owned(), |setting| setting.text.clone()),
            look,
        }
    }
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
    let all = components.and_then(Value::as_array).into_iter().flatten();
    let mut all: Vec<Component> = all.map(component).collect();
    // Trouble first.
    all.sort_by_key(|component| !component.is_open());
    all
}

impl Overview {
    /// How many components are in trouble, in words; nothing when none is.
    pub(super) fn trouble(&self) -> String {
        let wrong = self.components.iter().filter(|component| component.is_open()).count();
        match wrong {
            0 => format!("{} run", self.components.len()),
            wrong => format!("{wrong} of {} in trouble", self.components.len()),
        }
    }
}

impl Component {
    /// Trouble is shown without a click.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.look.tone, "warn" | "bad")
    }
}
