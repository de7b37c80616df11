//! A CA, servers and clients for one test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use axum::{Extension, Router};
use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use certs::KeyFormat;
use http::{HeaderMap, Request};
use pki::{Authority, AuthorityRequest, LeafRequest, Usages};
use serde_json::{Value, json};
use tls::{ClientTls, LoadOptions, ServerTls, SslSettings};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use transport::{
    HttpClient, HttpClientSettings, Listener, Peer, ProxySettings, RequestError, ServeOptions, Stopped, read_body,
    serve,
};

/// A folder with certificates, gone with the test.
pub(crate) struct Folder {
    folder: tempfile::TempDir,
    pub(crate) authority: Authority,
}

impl Folder {
    /// With a CA of its own in `ca.crt`.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::generate(AuthorityRequest {
            subject_cn: "Test CA".into(),
            ..Default::default()
        })
        .unwrap();
        let made = Self { folder, authority };
        made.write("ca.crt", &made.authority.certificate_pem());
        made
    }

    pub(crate) fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.folder.path()).unwrap().join(name)
    }

    /// In one step, as careful programs replace files.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        let beside = path.with_extension("new");
        fs_err::write(&beside, text).unwrap();
        fs_err::rename(beside, path).unwrap();
    }

    /// A pair of this CA in `name.crt` and `name.key`.
    pub(crate) fn issue(&self, name: &str, usages: Usages) {
        self.issue_by(&self.authority, name, usages);
    }

    pub(crate) fn issue_by(&self, authority: &Authority, name: &str, usages: Usages) {
        self.write_identity(name, &authority.issue(Self::request(name, usages)).unwrap());
    }

    /// As [`Folder::issue`], with a request that may differ.
    pub(crate) fn issue_request(&self, name: &str, request: LeafRequest) {
        self.write_identity(name, &self.authority.issue(request).unwrap());
    }

    pub(crate) fn request(name: &str, usages: Usages) -> LeafRequest {
        LeafRequest {
            common_name: name.to_owned(),
            dns: vec!["fleet.test".into(), "localhost".into()],
            ips: vec!["127.0.0.1".parse().unwrap()],
            usages,
            ..Default::default()
        }
    }

    fn write_identity(&self, name: &str, identity: &certs::Identity) {
        self.write(&format!("{name}.crt"), &certs::write_pem_certificates(&identity.chain));
        let key = certs::write_pem_key(&identity.key, KeyFormat::Pkcs8).unwrap();
        self.write(&format!("{name}.key"), key.expose());
    }

    /// Settings whose file names are those of this folder.
    pub(crate) fn settings(&self, mut block: Value) -> SslSettings {
        for key in ["certificate", "key"] {
            if let Some(name) = block.get(key).and_then(Value::as_str) {
                block[key] = json!(self.path(name));
            }
        }
        if let Some(names) = block.get("certificate_authorities").and_then(Value::as_array) {
            let paths: Vec<_> = names.iter().map(|name| self.path(name.as_str().unwrap())).collect();
            block["certificate_authorities"] = json!(paths);
        }
        SslSettings::from_value(&block).unwrap()
    }

    pub(crate) fn client_tls(&self, block: Value) -> Arc<ClientTls> {
        ClientTls::load(&self.settings(block), LoadOptions::named("client")).unwrap()
    }

    pub(crate) fn server_tls(&self, block: Value) -> Arc<ServerTls> {
        ServerTls::load(&self.settings(block), LoadOptions::named("server")).unwrap()
    }

    /// A client that trusts this CA and dials `address` whatever the URL says.
    pub(crate) fn client(&self, block: Value, address: SocketAddr) -> HttpClient {
        http_client(self.client_tls(block), Some(address), None)
    }
}

pub(crate) fn http_client(
    tls: Arc<ClientTls>,
    connect_to: Option<SocketAddr>,
    proxy: Option<ProxySettings>,
) -> HttpClient {
    HttpClient::new(HttpClientSettings {
        tls,
        proxy,
        connect_timeout: Duration::from_secs(5),
        headers: HeaderMap::new(),
        connect_to,
    })
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<Stopped>,
}

impl Server {
    pub(crate) fn start(tls: Option<Arc<ServerTls>>, options: ServeOptions) -> Self {
        Self::start_with(tls, options, router())
    }

    pub(crate) fn start_with(tls: Option<Arc<ServerTls>>, options: ServeOptions, router: Router) -> Self {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr();
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, tls, router, options, stop.clone()));
        Self { address, stop, task }
    }

    pub(crate) async fn stop(self) -> Stopped {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}

/// Answers with the subject of the client's certificate.
pub(crate) fn router() -> Router {
    Router::new().route(
        "/",
        get(|Extension(peer): Extension<Arc<Peer>>| async move {
            peer.certificates
                .first()
                .map_or_else(|| "nobody".to_owned(), |leaf| certs::describe(leaf).subject)
        }),
    )
}

pub(crate) async fn fetch(client: &HttpClient, url: &str) -> Result<String, RequestError> {
    let request = Request::get(url).body(Bytes::new()).unwrap();
    let response = client.send(request).await?;
    let body = read_body(response.into_body(), 1 << 20).await?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The class of what went wrong.
pub(crate) async fn class(client: &HttpClient, url: &str) -> String {
    match fetch(client, url).await {
        Ok(_) => "none".to_owned(),
        Err(error) => error
            .explanation()
            .map_or_else(|| error.to_string(), |story| story.class.clone()),
    }
}
