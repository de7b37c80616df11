//! Data streams and what `_cat` says.

use serde_json::json;

use crate::harness::Server;

async fn filled() -> Server {
    let server = Server::start().await;
    let line =
        "{\"create\":{\"_index\":\"logs-x-default\"}}\n{\"@timestamp\":\"2026-01-02T03:04:05Z\",\"message\":\"m\"}\n";
    server.call("POST", "/_bulk?refresh=true", line).await.ok();
    server
}

#[tokio::test]
async fn streams_come_to_be_and_roll_over() {
    let server = filled().await;
    let streams = server.call("GET", "/_data_stream/logs-*", "").await.ok();
    let stream = &streams["data_streams"][0];
    assert_eq!(
        (&stream["name"], &stream["status"]),
        (&json!("logs-x-default"), &json!("GREEN"))
    );
    assert_eq!(stream["indices"].as_array().unwrap().len(), 1);
    let rolled = server.call("POST", "/logs-x-default/_rollover", "").await.ok();
    assert_eq!(rolled["rolled_over"], true);
    assert_ne!(rolled["old_index"], rolled["new_index"]);
    let (status, kind, _) = server.call("GET", "/_data_stream/logs-y-default", "").await.refusal();
    assert_eq!((status, kind.as_str()), (404, "index_not_found_exception"));
    let resolved = server.call("GET", "/_resolve/index/logs-*", "").await.ok();
    assert_eq!(resolved["data_streams"][0]["name"], "logs-x-default");
    server.call("PUT", "/_data_stream/logs-y-default", "").await.ok();
    assert_eq!(server.call("PUT", "/_data_stream/logs-y-default", "").await.status, 400);
    assert_eq!(server.call("PUT", "/_data_stream/plain", "").await.status, 400);
    server.call("DELETE", "/_data_stream/logs-y-default", "").await.ok();
    server.call("DELETE", "/_data_stream/logs-x-default", "").await.ok();
    assert_eq!(
        server.call("GET", "/_data_stream/logs-*", "").await.ok()["data_streams"],
        json!([])
    );
}

#[tokio::test]
async fn a_pattern_that_begins_with_a_dot_stands_for_backing_indices_too() {
    let server = filled().await;
    for (pattern, expected) in [
        (".ds-logs-x-*", 1),
        ("logs-*,.ds-logs-*", 1),
        (".ds-logs-*,logs-x-default", 1),
        ("ds-logs-*", 0),
    ] {
        let count = server.call("GET", &format!("/{pattern}/_count"), "").await.ok();
        assert_eq!(count["count"], expected, "{pattern}");
        let path = format!("/_cat/indices/{pattern}?format=json");
        let rows = server.call("GET", &path, "").await.ok();
        assert_eq!(rows.as_array().map(Vec::len), Some(expected), "{pattern}");
    }
}

#[tokio::test]
async fn tables_for_people() {
    let server = filled().await;
    server
        .call(
            "PUT",
            "/things",
            r#"{"mappings":{"properties":{"a":{"type":"keyword"}}}}"#,
        )
        .await
        .ok();
    let text = server
        .call("GET", "/_cat/indices?v&h=index,docs.count&s=index:desc", "")
        .await
        .text();
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    assert!(
        lines[0].starts_with("index ") && lines[1].starts_with("things "),
        "{text}"
    );
    assert!(
        lines[2].starts_with(".ds-logs-x-default-") && lines[2].ends_with(" 1"),
        "{text}"
    );
    let rows = server.call("GET", "/_cat/indices/things?format=json", "").await.ok();
    assert_eq!(rows[0]["health"], "green");
    assert_eq!(
        server.call("GET", "/_cat/count/logs-*?h=count", "").await.text().trim(),
        "1"
    );
    assert!(server.call("GET", "/_cat/health", "").await.text().contains(" green "));
    assert_eq!(
        server.call("GET", "/_cat/nodes?h=name", "").await.text().trim(),
        "node-1"
    );
    assert_eq!(server.call("GET", "/_cat/aliases", "").await.text(), "");
    let (status, kind, _) = server.call("PUT", "/things", "{}").await.refusal();
    assert_eq!((status, kind.as_str()), (400, "resource_already_exists_exception"));
    server.call("DELETE", "/things", "").await.ok();
    assert_eq!(server.call("HEAD", "/things", "").await.status, 404);
    assert_eq!(server.call("DELETE", "/*", "").await.status, 400);
}

#[tokio::test]
async fn the_node_says_what_clients_ask_first() {
    let server = Server::start().await;
    let root = server.call("GET", "/", "").await;
    assert_eq!(root.headers["x-elastic-product"], "Elasticsearch");
    assert_eq!(
        (&root.ok()["version"]["number"], &root.ok()["tagline"]),
        (&json!("9.2.0"), &json!("You Know, for Search"))
    );
    assert_eq!(
        server.call("GET", "/_license?human=false", "").await.ok()["license"]["status"],
        "active"
    );
    assert_eq!(
        server.call("GET", "/_xpack", "").await.ok()["features"]["ilm"]["enabled"],
        true
    );
    assert_eq!(server.call("GET", "/_cluster/health", "").await.ok()["status"], "green");
    assert_eq!(server.call("GET", "/_nodes/http", "").await.ok()["_nodes"]["total"], 1);
    assert_eq!(server.call("HEAD", "/", "").await.status, 200);

    let headers = [
        ("authorization", server.elastic.as_str()),
        ("accept", "application/vnd.elasticsearch+json; compatible-with=8"),
    ];
    let compatible = server
        .send("GET", "/?pretty&filter_path=version.number", &headers, "")
        .await;
    assert_eq!(
        compatible.headers["content-type"],
        "application/vnd.elasticsearch+json;compatible-with=8"
    );
    assert_eq!(
        compatible.text(),
        "{\n  \"version\": {\n    \"number\": \"9.2.0\"\n  }\n}"
    );
    let headers = [
        headers[0],
        ("accept", "application/vnd.elasticsearch+json; compatible-with=7"),
    ];
    let (status, kind, _) = server.send("GET", "/", &headers, "").await.refusal();
    assert_eq!((status, kind.as_str()), (400, "media_type_header_exception"));

    let lost = server.call("GET", "/a/b/c/d", "").await;
    assert_eq!(lost.status, 400);
    assert!(
        lost.text()
            .contains("no handler found for uri [/a/b/c/d] and method [GET]")
    );
    assert_eq!(server.call("DELETE", "/", "").await.status, 405);
}
