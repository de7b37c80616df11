//! A server in memory: a store in a folder of its own, a router, people and keys.

use std::sync::Arc;

use access::{Access, FLEET_SERVER_ACCOUNT, NewApiKey, NewUser, Secret};
use axum::Router;
use axum::body::Body;
use base64::prelude::{BASE64_STANDARD, Engine};
use elasticsearch_api::{ApiSettings, ElasticsearchApi};
use embedded::{EmbeddedOptions, EmbeddedStore};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use store::Store;
use tower::ServiceExt;

pub(crate) const PASSWORD: &str = "correct horse";

pub(crate) struct Server {
    router: Router,
    pub(crate) api: Arc<ElasticsearchApi>,
    pub(crate) access: Arc<Access>,
    /// The `Authorization` of the user `elastic`.
    pub(crate) elastic: String,
    /// The `Authorization` of a Fleet Server.
    pub(crate) fleet: String,
    _folder: tempfile::TempDir,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, String::from_utf8_lossy(&self.bytes)))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes.clone()).unwrap()
    }

    /// The JSON of a success.
    pub(crate) fn ok(&self) -> Value {
        assert!(
            self.status.is_success(),
            "{} {}",
            self.status,
            String::from_utf8_lossy(&self.bytes)
        );
        self.json()
    }

    /// Status, error type and reason of a refusal.
    pub(crate) fn refusal(&self) -> (u16, String, String) {
        let json = self.json();
        let text = |pointer: &str| {
            json.pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        (self.status.as_u16(), text("/error/type"), text("/error/reason"))
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = camino::Utf8PathBuf::from_path_buf(folder.path().join("store")).unwrap();
        let clock = clock::system();
        let store: Arc<dyn Store> = EmbeddedStore::open(EmbeddedOptions::new(directory, clock.clone())).unwrap();
        let access = Access::open(Arc::clone(&store), clock.clone()).await.unwrap();
        access.set_password("elastic", Secret::from(PASSWORD)).await.unwrap();
        let token = access.create_service_token(FLEET_SERVER_ACCOUNT, "test").await.unwrap();
        let settings = ApiSettings {
            cluster_name: "flotilla".to_owned(),
            node_name: "node-1".to_owned(),
            cluster_uuid: "c0ffee00c0ffee00c0ffee".to_owned(),
            version: "9.2.0".to_owned(),
        };
        let api = ElasticsearchApi::new(settings, Arc::clone(&store), Arc::clone(&access), clock);
        Self {
            router: api.router(),
            api,
            access,
            elastic: basic("elastic", PASSWORD),
            fleet: format!("Bearer {}", token.expose()),
            _folder: folder,
        }
    }

    /// The `Authorization` of a new API key that a Fleet Server made.
    pub(crate) async fn agent_key(&self, roles: Value, metadata: Value) -> String {
        let new = NewApiKey {
            name: "agent".to_owned(),
            role_descriptors: roles.try_into().unwrap(),
            metadata,
            expires: None,
        };
        let owner = self.access.fleet_server_principal();
        let key = self.access.create_api_key(&owner, new).await.unwrap();
        format!("ApiKey {}", key.encoded().expose())
    }

    /// The `Authorization` of a new user with these roles.
    pub(crate) async fn user(&self, name: &str, roles: &[&str]) -> String {
        let new = NewUser {
            password: Some(Secret::from(PASSWORD)),
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
            enabled: true,
            ..NewUser::default()
        };
        self.access.put_user(name, new).await.unwrap();
        basic(name, PASSWORD)
    }

    /// A call as `elastic` with a JSON body.
    pub(crate) async fn call(&self, method: &str, path: &str, body: impl Into<Vec<u8>>) -> Reply {
        self.call_as(&self.elastic, method, path, body).await
    }

    /// A call with an `Authorization` and a JSON body.
    pub(crate) async fn call_as(
        &self,
        authorization: &str,
        method: &str,
        path: &str,
        body: impl Into<Vec<u8>>,
    ) -> Reply {
        self.send(
            method,
            path,
            &[("authorization", authorization), ("content-type", "application/json")],
            body,
        )
        .await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self
            .router
            .clone()
            .oneshot(request.body(Body::from(body.into())).unwrap())
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        Reply {
            status: parts.status,
            headers: parts.headers,
            bytes,
        }
    }
}

pub(crate) fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")))
}

/// A roles object with one grant.
pub(crate) fn grant(indices: &[&str], privileges: &[&str]) -> Value {
    serde_json::json!({ "r": { "cluster": ["monitor"], "indices": [{ "names": indices, "privileges": privileges }] } })
}
