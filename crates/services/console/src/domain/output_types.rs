//! What each type of output takes: hosts, defaults, fields and their combinations.

use serde_json::{Value, json};

use crate::domain::documents::{Fields, text};
use crate::domain::error::FleetError;
use crate::domain::urls;

/// Settings in `config_yaml` that a preset decides about.
const PRESET_KEYS: [&str; 9] = [
    "bulk_max_size",
    "workers",
    "worker",
    "queue.mem.events",
    "queue.mem.flush.min_events",
    "queue.mem.flush.timeout",
    "compression_level",
    "connection_idle_timeout",
    "idle_connection_timeout",
];
const KAFKA: [&str; 24] = [
    "version",
    "key",
    "compression",
    "compression_level",
    "client_id",
    "auth_type",
    "connection_type",
    "username",
    "password",
    "sasl",
    "partition",
    "random",
    "round_robin",
    "hash",
    "topic",
    "topics",
    "headers",
    "timeout",
    "broker_timeout",
    "required_acks",
    "channel_buffer_size",
    "keep_alive",
    "metadata",
    "bulk_flush_frequency",
];
const REMOTE: [&str; 6] = [
    "service_token",
    "kibana_url",
    "kibana_api_key",
    "sync_integrations",
    "sync_uninstalled_integrations",
    "write_to_logs_streams",
];

/// Hosts of Elasticsearch are URLs in their full form; those of logstash and kafka `host:port`.
pub(crate) fn normalise_hosts(fields: &mut Fields) -> Result<(), FleetError> {
    let kind = text(fields, "type").unwrap_or_default().to_owned();
    let Some(hosts) = fields.get("hosts").and_then(Value::as_array) else {
        return Ok(());
    };
    let mut normal = Vec::with_capacity(hosts.len());
    for (index, host) in hosts.iter().enumerate() {
        let host = host.as_str().unwrap_or_default();
        match kind.as_str() {
            "logstash" => urls::check_host_port(host, "Logstash")?,
            "kafka" => urls::check_host_port(host, "Kafka")?,
            _ => {
                normal.push(urls::normalised(host, &format!("hosts.{index}"))?);
                continue;
            }
        }
        normal.push(host.to_owned());
    }
    fields.insert("hosts".into(), json!(normal));
    Ok(())
}

/// Fills in what a new output of its type leaves out.
pub(crate) fn set_defaults(fields: &mut Fields) -> Result<(), FleetError> {
    match text(fields, "type").unwrap_or_default() {
        "elasticsearch" | "remote_elasticsearch" if !fields.contains_key("preset") => {
            let preset = if preset_key_in(fields)?.is_some() {
                "custom"
            } else {
                "balanced"
            };
            fields.insert("preset".into(), preset.into());
        }
        "kafka" => kafka_defaults(fields),
        _ => {}
    }
    Ok(())
}

fn kafka_defaults(fields: &mut Fields) {
    let mut default = |key: &str, value: Value| {
        fields.entry(key).or_insert(value);
    };
    default("version", "1.0.0".into());
    default("client_id", "Elastic".into());
    default("compression", "gzip".into());
    default("partition", "hash".into());
    default("timeout", 30.into());
    default("broker_timeout", 10.into());
    default("required_acks", 1.into());
    if fields.get("compression").is_some_and(|kind| kind == "gzip") {
        fields.entry("compression_level").or_insert(4.into());
    }
}

/// Removes everything that only the former type has.
pub(crate) fn clear_type_fields(fields: &mut Fields) {
    let common = ["preset", "ssl", "secrets", "ca_sha256", "ca_trusted_fingerprint"];
    for key in KAFKA.iter().chain(&REMOTE).chain(&common) {
        fields.remove(*key);
    }
}

/// Of kafka and remote outputs, credentials that a PUT with the type leaves out are cleared.
pub(crate) fn clear_absent(fields: &mut Fields, given: &Fields) {
    let cleared: &[&str] = match text(given, "type").unwrap_or_default() {
        "kafka" => &["password", "username", "sasl", "ssl"],
        "remote_elasticsearch" => &["service_token", "kibana_api_key"],
        _ => &[],
    };
    for key in cleared.iter().filter(|key| !given.contains_key(**key)) {
        fields.remove(*key);
    }
}

/// Lets go of kept values that a change of another field makes wrong, where the change itself does not name them.
pub(crate) fn settle(fields: &mut Fields, given: &Fields) -> Result<(), FleetError> {
    let absent = |key: &str| !given.contains_key(key);
    if absent("preset") && text(fields, "preset") == Some("balanced") && preset_key_in(fields)?.is_some() {
        fields.insert("preset".into(), "custom".into());
    }
    if text(fields, "type") != Some("kafka") {
        return Ok(());
    }
    let auth = text(fields, "auth_type").unwrap_or_default().to_owned();
    let brings_password = given
        .get("secrets")
        .is_some_and(|secrets| secrets.get("password").is_some_and(|password| !password.is_null()));
    if auth != "user_pass" && !brings_password {
        crate::domain::fleet_server_hosts::remove_at(fields, &["secrets", "password"]);
    }
    if auth != "none" && absent("connection_type") {
        fields.remove("connection_type");
    }
    if text(fields, "compression") != Some("gzip") && absent("compression_level") {
        fields.remove("compression_level");
    }
    Ok(())
}

/// Checks the combination of fields.
///
/// # Errors
/// What does not fit the type.
pub(crate) fn check(fields: &Fields) -> Result<(), FleetError> {
    let kind = text(fields, "type").unwrap_or_default();
    let foreign: &[&str] = match kind {
        "kafka" => &[
            "preset",
            "service_token",
            "kibana_url",
            "kibana_api_key",
            "sync_integrations",
        ],
        "remote_elasticsearch" => &KAFKA[..],
        _ => &[],
    };
    let has = |key: &&str| fields.contains_key(*key);
    if let Some(key) = foreign.iter().find(|key| has(key)) {
        return Err(FleetError::invalid(format!(
            "[request body.{key}]: outputs of type {kind} do not have it"
        )));
    }
    let of_kafka = KAFKA
        .iter()
        .filter(|key| **key != "compression_level")
        .find(|key| has(key));
    if let Some(key) = of_kafka.filter(|_| matches!(kind, "elasticsearch" | "logstash")) {
        return Err(FleetError::invalid(format!(
            "[request body.{key}]: outputs of type {kind} do not have it"
        )));
    }
    config_yaml(fields)?;
    if text(fields, "preset") == Some("balanced")
        && let Some(key) = preset_key_in(fields)?
    {
        return Err(FleetError::invalid(format!(
            "preset cannot be balanced when config_yaml contains one of {}; it has `{key}`",
            PRESET_KEYS.join(", ")
        )));
    }
    if kind == "kafka" { check_kafka(fields) } else { Ok(()) }
}

fn check_kafka(fields: &Fields) -> Result<(), FleetError> {
    let auth = text(fields, "auth_type").unwrap_or_default();
    if auth.is_empty() {
        return Err(FleetError::invalid(
            "[request body.auth_type]: expected at least one defined value but got [undefined]",
        ));
    }
    let given = |key: &str| text(fields, key).is_some();
    let secret_password = fields
        .get("secrets")
        .is_some_and(|secrets| secrets.get("password").is_some_and(|p| !p.is_null()));
    if auth == "user_pass" && !given("username") {
        return Err(FleetError::invalid(
            "[request body.username]: required when auth_type is user_pass",
        ));
    }
    if auth == "user_pass" && !given("password") && !secret_password {
        return Err(FleetError::invalid(
            "[request body.password]: required when auth_type is user_pass",
        ));
    }
    if auth != "user_pass" && (given("username") || given("password") || secret_password) {
        return Err(FleetError::invalid(
            "[request body.username]: only with auth_type user_pass",
        ));
    }
    if auth != "none" && given("connection_type") {
        return Err(FleetError::invalid(
            "[request body.connection_type]: only with auth_type none",
        ));
    }
    let compression = text(fields, "compression").unwrap_or("gzip");
    if compression != "gzip" && fields.get("compression_level").is_some_and(|level| !level.is_null()) {
        return Err(FleetError::invalid(
            "[request body.compression_level]: only with compression gzip",
        ));
    }
    Ok(())
}

fn config_yaml(fields: &Fields) -> Result<Value, FleetError> {
    let yaml = text(fields, "config_yaml").unwrap_or_default();
    let parsed = settings::from_yaml_as_written("config_yaml", yaml);
    let parsed = parsed.map_err(|error| FleetError::invalid(format!("[request body.config_yaml]: {error}")))?;
    if parsed.is_null() || parsed.is_object() {
        return Ok(parsed);
    }
    Err(FleetError::invalid(
        "[request body.config_yaml]: it must be a map of settings",
    ))
}

fn preset_key_in(fields: &Fields) -> Result<Option<&'static str>, FleetError> {
    let parsed = config_yaml(fields)?;
    let expanded = settings::expand_dotted_keys(parsed).unwrap_or_default();
    let has = |key: &&&str| {
        let path = format!("/{}", key.replace('.', "/"));
        expanded.pointer(&path).is_some()
    };
    Ok(PRESET_KEYS.iter().find(has).copied())
}
