//! Groups of hits, functions of the score, pipeline aggregations, named clauses; what is written by what was found.

use serde_json::{Value, json};

use crate::harness::Server;

async fn library() -> Server {
    let server = Server::start().await;
    let mapping = json!({ "mappings": { "properties": {
        "title": { "type": "text" }, "shelf": { "type": "keyword" }, "n": { "type": "long" }, "at": { "type": "date" },
    } } });
    server.call("PUT", "/books", mapping.to_string()).await.ok();
    for (id, shelf, n, title) in [
        ("1", "a", 1, "the quick brown fox"),
        ("2", "b", 2, "a quick dog"),
        ("3", "a", 3, "the lazy dog"),
        ("4", "c", 4, "nothing quick"),
    ] {
        let book = json!({ "shelf": shelf, "n": n, "title": title, "at": format!("2026-01-0{n}T00:00:00Z") });
        server
            .call("PUT", &format!("/books/_doc/{id}?refresh=true"), book.to_string())
            .await
            .ok();
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
async fn hits_of_a_group_are_shown_once() {
    let server = library().await;
    let inner = json!({ "name": "all", "size": 5, "sort": [{ "n": "desc" }], "_source": ["n"] });
    let found = search(
        &server,
        json!({ "sort": ["n"], "collapse": { "field": "shelf", "inner_hits": inner } }),
    )
    .await;
    assert_eq!(ids(&found), ["1", "2", "4"]);
    assert_eq!(found["hits"]["total"]["value"], 4);
    let first = &found["hits"]["hits"][0];
    assert_eq!(first["fields"], json!({ "shelf": ["a"] }));
    assert_eq!(first["inner_hits"]["all"]["hits"]["total"]["value"], 2);
    assert_eq!(
        first["inner_hits"]["all"]["hits"]["hits"][0]["_source"],
        json!({ "n": 3 })
    );
    let second = search(
        &server,
        json!({ "sort": ["n"], "from": 1, "size": 1, "collapse": { "field": "shelf" } }),
    )
    .await;
    assert_eq!(ids(&second), ["2"]);
    for body in [
        json!({ "collapse": { "field": "title" } }),
        json!({ "collapse": { "field": "none" } }),
    ] {
        let (status, kind, _) = server.call("POST", "/books/_search", body.to_string()).await.refusal();
        assert_eq!((status, kind.as_str()), (400, "search_phase_execution_exception"));
    }
}

#[tokio::test]
async fn functions_change_the_score() {
    let server = library().await;
    let scored = async |function: Value| {
        let found = search(
            &server,
            json!({ "query": { "function_score": function }, "_source": false }),
        )
        .await;
        let hits = found["hits"]["hits"].as_array().unwrap().clone();
        let one = |hit: &Value| (hit["_id"].as_str().unwrap().to_owned(), hit["_score"].as_f64().unwrap());
        hits.iter().map(one).collect::<Vec<_>>()
    };
    let by_field = json!({ "query": { "terms": { "n": [1, 4] } }, "field_value_factor": { "field": "n", "missing": 0, "factor": 2 } });
    assert_eq!(scored(by_field).await, [("4".to_owned(), 8.0), ("1".to_owned(), 2.0)]);
    let chosen = json!({
        "query": { "terms": { "n": [2, 3] } }, "boost_mode": "replace", "score_mode": "sum",
        "functions": [{ "filter": { "term": { "shelf": "a" } }, "weight": 5 }, { "weight": 2 }],
    });
    assert_eq!(scored(chosen).await, [("3".to_owned(), 7.0), ("2".to_owned(), 2.0)]);
    let near = json!({ "linear": { "at": { "origin": "2026-01-02", "scale": "1d" } } });
    assert_eq!(scored(near).await[0], ("2".to_owned(), 1.0));
    let script = json!({ "query": { "function_score": { "script_score": { "script": "1" } } } });
    let (status, _, reason) = server
        .call("POST", "/books/_search", script.to_string())
        .await
        .refusal();
    assert!(status == 400 && reason.contains("[script_score]"), "{reason}");
}

#[tokio::test]
async fn results_of_aggregations_are_worked_on() {
    let server = library().await;
    let histogram = json!({
        "histogram": { "field": "n", "interval": 2 },
        "aggs": { "sum": { "sum": { "field": "n" } }, "so_far": { "cumulative_sum": { "buckets_path": "sum" } } },
    });
    let body = json!({ "size": 0, "aggs": { "h": histogram, "best": { "max_bucket": { "buckets_path": "h>sum" } } } });
    let found = server
        .call("POST", "/books/_search?typed_keys=true", body.to_string())
        .await
        .ok();
    let buckets = found["aggregations"]["histogram#h"]["buckets"].as_array().unwrap();
    let so_far: Vec<&Value> = buckets
        .iter()
        .map(|bucket| &bucket["simple_value#so_far"]["value"])
        .collect();
    assert_eq!(so_far, [&json!(1.0), &json!(6.0), &json!(10.0)]);
    assert_eq!(
        found["aggregations"]["bucket_metric_value#best"],
        json!({ "value": 5.0, "keys": ["2.0"] })
    );
}

#[tokio::test]
async fn a_hit_tells_which_clauses_it_matches_and_why() {
    let server = library().await;
    let should = json!([
        { "match": { "title": { "query": "quick", "_name": "quick" } } },
        { "term": { "shelf": { "value": "a", "_name": "shelf" } } },
    ]);
    let found = search(
        &server,
        json!({ "query": { "bool": { "should": should } }, "_source": false, "explain": true }),
    )
    .await;
    let both = &found["hits"]["hits"][0];
    assert_eq!(
        (&both["_id"], &both["matched_queries"]),
        (&json!("1"), &json!(["quick", "shelf"]))
    );
    assert_eq!(both["_explanation"]["value"], both["_score"]);
    assert!(both.get("_source").is_none());
    let query = json!({ "query": { "term": { "shelf": "a" } } }).to_string();
    let explained = server.call("POST", "/books/_explain/1", query.as_str()).await.ok();
    assert_eq!(explained["matched"], true);
    assert_eq!(
        server.call("POST", "/books/_explain/2", query.as_str()).await.ok()["matched"],
        false
    );
    assert_eq!(
        server.call("POST", "/books/_explain/9", query.as_str()).await.status,
        404
    );
}

#[tokio::test]
async fn values_are_told_by_their_beginning() {
    let server = library().await;
    server
        .call("PUT", "/books/_doc/5?refresh=true", "{\"shelf\":\"A.2\"}")
        .await
        .ok();
    let terms = async |body: Value| {
        let answer = server.call("POST", "/books/_terms_enum", body.to_string()).await.ok();
        answer["terms"].clone()
    };
    assert_eq!(terms(json!({ "field": "shelf" })).await, json!(["A.2", "a", "b", "c"]));
    assert_eq!(terms(json!({ "field": "shelf", "string": "A." })).await, json!(["A.2"]));
    let loose = json!({ "field": "shelf", "string": "a", "case_insensitive": true });
    assert_eq!(terms(loose).await, json!(["A.2", "a"]));
    assert_eq!(terms(json!({ "field": "title", "string": "q" })).await, json!([]));
}

#[tokio::test]
async fn what_a_search_finds_is_written_elsewhere() {
    let server = library().await;
    let copy = json!({
        "source": { "index": "books", "query": { "term": { "shelf": "a" } }, "_source": ["n"] }, "dest": { "index": "copies" },
    });
    let done = server
        .call("POST", "/_reindex?refresh=true", copy.to_string())
        .await
        .ok();
    assert_eq!((&done["total"], &done["created"]), (&json!(2), &json!(2)));
    let found = server.call("GET", "/copies/_search?sort=n", "").await.ok();
    assert_eq!(ids(&found), ["1", "3"]);
    assert_eq!(found["hits"]["hits"][0]["_source"], json!({ "n": 1 }));
    let again = json!({ "source": { "index": "books" }, "dest": { "index": "copies", "op_type": "create" } });
    let refused = server.call("POST", "/_reindex", again.to_string()).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["version_conflicts"]),
        (409, &json!(2))
    );
    let script =
        json!({ "source": { "index": "books" }, "dest": { "index": "x" }, "script": { "source": "ctx.op = 'noop'" } });
    let (status, _, reason) = server.call("POST", "/_reindex", script.to_string()).await.refusal();
    assert!(status == 400 && reason.contains("[script]"), "{reason}");
}

#[tokio::test]
async fn what_would_be_ignored_is_refused_by_its_name() {
    let server = library().await;
    for (body, named) in [
        (json!({ "profile": true }), "[profile]"),
        (json!({ "ext": {} }), "[ext]"),
        (json!({ "suggest": {} }), "[suggest]"),
        (json!({ "knn": {} }), "[knn]"),
        (json!({ "rescore": {} }), "[rescore]"),
        (json!({ "runtime_mappings": {} }), "[runtime_mappings]"),
        (json!({ "query": { "span_term": { "title": "x" } } }), "[span_term]"),
        (json!({ "query": { "intervals": {} } }), "[intervals]"),
        (json!({ "aggs": { "m": { "moving_fn": {} } } }), "[moving_fn]"),
        (
            json!({ "aggs": { "h": { "top_hits": { "docvalue_fields": ["n"] } } } }),
            "[docvalue_fields]",
        ),
        (
            json!({ "aggs": { "p": { "percentiles": { "field": "n", "hdr": {} } } } }),
            "[hdr]",
        ),
        (
            json!({ "aggs": { "c": { "composite": { "sources": [{ "n": { "terms": { "field": "n", "script": {} } } }] } } } }),
            "[script]",
        ),
        (
            json!({ "highlight": { "fields": { "title": { "highlight_query": {} } } } }),
            "[highlight_query]",
        ),
        (
            json!({ "highlight": { "encoder": "html", "fields": { "title": {} } } }),
            "[encoder]",
        ),
        (
            json!({ "sort": [{ "n": { "nested": { "path": "x", "filter": {} } } }] }),
            "[filter]",
        ),
    ] {
        let (status, _, reason) = server.call("POST", "/books/_search", body.to_string()).await.refusal();
        assert!(status == 400 && reason.contains(named), "{body}: {status} {reason}");
    }
    for (method, path, body) in [
        ("POST", "/_query", "{\"query\":\"FROM books\"}"),
        ("POST", "/books/_search/template", "{}"),
        ("POST", "/books/_clone/others", ""),
        ("POST", "/books/_eql/search", "{}"),
    ] {
        let reply = server.call(method, path, body).await;
        let text = reply.text();
        assert!(
            matches!(reply.status.as_u16(), 400 | 405) && text.contains(path),
            "{path}: {text}"
        );
    }
}

#[tokio::test]
async fn names_hold_dates() {
    let server = Server::start().await;
    let made = server
        .call(
            "PUT",
            "/%3Cdiary-%7Bnow%2Fd%7D-000001%3E",
            "{\"aliases\":{\"diary\":{\"is_write_index\":true}}}",
        )
        .await
        .ok();
    let name = made["index"].as_str().unwrap().to_owned();
    assert!(name.starts_with("diary-20") && name.ends_with("-000001"), "{name}");
    server.call("POST", "/diary/_doc?refresh=true", "{\"n\":1}").await.ok();
    let line = "{\"index\":{\"_index\":\"<diary-{now/d}-000001>\"}}\n{\"n\":2}\n";
    let written = server.call("POST", "/_bulk?refresh=true", line).await.ok();
    assert_eq!(written["items"][0]["index"]["_index"], name);
    let found = server
        .call("GET", "/%3Cdiary-%7Bnow%2Fd%7D-000001%3E/_count", "")
        .await
        .ok();
    assert_eq!(found["count"], 2);
}

#[tokio::test]
async fn clients_may_count_versions() {
    let server = Server::start().await;
    let put = async |version: &str| server.call("PUT", &format!("/v/_doc/1?{version}"), "{\"n\":1}").await;
    assert_eq!(put("version=5&version_type=external").await.ok()["_version"], 5);
    let (status, _, reason) = put("version=5&version_type=external").await.refusal();
    assert!(
        status == 409 && reason.contains("higher or equal to the one provided [5]"),
        "{reason}"
    );
    assert_eq!(
        put("version=5&version_type=external_gte").await.ok()["result"],
        "updated"
    );
    assert_eq!(put("version=6").await.status, 400);
    let lines = "{\"index\":{\"_index\":\"v\",\"_id\":\"1\",\"version\":9,\"version_type\":\"external\"}}\n{}\n{\"delete\":{\"_index\":\"v\",\"_id\":\"1\",\"version\":8,\"version_type\":\"external\"}}\n";
    let done = server.call("POST", "/_bulk", lines).await.ok();
    assert_eq!(
        (
            &done["items"][0]["index"]["_version"],
            &done["items"][1]["delete"]["status"]
        ),
        (&json!(9), &json!(409))
    );
}

#[tokio::test]
async fn old_backing_indices_go() {
    let server = Server::start().await;
    let day = |days: i64| (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * days)).to_string();
    let write = async |days: i64| {
        let line = json!({ "@timestamp": day(days), "message": "m" });
        let lines = format!("{{\"create\":{{\"_index\":\"logs-kept-default\"}}}}\n{line}\n");
        server.call("POST", "/_bulk?refresh=true", lines.as_str()).await.ok();
    };
    write(20).await;
    assert_eq!(
        server.api.retain().await.unwrap(),
        elasticsearch_api::Retained::default(),
        "it keeps for ever"
    );
    server
        .call(
            "PUT",
            "/_data_stream/logs-kept-default/_lifecycle",
            "{\"data_retention\":\"7d\"}",
        )
        .await
        .ok();
    let done = server.api.retain().await.unwrap();
    assert_eq!(done.rolled_over, ["logs-kept-default"]);
    assert_eq!(done.deleted.len(), 1);
    write(3).await;
    let done = server.api.retain().await.unwrap();
    assert_eq!((done.rolled_over.len(), done.deleted.len()), (1, 0));
    let found = server.call("GET", "/logs-kept-default/_count", "").await.ok();
    assert_eq!(found["count"], 1);
}
