//! What a stock Beat asks when it starts with its set-up on, and what it ships then.
//!
//! Source: the requests of a Filebeat 7.17.9 that was built and run; those of 8.x differ by the data stream.

use serde_json::json;

use crate::harness::Server;

const TEMPLATE: &str = r#"{"index_patterns":["PATTERN"],"priority":150,"template":{"mappings":{"_meta":{"beat":"filebeat"},
    "date_detection":false,"dynamic_templates":[{"labels":{"path_match":"labels.*","match_mapping_type":"string","mapping":{"type":"keyword"}}}],
    "properties":{"@timestamp":{"type":"date"},"message":{"type":"match_only_text"},"log":{"properties":{"offset":{"type":"long"}}}}},
    "settings":{"index":{"lifecycle":{"name":"filebeat","rollover_alias":"filebeat-7.17.9"},"mapping":{"total_fields":{"limit":10000}},
    "refresh_interval":"5s","number_of_shards":1,"query":{"default_field":["message"]}}}}}"#;

async fn start(server: &Server) {
    let info = server.call("GET", "/", "").await;
    assert_eq!(info.headers["x-elastic-product"], "Elasticsearch");
    let license = server.call("GET", "/_license?human=false", "").await.ok();
    assert_eq!(license["license"]["status"], "active");
    let features = server.call("GET", "/_xpack", "").await.ok();
    assert_eq!(
        features["features"]["ilm"],
        json!({ "available": true, "enabled": true })
    );
    assert_eq!(server.call("GET", "/_ilm/policy/filebeat", "").await.status, 404);
    let policy = r#"{"policy":{"phases":{"hot":{"actions":{"rollover":{"max_age":"30d","max_size":"50gb"}}}}}}"#;
    server.call("PUT", "/_ilm/policy/filebeat", policy).await.ok();
}

#[tokio::test]
async fn a_beat_of_version_7_makes_its_index_and_alias() {
    let server = Server::start().await;
    start(&server).await;
    assert_eq!(
        server.call("HEAD", "/_index_template/filebeat-7.17.9", "").await.status,
        404
    );
    let template = TEMPLATE.replace("PATTERN", "filebeat-7.17.9-*");
    server
        .call("PUT", "/_index_template/filebeat-7.17.9", template)
        .await
        .ok();
    assert_eq!(server.call("GET", "/_alias/filebeat-7.17.9", "").await.status, 404);
    assert_eq!(server.call("HEAD", "/filebeat-7.17.9", "").await.status, 404);
    let alias = r#"{"aliases":{"filebeat-7.17.9":{"is_write_index":true}}}"#;
    server
        .call("PUT", "/%3Cfilebeat-7.17.9-%7Bnow%2Fd%7D-000001%3E", alias)
        .await
        .ok();
    let lines = "{\"index\":{\"_index\":\"filebeat-7.17.9\"}}\n{\"@timestamp\":\"2026-01-01T00:00:00.000Z\",\"message\":\"hello\",\"log\":{\"offset\":1}}\n";
    let written = server.call("POST", "/_bulk?refresh=true", lines).await.ok();
    assert_eq!(written["items"][0]["index"]["status"], 201, "{written}");
    let found = server.call("GET", "/filebeat-*/_search?q=message:hello", "").await.ok();
    assert_eq!(found["hits"]["total"]["value"], 1);
    assert_eq!(
        server
            .call("GET", "/_cat/templates/filebeat-7.17.9?format=json", "")
            .await
            .ok()[0]["name"],
        "filebeat-7.17.9"
    );
}

#[tokio::test]
async fn a_beat_of_version_8_makes_its_data_stream() {
    let server = Server::start().await;
    start(&server).await;
    assert_eq!(
        server.call("HEAD", "/_index_template/filebeat-8.15.0", "").await.status,
        404
    );
    let template = TEMPLATE
        .replace("PATTERN", "filebeat-8.15.0*")
        .replace(",\"rollover_alias\":\"filebeat-7.17.9\"", "");
    let template = template.replacen('{', "{\"data_stream\":{},", 1);
    server
        .call("PUT", "/_index_template/filebeat-8.15.0", template)
        .await
        .ok();
    assert_eq!(
        server.call("GET", "/_data_stream/filebeat-8.15.0", "").await.status,
        404
    );
    server.call("PUT", "/_data_stream/filebeat-8.15.0", "").await.ok();
    let pipeline = r#"{"description":"p","processors":[{"set":{"field":"event.ingested","value":"{{_ingest.timestamp}}"}}],"on_failure":[{"set":{"field":"error.message","value":"{{ _ingest.on_failure_message }}"}}]}"#;
    server
        .call(
            "PUT",
            "/_ingest/pipeline/filebeat-8.15.0-system-syslog-pipeline",
            pipeline,
        )
        .await
        .ok();
    let lines = "{\"create\":{\"_index\":\"filebeat-8.15.0\",\"pipeline\":\"filebeat-8.15.0-system-syslog-pipeline\"}}\n{\"@timestamp\":\"2026-01-01T00:00:00.000Z\",\"message\":\"hello\"}\n";
    let written = server.call("POST", "/_bulk?refresh=true", lines).await.ok();
    assert_eq!(written["items"][0]["create"]["status"], 201, "{written}");
    let found = server.call("GET", "/filebeat-8.15.0/_search", "").await.ok();
    assert!(found["hits"]["hits"][0]["_source"]["event"]["ingested"].is_string());
}
