//! Whatever is sent, the answer is the client's mistake or a success; never a failure of the server, never a panic.

use axum::body::Body;
use http::Request;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::{AGENT, Fleet, quick};

/// JSON of any shape, with the names that the protocol uses.
fn any_json() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "status",
        "message",
        "ack_token",
        "components",
        "local_metadata",
        "poll_timeout",
        "agent_policy_id",
        "policy_revision_idx",
        "upgrade_details",
        "upgrade",
        "rollbacks",
        "state",
        "metadata",
        "events",
        "action_id",
        "agent_id",
        "error",
        "data",
        "type",
        "id",
        "tags",
        "local",
        "file",
        "size",
        "name",
        "mime_type",
        "src",
        "transithash",
        "sha256",
        "reason",
        "timestamp",
        "replace_token",
        "enrollment_id",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9:$\\{\\}\u{e9}\u{0}\"]{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "online",
            "PERMANENT",
            "policy:p:1",
            "agent",
            "uninstall",
            "UPG_FAILED",
            "10ms"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6).prop_map(|fields| {
                Value::Object(
                    fields
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                )
            }),
        ]
    })
}

#[test]
fn any_body_gets_an_answer() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut settings = quick();
    settings.timeouts.checkin_long_poll = std::time::Duration::from_millis(1);
    settings.timeouts.checkin_max_poll = std::time::Duration::from_millis(1);
    settings.pbkdf2.iterations = 1;
    let (fleet, token, agent) = runtime.block_on(async {
        let fleet = Fleet::start(settings).await;
        let token = fleet.enrollment_token("policy-1", json!({})).await;
        let agent = fleet.enroll(&token).await;
        (fleet, token, agent)
    });
    let id = &agent.id;
    let routes = [
        (format!("/api/fleet/agents/{id}/checkin"), &agent.key),
        (format!("/api/fleet/agents/{id}/acks"), &agent.key),
        (format!("/api/fleet/agents/{id}/audit/unenroll"), &agent.key),
        ("/api/fleet/uploads".to_owned(), &agent.key),
        ("/api/fleet/uploads/x".to_owned(), &agent.key),
        ("/api/fleet/agents/enroll".to_owned(), &token),
    ];
    let mut runner = TestRunner::new(Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    });
    let sent = runner.run(
        &(any_json(), 0..routes.len(), any::<bool>()),
        |(mut body, route, says_online)| {
            if says_online && body.is_object() {
                body["status"] = json!("online");
            }
            let (path, key) = &routes[route];
            let answer = runtime.block_on(fleet.post(path, key, &body));
            prop_assert!(answer.status.as_u16() < 500, "{path} {body}: {answer:?}");
            Ok(())
        },
    );
    sent.unwrap();
}

#[test]
fn any_header_gets_an_answer() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fleet = runtime.block_on(Fleet::start(quick()));
    let names = [
        "authorization",
        "user-agent",
        "elastic-api-version",
        "content-encoding",
        "content-length",
        "x-request-id",
        "range",
    ];
    let strategy = (0..names.len(), prop::collection::vec(32_u8..255, 0..60), any::<bool>());
    let mut runner = TestRunner::new(Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    });
    let sent = runner.run(&strategy, |(name, value, is_checkin)| {
        let path = if is_checkin {
            "/api/fleet/agents/a/checkin"
        } else {
            "/api/status"
        };
        let method = if is_checkin { "POST" } else { "GET" };
        let value = http::HeaderValue::from_bytes(&value).unwrap_or(http::HeaderValue::from_static("x"));
        let mut request = Request::builder().method(method).uri(path).header("User-Agent", AGENT);
        request = request.header(names[name], value);
        let answer = runtime.block_on(fleet.call(request.body(Body::from("{}")).unwrap()));
        prop_assert!(answer.status.as_u16() < 500, "{}: {answer:?}", names[name]);
        Ok(())
    });
    sent.unwrap();
}

/// Paths with the names that the protocol uses, and whatever else fits between two slashes.
fn any_path() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "api",
        "fleet",
        "agents",
        "enroll",
        "a",
        "checkin",
        "acks",
        "audit",
        "unenroll",
        "artifacts",
        "uploads",
        "file",
        "status",
        "upgrades",
        "9.6.0",
        "0",
    ]);
    let octets = prop::collection::vec(any::<u8>(), 0..12);
    let encoded = octets.prop_map(|octets| {
        octets
            .iter()
            .fold(String::new(), |text, octet| format!("{text}%{octet:02X}"))
    });
    let segment = prop_oneof![3 => names.prop_map(str::to_owned), 1 => encoded, 1 => "[!-~&&[^?#]]{0,12}"];
    let path = prop::collection::vec(segment, 0..7).prop_map(|segments| segments.join("/"));
    let known = prop::sample::select(vec![
        "api/fleet/agents/",
        "api/fleet/uploads/",
        "api/fleet/file/",
        "api/fleet/artifacts/",
        "",
    ]);
    (known, path, "(\\?[!-~&&[^#]]{0,20})?").prop_map(|(known, path, query)| format!("/{known}{path}{query}"))
}

#[test]
fn any_path_and_method_get_an_answer() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (fleet, agent) = runtime.block_on(async {
        let fleet = Fleet::start(quick()).await;
        let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
        (fleet, agent)
    });
    let methods = prop::sample::select(vec!["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "ANY"]);
    let body = prop::collection::vec(any::<u8>(), 0..200);
    let mut runner = TestRunner::new(Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    });
    let sent = runner.run(&(methods, any_path(), body), |(method, path, body)| {
        let request = Request::builder()
            .method(method)
            .uri(&path)
            .header("User-Agent", AGENT)
            .header("Authorization", format!("ApiKey {}", agent.key))
            .header("X-Chunk-SHA2", "00")
            .body(Body::from(body));
        let Ok(request) = request else { return Ok(()) };
        let answer = runtime.block_on(fleet.call(request));
        prop_assert!(answer.status.as_u16() < 500, "{method} {path}: {answer:?}");
        prop_assert!(answer.header("x-request-id").is_some(), "{method} {path}: {answer:?}");
        Ok(())
    });
    sent.unwrap();
}

proptest! {
    #[test]
    fn any_configuration_file_is_read_or_refused(text in "[a-z0-9_.:\\- \n\\[\\]{}$'\"]{0,200}") {
        let variables = std::collections::BTreeMap::new();
        let _outcome = fleet_server::FleetServerSettings::from_yaml("fleet-server.yml", &text, &variables, 1024);
    }

    #[test]
    fn any_value_in_the_stock_file_is_read_or_refused(value in "[a-z0-9.:\\- ${}]{0,20}", key in prop::sample::select(vec!["port", "timeouts.read", "limits.max_agents", "limits.checkin_limit", "ssl.enabled", "pgp.dir", "static_policy_tokens", "compression_level"])) {
        let text = format!("inputs:\n  - type: fleet-server\n    server.{key}: '{value}'\n");
        let variables = std::collections::BTreeMap::new();
        let _outcome = fleet_server::FleetServerSettings::from_yaml("fleet-server.yml", &text, &variables, 1024);
    }
}
