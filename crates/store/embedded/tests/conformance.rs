//! The embedded store keeps every promise of the trait, also after it was closed and opened again.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use embedded::{EmbeddedOptions, EmbeddedStore};
use query::{Query, SearchRequest};
use serde_json::json;
use store::{Operation, Refresh, Source, Store};

fn options(directory: &tempfile::TempDir) -> EmbeddedOptions {
    let path = Utf8PathBuf::from_path_buf(directory.path().join("data")).unwrap();
    EmbeddedOptions::new(path, clock::system())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(options(&directory)).unwrap();
    store::conformance::run(store.clone(), "first").await;
    store.close();
    drop(store);
    let store: Arc<EmbeddedStore> = EmbeddedStore::open(options(&directory)).unwrap();
    store::conformance::run(store, "second").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_into_which_nobody_looks_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(&directory);
    options.search_idle_after = Duration::ZERO;
    store::conformance::run(EmbeddedStore::open(options).unwrap(), "idle").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_looks_into_a_stream_at_last_finds_everything() {
    const STREAM: &str = "logs-quiet-default";
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(&directory);
    options.search_idle_after = Duration::ZERO;
    let store = EmbeddedStore::open(options).unwrap();
    let all = vec![STREAM.to_owned()];
    for number in 1..=3 {
        let source = Source::of(&json!({"@timestamp": "2026-01-01T00:00:00Z", "number": number}));
        store
            .bulk(vec![Operation::append(STREAM, source)], Refresh::Soon)
            .await
            .unwrap();
        assert_eq!(store.count(&all, &Query::MatchAll).await.unwrap(), number);
        let found = store.search(SearchRequest::new("logs-*-default")).await.unwrap();
        assert_eq!(found.total, number);
    }
}
