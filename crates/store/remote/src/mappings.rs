//! What a new index looks like when nobody has said it.
//!
//! Left to itself a peer maps each string to analysed text, in which `terms`, sorting and `term` on a whole value fail. In our
//! own indices, those with a dot, strings are keywords, and only messages are text; indices that clients made are as they said,
//! and as the peer fills it in. The embedded store does the same.

use serde_json::{Map, Value, json};

/// Longer strings are kept, but not searched: the longest term that a peer takes has 32,766 bytes, of up to 4 a letter.
const IGNORE_ABOVE: u32 = 8191;

/// Parts of Fleet's documents that are kept and never searched; indexed, a few policies would use up all fields.
/// Source: fleet-server-elasticsearch, indices.
const FLEET_KEPT: &[&str] = &[
    "action_data",
    "components",
    "data",
    "default_api_key_history",
    "effective_config",
    "outputs",
    "user_provided_metadata",
];

/// The body of an index that was not made on purpose.
pub(crate) fn of_new_index(name: &str) -> Value {
    let mut mappings = json!({});
    if name.starts_with(".fleet-") {
        let kept = FLEET_KEPT
            .iter()
            .map(|field| ((*field).to_owned(), json!({ "type": "object", "enabled": false })));
        mappings["properties"] = Value::Object(kept.collect());
    }
    completed(name, json!({ "mappings": mappings }))
}

/// A body for the new index `name` with what it leaves open filled in.
pub(crate) fn completed(name: &str, mut body: Value) -> Value {
    if !body.is_object() {
        body = json!({});
    }
    if body
        .get("settings")
        .is_none_or(|settings| settings.as_object().is_none_or(Map::is_empty))
    {
        body["settings"] = json!({ "index": { "number_of_shards": 1, "auto_expand_replicas": "0-1" } });
    }
    if body.get("mappings").is_none_or(|mappings| !mappings.is_object()) {
        body["mappings"] = json!({});
    }
    let mappings = &mut body["mappings"];
    let fixed = mappings
        .get("dynamic")
        .is_some_and(|dynamic| dynamic != &json!(true) && dynamic != &json!("true"));
    if name.starts_with('.') && !fixed && mappings.get("dynamic_templates").is_none() {
        mappings["dynamic_templates"] = dynamic_templates();
    }
    body
}

/// Messages are text, all other strings keywords.
pub(crate) fn dynamic_templates() -> Value {
    json!([
        { "messages": { "match_mapping_type": "string", "match": "message", "mapping": { "type": "text" } } },
        { "strings": { "match_mapping_type": "string", "mapping": { "type": "keyword", "ignore_above": IGNORE_ABOVE } } }
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_stays() {
        let body = json!({"settings": {"index": {"number_of_shards": 3}}, "mappings": {"dynamic": false, "properties": {"a": {"type": "date"}}}});
        assert_eq!(completed(".mine", body.clone()), body);
    }

    #[test]
    fn what_was_left_open_is_filled_in() {
        let given = json!({"mappings": {"properties": {"a": {"type": "date"}}}});
        let body = completed(".mine", given.clone());
        assert_eq!(body["settings"]["index"]["number_of_shards"], 1);
        assert_eq!(body["mappings"]["properties"]["a"]["type"], "date");
        assert!(body["mappings"]["dynamic_templates"].is_array());
        assert!(completed("mine", given)["mappings"].get("dynamic_templates").is_none());
        assert_eq!(
            of_new_index(".fleet-policies")["mappings"]["properties"]["data"]["enabled"],
            false
        );
        assert!(of_new_index("mine")["mappings"].get("properties").is_none());
    }
}
