//! One user's story with the built program: a fleet from one command, real data, a second host, a restart.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Flotilla, Link, eventually, run};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);

#[test]
fn a_fleet_runs_from_one_command_and_its_data_is_found() {
    let mut flotilla = Flotilla::start(FLOTILLA, &[]);
    the_ready_line_has_what_scripts_need(&flotilla);
    every_listener_is_verified_with_the_printed_ca(&flotilla);
    let own_agent = an_agent_is_online(&flotilla, 1);
    metrics_and_logs_arrive(&flotilla, &own_agent);
    an_unknown_clause_is_refused(&flotilla);
    a_policy_edit_reaches_the_agent(&flotilla);

    let (agent, second) = a_second_host_joins(&flotilla);
    metrics_and_logs_arrive(&flotilla, &second);
    drop(agent);

    let before = flotilla.ready.clone();
    let documents = count(&flotilla, "metrics-system.cpu-default");
    assert!(flotilla.stop(), "SIGTERM ends it cleanly");
    flotilla.start_again();
    assert_eq!(flotilla.ready, before, "a second start changes nothing");
    assert!(
        count(&flotilla, "metrics-system.cpu-default") >= documents,
        "and loses nothing"
    );
    assert_eq!(an_agent_is_online(&flotilla, 2), own_agent, "the agent is the same");
}

fn the_ready_line_has_what_scripts_need(flotilla: &Flotilla) {
    assert_eq!(flotilla.ready["ready"], true);
    for pointer in ["/urls/fleet_server", "/urls/elasticsearch", "/urls/console"] {
        assert!(flotilla.text(pointer).starts_with("https://"), "{pointer}");
    }
    assert_eq!(flotilla.text("/ca/sha256").len(), 64);
    assert_eq!(flotilla.text("/username"), "elastic");
    for pointer in [
        "/password",
        "/enrollment_token",
        "/service_token",
        "/fleet_server_policy_id",
        "/join",
    ] {
        assert!(!flotilla.text(pointer).is_empty(), "{pointer}");
    }
    let password_file = flotilla.data_dir().join("secrets/elastic-password");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(password_file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

fn every_listener_is_verified_with_the_printed_ca(flotilla: &Flotilla) {
    assert_eq!(flotilla.fleet_server().get("/api/status")["status"], "HEALTHY");
    assert_eq!(flotilla.elasticsearch().get("/")["tagline"], "You Know, for Search");
    assert_eq!(
        flotilla.console().get("/api/status")["status"]["overall"]["level"],
        "available"
    );
    assert_eq!(flotilla.elasticsearch().status(&["-u", "elastic:wrong"], "/"), 401);
}

/// Waits until `agents` agents are known and the first is online; its id.
fn an_agent_is_online(flotilla: &Flotilla, agents: usize) -> String {
    eventually("an agent online", SOON, || {
        let list = flotilla
            .console()
            .get("/api/fleet/agents?sortField=enrolled_at&sortOrder=asc");
        let items = list["items"].as_array()?;
        let first = items.first()?;
        (items.len() == agents && first["status"] == "online").then(|| first["id"].as_str().map(str::to_owned))?
    })
}

fn metrics_and_logs_arrive(flotilla: &Flotilla, agent_id: &str) {
    for stream in [
        "metrics-system.cpu-default",
        "metrics-system.memory-default",
        "metrics-system.load-default",
    ] {
        let hit = eventually(stream, SOON, || newest_of_agent(flotilla, stream, agent_id));
        assert_eq!(hit["_source"]["agent"]["id"], agent_id);
        assert_eq!(hit["_source"]["event"]["agent_id_status"], "verified");
    }
    eventually("the agent's own log", SOON, || {
        newest_of_agent(flotilla, "logs-elastic_agent*", agent_id)
    });
    let indices = flotilla.elasticsearch().text("/_cat/indices?v&expand_wildcards=all");
    assert!(indices.contains("metrics-system.cpu-default"), "{indices}");
    let streams = flotilla.elasticsearch().get("/_data_stream/metrics-system.cpu-default");
    assert_eq!(streams["data_streams"][0]["name"], "metrics-system.cpu-default");
}

fn newest_of_agent(flotilla: &Flotilla, stream: &str, agent_id: &str) -> Option<Value> {
    let query = json!({
        "size": 1,
        "query": { "term": { "agent.id": agent_id } },
        "sort": [{ "@timestamp": "desc" }],
    });
    let answer = flotilla.elasticsearch().post(&format!("/{stream}/_search"), &query);
    answer.pointer("/hits/hits/0").cloned()
}

fn an_unknown_clause_is_refused(flotilla: &Flotilla) {
    let query = json!({ "query": { "more_like_that": { "fields": ["message"] } } });
    let answer = flotilla.elasticsearch().post("/logs-*/_search", &query);
    assert_eq!(answer["status"], 400);
    assert!(answer.to_string().contains("more_like_that"), "{answer}");
}

fn a_policy_edit_reaches_the_agent(flotilla: &Flotilla) {
    let agent = &flotilla.console().get("/api/fleet/agents")["items"][0];
    let policy_id = agent["policy_id"].as_str().expect("an agent has a policy");
    let policy = flotilla
        .console()
        .get(&format!("/api/fleet/agent_policies/{policy_id}"))["item"]
        .clone();
    let edit = json!({
        "name": policy["name"],
        "namespace": policy["namespace"],
        "description": "edited by a test",
        "monitoring_enabled": ["logs"],
    });
    let edited = flotilla
        .console()
        .put(&format!("/api/fleet/agent_policies/{policy_id}"), &edit);
    let revision = edited["item"]["revision"]
        .as_u64()
        .expect("an edited policy has a revision");
    assert!(revision > policy["revision"].as_u64().unwrap_or(0), "{edited}");
    eventually("the new revision on the agent", SOON, || {
        let agent = flotilla
            .console()
            .get(&format!("/api/fleet/agents/{}", agent["id"].as_str()?));
        (agent["item"]["policy_revision"].as_u64()? >= revision).then_some(())
    });
}

/// The documented command, with the binary under the documented name, then the daemon.
fn a_second_host_joins(flotilla: &Flotilla) -> (Daemon, String) {
    let link = Link::new(FLOTILLA, "elastic-agent");
    let home = tempfile::tempdir().unwrap();
    let enrolled = run(
        link.path(),
        [
            "enroll".to_owned(),
            format!("--path.home={}", home.path().display()),
            format!("--url={}", flotilla.text("/urls/fleet_server")),
            format!("--enrollment-token={}", flotilla.text("/enrollment_token")),
            format!("--certificate-authorities={}", flotilla.text("/ca/path")),
            "--force".to_owned(),
        ],
    );
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&enrolled.stdout),
        String::from_utf8_lossy(&enrolled.stderr)
    );
    assert!(enrolled.status.success(), "{said}");
    assert!(said.contains("run"), "it says how to start: {said}");
    let daemon = Daemon::start(link, home);
    let id = eventually("the second agent online", SOON, || {
        let list = flotilla
            .console()
            .get("/api/fleet/agents?sortField=enrolled_at&sortOrder=desc");
        let items = list["items"].as_array()?;
        let newest = items.first()?;
        (items.len() == 2 && newest["status"] == "online").then(|| newest["id"].as_str().map(str::to_owned))?
    });
    (daemon, id)
}

/// `elastic-agent run`; killed when it goes.
struct Daemon {
    child: Child,
    _home: tempfile::TempDir,
    _link: Link,
}

impl Daemon {
    fn start(link: Link, home: tempfile::TempDir) -> Self {
        let child = Command::new(link.path())
            .arg("run")
            .arg(format!("--path.home={}", home.path().display()))
            .stdout(Stdio::null())
            .spawn()
            .expect("the agent can be started");
        Self {
            child,
            _home: home,
            _link: link,
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

fn count(flotilla: &Flotilla, stream: &str) -> u64 {
    flotilla.elasticsearch().get(&format!("/{stream}/_count"))["count"]
        .as_u64()
        .unwrap_or(0)
}
