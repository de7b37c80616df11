//! Answers that get lost, and peers that ask to try again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use store::{Action, Operation, Outcome, Refresh, Source, Store, Update, WriteResult};

use crate::server::Server;

/// What the first `_bulk` requests get.
#[derive(Clone, Copy)]
enum Fault {
    /// Refused before anything was done.
    Busy,
    /// Done, but something between loses the answer.
    AnswerLost,
}

/// The first `times` bulk requests meet the fault; the second value counts all of them.
async fn faulty(fault: Fault, times: usize) -> (Server, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let around = move |router: Router| {
        router.layer(from_fn(move |request: Request, next: Next| {
            let counter = Arc::clone(&counter);
            async move { meet(fault, times, &counter, request, next).await }
        }))
    };
    (Server::start_with(around).await, seen)
}

async fn meet(fault: Fault, times: usize, seen: &AtomicUsize, request: Request, next: Next) -> Response {
    if request.uri().path() != "/_bulk" || seen.fetch_add(1, Ordering::SeqCst) >= times {
        return next.run(request).await;
    }
    match fault {
        Fault::Busy => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")]).into_response(),
        Fault::AnswerLost => {
            let answer = next.run(request).await;
            assert!(answer.status().is_success());
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
    }
}

fn source(value: &Value) -> Source {
    Source::of(value)
}

async fn one(store: &dyn Store, operation: Operation) -> Outcome {
    store.bulk(vec![operation], Refresh::WaitFor).await.unwrap().remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_peer_is_asked_again() {
    let (server, seen) = faulty(Fault::Busy, 3).await;
    let store = server.store().await;
    let outcome = one(&*store, Operation::create("a", "x", source(&json!({"n": 1})))).await;
    assert_eq!(outcome.written().unwrap().result, WriteResult::Created);
    assert_eq!(seen.load(Ordering::SeqCst), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_was_lost_is_recognised() {
    let stream = "logs-lost.answer-default";
    let event = json!({"@timestamp": "2026-01-01T00:00:00Z", "n": 1});
    for operation in [
        Operation::create("a", "x", source(&json!({"n": 1}))),
        Operation::append("a", source(&json!({"n": 1}))),
        Operation::append(stream, source(&event)),
    ] {
        let (server, seen) = faulty(Fault::AnswerLost, 1).await;
        let store = server.store().await;
        let index = operation.index.clone();
        let written = one(&*store, operation).await.written().unwrap();
        assert_eq!((written.version, written.result), (1, WriteResult::Created), "{index}");
        assert_eq!(seen.load(Ordering::SeqCst), 2);
        let count = store.count(&[index], &query::Query::MatchAll).await.unwrap();
        assert_eq!(count, 1, "written once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_whose_answer_was_lost_is_recognised() {
    let (server, seen) = faulty(Fault::AnswerLost, 0).await;
    let store = server.store().await;
    let first = one(&*store, Operation::create("a", "x", source(&json!({"n": 1}))))
        .await
        .written()
        .unwrap();
    seen.store(0, Ordering::SeqCst);
    let (server, _) = faulty(Fault::AnswerLost, 2).await;
    let store = server.store().await;
    drop(first);
    let first = one(&*store, Operation::create("a", "x", source(&json!({"n": 1}))))
        .await
        .written()
        .unwrap();
    let replaced = one(
        &*store,
        Operation::replace("a", "x", source(&json!({"n": 2})), first.seq_no),
    )
    .await;
    assert_eq!(replaced.written().unwrap().version, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_elses_document_stays_a_conflict() {
    let (server, _) = faulty(Fault::AnswerLost, 1).await;
    let store = server.store().await;
    // The first body is written, its answer lost; what is then found is not what was sent.
    let operations = vec![
        Operation::create("a", "x", source(&json!({"n": 1}))),
        Operation::merge("a", "x", map(&json!({"other": true}))),
    ];
    let outcomes = store.bulk(operations, Refresh::WaitFor).await.unwrap();
    let shown: Vec<bool> = outcomes.into_iter().map(|outcome| outcome.written().is_ok()).collect();
    assert_eq!(shown, [false, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_do_not_get_lost() {
    let server = Server::start().await;
    let store = server.store().await;
    one(
        &*store,
        Operation::create(".fleet-agents", "a", source(&json!({"outputs": {}}))),
    )
    .await
    .written()
    .unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..10 {
        let store = store.clone();
        let params = map(&json!({"output_name": "default", "to_retire_api_key_ids": {"id": format!("k{number}")}}));
        let operation = Operation {
            index: ".fleet-agents".to_owned(),
            id: Some("a".to_owned()),
            require_data_stream: false,
            action: Action::Update {
                update: Update::Script(params),
                expected: None,
            },
        };
        tasks.spawn(async move { one(&*store, operation).await.written().unwrap() });
    }
    while let Some(done) = tasks.join_next().await {
        assert_eq!(done.unwrap().result, WriteResult::Updated);
    }
    let document = store
        .get(".fleet-agents", "a")
        .await
        .unwrap()
        .unwrap()
        .source
        .to_value();
    assert_eq!(
        document["outputs"]["default"]["to_retire_api_key_ids"]
            .as_array()
            .map(Vec::len),
        Some(10)
    );
}

fn map(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}
