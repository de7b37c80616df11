//! "Add Fleet Server": the whole command for a host that is to run one, certificate options included.

use askama::Template;
use axum::extract::Query;
use axum::response::Html;
use policy::model::{FleetServerHost, Output};
use serde::Deserialize;

use super::arrival::{self, Arrived};
use super::commands::{CA, CaFile, Command, Platform, fetched, fetched_as_package, fetched_on_windows, on_lines};
use super::downloads;
use crate::Console;
use crate::domain::error::FleetError;
use crate::domain::{agent_policies, fleet_server_hosts, join, outputs, tokens};
use crate::pages::agents::Choice;
use crate::pages::form::Submission;
use crate::pages::frame::Frame;
use crate::pages::look::url_part;
use crate::pages::problem::{Problem, show};
use crate::pages::session::SignedIn;

#[derive(Template)]
#[template(path = "add_fleet_server.html")]
struct Page {
    frame: Frame,
    hosts: Vec<Choice>,
    policies: Vec<Choice>,
    /// With a token that is shown once, after it was asked for.
    commands: Vec<Command>,
    /// How many of them are shown without a click.
    shown: usize,
    /// What has to be put in by hand.
    missing: Vec<&'static str>,
    may_change: bool,
    live_url: String,
    arrived: Vec<Arrived>,
}

/// What stands in the URL.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::pages) struct Wanted {
    host: String,
    policy: String,
    /// RFC 3339: Fleet Servers that enrolled later are shown as arrived.
    since: String,
}

pub(in crate::pages) async fn page(reader: SignedIn, Query(wanted): Query<Wanted>) -> Result<Html<String>, Problem> {
    render(&reader, &wanted, None).await
}

/// Makes a service token and shows the commands with it.
pub(in crate::pages) async fn generate(reader: SignedIn, submission: Submission) -> Result<Html<String>, Problem> {
    let values = submission.values;
    let actor = reader.who_changes(values.one("csrf_token"))?;
    let wanted = Wanted {
        host: values.one("host").to_owned(),
        policy: values.one("policy").to_owned(),
        since: clock::rfc3339_seconds(reader.console.clock.now()),
    };
    let (_, token) = tokens::service_token(&reader.console, &actor, false).await?;
    render(&reader, &wanted, Some(token.expose())).await
}

async fn render(reader: &SignedIn, wanted: &Wanted, token: Option<&str>) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let hosts = fleet_server_hosts::list(console).await?;
    let with_fleet_server = agent_policies::with_package(console, "fleet_server").await?;
    let mut policies = agent_policies::list(console).await?;
    policies.retain(|policy| with_fleet_server.contains(&policy.id));
    let host = hosts.iter().find(|host| host.id == wanted.host).or(hosts.first());
    let policy = policies
        .iter()
        .find(|policy| policy.id == wanted.policy)
        .or(policies.first());
    let outputs = outputs::list(console).await?;
    let output = outputs.iter().find(|output| {
        policy
            .and_then(|policy| policy.data_output_id.as_ref())
            .map_or(output.is_default, |id| output.id == *id)
    });
    let (Some(host), Some(policy)) = (host, policy) else {
        return Err(
            FleetError::NotFound("There is no Fleet Server host, or no policy with Fleet Server.".to_owned()).into(),
        );
    };
    let mut options = vec![
        ("--url", host.host_urls.first().cloned().unwrap_or_default()),
        (
            "--fleet-server-es",
            output
                .and_then(|output| output.hosts.first().cloned())
                .unwrap_or_default(),
        ),
        ("--fleet-server-service-token", token.unwrap_or_default().to_owned()),
        ("--fleet-server-policy", policy.id.clone()),
    ];
    let mut missing = tls_options(host, output, &mut options);
    let pem = authority_of(console, host)?;
    if pem.is_some() {
        missing.retain(|option| *option != "--certificate-authorities");
    }
    let choice = |id: &str, name: &str, chosen: &str| Choice {
        value: id.to_owned(),
        name: name.to_owned(),
        selected: id == chosen,
    };
    show(&Page {
        frame: Frame::new(reader, "Agents", "Add Fleet Server: the command"),
        commands: if token.is_some() {
            commands(console, &options, pem.as_deref())
        } else {
            Vec::new()
        },
        missing,
        shown: if pem.is_some() { 2 } else { 1 },
        live_url: format!(
            "/app/fleet/agents/add-fleet-server?host={}&policy={}&since={}",
            url_part(&host.id),
            url_part(&policy.id),
            url_part(&wanted.since)
        ),
        arrived: if wanted.since.is_empty() {
            Vec::new()
        } else {
            arrival::since(console, &policy.id, &wanted.since).await?
        },
        may_change: reader.may_change(),
        policies: policies
            .iter()
            .map(|known| choice(&known.id, &known.name, &policy.id))
            .collect(),
        hosts: hosts
            .iter()
            .map(|known| choice(&known.id, &known.name, &host.id))
            .collect(),
    })
}

/// The CA that agents of this host verify it with, as PEM: pasted into its TLS options, or our own.
fn authority_of(console: &Console, host: &FleetServerHost) -> Result<Option<String>, FleetError> {
    let tls = host.ssl.as_ref();
    let pasted = tls.and_then(|tls| tls.agent_certificate_authorities.as_ref()?.first());
    if pasted.is_some() {
        return Ok(pasted.filter(|text| text.contains("-----BEGIN")).cloned());
    }
    if host.host_urls == console.settings.fleet_server_urls {
        return join::authority(console);
    }
    Ok(None)
}

/// The certificate options: the paths that the host's TLS options have, and placeholders for what is not a path. Returns the
/// options that have to be filled in by hand.
fn tls_options(
    host: &FleetServerHost,
    output: Option<&Output>,
    options: &mut Vec<(&'static str, String)>,
) -> Vec<&'static str> {
    let tls = host.ssl.clone().unwrap_or_default();
    let first = |list: Option<Vec<String>>| list.and_then(|list| list.into_iter().next());
    let fingerprint = output.and_then(|output| output.ca_trusted_fingerprint.clone());
    let mut missing = Vec::new();
    let mut add = |name: &'static str, value: Option<String>, placeholder: &str| match value {
        Some(path) if !path.is_empty() && !path.contains("-----BEGIN") => options.push((name, path)),
        // Pasted PEM is no path: the file has to be made on the host.
        Some(_) => {
            options.push((name, placeholder.to_owned()));
            missing.push(name);
        }
        None if !placeholder.is_empty() && !name.contains("es-cert") && !name.starts_with("--elastic-agent") => {
            options.push((name, placeholder.to_owned()));
            missing.push(name);
        }
        None => {}
    };
    add(
        "--certificate-authorities",
        first(tls.agent_certificate_authorities),
        CA,
    );
    match fingerprint {
        Some(fingerprint) => add("--fleet-server-es-ca-trusted-fingerprint", Some(fingerprint), ""),
        None => add(
            "--fleet-server-es-ca",
            first(tls.es_certificate_authorities),
            "<PATH_TO_ES_CA>",
        ),
    }
    add("--fleet-server-cert", tls.certificate, "<PATH_TO_FLEET_SERVER_CERT>");
    add("--fleet-server-cert-key", tls.key, "<PATH_TO_FLEET_SERVER_CERT_KEY>");
    add("--fleet-server-es-cert", tls.es_certificate, "<PATH_TO_ES_CLIENT_CERT>");
    add("--fleet-server-es-cert-key", tls.es_key, "<PATH_TO_ES_CLIENT_KEY>");
    add("--elastic-agent-cert", tls.agent_certificate, "<PATH_TO_AGENT_CERT>");
    add("--elastic-agent-cert-key", tls.agent_key, "<PATH_TO_AGENT_KEY>");
    if let Some(mode) = tls.client_auth.filter(|mode| !mode.is_empty() && mode != "none") {
        options.push(("--fleet-server-client-auth", mode));
    }
    options.push(("--fleet-server-port", "8220".to_owned()));
    missing
}

/// The commands for each platform; with a CA that is known, what writes it on the host comes first.
fn commands(console: &Console, options: &[(&'static str, String)], pem: Option<&str>) -> Vec<Command> {
    let (downloads, version) = (downloads(console), &console.settings.version);
    let install = |platform: Platform, start: &str, continuation: &str| {
        let ca = pem.map(|pem| CaFile::written(platform, pem).path);
        let line = |(name, value): &(&str, String)| match &ca {
            Some(path) => format!("{name}={}", value.replace(CA, path)),
            None => format!("{name}={value}"),
        };
        on_lines(start, &options.iter().map(line).collect::<Vec<_>>(), continuation)
    };
    let archive = |place, platform, system: &str| Command {
        place,
        text: format!(
            "{}\n{}",
            fetched(&downloads, version, system),
            install(platform, "sudo ./elastic-agent install", "\\")
        ),
    };
    let package = |place, file: String, installed: &str| Command {
        place,
        text: format!(
            "{}\n{}",
            fetched_as_package(&downloads, &file, installed),
            install(Platform::Packages, "sudo elastic-agent enroll", "\\")
        ),
    };
    let on_windows = Command {
        place: "Windows, in an elevated PowerShell",
        text: format!(
            "{}\n{}",
            fetched_on_windows(&downloads, version),
            install(Platform::Windows, ".\\elastic-agent.exe install", "`")
        ),
    };
    let written = |platform| pem.and_then(|pem| CaFile::written(platform, pem).written);
    let first = written(Platform::Linux).into_iter();
    let all = [
        archive("Linux x86_64, on the new host", Platform::Linux, "linux-x86_64"),
        archive("Linux aarch64", Platform::Linux, "linux-arm64"),
        package("DEB", format!("elastic-agent-{version}-amd64.deb"), "dpkg -i"),
        package("RPM", format!("elastic-agent-{version}-x86_64.rpm"), "rpm -vi"),
        archive("macOS", Platform::MacOs, "darwin-aarch64"),
    ];
    let ca_on_windows = written(Platform::Windows).map(|command| Command {
        place: "Windows, first, once: the CA of your Fleet Server",
        ..command
    });
    first.chain(all).chain(ca_on_windows).chain([on_windows]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_filled_in_and_the_rest_is_named() {
        let host: FleetServerHost = serde_json::from_value(serde_json::json!({
            "id": "h", "name": "h", "host_urls": ["https://f:8220"], "is_default": true,
            "ssl": {"certificate": "/etc/f.crt", "key": "-----BEGIN PRIVATE KEY-----", "agent_certificate_authorities": ["/etc/ca.crt"],
                    "client_auth": "required"},
        }))
        .unwrap();
        let mut options = Vec::new();
        let missing = tls_options(&host, None, &mut options);
        let has = |name: &str, value: &str| options.iter().any(|(known, given)| *known == name && given == value);
        assert!(has("--fleet-server-cert", "/etc/f.crt"));
        assert!(has("--certificate-authorities", "/etc/ca.crt"));
        assert!(has("--fleet-server-client-auth", "required"));
        assert_eq!(missing, ["--fleet-server-es-ca", "--fleet-server-cert-key"]);
    }
}
