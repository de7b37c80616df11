//! `_bulk`: what a shipper sees.

use std::io::Write;

use serde_json::{Value, json};

use crate::harness::{Server, grant};

const EVENT: &str =
    r#"{"@timestamp":"2026-01-02T03:04:05.000Z","agent":{"id":"a-1"},"event":{"dataset":"x"},"message":"hello"}"#;

fn lines(count: usize, action: &str) -> String {
    format!("{action}\n{EVENT}\n").repeat(count)
}

fn statuses(answer: &Value) -> Vec<u64> {
    let items = answer["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| {
            item.as_object().unwrap().values().next().unwrap()["status"]
                .as_u64()
                .unwrap()
        })
        .collect()
}

#[tokio::test]
async fn an_agents_documents_are_stamped_and_found() {
    let server = Server::start().await;
    let roles = grant(&["logs-x-default"], &["auto_configure", "create_doc"]);
    let key = server.agent_key(roles, json!({ "agent_id": "a-1" })).await;
    let body = lines(
        3,
        r#"{"create":{"_index":"logs-x-default","require_data_stream":true}}"#,
    );
    let answer = server.call_as(&key, "POST", "/_bulk?refresh=true", body).await.ok();
    assert_eq!(
        (answer["errors"].clone(), statuses(&answer)),
        (json!(false), vec![201, 201, 201])
    );
    assert!(
        answer["items"][0]["create"]["_index"]
            .as_str()
            .unwrap()
            .starts_with(".ds-logs-x-default-")
    );

    let found = server
        .call("GET", "/logs-x-default/_search?q=message:hello", "")
        .await
        .ok();
    assert_eq!(found["hits"]["total"], json!({ "value": 3, "relation": "eq" }));
    let event = &found["hits"]["hits"][0]["_source"]["event"];
    assert_eq!(
        (&event["agent_id_status"], &event["dataset"]),
        (&json!("verified"), &json!("x"))
    );
    assert!(event["ingested"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn another_agents_name_is_a_mismatch() {
    let server = Server::start().await;
    let key = server
        .agent_key(
            grant(&["logs-*"], &["auto_configure", "create_doc"]),
            json!({ "agent_id": "b" }),
        )
        .await;
    let action = r#"{"create":{"_index":"logs-x-default"}}"#;
    server
        .call_as(&key, "POST", "/_bulk?refresh=true", lines(1, action))
        .await
        .ok();
    server.call("POST", "/_bulk?refresh=true", lines(1, action)).await.ok();
    let found = server
        .call("GET", "/logs-x-default/_search?sort=_seq_no", "")
        .await
        .ok();
    let status = |at: usize| found["hits"]["hits"][at]["_source"]["event"]["agent_id_status"].clone();
    assert_eq!(
        (status(0), status(1)),
        (json!("mismatch"), json!("auth_metadata_missing"))
    );
}

#[tokio::test]
async fn each_media_type_and_coding_is_taken() {
    let server = Server::start().await;
    let body = lines(2, r#"{"create":{"_index":"logs-x-default"}}"#).into_bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&body).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(&body[..], 1).unwrap();
    let elastic = server.elastic.clone();
    for (media, coding, bytes) in [
        ("application/json; charset=UTF-8", "identity", &body),
        ("application/x-ndjson", "identity", &body),
        (
            "application/vnd.elasticsearch+x-ndjson; compatible-with=9",
            "gzip",
            &gzip,
        ),
        ("application/json", "gzip", &gzip),
        ("application/json", "zstd", &zstd),
    ] {
        let headers = [
            ("authorization", elastic.as_str()),
            ("content-type", media),
            ("content-encoding", coding),
        ];
        let answer = server.send("POST", "/_bulk", &headers, bytes.clone()).await.ok();
        assert_eq!(statuses(&answer), [201, 201], "{media} {coding}");
    }
    let headers = [("authorization", elastic.as_str()), ("content-type", "text/plain")];
    assert_eq!(server.send("POST", "/_bulk", &headers, body).await.status, 406);
}

#[tokio::test]
async fn items_fail_alone_and_as_the_original_says() {
    let server = Server::start().await;
    let key = server
        .agent_key(grant(&["logs-x-default"], &["auto_configure", "create_doc"]), json!({}))
        .await;
    let body = [
        r#"{"create":{"_index":"logs-x-default"}}"#,
        EVENT,
        r#"{"create":{"_index":"logs-y-default"}}"#,
        EVENT,
        r#"{"index":{"_index":"logs-x-default"}}"#,
        EVENT,
        r#"{"delete":{"_index":"logs-x-default","_id":"1"}}"#,
        r#"{"create":{"_index":"logs-x-default"}}"#,
        "not json",
        r#"{"create":{"_index":".flotilla-security"}}"#,
        EVENT,
    ];
    let answer = server
        .call_as(&key, "POST", "/_bulk", body.join("\n") + "\n")
        .await
        .ok();
    assert_eq!(statuses(&answer), [201, 403, 403, 403, 400, 403]);
    assert_eq!(answer["errors"], true);
    let refused = &answer["items"][1]["create"]["error"];
    assert_eq!(refused["type"], "security_exception");
    let reason = refused["reason"].as_str().unwrap();
    assert!(
        reason.contains("of user [elastic/fleet-server] on indices [logs-y-default]"),
        "{reason}"
    );
    assert_eq!(
        answer["items"][4]["create"]["error"]["type"],
        "document_parsing_exception"
    );
}

#[tokio::test]
async fn conflicts_missing_documents_and_missing_streams() {
    let server = Server::start().await;
    let body = [
        r#"{"create":{"_index":"plain","_id":"1"}}"#,
        r#"{"a":1}"#,
        r#"{"create":{"_index":"plain","_id":"1"}}"#,
        r#"{"a":2}"#,
        r#"{"update":{"_index":"plain","_id":"gone"}}"#,
        r#"{"doc":{"a":3}}"#,
        r#"{"update":{"_index":"plain","_id":"1"}}"#,
        r#"{"doc":{"b":3}}"#,
        r#"{"index":{"_index":"plain","_id":"1","if_seq_no":0,"if_primary_term":1}}"#,
        r#"{"a":4}"#,
        r#"{"delete":{"_index":"plain","_id":"gone"}}"#,
        r#"{"create":{"_index":"other","require_data_stream":true}}"#,
        r#"{"a":5}"#,
        r#"{"index":{"_index":"logs-x-default","_id":"1"}}"#,
        EVENT,
    ];
    let answer = server.call("POST", "/_bulk", body.join("\n") + "\n").await.ok();
    assert_eq!(statuses(&answer), [201, 409, 404, 200, 409, 404, 404, 400]);
    let kind = |at: usize, op: &str| {
        answer["items"][at][op]["error"]["type"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(kind(1, "create"), "version_conflict_engine_exception");
    assert_eq!(kind(2, "update"), "document_missing_exception");
    assert_eq!(answer["items"][3]["update"]["result"], "updated");
    assert_eq!(answer["items"][5]["delete"]["result"], "not_found");
    assert_eq!(kind(6, "create"), "index_not_found_exception");
    assert_eq!(kind(7, "index"), "illegal_argument_exception");
}

#[tokio::test]
async fn filters_are_applied_and_whole_requests_refused() {
    let server = Server::start().await;
    let body = lines(1, r#"{"create":{"_index":"logs-x-default"}}"#);
    let path = "/_bulk?filter_path=errors,items.%2A.error,items.%2A.status,items.%2A.failure_store";
    let answer = server.call("POST", path, body.clone()).await.ok();
    assert_eq!(
        answer,
        json!({ "errors": false, "items": [{ "create": { "status": 201 } }] })
    );

    let (status, kind, reason) = server.call("POST", "/_bulk?nonsense=1", body.clone()).await.refusal();
    assert_eq!((status, kind.as_str()), (400, "illegal_argument_exception"));
    assert!(reason.contains("[nonsense]"), "{reason}");
    let (status, _, reason) = server.call("POST", "/_bulk", "{\"upsert\":{}}\n{}\n").await.refusal();
    assert!(status == 400 && reason.contains("[upsert]"), "{reason}");
    assert_eq!(server.send("POST", "/_bulk", &[], body).await.status, 401);
}

#[tokio::test]
async fn a_key_that_may_not_make_streams_is_told_so() {
    let server = Server::start().await;
    let key = server.agent_key(grant(&["logs-*"], &["create_doc"]), json!({})).await;
    let body = lines(1, r#"{"create":{"_index":"logs-x-default"}}"#);
    let answer = server.call_as(&key, "POST", "/_bulk", body.clone()).await.ok();
    let reason = answer["items"][0]["create"]["error"]["reason"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(reason.contains("indices:admin/auto_create"), "{reason}");
    server.call("POST", "/_bulk", body.clone()).await.ok();
    assert_eq!(
        statuses(&server.call_as(&key, "POST", "/_bulk", body).await.ok()),
        [201]
    );
}
