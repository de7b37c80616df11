//! A stand-alone agent: a file says what to do, and is read again when it changes.

use agent::status::Health;

use crate::support::{Folder, Running, folder, status_becomes};

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
