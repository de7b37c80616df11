//! What a search shows belongs together, however documents change meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use embedded::{EmbeddedOptions, EmbeddedStore};
use query::SearchRequest;
use serde_json::json;
use store::{Operation, Refresh, Source, Store};

const INDEX: &str = ".fleet-agents";
const DOCUMENTS: usize = 300;

fn writes(round: usize) -> Vec<Operation> {
    (0..DOCUMENTS)
        .map(|number| Operation::index(INDEX, format!("a{number}"), Source::of(&json!({ "round": round }))))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_change_while_they_are_searched_are_still_shown() {
    let folder = tempfile::tempdir().unwrap();
    let directory = camino::Utf8PathBuf::from_path_buf(folder.path().join("store")).unwrap();
    let store: Arc<dyn Store> = EmbeddedStore::open(EmbeddedOptions::new(directory, clock::system())).unwrap();
    store.bulk(writes(0), Refresh::Soon).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        async move {
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                round += 1;
                store.bulk(writes(round), Refresh::Soon).await.unwrap();
            }
            round
        }
    });
    for _ in 0..100 {
        let found = store.search(SearchRequest::new(INDEX).size(1000)).await.unwrap();
        assert_eq!(found.hits.len(), DOCUMENTS);
    }
    done.store(true, Ordering::Relaxed);
    assert!(writer.await.unwrap() > 1, "documents changed meanwhile");
}
