//! How an agent reaches its Fleet Servers, and what a policy may change about it.
//!
//! Two layers: what the enrolment said (`local`), and the policy's `fleet` block. The effective settings are always the
//! policy's merged over the local ones, computed anew, so that what a policy no longer says falls back to the local value.
//! Source of the precedence: the original's documented merge. Mended: TLS-only changes count, proxies can be removed, and
//! a policy may make verification stricter (an agent enrolled with `--insecure` can be brought to `full`), never weaker.

use std::collections::BTreeMap;

use secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Hosts, TLS, proxy and headers of the connection to Fleet.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ConnectionSettings {
    /// Fleet Server URLs.
    pub hosts: Vec<String>,
    /// The `ssl` block.
    #[serde(default)]
    pub ssl: Map<String, Value>,
    /// The proxy, when there is one.
    #[serde(default)]
    pub proxy: Option<ProxySettings>,
    /// Ignore proxies, those of the environment included.
    #[serde(default)]
    pub proxy_disable: bool,
    /// Extra headers of each request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// A proxy to Fleet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ProxySettings {
    /// May hold a password: never logged.
    #[serde(serialize_with = "Secret::serialize_exposed")]
    pub url: Secret,
    /// Headers of the CONNECT request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// Where a setting's effective value comes from, for `inspect`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The enrolment's flags.
    Enrollment,
    /// The policy.
    Policy,
}

/// Keys of `ssl` that make up one certificate; they are taken together.
const PAIR: [&str; 4] = ["certificate", "key", "key_passphrase", "key_passphrase_path"];
/// Other keys of `ssl` that a policy may set: ways to trust.
const TRUST: [&str; 3] = ["certificate_authorities", "ca_trusted_fingerprint", "ca_sha256"];

impl ConnectionSettings {
    /// The effective settings under a policy whose `fleet` block is `fleet`.
    pub fn under_policy(&self, fleet: &Value) -> Self {
        let mut effective = self.clone();
        let hosts = texts(fleet.get("hosts"));
        if !hosts.is_empty() {
            effective.hosts = hosts;
        }
        match fleet.get("proxy_url") {
            None => {}
            Some(Value::String(url)) if !url.is_empty() => {
                let headers = text_map(fleet.get("proxy_headers"));
                effective.proxy = Some(ProxySettings {
                    url: Secret::from(url.as_str()),
                    headers,
                });
                effective.proxy_disable = false;
            }
            // Said and empty: no proxy, whatever the enrolment said.
            Some(_) => effective.proxy = None,
        }
        if fleet.get("proxy_disable").and_then(Value::as_bool) == Some(true) {
            effective.proxy = None;
            effective.proxy_disable = true;
        }
        if let Some(Value::Object(ssl)) = fleet.get("ssl") {
            merge_ssl(&mut effective.ssl, ssl);
        }
        effective
    }

    /// Whether the server's certificate is not checked.
    pub fn is_unverified(&self) -> bool {
        self.ssl.get("verification_mode").and_then(Value::as_str) == Some("none")
            || self.hosts.iter().any(|host| host.starts_with("http://"))
    }

    /// Each setting with its source, for `inspect`; secrets are not in it.
    pub fn sources(&self, fleet: &Value) -> BTreeMap<String, Source> {
        let effective = self.under_policy(fleet);
        let source = |same: bool| if same { Source::Enrollment } else { Source::Policy };
        let mut sources = BTreeMap::from([
            ("hosts".to_owned(), source(effective.hosts == self.hosts)),
            ("proxy".to_owned(), source(effective.proxy == self.proxy)),
        ]);
        for (key, value) in &effective.ssl {
            sources.insert(format!("ssl.{key}"), source(self.ssl.get(key) == Some(value)));
        }
        sources
    }
}

fn merge_ssl(local: &mut Map<String, Value>, policy: &Map<String, Value>) {
    let said = |key: &str| policy.get(key).filter(|value| !is_empty(value));
    for key in TRUST {
        if let Some(value) = said(key) {
            local.insert(key.to_owned(), value.clone());
        }
    }
    if PAIR.iter().any(|key| said(key).is_some()) {
        for key in PAIR {
            local.shift_remove(key);
        }
        for key in PAIR {
            if let Some(value) = said(key) {
                local.insert(key.to_owned(), value.clone());
            }
        }
    }
    if let Some(Value::String(mode)) = said("verification_mode")
        && strictness(mode) > strictness(local.get("verification_mode").and_then(Value::as_str).unwrap_or("full"))
    {
        local.insert("verification_mode".to_owned(), json!(mode));
    }
}

fn strictness(mode: &str) -> Option<u8> {
    ["none", "certificate", "full", "strict"]
        .iter()
        .position(|known| *known == mode)
        .map(|rank| rank as u8)
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

fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) if !text.is_empty() => vec![text.clone()],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn text_map(value: Option<&Value>) -> BTreeMap<String, String> {
    let Some(Value::Object(map)) = value else {
        return BTreeMap::new();
    };
    map.iter()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> ConnectionSettings {
        let ssl = json!({"certificate_authorities": ["/ca.crt"], "certificate": "/a.crt", "key": "/a.key", "key_passphrase_path": "/p"});
        ConnectionSettings {
            hosts: vec!["https://one:8220".to_owned()],
            ssl: ssl.as_object().unwrap().clone(),
            proxy: Some(ProxySettings {
                url: "http://proxy:3128".into(),
                headers: BTreeMap::new(),
            }),
            ..ConnectionSettings::default()
        }
    }

    #[test]
    fn an_empty_block_changes_nothing() {
        for block in [
            json!({}),
            json!({"hosts": [], "ssl": {"certificate": "", "certificate_authorities": []}}),
            Value::Null,
        ] {
            assert_eq!(local().under_policy(&block), local(), "{block}");
        }
    }

    #[test]
    fn the_policy_wins_where_it_says_something() {
        let policy = json!({"hosts": ["https://two:8220"], "ssl": {"certificate_authorities": ["/new.crt"]}});
        let effective = local().under_policy(&policy);
        assert_eq!(effective.hosts, ["https://two:8220"]);
        assert_eq!(effective.ssl["certificate_authorities"], json!(["/new.crt"]));
        assert_eq!(effective.ssl["certificate"], "/a.crt");
        assert_eq!(local().sources(&policy)["ssl.certificate"], Source::Enrollment);
        assert_eq!(local().sources(&policy)["hosts"], Source::Policy);
    }

    #[test]
    fn a_certificate_comes_as_a_block() {
        let effective = local().under_policy(&json!({"ssl": {"certificate": "/b.crt", "key": "/b.key"}}));
        assert_eq!(effective.ssl["key"], "/b.key");
        assert!(!effective.ssl.contains_key("key_passphrase_path"));
    }

    #[test]
    fn a_proxy_can_be_replaced_and_removed() {
        let proxy = |block: Value| {
            local()
                .under_policy(&block)
                .proxy
                .map(|proxy| proxy.url.expose().to_owned())
        };
        assert_eq!(proxy(json!({})).as_deref(), Some("http://proxy:3128"));
        assert_eq!(
            proxy(json!({"proxy_url": "http://other:3128"})).as_deref(),
            Some("http://other:3128")
        );
        assert_eq!(proxy(json!({"proxy_url": ""})), None);
        assert_eq!(proxy(json!({"proxy_disable": true})), None);
    }

    #[test]
    fn verification_gets_stricter_and_never_weaker() {
        let check = |local: Option<&str>, policy: &str, expected: Option<&str>| {
            let mut settings = ConnectionSettings::default();
            if let Some(mode) = local {
                settings.ssl.insert("verification_mode".to_owned(), json!(mode));
            }
            let effective = settings.under_policy(&json!({"ssl": {"verification_mode": policy}}));
            assert_eq!(effective.ssl.get("verification_mode").and_then(Value::as_str), expected);
        };
        check(Some("none"), "full", Some("full"));
        check(Some("full"), "none", Some("full"));
        check(None, "none", None);
        check(None, "strict", Some("strict"));
        check(None, "nonsense", None);
    }
}
