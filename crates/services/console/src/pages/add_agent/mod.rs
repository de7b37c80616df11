//! "Add agent": the command to copy for each platform ([`commands`]), then the wait for the agent ([`arrival`]); and the same
//! for a host that is to run a Fleet Server ([`fleet_server`]).

mod arrival;
mod commands;
pub(super) mod fleet_server;

use askama::Template;
use axum::extract::Query;
use axum::response::{Html, IntoResponse, Response};
use http::header;
use policy::model::{AgentPolicy, FleetServerHost};
use protocol::JoinString;
use serde::Deserialize;

use self::arrival::Arrived;
use self::commands::{Command, Commands, Platform};
use super::agents::Choice;
use super::enrollment_tokens::short_name;
use super::frame::Frame;
use super::look::url_part;
use super::problem::{Problem, show};
use super::session::SignedIn;
use crate::Console;
use crate::domain::enrollment_keys::EnrollmentKey;
use crate::domain::error::FleetError;
use crate::domain::{agent_policies, enrollment_keys, fleet_server_hosts, join};

/// What stands in the URL.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    policy: String,
    token: String,
    platform: String,
    /// RFC 3339: agents that enrolled later are shown as arrived.
    since: String,
}

#[derive(Template)]
#[template(path = "add_agent.html")]
struct Page {
    frame: Frame,
    policies: Vec<Choice>,
    tokens: Vec<Choice>,
    policy_id: String,
    platform: &'static str,
    platforms: Vec<(&'static str, String, bool)>,
    commands: Vec<Command>,
    /// Where the manifest for Kubernetes is.
    manifest: Option<String>,
    needs_ca: bool,
    /// The commands bring the CA along.
    has_ca: bool,
    urls: Vec<String>,
    /// The URLs lead nowhere on other hosts.
    only_here: bool,
    live_url: String,
    arrived: Vec<Arrived>,
    may_change: bool,
}

pub(super) async fn page(reader: SignedIn, Query(mut wanted): Query<Wanted>) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let policies = agent_policies::list(console).await?;
    let chosen = chosen(&policies, &wanted.policy)
        .ok_or_else(|| FleetError::NotFound("There is no agent policy yet.".to_owned()))?;
    chosen.id.clone_into(&mut wanted.policy);
    if wanted.since.is_empty() {
        wanted.since = clock::rfc3339_seconds(console.clock.now());
    }
    let host = host_of(console, chosen).await?;
    let keys = usable_keys(&reader, &chosen.id).await?;
    let key = keys.iter().find(|key| key.id == wanted.token).or(keys.first());
    let platform = Platform::named(&wanted.platform);
    let all = match key {
        Some(key) => Some(commands_for(console, host.as_ref(), key)?),
        None => None,
    };
    let commands = all.as_ref().map(|all| all.of(platform)).unwrap_or_default();
    let urls = host.map(|host| host.host_urls).unwrap_or_default();
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
        tokens: keys
            .iter()
            .map(|one| Choice {
                value: one.id.clone(),
                name: short_name(one),
                selected: key.is_some_and(|key| key.id == one.id),
            })
            .collect(),
        policy_id: chosen.id.clone(),
        platform: platform.key(),
        platforms: Platform::ALL
            .map(|one| (one.name(), wanted.href(one), one == platform))
            .to_vec(),
        needs_ca: commands.iter().any(|command| command.text.contains(commands::CA)),
        commands,
        has_ca: all.as_ref().is_some_and(|all| all.authority.is_some()),
        manifest: all
            .filter(|_| platform == Platform::Kubernetes)
            .map(|all| all.manifest()),
        live_url: wanted.href(platform),
        arrived: arrival::since(console, &chosen.id, &wanted.since).await?,
        only_here: !urls.is_empty() && urls.iter().all(|url| is_loopback(url)),
        urls,
        may_change: reader.may_change(),
    };
    show(&page)
}

/// The manifest for a Kubernetes cluster, with the policy's token in it.
pub(super) async fn kubernetes(reader: SignedIn, Query(wanted): Query<Wanted>) -> Result<Response, Problem> {
    let console = &reader.console;
    let policy = agent_policies::read(console, &wanted.policy).await?;
    let keys = usable_keys(&reader, &policy.id).await?;
    let key = keys.iter().find(|key| key.id == wanted.token).or(keys.first());
    let Some(key) = key else {
        return Err(Problem::forbidden(
            "This policy has no enrollment token that you may use.",
        ));
    };
    let host = host_of(console, &policy).await?;
    let url = host.as_ref().and_then(|host| host.host_urls.first());
    let manifest = join::kubernetes(console, url.map(String::as_str), Some(key.token().expose())).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/x-yaml; charset=utf-8"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"elastic-agent.yml\"",
        ),
    ];
    Ok((headers, manifest).into_response())
}

impl Wanted {
    fn href(&self, platform: Platform) -> String {
        format!(
            "/app/fleet/agents/add?policy={}&token={}&platform={}&since={}",
            url_part(&self.policy),
            url_part(&self.token),
            platform.key(),
            url_part(&self.since)
        )
    }
}

/// Whether only programs on the same host find it there.
fn is_loopback(url: &str) -> bool {
    let url = url::Url::parse(url).ok();
    match url.as_ref().and_then(url::Url::host) {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The wanted policy, else the one that setup made, else the first.
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

/// Tokens of the policy that still let hosts in; none for those who may only look: whoever has a token can enrol.
async fn usable_keys(reader: &SignedIn, policy_id: &str) -> Result<Vec<EnrollmentKey>, FleetError> {
    if !reader.may_change() {
        return Ok(Vec::new());
    }
    let mut keys = enrollment_keys::of_policy(&reader.console, policy_id).await?;
    let now = clock::rfc3339_millis(reader.console.clock.now());
    keys.retain(|key| key.is_usable(&now));
    Ok(keys)
}

fn commands_for(
    console: &Console,
    host: Option<&FleetServerHost>,
    key: &EnrollmentKey,
) -> Result<Commands, FleetError> {
    let settings = &console.settings;
    let urls = host.map(|host| host.host_urls.clone()).unwrap_or_default();
    let is_ours = |url: &String| settings.fleet_server_urls.contains(url);
    let has_foreign_certificate =
        host.is_some_and(|host| host.ssl.as_ref().is_some_and(|tls| tls.certificate.is_some()));
    let authority = if urls.iter().any(is_ours) || !has_foreign_certificate {
        join::authority(console)?
    } else {
        None
    };
    Ok(Commands {
        join: JoinString {
            urls,
            enrollment_token: key.token(),
            ca_fingerprint: settings.ca_fingerprint.clone(),
        },
        key_id: key.id.clone(),
        policy_id: key.document.policy_id.as_str().to_owned(),
        script: join::install_script(console)?,
        authority,
        tls: host.and_then(|host| host.ssl.clone()).unwrap_or_default(),
        version: settings.version.clone(),
        downloads: downloads(console),
    })
}

/// The folder with the archives of the stock agent.
fn downloads(console: &Console) -> String {
    format!(
        "{}/beats/elastic-agent",
        console.settings.download_url.trim_end_matches('/')
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_only_this_host_reaches() {
        for (url, expected) in [
            ("https://localhost:8220", true),
            ("https://127.0.0.1:8220", true),
            ("https://[::1]:8220", true),
            ("https://fleet.example:8220", false),
            ("https://192.0.2.1:8220", false),
            ("nothing", false),
        ] {
            assert_eq!(is_loopback(url), expected, "{url}");
        }
    }
}
