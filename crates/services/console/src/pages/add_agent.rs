//! "Add agent": the command to copy, then the wait for the agent.

use askama::Template;
use axum::extract::Query;
use axum::response::Html;
use protocol::JoinString;
use serde::Deserialize;

use super::agents::{Choice, host_name};
use super::frame::Frame;
use super::look::{Look, Moment};
use super::problem::{Problem, show};
use super::session::SignedIn;
use crate::Console;
use crate::domain::agents::{self, AgentFilter};
use crate::domain::error::FleetError;
use crate::domain::page::PageRequest;
use crate::domain::{agent_policies, enrollment_keys, fleet_server_hosts, incoming_data};
use policy::model::{AgentPolicy, FleetServerHost, HostSsl};

/// What stands in the URL.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    policy: String,
    /// RFC 3339: agents that enrolled later are shown as arrived.
    since: String,
}

#[derive(Template)]
#[template(path = "add_agent.html")]
struct Page {
    frame: Frame,
    policies: Vec<Choice>,
    policy_id: String,
    short: String,
    /// The documented command on each platform.
    documented: Vec<(&'static str, String)>,
    urls: Vec<String>,
    live_url: String,
    arrived: Vec<Arrived>,
}

/// An agent that enrolled while the page was open.
struct Arrived {
    id: String,
    host: String,
    look: Look,
    enrolled: Moment,
    has_data: bool,
}

pub(super) async fn page(reader: SignedIn, Query(wanted): Query<Wanted>) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let policies = agent_policies::list(console).await?;
    let chosen = chosen(&policies, &wanted.policy)
        .ok_or_else(|| FleetError::NotFound("There is no agent policy yet.".to_owned()))?;
    let host = host_of(console, chosen).await?;
    let token = enrollment_keys::of_policy(console, &chosen.id)
        .await?
        .into_iter()
        .find(|key| key.document.active);
    let since = if wanted.since.is_empty() {
        clock::rfc3339_seconds(console.clock.now())
    } else {
        wanted.since
    };
    let host_tls = host.as_ref().and_then(|host| host.ssl.clone());
    let urls = host.map(|host| host.host_urls).unwrap_or_default();
    let (short, documented) = match &token {
        Some(token) => commands(console, &urls, host_tls.as_ref(), token),
        None => (String::new(), Vec::new()),
    };
    let page = Page {
        frame: Frame::new(&reader, "Agents", "Add agent"),
        policies: policies
            .iter()
            .map(|policy| Choice {
                value: policy.id.clone(),
                name: policy.name.clone(),
                selected: policy.id == chosen.id,
            })
            .collect(),
        policy_id: chosen.id.clone(),
        short,
        documented,
        urls,
        live_url: format!("/app/fleet/agents/add?policy={}&since={since}", chosen.id),
        arrived: arrived(console, &chosen.id, &since).await?,
    };
    show(&page)
}

/// The wanted policy, else the first that does not run Fleet Server.
fn chosen<'a>(policies: &'a [AgentPolicy], wanted: &str) -> Option<&'a AgentPolicy> {
    let by_id = |id: &str| policies.iter().find(|policy| policy.id == id);
    by_id(wanted)
        .or_else(|| by_id("default-policy"))
        .or_else(|| policies.first())
}

async fn host_of(console: &Console, policy: &AgentPolicy) -> Result<Option<FleetServerHost>, FleetError> {
    let hosts = fleet_server_hosts::list(console).await?;
    let wanted = policy.fleet_server_host_id.as_deref();
    let found = hosts.iter().find(|host| wanted == Some(host.id.as_str()));
    Ok(found.or_else(|| hosts.iter().find(|host| host.is_default)).cloned())
}

fn commands(
    console: &Console,
    urls: &[String],
    tls: Option<&HostSsl>,
    token: &enrollment_keys::EnrollmentKey,
) -> (String, Vec<(&'static str, String)>) {
    let join = JoinString {
        urls: urls.to_vec(),
        enrollment_token: token.token(),
        ca_fingerprint: console.settings.ca_fingerprint.clone(),
    };
    let url = urls.first().map_or("https://localhost:8220", String::as_str);
    let short = format!("sudo flotilla agent install --join {}", join.encode());
    (short, documented(url, token.token().expose(), tls))
}

/// The documented command on each platform, with the certificate options of the host's TLS options.
fn documented(url: &str, token: &str, tls: Option<&HostSsl>) -> Vec<(&'static str, String)> {
    let path = |value: Option<&String>| value.filter(|value| !value.contains("-----BEGIN")).cloned();
    let authority = tls.and_then(|tls| path(tls.agent_certificate_authorities.as_ref()?.first()));
    let mut options = vec![
        format!("--url={url}"),
        format!("--enrollment-token={token}"),
        format!(
            "--certificate-authorities={}",
            authority.unwrap_or_else(|| "<PATH_TO_CA>".to_owned())
        ),
    ];
    if let Some(certificate) = tls.and_then(|tls| path(tls.agent_certificate.as_ref())) {
        options.push(format!("--elastic-agent-cert={certificate}"));
    }
    if let Some(key) = tls.and_then(|tls| path(tls.agent_key.as_ref())) {
        options.push(format!("--elastic-agent-cert-key={key}"));
    }
    let with = |start: &str, continuation: &str| {
        format!(
            "{start} {continuation}\n  {}",
            options.join(&format!(" {continuation}\n  "))
        )
    };
    vec![
        (
            "Linux, from a tar archive, as root",
            with("sudo ./elastic-agent install", "\\"),
        ),
        (
            "Linux, from a DEB or RPM package, as root",
            format!(
                "sudo systemctl enable --now elastic-agent\n{}",
                with("sudo elastic-agent enroll", "\\")
            ),
        ),
        (
            "Container, with the CA mounted at /ca.crt",
            format!(
                "docker run -v /path/to/ca.crt:/ca.crt:ro \\\n  -e FLEET_ENROLL=1 -e FLEET_URL={url} \\\n  -e FLEET_ENROLLMENT_TOKEN={token} \\\n  -e FLEET_CA=/ca.crt \\\n  docker.elastic.co/elastic-agent/elastic-agent:9.2.0"
            ),
        ),
        (
            "macOS, with the stock agent",
            with("sudo ./elastic-agent install", "\\"),
        ),
        (
            "Windows, with the stock agent, in an elevated PowerShell",
            with(".\\elastic-agent.exe install", "`"),
        ),
    ]
}

async fn arrived(console: &Console, policy_id: &str, since: &str) -> Result<Vec<Arrived>, FleetError> {
    let filter = AgentFilter {
        kuery: Some(format!(
            "policy_id : \"{policy_id}\" and enrolled_at >= \"{}\"",
            since.replace('"', "")
        )),
        sort_field: Some("enrolled_at".to_owned()),
        ..AgentFilter::default()
    };
    let found = agents::list(console, &filter, PageRequest { page: 1, per_page: 10 }).await?;
    let mut arrived = Vec::new();
    for agent in found.items {
        arrived.push(Arrived {
            host: host_name(&agent),
            look: Look::of_agent(agent.status),
            enrolled: Moment::parse(console.clock.now(), Some(&agent.document.enrolled_at)),
            has_data: incoming_data::has_data(console, &agent.id).await?,
            id: agent.id,
        });
    }
    Ok(arrived)
}
