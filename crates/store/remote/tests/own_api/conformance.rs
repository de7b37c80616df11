//! Every promise of the trait.

use crate::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_remote_store_conforms_over_our_own_api() {
    let server = Server::start().await;
    let store = server.store().await;
    assert_eq!((store.product(), store.version()), ("Flotilla", "9.2.0"));
    store::conformance::run(store, "own").await;
}
