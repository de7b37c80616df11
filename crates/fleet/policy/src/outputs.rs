//! `outputs` of a policy: which ones it has, and what each says.

use serde_json::{Map, Value, json};

use crate::compile::{CompileError, Form, PolicyInputs, Secrets, is_set, output_key};
use crate::model::{FleetServerHost, Output, Proxy};

/// The outputs that a policy uses.
pub(crate) struct Chosen<'a> {
    pub(crate) data: &'a Output,
    pub(crate) monitoring: &'a Output,
    /// Outputs that package policies name themselves.
    pub(crate) own: Vec<&'a Output>,
}

impl<'a> Chosen<'a> {
    /// Each once, in the order in which they stand in the policy.
    pub(crate) fn all(&self) -> Vec<&'a Output> {
        let mut all: Vec<&Output> = Vec::new();
        for output in [self.data, self.monitoring].into_iter().chain(self.own.iter().copied()) {
            if !all.iter().any(|known| known.id == output.id) {
                all.push(output);
            }
        }
        all
    }

    /// The output of a package policy.
    pub(crate) fn of(&self, output_id: Option<&String>) -> &'a Output {
        let own = output_id.and_then(|id| self.own.iter().find(|output| output.id == *id));
        own.copied().unwrap_or(self.data)
    }
}

pub(crate) fn choose<'a>(inputs: &PolicyInputs<'a>) -> Result<Chosen<'a>, CompileError> {
    let by_id = |id: &String| {
        let found = inputs.outputs.iter().find(|output| output.id == *id);
        found.ok_or_else(|| inputs.dangling("output", id))
    };
    let no_output = || CompileError::NoOutput {
        policy: inputs.policy.id.clone(),
    };
    let data = match inputs.policy.data_output_id.as_ref().filter(|id| !id.is_empty()) {
        Some(id) => by_id(id)?,
        None => inputs
            .outputs
            .iter()
            .find(|output| output.is_default)
            .ok_or_else(no_output)?,
    };
    let monitoring = match inputs.policy.monitoring_output_id.as_ref().filter(|id| !id.is_empty()) {
        Some(id) => by_id(id)?,
        None => inputs
            .outputs
            .iter()
            .find(|output| output.is_default_monitoring)
            .unwrap_or(data),
    };
    let named = inputs.package_policies.iter().filter(|policy| policy.enabled);
    let named = named
        .filter_map(|policy| policy.output_id.as_ref())
        .filter(|id| !id.is_empty());
    Ok(Chosen {
        data,
        monitoring,
        own: named.map(by_id).collect::<Result<_, _>>()?,
    })
}

pub(crate) fn section(
    inputs: &PolicyInputs<'_>,
    chosen: &Chosen<'_>,
    host: Option<&FleetServerHost>,
    secrets: &mut Secrets,
) -> Result<Map<String, Value>, CompileError> {
    let mut section = Map::new();
    if let Some(host) = host.filter(|host| has_fleet_server_output(inputs, host)) {
        section.insert(fleet_server_output_key(host), fleet_server_output(host, secrets).into());
    }
    for output in chosen.all() {
        let proxy = inputs.proxy(output.proxy_id.as_ref())?;
        section.insert(
            output_key(output).to_owned(),
            entry(output, proxy, inputs.form, secrets)?.into(),
        );
    }
    Ok(section)
}

/// A policy with Fleet Server has an output of its own for Fleet Server's way to Elasticsearch, when the host has TLS settings.
pub(crate) fn has_fleet_server_output(inputs: &PolicyInputs<'_>, host: &FleetServerHost) -> bool {
    let runs_fleet_server = |policy: &crate::model::PackagePolicy| {
        policy.enabled
            && policy
                .inputs
                .iter()
                .any(|input| input.enabled && input.kind == "fleet-server")
    };
    inputs.form == Form::Fleet
        && (host.ssl.is_some() || host.secrets.is_some())
        && inputs.package_policies.iter().any(|policy| runs_fleet_server(policy))
}

pub(crate) fn fleet_server_output_key(host: &FleetServerHost) -> String {
    format!("fleetserver-output-{}", host.id)
}

fn fleet_server_output(host: &FleetServerHost, secrets: &mut Secrets) -> Map<String, Value> {
    let mut output = Map::new();
    output.insert("type".into(), "elasticsearch".into());
    if let Some(ssl) = &host.ssl {
        let mut legs = Map::new();
        set(
            &mut legs,
            "certificate_authorities",
            json!(ssl.es_certificate_authorities),
        );
        set(&mut legs, "certificate", json!(ssl.es_certificate));
        set(&mut legs, "key", json!(ssl.es_key));
        if !legs.is_empty() {
            output.insert("ssl".into(), legs.into());
        }
    }
    if let Some(key) = host_secret(host, "es_key") {
        secrets.note(key);
        output.insert("secrets".into(), json!({"ssl": {"key": key}}));
    }
    output
}

/// A stored secret of the host's TLS settings.
pub(crate) fn host_secret<'a>(host: &'a FleetServerHost, name: &str) -> Option<&'a Value> {
    host.secrets
        .as_ref()?
        .get("ssl")?
        .get(name)
        .filter(|secret| secret.is_object())
}

/// Keeps only what says something.
pub(crate) fn set(map: &mut Map<String, Value>, key: &str, value: Value) {
    if is_set(&value) {
        map.insert(key.to_owned(), value);
    }
}

fn entry(
    output: &Output,
    proxy: Option<&Proxy>,
    form: Form,
    secrets: &mut Secrets,
) -> Result<Map<String, Value>, CompileError> {
    let mut entry = config_yaml(output)?;
    let yaml_ssl = take_ssl(&mut entry);
    entry.insert("type".into(), output.kind.clone().into());
    entry.insert("hosts".into(), json!(output.hosts));
    set(&mut entry, "ca_sha256", json!(output.ca_sha256));
    set(
        &mut entry,
        "ssl.ca_trusted_fingerprint",
        json!(output.ca_trusted_fingerprint),
    );
    put_ssl(&mut entry, output, yaml_ssl, proxy);
    if let Some(stored) = output.secrets.as_ref().filter(|stored| !stored.is_empty()) {
        let stored = Value::Object(stored.clone());
        secrets.note(&stored);
        entry.insert("secrets".into(), stored);
    }
    if let Some(proxy) = proxy {
        entry.insert("proxy_url".into(), proxy.url.clone().into());
        if let Some(headers) = proxy.proxy_headers.as_ref().filter(|headers| !headers.is_empty()) {
            entry.insert("proxy_headers".into(), headers.clone().into());
        }
    }
    match output.kind.as_str() {
        "kafka" => kafka(&mut entry, output),
        "elasticsearch" | "remote_elasticsearch" => {
            set(&mut entry, "preset", json!(output.preset));
            elasticsearch(&mut entry, output, form);
        }
        _ => {}
    }
    Ok(entry)
}

fn config_yaml(output: &Output) -> Result<Map<String, Value>, CompileError> {
    let text = output.config_yaml.as_deref().unwrap_or_default();
    let invalid = |message: String| CompileError::ConfigYaml {
        output: output.id.clone(),
        message,
    };
    match settings::from_yaml_as_written("config_yaml", text).map_err(|error| invalid(error.to_string()))? {
        Value::Null => Ok(Map::new()),
        Value::Object(map) => Ok(map),
        _ => Err(invalid("it is not a map of settings".to_owned())),
    }
}

/// The `ssl` settings of the YAML, written nested or with dots.
fn take_ssl(entry: &mut Map<String, Value>) -> Map<String, Value> {
    let mut ssl = match entry.remove("ssl") {
        Some(Value::Object(ssl)) => ssl,
        _ => Map::new(),
    };
    let dotted: Vec<String> = entry.keys().filter(|key| key.starts_with("ssl.")).cloned().collect();
    for key in dotted {
        if let Some(value) = entry.remove(&key) {
            ssl.insert(key["ssl.".len()..].to_owned(), value);
        }
    }
    ssl
}

/// The output's fields, over them the YAML key by key, and last the proxy's certificates.
fn put_ssl(entry: &mut Map<String, Value>, output: &Output, yaml: Map<String, Value>, proxy: Option<&Proxy>) {
    let mut ssl = Map::new();
    for (key, value) in output.ssl.iter().flatten() {
        set(&mut ssl, key, value.clone());
    }
    ssl.extend(yaml);
    if let Some(proxy) = proxy {
        if let Some(authority) = proxy.certificate_authorities.as_ref().filter(|text| !text.is_empty()) {
            let mut list = match ssl.remove("certificate_authorities") {
                Some(Value::Array(list)) => list,
                Some(Value::String(one)) => vec![one.into()],
                _ => Vec::new(),
            };
            list.push(authority.clone().into());
            ssl.insert("certificate_authorities".into(), list.into());
        }
        set(&mut ssl, "certificate", json!(proxy.certificate));
        set(&mut ssl, "key", json!(proxy.certificate_key));
    }
    if !ssl.is_empty() {
        entry.insert("ssl".into(), ssl.into());
    }
}

fn elasticsearch(entry: &mut Map<String, Value>, output: &Output, form: Form) {
    for key in [
        "service_token",
        "sync_integrations",
        "sync_uninstalled_integrations",
        "kibana_url",
        "kibana_api_key",
    ] {
        if output.kind == "remote_elasticsearch" && !key.starts_with("kibana_") {
            set(entry, key, output.other.get(key).cloned().unwrap_or_default());
        }
    }
    if let Some(write) = output.write_to_logs_streams {
        entry.insert("write_to_logs_streams".into(), write.into());
    }
    if form == Form::Standalone {
        entry.insert("api_key".into(), "${API_KEY}".into());
    }
}

const KAFKA_FIELDS: [&str; 14] = [
    "version",
    "key",
    "compression",
    "compression_level",
    "client_id",
    "connection_type",
    "topic",
    "timeout",
    "broker_timeout",
    "required_acks",
    "auth_type",
    "username",
    "password",
    "sasl",
];

fn kafka(entry: &mut Map<String, Value>, output: &Output) {
    for key in KAFKA_FIELDS {
        // `auth_type` and `connection_type` are the console's own; agents see what follows from them.
        let is_for_agents = !matches!(key, "auth_type" | "connection_type");
        if is_for_agents {
            set(entry, key, output.other.get(key).cloned().unwrap_or_default());
        }
    }
    if let Some(partition) = kafka_partition(output) {
        entry.insert("partition".into(), partition);
    }
    let pairs = output
        .other
        .get("headers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let pairs: Vec<Value> = pairs
        .filter(|pair| is_set(&pair["key"]) && is_set(&pair["value"]))
        .cloned()
        .collect();
    entry.insert("headers".into(), pairs.into());
    if !entry.contains_key("ssl")
        && output
            .other
            .get("connection_type")
            .is_some_and(|kind| kind == "encryption")
    {
        entry.insert("ssl".into(), json!({"enabled": true}));
    }
}

fn kafka_partition(output: &Output) -> Option<Value> {
    let kind = output.other.get("partition")?.as_str()?;
    let settings = output.other.get(kind).filter(|settings| settings.is_object()).cloned();
    let default = if kind == "hash" {
        json!({"hash": ""})
    } else {
        json!({"group_events": 1})
    };
    Some(json!({ kind: settings.unwrap_or(default) }))
}
