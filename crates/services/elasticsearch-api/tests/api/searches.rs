//! Searches as clients write them.

use serde_json::{Value, json};

use crate::harness::{Server, grant};

async fn filled() -> Server {
    let server = Server::start().await;
    let mut body = String::new();
    for (id, level, n) in [(1, "info", 10), (2, "warn", 20), (3, "info", 30)] {
        let document = json!({ "@timestamp": format!("2026-01-0{id}T00:00:00Z"), "level": level, "n": n, "message": "disk is full" });
        let line = format!("{{\"index\":{{\"_index\":\"things\",\"_id\":\"{id}\"}}}}\n{document}\n");
        body.push_str(&line);
    }
    server.call("POST", "/_bulk?refresh=wait_for", body).await.ok();
    server
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["hits"]["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["_id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn body_and_url_both_work() {
    let server = filled().await;
    let found = server
        .call("GET", "/things/_search?q=level:info&sort=n:desc&size=1", "")
        .await
        .ok();
    assert_eq!(
        (ids(&found), &found["hits"]["hits"][0]["sort"]),
        (vec!["3"], &json!([30]))
    );
    assert_eq!(found["hits"]["total"]["value"], 2);
    let body = json!({
        "query": { "bool": { "filter": [{ "range": { "n": { "gte": 20 } } }], "must": [{ "match": { "message": "full" } }] } },
        "sort": [{ "n": "asc" }], "_source": ["n"], "track_total_hits": false, "version": true, "seq_no_primary_term": true,
    });
    let found = server.call("POST", "/things/_search", body.to_string()).await.ok();
    assert_eq!(ids(&found), ["2", "3"]);
    let hit = &found["hits"]["hits"][0];
    assert_eq!(
        (&hit["_source"], &hit["_version"], &hit["_seq_no"]),
        (&json!({ "n": 20 }), &json!(1), &json!(1))
    );
    assert!(found["hits"].get("total").is_none());
    assert_eq!(
        server.call("GET", "/things/_count?q=level:warn", "").await.ok()["count"],
        1
    );
}

#[tokio::test]
async fn aggregations_come_back_by_name() {
    let server = filled().await;
    let body = json!({ "size": 0, "aggs": { "levels": {
        "terms": { "field": "level.keyword" }, "aggs": { "highest": { "max": { "field": "n" } } },
    }}});
    let found = server.call("POST", "/things/_search", body.to_string()).await.ok();
    let buckets = &found["aggregations"]["levels"]["buckets"];
    assert_eq!(
        (&buckets[0]["key"], &buckets[0]["doc_count"]),
        (&json!("info"), &json!(2)),
        "{found}"
    );
    assert_eq!(buckets[0]["highest"]["value"], 30.0);
}

#[tokio::test]
async fn what_is_not_understood_is_named() {
    let server = filled().await;
    let refused = |body: Value| {
        let server = &server;
        async move { server.call("POST", "/things/_search", body.to_string()).await.refusal() }
    };
    let (status, _, reason) = refused(json!({ "query": { "geo_shape": {} } })).await;
    assert!(status == 400 && reason.contains("geo_shape"), "{reason}");
    let (status, _, reason) = refused(json!({ "knn": {} })).await;
    assert!(status == 400 && reason.contains("knn"), "{reason}");
    let (status, kind, _) = server.call("GET", "/nowhere/_search", "").await.refusal();
    assert_eq!((status, kind.as_str()), (404, "index_not_found_exception"));
    let nothing = server
        .call("GET", "/nowhere/_search?ignore_unavailable=true", "")
        .await
        .ok();
    assert_eq!(nothing["hits"]["total"]["value"], 0);
    let nothing = server.call("GET", "/nowhere-*/_search", "").await.ok();
    assert_eq!(nothing["hits"]["total"]["value"], 0);
}

#[tokio::test]
async fn several_searches_fail_alone() {
    let server = filled().await;
    let body = "{\"index\":\"things\"}\n{\"query\":{\"term\":{\"n\":10}}}\n{\"index\":\"nowhere\"}\n{}\n{\"index\":\"things\"}\n{\"sort\":[\"nonsense\"]}\n";
    let answer = server.call("POST", "/_msearch", body).await.ok();
    let statuses: Vec<_> = answer["responses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["status"].clone())
        .collect();
    assert_eq!(statuses, [json!(200), json!(404), json!(400)]);
    assert_eq!(ids(&answer["responses"][0]), ["1"]);
    for unreadable in ["{\"colour\":1}\n{}\n", "{}\n{\"nonsense\":1}\n"] {
        let refused = server.call("POST", "/_msearch", unreadable).await;
        assert_eq!(refused.status, 400, "what cannot be read is a refusal of the whole");
    }
}

#[tokio::test]
async fn a_point_in_time_does_not_change() {
    let server = filled().await;
    let id = server.call("POST", "/things/_pit?keep_alive=1m", "").await.ok()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    server
        .call("PUT", "/things/_doc/4?refresh=true", r#"{"n":40}"#)
        .await
        .ok();
    let body = json!({ "pit": { "id": id, "keep_alive": "1m" }, "sort": [{ "n": "asc" }], "size": 2 });
    let first = server.call("POST", "/_search", body.to_string()).await.ok();
    assert_eq!(first["hits"]["total"]["value"], 3);
    let after = first["hits"]["hits"][1]["sort"].clone();
    let body = json!({ "pit": { "id": id }, "sort": [{ "n": "asc" }], "size": 2, "search_after": after });
    assert_eq!(
        ids(&server.call("POST", "/_search", body.to_string()).await.ok()),
        ["3"]
    );
    let close = json!({ "id": id }).to_string();
    assert_eq!(server.call("DELETE", "/_pit", close.clone()).await.ok()["num_freed"], 1);
    assert_eq!(server.call("DELETE", "/_pit", close).await.status, 404);
}

#[tokio::test]
async fn patterns_show_only_what_one_may_read() {
    let server = filled().await;
    server
        .call("PUT", "/secret-things/_doc/1?refresh=true", r#"{"level":"info"}"#)
        .await
        .ok();
    let role = json!({ "indices": [{ "names": ["things"], "privileges": ["read"] }] });
    server
        .call("PUT", "/_security/role/reader", role.to_string())
        .await
        .ok();
    let reader = server.user("reader", &["reader"]).await;
    let found = server.call_as(&reader, "GET", "/*/_search", "").await.ok();
    assert_eq!(found["hits"]["total"]["value"], 3);
    let (status, kind, reason) = server
        .call_as(&reader, "GET", "/secret-things/_search", "")
        .await
        .refusal();
    assert_eq!((status, kind.as_str()), (403, "security_exception"));
    assert!(
        reason.contains("user [reader] with effective roles [reader]"),
        "{reason}"
    );
    for path in ["/.flotilla-security/_search", "/.flotilla-secrets/_doc/x"] {
        assert_eq!(server.call("GET", path, "").await.status, 403, "{path}");
    }
    let everything = server.call("GET", "/.*,*/_search?size=100", "").await.ok();
    assert!(
        everything["hits"]["hits"]
            .as_array()
            .unwrap()
            .iter()
            .all(|hit| !hit["_index"].as_str().unwrap().starts_with(".flotilla"))
    );
    let key = server.agent_key(grant(&["logs-*"], &["create_doc"]), json!({})).await;
    assert_eq!(
        server.call_as(&key, "GET", "/_search", "").await.ok()["hits"]["total"]["value"],
        0
    );
}

#[tokio::test]
async fn changes_by_query() {
    let server = filled().await;
    let body = json!({ "query": { "term": { "level.keyword": "info" } } }).to_string();
    let deleted = server
        .call("POST", "/things/_delete_by_query?refresh=true", body)
        .await
        .ok();
    assert_eq!(
        (&deleted["total"], &deleted["deleted"]),
        (&json!(2), &json!(2)),
        "{deleted}"
    );
    assert_eq!(server.call("GET", "/things/_count", "").await.ok()["count"], 1);
    let touched = server.call("POST", "/things/_update_by_query", "").await.ok();
    assert_eq!(touched["updated"], 1);
    let script = json!({ "query": { "match_all": {} }, "script": { "source": "ctx._source.x = 1" } }).to_string();
    assert_eq!(
        server.call("POST", "/things/_update_by_query", script).await.status,
        400
    );
    let missing = server
        .call("POST", "/nowhere/_delete_by_query", r#"{"query":{"match_all":{}}}"#)
        .await;
    assert_eq!(missing.status, 404);
}

#[tokio::test]
async fn fields_and_mappings_are_described() {
    let server = filled().await;
    let caps = server.call("GET", "/things/_field_caps?fields=*", "").await.ok();
    assert_eq!(caps["fields"]["n"]["long"]["aggregatable"], true, "{caps}");
    let mapping = server.call("GET", "/things/_mapping", "").await.ok();
    assert_eq!(
        mapping["things"]["mappings"]["properties"]["n"]["type"], "long",
        "{mapping}"
    );
    let tokens = server
        .call("POST", "/_analyze", r#"{"analyzer":"standard","text":"Disk is FULL"}"#)
        .await
        .ok();
    assert_eq!(tokens["tokens"][2]["token"], "full");
}
