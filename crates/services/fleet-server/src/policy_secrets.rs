//! Fills the secrets of a policy in and names the places, so that agents can hide them.
//!
//! Two forms: `$co.elastic.secret{<id>}` inside a text, and `secrets.<path>.id` beside the setting that it fills.

use std::collections::HashMap;

use protocol::find_secret_references;
use secret::Secret;
use serde_json::{Map, Value};

/// The parts of a policy in which secrets are filled; `agent.download` is one level down.
const PARTS: [&str; 9] = [
    "inputs",
    "outputs",
    "fleet",
    "extensions",
    "receivers",
    "processors",
    "connectors",
    "exporters",
    "service",
];

/// The ids of all secrets that a policy refers to.
pub(crate) fn secret_ids(policy: &Map<String, Value>) -> Vec<String> {
    let mut ids = Vec::new();
    for part in parts(policy) {
        ids.extend(find_secret_references(part));
        collect_beside(part, &mut ids);
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn parts(policy: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let download = policy.get("agent").and_then(|agent| agent.get("download"));
    PARTS.iter().filter_map(|part| policy.get(*part)).chain(download)
}

/// Ids in the `secrets.<path>.id` form.
fn collect_beside(value: &Value, ids: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_beside(item, ids)),
        Value::Object(map) => {
            for (key, item) in map {
                if key == "secrets" {
                    collect_ids(item, ids);
                } else {
                    collect_beside(item, ids);
                }
            }
        }
        _ => {}
    }
}

fn collect_ids(value: &Value, ids: &mut Vec<String>) {
    if let Some(id) = reference_id(value) {
        ids.push(id.to_owned());
        return;
    }
    match value {
        Value::Object(map) => map.values().for_each(|item| collect_ids(item, ids)),
        Value::Array(items) => items.iter().for_each(|item| collect_ids(item, ids)),
        _ => {}
    }
}

/// `{"id": "..."}` and nothing else.
fn reference_id(value: &Value) -> Option<&str> {
    let map = value.as_object()?;
    if map.len() == 1 { map.get("id")?.as_str() } else { None }
}

/// Fills all secrets in and returns the places, such as `inputs.0.streams.0.password`.
pub(crate) fn fill(policy: &mut Map<String, Value>, secrets: &HashMap<String, Secret>) -> Vec<String> {
    let mut filled = Vec::new();
    for part in PARTS {
        if let Some(value) = policy.get_mut(part) {
            fill_value(value, part, secrets, &mut filled);
        }
    }
    if let Some(download) = policy.get_mut("agent").and_then(|agent| agent.get_mut("download")) {
        fill_value(download, "agent.download", secrets, &mut filled);
    }
    filled
}

/// Fills the references in the texts of any value, such as an action's data.
pub(crate) fn fill_everywhere(value: &mut Value, secrets: &HashMap<String, Secret>) {
    fill_value(value, "", secrets, &mut Vec::new());
}

fn fill_value(value: &mut Value, path: &str, secrets: &HashMap<String, Secret>, filled: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            if let Some(text_with_secrets) = fill_text(text, secrets) {
                *text = text_with_secrets;
                filled.push(path.to_owned());
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                fill_value(item, &format!("{path}.{index}"), secrets, filled);
            }
        }
        Value::Object(map) => {
            if map.get("secrets").is_some_and(Value::is_object)
                && let Some(beside) = map.shift_remove("secrets")
            {
                fill_beside(map, &beside, path, secrets, filled);
            }
            for (key, item) in map.iter_mut() {
                fill_value(item, &format!("{path}.{key}"), secrets, filled);
            }
        }
        _ => {}
    }
}

/// The text with its secrets, or nothing when it has none. What cannot be filled stays.
fn fill_text(text: &str, secrets: &HashMap<String, Secret>) -> Option<String> {
    const OPEN: &str = "$co.elastic.secret{";
    let mut out = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some(start) = rest.find(OPEN) {
        let after = &rest[start + OPEN.len()..];
        let Some(end) = after.find('}') else { break };
        out.push_str(&rest[..start]);
        match secrets.get(&after[..end]) {
            Some(secret) => {
                out.push_str(secret.expose());
                found = true;
            }
            None => out.push_str(&rest[start..=start + OPEN.len() + end]),
        }
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    found.then_some(out)
}

/// Sets each `<path>` of `secrets.<path>.id` in the map that has the `secrets`.
fn fill_beside(
    target: &mut Map<String, Value>,
    beside: &Value,
    path: &str,
    secrets: &HashMap<String, Secret>,
    filled: &mut Vec<String>,
) {
    let Some(fields) = beside.as_object() else { return };
    for (key, item) in fields {
        let path = format!("{path}.{key}");
        if let Some(id) = reference_id(item) {
            if let Some(secret) = secrets.get(id) {
                target.insert(key.clone(), Value::from(secret.expose()));
                filled.push(path);
            }
            continue;
        }
        let slot = target.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(inner) = slot {
            fill_beside(inner, item, &path, secrets, filled);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_are_filled_and_named() {
        let policy = json!({
            "inputs": [{"streams": [{"password": "$co.elastic.secret{one}", "dsn": "u:$co.elastic.secret{two}@h"}]}],
            "outputs": {"default": {"type": "logstash", "ssl": {"certificate": "c"}, "secrets": {"ssl": {"key": {"id": "three"}}, "password": {"id": "one"}}}},
            "agent": {"download": {"secrets": {"ssl": {"key": {"id": "two"}}}}, "note": "$co.elastic.secret{one}"}
        });
        let mut policy = policy.as_object().unwrap().clone();
        assert_eq!(secret_ids(&policy), ["one", "three", "two"]);
        let secrets = [("one", "1"), ("two", "2"), ("three", "3")];
        let secrets = secrets
            .into_iter()
            .map(|(id, value)| (id.to_owned(), Secret::from(value)))
            .collect();
        let paths = fill(&mut policy, &secrets);
        assert_eq!(
            paths,
            [
                "inputs.0.streams.0.password",
                "inputs.0.streams.0.dsn",
                "outputs.default.ssl.key",
                "outputs.default.password",
                "agent.download.ssl.key"
            ]
        );
        let expected = json!({
            "inputs": [{"streams": [{"password": "1", "dsn": "u:2@h"}]}],
            "outputs": {"default": {"type": "logstash", "ssl": {"certificate": "c", "key": "3"}, "password": "1"}},
            "agent": {"download": {"ssl": {"key": "2"}}, "note": "$co.elastic.secret{one}"}
        });
        assert_eq!(Value::Object(policy), expected);
    }

    #[test]
    fn what_cannot_be_filled_stays() {
        let mut policy = json!({"inputs": ["$co.elastic.secret{gone}", "$co.elastic.secret{open"]})
            .as_object()
            .unwrap()
            .clone();
        let before = policy.clone();
        assert!(fill(&mut policy, &HashMap::new()).is_empty());
        assert_eq!(policy, before);
    }
}
