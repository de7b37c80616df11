//! What every store promises, as functions that any implementation runs unchanged.
//!
//! Each takes a store that may hold other data: names are made unique by a prefix. They panic where a promise is broken.

mod aggregating;
mod searching;
mod streams;
mod writing;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{Operation, Outcome, Refresh, Rejection, Source, Store, Written};

/// What an engine that is not ours cannot be made to promise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Each index counts from 0: the next one of a data stream, and one that is made again under an old name.
    /// Elasticsearch and OpenSearch.
    pub numbers_start_anew: bool,
    /// Data streams cannot be deleted whole. Elasticsearch without its module for data streams.
    pub data_streams_stay: bool,
}

/// Runs all of it.
pub async fn run(store: Arc<dyn Store>, prefix: &str) {
    run_within(store, prefix, Limits::default()).await;
}

/// Runs all that holds within the limits.
pub async fn run_within(store: Arc<dyn Store>, prefix: &str, limits: Limits) {
    writing::run(&store, &format!("{prefix}w"), limits).await;
    searching::run(&store, &format!("{prefix}s")).await;
    streams::run(&store, &format!("{prefix}d"), limits).await;
    aggregating::run(&store, &format!("{prefix}a")).await;
}

fn source(value: &Value) -> Source {
    Source::from_map(value.as_object().expect("a test's document is an object"))
}

/// The document as it was written: behind a store may be a pipeline that adds when and by whom (`event`).
fn as_written(source: &Source) -> Value {
    let mut value = source.to_value();
    if let Value::Object(map) = &mut value {
        map.shift_remove("event");
    }
    value
}

async fn bulk(store: &Arc<dyn Store>, operations: Vec<Operation>) -> Vec<Outcome> {
    let count = operations.len();
    let outcomes = store
        .bulk(operations, Refresh::WaitFor)
        .await
        .expect("the store answers");
    assert_eq!(outcomes.len(), count, "one outcome for each operation");
    outcomes
}

async fn one(store: &Arc<dyn Store>, operation: Operation) -> Result<Written, Rejection> {
    bulk(store, vec![operation]).await.remove(0).written()
}

/// Makes an index in which strings are keywords and messages are words. Left to itself a string is what the store takes
/// it for: a keyword, or, as in the original, both.
async fn declare(store: &Arc<dyn Store>, index: &str) {
    let rules = json!([
        { "messages": { "match_mapping_type": "string", "match": "message", "mapping": { "type": "text" } } },
        { "strings": { "match_mapping_type": "string", "mapping": { "type": "keyword" } } },
    ]);
    let body = json!({ "mappings": { "dynamic_templates": rules } });
    store.create_index(index, body).await.expect("the index is made");
}

/// Documents `0..count` of the shape that the searching tests know, in `index`.
async fn fill(store: &Arc<dyn Store>, index: &str, count: u64, with_ids: bool) {
    let operations = (0..count)
        .map(|number| {
            let document = source(&sample(number));
            if with_ids {
                Operation::create(index, format!("id-{number}"), document)
            } else {
                Operation::append(index, document)
            }
        })
        .collect();
    for outcome in bulk(store, operations).await {
        outcome.written().expect("a document is written");
    }
}

/// One a minute from 2026-01-01T00:00:00Z on, ten hosts, three levels.
fn sample(number: u64) -> Value {
    let level = ["info", "warn", "error"][(number % 3) as usize];
    let time = jiff::Timestamp::from_second(1_767_225_600 + 60 * number as i64).expect("it is in range");
    let mut document = json!({
        "@timestamp": time.to_string(),
        "message": format!("request {number} took {} ms", number * 10),
        "log": {"level": level},
        "host": {"name": format!("web-{}", number % 10)},
        "data_stream": {"dataset": "test"},
        "duration": number as f64 / 2.0,
        "labels": {"zone": if number.is_multiple_of(2) { "a" } else { "b" }, "ok": number.is_multiple_of(4)},
        "tags": ["all", format!("t{}", number % 2)],
    });
    if number.is_multiple_of(5) {
        document["rare"] = json!(number);
    }
    document
}
