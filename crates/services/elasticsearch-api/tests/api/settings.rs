//! Templates, life cycle policies and pipelines.

use serde_json::json;

use crate::harness::Server;

#[tokio::test]
async fn templates_are_composed_and_kept() {
    let server = Server::start().await;
    assert_eq!(server.call("HEAD", "/_index_template/t", "").await.status, 404);
    let component = json!({ "template": { "mappings": { "properties": { "code": { "type": "keyword" } } } } });
    server
        .call("PUT", "/_component_template/c", component.to_string())
        .await
        .ok();
    let template = json!({ "index_patterns": ["app-*"], "composed_of": ["c"], "priority": 500, "data_stream": {} });
    server
        .call("PUT", "/_index_template/t", template.to_string())
        .await
        .ok();
    assert_eq!(server.call("HEAD", "/_index_template/t", "").await.status, 200);
    let got = server.call("GET", "/_index_template/t*", "").await.ok();
    assert_eq!(
        (
            &got["index_templates"][0]["name"],
            &got["index_templates"][0]["index_template"]
        ),
        (&json!("t"), &template)
    );
    let line = "{\"create\":{\"_index\":\"app-one\"}}\n{\"@timestamp\":\"2026-01-02T03:04:05Z\",\"code\":\"x\"}\n";
    let answer = server.call("POST", "/_bulk", line).await.ok();
    assert!(
        answer["items"][0]["create"]["_index"]
            .as_str()
            .unwrap()
            .starts_with(".ds-app-one-"),
        "{answer}"
    );
    let bad = json!({ "index_patterns": ["x"], "colour": 1 }).to_string();
    assert!(
        server
            .call("PUT", "/_index_template/t", bad)
            .await
            .refusal()
            .2
            .contains("[colour]")
    );
    server.call("DELETE", "/_index_template/t", "").await.ok();
    assert_eq!(server.call("DELETE", "/_index_template/t", "").await.status, 404);
}

#[tokio::test]
async fn policies_are_kept() {
    let server = Server::start().await;
    let policy = json!({ "policy": { "phases": { "hot": {}, "delete": { "min_age": "30d" } } } });
    server.call("PUT", "/_ilm/policy/logs", policy.to_string()).await.ok();
    assert_eq!(
        server.call("GET", "/_ilm/policy/logs", "").await.ok()["logs"]["policy"],
        policy["policy"]
    );
    assert_eq!(server.call("GET", "/_ilm/policy/none", "").await.status, 404);
    let bad = json!({ "policy": { "phases": { "lukewarm": {} } } }).to_string();
    assert!(
        server
            .call("PUT", "/_ilm/policy/logs", bad)
            .await
            .refusal()
            .2
            .contains("[lukewarm]")
    );
}

#[tokio::test]
async fn a_pipeline_changes_what_goes_through_it() {
    let server = Server::start().await;
    let pipeline = json!({ "processors": [
        { "drop": { "if": "ctx.level == 'debug'" } },
        { "grok": { "field": "message", "patterns": ["%{WORD:verb} %{INT:n:int}"] } },
    ]});
    server
        .call("PUT", "/_ingest/pipeline/p", pipeline.to_string())
        .await
        .ok();
    let body = concat!(
        "{\"create\":{\"_index\":\"logs-x-default\",\"pipeline\":\"p\"}}\n{\"@timestamp\":\"2026-01-02T03:04:05Z\",\"message\":\"GET 7\"}\n",
        "{\"create\":{\"_index\":\"logs-x-default\",\"pipeline\":\"p\"}}\n{\"@timestamp\":\"2026-01-02T03:04:05Z\",\"level\":\"debug\"}\n",
        "{\"create\":{\"_index\":\"logs-x-default\",\"pipeline\":\"p\"}}\n{\"@timestamp\":\"2026-01-02T03:04:05Z\",\"message\":\"?\"}\n",
        "{\"create\":{\"_index\":\"logs-x-default\",\"pipeline\":\"none\"}}\n{\"@timestamp\":\"2026-01-02T03:04:05Z\"}\n",
    );
    let answer = server.call("POST", "/_bulk?refresh=true", body).await.ok();
    let items = answer["items"].as_array().unwrap();
    let statuses: Vec<_> = items
        .iter()
        .map(|item| item["create"]["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [201, 200, 400, 400], "{answer}");
    assert_eq!(items[1]["create"]["result"], "noop");
    let found = server.call("GET", "/logs-x-default/_search", "").await.ok();
    let source = &found["hits"]["hits"][0]["_source"];
    assert_eq!(
        (&source["verb"], &source["n"], &source["event"]["agent_id_status"]),
        (&json!("GET"), &json!(7), &json!("missing"))
    );

    let simulated = json!({ "docs": [{ "_source": { "message": "PUT 1" } }] }).to_string();
    let done = server
        .call("POST", "/_ingest/pipeline/p/_simulate", simulated)
        .await
        .ok();
    assert_eq!(done["docs"][0]["doc"]["_source"]["verb"], "PUT");
    let unknown = json!({ "processors": [{ "geoip": { "field": "ip" } }] }).to_string();
    let (status, _, reason) = server.call("PUT", "/_ingest/pipeline/q", unknown).await.refusal();
    assert!(status == 400 && reason.contains("[geoip]"), "{reason}");
    server.call("DELETE", "/_ingest/pipeline/p", "").await.ok();
    assert_eq!(server.call("GET", "/_ingest/pipeline/p", "").await.status, 404);
}

#[tokio::test]
async fn lines_of_the_system_become_fields() {
    let server = Server::start().await;
    let line = json!({
        "@timestamp": "2026-01-02T03:04:06Z", "agent": { "id": "a" },
        "event": { "original": "Jan  2 03:04:06 web-01 sshd[812]: Accepted password for ann from 10.0.2.2 port 6 ssh2", "timezone": "+00:00" },
    });
    let body = format!("{{\"create\":{{\"_index\":\"logs-system.auth-default\"}}}}\n{line}\n");
    assert_eq!(
        server.call("POST", "/_bulk?refresh=true", body).await.ok()["errors"],
        false
    );
    let found = server
        .call("GET", "/logs-system.auth-default/_search?q=user.name:ann", "")
        .await
        .ok();
    let source = &found["hits"]["hits"][0]["_source"];
    assert_eq!(
        (&source["source"]["ip"], &source["event"]["outcome"]),
        (&json!("10.0.2.2"), &json!("success")),
        "{found}"
    );
    assert!(source["event"].get("original").is_none());
}
