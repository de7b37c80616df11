//! Queries, sorting, paging: the same answers from an index and from a data stream.

use std::sync::Arc;
use std::time::Duration;

use query::{Query, SearchRequest};
use serde_json::{Value, json};

use super::{as_written, declare, fill, one, source};
use crate::{Operation, Store, StoreError};

pub(super) async fn run(store: &Arc<dyn Store>, prefix: &str) {
    let index = format!("{prefix}-index");
    let stream = format!("logs-{prefix}.search-default");
    declare(store, &index).await;
    fill(store, &index, 100, true).await;
    fill(store, &stream, 100, true).await;
    for target in [&index, &stream] {
        queries_find_what_matches(store, target).await;
        pages_follow_each_other(store, target).await;
        sources_are_filtered(store, target).await;
        points_in_time_stand_still(store, target).await;
    }
    several_targets_are_merged(store, &index, &stream).await;
    missing_indices(store, &index).await;
}

async fn search(store: &Arc<dyn Store>, target: &str, body: Value) -> crate::SearchResponse {
    let mut request = SearchRequest::from_json(&body).expect("the body can be read");
    request.indices = target.split(',').map(ToOwned::to_owned).collect();
    store
        .search(request)
        .await
        .unwrap_or_else(|error| panic!("{body}: {error}"))
}

async fn queries_find_what_matches(store: &Arc<dyn Store>, target: &str) {
    for (query, expected) in [
        (json!({"match_all": {}}), 100),
        (json!({"match_none": {}}), 0),
        (json!({"term": {"log.level": "error"}}), 33),
        (json!({"term": {"log.level": "Error"}}), 0),
        (
            json!({"term": {"log.level": {"value": "Error", "case_insensitive": true}}}),
            33,
        ),
        (json!({"term": {"labels.zone": "a"}}), 50),
        (json!({"term": {"labels.zone.keyword": "a"}}), 50),
        (json!({"term": {"labels.ok": true}}), 25),
        (json!({"term": {"labels.ok": "true"}}), 25),
        (json!({"term": {"tags": "t1"}}), 50),
        (json!({"term": {"rare": 10}}), 1),
        (json!({"term": {"duration": 1.5}}), 1),
        (json!({"terms": {"host.name": ["web-1", "web-2", "db"]}}), 20),
        (json!({"ids": {"values": ["id-1", "id-2", "nothing"]}}), 2),
        (json!({"term": {"_id": "id-7"}}), 1),
        (json!({"exists": {"field": "rare"}}), 20),
        (json!({"exists": {"field": "message"}}), 100),
        (json!({"exists": {"field": "labels"}}), 100),
        (json!({"exists": {"field": "nowhere"}}), 0),
        (json!({"range": {"duration": {"gte": 10, "lt": 20}}}), 20),
        (json!({"range": {"duration": {"gt": 10, "lte": 20}}}), 20),
        (json!({"range": {"rare": {"gte": "50"}}}), 10),
        (json!({"range": {"@timestamp": {"gte": "2026-01-01T01:00:00Z"}}}), 40),
        (
            json!({"range": {"@timestamp": {"gte": "2026-01-01T01:00:00Z", "lt": "2026-01-01T01:00:00Z||+10m"}}}),
            10,
        ),
        (
            json!({"range": {"@timestamp": {"gt": "2026-01-01T01", "lte": "2026-01-01T01:10"}}}),
            0,
        ),
        (
            json!({"range": {"@timestamp": {"gte": 1_767_225_600_000_i64, "lte": 1_767_225_660_000_i64}}}),
            2,
        ),
        (json!({"range": {"@timestamp": {"lt": "2000-01-01"}}}), 0),
        (json!({"range": {"host.name": {"gte": "web-8"}}}), 20),
        (json!({"prefix": {"host.name": "web"}}), 100),
        (json!({"prefix": {"labels.zone": "b"}}), 50),
        (json!({"wildcard": {"host.name": "*-3"}}), 10),
        (
            json!({"wildcard": {"host.name": {"value": "WEB-?", "case_insensitive": true}}}),
            100,
        ),
        (json!({"regexp": {"host.name": "web-[1-3]"}}), 30),
        (json!({"match": {"message": "Request 42"}}), 100),
        (
            json!({"match": {"message": {"query": "request 42", "operator": "and"}}}),
            1,
        ),
        (json!({"match_phrase": {"message": "took 50 ms"}}), 1),
        (json!({"match_phrase": {"message": "ms took"}}), 0),
        (
            json!({"multi_match": {"query": "web-1", "fields": ["message", "host.name"]}}),
            10,
        ),
        (
            json!({"query_string": {"query": "log.level:error AND host.name:web-5"}}),
            4,
        ),
        (json!({"query_string": {"query": "took"}}), 100),
        (
            json!({"simple_query_string": {"query": "web-1", "fields": ["host.name"]}}),
            10,
        ),
        (
            json!({"bool": {"must": [{"term": {"log.level": "info"}}], "must_not": [{"term": {"labels.zone": "a"}}]}}),
            17,
        ),
        (
            json!({"bool": {"should": [{"term": {"log.level": "info"}}, {"term": {"log.level": "warn"}}]}}),
            67,
        ),
        (
            json!({"bool": {"should": [{"term": {"log.level": "info"}}, {"term": {"labels.zone": "a"}}], "minimum_should_match": 2}}),
            17,
        ),
        (json!({"bool": {"must_not": [{"exists": {"field": "rare"}}]}}), 80),
        (
            json!({"constant_score": {"filter": {"term": {"log.level": "warn"}}}}),
            33,
        ),
    ] {
        let found = search(
            store,
            target,
            json!({"query": query, "size": 0, "track_total_hits": true}),
        )
        .await;
        assert_eq!(found.total, expected, "{target}: {query}");
        let parsed = Query::from_json(&query).expect("it can be read");
        let count = store.count(&[target.to_owned()], &parsed).await.expect("answers");
        assert_eq!(count, expected, "{target}: count of {query}");
    }
}

async fn pages_follow_each_other(store: &Arc<dyn Store>, target: &str) {
    let ids = |response: &crate::SearchResponse| -> Vec<String> {
        response.hits.iter().map(|hit| hit.document.id.clone()).collect()
    };
    let newest = search(store, target, json!({"sort": [{"@timestamp": "desc"}], "size": 3})).await;
    assert_eq!(ids(&newest), ["id-99", "id-98", "id-97"]);
    assert_eq!(
        newest.hits[0].sort,
        [json!(1_767_231_540_000_i64)],
        "dates sort as milliseconds"
    );
    let paged = search(
        store,
        target,
        json!({"sort": [{"@timestamp": "desc"}], "from": 3, "size": 2}),
    )
    .await;
    assert_eq!(ids(&paged), ["id-96", "id-95"]);
    let by_host = json!([{"host.name": "asc"}, {"duration": {"order": "desc"}}]);
    let first = search(store, target, json!({"sort": by_host, "size": 4})).await;
    assert_eq!(ids(&first), ["id-90", "id-80", "id-70", "id-60"]);
    let cursor = first.hits[3].sort.clone();
    let next = search(
        store,
        target,
        json!({"sort": by_host, "size": 3, "search_after": cursor}),
    )
    .await;
    assert_eq!(ids(&next), ["id-50", "id-40", "id-30"]);
    let rare = search(
        store,
        target,
        json!({"sort": [{"rare": "desc"}, {"_seq_no": "asc"}], "size": 21}),
    )
    .await;
    assert_eq!(ids(&rare)[..2], ["id-95", "id-90"]);
    assert_eq!(ids(&rare)[20], "id-1", "documents without the field come last");
    let rare_first = json!({"sort": [{"rare": {"order": "asc", "missing": "_first"}}, {"_seq_no": "asc"}], "size": 1});
    assert_eq!(ids(&search(store, target, rare_first).await), ["id-1"]);
    let plain = search(store, target, json!({"size": 5})).await;
    assert_eq!((plain.hits.len(), plain.hits[0].score), (5, Some(1.0)));
    let by_number = search(
        store,
        target,
        json!({"sort": [{"_seq_no": "asc"}], "query": {"range": {"_seq_no": {"gt": 10, "lte": 12}}}}),
    )
    .await;
    assert_eq!(ids(&by_number), ["id-11", "id-12"]);
}

async fn sources_are_filtered(store: &Arc<dyn Store>, target: &str) {
    let one = |source: Value| json!({"query": {"term": {"_id": "id-5"}}, "_source": source, "fields": ["labels.*"]});
    let hit = search(store, target, one(json!(["host.*"]))).await.hits.remove(0);
    assert_eq!(hit.document.source.to_value(), json!({"host": {"name": "web-5"}}));
    assert_eq!(
        Value::Object(hit.fields),
        json!({"labels.zone": ["b"], "labels.ok": [false]})
    );
    let hit = search(
        store,
        target,
        one(json!({"excludes": ["message", "tags", "labels", "data_stream", "@timestamp", "log"]})),
    )
    .await;
    assert_eq!(
        as_written(&hit.hits[0].document.source),
        json!({"host": {"name": "web-5"}, "duration": 2.5, "rare": 5})
    );
}

async fn points_in_time_stand_still(store: &Arc<dyn Store>, target: &str) {
    let id = store
        .open_point_in_time(&[target.to_owned()], Duration::from_mins(1))
        .await
        .expect("opened");
    let late = json!({"@timestamp": "2026-02-01T00:00:00Z", "late": true});
    one(store, Operation::create(target, "late", source(&late)))
        .await
        .expect("created");
    let with_view = |id: &str| json!({"pit": {"id": id}, "query": {"exists": {"field": "late"}}});
    assert_eq!(search(store, "", with_view(&id)).await.total, 0);
    assert_eq!(
        search(store, target, json!({"query": {"exists": {"field": "late"}}}))
            .await
            .total,
        1
    );
    assert!(store.close_point_in_time(&id).await.expect("answers"));
    assert!(!store.close_point_in_time(&id).await.expect("answers"));
    let mut request = SearchRequest::from_json(&with_view(&id)).expect("it can be read");
    request.indices = Vec::new();
    let error = store.search(request).await.expect_err("it is closed");
    assert!(matches!(error, StoreError::NoSuchPointInTime(_)), "{error}");
}

async fn several_targets_are_merged(store: &Arc<dyn Store>, index: &str, stream: &str) {
    let both = format!("{index},{stream}");
    let body = json!({"query": {"term": {"host.name": "web-3"}}, "sort": [{"@timestamp": "asc"}, {"_index": "asc"}], "size": 4});
    let found = search(store, &both, body).await;
    assert_eq!(found.total, 20);
    let ids: Vec<&str> = found.hits.iter().map(|hit| hit.document.id.as_str()).collect();
    assert_eq!(ids, ["id-3", "id-3", "id-13", "id-13"]);
    let by_pattern = search(store, &format!("{}*", &index[..index.len() - 2]), json!({"size": 0})).await;
    assert_eq!(by_pattern.total, 101);
}

async fn missing_indices(store: &Arc<dyn Store>, index: &str) {
    let mut request = SearchRequest::new("absent-index");
    assert_eq!(store.search(request.clone()).await.expect("answers").total, 0);
    request.ignore_unavailable = false;
    let error = store.search(request.clone()).await.expect_err("it is missing");
    assert!(matches!(error, StoreError::IndexNotFound(_)), "{error}");
    request.indices = vec![format!("{index}-absent-*")];
    assert_eq!(
        store.search(request).await.expect("a pattern may find nothing").total,
        0
    );
}
