//! The embedded store keeps every promise of the trait, also after it was closed and opened again.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use camino::Utf8PathBuf;
use embedded::{EmbeddedOptions, EmbeddedStore};

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
