//! The variables of the stock container image, as keys of the configuration file.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A dotted key and its value. `server.` stands for the server block of the one input.
pub(super) type Setting = (String, Value);

const OUTPUT: &str = "output.elasticsearch";

/// Key, and the variables that set it: the first that is set and not empty counts.
const TEXTS: &[(&str, &[&str])] = &[
    ("policy.id", &["FLEET_SERVER_POLICY_ID", "FLEET_SERVER_POLICY"]),
    ("server.host", &["FLEET_SERVER_HOST"]),
    ("server.ssl.certificate", &["FLEET_SERVER_CERT"]),
    ("server.ssl.key", &["FLEET_SERVER_CERT_KEY"]),
    ("server.ssl.key_passphrase_path", &["FLEET_SERVER_CERT_KEY_PASSPHRASE"]),
    ("server.ssl.client_authentication", &["FLEET_SERVER_CLIENT_AUTH"]),
    ("output.elasticsearch.service_token", &["FLEET_SERVER_SERVICE_TOKEN"]),
    (
        "output.elasticsearch.service_token_path",
        &["FLEET_SERVER_SERVICE_TOKEN_PATH"],
    ),
    (
        "output.elasticsearch.ssl.ca_trusted_fingerprint",
        &["FLEET_SERVER_ELASTICSEARCH_CA_TRUSTED_FINGERPRINT"],
    ),
    ("output.elasticsearch.ssl.certificate", &["FLEET_SERVER_ES_CERT"]),
    ("output.elasticsearch.ssl.key", &["FLEET_SERVER_ES_CERT_KEY"]),
    (
        "output.elasticsearch.ssl.key_passphrase_path",
        &["FLEET_SERVER_ES_CERT_KEY_PASSPHRASE"],
    ),
];

/// What the environment says.
pub(super) fn settings(environment: &BTreeMap<String, String>) -> Vec<Setting> {
    let text = |names: &[&str]| {
        let found = names.iter().find_map(|name| environment.get(*name));
        found.filter(|value| !value.is_empty()).cloned()
    };
    let flag = |name: &str| {
        text(&[name]).is_some_and(|value| matches!(value.to_lowercase().as_str(), "1" | "true" | "yes" | "y"))
    };
    let mut settings: Vec<Setting> = TEXTS
        .iter()
        .filter_map(|(key, names)| Some(((*key).to_owned(), json!(text(names)?))))
        .collect();
    let mut put = |key: &str, value: Value| settings.push((key.to_owned(), value));
    if let Some(port) = text(&["FLEET_SERVER_PORT"]) {
        put(
            "server.port",
            port.parse::<u16>().map_or_else(|_| json!(port), |port| json!(port)),
        );
    }
    if let Some(host) = text(&["FLEET_SERVER_ELASTICSEARCH_HOST", "ELASTICSEARCH_HOST"]) {
        put(&format!("{OUTPUT}.hosts"), list(&host));
    }
    if let Some(authorities) = text(&["FLEET_SERVER_ELASTICSEARCH_CA", "ELASTICSEARCH_CA"]) {
        put(&format!("{OUTPUT}.ssl.certificate_authorities"), list(&authorities));
    }
    // Client certificates of agents are checked against these; without a certificate of its own there is no TLS to do it.
    if let (Some(authorities), Some(_)) = (text(&["FLEET_CA"]), text(&["FLEET_SERVER_CERT"])) {
        put("server.ssl.certificate_authorities", list(&authorities));
        if text(&["FLEET_SERVER_CLIENT_AUTH"]).is_none() {
            put("server.ssl.client_authentication", json!("none"));
        }
    }
    if flag("FLEET_SERVER_ELASTICSEARCH_INSECURE") {
        put(&format!("{OUTPUT}.ssl.verification_mode"), json!("none"));
    }
    if flag("FLEET_SERVER_INSECURE_HTTP") {
        put("server.ssl.enabled", json!(false));
    }
    settings
}

fn list(text: &str) -> Value {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_keys() {
        let check = |pairs: &[(&str, &str)], expected: &[(&str, Value)]| {
            let environment = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let expected: Vec<Setting> = expected
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone()))
                .collect();
            assert_eq!(settings(&environment), expected, "{pairs:?}");
        };
        check(&[("FLEET_URL", "x"), ("FLEET_SERVER_HOST", "")], &[]);
        check(&[("FLEET_SERVER_PORT", "8443")], &[("server.port", json!(8443))]);
        check(
            &[("ELASTICSEARCH_HOST", "https://es:9200")],
            &[("output.elasticsearch.hosts", json!(["https://es:9200"]))],
        );
        check(
            &[("FLEET_SERVER_POLICY", "b"), ("FLEET_SERVER_POLICY_ID", "a")],
            &[("policy.id", json!("a"))],
        );
        check(
            &[("FLEET_SERVER_CERT", "/c"), ("FLEET_CA", "/a,/b")],
            &[
                ("server.ssl.certificate", json!("/c")),
                ("server.ssl.certificate_authorities", json!(["/a", "/b"])),
                ("server.ssl.client_authentication", json!("none")),
            ],
        );
        check(
            &[("FLEET_SERVER_INSECURE_HTTP", "Yes")],
            &[("server.ssl.enabled", json!(false))],
        );
    }
}
