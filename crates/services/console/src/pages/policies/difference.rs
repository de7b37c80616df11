//! What differs between two revisions of a policy, setting by setting.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// More differences than anybody reads; the YAML has them all.
const MOST: usize = 200;
/// They differ with every revision and say nothing about it.
const NOISE: [&str; 3] = ["revision", "signed", "agent.protection.uninstall_token_hash"];

/// A setting, what it was and what it is; empty when it was not there.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Difference {
    pub(super) path: String,
    pub(super) before: String,
    pub(super) after: String,
}

/// The differences in the order of the policy's settings; parts of lists go by their id, so that one that is added does not move
/// the others.
pub(super) fn between(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", Some(before), Some(after), &mut found);
    found.retain(|difference| !NOISE.iter().any(|noise| is_within(&difference.path, noise)));
    found.truncate(MOST);
    found
}

fn is_within(path: &str, part: &str) -> bool {
    path.strip_prefix(part)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    let parts = |value: Option<&Value>| value.and_then(parts_of);
    let (old, new) = (parts(before), parts(after));
    if old.is_none() && new.is_none() {
        let text = |value: Option<&Value>| value.map(text_of).unwrap_or_default();
        found.push(Difference {
            path: path.to_owned(),
            before: text(before),
            after: text(after),
        });
        return;
    }
    if let Some(summary) = one_sided(before, after) {
        found.push(Difference {
            path: path.to_owned(),
            before: before.map(|_| summary.clone()).unwrap_or_default(),
            after: after.map(|_| summary).unwrap_or_default(),
        });
        return;
    }
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        compare(&path, old.get(name), new.get(name), found);
    }
}

/// In words, an entry of a list that only one revision has: that it came or went says more than all its settings. Of permissions
/// it is what may be written.
fn one_sided(before: Option<&Value>, after: Option<&Value>) -> Option<String> {
    let ((Some(entry), None) | (None, Some(entry))) = (before, after) else {
        return None;
    };
    if let Some(indices) = entry["indices"].as_array() {
        let names = indices.iter().map(|index| text_of(&index["names"]));
        return Some(names.collect::<Vec<_>>().join(", "));
    }
    entry.get("id")?;
    let words = ["type", "name"].iter().filter_map(|key| entry[*key].as_str());
    let words: Vec<&str> = words.collect();
    Some(if words.is_empty() {
        "the whole of it".to_owned()
    } else {
        words.join(", ")
    })
}

/// What a value is made of: the members of an object, or of a list of objects by their id or name. None for plain values.
fn parts_of(value: &Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(map) if !map.is_empty() => Some(map.clone()),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let named = items.iter().enumerate().map(|(index, item)| {
                let name = ["id", "name"].iter().find_map(|key| item[*key].as_str());
                (name.map_or_else(|| index.to_string(), str::to_owned), item.clone())
            });
            Some(named.collect())
        }
        _ => None,
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(before: &Value, after: &Value, expected: &[(&str, &str, &str)]) {
        let found = between(before, after);
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.path.as_str(), one.before.as_str(), one.after.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn settings_are_named_with_what_they_were_and_are() {
        let policy =
            |hosts: Value| json!({"revision": 1, "outputs": {"default": {"type": "elasticsearch", "hosts": hosts}}});
        check(
            &policy(json!(["https://a:9200"])),
            &policy(json!(["https://a:9200", "https://b:9200"])),
            &[(
                "outputs.default.hosts",
                "https://a:9200",
                "https://a:9200, https://b:9200",
            )],
        );
        check(
            &json!({"revision": 1, "signed": {"data": "x"}}),
            &json!({"revision": 2}),
            &[],
        );
    }

    #[test]
    fn permissions_that_are_added_are_said_in_one() {
        let index = |name: &str| json!({"names": [name], "privileges": ["create_doc"]});
        let given = json!({"output_permissions": {"default": {"p": {"indices": [index("logs-a"), index("logs-b")]}}}});
        check(
            &json!({"output_permissions": {"default": {}}}),
            &given,
            &[("output_permissions.default.p", "", "logs-a, logs-b")],
        );
    }

    #[test]
    fn an_input_that_is_added_in_front_moves_no_other() {
        let input =
            |id: &str, enabled: bool| json!({"id": id, "enabled": enabled, "type": "logfile", "name": "system-1"});
        check(
            &json!({"inputs": [input("logs", true)]}),
            &json!({"inputs": [input("metrics", true), input("logs", false)]}),
            &[
                ("inputs.logs.enabled", "true", "false"),
                ("inputs.metrics", "", "logfile, system-1"),
            ],
        );
    }
}
