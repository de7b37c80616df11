//! A console over a store in a folder of its own, and the requests of a client.

use std::sync::Arc;

use access::{Access, NewUser, Secret};
use axum::Router;
use axum::body::Body;
use base64::Engine;
use clock::TestClock;
use embedded::{EmbeddedOptions, EmbeddedStore};
use fleet_console::{Console, ConsoleSettings, SetupSummary};
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::Value;
use store::{Operation, Refresh, Source, Store};
use tower::ServiceExt;

pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) struct Fleet {
    pub(crate) console: Arc<Console>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) access: Arc<Access>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) setup: SetupSummary,
    router: Router,
    _folder: tempfile::TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The `item` of a successful answer.
    pub(crate) fn item(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body["item"].clone()
    }

    /// The body of a successful answer.
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// The message of a refused request.
    pub(crate) fn refused(self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(self.body["statusCode"], status);
        self.body["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = TestClock::at("2026-01-02T12:00:00Z".parse().unwrap());
        let path = camino::Utf8Path::from_path(folder.path()).unwrap().join("store");
        let store: Arc<dyn Store> = EmbeddedStore::open(EmbeddedOptions::new(path, clock.clone())).unwrap();
        let access = Access::open(Arc::clone(&store), clock.clone()).await.unwrap();
        access.set_password("elastic", Secret::from(PASSWORD)).await.unwrap();
        let user = NewUser {
            password: Some(Secret::from(PASSWORD)),
            roles: vec!["viewer".into()],
            enabled: true,
            ..NewUser::default()
        };
        access.put_user("reader", user.clone()).await.unwrap();
        access
            .put_user("nobody", NewUser { roles: vec![], ..user })
            .await
            .unwrap();
        let settings = ConsoleSettings {
            fleet_server_urls: vec!["https://fleet.example:8220".into()],
            elasticsearch_urls: vec!["https://es.example:9200".into()],
            ca_fingerprint: Some("ab".repeat(32)),
            ..ConsoleSettings::default()
        };
        let console = Console::new(settings, Arc::clone(&store), Arc::clone(&access), clock.clone());
        let setup = console.setup().await.unwrap();
        Self {
            router: console.router(),
            console,
            store,
            access,
            clock,
            setup,
            _folder: folder,
        }
    }

    /// A request of `elastic`.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.ask_as(Some(&basic("elastic", PASSWORD)), method, path, body).await
    }

    pub(crate) async fn ask_as(
        &self,
        authorization: Option<&str>,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method.clone()).uri(path);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        if method != Method::GET {
            request = request.header("kbn-xsrf", "true");
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, None).await
    }

    /// Writes a document as Fleet Server would.
    pub(crate) async fn write(&self, index: &str, id: &str, document: Value) {
        let outcomes = self
            .store
            .bulk(
                vec![Operation::index(index, id, Source::of(&document))],
                Refresh::WaitFor,
            )
            .await
            .unwrap();
        for outcome in outcomes {
            outcome.written().unwrap();
        }
    }

    /// The newest published revision of a policy.
    pub(crate) async fn published(&self, policy_id: &str) -> Value {
        let request = query::SearchRequest::new(".fleet-policies")
            .query(query::Query::term("policy_id", policy_id))
            .size(1)
            .sort_by("revision_idx", query::SortOrder::Descending);
        let found = self.store.search(request).await.unwrap();
        found
            .hits
            .first()
            .map(|hit| hit.document.source.to_value())
            .unwrap_or_default()
    }
}

pub(crate) fn basic(username: &str, password: &str) -> String {
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"))
    )
}
