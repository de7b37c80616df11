//! Aggregations: the same results from an index, a data stream, and both together.

use std::sync::Arc;

use query::SearchRequest;
use serde_json::{Value, json};

use super::{declare, fill};
use crate::Store;

pub(super) async fn run(store: &Arc<dyn Store>, prefix: &str) {
    let index = format!("{prefix}-index");
    let stream = format!("logs-{prefix}.aggregate-default");
    declare(store, &index).await;
    fill(store, &index, 60, true).await;
    fill(store, &stream, 30, false).await;
    store.rollover(&stream).await.expect("rolled over");
    let more = (30..60)
        .map(|number| crate::Operation::append(&stream, super::source(&super::sample(number))))
        .collect();
    super::bulk(store, more).await;
    for target in [&index, &stream] {
        metrics(store, target).await;
        buckets(store, target).await;
        histograms(store, target).await;
        composites_and_hits(store, target).await;
    }
    let both = format!("{index},{stream}");
    let found = aggregate(
        store,
        &both,
        json!({"a": {"terms": {"field": "log.level"}, "aggs": {"m": {"max": {"field": "duration"}}}}}),
    )
    .await;
    assert_eq!(
        found["a"]["buckets"][0],
        json!({"key": "error", "doc_count": 40, "m": {"value": 29.5}})
    );
}

async fn aggregate(store: &Arc<dyn Store>, target: &str, aggregations: Value) -> Value {
    let body = json!({"size": 0, "aggs": aggregations});
    let mut request = SearchRequest::from_json(&body).unwrap_or_else(|error| panic!("{body}: {error}"));
    request.indices = target.split(',').map(ToOwned::to_owned).collect();
    let found = store
        .search(request)
        .await
        .unwrap_or_else(|error| panic!("{target}: {body}: {error}"));
    Value::Object(found.aggregations)
}

/// Compares the one aggregation `a`.
async fn check(store: &Arc<dyn Store>, target: &str, aggregation: Value, expected: Value) {
    let found = aggregate(store, target, json!({"a": aggregation})).await;
    assert_eq!(found["a"], expected, "{target}: {aggregation}");
}

async fn metrics(store: &Arc<dyn Store>, target: &str) {
    for (aggregation, expected) in [
        (json!({"min": {"field": "duration"}}), json!({"value": 0.0})),
        (json!({"max": {"field": "duration"}}), json!({"value": 29.5})),
        (json!({"avg": {"field": "duration"}}), json!({"value": 14.75})),
        (json!({"sum": {"field": "rare"}}), json!({"value": 330.0})),
        (json!({"value_count": {"field": "rare"}}), json!({"value": 12})),
        (json!({"value_count": {"field": "tags"}}), json!({"value": 120})),
        (
            json!({"stats": {"field": "rare"}}),
            json!({"count": 12, "min": 0.0, "max": 55.0, "avg": 27.5, "sum": 330.0}),
        ),
        (json!({"cardinality": {"field": "host.name"}}), json!({"value": 10})),
        (json!({"avg": {"field": "absent"}}), json!({"value": null})),
        (json!({"sum": {"field": "rare", "missing": 1}}), json!({"value": 378.0})),
        (
            json!({"max": {"field": "@timestamp"}}),
            json!({"value": 1_767_229_140_000.0, "value_as_string": "2026-01-01T00:59:00.000Z"}),
        ),
    ] {
        check(store, target, aggregation, expected).await;
    }
    let found = aggregate(
        store,
        target,
        json!({"a": {"percentiles": {"field": "duration", "percents": [0, 50, 100]}}}),
    )
    .await;
    let middle = found["a"]["values"]["50.0"].as_f64().expect("a number");
    assert!((middle - 14.75).abs() < 0.5, "{target}: {found}");
}

async fn buckets(store: &Arc<dyn Store>, target: &str) {
    let level = |key: &str, count: u64| json!({"key": key, "doc_count": count});
    check(
        store,
        target,
        json!({"terms": {"field": "log.level", "order": {"_key": "desc"}, "size": 2}}),
        json!({"doc_count_error_upper_bound": 0, "sum_other_doc_count": 20, "buckets": [level("warn", 20), level("info", 20)]}),
    )
    .await;
    let found = aggregate(store, target, json!({"a": {"terms": {"field": "host.name", "order": {"m": "desc"}, "size": 1}, "aggs": {"m": {"avg": {"field": "duration"}}}}})).await;
    assert_eq!(
        found["a"]["buckets"],
        json!([{"key": "web-9", "doc_count": 6, "m": {"value": 17.0}}]),
        "{target}"
    );
    let found = aggregate(store, target, json!({"a": {"terms": {"field": "labels.ok"}}})).await;
    assert_eq!(
        found["a"]["buckets"],
        json!([{"key": 0, "key_as_string": "false", "doc_count": 45}, {"key": 1, "key_as_string": "true", "doc_count": 15}]),
        "{target}"
    );
    let found = aggregate(
        store,
        target,
        json!({"a": {"terms": {"field": "rare", "missing": -1, "size": 1}}}),
    )
    .await;
    assert_eq!(found["a"]["buckets"], json!([{"key": -1, "doc_count": 48}]), "{target}");
    check(
        store,
        target,
        json!({"range": {"field": "duration", "ranges": [{"to": 10}, {"from": 10, "to": 20}, {"from": 20, "key": "long"}]}}),
        json!({"buckets": [
            {"key": "*-10.0", "to": 10.0, "doc_count": 20},
            {"key": "10.0-20.0", "from": 10.0, "to": 20.0, "doc_count": 20},
            {"key": "long", "from": 20.0, "doc_count": 20}
        ]}),
    )
    .await;
    check(
        store,
        target,
        json!({"date_range": {"field": "@timestamp", "ranges": [{"from": "2026-01-01T00:30:00Z"}]}}),
        json!({"buckets": [{
            "key": "2026-01-01T00:30:00.000Z-*", "from": 1_767_227_400_000.0,
            "from_as_string": "2026-01-01T00:30:00.000Z", "doc_count": 30
        }]}),
    )
    .await;
    check(
        store,
        target,
        json!({"filter": {"term": {"log.level": "warn"}}}),
        json!({"doc_count": 20}),
    )
    .await;
    check(
        store,
        target,
        json!({"filters": {"filters": {"w": {"term": {"log.level": "warn"}}}, "other_bucket": true}}),
        json!({"buckets": {"w": {"doc_count": 20}, "_other_": {"doc_count": 40}}}),
    )
    .await;
    check(
        store,
        target,
        json!({"missing": {"field": "rare"}}),
        json!({"doc_count": 48}),
    )
    .await;
}

async fn histograms(store: &Arc<dyn Store>, target: &str) {
    check(
        store,
        target,
        json!({"date_histogram": {"field": "@timestamp", "fixed_interval": "30m"}}),
        json!({"buckets": [
            {"key_as_string": "2026-01-01T00:00:00.000Z", "key": 1_767_225_600_000_i64, "doc_count": 30},
            {"key_as_string": "2026-01-01T00:30:00.000Z", "key": 1_767_227_400_000_i64, "doc_count": 30}
        ]}),
    )
    .await;
    check(
        store,
        target,
        json!({"date_histogram": {"field": "@timestamp", "calendar_interval": "day", "time_zone": "-01:00"}}),
        json!({"buckets": [{"key_as_string": "2025-12-31T00:00:00.000-01:00", "key": 1_767_142_800_000_i64, "doc_count": 60}]}),
    )
    .await;
    check(
        store,
        target,
        json!({"date_histogram": {"field": "@timestamp", "calendar_interval": "month", "format": "yyyy-MM"}}),
        json!({"buckets": [{"key_as_string": "2026-01", "key": 1_767_225_600_000_i64, "doc_count": 60}]}),
    )
    .await;
    check(
        store,
        target,
        json!({"histogram": {"field": "rare", "interval": 25}}),
        json!({"buckets": [{"key": 0.0, "doc_count": 5}, {"key": 25.0, "doc_count": 5}, {"key": 50.0, "doc_count": 2}]}),
    )
    .await;
    let gaps = json!({"date_histogram": {"field": "@timestamp", "fixed_interval": "1h",
        "extended_bounds": {"min": "2026-01-01T00:00:00Z", "max": "2026-01-01T02:00:00Z"}}});
    let found = aggregate(store, target, json!({ "a": gaps })).await;
    let counts: Vec<u64> = found["a"]["buckets"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|bucket| bucket["doc_count"].as_u64())
        .collect();
    assert_eq!(counts, [60, 0, 0], "{target}");
    let nested = json!({"date_histogram": {"field": "@timestamp", "fixed_interval": "30m"}, "aggs": {"l": {"terms": {"field": "log.level", "size": 1}}}});
    let found = aggregate(store, target, json!({ "a": nested })).await;
    assert_eq!(
        found["a"]["buckets"][1]["l"]["buckets"],
        json!([{"key": "error", "doc_count": 10}]),
        "{target}"
    );
}

async fn composites_and_hits(store: &Arc<dyn Store>, target: &str) {
    let sources = json!([{"zone": {"terms": {"field": "labels.zone"}}}, {"level": {"terms": {"field": "log.level", "order": "desc"}}}]);
    let first = aggregate(
        store,
        target,
        json!({"a": {"composite": {"sources": sources, "size": 4}}}),
    )
    .await;
    let keys: Vec<&Value> = first["a"]["buckets"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|bucket| &bucket["key"])
        .collect();
    assert_eq!(keys[0], &json!({"zone": "a", "level": "warn"}), "{target}");
    assert_eq!(
        first["a"]["after_key"],
        json!({"zone": "b", "level": "warn"}),
        "{target}"
    );
    let after = first["a"]["after_key"].clone();
    let rest = aggregate(
        store,
        target,
        json!({"a": {"composite": {"sources": sources, "size": 4, "after": after}}}),
    )
    .await;
    assert_eq!(rest["a"]["buckets"].as_array().map(Vec::len), Some(2), "{target}");
    // The query of a stock Fleet Server for the newest revision of each policy has this shape.
    let newest = json!({"terms": {"field": "log.level", "size": 10_000}, "aggs": {"top": {"top_hits": {"size": 1, "sort": [{"duration": "desc"}], "_source": ["duration"]}}}});
    let found = aggregate(store, target, json!({ "a": newest })).await;
    let hits = &found["a"]["buckets"][0]["top"]["hits"];
    assert_eq!(hits["total"], json!({"value": 20, "relation": "eq"}), "{target}");
    assert_eq!(hits["hits"][0]["_source"], json!({"duration": 29.5}), "{target}");
    assert_eq!(hits["hits"][0]["sort"], json!([29.5]), "{target}");
}
