//! Every TLS connection that the fleet's settings make: from whom to whom, who presents what, who checks with what.
//!
//! Derived from policies, hosts, outputs and proxies alone; what servers really present is [`crate::domain::connection_tests`].

use std::collections::BTreeMap;

use policy::model::{AgentPolicy, FleetServerHost, Output, Proxy};
use serde_json::{Map, Value, json};

use crate::Console;
use crate::domain::agents::{self, Tally};
use crate::domain::error::FleetError;
use crate::domain::objects::is_pem;
use crate::domain::{agent_policies, fleet_server_hosts, outputs, proxies};

/// Policies that are told apart; the rest are one party.
const POLICIES: usize = 8;

/// What a party is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// People and programs that use the console.
    Browsers,
    /// The agents of a policy.
    Agents,
    /// Something between them.
    Proxy,
    /// This program's pages and API.
    Console,
    /// The Fleet Servers behind one host entry.
    FleetServer,
    /// Where data goes.
    Output,
}

/// One end of connections.
#[derive(Clone, Debug)]
pub struct Party {
    /// Stable, for URLs.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// In words.
    pub name: String,
    /// How many agents; none for servers.
    pub agents: Option<u64>,
    /// How many of them are not healthy.
    pub unhealthy: u64,
    /// The port of a server.
    pub port: Option<u16>,
    /// The page where it is set.
    pub href: String,
}

/// A value and the setting that it comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Setting {
    /// For people.
    pub text: String,
    /// Such as `ssl.certificate_authorities`; empty for a default.
    pub from: String,
}

impl Setting {
    fn new(text: impl Into<String>, from: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            from: from.into(),
        }
    }
}

/// One connection of the map.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Stable, for URLs.
    pub id: String,
    /// Who connects.
    pub from: String,
    /// To whom.
    pub to: String,
    /// Through which proxy.
    pub via: Option<String>,
    /// Carries events rather than control.
    pub is_data: bool,
    /// Where to, the first is tested.
    pub urls: Vec<String>,
    /// What the client checks the server with.
    pub trust: Vec<Setting>,
    /// What the client presents.
    pub client_certificate: Option<Setting>,
    /// What the server presents, as far as it is set here.
    pub server_certificate: Option<Setting>,
    /// What the server checks clients with, when it asks for a certificate.
    pub client_trust: Vec<Setting>,
    /// `verification_mode`.
    pub verification: Setting,
    /// How many agents use it.
    pub peers: Option<u64>,
    /// How many of those were enrolled without verification.
    pub unverified_peers: u64,
    /// The client's `ssl` block, for a test from here.
    pub ssl: Value,
    /// The proxy's URL.
    pub proxy: Option<String>,
}

impl Connection {
    /// Both sides present a certificate.
    pub fn is_mutual(&self) -> bool {
        self.client_certificate.is_some() || !self.client_trust.is_empty()
    }

    /// Somebody on it does not check whom they talk to.
    pub fn is_unverified(&self) -> bool {
        self.verifies_nothing() || self.unverified_peers > 0
    }

    /// Its settings say not to check whom it leads to.
    pub fn verifies_nothing(&self) -> bool {
        self.verification.text == "none"
    }

    /// Whether it is TLS at all.
    pub fn is_encrypted(&self) -> bool {
        self.urls.first().is_some_and(|url| url.starts_with("https://"))
    }
}

/// Who and how.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    /// Clients first, then servers.
    pub parties: Vec<Party>,
    /// Control before data.
    pub connections: Vec<Connection>,
    /// Policies that were put together into one party.
    pub folded: usize,
}

/// All connections.
///
/// # Errors
/// The store cannot answer.
pub async fn all(console: &Console) -> Result<Connections, FleetError> {
    let mut groups = groups(console, agent_policies::list(console).await?).await?;
    groups.sort_by_key(|group| std::cmp::Reverse(group.agents.active));
    let folded = groups.len().saturating_sub(POLICIES);
    groups.truncate(POLICIES);
    Ok(Settings::read(console).await?.connections(&groups, folded))
}

/// The connections of the agents of one policy, which may be one that [`all`] folds.
///
/// # Errors
/// The store cannot answer; no such policy.
pub async fn of_policy(console: &Console, id: &str) -> Result<Connections, FleetError> {
    let groups = groups(console, vec![agent_policies::read(console, id).await?]).await?;
    Ok(Settings::read(console).await?.connections(&groups, 0))
}

async fn groups(console: &Console, policies: Vec<AgentPolicy>) -> Result<Vec<Group>, FleetError> {
    let tallies = agents::tallies(console).await?;
    let group = |policy: AgentPolicy| Group {
        agents: tallies.get(&policy.id).copied().unwrap_or_default(),
        policy,
    };
    Ok(policies.into_iter().map(group).collect())
}

struct Group {
    policy: AgentPolicy,
    agents: Tally,
}

struct Settings {
    hosts: Vec<FleetServerHost>,
    outputs: Vec<Output>,
    proxies: Vec<Proxy>,
    enrolment_ca: Option<String>,
    console_urls: Vec<String>,
}

impl Settings {
    async fn read(console: &Console) -> Result<Self, FleetError> {
        Ok(Self {
            hosts: fleet_server_hosts::list(console).await?,
            outputs: outputs::list(console).await?,
            proxies: proxies::list(console).await?,
            enrolment_ca: console.settings.ca_fingerprint.clone(),
            console_urls: console.settings.console_urls.clone(),
        })
    }

    fn connections(&self, groups: &[Group], folded: usize) -> Connections {
        let mut all = Connections {
            folded,
            ..Connections::default()
        };
        all.parties.push(party(
            "browsers",
            Kind::Browsers,
            "Browsers and scripts",
            "/app/fleet/agents",
        ));
        all.parties.push(Party {
            port: self.console_urls.first().and_then(|url| port(url)),
            ..party("console", Kind::Console, "Console", "/app/fleet/settings")
        });
        all.connections.push(self.to_console());
        for group in groups {
            all.parties.push(Party {
                agents: Some(group.agents.active),
                unhealthy: group.agents.unhealthy,
                href: format!("/app/fleet/policies/{}", group.policy.id),
                ..party(
                    &format!("policy-{}", group.policy.id),
                    Kind::Agents,
                    &group.policy.name,
                    "",
                )
            });
        }
        let mut used = BTreeMap::new();
        for group in groups {
            let host = self.host_of(&group.policy);
            all.connections
                .extend(host.map(|host| self.to_fleet_server(group, host)));
            let data = self.output_of(group.policy.data_output_id.as_deref(), |output| output.is_default);
            let monitoring = self.output_of(group.policy.monitoring_output_id.as_deref(), |output| {
                output.is_default_monitoring
            });
            for output in [data, monitoring].into_iter().flatten() {
                let connection = self.to_output(group, output);
                used.entry(connection.id.clone()).or_insert(connection);
            }
        }
        for host in &self.hosts {
            all.connections.extend(self.of_fleet_server(host));
        }
        all.connections.extend(used.into_values());
        for host in &self.hosts {
            all.parties.push(Party {
                port: host.host_urls.first().and_then(|url| port(url)),
                ..party(
                    &format!("host-{}", host.id),
                    Kind::FleetServer,
                    &format!("Fleet Server, {}", host.name),
                    "/app/fleet/settings",
                )
            });
        }
        for output in &self.outputs {
            all.parties.push(Party {
                port: output.hosts.first().and_then(|url| port(url)),
                ..party(
                    &format!("output-{}", output.id),
                    Kind::Output,
                    &format!("{}, {}", output_kind(&output.kind), output.name),
                    "/app/fleet/settings",
                )
            });
        }
        for proxy in &self.proxies {
            all.parties.push(Party {
                port: port(&proxy.url),
                ..party(
                    &format!("proxy-{}", proxy.id),
                    Kind::Proxy,
                    &proxy.name,
                    "/app/fleet/settings",
                )
            });
        }
        all
    }

    fn to_console(&self) -> Connection {
        Connection {
            urls: self.console_urls.clone(),
            trust: vec![Setting::new("what the client trusts", "")],
            ssl: self.ssl(&[], None),
            ..connection("browsers", "console")
        }
    }

    fn to_fleet_server(&self, group: &Group, host: &FleetServerHost) -> Connection {
        let ssl = host.ssl.clone().unwrap_or_default();
        let authorities = ssl.agent_certificate_authorities.unwrap_or_default();
        let asks = matches!(ssl.client_auth.as_deref(), Some("required" | "optional"));
        let given = named(ssl.agent_certificate.as_deref(), "ssl.agent_certificate");
        Connection {
            urls: host.host_urls.clone(),
            trust: trust(
                &authorities,
                "ssl.agent_certificate_authorities",
                self.enrolment_ca.as_deref(),
                "enrolment",
            ),
            client_certificate: given.or_else(|| asks.then(|| Setting::new("own certificate", "enrolment"))),
            server_certificate: named(ssl.certificate.as_deref(), "ssl.certificate"),
            client_trust: if asks {
                named_all(
                    &ssl.certificate_authorities.unwrap_or_default(),
                    "ssl.certificate_authorities",
                )
            } else {
                Vec::new()
            },
            peers: Some(group.agents.active),
            unverified_peers: group.agents.unverified,
            ssl: self.ssl(&authorities, self.enrolment_ca.as_deref()),
            ..self.through(
                connection(&format!("policy-{}", group.policy.id), &format!("host-{}", host.id)),
                host.proxy_id.as_deref(),
            )
        }
    }

    fn to_output(&self, group: &Group, output: &Output) -> Connection {
        Connection {
            peers: Some(group.agents.active),
            is_data: true,
            ..self.output_client(
                output,
                connection(&format!("policy-{}", group.policy.id), &format!("output-{}", output.id)),
            )
        }
    }

    fn output_client(&self, output: &Output, connection: Connection) -> Connection {
        let ssl = output.ssl.clone().unwrap_or_default();
        let extra = output
            .config_yaml
            .as_deref()
            .and_then(|yaml| settings::from_yaml("config_yaml", yaml).ok())
            .and_then(|extra| extra.get("ssl").and_then(Value::as_object).cloned())
            .unwrap_or_default();
        let (mut authorities, mut from) = (texts(&ssl, "certificate_authorities"), "ssl.certificate_authorities");
        if authorities.is_empty() {
            authorities = texts(&extra, "certificate_authorities");
            from = "advanced YAML, ssl.certificate_authorities";
        }
        let fingerprint = output.ca_trusted_fingerprint.as_deref().filter(|text| !text.is_empty());
        let mode = [&ssl, &extra]
            .into_iter()
            .find_map(|map| map.get("verification_mode")?.as_str());
        let mut block = self.ssl(&authorities, fingerprint);
        if let Some(mode) = mode {
            block["verification_mode"] = mode.into();
        }
        Connection {
            urls: output.hosts.clone(),
            trust: trust(&authorities, from, fingerprint, "ca_trusted_fingerprint"),
            client_certificate: named(ssl.get("certificate").and_then(Value::as_str), "ssl.certificate"),
            verification: mode.map_or_else(
                || Setting::new("full", ""),
                |mode| Setting::new(mode, "ssl.verification_mode"),
            ),
            ssl: block,
            ..self.through(connection, output.proxy_id.as_deref())
        }
    }

    /// A Fleet Server's own connection to the default output.
    fn of_fleet_server(&self, host: &FleetServerHost) -> Option<Connection> {
        let output = self
            .outputs
            .iter()
            .find(|output| output.is_default && output.kind == "elasticsearch")?;
        let connection = connection(&format!("host-{}", host.id), &format!("output-{}", output.id));
        let mut connection = self.output_client(output, connection);
        let ssl = host.ssl.clone().unwrap_or_default();
        let authorities = ssl.es_certificate_authorities.unwrap_or_default();
        if !authorities.is_empty() {
            connection.trust = named_all(&authorities, "ssl.es_certificate_authorities");
            connection.ssl = self.ssl(&authorities, None);
        }
        connection.client_certificate =
            named(ssl.es_certificate.as_deref(), "ssl.es_certificate").or(connection.client_certificate);
        Some(connection)
    }

    fn host_of(&self, policy: &AgentPolicy) -> Option<&FleetServerHost> {
        let named = self
            .hosts
            .iter()
            .find(|host| Some(&host.id) == policy.fleet_server_host_id.as_ref());
        named.or_else(|| self.hosts.iter().find(|host| host.is_default))
    }

    fn output_of(&self, id: Option<&str>, default: impl Fn(&Output) -> bool) -> Option<&Output> {
        let named = self.outputs.iter().find(|output| Some(output.id.as_str()) == id);
        named.or_else(|| self.outputs.iter().find(|output| default(output)))
    }

    fn through(&self, connection: Connection, proxy: Option<&str>) -> Connection {
        let proxy = self.proxies.iter().find(|one| Some(one.id.as_str()) == proxy);
        Connection {
            via: proxy.map(|proxy| format!("proxy-{}", proxy.id)),
            proxy: proxy.map(|proxy| proxy.url.clone()),
            ..connection
        }
    }

    fn ssl(&self, authorities: &[String], fingerprint: Option<&str>) -> Value {
        let mut block = Map::new();
        if !authorities.is_empty() {
            block.insert("certificate_authorities".into(), json!(authorities));
        }
        // Without a setting of its own, a client of this installation is given the CA that made its certificates.
        let fingerprint = fingerprint.or(if authorities.is_empty() {
            self.enrolment_ca.as_deref()
        } else {
            None
        });
        if let Some(fingerprint) = fingerprint {
            block.insert("ca_trusted_fingerprint".into(), fingerprint.into());
        }
        Value::Object(block)
    }
}

fn trust(authorities: &[String], from: &str, fingerprint: Option<&str>, or_from: &str) -> Vec<Setting> {
    let mut trust = named_all(authorities, from);
    if trust.is_empty() {
        trust.extend(fingerprint.map(|text| Setting::new(format!("CA {}", short_hash(text)), or_from)));
    }
    if trust.is_empty() {
        trust.push(Setting::new("the system's roots", ""));
    }
    trust
}

fn party(id: &str, kind: Kind, name: &str, href: &str) -> Party {
    Party {
        id: id.to_owned(),
        kind,
        name: name.to_owned(),
        agents: None,
        unhealthy: 0,
        port: None,
        href: href.to_owned(),
    }
}

fn connection(from: &str, to: &str) -> Connection {
    Connection {
        id: format!("{from}~{to}"),
        from: from.to_owned(),
        to: to.to_owned(),
        via: None,
        is_data: false,
        urls: Vec::new(),
        trust: Vec::new(),
        client_certificate: None,
        server_certificate: None,
        client_trust: Vec::new(),
        verification: Setting::new("full", ""),
        peers: None,
        unverified_peers: 0,
        ssl: json!({}),
        proxy: None,
    }
}

fn output_kind(kind: &str) -> &str {
    match kind {
        "elasticsearch" => "Elasticsearch",
        "remote_elasticsearch" => "Remote Elasticsearch",
        "logstash" => "Logstash",
        "kafka" => "Kafka",
        other => other,
    }
}

fn texts(map: &Map<String, Value>, key: &str) -> Vec<String> {
    match map.get(key) {
        Some(Value::String(text)) if !text.is_empty() => vec![text.clone()],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn named_all(values: &[String], from: &str) -> Vec<Setting> {
    values.iter().filter_map(|value| named(Some(value), from)).collect()
}

/// A path as it is, a PEM text as the common name in it.
fn named(value: Option<&str>, from: &str) -> Option<Setting> {
    let value = value.filter(|value| !value.trim().is_empty())?;
    if !is_pem(value) {
        return Some(Setting::new(value, from));
    }
    let parsed = certs::parse_certificates(value.as_bytes(), from).ok();
    let name = parsed.and_then(|all| Some(common_name(&certs::describe(all.first()?).subject).to_owned()));
    Some(Setting::new(
        name.unwrap_or_else(|| "a text that is no certificate".to_owned()),
        from,
    ))
}

/// The common name of a subject such as `CN=a, O=b`; all of it when it has none.
pub fn common_name(subject: &str) -> &str {
    let mut parts = subject.split(',').map(str::trim);
    parts.find_map(|part| part.strip_prefix("CN=")).unwrap_or(subject)
}

/// First and last bytes of a hash.
pub fn short_hash(hash: &str) -> String {
    let hash: String = hash.chars().filter(|c| *c != ':').collect();
    match (hash.get(..4), hash.get(hash.len().saturating_sub(4)..)) {
        (Some(head), Some(tail)) if hash.len() > 8 => format!("{head}…{tail}"),
        _ => hash,
    }
}

fn port(url: &str) -> Option<u16> {
    let parsed = url::Url::parse(url).ok().filter(url::Url::has_host)?;
    parsed.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let host = json!({"id": "h", "name": "Harbour", "host_urls": ["https://fs:8220"], "is_default": true,
            "ssl": {"client_auth": "required", "certificate_authorities": ["/agents.crt"]}});
        let output = json!({"id": "o", "name": "default", "type": "elasticsearch", "hosts": ["https://es:9200"],
            "is_default": true, "is_default_monitoring": true, "config_yaml": "ssl.verification_mode: none"});
        Settings {
            hosts: vec![serde_json::from_value(host).unwrap()],
            outputs: vec![serde_json::from_value(output).unwrap()],
            proxies: Vec::new(),
            enrolment_ca: Some("ab".repeat(32)),
            console_urls: vec!["https://console:5601".to_owned()],
        }
    }

    fn group() -> Group {
        let policy = json!({"id": "p", "name": "linux", "namespace": "default", "revision": 1, "status": "active"});
        Group {
            policy: serde_json::from_value(policy).unwrap(),
            agents: Tally {
                active: 3,
                ..Tally::default()
            },
        }
    }

    #[test]
    fn connections_follow_from_settings() {
        let all = settings().connections(&[group()], 0);
        let find = |id: &str| all.connections.iter().find(|connection| connection.id == id).unwrap();
        let control = find("policy-p~host-h");
        assert!(control.is_mutual() && !control.is_unverified() && !control.is_data);
        assert_eq!(control.trust, [Setting::new("CA abab…abab", "enrolment")]);
        assert_eq!(control.client_trust[0].text, "/agents.crt");
        let data = find("policy-p~output-o");
        assert!(data.is_unverified() && data.is_data && !data.is_mutual());
        assert!(find("host-h~output-o").is_encrypted());
        assert_eq!(all.connections.len(), 4);
    }

    #[test]
    fn names_are_short() {
        let check = |subject: &str, expected: &str| assert_eq!(common_name(subject), expected);
        check("CN=fleet-server, O=Example", "fleet-server");
        check("O=Example", "O=Example");
        assert_eq!(short_hash("3E:FA:00:11:22:91:cf"), "3EFA…91cf");
    }
}
