//! One node of a real engine.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use access::Secret;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use remote::{RemoteCredential, RemoteSettings, RemoteStore};
use serde_json::{Value, json};
use tls::{ClientTls, LoadOptions, SslSettings};
use transport::{HeaderMap, HttpClient, HttpClientSettings, read_body};
use url::Url;

/// Each node takes half a gigabyte and both cores while it starts.
pub(crate) static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const PASSWORD: &str = "flotilla-Admin-1";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Engine {
    Elasticsearch,
    OpenSearch,
}

impl Engine {
    fn folder(self) -> &'static str {
        match self {
            Self::Elasticsearch => "elasticsearch",
            Self::OpenSearch => "opensearch",
        }
    }

    fn user(self) -> &'static str {
        match self {
            Self::Elasticsearch => "elastic",
            Self::OpenSearch => "admin",
        }
    }
}

pub(crate) struct Node {
    engine: Engine,
    url: Url,
    tools: PathBuf,
    folder: tempfile::TempDir,
}

impl Node {
    /// `None`, and said aloud, where the scripts are not.
    pub(crate) fn start(engine: Engine) -> Option<Self> {
        let tools = tools().join(engine.folder());
        if !tools.join("start.sh").is_file() {
            testkit::skip(&format!(
                "there is no `start.sh` in {}; set FLOTILLA_SHARED_TOOLS",
                tools.display()
            ));
            return None;
        }
        // Between asking for a port and the node's taking it, another program may.
        let mut told = String::new();
        for _ in 0..2 {
            let folder = tempfile::tempdir().unwrap();
            let [port] = testkit::free_ports();
            let output = testkit::run(
                tools.join("start.sh"),
                [folder.path().as_os_str(), port.to_string().as_ref()],
            );
            if output.status.success() {
                let url = Url::parse(&format!("https://127.0.0.1:{port}")).unwrap();
                return Some(Self {
                    engine,
                    url,
                    tools,
                    folder,
                });
            }
            told = String::from_utf8_lossy(&output.stderr).into_owned();
            stop(&tools, folder.path());
        }
        panic!("{engine:?} does not start: {told}");
    }

    pub(crate) fn admin(&self) -> RemoteCredential {
        RemoteCredential::Basic {
            username: self.engine.user().to_owned(),
            password: Secret::from(PASSWORD),
        }
    }

    /// A new store, which remembers nothing of others.
    pub(crate) async fn store(&self, credential: RemoteCredential) -> Arc<RemoteStore> {
        let certificate = matches!(credential, RemoteCredential::ClientCertificate);
        let settings = RemoteSettings {
            hosts: vec![self.url.clone()],
            path: String::new(),
            tls: self.tls(certificate),
            credential,
            proxy: None,
            headers: HeaderMap::new(),
            timeout: Duration::from_mins(1),
            clock: clock::system(),
        };
        RemoteStore::connect(settings).await.unwrap()
    }

    /// A call as the administrator, past the store.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let client = HttpClient::new(HttpClientSettings {
            tls: self.tls(false),
            proxy: None,
            connect_timeout: Duration::from_secs(10),
            headers: HeaderMap::new(),
            connect_to: None,
        });
        let login = BASE64_STANDARD.encode(format!("{}:{PASSWORD}", self.engine.user()));
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{}", self.url.as_str().trim_end_matches('/'), path))
            .header("authorization", format!("Basic {login}"))
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        let response = client.send(request).await.unwrap();
        let status = response.status();
        let body = read_body(response.into_body(), 1 << 20).await.unwrap();
        assert!(
            status.is_success(),
            "{method} {path}: {status} {}",
            String::from_utf8_lossy(&body)
        );
        serde_json::from_slice(&body).unwrap()
    }

    fn tls(&self, with_certificate: bool) -> Arc<ClientTls> {
        let file = |name: &str| self.folder.path().join("tls").join(name);
        let mut block = json!({ "certificate_authorities": [file("ca.crt")] });
        if with_certificate {
            block["certificate"] = json!(file("admin.crt"));
            block["key"] = json!(file("admin.key"));
        }
        ClientTls::load(&SslSettings::from_value(&block).unwrap(), LoadOptions::named("node")).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        stop(&self.tools, self.folder.path());
    }
}

fn stop(tools: &Path, folder: &Path) {
    testkit::run(tools.join("stop.sh"), [folder]);
}

#[expect(clippy::disallowed_methods, reason = "a test asks its caller")]
fn tools() -> PathBuf {
    std::env::var("FLOTILLA_SHARED_TOOLS").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/tools"),
        PathBuf::from,
    )
}
