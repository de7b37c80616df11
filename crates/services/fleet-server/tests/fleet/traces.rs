//! Recorded exchanges between stock agents and a stock Fleet Server, sent to ours and compared field by field.
//!
//! Ids, keys and tokens differ: they are learnt at the places named in [`LEARNT`] and put in place of the recorded ones
//! from then on. Everything else must be equal, but for the deviations listed with each exchange.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use access::ApiKeys;
use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use protocol::indices;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Answer, Fleet, quick};

/// Places whose values differ from run to run.
const LEARNT: [&str; 7] = [
    "/item/id",
    "/item/access_api_key",
    "/item/access_api_key_id",
    "/item/enrolled_at",
    "/upload_id",
    "/actions/0/data/policy/outputs/default/api_key",
    "/actions/0/created_at",
];

/// Headers that must be there and be equal when the recorded answer has them.
const HEADERS: [&str; 9] = [
    "Content-Type",
    "Elastic-Api-Version",
    "X-Content-Type-Options",
    "Allow",
    "Accept-Ranges",
    "Content-Range",
    "X-File-Sha2",
    "Content-Encoding",
    "Content-Length",
];

const ENROLMENT_KEY: &str = "ZW5yb2wta2V5LWlkOmVucm9sLXNlY3JldA==";
const RECORDED_AGENT: &str = "875c1c79-5b48-4f24-94f5-acb4d34d05d6";

/// A server that plays the recorded one.
struct Replay {
    fleet: Fleet,
    /// Recorded text to ours.
    ours: BTreeMap<String, String>,
}

/// One recorded exchange.
struct Exchange {
    request: Value,
    response: Value,
    note: String,
}

/// What is allowed to differ in one exchange.
#[derive(Default)]
struct Deviation {
    status: Option<u16>,
    /// Our text in place of the recorded `message`.
    message: Option<&'static str>,
    /// Our code in place of the recorded `error`.
    error: Option<&'static str>,
}

fn trace(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/fleet-server/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap()
}

fn exchanges(name: &str) -> Vec<Exchange> {
    let exchange = |recorded: &Value| Exchange {
        request: recorded["request"].clone(),
        response: recorded["response"].clone(),
        note: format!("{name}: {}", recorded["note"].as_str().unwrap_or_default()),
    };
    trace(name)["agent"].as_array().unwrap().iter().map(exchange).collect()
}

/// The documents of an index that the recorded store answered with, by id.
fn recorded_documents(name: &str, index: &str) -> BTreeMap<String, Value> {
    fn collect(value: &Value, index: &str, found: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(map) => {
                if map.get("_index").is_some_and(|name| name == index) && map.contains_key("_source") {
                    found.insert(map["_id"].as_str().unwrap().to_owned(), map["_source"].clone());
                }
                map.values().for_each(|value| collect(value, index, found));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, index, found)),
            _ => {}
        }
    }
    let mut found = BTreeMap::new();
    collect(&trace(name)["elasticsearch"], index, &mut found);
    found
}

impl Replay {
    /// A server with the recorded policy, its secret and an enrollment token.
    async fn start() -> Self {
        let mut replay = Self {
            fleet: Fleet::start(quick()).await,
            ours: BTreeMap::new(),
        };
        let keys: &dyn ApiKeys = &*replay.fleet.access;
        let secret = keys.put_secret(&"s3cret-from-store".into()).await.unwrap();
        replay.ours.insert("seed-secret-1".into(), secret);
        replay.publish_recorded_policy("seed-policy-1-rev-1").await;
        let token = replay.fleet.enrollment_token("policy-1", json!({})).await;
        replay.ours.insert(ENROLMENT_KEY.into(), token);
        replay
    }

    /// Writes a policy document of the recording.
    async fn publish_recorded_policy(&self, id: &str) {
        let documents = recorded_documents("11-policy-change", indices::POLICIES);
        self.fleet
            .put(indices::POLICIES, id, &self.translate(&documents[id]))
            .await;
    }

    /// The recorded enrolment and first check-in, which later recordings build on.
    async fn start_with_agent() -> Self {
        let mut replay = Self::start().await;
        replay.play("03-enroll", |_, _| Deviation::default()).await;
        replay.play("04-first-checkin", |_, _| Deviation::default()).await;
        replay.play("05-ack-policy", |_, _| Deviation::default()).await;
        replay
    }

    /// Puts our ids in place of the recorded ones.
    fn translate(&self, value: &Value) -> Value {
        serde_json::from_str(&self.translate_text(&value.to_string())).unwrap()
    }

    fn translate_text(&self, text: &str) -> String {
        self.ours
            .iter()
            .fold(text.to_owned(), |text, (recorded, ours)| text.replace(recorded, ours))
    }

    /// Sends every exchange of a recording and compares the answers.
    async fn play(&mut self, name: &str, deviation: impl Fn(usize, &Exchange) -> Deviation) {
        for (place, exchange) in exchanges(name).iter().enumerate() {
            self.give_action(name, exchange).await;
            let deviation = deviation(place, exchange);
            let answer = self.send(exchange).await;
            self.compare(exchange, &answer, &deviation);
        }
    }

    /// Writes the action that the recorded answer delivers, before it is asked for.
    async fn give_action(&self, name: &str, exchange: &Exchange) {
        let Some(token) = exchange.response["body"]["ack_token"]
            .as_str()
            .filter(|token| !token.is_empty())
        else {
            return;
        };
        let action = &exchange.response["body"]["actions"][0];
        let mut document = recorded_documents(name, indices::ACTIONS)
            .remove(token)
            .unwrap_or_else(|| {
                json!({
                    "@timestamp": action["created_at"], "action_id": action["id"], "agents": [RECORDED_AGENT],
                    "type": action["type"], "data": action["data"], "expiration": action["expiration"],
                    "input_type": action["input_type"], "timeout": action["timeout"], "signed": action["signed"],
                    "traceparent": action["traceparent"], "start_time": action["start_time"]
                })
            });
        document["agents"] = json!([RECORDED_AGENT]);
        self.fleet
            .put(indices::ACTIONS, token, &self.translate(&document))
            .await;
    }

    async fn send(&self, exchange: &Exchange) -> Answer {
        let recorded = &exchange.request;
        let path = self.translate_text(recorded["path"].as_str().unwrap());
        let mut request = Request::builder()
            .method(recorded["method"].as_str().unwrap())
            .uri(path);
        for (name, value) in recorded["headers"].as_object().into_iter().flatten() {
            request = request.header(name, self.translate_text(value.as_str().unwrap()));
        }
        let is_packed = recorded["headers"]["Content-Encoding"] == "gzip";
        let body = match &recorded["body"] {
            Value::Null => Vec::new(),
            Value::String(text) => text.clone().into_bytes(),
            body if body.get("binary_bytes").is_some() => content(body["binary_bytes"].as_u64().unwrap()),
            body => self.translate_text(&body.to_string()).into_bytes(),
        };
        let body = if is_packed { pack(&body) } else { body };
        self.fleet.call(request.body(Body::from(body)).unwrap()).await
    }

    fn compare(&mut self, exchange: &Exchange, answer: &Answer, deviation: &Deviation) {
        let (recorded, note) = (&exchange.response, &exchange.note);
        let status = deviation.status.map_or(recorded["status"].clone(), Value::from);
        assert_eq!(json!(answer.status.as_u16()), status, "{note}: status; {answer:?}");
        let body = unpack(answer);
        let ours: Value = serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)));
        let mut expected = recorded["body"].clone();
        for pointer in LEARNT {
            let place = (
                expected.pointer(pointer).and_then(Value::as_str),
                ours.pointer(pointer).and_then(Value::as_str),
            );
            if let (Some(recorded), Some(ours)) = place {
                assert!(!ours.is_empty(), "{note}: {pointer} is empty");
                self.ours.insert(recorded.to_owned(), ours.to_owned());
            }
        }
        if let Some(message) = deviation.message {
            expected["message"] = json!(message);
        }
        if let Some(error) = deviation.error {
            expected["error"] = json!(error);
        }
        if deviation.status.is_some() && expected.get("statusCode").is_some() {
            expected["statusCode"] = status;
        }
        let expected = if expected.is_null() {
            json!("")
        } else {
            self.translate(&expected)
        };
        assert_eq!(ours, expected, "{note}: body");
        Self::compare_headers(exchange, answer, deviation);
    }

    fn compare_headers(exchange: &Exchange, answer: &Answer, deviation: &Deviation) {
        let note = &exchange.note;
        let is_packed = answer.header("content-encoding").is_some();
        let has_own_length = deviation.message.is_some() || deviation.error.is_some() || is_packed;
        for name in HEADERS
            .iter()
            .filter(|name| **name != "Content-Length" || !has_own_length)
        {
            let Some(recorded) = exchange.response["headers"][name].as_str() else {
                continue;
            };
            // The router is asked without the HTTP layer, which counts what has no length of its own.
            let ours = match (*name, answer.header(name)) {
                ("Content-Length", None) => answer.body.len().to_string(),
                (_, ours) => ours.unwrap_or_default().to_owned(),
            };
            assert_eq!(ours, recorded, "{note}: {name}");
        }
        if exchange.response["headers"].get("X-Request-Id").is_some() {
            let ours = answer.header("x-request-id").expect("every answer has a request id");
            if let Some(sent) = exchange.request["headers"]["X-Request-Id"].as_str() {
                assert_eq!(ours, sent, "{note}: the request id comes back");
            }
        }
    }
}

/// Bytes for a chunk: the recorded ones were not kept.
fn content(length: u64) -> Vec<u8> {
    (0..length).map(|place| (place % 251) as u8).collect()
}

fn pack(body: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, body).unwrap();
    packed.finish().unwrap()
}

fn unpack(answer: &Answer) -> Vec<u8> {
    if answer.header("content-encoding") != Some("gzip") {
        return answer.body.to_vec();
    }
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&answer.body[..]), &mut plain).unwrap();
    plain
}

fn none(_: usize, _: &Exchange) -> Deviation {
    Deviation::default()
}

#[tokio::test]
async fn status() {
    Replay::start().await.play("01-status", none).await;
}

#[tokio::test]
async fn enrolments_that_are_refused() {
    let deviation = |_: usize, exchange: &Exchange| match exchange.note.as_str() {
        "02-enroll-errors: unknown enrolment type" => Deviation {
            status: Some(400),
            ..Deviation::default()
        },
        "02-enroll-errors: broken JSON" => Deviation {
            message: Some(
                "Bad request: unable to decode enroll request: EOF while parsing an object at line 1 column 1",
            ),
            ..Deviation::default()
        },
        _ => Deviation::default(),
    };
    Replay::start().await.play("02-enroll-errors", deviation).await;
}

#[tokio::test]
async fn enrolment_first_check_in_and_acknowledgement() {
    let replay = Replay::start_with_agent().await;
    let id = &replay.ours[RECORDED_AGENT];
    let document = replay.fleet.agent_document(id).await;
    assert_eq!(
        (&document["action_seq_no"], &document["policy_base_id"]),
        (&json!([-1]), &json!("policy-1"))
    );
    let recorded_hash = "a22f73c09ab210c4cb2ebca877487b47d4215a08fe4801df7f038459bd17e89e";
    assert_eq!(document["outputs"]["default"]["permissions_hash"], recorded_hash);
    assert_eq!(document["policy_revision_idx"], 1);
}

#[tokio::test]
async fn check_ins() {
    let mut replay = Replay::start_with_agent().await;
    for name in ["06-checkin-idle", "07-checkin-gzip"] {
        replay.play(name, none).await;
    }
}

#[tokio::test]
async fn actions_upgrades_and_a_changed_policy() {
    let mut replay = Replay::start_with_agent().await;
    for name in ["08-actions", "09-action-pending"] {
        replay.play(name, none).await;
    }
    let deviation = |_: usize, exchange: &Exchange| match exchange.note.as_str() {
        "10-upgrade-details: metadata missing" => Deviation {
            status: Some(400),
            ..Deviation::default()
        },
        _ => Deviation::default(),
    };
    replay.play("10-upgrade-details", deviation).await;
    let document = replay.fleet.agent_document(&replay.ours[RECORDED_AGENT]).await;
    assert_eq!(
        (&document["upgrade_details"], &document["upgrade_started_at"]),
        (&Value::Null, &Value::Null)
    );
    replay.publish_recorded_policy("unmge6_7CbMPtiFxf_eZ").await;
    replay.play("11-policy-change", none).await;
    let deviation = |_: usize, exchange: &Exchange| match exchange.note.as_str() {
        "12-checkin-errors: no User-Agent" => Deviation {
            status: Some(400),
            ..Deviation::default()
        },
        _ => Deviation::default(),
    };
    replay.play("12-checkin-errors", deviation).await;
    replay.play("17-audit-unenroll", none).await;
    replay.play("18-enroll-again", none).await;
    let deviation = |place: usize, _: &Exchange| match place {
        // The stock server still had the revoked key in its cache.
        2 => Deviation {
            error: Some("ErrUnauthorized"),
            message: Some("unauthorized"),
            ..Deviation::default()
        },
        _ => Deviation::default(),
    };
    replay.play("19-unenroll", deviation).await;
}

#[tokio::test]
async fn uploads() {
    let mut replay = Replay::start_with_agent().await;
    let (first, last) = (digest(&SHA256, &content(4_194_304)), digest(&SHA256, &content(1000)));
    let whole = digest(&SHA256, &[first.as_ref(), last.as_ref()].concat());
    for (recorded, ours) in [
        (
            "3cab7815c40973b8fb036c7a2a69b3649882622a4a0a2f1a980efa4ef8545577",
            first,
        ),
        ("3e918709dd35766bdbe95e5460b5ab044f883fcc1e5ff2ca705928b6ee4cb89d", last),
        (
            "3c5aa1656689778f7df6e52d4340f0e227110460c71488c777dc79264940746b",
            whole,
        ),
    ] {
        replay.ours.insert(recorded.to_owned(), hex::encode(ours));
    }
    let deviation = |_: usize, exchange: &Exchange| match exchange.note.as_str() {
        "13-upload: X-Chunk-SHA2 missing" => Deviation {
            status: Some(400),
            ..Deviation::default()
        },
        _ => Deviation::default(),
    };
    replay.play("13-upload", deviation).await;
    let id = format!("449d36f7-3f59-4a68-9d2a-dcbf32cac977.{}", replay.ours[RECORDED_AGENT]);
    let meta = replay
        .fleet
        .document(&indices::files_from_host_meta("agent"), &id)
        .await
        .unwrap();
    assert_eq!(
        (&meta["file"]["Status"], &meta["host"]["hostname"]),
        (&json!("READY"), &json!("test-host"))
    );
}

#[tokio::test]
async fn files_for_agents() {
    let mut replay = Replay::start_with_agent().await;
    let meta = recorded_documents("14-file-delivery", ".fleet-fileds-tohost-meta-endpoint")
        .remove("file-to-host-1")
        .unwrap();
    let meta = replay.translate(&meta);
    replay
        .fleet
        .put(".fleet-fileds-tohost-meta-endpoint", "file-to-host-1", &meta)
        .await;
    let text = exchanges("14-file-delivery")[0].response["body"]
        .as_str()
        .unwrap()
        .to_owned();
    let chunk = json!({"bid": "file-to-host-1", "last": true, "sha2": "", "data": STANDARD.encode(text)});
    replay
        .fleet
        .put(".fleet-fileds-tohost-data-endpoint", "file-to-host-1.0", &chunk)
        .await;
    replay.play("14-file-delivery", none).await;
}

#[tokio::test]
async fn artifacts() {
    let mut replay = Replay::start_with_agent().await;
    for (id, artifact) in recorded_documents("15-artifacts", indices::ARTIFACTS) {
        replay.fleet.put(indices::ARTIFACTS, &id, &artifact).await;
    }
    let deviation = |place: usize, _: &Exchange| match place {
        2 => Deviation {
            status: Some(400),
            ..Deviation::default()
        },
        _ => Deviation::default(),
    };
    replay.play("15-artifacts", deviation).await;
}

fn tls_peer() -> transport::Peer {
    transport::Peer {
        address: "127.0.0.1:1".parse().unwrap(),
        tls: true,
        certificates: Vec::new(),
        server_name: None,
    }
}

/// A site that answers every request with `text`, and how often it was asked.
fn site(text: &'static str) -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let answer = move || {
        count.fetch_add(1, Ordering::Relaxed);
        std::future::ready(text)
    };
    let listener = transport::Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/key", listener.local_addr());
    let router = axum::Router::new().route("/key", axum::routing::get(answer));
    let options = transport::ServeOptions::default();
    tokio::spawn(transport::serve(
        listener,
        None,
        router,
        options,
        CancellationToken::new(),
    ));
    (url, asked)
}

#[tokio::test]
async fn a_pgp_key_is_fetched_once_and_kept() {
    const KEY: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----\n";
    let ask = async |text: &'static str| {
        let (url, asked) = site(text);
        let folder = tempfile::tempdir().unwrap();
        let dir = camino::Utf8Path::from_path(folder.path()).unwrap().join("keys");
        let mut settings = quick();
        settings.pgp.dir = Some(dir.clone());
        settings.pgp.upstream_url = url;
        let fleet = Fleet::start(settings).await;
        let request = || {
            let mut request = Request::get("/api/agents/upgrades/9.6.0/pgp-public-key")
                .body(Body::empty())
                .unwrap();
            request.extensions_mut().insert(Arc::new(tls_peer()));
            request
        };
        let (first, second) = tokio::join!(fleet.call(request()), fleet.call(request()));
        assert_eq!((first.status, &first.body), (second.status, &second.body));
        let kept = fs_err::read_to_string(dir.join("default.pgp")).ok();
        (
            first.status.as_u16(),
            first.body.clone(),
            kept,
            asked.load(Ordering::Relaxed),
        )
    };
    assert_eq!(ask(KEY).await, (200, Bytes::from(KEY), Some(KEY.to_owned()), 1));
    let (status, _, kept, asked) = ask("<html>not found</html>").await;
    assert_eq!((status, kept, asked), (503, None, 2));
}

#[tokio::test]
async fn the_pgp_key() {
    let replay = Replay::start().await;
    let exchange = &exchanges("16-pgp")[0];
    let path = exchange.request["path"].as_str().unwrap();
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    let plain = replay.fleet.call(Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!((plain.status.as_u16(), plain.error().as_str()), (501, "ErrTLSRequired"));
    request.extensions_mut().insert(Arc::new(tls_peer()));
    let answer = replay.fleet.call(request).await;
    let mut replay = replay;
    replay.compare(exchange, &answer, &Deviation::default());
}

#[tokio::test]
async fn beyond_the_rate() {
    let mut settings = quick();
    settings.limits.enroll = fleet_server::Limit {
        interval: std::time::Duration::from_hours(1),
        burst: 1,
        max: 10,
        max_body: 1000,
    };
    settings.limits.enroll_queue = 0;
    let mut replay = Replay {
        fleet: Fleet::start(settings).await,
        ours: BTreeMap::new(),
    };
    let exchange = &exchanges("21-rate-limit")[0];
    replay.send(exchange).await;
    let answer = replay.send(exchange).await;
    replay.compare(exchange, &answer, &Deviation::default());
}
