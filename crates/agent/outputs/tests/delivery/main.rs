//! Outputs against servers that answer as scripted, and against a real Kafka.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod kafka;
mod logstash;
mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use event::{Ack, AckTracker, Reporter, UnitState, UnitType};
use outputs::{OutputContext, OutputHandle, StopOutcome};
use serde_json::{Value, json};
use support::{Reply, Server, events};

const LONG: Duration = Duration::from_secs(20);

struct Folder {
    path: Utf8PathBuf,
    _guard: tempfile::TempDir,
}

fn folder() -> Folder {
    let guard = tempfile::tempdir().unwrap();
    Folder {
        path: Utf8PathBuf::from_path_buf(guard.path().to_owned()).unwrap(),
        _guard: guard,
    }
}

fn build(block: &Value, data_dir: &Utf8Path) -> OutputHandle {
    let context = OutputContext {
        clock: clock::system(),
        data_dir: data_dir.to_owned(),
        reporter: Reporter::new("default", UnitType::Output),
        version: "9.6.0".to_owned(),
        reloader: tls::Reloader::new(),
        console: None,
        queue_cipher: None,
    };
    outputs::build("default", block, context).unwrap()
}

fn tracked() -> (AckTracker, Arc<Mutex<u64>>) {
    let reached = Arc::new(Mutex::new(0));
    let sink = Arc::clone(&reached);
    (
        AckTracker::new(move |position| *sink.lock().unwrap() = position),
        reached,
    )
}

fn messages(seen: &[support::Seen]) -> Vec<Vec<&str>> {
    seen.iter()
        .map(|request| request.messages.iter().map(String::as_str).collect())
        .collect()
}

#[tokio::test]
async fn events_arrive_with_credentials_gzip_and_are_acknowledged() {
    let server = Server::start(vec![]);
    let folder = folder();
    let output = build(&server.output(json!({"headers": {"x-team": "blue"}})), &folder.path);
    let (tracker, reached) = tracked();
    output
        .replayable
        .send(events(&["a", "b"], |number| tracker.issue(number as u64 + 1)))
        .await
        .unwrap();
    let seen = server.wait_for(|seen| !seen.is_empty()).await;
    assert_eq!(messages(&seen), [["a", "b"]]);
    assert_eq!(seen[0].actions[0], json!({"create": {"_index": "logs-test-default"}}));
    let header = |name: &str| seen[0].headers.get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(header("authorization"), "ApiKey aWQ6a2V5");
    assert_eq!(
        (header("content-encoding"), header("x-team")),
        ("gzip".to_owned(), "blue".to_owned())
    );
    assert!(seen[0].uri.query().unwrap().starts_with("filter_path="));
    assert_eq!(output.stop_and_wait(LONG).await, StopOutcome::Clean);
    assert_eq!(*reached.lock().unwrap(), 2);
}

#[tokio::test]
async fn only_failed_items_are_sent_again_and_refused_ones_are_kept() {
    let script = vec![
        Reply::Items(vec![("busy", 429), ("broken", 503), ("bad", 400), ("known", 409)]),
        Reply::Items(vec![("broken", 500)]),
    ];
    let server = Server::start(script);
    let folder = folder();
    let output = build(&server.output(json!({})), &folder.path);
    let (tracker, reached) = tracked();
    let sent = ["good", "busy", "broken", "bad", "known"];
    output
        .replayable
        .send(events(&sent, |number| tracker.issue(number as u64 + 1)))
        .await
        .unwrap();
    let seen = server.wait_for(|seen| seen.len() == 3).await;
    assert_eq!(messages(&seen), [sent.to_vec(), vec!["busy", "broken"], vec!["broken"]]);
    let counters_when_done = {
        output
            .reporter()
            .subscribe()
            .wait_for(|report| report.state == UnitState::Healthy)
            .await
            .unwrap();
        output.counters()
    };
    assert_eq!(output.stop_and_wait(LONG).await, StopOutcome::Clean);
    assert_eq!(*reached.lock().unwrap(), 5, "a refused event lets the source move on");
    let expected = (4, 1, 1, 1, 3);
    let counters = counters_when_done;
    let counted = (
        counters.acknowledged,
        counters.duplicates,
        counters.dropped,
        counters.dead_lettered,
        counters.retried,
    );
    assert_eq!(counted, expected);
    let letters = fs_err::read_to_string(folder.path.join("dead-letter.ndjson")).unwrap();
    let letter: Value = serde_json::from_str(&letters).unwrap();
    assert_eq!(
        (letter["status"].as_u64(), letter["document"]["message"].as_str()),
        (Some(400), Some("bad"))
    );
}

#[tokio::test]
async fn whole_requests_are_retried_until_they_are_taken() {
    let script = [429, 503, 500, 401, 404].map(Reply::Status).to_vec();
    let server = Server::start([script, vec![Reply::Garbage]].concat());
    let folder = folder();
    let output = build(&server.output(json!({})), &folder.path);
    output.replayable.send(events(&["a"], |_| Ack::none())).await.unwrap();
    let seen = server.wait_for(|seen| seen.len() == 7).await;
    assert!(seen.iter().all(|request| request.messages == ["a"]));
    assert_eq!(output.stop_and_wait(LONG).await, StopOutcome::Clean);
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_split_and_a_single_event_dropped() {
    let server = Server::start(vec![Reply::Status(413), Reply::Status(413)]);
    let folder = folder();
    let output = build(&server.output(json!({})), &folder.path);
    let (tracker, reached) = tracked();
    output
        .replayable
        .send(events(&["a", "b"], |number| tracker.issue(number as u64 + 1)))
        .await
        .unwrap();
    let seen = server.wait_for(|seen| seen.len() == 3).await;
    assert_eq!(messages(&seen), [vec!["a", "b"], vec!["a"], vec!["b"]]);
    assert_eq!(output.stop_and_wait(LONG).await, StopOutcome::Clean);
    assert_eq!(*reached.lock().unwrap(), 2);
    assert!(
        fs_err::read_to_string(folder.path.join("dead-letter.ndjson"))
            .unwrap()
            .contains("\"status\":413")
    );
}

#[tokio::test]
async fn a_host_that_is_down_is_left_for_one_that_is_not() {
    let server = Server::start(vec![]);
    let [port] = testkit::free_ports();
    for load_balance in [true, false] {
        let folder = folder();
        let hosts = json!([format!("https://127.0.0.1:{port}"), server.url]);
        let block = server.output(json!({"hosts": hosts, "loadbalance": load_balance}));
        let output = build(&block, &folder.path);
        let name = format!("with loadbalance {load_balance}");
        output.replayable.send(events(&[&name], |_| Ack::none())).await.unwrap();
        server
            .wait_for(|seen| seen.iter().any(|request| request.messages[0] == name))
            .await;
        assert_eq!(output.stop_and_wait(LONG).await, StopOutcome::Clean);
    }
}

#[tokio::test]
async fn a_server_of_another_ca_is_never_sent_an_event_and_the_unit_says_why() {
    let server = Server::start(vec![]);
    let stranger = Server::start(vec![]);
    let folder = folder();
    let block = server.output(json!({"hosts": [stranger.url]}));
    let output = build(&block, &folder.path);
    output.events.send(events(&["a"], |_| Ack::none())).await.unwrap();
    let mut reports = output.reporter().subscribe();
    let report = reports
        .wait_for(|report| report.state == UnitState::Degraded)
        .await
        .unwrap()
        .clone();
    assert!(report.message.contains("trusted certificate"), "{}", report.message);
    let error = outputs::probe("default", &block).await.unwrap_err().to_string();
    assert!(error.contains("trusted certificate"), "{error}");
    let undelivered = output.stop_and_wait(Duration::from_millis(100)).await;
    assert_eq!(undelivered, StopOutcome::Undelivered { events: 1 });
    assert!(stranger.wait_for(|_| true).await.is_empty());

    // What could not be delivered was kept on disk and goes out when the output works.
    let output = build(&server.output(json!({})), &folder.path);
    let seen = server.wait_for(|seen| !seen.is_empty()).await;
    assert_eq!(messages(&seen), [["a"]]);
    assert_eq!(output.stop_and_wait(LONG).await, StopOutcome::Clean);
    let output = build(&server.output(json!({})), &folder.path);
    assert_eq!(output.on_disk(), (0, 0));
}

#[tokio::test]
async fn a_full_queue_spills_what_cannot_be_read_again_and_holds_files_back() {
    let [port] = testkit::free_ports();
    let folder = folder();
    let server = Server::start(vec![]);
    let down = server
        .output(json!({"hosts": [format!("https://127.0.0.1:{port}")], "queue.mem.events": 4, "bulk_max_size": 4}));
    let output = build(&down, &folder.path);
    let names: Vec<String> = (0..20).map(|number| format!("m{number}")).collect();
    for name in &names {
        output.events.send(events(&[name], |_| Ack::none())).await.unwrap();
    }
    let replayable = output.replayable.clone();
    let blocked = async {
        for _ in 0..50 {
            replayable.send(events(&["file"], |_| Ack::none())).await.unwrap();
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_millis(200), blocked).await.is_err(),
        "a full queue must hold a file back"
    );
    drop(replayable);
    output.stop_and_wait(Duration::from_millis(50)).await;

    let output = build(&server.output(json!({})), &folder.path);
    let arrived = |seen: &[support::Seen]| {
        names
            .iter()
            .all(|name| seen.iter().any(|request| request.messages.contains(name)))
    };
    server.wait_for(arrived).await;
    assert_eq!(output.stop_and_wait(LONG).await, StopOutcome::Clean);
}

#[tokio::test]
async fn a_probe_makes_a_real_request() {
    let server = Server::start(vec![]);
    outputs::probe("default", &server.output(json!({}))).await.unwrap();
    let [port] = testkit::free_ports();
    let gone = server.output(json!({"hosts": [format!("https://127.0.0.1:{port}")]}));
    let error = outputs::probe("default", &gone).await.unwrap_err().to_string();
    assert!(error.contains(&port.to_string()), "{error}");
    let wrong = server.output(json!({"ssl": {"certificate_authorities": ["/no/such/ca.crt"]}}));
    let error = outputs::probe("default", &wrong).await.unwrap_err().to_string();
    assert!(error.contains("/no/such/ca.crt"), "{error}");
}
