//! A Fleet Server that does as a test says, over real TLS.

use std::collections::VecDeque;
use std::io::Read;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::connection::ConnectionSettings;
use agent::{Build, Daemon, DaemonOptions, EnrollOptions, FleetServerComponent, Paths};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use camino::Utf8PathBuf;
use certs::KeyFormat;
use pki::{Authority, AuthorityRequest, LeafRequest};
use serde_json::{Value, json};
use sha2::Digest;
use tls::{LoadOptions, ServerTls, SslSettings};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use transport::{Listener, ServeOptions};

/// Nothing in these tests takes longer, also on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);
pub(crate) const TOKEN: &str = "dG9rZW46a2V5";

/// What the server was asked.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) what: &'static str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

#[derive(Debug, Default)]
struct Behaviour {
    /// Answers to enrolments, before the usual one.
    enroll: VecDeque<(u16, Value)>,
    /// Statuses of check-ins, before the usual one.
    checkin_statuses: VecDeque<u16>,
    /// Check-ins fail with this status as long as it is set.
    checkin_fails: Option<u16>,
    /// Delivered with each check-in until acknowledged.
    actions: Vec<Value>,
    /// Agents by id with their replace token.
    agents: Vec<(String, String)>,
    uploads: Vec<u8>,
    /// The key that packages are signed with.
    public_key: Vec<u8>,
    /// The program that it hands out.
    program: Vec<u8>,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    news: Notify,
    seen: watch::Sender<Vec<Seen>>,
}

/// The server.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) ca: Authority,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&Authority::generate(AuthorityRequest::default()).unwrap(), None)
    }

    /// With a certificate of `ca`; agents must show one of `clients`.
    pub(crate) fn start_with(ca: &Authority, clients: Option<&Authority>) -> Self {
        let tls = server_tls(ca, clients);
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let url = format!("https://127.0.0.1:{}", listener.local_addr().port());
        let shared = Arc::new(Shared {
            behaviour: Mutex::default(),
            news: Notify::new(),
            seen: watch::Sender::new(Vec::new()),
        });
        let router = Router::new()
            .route("/api/status", get(status))
            .route("/api/fleet/agents/enroll", post(enroll))
            .route("/api/fleet/agents/{id}/checkin", post(checkin))
            .route("/api/fleet/agents/{id}/acks", post(acks))
            .route("/api/fleet/agents/{id}/audit/unenroll", post(audit))
            .route("/api/fleet/uploads", post(upload_begin))
            .route("/api/fleet/uploads/{id}", post(upload_end))
            .route("/api/fleet/uploads/{id}/{chunk}", put(upload_chunk))
            .route("/api/agents/upgrades/{version}/pgp-public-key", get(public_key))
            .route("/install/{file}", get(program))
            .with_state(Arc::clone(&shared));
        let stop = CancellationToken::new();
        let options = ServeOptions {
            grace: Duration::from_millis(10),
            ..ServeOptions::default()
        };
        tokio::spawn(transport::serve(listener, Some(tls), router, options, stop.clone()));
        let ca = Authority::from_identity(ca.to_identity()).unwrap();
        Self { url, ca, shared, stop }
    }

    /// The next enrolments are answered with these.
    pub(crate) fn answer_enroll(&self, answers: impl IntoIterator<Item = (u16, Value)>) {
        self.shared.behaviour.lock().unwrap().enroll.extend(answers);
    }

    /// Check-ins fail from now on, or work again.
    pub(crate) fn fail_checkins(&self, status: Option<u16>) {
        self.shared.behaviour.lock().unwrap().checkin_fails = status;
        self.shared.news.notify_waiters();
    }

    /// The next check-ins fail with these.
    pub(crate) fn fail_next_checkins(&self, statuses: impl IntoIterator<Item = u16>) {
        self.shared.behaviour.lock().unwrap().checkin_statuses.extend(statuses);
        self.shared.news.notify_waiters();
    }

    /// Delivers an action until it is acknowledged.
    pub(crate) fn send_action(&self, action: Value) {
        self.shared.behaviour.lock().unwrap().actions.push(action);
        self.shared.news.notify_waiters();
    }

    /// Delivers a policy.
    pub(crate) fn send_policy(&self, revision: i64, policy: Value) {
        let mut policy = policy;
        policy["id"] = json!("p");
        policy["revision"] = json!(revision);
        self.send_action(json!({
            "id": format!("policy:p:{revision}"), "type": "POLICY_CHANGE", "data": {"policy": policy},
        }));
    }

    /// Vouches for packages that are signed with this key.
    pub(crate) fn vouch_for(&self, public_key: Vec<u8>) {
        self.shared.behaviour.lock().unwrap().public_key = public_key;
    }

    /// Hands out this program.
    pub(crate) fn hand_out(&self, program: &str) {
        self.shared.behaviour.lock().unwrap().program = program.as_bytes().to_vec();
    }

    /// Takes an action back.
    pub(crate) fn withdraw(&self, id: &str) {
        self.shared
            .behaviour
            .lock()
            .unwrap()
            .actions
            .retain(|action| action["id"] != id);
    }

    /// What was uploaded.
    pub(crate) fn uploaded(&self) -> Vec<u8> {
        self.shared.behaviour.lock().unwrap().uploads.clone()
    }

    /// The first request of a kind for which `wanted` holds, now or soon.
    pub(crate) async fn wait_for(&self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let matches = |seen: &Seen| seen.what == what && wanted(seen);
        let mut seen = self.shared.seen.subscribe();
        let found = tokio::time::timeout(SOON, seen.wait_for(|seen| seen.iter().any(matches))).await;
        let Ok(found) = found else {
            panic!("no such {what}; seen: {:#?}", self.shared.seen.borrow())
        };
        found.unwrap().iter().find(|seen| matches(seen)).cloned().unwrap()
    }

    /// Waits for the acknowledgement of an action.
    pub(crate) async fn acknowledged(&self, id: &str) -> Value {
        let event = |seen: &Seen| {
            let events = seen.body["events"].as_array().cloned().unwrap_or_default();
            events.into_iter().find(|event| event["action_id"] == id)
        };
        let seen = self.wait_for("acks", |seen| event(seen).is_some()).await;
        event(&seen).unwrap()
    }

    /// How many requests of a kind came in.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.shared
            .seen
            .borrow()
            .iter()
            .filter(|seen| seen.what == what)
            .count()
    }

    /// Options that enrol here, trusting this server's CA.
    pub(crate) fn enroll_options(&self, paths: &Paths) -> EnrollOptions {
        let ssl = json!({"certificate_authorities": [self.ca.certificate_pem()]});
        EnrollOptions {
            paths: paths.clone(),
            connection: ConnectionSettings {
                hosts: vec![self.url.clone()],
                ssl: ssl.as_object().unwrap().clone(),
                ..ConnectionSettings::default()
            },
            enrollment_token: TOKEN.into(),
            ca_fingerprint: None,
            insecure: false,
            id: None,
            replace_token: None,
            tags: vec![],
            timeout: Some(SOON),
            server: None,
            build: build(),
            clock: clock::system(),
        }
    }
}

/// What a server of `ca` presents; clients must show a certificate of `clients`.
pub(crate) fn server_tls(ca: &Authority, clients: Option<&Authority>) -> Arc<ServerTls> {
    let leaf = ca
        .issue(LeafRequest {
            ips: vec![Ipv4Addr::LOCALHOST.into()],
            ..LeafRequest::default()
        })
        .unwrap();
    let mut ssl = json!({
        "certificate": certs::write_pem_certificates(&leaf.chain),
        "key": certs::write_pem_key(&leaf.key, KeyFormat::Pkcs8).unwrap().expose(),
    });
    if let Some(clients) = clients {
        ssl["certificate_authorities"] = json!([clients.certificate_pem()]);
        ssl["client_authentication"] = json!("required");
    }
    ServerTls::load(&SslSettings::from_value(&ssl).unwrap(), LoadOptions::default()).unwrap()
}

pub(crate) fn build() -> Build {
    Build {
        version: "9.6.0".to_owned(),
        commit: "abc".to_owned(),
        time: String::new(),
        snapshot: false,
    }
}

/// An agent's folder; gone with the value.
pub(crate) struct Folder {
    pub(crate) paths: Paths,
    pub(crate) path: Utf8PathBuf,
    _guard: tempfile::TempDir,
}

pub(crate) fn folder() -> Folder {
    let guard = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(guard.path().to_owned()).unwrap();
    Folder {
        paths: Paths::new(&path, None, None, None),
        path,
        _guard: guard,
    }
}

/// A daemon that runs until it is stopped.
pub(crate) struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<agent::DaemonEnd, agent::DaemonError>>,
}

impl Running {
    pub(crate) fn start(paths: &Paths) -> Self {
        Self::start_with(paths, None)
    }

    pub(crate) fn start_with(paths: &Paths, fleet_server: Option<Arc<dyn FleetServerComponent>>) -> Self {
        Self::start_at(paths, fleet_server, clock::system())
    }

    /// By another clock than the system's.
    pub(crate) fn start_at(
        paths: &Paths,
        fleet_server: Option<Arc<dyn FleetServerComponent>>,
        clock: clock::SharedClock,
    ) -> Self {
        let stop = CancellationToken::new();
        let options = DaemonOptions {
            paths: paths.clone(),
            config_file: "elastic-agent.yml".into(),
            clock,
            build: build(),
            set_log_level: None,
            console: None,
            environment: vec![],
        };
        Self {
            task: tokio::spawn(Daemon::run_with_fleet_server(options, fleet_server, stop.clone())),
            stop,
        }
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(self) -> agent::DaemonEnd {
        let ended = tokio::time::timeout(SOON, self.task).await;
        ended.expect("it ends in time").unwrap().unwrap()
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(SOON, self.task)
            .await
            .expect("stops in time")
            .unwrap()
            .unwrap();
    }
}

/// Asks for the status until `wanted` holds.
pub(crate) async fn status_becomes(
    paths: &Paths,
    wanted: impl Fn(&agent::status::StatusReport) -> bool,
) -> agent::status::StatusReport {
    let client = agent::control::Client::new(paths.socket());
    let started = std::time::Instant::now();
    loop {
        let status = client.status().await;
        if let Ok(report) = &status
            && wanted(report)
        {
            return report.clone();
        }
        assert!(started.elapsed() < SOON, "the status stays {status:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn note(shared: &Shared, what: &'static str, headers: &HeaderMap, body: Value) {
    shared.seen.send_modify(|seen| {
        seen.push(Seen {
            what,
            headers: headers.clone(),
            body,
        });
    });
}

fn json_body(headers: &HeaderMap, body: &[u8]) -> Value {
    let mut text = String::new();
    if headers
        .get("content-encoding")
        .is_some_and(|encoding| encoding == "gzip")
    {
        flate2::read::GzDecoder::new(body).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8_lossy(body).into_owned();
    }
    serde_json::from_str(&text).unwrap_or_default()
}

fn refusal(status: u16, code: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (
        status,
        axum::Json(json!({"statusCode": status.as_u16(), "error": code, "message": "as the test says"})),
    )
        .into_response()
}

async fn status(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    note(&shared, "status", &headers, Value::Null);
    axum::Json(json!({"name": "fleet-server", "status": "HEALTHY"})).into_response()
}

async fn enroll(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let body = json_body(&headers, &body);
    note(&shared, "enroll", &headers, body.clone());
    let mut behaviour = shared.behaviour.lock().unwrap();
    if let Some((status, body)) = behaviour.enroll.pop_front() {
        return (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response();
    }
    if headers.get("authorization").and_then(|value| value.to_str().ok()) != Some(&format!("ApiKey {TOKEN}")) {
        return refusal(401, "ErrUnauthorized");
    }
    let wanted = body["id"].as_str().unwrap_or_default().to_owned();
    let replace = body["replace_token"].as_str().unwrap_or_default().to_owned();
    let known = behaviour.agents.iter().find(|(id, _)| *id == wanted);
    if known.is_some_and(|(_, token)| *token != replace || replace.is_empty()) {
        return refusal(403, "AgentNotReplaceable");
    }
    let id = if wanted.is_empty() {
        format!("agent-{}", behaviour.agents.len() + 1)
    } else {
        wanted
    };
    behaviour.agents.retain(|(known, _)| *known != id);
    behaviour.agents.push((id.clone(), replace));
    let item = json!({
        "id": id, "active": true, "policy_id": "p", "type": "PERMANENT", "access_api_key_id": "k",
        "access_api_key": "a2V5OnNlY3JldA==", "status": "online", "tags": [],
    });
    axum::Json(json!({"action": "created", "item": item})).into_response()
}

/// Answers at once while there are actions or failures to deliver, else waits for news.
async fn checkin(
    State(shared): State<Arc<Shared>>,
    Path(_): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    note(&shared, "checkin", &headers, json_body(&headers, &body));
    loop {
        let news = shared.news.notified();
        {
            let mut behaviour = shared.behaviour.lock().unwrap();
            if let Some(status) = behaviour.checkin_statuses.pop_front().or(behaviour.checkin_fails) {
                return refusal(status, "Injected");
            }
            if !behaviour.actions.is_empty() {
                let actions = behaviour.actions.clone();
                return axum::Json(json!({"action": "checkin", "ack_token": "t", "actions": actions})).into_response();
            }
        }
        news.await;
    }
}

async fn acks(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let body = json_body(&headers, &body);
    let events = body["events"].as_array().cloned().unwrap_or_default();
    shared
        .behaviour
        .lock()
        .unwrap()
        .actions
        .retain(|action| !events.iter().any(|event| event["action_id"] == action["id"]));
    note(&shared, "acks", &headers, body);
    let items: Vec<_> = events.iter().map(|_| json!({"status": 200, "message": "OK"})).collect();
    axum::Json(json!({"action": "acks", "items": items})).into_response()
}

async fn audit(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    note(&shared, "audit", &headers, json_body(&headers, &body));
    StatusCode::OK.into_response()
}

async fn public_key(State(shared): State<Arc<Shared>>) -> Vec<u8> {
    shared.behaviour.lock().unwrap().public_key.clone()
}

async fn program(State(shared): State<Arc<Shared>>, Path(file): Path<String>) -> Vec<u8> {
    let program = shared.behaviour.lock().unwrap().program.clone();
    if file.ends_with(".sha512") {
        hex::encode(sha2::Sha512::digest(&program)).into_bytes()
    } else {
        program
    }
}

async fn upload_begin(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    note(&shared, "upload", &headers, json_body(&headers, &body));
    axum::Json(json!({"upload_id": "u", "chunk_size": 100})).into_response()
}

async fn upload_chunk(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    shared.behaviour.lock().unwrap().uploads.extend_from_slice(&body);
    note(&shared, "chunk", &headers, Value::Null);
    axum::Json(json!({"status": "ok"})).into_response()
}

async fn upload_end(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    note(&shared, "upload_end", &headers, json_body(&headers, &body));
    axum::Json(json!({"status": "ok"})).into_response()
}
