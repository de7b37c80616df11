//! `ssl.*` as it is written: every key, its type and its default, nothing loaded yet.
//!
//! The same block serves clients and servers. A value that only one side reads (`renegotiation`, `client_authentication`,
//! `ca_trusted_fingerprint`) is kept as written and judged by the side that uses it, as the original does.
//!
//! Source of names, types and defaults: the SSL settings reference of the Elastic Stack.

use std::time::Duration;

use camino::Utf8PathBuf;
use certs::PemSource;
use secret::Secret;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::SslError;

/// `ssl.verification_mode`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum VerificationMode {
    /// Chain and host name; the common name counts when no DNS name stands in the subject alternative name.
    #[default]
    Full,
    /// As `Full`, and only the subject alternative name counts.
    Strict,
    /// The chain only.
    Certificate,
    /// Nothing but the handshake's own signature.
    None,
}

impl VerificationMode {
    /// The word used in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Strict => "strict",
            Self::Certificate => "certificate",
            Self::None => "none",
        }
    }
}

/// `ssl.client_authentication`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ClientAuthentication {
    /// No certificate is asked for.
    #[default]
    None,
    /// Asked for; checked when one is sent.
    Optional,
    /// Asked for; no connection without one.
    Required,
}

impl ClientAuthentication {
    /// The word used in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

/// An entry of `cipher_suites`, `curve_types` or `supported_protocols`: a name, or an IANA code point.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NameOrNumber {
    /// As written.
    Name(String),
    /// As written.
    Number(u64),
}

impl std::fmt::Display for NameOrNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// An `ssl` block. Unknown keys are ignored, a scalar is taken where a list belongs, `null` is the default.
#[derive(Clone, Debug)]
pub struct SslSettings {
    /// `enabled`; `false`: nothing in the block is loaded.
    pub enabled: bool,
    /// `verification_mode`.
    pub verification_mode: VerificationMode,
    /// `certificate_authorities`; `None` when the key is absent, which matters to servers. Empty: the system's roots.
    pub certificate_authorities: Option<Vec<PemSource>>,
    /// `certificate`: leaf first, then intermediates.
    pub certificate: Option<PemSource>,
    /// `key`.
    pub key: Option<PemSource>,
    /// `key_passphrase`, byte for byte; wins over the path.
    pub key_passphrase: Option<Secret>,
    /// `key_passphrase_path`; white space at both ends of the content is dropped.
    pub key_passphrase_path: Option<Utf8PathBuf>,
    /// `disable_legacy_pem_support`: keys with `Proc-Type` lines are refused.
    pub disable_legacy_pem_support: bool,
    /// `supported_protocols`; empty: the default.
    pub supported_protocols: Vec<NameOrNumber>,
    /// `cipher_suites` of TLS 1.2; empty: the default.
    pub cipher_suites: Vec<NameOrNumber>,
    /// `curve_types`; empty: the default.
    pub curve_types: Vec<NameOrNumber>,
    /// `renegotiation`, clients only, as written.
    pub renegotiation: Value,
    /// `ca_sha256`: base64 of the SHA-256 of public keys, compared exactly.
    pub ca_sha256: Vec<String>,
    /// `ca_trusted_fingerprint`, clients only, as written.
    pub ca_trusted_fingerprint: Option<String>,
    /// `client_authentication`, servers only, as written.
    pub client_authentication: Value,
    /// `certificate_reload.enabled`. An older `restart_on_cert_change.enabled: true` counts as well.
    pub reload: bool,
    /// `certificate_reload.reload_interval`.
    pub reload_interval: Duration,
}

/// How often files are looked at when nothing else is set.
pub const DEFAULT_RELOAD_INTERVAL: Duration = Duration::from_secs(5);

impl Default for SslSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            verification_mode: VerificationMode::Full,
            certificate_authorities: None,
            certificate: None,
            key: None,
            key_passphrase: None,
            key_passphrase_path: None,
            disable_legacy_pem_support: false,
            supported_protocols: Vec::new(),
            cipher_suites: Vec::new(),
            curve_types: Vec::new(),
            renegotiation: Value::Null,
            ca_sha256: Vec::new(),
            ca_trusted_fingerprint: None,
            client_authentication: Value::Null,
            reload: true,
            reload_interval: DEFAULT_RELOAD_INTERVAL,
        }
    }
}

impl SslSettings {
    /// Reads a block whose dotted keys are expanded already.
    ///
    /// # Errors
    /// A `bad_value:<key>` that names the key, the value (never a key or passphrase) and what is allowed.
    pub fn from_value(block: &Value) -> Result<Self, SslError> {
        let empty = Map::new();
        let map = match block {
            Value::Object(map) => map,
            Value::Null => &empty,
            _ => return Err(SslError::bad_value("ssl", "must be a group of settings", Some(GROUP))),
        };
        let restart = map
            .get("restart_on_cert_change")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let reload = group(map, "certificate_reload")?.unwrap_or(restart);
        let interval_key = if map.contains_key("certificate_reload") {
            "reload_interval"
        } else {
            "period"
        };
        let default = Self::default();
        Ok(Self {
            enabled: boolean(map, "enabled", "enabled")?.unwrap_or(true),
            verification_mode: verification_mode(map.get("verification_mode"))?,
            certificate_authorities: texts(map, "certificate_authorities")?
                .map(|list| list.iter().map(|entry| PemSource::from_setting(entry)).collect()),
            certificate: pem(map, "certificate")?,
            key: pem(map, "key")?,
            key_passphrase: text(map, "key_passphrase")?
                .filter(|text| !text.is_empty())
                .map(Secret::from),
            key_passphrase_path: text(map, "key_passphrase_path")?
                .filter(|path| !path.is_empty())
                .map(Utf8PathBuf::from),
            disable_legacy_pem_support: boolean(map, "disable_legacy_pem_support", "disable_legacy_pem_support")?
                .unwrap_or(false),
            supported_protocols: names(map, "supported_protocols")?,
            cipher_suites: names(map, "cipher_suites")?,
            curve_types: names(map, "curve_types")?,
            renegotiation: map.get("renegotiation").cloned().unwrap_or_default(),
            ca_sha256: texts(map, "ca_sha256")?.unwrap_or_default(),
            ca_trusted_fingerprint: text(map, "ca_trusted_fingerprint")?,
            client_authentication: map.get("client_authentication").cloned().unwrap_or_default(),
            reload: boolean(reload, "enabled", "certificate_reload.enabled")?.unwrap_or(true)
                || map.get("certificate_reload").is_none(),
            reload_interval: interval(reload.get(interval_key))?.unwrap_or(default.reload_interval),
        })
    }

    /// What a server asks of its clients: required once the key `certificate_authorities` is there, unless said otherwise.
    ///
    /// # Errors
    /// `bad_value:client_authentication`.
    pub fn client_authentication(&self) -> Result<ClientAuthentication, SslError> {
        match &self.client_authentication {
            Value::Null if self.certificate_authorities.is_some() => Ok(ClientAuthentication::Required),
            Value::Null => Ok(ClientAuthentication::None),
            Value::String(word) => match word.as_str() {
                "" | "none" => Ok(ClientAuthentication::None),
                "optional" => Ok(ClientAuthentication::Optional),
                "required" => Ok(ClientAuthentication::Required),
                _ => Err(SslError::bad_word(
                    "client_authentication",
                    word,
                    "none, optional or required",
                )),
            },
            other => Err(SslError::bad_word(
                "client_authentication",
                &kind(other),
                "none, optional or required",
            )),
        }
    }

    /// Whether `renegotiation` was set to something that this program does not do; checked by clients.
    ///
    /// # Errors
    /// `bad_value:renegotiation`.
    pub(crate) fn wants_renegotiation(&self) -> Result<bool, SslError> {
        match self.renegotiation.as_str() {
            None if self.renegotiation.is_null() => Ok(false),
            Some("never") => Ok(false),
            Some("once" | "freely") => Ok(true),
            Some(word) => Err(SslError::bad_word("renegotiation", word, "never, once or freely")),
            None => Err(SslError::bad_word(
                "renegotiation",
                &kind(&self.renegotiation),
                "never, once or freely",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for SslSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(&Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

const GROUP: &str = "write its settings below it, indented, or dotted as in `ssl.verification_mode: full`";

fn verification_mode(value: Option<&Value>) -> Result<VerificationMode, SslError> {
    const ALLOWED: &str = "full, strict, certificate or none";
    match value {
        None | Some(Value::Null) => Ok(VerificationMode::Full),
        Some(Value::String(word)) => match word.as_str() {
            "" | "full" => Ok(VerificationMode::Full),
            "strict" => Ok(VerificationMode::Strict),
            "certificate" => Ok(VerificationMode::Certificate),
            "none" => Ok(VerificationMode::None),
            _ => Err(SslError::bad_word("verification_mode", word, ALLOWED)),
        },
        Some(Value::Number(number)) => match number.as_u64() {
            Some(0) => Ok(VerificationMode::Full),
            Some(1) => Ok(VerificationMode::None),
            Some(2) => Ok(VerificationMode::Certificate),
            Some(3) => Ok(VerificationMode::Strict),
            _ => Err(SslError::bad_word("verification_mode", &number.to_string(), ALLOWED)),
        },
        Some(other) => Err(SslError::bad_word("verification_mode", &kind(other), ALLOWED)),
    }
}

fn group<'a>(map: &'a Map<String, Value>, key: &str) -> Result<Option<&'a Map<String, Value>>, SslError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(inner)) => Ok(Some(inner)),
        Some(_) => Err(SslError::bad_value(key, "must be a group of settings", Some(GROUP))),
    }
}

fn boolean(map: &Map<String, Value>, key: &str, name: &str) -> Result<Option<bool>, SslError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(Value::String(word)) if word == "true" => Ok(Some(true)),
        Some(Value::String(word)) if word == "false" => Ok(Some(false)),
        Some(Value::String(word)) => Err(SslError::bad_word(name, word, "true or false")),
        Some(other) => Err(SslError::bad_word(name, &kind(other), "true or false")),
    }
}

/// A scalar as text. The value itself is not repeated in the error: it may be a secret.
fn text(map: &Map<String, Value>, key: &str) -> Result<Option<String>, SslError> {
    map.get(key).map_or(Ok(None), |value| scalar(value, key))
}

fn scalar(value: &Value, key: &str) -> Result<Option<String>, SslError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::Bool(value) => Ok(Some(value.to_string())),
        Value::Array(_) | Value::Object(_) => Err(SslError::bad_value(
            key,
            &format!("must be a text, not {}", kind(value)),
            Some("write one value, without a list or a block around it"),
        )),
    }
}

fn pem(map: &Map<String, Value>, key: &str) -> Result<Option<PemSource>, SslError> {
    Ok(text(map, key)?
        .filter(|text| !text.is_empty())
        .map(|text| PemSource::from_setting(&text)))
}

fn texts(map: &Map<String, Value>, key: &str) -> Result<Option<Vec<String>>, SslError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => {
            let mut list = Vec::with_capacity(items.len());
            for item in items {
                list.extend(scalar(item, key)?);
            }
            Ok(Some(list))
        }
        Some(one) => Ok(scalar(one, key)?.map(|one| vec![one])),
    }
}

fn names(map: &Map<String, Value>, key: &str) -> Result<Vec<NameOrNumber>, SslError> {
    let items = match map.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(items)) => items.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    items
        .iter()
        .map(|item| match item {
            Value::String(name) => Ok(NameOrNumber::Name(name.clone())),
            Value::Number(number) => match number.as_u64() {
                Some(number) => Ok(NameOrNumber::Number(number)),
                None => Ok(NameOrNumber::Name(number.to_string())),
            },
            other => Err(SslError::bad_value(
                key,
                &format!("must be a list of names, but holds {}", kind(other)),
                Some("write names, one in each line behind a dash"),
            )),
        })
        .collect()
}

/// A number is seconds, a text is a duration such as `5s` or `1m30s`.
fn interval(value: Option<&Value>) -> Result<Option<Duration>, SslError> {
    const KEY: &str = "certificate_reload.reload_interval";
    const FORM: &str = "a duration such as 5s or 1m";
    let written = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(other) => return Err(SslError::bad_word(KEY, &kind(other), FORM)),
    };
    match settings::parse_duration(&written) {
        Some(interval) => Ok(Some(interval)),
        None => Err(SslError::bad_word(KEY, &written, FORM)),
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a group of settings".to_owned(),
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn class(block: Value) -> String {
        match SslSettings::from_value(&block) {
            Ok(_) => "none".to_owned(),
            Err(error) => error.class().to_owned(),
        }
    }

    #[test]
    fn an_empty_block_is_the_default() {
        let settings = SslSettings::from_value(&json!({})).unwrap();
        assert!(settings.enabled && settings.reload);
        assert_eq!(settings.verification_mode, VerificationMode::Full);
        assert_eq!(settings.reload_interval, Duration::from_secs(5));
        assert!(settings.certificate_authorities.is_none());
    }

    #[test]
    fn values_are_judged_when_read() {
        for (block, expected) in [
            (json!({"verification_mode": "strict"}), "none"),
            (json!({"verification_mode": 3}), "none"),
            (json!({"verification_mode": 4}), "bad_value:verification_mode"),
            (json!({"verification_mode": "FULL"}), "bad_value:verification_mode"),
            (json!({"verification_mode": true}), "bad_value:verification_mode"),
            (json!({"enabled": "false"}), "none"),
            (json!({"enabled": "maybe"}), "bad_value:enabled"),
            (json!({"certificate": ["a"]}), "bad_value:certificate"),
            (json!({"key_passphrase": {"a": 1}}), "bad_value:key_passphrase"),
            (json!({"certificate_reload": {"reload_interval": 10}}), "none"),
            (
                json!({"certificate_reload": {"reload_interval": "x"}}),
                "bad_value:certificate_reload.reload_interval",
            ),
            (json!({"certificate_reload": true}), "bad_value:certificate_reload"),
            (json!({"no_such_key": [1]}), "none"),
            (json!("text"), "bad_value:ssl"),
        ] {
            assert_eq!(class(block.clone()), expected, "{block}");
        }
    }

    #[test]
    fn a_scalar_is_a_list_of_one() {
        let settings =
            SslSettings::from_value(&json!({"certificate_authorities": "/ca.crt", "ca_sha256": "x"})).unwrap();
        assert_eq!(settings.certificate_authorities.unwrap().len(), 1);
        assert_eq!(settings.ca_sha256, ["x"]);
    }

    #[test]
    fn client_authentication_follows_the_presence_of_a_ca_list() {
        for (block, expected) in [
            (json!({}), Ok(ClientAuthentication::None)),
            (
                json!({"certificate_authorities": []}),
                Ok(ClientAuthentication::Required),
            ),
            (
                json!({"certificate_authorities": [], "client_authentication": ""}),
                Ok(ClientAuthentication::None),
            ),
            (
                json!({"client_authentication": "optional"}),
                Ok(ClientAuthentication::Optional),
            ),
            (
                json!({"client_authentication": "Required"}),
                Err("bad_value:client_authentication".to_owned()),
            ),
            (
                json!({"client_authentication": 1}),
                Err("bad_value:client_authentication".to_owned()),
            ),
        ] {
            let found = SslSettings::from_value(&block).unwrap().client_authentication();
            assert_eq!(found.map_err(|error| error.class().to_owned()), expected, "{block}");
        }
    }

    #[test]
    fn the_older_restart_settings_are_taken_for_reload() {
        let block = json!({"restart_on_cert_change": {"enabled": true, "period": "1m"}});
        let settings = SslSettings::from_value(&block).unwrap();
        assert!(settings.reload);
        assert_eq!(settings.reload_interval, Duration::from_mins(1));
    }

    #[test]
    fn an_error_does_not_repeat_a_secret() {
        let error = SslSettings::from_value(&json!({"key_passphrase": ["hunter2"]})).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
