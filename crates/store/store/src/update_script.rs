//! The update scripts of a stock Fleet Server, recognised by their parameters: no script engine. For stores to run.
//!
//! Source: fleet-server-elasticsearch, update scripts.

use serde_json::{Map, Value};

/// What a script did.
#[derive(Debug, Eq, PartialEq)]
pub enum Effect {
    /// The document is another now.
    Changed,
    /// The document is as it was.
    Noop,
    /// No known script has these parameters.
    Unknown,
}

/// Runs the script that has these parameters on a document.
pub fn run(params: &Map<String, Value>, document: &mut Map<String, Value>) -> Effect {
    let has = |key: &str| params.contains_key(key);
    if params.len() == 3 && has("id") && has("rev") && has("ts") {
        return policy_ack(params, document);
    }
    if has("output_name") {
        return if params.len() == 1 {
            remove_output(params, document)
        } else {
            update_output(params, document)
        };
    }
    if has("TS") && has("Now") && has("Status") {
        return check_in(params, document);
    }
    if has("status") && params.keys().all(|key| key == "status" || key == "hash") {
        return upload_status(params, document);
    }
    Effect::Unknown
}

/// Whether the script that has these parameters may read or change the field `name`.
pub(crate) fn touches(params: &Map<String, Value>, name: &str) -> bool {
    if params.contains_key("rev") {
        return matches!(
            name,
            "policy_id" | "default_api_key_history" | "policy_revision_idx" | "updated_at"
        );
    }
    if params.contains_key("output_name") {
        return name == "outputs";
    }
    if params.contains_key("status") {
        return matches!(name, "file" | "transithash");
    }
    true
}

fn policy_ack(params: &Map<String, Value>, document: &mut Map<String, Value>) -> Effect {
    if document.get("policy_id") != params.get("id") {
        return Effect::Noop;
    }
    document.shift_remove("default_api_key_history");
    set(document, "policy_revision_idx", params.get("rev"));
    set(document, "updated_at", params.get("ts"));
    Effect::Changed
}

fn remove_output(params: &Map<String, Value>, document: &mut Map<String, Value>) -> Effect {
    let name = params.get("output_name").and_then(Value::as_str).unwrap_or_default();
    match document
        .get_mut("outputs")
        .and_then(Value::as_object_mut)
        .and_then(|outputs| outputs.shift_remove(name))
    {
        Some(_) => Effect::Changed,
        None => Effect::Noop,
    }
}

fn update_output(params: &Map<String, Value>, document: &mut Map<String, Value>) -> Effect {
    const FIELDS: [&str; 4] = ["api_key", "api_key_id", "permissions_hash", "type"];
    let known = |key: &String| key == "output_name" || key == "to_retire_api_key_ids" || FIELDS.contains(&key.as_str());
    let Some(name) = params
        .get("output_name")
        .and_then(Value::as_str)
        .filter(|_| params.keys().all(known))
    else {
        return Effect::Unknown;
    };
    let output = object(object(document, "outputs"), name);
    for field in FIELDS {
        if let Some(value) = params.get(field) {
            output.insert(field.to_owned(), value.clone());
        }
    }
    if let Some(retired) = params.get("to_retire_api_key_ids") {
        append_once(output, "to_retire_api_key_ids", retired);
    }
    Effect::Changed
}

fn append_once(output: &mut Map<String, Value>, key: &str, value: &Value) {
    let list = output.entry(key).or_insert_with(|| Value::Array(Vec::new()));
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    if let Value::Array(list) = list
        && !list.contains(value)
    {
        list.push(value.clone());
    }
}

fn check_in(params: &Map<String, Value>, document: &mut Map<String, Value>) -> Effect {
    for (field, param) in [
        ("last_checkin", "TS"),
        ("updated_at", "Now"),
        ("last_checkin_status", "Status"),
        ("last_checkin_message", "Message"),
        ("unhealthy_reason", "UnhealthyReason"),
    ] {
        set(document, field, Some(params.get(param).unwrap_or(&Value::Null)));
    }
    let filled = |key: &str| {
        params
            .get(key)
            .filter(|value| value.as_str().is_some_and(|text| !text.is_empty()))
    };
    let present = |key: &str| params.get(key).filter(|value| !value.is_null());
    if let Some(policy) = filled("PolicyID") {
        document.insert("agent_policy_id".to_owned(), policy.clone());
        set(document, "policy_revision_idx", params.get("RevisionIDX"));
    }
    if let Some(version) = filled("Ver") {
        object(document, "agent").insert("version".to_owned(), version.clone());
    }
    for (field, param) in [
        ("local_metadata", "Meta"),
        ("components", "Components"),
        ("health", "OpAMPHealth"),
        ("capabilities", "OpAMPCapabilities"),
    ] {
        if let Some(value) = present(param) {
            document.insert(field.to_owned(), value.clone());
        }
    }
    if params.get("SeqNoSet").and_then(Value::as_bool).unwrap_or(false) {
        set(document, "action_seq_no", params.get("SeqNo"));
    }
    set(document, "sequence_num", params.get("OpAMPSequenceNum"));
    set(document, "effective_config", params.get("OpAMPEffectiveConfig"));
    document.retain(|key, _| !key.starts_with("audit_unenrolled_") && key != "unenrolled_at");
    Effect::Changed
}

fn upload_status(params: &Map<String, Value>, document: &mut Map<String, Value>) -> Effect {
    set(object(document, "file"), "Status", params.get("status"));
    if let Some(hash) = params
        .get("hash")
        .filter(|hash| hash.as_str().is_some_and(|text| !text.is_empty()))
    {
        object(document, "transithash").insert("sha256".to_owned(), hash.clone());
    }
    Effect::Changed
}

fn set(document: &mut Map<String, Value>, field: &str, value: Option<&Value>) {
    if let Some(value) = value {
        document.insert(field.to_owned(), value.clone());
    }
}

fn object<'a>(parent: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = parent.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was just made an object")
}

/// Merges `partial` into `document`: objects recursively, everything else replaced. Tells whether anything changed.
pub fn merge(document: &mut Map<String, Value>, partial: &Map<String, Value>) -> bool {
    let mut changed = false;
    for (key, new) in partial {
        match (document.get_mut(key), new) {
            (Some(Value::Object(old)), Value::Object(new)) => changed |= merge(old, new),
            (Some(old), new) if old == new => {}
            (_, new) => {
                document.insert(key.clone(), new.clone());
                changed = true;
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(params: Value, before: Value, effect: Effect, after: Value) {
        let mut document = before.as_object().unwrap().clone();
        assert_eq!(run(params.as_object().unwrap(), &mut document), effect, "{params}");
        assert_eq!(Value::Object(document), after, "{params}");
    }

    #[test]
    fn policy_acks() {
        let params = json!({"id": "p", "rev": 3, "ts": "t"});
        let before = json!({"policy_id": "p", "default_api_key_history": [1], "policy_revision_idx": 2});
        check(
            params.clone(),
            before,
            Effect::Changed,
            json!({"policy_id": "p", "policy_revision_idx": 3, "updated_at": "t"}),
        );
        check(
            params,
            json!({"policy_id": "q"}),
            Effect::Noop,
            json!({"policy_id": "q"}),
        );
    }

    #[test]
    fn outputs() {
        let retired = json!({"id": "old"});
        check(
            json!({"output_name": "default", "api_key": "k", "type": "elasticsearch", "to_retire_api_key_ids": retired}),
            json!({"outputs": {"default": {"api_key": "o", "to_retire_api_key_ids": [retired]}}}),
            Effect::Changed,
            json!({"outputs": {"default": {"api_key": "k", "to_retire_api_key_ids": [retired], "type": "elasticsearch"}}}),
        );
        check(
            json!({"output_name": "a", "type": "t"}),
            json!({}),
            Effect::Changed,
            json!({"outputs": {"a": {"type": "t"}}}),
        );
        check(
            json!({"output_name": "a"}),
            json!({"outputs": {"a": {}, "b": {}}}),
            Effect::Changed,
            json!({"outputs": {"b": {}}}),
        );
        check(
            json!({"output_name": "a", "what": 1}),
            json!({}),
            Effect::Unknown,
            json!({}),
        );
    }

    #[test]
    fn check_ins() {
        check(
            json!({"TS": "t", "Now": "n", "Status": "online", "Message": "ok", "UnhealthyReason": null, "PolicyID": "p", "RevisionIDX": 4,
                "Ver": "9.6.0", "Meta": null, "Components": [1], "SeqNoSet": true, "SeqNo": [7]}),
            json!({"audit_unenrolled_time": "x", "unenrolled_at": "y", "local_metadata": {"a": 1}, "agent": {"id": "i"}}),
            Effect::Changed,
            json!({"local_metadata": {"a": 1}, "agent": {"id": "i", "version": "9.6.0"}, "last_checkin": "t", "updated_at": "n",
                "last_checkin_status": "online", "last_checkin_message": "ok", "unhealthy_reason": null, "agent_policy_id": "p",
                "policy_revision_idx": 4, "components": [1], "action_seq_no": [7]}),
        );
    }

    #[test]
    fn uploads_and_strangers() {
        check(
            json!({"status": "READY", "hash": "h"}),
            json!({"file": {"Status": "PROGRESS"}}),
            Effect::Changed,
            json!({"file": {"Status": "READY"}, "transithash": {"sha256": "h"}}),
        );
        check(json!({"x": 1}), json!({"a": 1}), Effect::Unknown, json!({"a": 1}));
    }

    #[test]
    fn merging() {
        let mut document = json!({"a": {"b": 1, "c": 2}, "d": [1]}).as_object().unwrap().clone();
        let partial = json!({"a": {"b": 3}, "d": [2]});
        assert!(merge(&mut document, partial.as_object().unwrap()));
        assert!(!merge(&mut document, partial.as_object().unwrap()));
        assert_eq!(Value::Object(document), json!({"a": {"b": 3, "c": 2}, "d": [2]}));
    }
}
