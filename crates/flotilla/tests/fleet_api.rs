//! What a user of the Fleet API sees from outside: who may do what, and a package from its upload to the documents that it shapes.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::io::{Cursor, Write};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Curl, Flotilla, eventually};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);
const PASSWORD: &str = "correct horse battery";

/// The status of a request with another credential than the superuser's password.
fn status_as(console: &Curl, credential: &[&str], method: &str, path: &str) -> u16 {
    let mut options = vec!["-X", method, "-H", "kbn-xsrf: true"];
    options.extend(credential);
    if method != "GET" {
        options.extend([
            "-H",
            "Content-Type: application/json",
            "-d",
            "{\"name\": \"made\", \"url\": \"http://p:3128\"}",
        ]);
    }
    console.status(&options, path)
}

#[test]
fn viewers_look_editors_change_and_so_do_their_keys() {
    let flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let (console, elasticsearch) = (flotilla.console(), flotilla.elasticsearch());
    for (name, role, may_write) in [
        ("vi", "viewer", false),
        ("ed", "editor", true),
        ("ad", "superuser", true),
    ] {
        let user = json!({"password": PASSWORD, "roles": [role]});
        assert_eq!(
            elasticsearch.put(&format!("/_security/user/{name}"), &user)["created"],
            true
        );
        let login = format!("{name}:{PASSWORD}");
        let key = elasticsearch.json(
            &[
                "-u",
                &login,
                "-X",
                "POST",
                "-H",
                "Content-Type: application/json",
                "-d",
                "{\"name\": \"k\"}",
            ],
            "/_security/api_key",
        );
        // The roles of a viewer and an editor say nothing of keys.
        let key = key["encoded"]
            .as_str()
            .map(|encoded| format!("Authorization: ApiKey {encoded}"));
        assert_eq!(key.is_some(), role == "superuser", "{role}");
        let password = vec!["-u", login.as_str()];
        let credentials = [Some(password), key.as_deref().map(|header| vec!["-H", header])];
        for credential in credentials.into_iter().flatten() {
            let asked = |method: &str, path: &str| status_as(&console, &credential, method, path);
            assert_eq!(asked("GET", "/api/fleet/outputs"), 200, "{role} {credential:?}");
            let expected = if may_write { 200 } else { 403 };
            assert_eq!(asked("POST", "/api/fleet/proxies"), expected, "{role} {credential:?}");
            let made = console.get("/api/fleet/proxies")["items"][0]["id"]
                .as_str()
                .map(str::to_owned);
            if let Some(id) = made {
                assert_eq!(asked("DELETE", &format!("/api/fleet/proxies/{id}")), 200);
            }
            assert_eq!(asked("GET", "/api/fleet/audit_log"), expected, "{role} {credential:?}");
        }
    }
    let log = console.get("/api/fleet/audit_log");
    let by = |name: &str| {
        let items = log["items"].as_array().unwrap();
        items
            .iter()
            .any(|item| item["actor"] == name && item["object"]["type"] == "proxy")
    };
    assert!(by("ed") && by("ad") && !by("vi"), "{log}");
}

const MANIFEST: &str = "\
format_version: 3.0.0
name: demo
title: Demo
version: 1.0.0
type: integration
categories: [custom_logs]
policy_templates:
- {name: demo, title: Demo, description: d, inputs: [{type: filestream, title: Lines, description: d}]}
";
const STREAM: &str = "\
title: Lines
type: logs
streams:
- input: filestream
  title: Lines
  vars:
  - {name: paths, type: text, multi: true, required: true, default: [/var/log/demo.log]}
  - {name: tags, type: text, multi: true, default: [forwarded]}
";
const TEMPLATE: &str = "\
paths:
{{#each paths as |path|}}
- {{path}}
{{/each}}
{{#if tags.length}}
tags: {{to_json tags}}
{{/if}}
{{#contains \"forwarded\" tags}}
publisher_pipeline.disable_host: true
{{/contains}}
";
const FIELDS: &str = "\
- {name: demo.count, type: integer}
- {name: demo.word}
";
const PIPELINE: &str = "\
processors:
- grok: {field: message, patterns: ['%{WORD:demo.word} %{NUMBER:demo.count:int}']}
- pipeline: {name: '{{ IngestPipeline \"inner\" }}'}
";
const INNER: &str = "processors: [{set: {field: demo.seen, value: true}}]\n";

fn archive() -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, content) in [
        ("manifest.yml", MANIFEST),
        ("changelog.yml", "[]\n"),
        ("docs/README.md", "# Demo\n"),
        ("data_stream/lines/manifest.yml", STREAM),
        ("data_stream/lines/agent/stream/stream.yml.hbs", TEMPLATE),
        ("data_stream/lines/fields/fields.yml", FIELDS),
        ("data_stream/lines/elasticsearch/ingest_pipeline/default.yml", PIPELINE),
        ("data_stream/lines/elasticsearch/ingest_pipeline/inner.yml", INNER),
    ] {
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file(format!("demo-1.0.0/{path}"), options).unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn an_uploaded_package_shapes_policies_and_documents() {
    let flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let (console, elasticsearch) = (flotilla.console(), flotilla.elasticsearch());
    let file = flotilla.data_dir().with_file_name("demo.zip");
    fs_err::write(&file, archive()).unwrap();
    let body = format!("@{}", file.display());
    let uploaded = console.json(
        &[
            "-X",
            "POST",
            "-H",
            "kbn-xsrf: true",
            "-H",
            "Content-Type: application/zip",
            "--data-binary",
            &body,
        ],
        "/api/fleet/epm/packages",
    );
    assert_eq!(uploaded["items"].as_array().map(Vec::len), Some(3), "{uploaded}");
    let integration = json!({"name": "lines", "policy_ids": ["default-policy"], "package": {"name": "demo", "version": "1.0.0"}, "inputs": {}});
    let made = console.post("/api/fleet/package_policies", &integration);
    assert_eq!(made["item"]["name"], "lines", "{made}");
    let full = console.get("/api/fleet/agent_policies/default-policy/full");
    let inputs = full["item"]["inputs"].as_array().unwrap();
    let stream = &inputs.iter().find(|input| input["name"] == "lines").unwrap()["streams"][0];
    assert_eq!(stream["tags"], json!(["forwarded"]));
    assert_eq!(stream["publisher_pipeline.disable_host"], true);
    // A document as an agent would ship it.
    let event = json!({"@timestamp": "2026-01-02T12:00:00Z", "message": "errors 7"});
    let lines = format!("{{\"create\": {{\"_index\": \"logs-demo.lines-default\"}}}}\n{event}\n");
    let answer = elasticsearch.bulk(&lines);
    assert_eq!(answer["errors"], false, "{answer}");
    let found = eventually("the document is found by a field of the pipeline", SOON, || {
        let found = elasticsearch.get("/logs-demo.lines-default/_search?q=demo.count:7");
        found.pointer("/hits/hits/0/_source/demo").cloned()
    });
    assert_eq!(found, json!({"word": "errors", "count": 7, "seen": true}));
    let mapping: Value = elasticsearch.get("/logs-demo.lines-default/_mapping");
    let mapping = mapping.as_object().unwrap().values().next().unwrap();
    let demo = &mapping["mappings"]["properties"]["demo"]["properties"];
    assert_eq!(
        (&demo["count"]["type"], &demo["word"]["type"]),
        (&json!("long"), &json!("keyword"))
    );
}

/// `up` runs a Fleet Server of its own: whoever waits until agents can enroll need not wait for an agent that runs one.
#[test]
fn agents_can_enroll_in_what_up_runs() {
    let flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let state = flotilla.console().get("/api/fleet/agents/setup");
    assert_eq!(
        (&state["isReady"], &state["missing_requirements"]),
        (&json!(true), &json!([]))
    );
}
