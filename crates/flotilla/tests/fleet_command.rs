//! `flotilla fleet` against a running fleet: the administrator's day on the command line.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::{Flotilla, eventually};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);

fn fleet(arguments: &[&str]) -> Output {
    Command::new(FLOTILLA)
        .arg("fleet")
        .args(arguments)
        // A width of its own, so that help looks the same on every terminal.
        .env("COLUMNS", "120")
        .env_remove("FLOTILLA_DATA_DIR")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A terminal on the host that runs the fleet.
struct Administrator<'a>(&'a Flotilla);

impl Administrator<'_> {
    fn run(&self, arguments: &[&str]) -> Output {
        let url = self.0.text("/urls/console");
        let data_dir = self.0.data_dir().to_str().unwrap();
        fleet(&[&["--url", &url, "--data-dir", data_dir], arguments].concat())
    }

    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8(output.stdout).unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}{complaint}");
        said.trim_end().to_owned()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[&["--json"], arguments].concat())).unwrap()
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

#[test]
fn help_names_commands_and_flags() {
    let help = |arguments: &[&str]| {
        let output = fleet(&[arguments, &["--help"]].concat());
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    insta::assert_snapshot!("help", help(&[]));
    insta::assert_snapshot!("help_agents", help(&["agents"]));
    insta::assert_snapshot!("help_agents_upgrade", help(&["agents", "upgrade"]));
    insta::assert_snapshot!("help_outputs_create", help(&["outputs", "create"]));
}

#[test]
fn a_wrong_command_line_is_told_apart_from_a_failure() {
    let status = |arguments: &[&str]| fleet(arguments).status.code();
    assert_eq!(status(&["agents", "no-such-verb"]), Some(2));
    assert_eq!(
        status(&["agents", "unenroll"]),
        Some(2),
        "nobody is unenrolled without a word"
    );
    assert_eq!(status(&["api", "GET", "https://elsewhere/"]), Some(2));
    assert_eq!(status(&["--data-dir", "/nonexistent", "status"]), Some(1));
}

#[test]
fn an_administrator_runs_a_fleet_from_the_command_line() {
    let flotilla = Flotilla::start(FLOTILLA, &[]);
    let administrator = Administrator(&flotilla);
    let agent = eventually("the agent of this host", SOON, || {
        let list = administrator.json(&["agents", "list"]);
        list.pointer("/items/0/id").and_then(Value::as_str).map(str::to_owned)
    });
    agents_are_listed_and_tagged(&administrator, &agent);
    let policy = a_policy_lives(&administrator);
    a_token_is_made_and_revoked(&administrator, &policy);
    objects_are_made_changed_and_deleted(&administrator);
    an_agent_moves(&administrator, &agent, &policy);
    mistakes_are_explained(&administrator, &flotilla);
}

fn agents_are_listed_and_tagged(administrator: &Administrator<'_>, agent: &str) {
    let table = administrator.says(&["agents", "list"]);
    assert!(table.contains("LAST CHECK-IN") && table.contains(agent), "{table}");
    assert!(
        administrator
            .says(&["agents", "show", agent])
            .contains("local_metadata")
    );
    administrator.says(&["agents", "tags", agent, "--add", "edge"]);
    eventually("the tag", SOON, || {
        let list = administrator.json(&["agents", "list", "--kuery", "tags:edge"]);
        (list["total"] == 1).then_some(())
    });
    assert!(administrator.says(&["status"]).contains("online"));
}

fn a_policy_lives(administrator: &Administrator<'_>) -> String {
    let made = administrator.json(&["policies", "create", "--name", "Edge", "--set", "description=made here"]);
    let id = made["item"]["id"].as_str().unwrap().to_owned();
    let changed = administrator.json(&["policies", "update", &id, "--set", "description=changed"]);
    assert_eq!(changed["item"]["description"], "changed");
    assert_eq!(changed["item"]["name"], "Edge", "what is not named stays");
    assert!(
        administrator
            .says(&["policies", "show", &id, "--full"])
            .contains("outputs:")
    );
    let copy = administrator.json(&["policies", "copy", &id, "--name", "Edge 2"]);
    administrator.says(&["policies", "delete", copy["item"]["id"].as_str().unwrap()]);
    let list = administrator.says(&["policies", "list"]);
    assert!(list.contains("Edge") && !list.contains("Edge 2"), "{list}");
    id
}

fn a_token_is_made_and_revoked(administrator: &Administrator<'_>, policy: &str) {
    let token = administrator.says(&["tokens", "create", "--policy", policy, "--name", "by hand"]);
    let listed = || {
        administrator.json(&["tokens", "list"])["items"]
            .as_array()
            .unwrap()
            .clone()
    };
    let kept = listed()
        .into_iter()
        .find(|item| item["api_key"] == token.as_str())
        .unwrap();
    let id = kept["id"].as_str().unwrap();
    administrator.says(&["tokens", "delete", id]);
    let after = administrator.json(&["tokens", "show", id]);
    assert_eq!(after["item"]["active"], false);
    assert!(administrator.says(&["service-token"]).starts_with("AAEAA"));
}

fn objects_are_made_changed_and_deleted(administrator: &Administrator<'_>) {
    let made = administrator.json(&[
        "hosts",
        "create",
        "--name",
        "edge",
        "--host",
        "https://edge.example:8220",
        "--set",
        "ssl.client_auth=optional",
    ]);
    assert_eq!(made["item"]["ssl"]["client_auth"], "optional");
    let id = made["item"]["id"].as_str().unwrap();
    let changed = administrator.json(&["hosts", "update", id, "--set", "name=edge 2"]);
    assert_eq!(changed["item"]["name"], "edge 2");
    administrator.says(&["hosts", "delete", id]);
    let checked = administrator.json(&[
        "outputs",
        "create",
        "--name",
        "dry",
        "--type",
        "elasticsearch",
        "--host",
        "https://es.example:9200",
        "--dry-run",
    ]);
    assert!(checked.is_object());
    let outputs = administrator.says(&["outputs", "list"]);
    assert!(!outputs.contains("dry"), "a check saves nothing: {outputs}");
    let proxy = administrator.json(&[
        "proxies",
        "create",
        "--name",
        "p",
        "--host",
        "http://proxy.example:3128",
    ]);
    assert_eq!(proxy["item"]["url"], "http://proxy.example:3128");
    for list in ["packages", "integrations", "uninstall-tokens", "download-sources"] {
        administrator.says(&[list, "list"]);
    }
    administrator.says(&["data-streams"]);
    administrator.says(&["audit"]);
    let raw = administrator.json(&["api", "GET", "/api/status"]);
    assert_eq!(raw["status"]["overall"]["level"], "available");
}

fn an_agent_moves(administrator: &Administrator<'_>, agent: &str, policy: &str) {
    administrator.says(&["agents", "reassign", agent, "--policy", policy]);
    eventually("the agent under its new policy", SOON, || {
        let shown = administrator.json(&["agents", "show", agent]);
        (shown["item"]["policy_id"] == policy && shown["item"]["policy_revision"].as_u64()? > 0).then_some(())
    });
    administrator.says(&["agents", "unenroll", agent, "--revoke"]);
    eventually("no agent", SOON, || {
        (administrator.json(&["agents", "list"])["total"] == 0).then_some(())
    });
    assert!(administrator.says(&["agents", "list", "--all"]).contains("unenrolled"));
    assert!(administrator.says(&["agents", "actions"]).contains("UNENROLL"));
}

fn mistakes_are_explained(administrator: &Administrator<'_>, flotilla: &Flotilla) {
    let said = administrator.refused(&["agents", "show", "nobody"]);
    assert!(said.contains("404") && said.contains("nobody"), "{said}");
    let said = administrator.refused(&["proxies", "create", "--name", "x", "--host", "a", "--host", "b"]);
    assert!(said.contains("only once"), "{said}");
    let url = flotilla.text("/urls/console");
    let stranger = fleet(&[
        "--url",
        &url,
        "--data-dir",
        "/nonexistent",
        "--api-key",
        "a:b",
        "status",
    ]);
    let said = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(
        said.contains("--certificate-authorities"),
        "an unknown CA is never taken: {said}"
    );
    let ca = flotilla.text("/ca/path");
    let refused = fleet(&["--url", &url, "-a", &ca, "--api-key", "a:b", "status"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("401") && !said.contains("a:b"), "{said}");
}
