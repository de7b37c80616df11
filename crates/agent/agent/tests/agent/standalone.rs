//! A stand-alone agent: a file says what to do, and is read again when it changes.

use agent::status::Health;
use serde_json::Value;
use testkit::free_ports;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Folder, Running, SOON, folder, status_becomes};

fn config(folder: &Folder, path: &str, extra: &str) {
    let text = format!(
        "agent.reload.period: 200ms\noutputs:\n  default:\n    type: file\n    path: {out}\ninputs:\n  - id: logs\n    type: filestream\n    streams:\n      - id: s\n        paths: [\"{path}\"]\n        data_stream.dataset: app\n{extra}",
        out = folder.path.join("out"),
    );
    fs_err::write(folder.path.join("elastic-agent.yml"), text).unwrap();
}

#[tokio::test]
async fn it_ships_what_the_file_says_and_survives_a_broken_edit() {
    let folder = folder();
    let log = folder.path.join("app.log");
    fs_err::write(&log, "a line for the stand-alone agent\n").unwrap();
    config(&folder, log.as_str(), "");
    let running = Running::start(&folder.paths);
    let report = status_becomes(&folder.paths, |report| report.state == Health::Healthy).await;
    assert_eq!(
        (report.fleet_state, report.fleet_message.as_str()),
        (Health::Stopped, "Not enrolled into Fleet")
    );
    assert!(!report.info.is_managed);

    config(&folder, log.as_str(), "broken: [");
    let report = status_becomes(&folder.paths, |report| report.state == Health::Failed).await;
    assert!(
        report.message.contains("elastic-agent.yml") && report.message.contains("read before"),
        "{}",
        report.message
    );
    config(&folder, log.as_str(), "");
    status_becomes(&folder.paths, |report| report.state == Health::Healthy).await;
    running.stop().await;
    let out = fs_err::read_dir(folder.path.join("out"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert!(
        fs_err::read_to_string(out)
            .unwrap()
            .contains("a line for the stand-alone agent")
    );
}

#[tokio::test]
async fn without_enrolment_and_file_it_waits_and_says_for_what() {
    let folder = folder();
    let running = Running::start(&folder.paths);
    let report = status_becomes(&folder.paths, |report| report.message.contains("enroll")).await;
    assert_eq!(report.state, Health::Configuring);
    running.stop().await;
}

/// Status and body of a GET; `None` when nobody listens.
async fn ask(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// Asks until the answer is as it should be.
async fn eventually(port: u16, path: &str, mut wanted: impl FnMut(Option<&(u16, String)>) -> bool) {
    let asking = async {
        loop {
            let answer = ask(port, path).await;
            if wanted(answer.as_ref()) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, asking)
        .await
        .unwrap_or_else(|_| panic!("port {port} never came to it for {path}"));
}

#[tokio::test]
async fn its_health_and_counters_are_served_where_the_file_says() {
    let folder = folder();
    let log = folder.path.join("app.log");
    fs_err::write(&log, "one\ntwo\n").unwrap();
    let [port, other] = free_ports();
    let endpoint = |port: u16| format!("agent.monitoring.http: {{enabled: true, port: {port}}}\n");
    config(&folder, log.as_str(), &endpoint(port));
    let running = Running::start(&folder.paths);
    eventually(port, "/readiness", |answer| {
        answer.is_some_and(|(status, _)| *status == 200)
    })
    .await;
    eventually(port, "/stats", |answer| {
        let stats: Value = answer
            .and_then(|(_, body)| serde_json::from_str(body).ok())
            .unwrap_or_default();
        // The agent's own logs go there as well.
        stats["outputs"]["default"]["counters"]["acknowledged"].as_u64() >= Some(2)
    })
    .await;
    let (status, alive) = ask(port, "/liveness?failon=degraded").await.unwrap();
    let alive: Value = serde_json::from_str(&alive).unwrap();
    assert_eq!((status, alive["state"].as_str()), (200, Some("HEALTHY")));
    assert_eq!(ask(port, "/liveness?failon=tuesday").await.unwrap().0, 400);
    assert_eq!(ask(port, "/elsewhere").await.unwrap().0, 404);
    let (status, metrics) = ask(port, "/metrics").await.unwrap();
    assert_eq!(status, 200);
    let delivered = "flotilla_agent_output_acknowledged_total{output=\"default\"} ";
    assert!(metrics.lines().any(|line| line.starts_with(delivered)), "{metrics}");

    config(&folder, log.as_str(), &endpoint(other));
    eventually(other, "/readiness", |answer| answer.is_some()).await;
    eventually(port, "/readiness", |answer| answer.is_none()).await;
    config(&folder, log.as_str(), "");
    eventually(other, "/readiness", |answer| answer.is_none()).await;
    running.stop().await;
}
