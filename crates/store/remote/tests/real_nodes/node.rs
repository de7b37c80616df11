//! One node of a real engine.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use access::Secret;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use remote::{RemoteCredential, RemoteSettings, RemoteStore};
use serde_json::{Value, json};
use testkit::{Engine, RealNode};
use tls::{ClientTls, LoadOptions, SslSettings};
use transport::{HeaderMap, HttpClient, HttpClientSettings, read_body};
use url::Url;

/// Each node takes half a gigabyte and both cores while it starts.
pub(crate) static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) struct Node {
    real: RealNode,
    url: Url,
}

impl Node {
    /// `None`, and said aloud, where the scripts are not.
    pub(crate) fn start(engine: Engine) -> Option<Self> {
        let real = RealNode::start(engine, &[])?;
        let url = Url::parse(real.url()).unwrap();
        Some(Self { real, url })
    }

    pub(crate) fn admin(&self) -> RemoteCredential {
        RemoteCredential::Basic {
            username: self.real.user().to_owned(),
            password: Secret::from(self.real.password()),
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
        let login = BASE64_STANDARD.encode(format!("{}:{}", self.real.user(), self.real.password()));
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
        let file = |name: &str| self.real.tls_file(name);
        let mut block = json!({ "certificate_authorities": [file("ca.crt")] });
        if with_certificate {
            block["certificate"] = json!(file("admin.crt"));
            block["key"] = json!(file("admin.key"));
        }
        ClientTls::load(&SslSettings::from_value(&block).unwrap(), LoadOptions::named("node")).unwrap()
    }
}
