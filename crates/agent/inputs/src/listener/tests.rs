use std::time::Duration;

use event::{Reporter, UnitType};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::Registry;

struct Run {
    events: mpsc::Receiver<Vec<Event>>,
    reporter: Reporter,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

fn listener(protocol: Protocol, host: &str, more: impl FnOnce(&mut Settings)) -> Listener {
    let data_stream = event::DataStream {
        kind: "logs".into(),
        dataset: "d".into(),
        namespace: "n".into(),
    };
    let documents = Documents::new(
        "l".into(),
        "tcp".into(),
        data_stream,
        None,
        Fields::new(),
        event::Processors::default(),
    );
    let mut settings = Settings {
        protocol,
        host: host.to_owned(),
        max_message_size: 1000,
        max_connections: 10,
        idle_timeout: Duration::from_mins(1),
        framing: Framing::Delimiter(b"\n".to_vec()),
        syslog: None,
    };
    more(&mut settings);
    Listener {
        documents: Arc::new(documents),
        stream_id: "l".into(),
        settings,
        tls: None,
    }
}

fn run(listener: Listener) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let (sender, events) = mpsc::channel(4);
    let reporter = Reporter::new("u", UnitType::Input);
    let stop = CancellationToken::new();
    let registry = camino::Utf8Path::from_path(folder.path()).unwrap().join("registry");
    let context = InputContext {
        events: sender,
        reporter: reporter.clone(),
        clock: clock::system(),
        registry: Registry::open(&registry).unwrap(),
        stop: stop.clone(),
    };
    let task = tokio::spawn(Box::new(listener).run(context));
    Run {
        events,
        reporter,
        stop,
        task,
        _folder: folder,
    }
}

/// A port that was free a moment ago.
async fn free_port(protocol: Protocol) -> String {
    let address = match protocol {
        Protocol::Tcp => tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap(),
        Protocol::Udp => UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap(),
    };
    address.to_string()
}

impl Run {
    async fn healthy(&self) {
        let mut reports = self.reporter.subscribe();
        reports
            .wait_for(|report| report.state == UnitState::Healthy)
            .await
            .unwrap();
    }

    async fn documents(&mut self, count: usize) -> Vec<Value> {
        let mut documents: Vec<Value> = Vec::new();
        while documents.len() < count {
            let events = self.events.recv().await.unwrap();
            documents.extend(
                events
                    .iter()
                    .map(|event| serde_json::from_slice::<Value>(&event.body).unwrap()),
            );
        }
        documents
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn lines_over_tcp_become_events() {
    let host = free_port(Protocol::Tcp).await;
    let mut run = run(listener(Protocol::Tcp, &host, |_| {}));
    run.healthy().await;
    let mut stream = TcpStream::connect(&host).await.unwrap();
    stream.write_all(b"one\r\ntwo").await.unwrap();
    stream.shutdown().await.unwrap();
    let documents = run.documents(2).await;
    assert_eq!(
        (&documents[0]["message"], &documents[1]["message"]),
        (&json!("one"), &json!("two"))
    );
    assert_eq!(
        documents[0]["log"]["source"]["address"],
        stream.local_addr().unwrap().to_string()
    );
    run.stop().await;
}

#[tokio::test]
async fn syslog_over_udp_is_taken_apart() {
    let host = free_port(Protocol::Udp).await;
    let mut run = run(listener(Protocol::Udp, &host, |settings| {
        settings.syslog = Some(SyslogSettings::default());
    }));
    run.healthy().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket
        .send_to(b"<13>2026-01-02T03:04:05Z web-01 app[7]: hello", &host)
        .await
        .unwrap();
    let document = run.documents(1).await.remove(0);
    assert_eq!(
        (&document["message"], &document["@timestamp"]),
        (&json!("hello"), &json!("2026-01-02T03:04:05.000Z"))
    );
    assert_eq!(document["log"]["syslog"]["appname"], "app");
    run.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = taken.local_addr().unwrap().to_string();
    let run = run(listener(Protocol::Tcp, &host, |_| {}));
    let mut reports = run.reporter.subscribe();
    let report = reports
        .wait_for(|report| !report.streams.is_empty())
        .await
        .unwrap()
        .clone();
    assert_eq!(report.streams["l"].status, UnitState::Failed);
    assert!(report.streams["l"].error.contains(&host), "{report:?}");
    run.stop().await;
}
