//! Secrets out of what people get to see: `inspect`, diagnostics.

use serde_json::Value;

/// What stands in place of a secret.
pub(crate) const REDACTED: &str = "REDACTED";

/// Words whose appearance in a key makes its value a secret.
const SECRET_WORDS: [&str; 10] = [
    "api_key",
    "password",
    "passphrase",
    "token",
    "secret",
    "private_key",
    "credentials",
    "authorization",
    "proxy_url",
    "cookie",
];
/// Keys that are secret as a whole; `key` is a key's PEM or path.
const SECRET_KEYS: [&str; 3] = ["key", "certificate", "auth"];

/// Replaces every value under a secret's key, at every depth, and the values at `secret_paths` of a policy.
pub fn redact(value: &mut Value) {
    let paths: Vec<String> = value
        .get("secret_paths")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|path| path.as_str().map(str::to_owned))
        .collect();
    for path in paths {
        let pointer = format!("/{}", path.replace('.', "/"));
        if let Some(secret) = value.pointer_mut(&pointer) {
            *secret = Value::from(REDACTED);
        }
    }
    redact_keys(value);
}

fn redact_keys(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                if is_secret(key) && !matches!(value, Value::Null | Value::Bool(_)) {
                    *value = Value::from(REDACTED);
                } else {
                    redact_keys(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact_keys),
        Value::String(text) if text.contains("PRIVATE KEY-----") => *value = Value::from(REDACTED),
        _ => {}
    }
}

fn is_secret(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key).to_ascii_lowercase();
    let names_file = last.ends_with("_path");
    let is_list = matches!(last.as_str(), "secret_paths" | "secret_references");
    !names_file
        && !is_list
        && (SECRET_KEYS.contains(&last.as_str()) || SECRET_WORDS.iter().any(|word| last.contains(word)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_go_and_the_rest_stays() {
        let mut value = json!({
            "outputs": {"default": {"hosts": ["https://es:9200"], "api_key": "a:b", "ssl": {"key": "pem", "key_passphrase_path": "/p", "certificate_authorities": ["/ca"]}}},
            "inputs": [{"id": "i", "streams": [{"plain": "hidden", "ssl.key": "pem", "enrollment_token": "t"}]}],
            "secret_paths": ["inputs.0.streams.0.plain"],
            "note": "-----BEGIN PRIVATE KEY-----\nx",
            "agent": {"monitoring": {"enabled": true}},
        });
        redact(&mut value);
        let text = value.to_string();
        for secret in ["a:b", "\"pem\"", "hidden", "\"t\"", "BEGIN PRIVATE"] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
        for kept in ["https://es:9200", "/ca", "/p", "inputs.0.streams.0.plain"] {
            assert!(text.contains(kept), "{kept} is not in {text}");
        }
    }
}
