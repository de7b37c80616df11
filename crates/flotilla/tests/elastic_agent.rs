//! The command line under the name `elastic-agent`: what it prints and how it exits.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::process::{Command, Output, Stdio};

use testkit::{Link, eventually};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");

fn elastic_agent(arguments: &[&str]) -> Output {
    let link = Link::new(FLOTILLA, "elastic-agent");
    // A width of its own, so that help looks the same on every terminal.
    Command::new(link.path())
        .args(arguments)
        .env("COLUMNS", "120")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_names_the_documented_commands_and_flags() {
    let help = |arguments: &[&str]| {
        let output = elastic_agent(arguments);
        assert_eq!(output.status.code(), Some(0));
        text(&output.stdout)
    };
    insta::assert_snapshot!("help", help(&["--help"]));
    insta::assert_snapshot!("help_enroll", help(&["enroll", "--help"]));
    insta::assert_snapshot!("help_install", help(&["install", "--help"]));
    insta::assert_snapshot!("help_status", help(&["status", "--help"]));
}

#[test]
fn what_is_wrong_is_said_before_anything_is_touched() {
    let home = tempfile::tempdir().unwrap();
    let folder = format!("--path.home={}", home.path().display());
    let check = |arguments: &[&str], expected: &str| {
        let output = elastic_agent(&[&[folder.as_str()], arguments].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    };
    check(&["enroll", "--no-such-flag"], "--no-such-flag");
    check(&["no-such-command"], "no-such-command");
    check(&["enroll"], "no enrollment token");
    check(&["enroll", "-t", "x"], "no Fleet Server URL");
    check(
        &["enroll", "--url", "http://fleet:8220", "-t", "x"],
        "override with --insecure",
    );
    check(
        &["enroll", "-a", "ca.crt", "--url", "https://fleet:8220", "-t", "x"],
        "must be provided as an absolute path",
    );
    check(
        &[
            "enroll",
            "-a",
            "/no/such/ca.crt",
            "--url",
            "https://127.0.0.1:1",
            "-t",
            "x",
        ],
        "/no/such/ca.crt",
    );
    check(&["enroll", "--join", "flotilla1.x"], "damaged");
    check(&["status"], "no agent runs here");
    check(&["status", "--output", "xml"], "xml");
    check(&["restart"], "no agent runs here");
    check(&["uninstall"], "no agent is installed");
    check(
        &["install", "--base-path", "relative"],
        "--base-path must be an absolute path",
    );
    check(&["inspect", "everything"], "inspect everything");
    assert_eq!(home.path().read_dir().unwrap().count(), 0, "nothing was written");
}

#[test]
fn versions_are_those_of_the_protocol() {
    let output = elastic_agent(&["version", "--binary-only", "--yaml"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("9.6.0"), "{}", text(&output.stdout));
}

#[test]
fn a_stand_alone_agent_runs_tells_its_health_and_stops_cleanly() {
    let home = tempfile::tempdir().unwrap();
    let folder = format!("--path.home={}", home.path().display());
    let out = home.path().join("out");
    fs_err::write(home.path().join("app.log"), "hello from the command line\n").unwrap();
    let config = format!(
        "outputs.default: {{type: file, path: {}}}\ninputs:\n  - id: logs\n    type: filestream\n    streams: [{{id: s, paths: [{}]}}]\n",
        out.display(),
        home.path().join("app.log").display(),
    );
    fs_err::write(home.path().join("elastic-agent.yml"), config).unwrap();
    let link = Link::new(FLOTILLA, "elastic-agent");
    let mut daemon = Command::new(link.path())
        .args(["run", &folder])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let soon = std::time::Duration::from_secs(30);
    eventually("a healthy agent", soon, || {
        elastic_agent(&["status", &folder]).status.success().then_some(())
    });
    let status: serde_json::Value =
        serde_json::from_slice(&elastic_agent(&["status", "--output=json", &folder]).stdout).unwrap();
    assert_eq!((&status["state"], &status["FleetState"]), (&2.into(), &6.into()));
    assert_eq!(status["components"][0]["id"], "filestream-default");
    assert!(text(&elastic_agent(&["inspect", &folder]).stdout).contains("filestream"));
    assert!(text(&elastic_agent(&["logs", &folder]).stdout).contains("agent started"));

    let killed = Command::new("kill").arg(daemon.id().to_string()).status().unwrap();
    assert!(
        killed.success() && daemon.wait().unwrap().success(),
        "SIGTERM ends it cleanly"
    );
    let file = out.read_dir().unwrap().next().unwrap().unwrap().path();
    assert!(
        fs_err::read_to_string(file)
            .unwrap()
            .contains("hello from the command line")
    );
}
