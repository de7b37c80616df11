//! A managed agent against a Fleet Server that does as told: policies, actions, failures, and no change that strands it.

use crate::support::{Folder, Running, Server, folder, status_becomes};
use agent::enroll;
use agent::status::Health;
use pki::{Authority, AuthorityRequest, LeafRequest};
use serde_json::{Value, json};

async fn enrolled() -> (Server, Folder) {
    let server = Server::start();
    let folder = folder();
    enroll(server.enroll_options(&folder.paths)).await.unwrap();
    // Failures are retried sooner than a person would want it, for the test's sake.
    let config = "fleet: {enabled: true, checkin: {request_backoff_init: 400ms, request_backoff_max: 400ms}}";
    fs_err::write(folder.path.join("elastic-agent.yml"), config).unwrap();
    (server, folder)
}

/// A policy whose file output needs no server.
fn policy(server: &Server, folder: &Folder) -> Value {
    json!({
        "outputs": {"default": {"type": "file", "path": folder.path.join("out")}},
        "agent": {"monitoring": {"enabled": false}},
        "fleet": {"hosts": [server.url]},
        "inputs": [],
    })
}

fn running_revision(revision: i64) -> impl Fn(&crate::support::Seen) -> bool {
    move |seen| seen.body["policy_revision_idx"] == revision
}

#[tokio::test]
async fn the_first_policy_is_taken_acknowledged_and_reported() {
    let (server, folder) = enrolled().await;
    let running = Running::start(&folder.paths);
    let first = server.wait_for("checkin", |_| true).await;
    assert_eq!(first.headers.get("content-encoding").unwrap(), "gzip");
    assert_eq!(first.body["status"], "starting");
    assert_eq!(first.body["local_metadata"]["elastic"]["agent"]["id"], "agent-1");
    assert!(first.body.get("agent_policy_id").is_none());

    let log = folder.path.join("app.log");
    fs_err::write(&log, "hello there, this is the first line\n").unwrap();
    let mut policy = policy(&server, &folder);
    policy["inputs"] = json!([
        {"id": "logs", "type": "filestream", "streams": [{"id": "s", "paths": [log], "data_stream": {"dataset": "app"}}]},
        {"id": "odd", "type": "no-such-input"},
    ]);
    server.send_policy(1, policy);
    let ack = server.acknowledged("policy:p:1").await;
    assert_eq!(
        (&ack["type"], &ack["subtype"], &ack["agent_id"]),
        (&json!("ACTION_RESULT"), &json!("ACKNOWLEDGED"), &json!("agent-1"))
    );
    let reported = server.wait_for("checkin", running_revision(1)).await;
    assert_eq!(
        (&reported.body["agent_policy_id"], &reported.body["ack_token"]),
        (&json!("p"), &json!("t"))
    );
    let of = |id: &str| {
        reported.body["components"]
            .as_array()
            .unwrap()
            .iter()
            .find(|component| component["id"] == id)
            .cloned()
            .unwrap()
    };
    let odd = of("no-such-input-default");
    assert_eq!(
        (&odd["status"], &odd["type"]),
        (&json!("FAILED"), &json!("no-such-input"))
    );
    assert_eq!(odd["units"][0]["id"], "no-such-input-default-odd");
    assert_eq!(of("filestream-default")["units"][1]["type"], "output");
    assert_eq!(reported.body["status"], "degraded");

    let report = status_becomes(&folder.paths, |report| {
        report.fleet_state == Health::Healthy && report.state == Health::Degraded
    })
    .await;
    assert_eq!((report.info.id.as_str(), report.info.is_managed), ("agent-1", true));
    running.stop().await;
    let out = fs_err::read_dir(folder.path.join("out"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert!(fs_err::read_to_string(out).unwrap().contains("hello there"));
}

#[tokio::test]
async fn a_restart_takes_up_policy_and_token() {
    let (server, folder) = enrolled().await;
    let running = Running::start(&folder.paths);
    server.send_policy(1, policy(&server, &folder));
    server.acknowledged("policy:p:1").await;
    running.stop().await;
    let before = server.count("checkin");
    let running = Running::start(&folder.paths);
    let status = status_becomes(&folder.paths, |report| report.fleet_state == Health::Healthy).await;
    assert_eq!(status.state, Health::Healthy);
    server.wait_for("checkin", running_revision(1)).await;
    assert!(server.count("checkin") > before);
    running.stop().await;
}

#[tokio::test]
async fn a_policy_with_a_dead_host_is_refused_and_the_agent_goes_on() {
    let (server, folder) = enrolled().await;
    let running = Running::start(&folder.paths);
    server.send_policy(1, policy(&server, &folder));
    server.acknowledged("policy:p:1").await;

    let [port] = testkit::free_ports();
    let mut dead = policy(&server, &folder);
    dead["fleet"]["hosts"] = json!([format!("https://127.0.0.1:{port}")]);
    server.send_policy(2, dead);
    let report = status_becomes(&folder.paths, |report| report.state == Health::Failed).await;
    assert!(
        report
            .message
            .starts_with("running policy p revision 1; policy:p:2 was not taken, because"),
        "{}",
        report.message
    );
    assert!(report.message.contains(&port.to_string()) && report.fleet_state == Health::Healthy);
    server
        .wait_for("checkin", |seen| {
            seen.body["status"] == "error" && seen.body["policy_revision_idx"] == 1
        })
        .await;

    server.withdraw("policy:p:2");
    server.send_policy(3, policy(&server, &folder));
    server.acknowledged("policy:p:3").await;
    status_becomes(&folder.paths, |report| report.state == Health::Healthy).await;
    running.stop().await;
}

#[tokio::test]
async fn a_change_of_tls_alone_is_tried_and_a_wrong_ca_refused() {
    let (server, folder) = enrolled().await;
    let running = Running::start(&folder.paths);
    server.send_policy(1, policy(&server, &folder));
    server.acknowledged("policy:p:1").await;

    let stranger = Authority::generate(AuthorityRequest {
        subject_cn: "Stranger".to_owned(),
        ..AuthorityRequest::default()
    })
    .unwrap();
    let mut wrong = policy(&server, &folder);
    wrong["fleet"]["ssl"] = json!({"certificate_authorities": [stranger.certificate_pem()]});
    server.send_policy(2, wrong);
    let report = status_becomes(&folder.paths, |report| report.state == Health::Failed).await;
    assert!(report.message.contains("Stranger"), "{}", report.message);

    server.withdraw("policy:p:2");
    let mut both = policy(&server, &folder);
    both["fleet"]["ssl"] =
        json!({"certificate_authorities": [stranger.certificate_pem(), server.ca.certificate_pem()]});
    server.send_policy(3, both);
    server.acknowledged("policy:p:3").await;
    running.stop().await;
}

#[tokio::test]
async fn a_policy_can_bring_a_client_certificate() {
    let server = Server::start();
    let clients = Authority::generate(AuthorityRequest {
        subject_cn: "Clients".to_owned(),
        ..AuthorityRequest::default()
    })
    .unwrap();
    let strict = Server::start_with(&server.ca, Some(&clients));
    let folder = folder();
    enroll(server.enroll_options(&folder.paths)).await.unwrap();
    let running = Running::start(&folder.paths);
    let pair = clients.issue(LeafRequest::default()).unwrap();
    let mut policy = policy(&strict, &folder);
    policy["fleet"]["ssl"] = json!({
        "certificate": certs::write_pem_certificates(&pair.chain),
        "key": certs::write_pem_key(&pair.key, certs::KeyFormat::Pkcs8).unwrap().expose(),
    });
    server.send_policy(1, policy);
    // The acknowledgement already goes over the new connection.
    strict.acknowledged("policy:p:1").await;
    strict.wait_for("checkin", running_revision(1)).await;
    running.stop().await;
}

#[tokio::test]
async fn settings_that_pass_the_trial_and_fail_check_ins_are_taken_back() {
    let (server, folder) = enrolled().await;
    let running = Running::start(&folder.paths);
    server.send_policy(1, policy(&server, &folder));
    server.acknowledged("policy:p:1").await;

    // Answers the trial and refuses check-ins.
    let trap = Server::start_with(&server.ca, None);
    trap.fail_checkins(Some(403));
    server.send_policy(2, policy(&trap, &folder));
    trap.wait_for("checkin", |_| true).await;
    let report = status_becomes(&folder.paths, |report| {
        report.message.contains("running policy p revision 1")
    })
    .await;
    assert!(
        report.message.contains("check-ins failed with its connection settings"),
        "{}",
        report.message
    );
    assert_eq!(trap.count("checkin"), 2, "taken back at the second failure");
    server
        .wait_for("checkin", |seen| {
            seen.body["status"] == "error" && seen.body["policy_revision_idx"] == 1
        })
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_busy_server_is_no_reason_to_take_settings_back() {
    let (server, folder) = enrolled().await;
    let running = Running::start(&folder.paths);
    server.send_policy(1, policy(&server, &folder));
    server.acknowledged("policy:p:1").await;
    let next = Server::start_with(&server.ca, None);
    next.fail_next_checkins([429, 503]);
    server.send_policy(2, policy(&next, &folder));
    status_becomes(&folder.paths, |report| report.fleet_message.contains("busy")).await;
    let report = status_becomes(&folder.paths, |report| {
        report.fleet_message == "Connected" && report.state == Health::Healthy
    })
    .await;
    assert_eq!(report.fleet_state, Health::Healthy);
    next.wait_for("checkin", running_revision(2)).await;
    running.stop().await;
}

#[tokio::test]
async fn a_changed_output_is_tried_before_it_replaces_one_that_works() {
    let (server, folder) = enrolled().await;
    let log = folder.path.join("app.log");
    fs_err::write(&log, "a line that is written before all\n").unwrap();
    let running = Running::start(&folder.paths);
    let inputs = json!([{"id": "logs", "type": "filestream", "streams": [{"id": "s", "paths": [log], "data_stream": {"dataset": "app"}}]}]);
    let mut good = policy(&server, &folder);
    good["inputs"] = inputs.clone();
    server.send_policy(1, good.clone());
    server.acknowledged("policy:p:1").await;
    status_becomes(&folder.paths, |report| report.state == Health::Healthy).await;

    let [port] = testkit::free_ports();
    let mut bad = good.clone();
    bad["outputs"]["default"] =
        json!({"type": "elasticsearch", "hosts": [format!("https://127.0.0.1:{port}")], "api_key": "a:b"});
    server.send_policy(2, bad);
    let report = status_becomes(&folder.paths, |report| report.state == Health::Failed).await;
    assert!(
        report.message.contains("its output does not work") && report.message.contains(&port.to_string()),
        "{}",
        report.message
    );
    running.stop().await;
}

#[tokio::test]
async fn a_policy_that_makes_no_sense_is_refused_with_its_reason() {
    let (server, folder) = enrolled().await;
    let running = Running::start(&folder.paths);
    let mut wrong = policy(&server, &folder);
    wrong["inputs"] = json!([{"id": "x", "type": "filestream", "use_output": "nowhere"}]);
    server.send_policy(1, wrong);
    let report = status_becomes(&folder.paths, |report| report.state == Health::Failed).await;
    assert!(report.message.contains("output `nowhere`"), "{}", report.message);
    running.stop().await;
}

#[tokio::test]
async fn failed_check_ins_are_retried_within_seconds_and_status_says_so() {
    let (server, folder) = enrolled().await;
    let running = Running::start(&folder.paths);
    server.send_policy(1, policy(&server, &folder));
    server.acknowledged("policy:p:1").await;
    server.wait_for("checkin", running_revision(1)).await;
    server.fail_next_checkins([500]);
    let report = status_becomes(&folder.paths, |report| report.fleet_state == Health::Degraded).await;
    assert!(
        report.fleet_message.contains("500") && report.fleet_message.contains("next attempt in"),
        "{}",
        report.fleet_message
    );
    status_becomes(&folder.paths, |report| report.fleet_state == Health::Healthy).await;
    running.stop().await;
}

/// Far enough that no certificate is valid: what fails meanwhile comes back with the clock, and nothing was given up.
#[tokio::test]
async fn a_clock_that_steps_costs_neither_enrolment_nor_policy() {
    let (server, folder) = enrolled().await;
    let clock = clock::TestClock::at(jiff::Timestamp::now());
    let running = Running::start_at(&folder.paths, None, clock.clone());
    server.send_policy(1, policy(&server, &folder));
    server.acknowledged("policy:p:1").await;
    for (revision, days) in [(2, 4_000), (3, -8_000), (4, 4_000)] {
        clock.step(jiff::SignedDuration::from_hours(days * 24));
        // One connection breaks in each of the times, so that the next must be made and verified then.
        server.fail_next_checkins([500]);
        server.send_policy(revision, policy(&server, &folder));
    }
    server.wait_for("checkin", running_revision(4)).await;
    let healthy = |report: &agent::status::StatusReport| report.fleet_state == Health::Healthy;
    let report = status_becomes(&folder.paths, healthy).await;
    assert_eq!((report.info.id.as_str(), server.count("enroll")), ("agent-1", 1));
    running.stop().await;
}

#[tokio::test]
async fn actions_are_done_or_refused_with_their_reason() {
    let (server, folder) = enrolled().await;
    let running = Running::start(&folder.paths);
    server.send_policy(1, policy(&server, &folder));
    server.acknowledged("policy:p:1").await;
    for action in [
        json!({"id": "settings", "type": "SETTINGS", "data": {"log_level": "debug"}}),
        json!({"id": "bad-settings", "type": "SETTINGS", "data": {"log_level": "loud"}}),
        json!({"id": "reassign", "type": "POLICY_REASSIGN", "data": {"policy_id": "q"}}),
        json!({"id": "input", "type": "INPUT_ACTION", "input_type": "osquery", "data": {"query": "select 1"}}),
        json!({"id": "upgrade", "type": "UPGRADE", "data": {"version": "9.9.9"}}),
        json!({"id": "old", "type": "POLICY_REASSIGN", "expiration": "2020-01-01T00:00:00Z", "data": {}}),
        json!({"id": "later", "type": "SETTINGS", "start_time": "2999-01-01T00:00:00Z", "data": {"log_level": "error"}}),
        json!({"id": "cancel", "type": "CANCEL", "data": {"target_id": "later"}}),
    ] {
        server.send_action(action);
    }
    assert!(server.acknowledged("settings").await.get("error").is_none());
    assert!(
        server.acknowledged("bad-settings").await["error"]
            .as_str()
            .unwrap()
            .contains("`loud`")
    );
    assert!(server.acknowledged("reassign").await.get("error").is_none());
    let input = server.acknowledged("input").await;
    assert_eq!(
        (&input["action_input_type"], &input["action_data"]["query"]),
        (&json!("osquery"), &json!("select 1"))
    );
    assert!(input["error"].as_str().unwrap().contains("osquery") && input["started_at"].is_string());
    assert!(
        server.acknowledged("old").await["error"]
            .as_str()
            .unwrap()
            .contains("expired")
    );
    server.acknowledged("upgrade").await;
    server.acknowledged("cancel").await;
    server.withdraw("later");
    let seen = server
        .wait_for("checkin", |seen| seen.body["upgrade_details"]["state"] == "UPG_FAILED")
        .await;
    assert_eq!(
        seen.body["upgrade_details"]["metadata"]["failed_state"],
        "UPG_REQUESTED"
    );
    let seen = server
        .wait_for("checkin", |seen| {
            seen.body["local_metadata"]["elastic"]["agent"]["log_level"] == "debug"
        })
        .await;
    assert_eq!(seen.body["policy_revision_idx"], 1);
    running.stop().await;
}

#[tokio::test]
async fn diagnostics_are_uploaded_in_chunks_without_secrets() {
    let (server, folder) = enrolled().await;
    let running = Running::start(&folder.paths);
    let mut policy = policy(&server, &folder);
    policy["outputs"]["unused"] = json!({"type": "elasticsearch", "api_key": "very:secret-value"});
    server.send_policy(1, policy);
    server.acknowledged("policy:p:1").await;
    server.send_action(json!({"id": "diag", "type": "REQUEST_DIAGNOSTICS", "data": null}));
    let ack = server.acknowledged("diag").await;
    assert_eq!(ack["data"]["upload_id"], "u");
    let zip = server.uploaded();
    let begin = server.wait_for("upload", |_| true).await;
    assert_eq!(
        (
            begin.body["file"]["size"].as_u64().unwrap() as usize,
            &begin.body["src"]
        ),
        (zip.len(), &json!("agent"))
    );
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap();
    let config = std::io::read_to_string(archive.by_name("computed-config.yaml").unwrap()).unwrap();
    assert!(
        config.contains("REDACTED") && !config.contains("secret-value"),
        "{config}"
    );
    running.stop().await;
}

#[tokio::test]
async fn an_unenrolled_agent_says_so_also_after_a_restart() {
    let (server, folder) = enrolled().await;
    let running = Running::start(&folder.paths);
    server.send_action(json!({"id": "bye", "type": "UNENROLL", "data": null}));
    server.acknowledged("bye").await;
    let told = |report: &agent::status::StatusReport| {
        report.fleet_state == Health::Stopped && report.fleet_message.contains("Unenrolled")
    };
    status_becomes(&folder.paths, told).await;
    running.stop().await;
    let checkins = server.count("checkin");
    let running = Running::start(&folder.paths);
    status_becomes(&folder.paths, told).await;
    running.stop().await;
    assert_eq!(
        server.count("checkin"),
        checkins,
        "an unenrolled agent does not check in"
    );
}

#[tokio::test]
async fn two_agents_cannot_share_a_folder() {
    let (_server, folder) = enrolled().await;
    let running = Running::start(&folder.paths);
    status_becomes(&folder.paths, |_| true).await;
    let options = agent::DaemonOptions {
        paths: folder.paths.clone(),
        config_file: "elastic-agent.yml".into(),
        clock: clock::system(),
        build: crate::support::build(),
        set_log_level: None,
        console: None,
        environment: vec![],
    };
    let second = agent::Daemon::run(options, tokio_util::sync::CancellationToken::new()).await;
    assert!(second.unwrap_err().to_string().contains("another agent runs in"));
    running.stop().await;
}

#[tokio::test]
async fn a_torn_state_file_costs_nothing_but_a_resend() {
    let (server, folder) = enrolled().await;
    let running = Running::start(&folder.paths);
    server.send_policy(1, policy(&server, &folder));
    server.acknowledged("policy:p:1").await;
    running.stop().await;
    for name in ["fleet.enc", "data/state.enc", "data/state.enc.previous"] {
        let path = folder.path.join(name);
        if name == "fleet.enc" {
            fs_err::copy(&path, folder.path.join("fleet.enc.previous")).unwrap();
        }
        let bytes = fs_err::read(&path).unwrap();
        fs_err::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    }
    let running = Running::start(&folder.paths);
    server.send_policy(1, policy(&server, &folder));
    server
        .wait_for("checkin", |seen| seen.body["status"] == "starting")
        .await;
    status_becomes(&folder.paths, |report| report.state == Health::Healthy).await;
    running.stop().await;
}
