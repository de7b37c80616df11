use serde_json::json;

use super::*;

#[track_caller]
fn apply(processors: &Value, event: &Value) -> Option<Value> {
    let context = ProcessorContext {
        host: json!({"name": "web-01"}).as_object().unwrap().clone(),
    };
    let processors = Processors::with_context(processors, &context).unwrap();
    let mut event = event.as_object().unwrap().clone();
    (processors.apply(&mut event) == Outcome::Keep).then_some(Value::Object(event))
}

/// Every case: a list of processors, the event before, the event after.
#[track_caller]
fn check(processors: Value, event: Value, expected: Value) {
    assert_eq!(apply(&processors, &event), Some(expected), "{processors}");
}

#[track_caller]
fn check_refused(processors: Value, expected: &str) {
    let error = Processors::from_policy(&processors).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn constant_fields() {
    check(
        json!([{"add_fields": {"target": "project", "fields": {"name": "x", "id": 7}}}]),
        json!({}),
        json!({"project": {"name": "x", "id": 7}}),
    );
    check(
        json!([{"add_fields": {"fields": {"a.b": 1}}}]),
        json!({}),
        json!({"fields": {"a": {"b": 1}}}),
    );
    check(
        json!([{"add_fields": {"target": "", "fields": {"a": 1}}}]),
        json!({"a": 2, "b": 3}),
        json!({"a": 1, "b": 3}),
    );
    check(
        json!([{"add_labels": {"labels": {"a": {"b": 1}}}}]),
        json!({}),
        json!({"labels": {"a.b": 1}}),
    );
    check(
        json!([{"add_tags": {"tags": ["x"], "target": "env"}}]),
        json!({"env": ["y"]}),
        json!({"env": ["y", "x"]}),
    );
    check(
        json!([{"add_host_metadata": null}, {"add_cloud_metadata": {}}]),
        json!({}),
        json!({"host": {"name": "web-01"}}),
    );
}

#[test]
fn the_zone_of_the_machine_is_an_offset() {
    let event = apply(&json!([{"add_locale": null}]), &json!({})).unwrap();
    let zone = event["event"]["timezone"].as_str().unwrap();
    assert!(
        zone.len() == 6 && (zone.starts_with('+') || zone.starts_with('-')),
        "{zone}"
    );
}

#[test]
fn events_are_dropped_when_the_condition_holds() {
    let drop = json!([{"drop_event": {"when": {"regexp": {"system.filesystem.mount_point": "^/(sys|proc)($|/)"}}}}]);
    assert_eq!(
        apply(&drop, &json!({"system": {"filesystem": {"mount_point": "/proc"}}})),
        None
    );
    check(
        drop,
        json!({"system": {"filesystem": {"mount_point": "/"}}}),
        json!({"system": {"filesystem": {"mount_point": "/"}}}),
    );
}

#[test]
fn conditions() {
    let event = json!({"http": {"code": 404}, "message": "GET /x", "tags": ["a", "bc"], "ip": "10.1.2.3", "list": ["::1", "8.8.8.8"]});
    let holds = |condition: Value| {
        let processors = json!([{"drop_event": {"when": condition}}]);
        apply(&processors, &event).is_none()
    };
    assert!(holds(json!({"equals": {"http.code": 404}})));
    assert!(holds(json!({"equals": {"http": {"code": 404}}})));
    assert!(!holds(json!({"equals": {"http.code": 405}})));
    assert!(holds(json!({"contains": {"message": "GET"}})));
    assert!(holds(json!({"contains": {"tags": "b"}})));
    assert!(holds(json!({"range": {"http.code.gte": 400, "http.code.lt": 500}})));
    assert!(holds(json!({"range": {"http.code": {"gt": 403}}})));
    assert!(!holds(json!({"range": {"http.code.lt": 404}})));
    assert!(holds(json!({"network": {"ip": "private"}})));
    assert!(holds(json!({"network": {"ip": ["192.168.0.0/16", "10.0.0.0/8"]}})));
    assert!(holds(json!({"network": {"list": "public"}})));
    assert!(!holds(json!({"network": {"ip": "fe80::/10"}})));
    assert!(holds(json!({"has_fields": ["http.code", "ip"]})));
    assert!(holds(json!({"not": {"has_fields": ["nope"]}})));
    assert!(holds(
        json!({"or": [{"equals": {"ip": "x"}}, {"equals": {"ip": "10.1.2.3"}}]})
    ));
    assert!(!holds(
        json!({"and": [{"equals": {"ip": "x"}}, {"equals": {"ip": "10.1.2.3"}}]})
    ));
}

#[test]
fn branches() {
    let list = json!([{"if": {"has_fields": ["a"]}, "then": {"add_tags": {"tags": "yes"}}, "else": [{"add_tags": {"tags": "no"}}]}]);
    check(list.clone(), json!({"a": 1}), json!({"a": 1, "tags": ["yes"]}));
    check(list, json!({"b": 1}), json!({"b": 1, "tags": ["no"]}));
}

#[test]
fn fields_are_moved_copied_and_dropped() {
    check(
        json!([{"rename": {"fields": [{"from": "message", "to": "event.original"}]}}]),
        json!({"message": "m"}),
        json!({"event": {"original": "m"}}),
    );
    check(
        json!([{"rename": {"fields": [{"from": "x", "to": "y"}], "ignore_missing": true}}]),
        json!({"a": 1}),
        json!({"a": 1}),
    );
    check(
        json!([{"rename": {"fields": [{"from": "a", "to": "c"}, {"from": "x", "to": "y"}]}}]),
        json!({"a": 1}),
        json!({"a": 1, "error": {"message": "failed in processor.rename: there is no field `x`"}}),
    );
    check(
        json!([{"rename": {"fields": [{"from": "a", "to": "c"}, {"from": "x", "to": "y"}], "fail_on_error": false}}]),
        json!({"a": 1}),
        json!({"c": 1}),
    );
    check(
        json!([{"copy_fields": {"fields": [{"from": "a", "to": "b.c"}]}}]),
        json!({"a": 1}),
        json!({"a": 1, "b": {"c": 1}}),
    );
    check(
        json!([{"move_fields": {"from": "app", "fields": ["x"], "to": "root."}}]),
        json!({"app": {"x": 1, "y": 2}}),
        json!({"app": {"y": 2}, "root": {"x": 1}}),
    );
    check(
        json!([{"drop_fields": {"fields": ["a", "/^b\\./", "@timestamp"], "ignore_missing": true}}]),
        json!({"@timestamp": "t", "a": 1, "b": {"c": 2}, "d": 3}),
        json!({"@timestamp": "t", "b": {}, "d": 3}),
    );
    check(
        json!([{"include_fields": {"fields": ["b.c"]}}]),
        json!({"@timestamp": "t", "a": 1, "b": {"c": 2, "d": 3}}),
        json!({"@timestamp": "t", "b": {"c": 2}}),
    );
    check(
        json!([{"append": {"target_field": "l", "fields": ["a"], "values": ["x"], "allow_duplicate": false}}]),
        json!({"a": ["x", "y"]}),
        json!({"a": ["x", "y"], "l": ["x", "y"]}),
    );
}

#[test]
fn texts_are_changed() {
    check(
        json!([{"lowercase": {"fields": ["a"]}}, {"uppercase": {"fields": ["b"]}}]),
        json!({"a": "AbC", "b": "x"}),
        json!({"a": "abc", "b": "X"}),
    );
    check(
        json!([{"replace": {"fields": [{"field": "a", "pattern": "[0-9]+", "replacement": "#"}]}}]),
        json!({"a": "x12y3"}),
        json!({"a": "x#y#"}),
    );
    check(
        json!([{"urldecode": {"fields": [{"from": "a", "to": "b"}]}}]),
        json!({"a": "x%20y+z"}),
        json!({"a": "x%20y+z", "b": "x y z"}),
    );
    check(
        json!([{"decode_base64_field": {"field": {"from": "a", "to": "b"}}}]),
        json!({"a": "aGVsbG8="}),
        json!({"a": "aGVsbG8=", "b": "hello"}),
    );
    check(
        json!([{"truncate_fields": {"fields": ["a"], "max_characters": 2}}]),
        json!({"a": "héllo"}),
        json!({"a": "hé", "log": {"flags": ["truncated"]}}),
    );
    check(
        json!([{"truncate_fields": {"fields": ["a"], "max_bytes": 2}}]),
        json!({"a": "héllo"}),
        json!({"a": "h", "log": {"flags": ["truncated"]}}),
    );
}

#[test]
fn what_is_not_known_is_refused() {
    check_refused(
        json!([{"script": {"lang": "javascript"}}]),
        "processor `script` is not supported",
    );
    check_refused(json!([{"add_tags": {}}]), "processor `add_tags`: `tags` is missing");
    check_refused(
        json!([{"drop_event": {"when": {"equal": {}}}}]),
        "condition `equal` is not known",
    );
    check_refused(json!("x"), "must be a list");
    check_refused(json!([{"rename": {"fields": [{"to": "x"}]}}]), "needs `from`");
}

#[test]
fn values_are_converted() {
    let convert = json!([{"convert": {"fields": [
        {"from": "a", "to": "b", "type": "long"}, {"from": "c", "type": "string"}, {"from": "d", "type": "boolean"},
        {"from": "e", "type": "ip"}, {"from": "f", "type": "float"}]}}]);
    check(
        convert,
        json!({"a": "0x10", "c": 5, "d": "true", "e": "::1", "f": "1.5"}),
        json!({"a": "0x10", "b": 16, "c": "5", "d": true, "e": "::1", "f": 1.5}),
    );
    check(
        json!([{"convert": {"fields": [{"from": "a", "to": "b", "type": "integer"}], "mode": "rename", "fail_on_error": false}}]),
        json!({"a": "x"}),
        json!({"a": "x"}),
    );
    check(
        json!([{"convert": {"fields": [{"from": "a", "to": "b"}], "mode": "rename"}}]),
        json!({"a": "x"}),
        json!({"b": "x"}),
    );
}

#[test]
fn texts_are_dissected() {
    check(
        json!([{"dissect": {"tokenizer": "%{ip} - [%{ts}] \"%{?verb} %{path|string}\" %{code|long}", "target_prefix": ""}}]),
        json!({"message": "1.2.3.4 - [now] \"GET /x\" 200"}),
        json!({"message": "1.2.3.4 - [now] \"GET /x\" 200", "ip": "1.2.3.4", "ts": "now", "path": "/x", "code": 200}),
    );
    check(
        json!([{"dissect": {"tokenizer": "%{+name/2} %{+name/1} %{key->} %{rest}"}}]),
        json!({"message": "a b c   d"}),
        json!({"message": "a b c   d", "dissect": {"key": "c", "rest": "d", "name": "b a"}}),
    );
    check(
        json!([{"dissect": {"tokenizer": "%{*k}=%{&k}", "trim_values": "all"}}]),
        json!({"message": "user= bob "}),
        json!({"message": "user= bob ", "dissect": {"user": "bob"}}),
    );
    check(
        json!([{"dissect": {"tokenizer": "%{a}|%{b}"}}]),
        json!({"message": "x"}),
        json!({"message": "x", "log": {"flags": ["dissect_parsing_error"]},
            "error": {"message": "failed in processor.dissect: `message` does not have the delimiters of the tokenizer"}}),
    );
    check_refused(json!([{"dissect": {"tokenizer": "%{a}%{b}"}}]), "nothing between them");
}

#[test]
fn json_is_decoded() {
    check(
        json!([{"decode_json_fields": {"fields": ["message"]}}]),
        json!({"message": "{\"a\": 1}"}),
        json!({"message": {"a": 1}}),
    );
    check(
        json!([{"decode_json_fields": {"fields": ["message"], "target": "j", "max_depth": 2}}]),
        json!({"message": "{\"a\": \"{\\\"b\\\":2}\"}"}),
        json!({"message": "{\"a\": \"{\\\"b\\\":2}\"}", "j": {"a": {"b": 2}}}),
    );
    check(
        json!([{"decode_json_fields": {"fields": ["message"], "target": "", "overwrite_keys": true, "expand_keys": true}}]),
        json!({"message": "{\"message\": \"m\", \"a.b\": 1, \"@timestamp\": \"2026-01-02T03:04:05Z\"}", "@timestamp": "old"}),
        json!({"message": "m", "@timestamp": "2026-01-02T03:04:05.000Z", "a": {"b": 1}}),
    );
    check(
        json!([{"decode_json_fields": {"fields": ["message"], "target": ""}}]),
        json!({"message": "{\"message\": \"m\", \"x\": 1}"}),
        json!({"message": "{\"message\": \"m\", \"x\": 1}", "x": 1}),
    );
    check(
        json!([{"decode_json_fields": {"fields": ["message"]}}]),
        json!({"message": "no json"}),
        json!({"message": "no json"}),
    );
}

#[test]
fn times_and_syslog_lines_are_read() {
    check(
        json!([{"timestamp": {"field": "t", "layouts": ["2006-01-02 15:04:05"], "timezone": "+01:00", "test": ["2026-01-02 03:04:05"]}}]),
        json!({"t": "2026-01-02 03:04:05"}),
        json!({"t": "2026-01-02 03:04:05", "@timestamp": "2026-01-02T02:04:05.000Z"}),
    );
    check_refused(
        json!([{"timestamp": {"field": "t", "layouts": ["2006"], "test": ["x"]}}]),
        "no layout can read the test time `x`",
    );
    check(
        json!([{"syslog": {"field": "event.original", "ignore_missing": true, "ignore_failure": true}}]),
        json!({"a": 1}),
        json!({"a": 1}),
    );
    check(
        json!([{"syslog": {"field": "event.original", "ignore_failure": true}}]),
        json!({"event": {"original": "no syslog"}}),
        json!({"event": {"original": "no syslog"}}),
    );
    check(
        json!([{"syslog": {}}]),
        json!({"message": "2026-01-02T03:04:05Z h su: m"}),
        json!({"message": "m", "@timestamp": "2026-01-02T03:04:05.000Z", "log": {"syslog": {"hostname": "h", "appname": "su"}}}),
    );
}

#[test]
fn ids_and_fingerprints() {
    // printf '|a|x|b|1|' | sha256sum
    check(
        json!([{"fingerprint": {"fields": ["b", "a"], "target_field": "f"}}]),
        json!({"a": "x", "b": 1}),
        json!({"a": "x", "b": 1, "f": "ce5b9dfa3b021bb29cad5d2032fcaa2a8d9c709b6e3969e19b1127cc62921f27"}),
    );
    let event = apply(&json!([{"add_id": null}]), &json!({})).unwrap();
    assert_eq!(event["@metadata"]["_id"].as_str().unwrap().len(), 22);
}
