//! A Fleet Server over a store in a folder of its own, and requests to it.

use std::sync::Arc;
use std::time::Duration;

use access::{Access, ApiKeys, NewApiKey};
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use clock::{SharedClock, TestClock};
use embedded::{EmbeddedOptions, EmbeddedStore};
use fleet_server::{FleetServer, FleetServerSettings};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use protocol::{ServerStatus, indices};
use serde_json::{Value, json};
use store::{Operation, Refresh, Source, Store};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

pub(crate) mod faulty_store;
use faulty_store::FaultyStore;

pub(crate) const AGENT: &str = "Elastic Agent v9.6.0";

/// A running server.
pub(crate) struct Fleet {
    pub(crate) server: Arc<FleetServer>,
    pub(crate) router: Router,
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) access: Arc<Access>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) stop: CancellationToken,
    running: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An enrolled agent.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) id: String,
    pub(crate) key: String,
}

/// Settings with polls that end soon when there is nothing.
pub(crate) fn quick() -> FleetServerSettings {
    let mut settings = FleetServerSettings::default();
    settings.timeouts.checkin_long_poll = Duration::from_millis(300);
    settings.timeouts.checkin_jitter = Duration::ZERO;
    settings.timeouts.checkin_flush = Duration::from_millis(20);
    settings.pbkdf2.iterations = 1000;
    settings
}

/// Settings with polls that end only with news.
pub(crate) fn patient() -> FleetServerSettings {
    let mut settings = quick();
    settings.timeouts.checkin_long_poll = Duration::from_mins(10);
    settings
}

impl Fleet {
    pub(crate) async fn start(settings: FleetServerSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = TestClock::at("2026-11-22T01:31:23Z".parse().unwrap());
        let path = camino::Utf8PathBuf::try_from(folder.path().to_owned()).unwrap();
        let shared: SharedClock = clock.clone();
        let inner = EmbeddedStore::open(EmbeddedOptions::new(path, Arc::clone(&shared))).unwrap();
        let store = FaultyStore::new(inner);
        fleet_server::create_indices(&*store).await.unwrap();
        let access = Access::open(store.clone(), Arc::clone(&shared)).await.unwrap();
        let keys: Arc<dyn ApiKeys> = access.clone();
        let server = FleetServer::new(settings, store.clone(), keys, shared);
        let stop = CancellationToken::new();
        let running = tokio::spawn(Arc::clone(&server).run(stop.clone()));
        let router = server.router();
        let fleet = Self {
            server,
            router,
            store,
            access,
            clock,
            stop,
            running,
            _folder: folder,
        };
        fleet
            .until(|fleet| fleet.server.status() == ServerStatus::Healthy)
            .await;
        fleet
    }

    /// Stops the server and waits for its end.
    pub(crate) async fn stop(self) -> Arc<FaultyStore> {
        self.stop.cancel();
        self.running.await.unwrap();
        self.store
    }

    /// Waits until something holds.
    pub(crate) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let limit = tokio::time::Instant::now() + Duration::from_secs(20);
        while !holds(self) {
            assert!(tokio::time::Instant::now() < limit, "it did not happen in time");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn call(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// A JSON request with the headers that agents send.
    pub(crate) async fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.call(request("POST", path, key, body)).await
    }

    pub(crate) async fn put(&self, index: &str, id: &str, document: &Value) {
        let write = Operation::index(index, id, Source::of(document));
        for outcome in self.store.bulk(vec![write], Refresh::WaitFor).await.unwrap() {
            outcome.written().unwrap();
        }
    }

    pub(crate) async fn document(&self, index: &str, id: &str) -> Option<Value> {
        self.store
            .get(index, id)
            .await
            .unwrap()
            .map(|document| document.source.to_value())
    }

    pub(crate) async fn agent_document(&self, id: &str) -> Value {
        self.document(indices::AGENTS, id)
            .await
            .expect("the agent has a document")
    }

    /// Waits until the agent's document is as wanted.
    pub(crate) async fn until_agent(&self, id: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let limit = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let document = self.agent_document(id).await;
            if holds(&document) {
                return document;
            }
            assert!(
                tokio::time::Instant::now() < limit,
                "it did not happen in time: {document:#}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A policy with one Elasticsearch output, as revision `revision`.
    pub(crate) async fn publish_policy(&self, policy_id: &str, revision: i64) {
        self.publish(policy_id, revision, json!({})).await;
    }

    /// The same, with other data laid over it.
    pub(crate) async fn publish(&self, policy_id: &str, revision: i64, over: Value) {
        let mut data = json!({
            "id": policy_id, "revision": revision, "inputs": [], "agent": {"monitoring": {"enabled": false}},
            "outputs": {"default": {"type": "elasticsearch", "hosts": ["https://127.0.0.1:9200"]}},
            "output_permissions": {"default": {"_elastic_agent_checks": {"cluster": ["monitor"]}}},
            "fleet": {"hosts": ["https://127.0.0.1:8220"]}
        });
        for (key, value) in over.as_object().unwrap() {
            data[key] = value.clone();
        }
        let document = json!({
            "@timestamp": "2026-01-01T00:00:00.000Z", "policy_id": policy_id, "revision_idx": revision,
            "coordinator_idx": 0, "data": data, "default_fleet_server": false
        });
        self.put(indices::POLICIES, &format!("{policy_id}-{revision}"), &document)
            .await;
    }

    /// A new enrollment token; returns what agents show.
    pub(crate) async fn enrollment_token(&self, policy_id: &str, bounds: Value) -> String {
        let new = NewApiKey {
            name: "Default".into(),
            role_descriptors: json!({"fleet-apikey-enroll": {"cluster": []}}).try_into().unwrap(),
            ..NewApiKey::default()
        };
        let keys: &dyn ApiKeys = &*self.access;
        let key = keys.create(new).await.unwrap();
        let mut document = json!({
            "active": true, "api_key_id": key.id, "api_key": key.encoded().expose(), "name": "Default",
            "policy_id": policy_id, "created_at": "2026-01-01T00:00:00.000Z", "namespaces": ["default"]
        });
        for (field, value) in bounds.as_object().into_iter().flatten() {
            document[field] = value.clone();
        }
        self.put(indices::ENROLLMENT_API_KEYS, &format!("token-{}", key.id), &document)
            .await;
        key.encoded().expose().to_owned()
    }

    pub(crate) async fn enroll(&self, token: &str) -> Agent {
        let answer = self.post("/api/fleet/agents/enroll", token, &enrolment()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let item = &answer.json()["item"];
        Agent {
            id: item["id"].as_str().unwrap().into(),
            key: item["access_api_key"].as_str().unwrap().into(),
        }
    }

    pub(crate) async fn checkin(&self, agent: &Agent, body: &Value) -> Answer {
        self.post(&format!("/api/fleet/agents/{}/checkin", agent.id), &agent.key, body)
            .await
    }

    pub(crate) async fn ack(&self, agent: &Agent, action_id: &str) -> Answer {
        let event =
            json!({"type": "ACTION_RESULT", "subtype": "ACKNOWLEDGED", "agent_id": agent.id, "action_id": action_id});
        self.post(
            &format!("/api/fleet/agents/{}/acks", agent.id),
            &agent.key,
            &json!({"events": [event]}),
        )
        .await
    }

    /// Gives an action to agents.
    pub(crate) async fn act(&self, document_id: &str, agents: &[&Agent], action: Value) {
        let ids: Vec<_> = agents.iter().map(|agent| &agent.id).collect();
        let mut document = json!({
            "@timestamp": "2026-11-22T01:31:42.000Z", "expiration": "2026-12-22T01:31:42.000Z", "agents": ids,
            "action_id": format!("action-{document_id}")
        });
        for (key, value) in action.as_object().unwrap() {
            document[key] = value.clone();
        }
        self.put(indices::ACTIONS, document_id, &document).await;
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(crate) fn request(method: &str, path: &str, key: &str, body: &Value) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("User-Agent", AGENT);
    let request = request
        .header("Authorization", format!("ApiKey {key}"))
        .header("Content-Type", "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

pub(crate) fn enrolment() -> Value {
    json!({
        "type": "PERMANENT",
        "metadata": {
            "local": {"elastic": {"agent": {"id": "", "version": "9.6.0"}}, "host": {"hostname": "test-host"}},
            "tags": ["web", "linux", "web"]
        }
    })
}

pub(crate) fn online() -> Value {
    json!({"status": "online", "message": "Running"})
}

/// A check-in of an agent that runs this revision.
pub(crate) fn running(policy_id: &str, revision: i64) -> Value {
    json!({"status": "online", "message": "Running", "agent_policy_id": policy_id, "policy_revision_idx": revision})
}
