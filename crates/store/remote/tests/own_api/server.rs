//! Our own API on a port of its own, with a certificate of a test CA.

use std::sync::Arc;
use std::time::Duration;

use access::{Access, FLEET_SERVER_ACCOUNT, Secret};
use axum::Router;
use camino::Utf8PathBuf;
use elasticsearch_api::{ApiSettings, ElasticsearchApi};
use embedded::{EmbeddedOptions, EmbeddedStore};
use pki::{Authority, AuthorityRequest, LeafRequest, Usages};
use remote::{RemoteCredential, RemoteSettings, RemoteStore};
use serde_json::json;
use store::Store;
use tls::{ClientTls, LoadOptions, ServerTls, SslSettings};
use tokio_util::sync::{CancellationToken, DropGuard};
use transport::{HeaderMap, Listener, ServeOptions, serve};
use url::Url;

pub(crate) struct Server {
    pub(crate) url: Url,
    pub(crate) ca: String,
    pub(crate) service_token: Secret,
    pub(crate) access: Arc<Access>,
    _stop: DropGuard,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|router| router).await
    }

    /// With something around the API, such as a fault.
    pub(crate) async fn start_with(around: impl FnOnce(Router) -> Router) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = Utf8PathBuf::from_path_buf(folder.path().join("store")).unwrap();
        let clock = clock::system();
        let store: Arc<dyn Store> = EmbeddedStore::open(EmbeddedOptions::new(directory, clock.clone())).unwrap();
        let access = Access::open(Arc::clone(&store), clock.clone()).await.unwrap();
        access.set_password("elastic", Secret::from("password")).await.unwrap();
        let service_token = access.create_service_token(FLEET_SERVER_ACCOUNT, "test").await.unwrap();
        let settings = ApiSettings {
            cluster_name: "flotilla".to_owned(),
            node_name: "node-1".to_owned(),
            cluster_uuid: "c0ffee00c0ffee00c0ffee".to_owned(),
            version: "9.2.0".to_owned(),
        };
        let router = around(ElasticsearchApi::new(settings, store, Arc::clone(&access), clock).router());
        let (url, ca, stop) = serve_tls(router);
        Self {
            url,
            ca,
            service_token,
            access,
            _stop: stop,
            _folder: folder,
        }
    }

    pub(crate) fn settings(&self, credential: RemoteCredential) -> RemoteSettings {
        settings(&[&self.url], &self.ca, credential)
    }

    /// The store as the user `elastic`.
    pub(crate) async fn store(&self) -> Arc<RemoteStore> {
        RemoteStore::connect(self.settings(elastic())).await.unwrap()
    }
}

/// Serves a router over TLS until the guard goes; the URL and the CA's certificate.
pub(crate) fn serve_tls(router: Router) -> (Url, String, DropGuard) {
    let authority = Authority::generate(AuthorityRequest::default()).unwrap();
    let identity = authority
        .issue(LeafRequest {
            common_name: "localhost".to_owned(),
            dns: vec!["localhost".to_owned()],
            ips: vec!["127.0.0.1".parse().unwrap()],
            usages: Usages::Server,
            ..LeafRequest::default()
        })
        .unwrap();
    let certificate = certs::write_pem_certificates(&identity.chain);
    let key = certs::write_pem_key(&identity.key, certs::KeyFormat::Pkcs8).unwrap();
    let block = json!({ "certificate": certificate, "key": key.expose() });
    let tls = ServerTls::load(&SslSettings::from_value(&block).unwrap(), LoadOptions::named("test")).unwrap();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = Url::parse(&format!("https://{}", listener.local_addr())).unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(serve(
        listener,
        Some(tls),
        router,
        ServeOptions::default(),
        stop.clone(),
    ));
    (url, authority.certificate_pem(), stop.drop_guard())
}

pub(crate) fn settings(hosts: &[&Url], ca: &str, credential: RemoteCredential) -> RemoteSettings {
    let block = SslSettings::from_value(&json!({ "certificate_authorities": [ca] })).unwrap();
    RemoteSettings {
        hosts: hosts.iter().map(|url| (*url).clone()).collect(),
        path: String::new(),
        tls: ClientTls::load(&block, LoadOptions::named("test")).unwrap(),
        credential,
        proxy: None,
        headers: HeaderMap::new(),
        timeout: Duration::from_secs(30),
        clock: clock::system(),
    }
}

pub(crate) fn elastic() -> RemoteCredential {
    RemoteCredential::Basic {
        username: "elastic".to_owned(),
        password: Secret::from("password"),
    }
}
