//! "Add Fleet Server": the whole command for a host that is to run one, certificate options included.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::Query;
use axum::response::Html;
use policy::model::{AgentPolicy, FleetServerHost, Output};
use serde::Deserialize;

use super::arrival::{self, Arrived};
use super::commands::{CA, CaFile, Command, Platform, fetched, fetched_as_package, fetched_on_windows, on_lines};
use super::{downloads, is_loopback};
use crate::domain::error::FleetError;
use crate::domain::{agent_policies, fleet_server_hosts, join, outputs, tokens};
use crate::pages::agents::Choice;
use crate::pages::form::Submission;
use crate::pages::frame::Frame;
use crate::pages::look::url_part;
use crate::pages::problem::{Problem, show};
use crate::pages::session::SignedIn;
use crate::{Console, SigningAuthority};

/// Stand where paths on the new host have to be put in by hand.
const CERTIFICATE: &str = "<PATH_TO_FLEET_SERVER_CERT>";
const KEY: &str = "<PATH_TO_FLEET_SERVER_CERT_KEY>";

#[derive(Template)]
#[template(path = "add_fleet_server.html")]
struct Page {
    frame: Frame,
    urls: Vec<Choice>,
    policies: Vec<Choice>,
    /// The chosen URL, where our own Fleet Server answers already.
    taken: Option<String>,
    /// The chosen URL leads nowhere on other hosts.
    only_here: bool,
    /// With a token that is shown once, after it was asked for.
    commands: Vec<Command>,
    /// How many of them are shown without a click.
    shown: usize,
    /// What has to be put in by hand.
    missing: Vec<&'static str>,
    may_change: bool,
    live_url: String,
    arrived: Vec<Arrived>,
    next: Next,
}

/// How agents come to the new Fleet Server.
struct Next {
    host: String,
    url: String,
    /// A policy whose agents use it; none while there is none.
    used_by: Option<String>,
    /// One that could.
    candidate: Option<(String, String)>,
}

/// What stands in the URL.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::pages) struct Wanted {
    /// Where agents are to find it: one of a Fleet Server host.
    url: String,
    /// In its place the id of a host: the first of its URLs.
    host: String,
    policy: String,
    /// RFC 3339: Fleet Servers that enrolled later are shown as arrived.
    since: String,
    done: Option<String>,
}

/// A URL of a Fleet Server host.
#[derive(Clone, Copy)]
struct Place<'a> {
    host: &'a FleetServerHost,
    url: &'a str,
}

impl<'a> Place<'a> {
    fn all(hosts: &'a [FleetServerHost]) -> Vec<Self> {
        let of_host = |host: &'a FleetServerHost| host.host_urls.iter().map(move |url| Self { host, url });
        hosts.iter().flat_map(of_host).collect()
    }

    /// The wanted one; else the first where our own Fleet Server does not answer, else the first.
    fn chosen(all: &[Self], wanted: &Wanted, own: &[String]) -> Option<Self> {
        let first = |is_it: &dyn Fn(&Self) -> bool| all.iter().find(|place| is_it(place)).copied();
        first(&|place| place.url == wanted.url)
            .or_else(|| first(&|place| place.host.id == wanted.host))
            .or_else(|| first(&|place| !own.iter().any(|url| url == place.url)))
            .or_else(|| all.first().copied())
    }
}

pub(in crate::pages) async fn page(reader: SignedIn, Query(wanted): Query<Wanted>) -> Result<Html<String>, Problem> {
    render(&reader, &wanted, None).await
}

/// Makes a service token and shows the commands with it.
pub(in crate::pages) async fn generate(reader: SignedIn, submission: Submission) -> Result<Html<String>, Problem> {
    let values = submission.values;
    let actor = reader.who_changes(values.one("csrf_token"))?;
    let wanted = Wanted {
        url: values.one("url").to_owned(),
        policy: values.one("policy").to_owned(),
        since: clock::rfc3339_seconds(reader.console.clock.now()),
        ..Wanted::default()
    };
    let (_, token) = tokens::service_token(&reader.console, &actor, false).await?;
    render(&reader, &wanted, Some(token.expose())).await
}

async fn render(reader: &SignedIn, wanted: &Wanted, token: Option<&str>) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let hosts = fleet_server_hosts::list(console).await?;
    let own = &console.settings.fleet_server_urls;
    let places = Place::all(&hosts);
    let place = Place::chosen(&places, wanted, own);
    let with_fleet_server = agent_policies::with_package(console, "fleet_server").await?;
    let all_policies = agent_policies::list(console).await?;
    let has_it = |policy: &&AgentPolicy| with_fleet_server.contains(&policy.id);
    let policies: Vec<&AgentPolicy> = all_policies.iter().filter(has_it).collect();
    let policy = policies.iter().find(|policy| policy.id == wanted.policy);
    let (Some(place), Some(policy)) = (place, policy.or(policies.first())) else {
        return Err(
            FleetError::NotFound("There is no Fleet Server host, or no policy with Fleet Server.".to_owned()).into(),
        );
    };
    let outputs = outputs::list(console).await?;
    let output = outputs.iter().find(|output| {
        let of_policy = policy.data_output_id.as_ref();
        of_policy.map_or(output.is_default, |id| output.id == *id)
    });
    let brought = Brought::to(console, place)?;
    let (options, missing) = options(place, output, policy, token.unwrap_or_default(), &brought);
    let commands = match token {
        Some(_) => commands(console, &options, &brought)?,
        None => Vec::new(),
    };
    show(&Page {
        frame: Frame::new(reader, "Agents", "Add Fleet Server: the command")
            .toast((wanted.done.as_deref() == Some("host-saved")).then_some("Fleet Server host saved")),
        shown: brought.count() + 1,
        commands,
        missing,
        live_url: format!(
            "/app/fleet/agents/add-fleet-server?url={}&policy={}&since={}",
            url_part(place.url),
            url_part(&policy.id),
            url_part(&wanted.since)
        ),
        arrived: if wanted.since.is_empty() {
            Vec::new()
        } else {
            arrival::since(console, &policy.id, &wanted.since).await?
        },
        may_change: reader.may_change(),
        taken: own.iter().find(|url| *url == place.url).cloned(),
        only_here: is_loopback(place.url),
        next: Next::of(place, &all_policies, &with_fleet_server),
        policies: choices(
            policies.iter().map(|known| (&*known.id, known.name.clone())),
            &policy.id,
        ),
        urls: choices(
            places
                .iter()
                .map(|known| (known.url, format!("{}, {}", known.url, known.host.name))),
            place.url,
        ),
    })
}

fn choices<'a>(all: impl Iterator<Item = (&'a str, String)>, chosen: &str) -> Vec<Choice> {
    let choice = |(value, name): (&str, String)| Choice {
        selected: value == chosen,
        value: value.to_owned(),
        name,
    };
    all.map(choice).collect()
}

impl Next {
    fn of(place: Place<'_>, policies: &[AgentPolicy], with_fleet_server: &BTreeSet<String>) -> Self {
        let host = place.host;
        let uses = |policy: &&AgentPolicy| match &policy.fleet_server_host_id {
            Some(id) => *id == host.id,
            None => host.is_default,
        };
        let mut others = policies.iter().filter(|policy| !with_fleet_server.contains(&policy.id));
        Self {
            host: host.name.clone(),
            url: place.url.to_owned(),
            used_by: others.clone().find(uses).map(|policy| policy.id.clone()),
            candidate: others.next().map(|policy| (policy.id.clone(), policy.name.clone())),
        }
    }
}

/// What the new host gets before the command runs.
struct Brought {
    /// The CA that agents verify it with, as PEM.
    authority: Option<String>,
    /// What makes a certificate for it, where our own CA is.
    certificate: Option<Command>,
}

impl Brought {
    fn to(console: &Console, place: Place<'_>) -> Result<Self, FleetError> {
        let tls = place.host.ssl.as_ref();
        let has_its_own = tls.is_some_and(|tls| tls.certificate.is_some() || tls.key.is_some());
        let signing = console
            .settings
            .fleet_server_authority
            .as_ref()
            .filter(|_| !has_its_own);
        Ok(Self {
            authority: authority_of(console, place)?,
            certificate: signing.map(|authority| certificate_for(place.url, authority)),
        })
    }

    fn count(&self) -> usize {
        usize::from(self.authority.is_some()) + usize::from(self.certificate.is_some())
    }
}

/// What makes a certificate with the name of that URL, and brings it to the host of that name.
fn certificate_for(url: &str, authority: &SigningAuthority) -> Command {
    let parsed = url::Url::parse(url).ok();
    let name = parsed.as_ref().and_then(url::Url::host_str).unwrap_or_default();
    let (kind, plain) = match parsed.as_ref().and_then(url::Url::host) {
        Some(url::Host::Ipv4(address)) => ("--ip", address.to_string()),
        Some(url::Host::Ipv6(address)) => ("--ip", address.to_string()),
        _ => ("--dns", name.to_owned()),
    };
    let options = [
        format!("{kind} {plain}"),
        format!("--ca-cert {}", authority.certificate),
        format!("--ca-key {}", authority.key),
        "--out fleet-server.zip".to_owned(),
    ];
    let made = on_lines(
        "flotilla certutil cert --silent --pem --chain --name fleet-server",
        &options,
        "\\",
    );
    Command {
        place: "where Flotilla runs, as root: a certificate for the new host",
        text: format!(
            "{made}\nunzip -o fleet-server.zip\nscp fleet-server/fleet-server.crt fleet-server/fleet-server.key root@{name}:/etc/"
        ),
    }
}

/// The CA that agents verify it with, as PEM: pasted into the host's TLS options, or our own where they have nothing else.
fn authority_of(console: &Console, place: Place<'_>) -> Result<Option<String>, FleetError> {
    let tls = place.host.ssl.as_ref();
    let given = tls.and_then(|tls| tls.agent_certificate_authorities.as_ref()?.first());
    if given.is_some() {
        return Ok(given.filter(|text| text.contains("-----BEGIN")).cloned());
    }
    if tls.is_none_or(|tls| tls.certificate.is_none()) {
        return join::authority(console);
    }
    Ok(None)
}

/// All options, and those that have to be filled in by hand.
fn options(
    place: Place<'_>,
    output: Option<&Output>,
    policy: &AgentPolicy,
    token: &str,
    brought: &Brought,
) -> (Vec<(&'static str, String)>, Vec<&'static str>) {
    let elasticsearch = output.and_then(|output| output.hosts.first().cloned());
    let mut options = vec![
        ("--url", place.url.to_owned()),
        ("--fleet-server-es", elasticsearch.unwrap_or_default()),
        ("--fleet-server-service-token", token.to_owned()),
        ("--fleet-server-policy", policy.id.clone()),
    ];
    let mut missing = tls_options(place.host, output, &mut options);
    options.push(("--fleet-server-port", port_of(place.url).to_string()));
    if brought.authority.is_some() {
        missing.retain(|option| *option != "--certificate-authorities");
    }
    if brought.certificate.is_some() {
        missing.retain(|option| !matches!(*option, "--fleet-server-cert" | "--fleet-server-cert-key"));
    }
    (options, missing)
}

/// Where the new server listens: as its URL says, unless that is what a balancer before it has.
fn port_of(url: &str) -> u16 {
    let port = url::Url::parse(url).ok().and_then(|url| url.port());
    port.unwrap_or(8220)
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
    add("--fleet-server-cert", tls.certificate, CERTIFICATE);
    add("--fleet-server-cert-key", tls.key, KEY);
    add("--fleet-server-es-cert", tls.es_certificate, "<PATH_TO_ES_CLIENT_CERT>");
    add("--fleet-server-es-cert-key", tls.es_key, "<PATH_TO_ES_CLIENT_KEY>");
    add("--elastic-agent-cert", tls.agent_certificate, "<PATH_TO_AGENT_CERT>");
    add("--elastic-agent-cert-key", tls.agent_key, "<PATH_TO_AGENT_KEY>");
    if let Some(mode) = tls.client_auth.filter(|mode| !mode.is_empty() && mode != "none") {
        options.push(("--fleet-server-client-auth", mode));
    }
    missing
}

/// The commands for each platform, behind what brings certificates to the host.
fn commands(
    console: &Console,
    options: &[(&'static str, String)],
    brought: &Brought,
) -> Result<Vec<Command>, FleetError> {
    let (downloads, version) = (downloads(console), &console.settings.version);
    let pem = brought.authority.as_deref();
    let install = |platform: Platform, start: &str, continuation: &str| {
        let line = |(name, value): &(&str, String)| format!("{name}={}", brought.on(platform, value));
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
    let ca = written(Platform::Linux).map(|command| Command {
        place: "on the new host, once: the CA of your Fleet Servers",
        ..command
    });
    let first = brought.certificate.clone().into_iter().chain(ca);
    let bare = join::install_script(console)?.map(|start| Command {
        place: "on the new host, Linux, as root; nothing needs to be installed",
        text: install(Platform::Flotilla, &start, "\\"),
    });
    let all = [
        archive("Stock agent, Linux x86_64", Platform::Linux, "linux-x86_64"),
        archive("Stock agent, Linux aarch64", Platform::Linux, "linux-arm64"),
        package("DEB", format!("elastic-agent-{version}-amd64.deb"), "dpkg -i"),
        package("RPM", format!("elastic-agent-{version}-x86_64.rpm"), "rpm -vi"),
        archive("macOS", Platform::MacOs, "darwin-aarch64"),
    ];
    let ca_on_windows = written(Platform::Windows).map(|command| Command {
        place: "Windows, first, once: the CA of your Fleet Servers",
        ..command
    });
    let all = bare.into_iter().chain(all).chain(ca_on_windows).chain([on_windows]);
    Ok(first.chain(all).collect())
}

impl Brought {
    /// An option's value with the paths that files have there once they were brought.
    fn on(&self, platform: Platform, value: &str) -> String {
        let (certificate, key) = match platform {
            Platform::Windows => (r"C:\ProgramData\fleet-server.crt", r"C:\ProgramData\fleet-server.key"),
            _ => ("/etc/fleet-server.crt", "/etc/fleet-server.key"),
        };
        match value {
            CA => self
                .authority
                .as_deref()
                .map_or_else(|| CA.to_owned(), |pem| CaFile::written(platform, pem).path),
            CERTIFICATE if self.certificate.is_some() => certificate.to_owned(),
            KEY if self.certificate.is_some() => key.to_owned(),
            other => other.to_owned(),
        }
    }
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

    #[test]
    fn a_new_server_has_a_certificate_and_a_port_of_its_url() {
        let authority = SigningAuthority {
            certificate: "/certs/ca.crt".into(),
            key: "/certs/ca.key".into(),
        };
        for (url, name, port, copied) in [
            (
                "https://quay.example:8221",
                "--dns quay.example",
                8221,
                "root@quay.example:",
            ),
            ("https://192.0.2.7:8220", "--ip 192.0.2.7", 8220, "root@192.0.2.7:"),
            (
                "https://[2001:db8::7]:8220",
                "--ip 2001:db8::7",
                8220,
                "root@[2001:db8::7]:",
            ),
            (
                "https://balancer.example:443",
                "--dns balancer.example",
                8220,
                "root@balancer.example:",
            ),
        ] {
            let text = certificate_for(url, &authority).text;
            assert!(
                text.contains(&format!("{name} \\\n")) && text.contains(copied),
                "{text}"
            );
            assert_eq!(port_of(url), port, "{url}");
        }
    }

    #[test]
    fn the_place_that_is_free_is_proposed() {
        let hosts: Vec<FleetServerHost> = serde_json::from_value(serde_json::json!([
            {"id": "a", "name": "a", "host_urls": ["https://own:8220", "https://second:8220"], "is_default": true},
            {"id": "b", "name": "b", "host_urls": ["https://third:8220"]},
        ]))
        .unwrap();
        let places = Place::all(&hosts);
        let chosen = |wanted: &Wanted, own: &str| Place::chosen(&places, wanted, &[own.to_owned()]).unwrap().url;
        assert_eq!(chosen(&Wanted::default(), "https://own:8220"), "https://second:8220");
        let wanted = Wanted {
            host: "b".to_owned(),
            ..Wanted::default()
        };
        assert_eq!(chosen(&wanted, "https://own:8220"), "https://third:8220");
        let wanted = Wanted {
            url: "https://own:8220".to_owned(),
            ..wanted
        };
        assert_eq!(chosen(&wanted, "https://own:8220"), "https://own:8220");
    }
}
