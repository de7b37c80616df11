//! What cannot be connected to, and what is said about it.

use access::Secret;
use axum::Router;
use axum::routing::get;
use remote::{ConnectError, RemoteCredential, RemoteStore};
use store::Store;
use url::Url;

use crate::server::{Server, elastic, serve_tls, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_credential_is_named() {
    let server = Server::start().await;
    let wrong = RemoteCredential::ServiceToken(Secret::from("AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rlc3Q6d3Jvbmc"));
    let error = RemoteStore::connect(server.settings(wrong)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { status: 401, .. }), "{error}");
    assert!(error.to_string().contains("service token"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_program_is_recognised() {
    let stranger = Router::new().route("/", get(|| async { r#"{"version":{"number":"1.0"}}"# }));
    let (url, ca, _stop) = serve_tls(stranger);
    let error = RemoteStore::connect(settings(&[&url], &ca, elastic()))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::NotAStore { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_without_a_host_are_refused() {
    let server = Server::start().await;
    for hosts in [vec![], vec![Url::parse("ftp://localhost").unwrap()]] {
        let mut settings = server.settings(elastic());
        settings.hosts = hosts;
        let error = RemoteStore::connect(settings).await.unwrap_err();
        assert!(matches!(error, ConnectError::Settings(_)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_host_is_tried() {
    let server = Server::start().await;
    let [closed] = testkit::free_ports();
    let nobody = Url::parse(&format!("https://127.0.0.1:{closed}")).unwrap();
    let hosts = settings(&[&nobody, &server.url], &server.ca, elastic());
    let store = RemoteStore::connect(hosts).await.unwrap();
    assert!(store.get("nothing", "x").await.unwrap().is_none());
}
