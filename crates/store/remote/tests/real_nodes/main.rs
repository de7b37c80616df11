//! The remote store against real engines, each started once and stopped at the end.
//!
//! The scripts that start them are no part of the project: they are looked for in `FLOTILLA_SHARED_TOOLS`, else in
//! `../shared/tools` beside the workspace. Without them these tests say that they are skipped.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod checks;
mod node;

use std::sync::PoisonError;

use access::Secret;
use remote::RemoteCredential;
use serde_json::Value;
use store::conformance::{self, Limits};

use node::{Node, ONE_AT_A_TIME};
use testkit::Engine;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::await_holding_lock,
    reason = "this machine may hold one node at a time; nobody else waits in this runtime"
)]
async fn elasticsearch() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(node) = Node::start(Engine::Elasticsearch) else {
        return;
    };
    let store = node.store(node.admin()).await;
    assert_eq!((store.product(), store.has_native_api_keys()), ("Elasticsearch", true));
    let limits = Limits {
        numbers_start_anew: true,
        data_streams_stay: true,
    };
    conformance::run_within(store, "es", limits).await;
    checks::documents(&node).await;
    let path = "/_security/service/elastic/fleet-server/credential/token/test";
    let made: Value = node.call("POST", path, None).await;
    let token = Secret::from(made["token"]["value"].as_str().unwrap());
    let fleet_server = node.store(RemoteCredential::ServiceToken(token.clone())).await;
    checks::keys_and_secrets(&fleet_server).await;
    checks::native_identities(&node, &fleet_server, &token).await;
    checks::fleet_documents(&fleet_server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::await_holding_lock,
    reason = "this machine may hold one node at a time; nobody else waits in this runtime"
)]
async fn opensearch() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(node) = Node::start(Engine::OpenSearch) else {
        return;
    };
    let store = node.store(node.admin()).await;
    assert_eq!((store.product(), store.has_native_api_keys()), ("OpenSearch", false));
    let limits = Limits {
        numbers_start_anew: true,
        data_streams_stay: false,
    };
    conformance::run_within(store, "os", limits).await;
    checks::documents(&node).await;
    let by_certificate = node.store(RemoteCredential::ClientCertificate).await;
    checks::keys_and_secrets(&by_certificate).await;
    checks::fleet_documents(&by_certificate).await;
}
