use serde_json::json;

use super::*;

fn context() -> BuildContext {
    BuildContext {
        agent: AgentMetadata {
            id: "a".into(),
            ephemeral_id: "e".into(),
            name: "web-01".into(),
            version: "9.2.0".into(),
            snapshot: false,
        },
        host: json!({"name": "web-01"}).as_object().unwrap().clone(),
        paths: InputPaths {
            home: "/h".into(),
            data: "/d".into(),
            logs: "/l".into(),
        },
    }
}

#[track_caller]
fn check_refused(input: Value, expected: &str) {
    let error = build(&input, &context())
        .map(|built| built.len())
        .unwrap_err()
        .to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn every_stream_of_the_system_package_is_built() {
    let logs = json!({"id": "logs", "type": "logfile", "meta": {"package": {"name": "system", "version": "2.5.0"}}, "streams": [
        {"id": "auth", "data_stream": {"dataset": "system.auth", "type": "logs"}, "ignore_older": "72h",
            "paths": ["/var/log/auth.log*", "/var/log/secure*"], "exclude_files": ["\\.gz$"],
            "multiline": {"pattern": "^\\s", "match": "after"}, "tags": ["system-auth"],
            "processors": [{"add_locale": null}, {"rename": {"fields": [{"from": "message", "to": "event.original"}], "ignore_missing": true, "fail_on_error": false}},
                {"syslog": {"field": "event.original", "ignore_missing": true, "ignore_failure": true}}]},
        {"id": "off", "enabled": false, "paths": "not even looked at"},
    ]});
    let built = build(&logs, &context()).unwrap();
    assert_eq!(
        built.iter().map(|built| built.stream_id.as_str()).collect::<Vec<_>>(),
        ["auth"]
    );

    let names = [
        "core",
        "cpu",
        "diskio",
        "filesystem",
        "fsstat",
        "load",
        "memory",
        "network",
        "process",
        "process_summary",
        "socket_summary",
        "uptime",
    ];
    let streams: Vec<Value> = names
        .iter()
        .map(
            |name| json!({"metricsets": [name], "data_stream": {"dataset": format!("system.{name}")}, "period": "10s"}),
        )
        .collect();
    let built = build(
        &json!({"id": "m", "type": "system/metrics", "streams": streams}),
        &context(),
    )
    .unwrap();
    assert_eq!(built.len(), names.len());
    assert_eq!(built[0].stream_id, "m-system.core-0");
}

#[test]
fn what_is_not_known_or_wrong_is_named() {
    check_refused(
        json!({"type": "no-such-input", "id": "x"}),
        "input type `no-such-input` is not supported",
    );
    check_refused(
        json!({"type": "filestream", "id": "x", "streams": [{"id": "s"}]}),
        "input `s`: setting `paths`",
    );
    check_refused(
        json!({"type": "filestream", "id": "x", "streams": [{"id": "s", "paths": ["/a"], "processors": [{"script": {}}]}]}),
        "input `s`: processor `script` is not supported",
    );
    check_refused(
        json!({"type": "filestream", "id": "x", "streams": [{"id": "s", "paths": ["/a"], "clean_inactive": "1s"}]}),
        "`clean_inactive`",
    );
    check_refused(
        json!({"type": "filestream", "id": "x", "streams": [{"id": "s", "paths": ["/a"], "encoding": "klingon"}]}),
        "`klingon`",
    );
    check_refused(
        json!({"type": "system/metrics", "id": "x", "streams": [{"metricsets": ["nope"]}]}),
        "metricset `nope`",
    );
    check_refused(
        json!({"type": "filestream", "id": "x", "a": 1, "a.b": 2}),
        "setting `a.b`",
    );
    check_refused(
        json!({"type": "filestream", "id": "x", "streams": {}}),
        "setting `streams`",
    );
}

#[test]
fn fields_of_every_event() {
    let input =
        json!({"type": "logfile", "meta": {"package": {"name": "system"}}, "data_stream": {"namespace": "Prod"}});
    let stream = json!({"id": "s", "data_stream": {"dataset": "system.auth"}, "tags": ["forwarded"], "pipeline": "p"});
    let (input, stream) = (input.as_object().unwrap(), stream.as_object().unwrap());
    let context = context();
    let mut config = stream_config("in", "logfile", input, stream, 0, &context).unwrap();
    let documents = config.documents("filebeat", Fields::new());
    let stream = documents.stream();
    assert_eq!(
        (stream.index.as_str(), stream.pipeline.as_deref()),
        ("logs-system.auth-prod", Some("p"))
    );
    let mut constants = stream.prefix.to_vec();
    constants.push(b'}');
    let constants: Value = serde_json::from_slice(&constants).unwrap();
    assert_eq!(
        constants["event"],
        json!({"dataset": "system.auth", "module": "system"})
    );
    assert_eq!(
        constants["elastic_agent"],
        json!({"id": "a", "version": "9.2.0", "snapshot": false})
    );
    assert_eq!(constants["ecs"]["version"], "8.0.0");
    assert!(
        constants.get("host").is_none(),
        "an event that comes from elsewhere must not name this host"
    );
}
