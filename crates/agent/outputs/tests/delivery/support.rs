//! A TLS server that answers as its script says and keeps what it was sent.

use std::collections::VecDeque;
use std::io::Read;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use certs::KeyFormat;
use event::document::DataStream;
use event::{Ack, Event, Stream};
use pki::{Authority, AuthorityRequest, LeafRequest};
use serde_json::{Value, json};
use tls::{LoadOptions, ServerTls, SslSettings};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use transport::{Listener, ServeOptions};

/// What the server does with one bulk request; without an entry it stores everything.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// The status of each item, by its message; others get 201.
    Items(Vec<(&'static str, u16)>),
    /// A status and no usable body.
    Status(u16),
    /// An answer that is no JSON.
    Garbage,
}

/// One bulk request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) headers: HeaderMap,
    pub(crate) uri: Uri,
    /// Action lines.
    pub(crate) actions: Vec<Value>,
    /// Messages of the documents.
    pub(crate) messages: Vec<String>,
}

#[derive(Debug)]
struct Shared {
    script: Mutex<VecDeque<Reply>>,
    seen: watch::Sender<Vec<Seen>>,
}

/// The server and its CA.
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
    /// Starts on a free port with a certificate for 127.0.0.1.
    pub(crate) fn start(script: Vec<Reply>) -> Self {
        let ca = Authority::generate(AuthorityRequest::default()).unwrap();
        let leaf = ca
            .issue(LeafRequest {
                ips: vec![Ipv4Addr::LOCALHOST.into()],
                ..LeafRequest::default()
            })
            .unwrap();
        let ssl = json!({
            "certificate": certs::write_pem_certificates(&leaf.chain),
            "key": certs::write_pem_key(&leaf.key, KeyFormat::Pkcs8).unwrap().expose(),
        });
        let tls = ServerTls::load(&SslSettings::from_value(&ssl).unwrap(), LoadOptions::default()).unwrap();
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let url = format!("https://127.0.0.1:{}", listener.local_addr().port());
        let shared = Arc::new(Shared {
            script: Mutex::new(script.into()),
            seen: watch::Sender::new(Vec::new()),
        });
        let router = Router::new()
            .route(
                "/",
                axum::routing::get(|| async { axum::Json(json!({"version": {"number": "9.6.0"}})) }),
            )
            .route("/_bulk", axum::routing::post(bulk))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        let stop = CancellationToken::new();
        tokio::spawn(transport::serve(
            listener,
            Some(tls),
            router,
            ServeOptions::default(),
            stop.clone(),
        ));
        Self { url, ca, shared, stop }
    }

    /// An output block that trusts this server.
    pub(crate) fn output(&self, more: Value) -> Value {
        let mut output = json!({
            "type": "elasticsearch", "hosts": [self.url], "api_key": "id:key",
            "backoff": {"init": "10ms", "max": "20ms"},
            "queue.mem.flush.timeout": "50ms",
            "ssl": {"certificate_authorities": [self.ca.certificate_pem()]},
        });
        for (key, value) in more.as_object().unwrap() {
            output[key] = value.clone();
        }
        output
    }

    /// Waits until `enough` holds of the requests seen.
    pub(crate) async fn wait_for(&self, enough: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let mut seen = self.shared.seen.subscribe();
        let reached = tokio::time::timeout(std::time::Duration::from_secs(20), seen.wait_for(|seen| enough(seen)));
        reached.await.expect("the output sends in time").unwrap().clone()
    }
}

async fn bulk(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut text = String::new();
    if headers
        .get("content-encoding")
        .is_some_and(|encoding| encoding == "gzip")
    {
        flate2::read::GzDecoder::new(&body[..])
            .read_to_string(&mut text)
            .unwrap();
    } else {
        text = String::from_utf8(body.to_vec()).unwrap();
    }
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let actions: Vec<Value> = lines.iter().step_by(2).cloned().collect();
    let messages: Vec<String> = lines
        .iter()
        .skip(1)
        .step_by(2)
        .map(|document| document["message"].as_str().unwrap().to_owned())
        .collect();
    let reply = shared.script.lock().unwrap().pop_front();
    shared.seen.send_modify(|seen| {
        seen.push(Seen {
            headers,
            uri,
            actions,
            messages: messages.clone(),
        });
    });
    match reply {
        None => answer(&messages, &[]),
        Some(Reply::Items(statuses)) => answer(&messages, &statuses),
        Some(Reply::Status(status)) => (StatusCode::from_u16(status).unwrap(), "no").into_response(),
        Some(Reply::Garbage) => "<html>".into_response(),
    }
}

fn answer(messages: &[String], statuses: &[(&str, u16)]) -> Response {
    let status = |message: &String| {
        statuses
            .iter()
            .find(|(named, _)| named == message)
            .map_or(201, |(_, status)| *status)
    };
    let item = |message: &String| match status(message) {
        201 => json!({"create": {"status": 201}}),
        status => json!({"create": {"status": status, "error": {"type": "scripted", "reason": "as the script says"}}}),
    };
    let errors = messages.iter().any(|message| status(message) != 201);
    axum::Json(json!({"took": 1, "errors": errors, "items": messages.iter().map(item).collect::<Vec<_>>()}))
        .into_response()
}

/// A stream of plain log lines.
pub(crate) fn stream() -> Arc<Stream> {
    let data_stream = DataStream {
        kind: "logs".to_owned(),
        dataset: "test".to_owned(),
        namespace: "default".to_owned(),
    };
    Arc::new(Stream {
        id: "s".to_owned(),
        input_type: "filestream".to_owned(),
        index: data_stream.index(),
        data_stream,
        pipeline: None,
        prefix: Bytes::new(),
    })
}

pub(crate) fn event(stream: &Arc<Stream>, body: &Value, ack: Ack) -> Event {
    Event {
        stream: Arc::clone(stream),
        body: Bytes::from(body.to_string()),
        id: None,
        ack,
    }
}

/// Events with these messages.
pub(crate) fn events(messages: &[&str], mut ack: impl FnMut(usize) -> Ack) -> Vec<Event> {
    let stream = stream();
    messages
        .iter()
        .enumerate()
        .map(|(number, message)| event(&stream, &json!({"message": message}), ack(number)))
        .collect()
}
