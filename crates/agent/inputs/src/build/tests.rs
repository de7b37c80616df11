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
        reloader: tls::Reloader::new(),
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

/// A pair that serves as CA as well, in `pair.crt` and `pair.key`; its fingerprint.
fn write_pair(folder: &camino::Utf8Path) -> certs::Fingerprint {
    let authority = pki::Authority::generate(pki::AuthorityRequest::default()).unwrap();
    let identity = authority
        .issue(pki::LeafRequest {
            common_name: "web-01".into(),
            ..Default::default()
        })
        .unwrap();
    let key = certs::write_pem_key(&identity.key, certs::KeyFormat::Pkcs8).unwrap();
    fs_err::write(folder.join("pair.crt"), certs::write_pem_certificates(&identity.chain)).unwrap();
    fs_err::write(folder.join("pair.key"), key.expose()).unwrap();
    certs::fingerprint(&identity.chain[0])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_with_tls_follow_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = camino::Utf8Path::from_path(folder.path()).unwrap();
    write_pair(path);
    let server = json!({"certificate": path.join("pair.crt"), "key": path.join("pair.key")});
    let client = json!({"certificate_authorities": [path.join("pair.crt")]});
    let context = context();
    let streams = [
        json!({"type": "tcp", "streams": [{"id": "t", "host": "127.0.0.1:0", "ssl": server}]}),
        json!({"type": "syslog", "streams": [{"id": "s", "protocol": {"tcp": {"host": "127.0.0.1:0", "ssl": server}}}]}),
        json!({"type": "prometheus/metrics", "streams": [{"id": "p", "hosts": ["https://x"], "ssl": client}]}),
    ];
    let built: Vec<_> = streams
        .iter()
        .flat_map(|input| build(input, &context).unwrap())
        .collect();
    let names = || {
        let statuses = context.reloader.statuses();
        statuses.into_iter().map(|status| status.name).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["input t", "input s", "input p"]);
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn({
        let (reloader, stop) = (context.reloader.clone(), stop.clone());
        async move { reloader.run(stop).await }
    });
    let renewed = write_pair(path);
    context.reloader.poke();
    let all_follow = async {
        while !context
            .reloader
            .statuses()
            .iter()
            .all(|status| status.certificates[0].fingerprint == renewed)
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), all_follow)
        .await
        .unwrap();
    stop.cancel();
    running.await.unwrap();
    drop(built);
    assert!(names().is_empty());
}

#[test]
fn what_is_wrong_with_a_certificate_is_told_with_what_to_do() {
    let input = json!({"type": "tcp", "streams": [{"id": "t", "host": "127.0.0.1:0", "ssl": {"enabled": "true"}}]});
    let error = build(&input, &context()).unwrap_err().to_string();
    assert!(
        error.contains("needs both") && error.contains("elasticsearch-certutil"),
        "{error}"
    );
    let off = json!({"type": "tcp", "streams": [{"id": "t", "host": "127.0.0.1:0", "ssl": {"enabled": "false"}}]});
    assert_eq!(build(&off, &context()).unwrap().len(), 1);
}
