//! What everyday clients rely on. The expected values are those of a real Elasticsearch.

use serde_json::{Value, json};

use crate::harness::Server;

async fn library() -> Server {
    let server = Server::start().await;
    let mappings = json!({ "mappings": { "properties": {
        "title": { "type": "text", "fields": { "raw": { "type": "keyword" } } }, "tag": { "type": "keyword" }, "n": { "type": "long" },
        "when": { "type": "date" }, "ip": { "type": "ip" }, "nest": { "type": "nested", "properties": { "k": { "type": "keyword" }, "v": { "type": "integer" } } },
    } } });
    server.call("PUT", "/books", mappings.to_string()).await.ok();
    let documents = [
        json!({ "title": "The quick brown fox", "tag": "animal", "n": 1, "when": "2026-01-01T00:00:00Z", "ip": "10.0.0.1", "nest": [{ "k": "p", "v": 1 }, { "k": "q", "v": 5 }] }),
        json!({ "title": "Quick thinking saves the brown dog", "tag": ["animal", "dog"], "n": 2, "when": "2026-01-02T03:04:05.678Z", "ip": "10.0.0.2", "nest": [{ "k": "p", "v": 5 }] }),
        json!({ "title": "Lazy dogs sleep", "tag": "dog", "n": 3, "when": 1_767_571_200_000_i64, "ip": "192.168.1.1" }),
        json!({ "tag": "empty" }),
    ];
    for (number, document) in documents.iter().enumerate() {
        let path = format!("/books/_doc/{}?refresh=true", number + 1);
        server.call("PUT", &path, document.to_string()).await.ok();
    }
    server
}

async fn search(server: &Server, body: Value) -> Value {
    server.call("POST", "/books/_search", body.to_string()).await.ok()
}

fn ids(answer: &Value) -> Vec<&str> {
    let hits = answer["hits"]["hits"].as_array().unwrap();
    hits.iter().map(|hit| hit["_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn fields_are_compared_by_their_types() {
    let server = library().await;
    for (query, expected) in [
        (json!({ "term": { "title": "Quick" } }), &[][..]),
        (json!({ "term": { "title.raw": "Lazy dogs sleep" } }), &["3"]),
        (json!({ "term": { "ip": "10.0.0.0/24" } }), &["1", "2"]),
        (json!({ "term": { "when": "2026-01-02" } }), &["2"]),
        (
            json!({ "range": { "when": { "gte": "2026-01-02", "lte": "2026-01-05" } } }),
            &["2", "3"],
        ),
        (
            json!({ "match_phrase": { "title": { "query": "quick fox", "slop": 1 } } }),
            &["1"],
        ),
        (
            json!({ "match": { "title": { "query": "quikc", "fuzziness": "AUTO" } } }),
            &["1", "2"],
        ),
        (
            json!({ "nested": { "path": "nest", "query": { "bool": { "must": [{ "term": { "nest.k": "p" } }, { "range": { "nest.v": { "gt": 3 } } }] } } } }),
            &["2"],
        ),
        (json!({ "term": { "nest.k": "p" } }), &[]),
        (json!({ "match": { "nothing": "x" } }), &[]),
    ] {
        let body = json!({ "query": query, "sort": ["_doc"] });
        assert_eq!(ids(&search(&server, body).await), expected, "{query}");
    }
    let refused = server
        .call(
            "POST",
            "/books/_search",
            json!({ "query": { "term": { "n": "x" } } }).to_string(),
        )
        .await;
    let body = refused.json();
    assert_eq!(refused.refusal().1, "search_phase_execution_exception");
    assert_eq!(body["error"]["root_cause"][0]["type"], "query_shard_exception");
    assert_eq!(
        body["error"]["root_cause"][0]["reason"],
        "failed to create query: For input string: \"x\""
    );
}

#[tokio::test]
async fn the_best_hits_come_first() {
    let server = library().await;
    let found = search(&server, json!({ "query": { "match": { "title": "quick fox" } } })).await;
    assert_eq!(ids(&found), ["1", "2"]);
    let scores: Vec<f64> = found["hits"]["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["_score"].as_f64().unwrap())
        .collect();
    assert!(scores[0] > scores[1], "{scores:?}");
    assert_eq!(found["hits"]["max_score"], scores[0]);
    assert!(found["hits"]["hits"][0].get("sort").is_none());
    let filtered = search(
        &server,
        json!({ "query": { "bool": { "filter": { "term": { "tag": "dog" } } } } }),
    )
    .await;
    assert_eq!(filtered["hits"]["max_score"], 0.0);
}

#[tokio::test]
async fn sort_values_are_those_of_the_original() {
    let server = library().await;
    let of = |found: &Value| -> Vec<Value> {
        found["hits"]["hits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hit| hit["sort"].clone())
            .collect()
    };
    let found = search(
        &server,
        json!({ "sort": [{ "n": { "order": "desc", "missing": "_first" } }] }),
    )
    .await;
    assert_eq!(of(&found)[..2], [json!([i64::MAX]), json!([3])]);
    let found = search(
        &server,
        json!({ "sort": [{ "when": { "order": "asc", "format": "yyyy-MM-dd" } }] }),
    )
    .await;
    assert_eq!(
        of(&found),
        [
            json!(["2026-01-01"]),
            json!(["2026-01-02"]),
            json!(["2026-01-05"]),
            json!([null])
        ]
    );
    let refused = server
        .call("POST", "/books/_search", json!({ "sort": ["title"] }).to_string())
        .await;
    let reason = refused.json()["error"]["root_cause"][0]["reason"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        reason.starts_with("Fielddata is disabled on [title] in [books]."),
        "{reason}"
    );
}

#[tokio::test]
async fn documents_that_do_not_fit_are_refused() {
    let server = library().await;
    let refused = server.call("PUT", "/books/_doc/x", r#"{"n":"abc"}"#).await.refusal();
    assert_eq!((refused.0, refused.1.as_str()), (400, "document_parsing_exception"));
    assert!(
        refused
            .2
            .contains("failed to parse field [n] of type [long] in document with id 'x'"),
        "{}",
        refused.2
    );
    server
        .call("PUT", "/strict", r#"{"mappings":{"dynamic":"strict"}}"#)
        .await
        .ok();
    let refused = server.call("PUT", "/strict/_doc/1", r#"{"b":1}"#).await.refusal();
    assert_eq!(refused.1, "strict_dynamic_mapping_exception");
    let refused = server
        .call("PUT", "/books/_mapping", r#"{"properties":{"n":{"type":"keyword"}}}"#)
        .await
        .refusal();
    assert_eq!(refused.2, "mapper [n] cannot be changed from type [long] to [keyword]");
    server
        .call(
            "PUT",
            "/books/_mapping",
            r#"{"properties":{"extra":{"type":"keyword"}}}"#,
        )
        .await
        .ok();
    let mapping = server.call("GET", "/books/_mapping", "").await.ok();
    assert_eq!(
        mapping["books"]["mappings"]["properties"]["extra"],
        json!({ "type": "keyword" })
    );
}

#[tokio::test]
async fn a_scroll_gives_every_document_once() {
    let server = library().await;
    let mut answer = server
        .call(
            "POST",
            "/books/_search?scroll=1m",
            json!({ "size": 2, "sort": [{ "n": "desc" }] }).to_string(),
        )
        .await
        .ok();
    let mut seen = Vec::new();
    while !ids(&answer).is_empty() {
        assert_eq!(answer["hits"]["hits"][0]["sort"].as_array().unwrap().len(), 1);
        seen.extend(ids(&answer).into_iter().map(str::to_owned));
        let next = json!({ "scroll": "1m", "scroll_id": answer["_scroll_id"] });
        answer = server.call("POST", "/_search/scroll", next.to_string()).await.ok();
    }
    assert_eq!(seen, ["3", "2", "1", "4"]);
    let clear = json!({ "scroll_id": [answer["_scroll_id"]] });
    assert_eq!(
        server.call("DELETE", "/_search/scroll", clear.to_string()).await.ok()["num_freed"],
        1
    );
    let gone = server
        .call(
            "POST",
            "/_search/scroll",
            json!({ "scroll_id": answer["_scroll_id"] }).to_string(),
        )
        .await;
    assert_eq!(gone.status, 404);
}

#[tokio::test]
async fn aliases_stand_for_indices() {
    let server = library().await;
    let actions = json!({ "actions": [
        { "add": { "index": "books", "alias": "library" } },
        { "add": { "index": "books", "alias": "dogs", "filter": { "term": { "tag": "dog" } } } },
    ] });
    server.call("POST", "/_aliases", actions.to_string()).await.ok();
    assert_eq!(server.call("GET", "/library/_count", "").await.ok()["count"], 4);
    assert_eq!(server.call("GET", "/dogs/_count", "").await.ok()["count"], 2);
    let written = server.call("PUT", "/library/_doc/new", r#"{"tag":"x"}"#).await.ok();
    assert_eq!(written["_index"], "books");
    assert_eq!(
        server.call("GET", "/_alias/library", "").await.ok(),
        json!({ "books": { "aliases": { "library": {} } } })
    );
    let refused = server.call("DELETE", "/library", "").await.refusal();
    assert!(refused.2.contains("matches an alias"), "{}", refused.2);
    server.call("DELETE", "/books/_alias/library", "").await.ok();
    assert_eq!(server.call("GET", "/library/_count", "").await.status, 404);
    server
        .call("PUT", "/roll-000001", r#"{"aliases":{"roll":{"is_write_index":true}}}"#)
        .await
        .ok();
    server.call("PUT", "/roll/_doc/1?refresh=true", r#"{"a":1}"#).await.ok();
    let rolled = server
        .call("POST", "/roll/_rollover", r#"{"conditions":{"max_docs":1}}"#)
        .await
        .ok();
    assert_eq!(
        (&rolled["new_index"], &rolled["conditions"]),
        (&json!("roll-000002"), &json!({ "[max_docs: 1]": true }))
    );
    assert_eq!(
        server.call("PUT", "/roll/_doc/2", r#"{"a":1}"#).await.ok()["_index"],
        "roll-000002"
    );
}

#[tokio::test]
async fn words_are_marked() {
    let server = library().await;
    let body = json!({ "query": { "match": { "title": "brown" } }, "highlight": { "fields": { "title": {} } }, "_source": ["tag"] });
    let found = search(&server, body).await;
    let first = &found["hits"]["hits"][0];
    assert_eq!(
        (&first["highlight"]["title"][0], &first["_source"]),
        (&json!("The quick <em>brown</em> fox"), &json!({ "tag": "animal" }))
    );
}

#[tokio::test]
async fn a_policy_becomes_the_retention_of_its_data_streams() {
    let server = Server::start().await;
    let policy = json!({ "policy": { "phases": { "hot": { "actions": {} }, "delete": { "min_age": "12d", "actions": { "delete": {} } } } } });
    server.call("PUT", "/_ilm/policy/short", policy.to_string()).await.ok();
    let template = json!({ "index_patterns": ["mine-*"], "data_stream": {}, "priority": 500, "template": {
        "settings": { "index.lifecycle.name": "short" }, "mappings": { "properties": { "text": { "type": "text" }, "n": { "type": "long" } } },
    } });
    server
        .call("PUT", "/_index_template/mine", template.to_string())
        .await
        .ok();
    server
        .call(
            "POST",
            "/mine-a/_doc?refresh=true",
            r#"{"@timestamp":"2026-01-01","text":"Hello big world","n":1}"#,
        )
        .await
        .ok();
    let lifecycle = server.call("GET", "/_data_stream/mine-a/_lifecycle", "").await.ok();
    assert_eq!(lifecycle["data_streams"][0]["lifecycle"]["data_retention"], "12d");
    server
        .call("PUT", "/_data_stream/mine-a/_lifecycle", r#"{"data_retention":"3d"}"#)
        .await
        .ok();
    let lifecycle = server.call("GET", "/_data_stream/mine-a/_lifecycle", "").await.ok();
    assert_eq!(lifecycle["data_streams"][0]["lifecycle"]["data_retention"], "3d");
    let refused = server
        .call("POST", "/mine-a/_doc", r#"{"@timestamp":"2026-01-01","n":"abc"}"#)
        .await
        .refusal();
    assert_eq!(refused.1, "document_parsing_exception");
    let words = json!({ "query": { "match": { "text": "world" } } }).to_string();
    assert_eq!(
        server.call("POST", "/mine-a/_search", words).await.ok()["hits"]["total"]["value"],
        1
    );
    let uses = server.call("GET", "/_ilm/policy/short", "").await.ok();
    assert_eq!(uses["short"]["in_use_by"]["composable_templates"], json!(["mine"]));
}

#[tokio::test]
async fn templates_make_indices() {
    let server = Server::start().await;
    let component = r#"{"template":{"mappings":{"properties":{"c":{"type":"keyword"}}}}}"#;
    server.call("PUT", "/_component_template/part", component).await.ok();
    let template = json!({ "index_patterns": ["made-*"], "composed_of": ["part"], "template": {
        "mappings": { "properties": { "d": { "type": "date" } } }, "aliases": { "all-made": {} },
    } });
    server
        .call("PUT", "/_index_template/made", template.to_string())
        .await
        .ok();
    let simulated = server
        .call("POST", "/_index_template/_simulate_index/made-1", "")
        .await
        .ok();
    assert_eq!(
        simulated["template"]["mappings"]["properties"],
        json!({ "c": { "type": "keyword" }, "d": { "type": "date" } })
    );
    server
        .call("PUT", "/made-1/_doc/1?refresh=true", r#"{"c":"a b","d":"2026-01-01"}"#)
        .await
        .ok();
    assert_eq!(server.call("GET", "/all-made/_count", "").await.ok()["count"], 1);
    assert_eq!(server.call("PUT", "/made-1/_doc/2", r#"{"d":"bad"}"#).await.status, 400);
    let refused = server.call("DELETE", "/_component_template/part", "").await.refusal();
    assert!(
        refused.2.contains("still in use by index templates [made]"),
        "{}",
        refused.2
    );
}

#[tokio::test]
async fn the_one_node_answers_under_any_name() {
    let server = Server::start().await;
    server.call("PUT", "/mine", "").await.ok();
    for path in [
        "/_nodes/stats/os,jvm",
        "/_nodes/_all/stats",
        "/_nodes/_local/http",
        "/_nodes/node1/stats/fs",
    ] {
        let answer = server.call("GET", path, "").await.ok();
        assert_eq!(answer["_nodes"]["successful"], 1, "{path}");
    }
    let health = server.call("GET", "/_cluster/health/mine?level=shards", "").await.ok();
    assert_eq!(health["active_shards"], 1, "{health}");
    assert_eq!(health["indices"]["mine"]["shards"]["0"]["status"], "green", "{health}");
    let refused = server
        .call("GET", "/_cluster/health?level=nonsense", "")
        .await
        .refusal();
    assert!(refused.2.contains("[nonsense]"), "{refused:?}");
    let rows = server.call("GET", "/_cat/allocation?format=json", "").await.ok();
    assert!(
        rows[0]["disk.indices"].is_string() && rows[0]["node"].is_string(),
        "{rows}"
    );
}

#[tokio::test]
async fn a_closed_index_stays_closed_for_patterns_and_ends_with_its_index() {
    let server = Server::start().await;
    server.call("PUT", "/shut/_doc/1?refresh=true", "{\"a\":1}").await.ok();
    server.call("PUT", "/ajar/_doc/1?refresh=true", "{\"a\":1}").await.ok();
    server.call("POST", "/shut/_close", "").await.ok();
    let found = server.call("GET", "/_search", "").await.ok();
    assert_eq!(found["hits"]["total"]["value"], 1, "{found}");
    let (status, kind, _) = server.call("GET", "/shut/_search", "").await.refusal();
    assert_eq!((status, kind.as_str()), (400, "index_closed_exception"));
    let rows = server.call("GET", "/_cat/indices/shut?format=json", "").await.ok();
    assert_eq!(rows[0]["status"], "close", "{rows}");
    server.call("DELETE", "/shut", "").await.ok();
    server.call("PUT", "/shut/_doc/1?refresh=true", "{\"a\":1}").await.ok();
    let line = "{\"create\":{\"_index\":\"logs-x-y\"}}\n{\"@timestamp\":\"2026-01-02T03:04:05Z\"}\n";
    server.call("POST", "/_bulk", line).await.ok();
    let refused = server.call("POST", "/logs-x-y/_close", "").await.refusal();
    assert!(refused.2.contains("[logs-x-y]"), "{refused:?}");
}
