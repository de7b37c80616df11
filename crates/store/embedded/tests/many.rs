//! Searches over many documents find the same as one that looks at each: what passes documents over must not lose one.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use camino::Utf8PathBuf;
use embedded::{EmbeddedOptions, EmbeddedStore};
use query::{Aggregation, AggregationKind, Query, SearchRequest, Sort, SortOrder};
use serde_json::{Value, json};
use store::{Operation, Refresh, Source, Store};

const STREAM: &str = "logs-many-default";
const COUNT: u64 = 5_000;

/// In an order of its own, several for the same moment; one in ten lacks the number.
fn document(number: u64) -> Value {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let second = mixed % 60;
    let minute = mixed / 60 % 20;
    let level = ["info", "warn", "error"][(mixed % 3) as usize];
    let mut document = json!({"@timestamp": format!("2026-01-01T00:{minute:02}:{second:02}.000Z"), "number": number,
        "log": {"level": level}});
    if !number.is_multiple_of(10) {
        document["size"] = (mixed % 500).into();
    }
    document
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_best_of_many_are_found_in_every_order_and_page_by_page() {
    let directory = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(directory.path().join("data")).unwrap();
    let store = EmbeddedStore::open(EmbeddedOptions::new(path, clock::system())).unwrap();
    // In several writes, so that there are several segments.
    for start in (0..COUNT).step_by(1_250) {
        let some = (start..start + 1_250).map(|number| Operation::append(STREAM, Source::of(&document(number))));
        store.bulk(some.collect(), Refresh::WaitFor).await.unwrap();
    }
    for (field, order) in [
        ("@timestamp", SortOrder::Descending),
        ("@timestamp", SortOrder::Ascending),
        ("size", SortOrder::Descending),
        ("size", SortOrder::Ascending),
    ] {
        let key = |field: &str, order| Sort {
            field: field.to_owned(),
            order,
            ..Sort::default()
        };
        let sort = vec![key(field, order), key("number", SortOrder::Ascending)];
        let mut found = Vec::new();
        let mut after = None;
        // More pages than there are, so that the end is seen, too.
        for _ in 0..6 {
            let request = SearchRequest {
                indices: vec![STREAM.to_owned()],
                query: Query::MatchAll,
                sort: sort.clone(),
                size: 900,
                search_after: after,
                ..SearchRequest::default()
            };
            let answer = store.search(request).await.unwrap();
            assert_eq!(answer.total, COUNT);
            after = answer.hits.last().map(|hit| hit.sort.clone());
            found.extend(answer.hits.iter().map(|hit| hit.document.source.to_value()));
        }
        assert_eq!(found, expected(field, order), "by {field}, {order:?}");
    }
}

fn expected(field: &str, order: SortOrder) -> Vec<Value> {
    let mut all: Vec<Value> = (0..COUNT).map(document).collect();
    let number = |document: &Value| document["number"].as_u64();
    let rank = |document: &Value| match &document[field] {
        Value::String(text) => text
            .parse::<jiff::Timestamp>()
            .ok()
            .map(jiff::Timestamp::as_millisecond),
        other => other.as_i64(),
    };
    all.sort_by(|left, right| {
        // What is missing comes last in either order.
        let (one, other) = (rank(left), rank(right));
        let missing = one.is_none().cmp(&other.is_none());
        let values = match order {
            SortOrder::Ascending => one.cmp(&other),
            SortOrder::Descending => other.cmp(&one),
        };
        missing.then(values).then(number(left).cmp(&number(right)))
    });
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_counted_as_texts_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(directory.path().join("data")).unwrap();
    let store = EmbeddedStore::open(EmbeddedOptions::new(path, clock::system())).unwrap();
    let some = (0..COUNT).map(|number| Operation::append(STREAM, Source::of(&document(number))));
    store.bulk(some.collect(), Refresh::WaitFor).await.unwrap();
    let terms = |field: &str| Aggregation {
        name: "values".to_owned(),
        kind: AggregationKind::Validated("terms", json!({"field": field, "size": 3})),
        children: Vec::new(),
    };
    for field in ["size", "log.level"] {
        let request = SearchRequest {
            indices: vec![STREAM.to_owned()],
            aggregations: vec![terms(field)],
            ..SearchRequest::default()
        };
        let answer = store.search(request.size(0)).await.unwrap();
        let buckets = answer.aggregations["values"]["buckets"].as_array().unwrap().clone();
        assert_eq!(buckets.len(), 3);
        for bucket in &buckets {
            let has = |document: &Value| {
                let value = document.get(field).or_else(|| document["log"].get("level"));
                value == Some(&bucket["key"])
            };
            let count = (0..COUNT).map(document).filter(has).count();
            assert_eq!(bucket["doc_count"], count, "{field}: {bucket}");
        }
        let counts = buckets.iter().map(|bucket| bucket["doc_count"].as_u64());
        assert!(counts.is_sorted_by(|left, right| left >= right), "{buckets:?}");
    }
}

const BATCH: u64 = 1_250;

/// One for each second: a batch takes about twenty minutes.
fn timed(number: u64) -> Value {
    let time = jiff::Timestamp::from_second(1_767_225_600 + number as i64).unwrap();
    let level = ["info", "warn", "error"][(number % 3) as usize];
    json!({"@timestamp": time.to_string(), "number": number, "log": {"level": level}})
}

/// What is asked, and the numbers of the documents that it is about.
struct Question {
    from: u64,
    to: u64,
    level: Option<&'static str>,
    is_excluded: bool,
}

impl Question {
    fn query(&self) -> Query {
        let time = |number: u64| timed(number)["@timestamp"].clone();
        let range = vec![
            Query::at_least("@timestamp", time(self.from)),
            Query::less_than("@timestamp", time(self.to)),
        ];
        let level: Vec<Query> = self
            .level
            .map(|level| Query::term("log.level", level))
            .into_iter()
            .collect();
        let (without, with) = if self.is_excluded {
            (level, Vec::new())
        } else {
            (Vec::new(), level)
        };
        Query::Bool {
            must: with,
            filter: vec![Query::all_of(range)],
            should: Vec::new(),
            must_not: without,
            minimum_should_match: 0,
        }
    }

    fn matches(&self, number: u64) -> bool {
        let is_level = |level: &str| timed(number)["log"]["level"] == level;
        (self.from..self.to).contains(&number) && self.level.is_none_or(|level| is_level(level) != self.is_excluded)
    }
}

async fn ask(store: &EmbeddedStore, question: &Question, written: u64) {
    let levels = Aggregation {
        name: "levels".to_owned(),
        kind: AggregationKind::Validated("terms", json!({"field": "log.level", "size": 3})),
        children: Vec::new(),
    };
    let request = SearchRequest {
        indices: vec![STREAM.to_owned()],
        query: question.query(),
        aggregations: vec![levels],
        track_total_hits: u64::MAX,
        ..SearchRequest::default()
    };
    let request = request.size(5).sort_by("@timestamp", SortOrder::Descending);
    let answer = store.search(request).await.unwrap();
    let all: Vec<u64> = (0..written).filter(|number| question.matches(*number)).collect();
    assert_eq!(answer.total, all.len() as u64);
    let count = store.count(&[STREAM.to_owned()], &question.query()).await.unwrap();
    assert_eq!(count, all.len() as u64);
    let found = answer
        .hits
        .iter()
        .map(|hit| hit.document.source.to_value()["number"].as_u64().unwrap());
    let newest: Vec<u64> = all.iter().rev().take(5).copied().collect();
    assert_eq!(found.collect::<Vec<_>>(), newest);
    let counted: u64 = answer.aggregations["levels"]["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bucket| bucket["doc_count"].as_u64().unwrap())
        .sum();
    assert_eq!(counted, all.len() as u64);
}

/// Segments that lie within the time that is asked for, outside of it, and on its edges, each asked again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_counted_before_stays_right_while_documents_come() {
    let directory = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(directory.path().join("data")).unwrap();
    let store = EmbeddedStore::open(EmbeddedOptions::new(path, clock::system())).unwrap();
    for batch in 0..4 {
        let some =
            (batch * BATCH..(batch + 1) * BATCH).map(|number| Operation::append(STREAM, Source::of(&timed(number))));
        store.bulk(some.collect(), Refresh::WaitFor).await.unwrap();
        for (from, to) in [
            (0, 4 * BATCH),
            (0, BATCH),
            (600, BATCH + 600),
            (BATCH, 2 * BATCH),
            (2 * BATCH - 1, 3 * BATCH + 1),
        ] {
            for (level, is_excluded) in [(None, false), (Some("error"), false), (Some("error"), true)] {
                let question = Question {
                    from,
                    to,
                    level,
                    is_excluded,
                };
                ask(&store, &question, (batch + 1) * BATCH).await;
                ask(&store, &question, (batch + 1) * BATCH).await;
            }
        }
    }
}
