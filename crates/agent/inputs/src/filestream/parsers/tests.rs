use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parsers(settings: Value) -> Parsers {
    let config = Config {
        stream: "s",
        settings: settings.as_object().unwrap(),
    };
    ParserSettings::read(config).unwrap().start()
}

fn run(settings: Value, lines: &[&str]) -> Vec<Message> {
    let mut parsers = parsers(settings);
    let mut out = Vec::new();
    let mut at = 0;
    for line in lines {
        let end = at + line.len() as u64 + 1;
        parsers.push(
            Message {
                start: at,
                end,
                text: (*line).to_owned(),
                ..Message::default()
            },
            &mut out,
        );
        at = end;
    }
    parsers.expire(Instant::now() + Duration::from_mins(1), &mut out);
    out
}

#[track_caller]
fn check(settings: Value, lines: &[&str], expected: &[&str]) {
    let texts: Vec<String> = run(settings, lines).into_iter().map(|message| message.text).collect();
    assert_eq!(texts, expected);
}

#[test]
fn lines_join_the_one_before() {
    check(
        json!({"multiline": {"pattern": "^\\s", "match": "after"}}),
        &["a", " b", " c", "d"],
        &["a\n b\n c", "d"],
    );
    check(
        json!({"parsers": [{"multiline": {"type": "pattern", "pattern": "^\\[", "negate": true, "match": "after"}}]}),
        &["[1] a", "b", "[2] c"],
        &["[1] a\nb", "[2] c"],
    );
}

#[test]
fn lines_join_the_one_behind() {
    check(
        json!({"parsers": [{"multiline": {"pattern": "\\\\$", "match": "before"}}]}),
        &["a\\", "b", "c"],
        &["a\\\nb", "c"],
    );
}

#[test]
fn other_ways_to_join() {
    check(
        json!({"parsers": [{"multiline": {"type": "count", "count_lines": 2}}]}),
        &["a", "b", "c"],
        &["a\nb", "c"],
    );
    check(
        json!({"parsers": [{"multiline": {"type": "while_pattern", "pattern": "^\\{"}}]}),
        &["{a", "{b", "c"],
        &["{a\n{b", "c"],
    );
    check(
        json!({"parsers": [{"multiline": {"pattern": "^ ", "match": "after", "skip_newline": true, "flush_pattern": "end$"}}]}),
        &["a", " end", " b"],
        &["a end", " b"],
    );
}

#[test]
fn joined_messages_know_where_they_are() {
    let messages = run(
        json!({"multiline": {"pattern": "^ ", "match": "after", "max_lines": 2}}),
        &["a", " b", " c"],
    );
    assert_eq!(
        (messages[0].start, messages[0].end, messages[0].text.as_str()),
        (0, 8, "a\n b")
    );
    assert_eq!(messages[0].flags, ["multiline", "truncated"]);
}

#[test]
fn container_lines_are_unwrapped() {
    let settings = json!({"parsers": [{"container": {"stream": "stdout"}}]});
    let lines = [
        r#"{"log":"par","stream":"stdout","time":"2026-01-02T03:04:05.1Z"}"#,
        r#"{"log":"no\n","stream":"stderr","time":"2026-01-02T03:04:05.2Z"}"#,
        r#"{"log":"t\n","stream":"stdout","time":"2026-01-02T03:04:06Z"}"#,
        "2026-01-02T03:04:07.5Z stdout P a",
        "2026-01-02T03:04:08Z stdout F b c",
        "what is this",
    ];
    let messages = run(settings, &lines);
    let texts: Vec<&str> = messages.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(texts, ["part", "ab c", "what is this"]);
    assert_eq!(messages[0].time, Some("2026-01-02T03:04:05.1Z".parse().unwrap()));
    assert_eq!(messages[0].fields["stream"], "stdout");
    assert!(messages[2].fields.contains_key("error"));
}

#[test]
fn messages_are_chosen() {
    check(
        json!({"parsers": [{"include_message": {"patterns": ["^a", "b$"]}}]}),
        &["ax", "xb", "c"],
        &["ax", "xb"],
    );
}

#[test]
fn unknown_parsers_and_settings_are_named() {
    let error = |settings: Value| {
        let config = Config {
            stream: "s",
            settings: settings.as_object().unwrap(),
        };
        ParserSettings::read(config).unwrap_err().to_string()
    };
    assert!(error(json!({"parsers": [{"xml": {}}]})).contains("`xml`"));
    assert!(error(json!({"parsers": [{"multiline": {"match": "after"}}]})).contains("multiline.pattern"));
    assert!(error(json!({"multiline": {"pattern": "x"}})).contains("multiline.match"));
}

proptest! {
    #[test]
    fn no_line_panics(lines in proptest::collection::vec("[ -~\u{e9}{}\":,a-z0-9T]{0,40}", 0..8)) {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        run(json!({"parsers": [{"container": {}}, {"multiline": {"pattern": "^ ", "match": "after"}}]}), &lines);
    }
}

#[test]
fn json_lines_are_decoded() {
    let settings =
        json!({"parsers": [{"ndjson": {"message_key": "msg", "overwrite_keys": true, "add_error_key": true}}]});
    let messages = run(
        settings,
        &[
            r#"{"msg":"hello","level":3,"@timestamp":"2026-01-02T03:04:05Z"}"#,
            "no json",
            r#"{"level":4}"#,
        ],
    );
    assert_eq!((messages[0].text.as_str(), messages[0].without_text), ("hello", false));
    assert_eq!(messages[0].fields["level"], 3);
    assert_eq!(messages[0].fields["@timestamp"], "2026-01-02T03:04:05.000Z");
    assert_eq!(messages[1].text, "no json");
    assert_eq!(messages[1].fields["error"]["type"], "json");
    assert!(messages[2].without_text);
}

#[test]
fn json_lines_may_keep_to_a_group() {
    let settings = json!({"parsers": [{"ndjson": {"target": "app", "document_id": "id"}}]});
    let messages = run(settings, &[r#"{"id":"x1","a":1}"#]);
    assert_eq!(
        Value::Object(messages[0].fields.clone()),
        json!({"@metadata": {"_id": "x1"}, "app": {"a": 1}})
    );
}

#[test]
fn syslog_headers_are_read() {
    let settings = json!({"parsers": [{"syslog": {"format": "rfc3164", "timezone": "UTC"}}]});
    let messages = run(
        settings,
        &["<13>2026-01-02T03:04:05Z web-01 app[7]: hello", "nothing of the kind"],
    );
    assert_eq!(
        (messages[0].text.as_str(), messages[0].time),
        ("hello", Some("2026-01-02T03:04:05Z".parse().unwrap()))
    );
    assert_eq!(messages[0].fields["log"]["syslog"]["procid"], "7");
    assert_eq!(messages[1].fields["error"]["type"], "syslog");
}
