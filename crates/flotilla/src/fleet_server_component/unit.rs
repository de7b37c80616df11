//! A unit as settings. Sources of the rules: the original's merge of policy and enrolment.

use anyhow::Result;
use fleet_server::FleetServerSettings;
use serde_json::{Map, Value, json};

use crate::fleet_server_command::memory_mib;

/// What of the policy's output says how Elasticsearch is reached.
const OUTPUT_KEYS: [&str; 11] = [
    "protocol",
    "hosts",
    "path",
    "service_token",
    "service_token_path",
    "username",
    "password",
    "headers",
    "proxy_url",
    "proxy_disable",
    "proxy_headers",
];
/// What the enrolment may add to the policy's `ssl`.
const SSL_KEYS: [&str; 5] = [
    "verification_mode",
    "certificate_authorities",
    "ca_trusted_fingerprint",
    "certificate",
    "key",
];

/// The settings of a server with this input and this `output.elasticsearch`.
pub(crate) fn settings_from(input: &Value, output: &Value, version: &str) -> Result<FleetServerSettings> {
    let mut server = input.get("server").cloned().unwrap_or_else(|| json!({}));
    if let Value::Object(server) = &mut server {
        for of_the_agent in ["output", "policy", "bootstrap"] {
            server.shift_remove(of_the_agent);
        }
        if let Some(ssl) = input.get("ssl").filter(|_| !server.contains_key("ssl")) {
            server.insert("ssl".to_owned(), ssl.clone());
        }
    }
    let policy = input.get("policy").cloned().unwrap_or_else(|| json!({}));
    let file = json!({
        "output": {"elasticsearch": output},
        "inputs": [{"type": "fleet-server", "policy": policy, "server": server}],
    });
    let text = settings::to_yaml(&file);
    let (mut settings, warnings) = FleetServerSettings::from_yaml(
        "the policy's Fleet Server",
        &text,
        &std::collections::BTreeMap::new(),
        memory_mib(),
    )?;
    for warning in warnings {
        tracing::debug!(%warning, "a setting of the Fleet Server has no effect");
    }
    version.clone_into(&mut settings.version);
    Ok(settings)
}

/// The policy's output where it says something, the enrolment's where it does not. An output of another kind than
/// Elasticsearch says nothing.
pub(super) fn completed_output(policy: &Value, bootstrap: &Value) -> Value {
    let is_elasticsearch = policy
        .get("type")
        .and_then(Value::as_str)
        .is_none_or(|kind| kind == "elasticsearch");
    if !is_elasticsearch || !says(policy, "hosts") {
        return bootstrap.clone();
    }
    let mut completed = Map::new();
    for key in OUTPUT_KEYS {
        if let Some(value) = [policy, bootstrap]
            .into_iter()
            .find(|from| says(from, key))
            .and_then(|from| from.get(key))
        {
            completed.insert(key.to_owned(), value.clone());
        }
    }
    let ssl = completed_ssl(&block(policy, "ssl"), &block(bootstrap, "ssl"));
    if !ssl.is_empty() {
        completed.insert("ssl".to_owned(), Value::Object(ssl));
    }
    Value::Object(completed)
}

/// "Do not verify" of the enrolment is over when the policy brings something to verify with.
fn completed_ssl(policy: &Map<String, Value>, bootstrap: &Map<String, Value>) -> Map<String, Value> {
    let mut ssl = policy.clone();
    let brings_trust = ["certificate_authorities", "ca_trusted_fingerprint"]
        .iter()
        .any(|key| policy.get(*key).is_some_and(|value| !is_empty(value)));
    let own_pair = policy.get("certificate").is_some_and(|value| !is_empty(value));
    for key in SSL_KEYS {
        let said = policy.get(key).is_some_and(|value| !is_empty(value));
        let skip = said || (key == "verification_mode" && brings_trust) || (key == "key" && own_pair);
        if let Some(value) = bootstrap.get(key).filter(|value| !skip && !is_empty(value)) {
            ssl.insert(key.to_owned(), value.clone());
        }
    }
    if !own_pair {
        for key in ["key_passphrase", "key_passphrase_path"] {
            if let Some(value) = bootstrap.get(key) {
                ssl.insert(key.to_owned(), value.clone());
            }
        }
    }
    ssl
}

/// What the listener for the agent itself presents: the same, but a client certificate is not demanded from this host.
pub(crate) fn internal_ssl(ssl: &Value) -> Value {
    let mut ssl = ssl.clone();
    if ssl.get("client_authentication").and_then(Value::as_str) == Some("required") {
        ssl["client_authentication"] = json!("optional");
    }
    ssl
}

fn block(of: &Value, key: &str) -> Map<String, Value> {
    of.get(key).and_then(Value::as_object).cloned().unwrap_or_default()
}

fn says(of: &Value, key: &str) -> bool {
    of.get(key).is_some_and(|value| !is_empty(value))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_s_output_is_completed_from_the_enrolment() {
        let bootstrap = json!({
            "protocol": "https", "hosts": ["boot:9200"], "service_token": "t",
            "ssl": {"certificate_authorities": ["/ca"], "certificate": "/c", "key": "/k", "verification_mode": "none"},
        });
        let check = |policy: Value, pointer: &str, expected: Value| {
            let completed = completed_output(&policy, &bootstrap);
            assert_eq!(
                completed.pointer(pointer).cloned().unwrap_or_default(),
                expected,
                "{policy}"
            );
        };
        let policy =
            json!({"type": "elasticsearch", "hosts": ["https://es:9200"], "ssl": {"ca_trusted_fingerprint": "f"}});
        check(policy.clone(), "/hosts", json!(["https://es:9200"]));
        check(policy.clone(), "/service_token", json!("t"));
        check(policy.clone(), "/ssl/certificate", json!("/c"));
        check(policy.clone(), "/ssl/ca_trusted_fingerprint", json!("f"));
        check(policy, "/ssl/verification_mode", Value::Null);
        check(
            json!({"type": "logstash", "hosts": ["ls:5044"]}),
            "/hosts",
            json!(["boot:9200"]),
        );
        check(
            json!({"type": "elasticsearch"}),
            "/ssl/verification_mode",
            json!("none"),
        );
        let own_pair = json!({"hosts": ["es"], "ssl": {"certificate": "/own"}});
        check(own_pair.clone(), "/ssl/certificate", json!("/own"));
        check(own_pair, "/ssl/key", Value::Null);
    }

    #[test]
    fn the_enrolment_s_server_becomes_the_listener() {
        let input = json!({
            "type": "fleet-server", "policy": {"id": "p"}, "ssl": {"certificate": "/policy"},
            "server": {"host": "127.0.0.1", "port": 1, "internal_port": 2, "limits": {"max_connections": 3}, "output": {}},
        });
        let settings = settings_from(&input, &json!({"hosts": ["es"], "service_token": "t"}), "9.6.0").unwrap();
        assert_eq!((settings.listen.port, settings.listen.internal_port), (1, 2));
        assert_eq!((settings.policy_id.as_str(), settings.limits.max_connections), ("p", 3));
        assert_eq!(settings.listen.ssl.unwrap()["certificate"], "/policy");
    }

    #[test]
    fn this_host_needs_no_client_certificate() {
        assert_eq!(
            internal_ssl(&json!({"client_authentication": "required"}))["client_authentication"],
            "optional"
        );
        assert_eq!(
            internal_ssl(&json!({"client_authentication": "none"}))["client_authentication"],
            "none"
        );
    }
}
