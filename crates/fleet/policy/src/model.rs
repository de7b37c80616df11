//! The stored documents that a policy is made of. Field names are those of the Fleet API; what has no field of its own here is
//! kept in `other`, so that an answer reads back what was written.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where agents send events.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Output {
    /// Its id.
    pub id: String,
    /// For people.
    pub name: String,
    /// `elasticsearch`, `remote_elasticsearch`, `logstash` or `kafka`.
    #[serde(rename = "type")]
    pub kind: String,
    /// URLs, or `host:port` for logstash and kafka.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// For integrations of policies that name no output.
    #[serde(default)]
    pub is_default: bool,
    /// For the agents' own monitoring, likewise.
    #[serde(default)]
    pub is_default_monitoring: bool,
    /// Pin of a CA's public key, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_sha256: Option<String>,
    /// SHA-256 of a CA certificate that is trusted when the server sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_trusted_fingerprint: Option<String>,
    /// Put into the output's section as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_yaml: Option<String>,
    /// Its proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_id: Option<String>,
    /// `certificate_authorities`, `certificate`, `key`, `verification_mode`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl: Option<Map<String, Value>>,
    /// `{ssl: {key: {id}}}` and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Map<String, Value>>,
    /// `balanced`, `custom`, `throughput`, `scale` or `latency`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Agents may write to the `logs` streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_to_logs_streams: Option<bool>,
    /// Everything else: the fields of one type, flags.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Output {
    /// Whether agents get API keys for it.
    pub fn is_elasticsearch(&self) -> bool {
        matches!(self.kind.as_str(), "elasticsearch" | "remote_elasticsearch")
    }
}

/// Where agents find Fleet Server, and the TLS material of the legs that meet there.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct FleetServerHost {
    /// Its id.
    pub id: String,
    /// For people.
    pub name: String,
    /// Best first.
    #[serde(default)]
    pub host_urls: Vec<String>,
    /// For policies that name no host.
    #[serde(default)]
    pub is_default: bool,
    /// The agents' proxy on the way to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_id: Option<String>,
    /// Files and PEM texts, by leg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl: Option<HostSsl>,
    /// `{ssl: {key, es_key, agent_key}}`, each `{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Map<String, Value>>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The ten TLS fields of a host. Each text is a path on the agent's host or PEM.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct HostSsl {
    /// CAs that signed the agents' client certificates; Fleet Server trusts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authorities: Option<Vec<String>>,
    /// Fleet Server's own certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// CAs that Fleet Server trusts when it calls Elasticsearch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub es_certificate_authorities: Option<Vec<String>>,
    /// Fleet Server's client certificate for Elasticsearch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub es_certificate: Option<String>,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub es_key: Option<String>,
    /// CAs that agents trust when they call Fleet Server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_certificate_authorities: Option<Vec<String>>,
    /// The agents' client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_certificate: Option<String>,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_key: Option<String>,
    /// `optional`, `required` or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<String>,
}

/// A proxy that hosts, outputs and download sources name.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Proxy {
    /// Its id.
    pub id: String,
    /// For people.
    pub name: String,
    /// `http`, `https` or `socks5`.
    pub url: String,
    /// Sent with CONNECT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_headers: Option<Map<String, Value>>,
    /// One path or PEM text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authorities: Option<String>,
    /// One path or PEM text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// One path or PEM text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_key: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Where agents download their new version from.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct DownloadSource {
    /// Its id.
    pub id: String,
    /// For people.
    pub name: String,
    /// A URL.
    pub host: String,
    /// For policies that name none.
    #[serde(default)]
    pub is_default: bool,
    /// Its proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_id: Option<String>,
    /// `certificate_authorities`, `certificate`, `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl: Option<Map<String, Value>>,
    /// User and password, or API key, and headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Map<String, Value>>,
    /// `{ssl: {key: {id}}, auth: {..}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Map<String, Value>>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What a group of agents does.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct AgentPolicy {
    /// Its id.
    pub id: String,
    /// Unique in its space.
    pub name: String,
    /// Of the data streams, unless a package policy has its own.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Rises with each change of what agents get.
    #[serde(default)]
    pub revision: i64,
    /// `active` or `inactive`.
    #[serde(default)]
    pub status: String,
    /// Hosted: changed only by who made it.
    #[serde(default)]
    pub is_managed: bool,
    /// Tamper protection.
    #[serde(default)]
    pub is_protected: bool,
    /// Of `logs`, `metrics` and `traces`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring_enabled: Option<Vec<String>>,
    /// Monitoring stays on without logs, metrics and traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_monitoring_alive: Option<bool>,
    /// Seconds after which a silent agent is inactive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inactivity_timeout: Option<i64>,
    /// Seconds after which a silent agent is unenrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unenroll_timeout: Option<i64>,
    /// Output of the integrations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_output_id: Option<String>,
    /// Output of the agents' own monitoring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring_output_id: Option<String>,
    /// Fleet Server host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet_server_host_id: Option<String>,
    /// Download source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download_source_id: Option<String>,
    /// `{name, enabled}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_features: Option<Vec<AgentFeature>>,
    /// Merged into the policy at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Map<String, Value>>,
    /// `agent_logging_level` and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advanced_settings: Option<Map<String, Value>>,
    /// Fields that are added to every event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global_data_tags: Option<Vec<GlobalDataTag>>,
    /// Serves profiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring_pprof_enabled: Option<bool>,
    /// Serves metrics over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring_http: Option<Map<String, Value>>,
    /// Limits of diagnostics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring_diagnostics: Option<Map<String, Value>>,
    /// Spaces that see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space_ids: Option<Vec<String>>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn default_namespace() -> String {
    "default".to_owned()
}

impl AgentPolicy {
    /// Whether agents ship their own logs, metrics or traces.
    pub fn monitors(&self, what: &str) -> bool {
        self.monitoring_enabled
            .as_ref()
            .is_some_and(|list| list.iter().any(|entry| entry == what))
    }
}

/// A switch of the agent.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct AgentFeature {
    /// Such as `fqdn`.
    pub name: String,
    /// On or off.
    pub enabled: bool,
}

/// A field of every event.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct GlobalDataTag {
    /// The field.
    pub name: String,
    /// Text or number.
    pub value: Value,
}

/// An integration of one or several agent policies.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct PackagePolicy {
    /// Its id.
    pub id: String,
    /// Unique in its space.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Empty: that of the agent policy.
    #[serde(default)]
    pub namespace: String,
    /// The agent policies that it is part of.
    #[serde(default)]
    pub policy_ids: Vec<String>,
    /// Its own output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_id: Option<String>,
    /// Off: not in any policy.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// The package that it is made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageReference>,
    /// What it runs.
    #[serde(default)]
    pub inputs: Vec<PolicyInput>,
    /// Variables of the package as a whole: name to `{type, value}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vars: Option<Map<String, Value>>,
    /// Rises with each change.
    #[serde(default)]
    pub revision: i64,
    /// Secrets that its variables refer to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_references: Vec<Value>,
    /// `{inputs: {id: {..}}}`, merged into the compiled inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Map<String, Value>>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn enabled() -> bool {
    true
}

/// The package of a package policy.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct PackageReference {
    /// Its name.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub title: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// An input of a package policy.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct PolicyInput {
    /// The agent's input type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The policy template that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_template: Option<String>,
    /// On or off.
    #[serde(default)]
    pub enabled: bool,
    /// Name to `{type, value}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vars: Option<Map<String, Value>>,
    /// Name to `{type, value}`, merged into the compiled input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Map<String, Value>>,
    /// When the agent runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// What each data stream gets.
    #[serde(default)]
    pub streams: Vec<PolicyStream>,
    /// The rendered template of the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compiled_input: Option<Map<String, Value>>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A stream of an input.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct PolicyStream {
    /// `{input type}-{dataset}-{package policy id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// On or off.
    #[serde(default)]
    pub enabled: bool,
    /// `type`, `dataset`, `elasticsearch`.
    pub data_stream: StreamTarget,
    /// Name to `{type, value}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vars: Option<Map<String, Value>>,
    /// Name to `{type, value}`, merged into the compiled stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Map<String, Value>>,
    /// When the agent runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The rendered template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compiled_stream: Option<Map<String, Value>>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The data stream of a stream.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct StreamTarget {
    /// `logs`, `metrics`, ..
    #[serde(rename = "type")]
    pub kind: String,
    /// Second part of the data stream's name.
    pub dataset: String,
    /// Privileges and the like, as in the package's manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elasticsearch: Option<Value>,
}
