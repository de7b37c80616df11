//! A cluster whose disks are nearly full takes no documents: shippers are asked to wait, and lose nothing.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use testkit::{RealNode, eventually};

use crate::set::{FLOTILLA, JSON, LONGEST, Set};

const STREAM: &str = "logs-pressed-default";
const LINES: usize = 300;

/// An agent ships while the cluster refuses, and all is there once it does not.
pub(crate) fn a_full_cluster_is_waited_for(set: &Set, node: &RealNode) {
    let lines = format!("{{\"create\":{{\"_index\":\"{STREAM}\"}}}}\n{{\"@timestamp\":\"2026-01-01T00:00:00Z\"}}\n");
    let write = ["-H", "content-type: application/x-ndjson", "--data-binary", &lines];
    let [api, other_api] = set.apis;
    let first = set.done(api, "/_bulk", &write);
    assert_eq!(first["items"][0]["create"]["status"], 201, "{first}");

    refuse(node, &json!(true));
    let refused = set.done(other_api, "/_bulk", &write);
    assert_eq!(refused["items"][0]["create"]["status"], 429, "{refused}");
    let agent = Agent::start(set, &[api, other_api]);
    eventually("the agent says that it was asked to wait", LONGEST, || {
        agent.status().contains("try again").then_some(())
    });
    assert_eq!(count(set), 1);

    refuse(node, &Value::Null);
    eventually("everything is there", LONGEST, || (count(set) > LINES).then_some(()));
    assert_eq!(count(set), LINES + 1, "and once");
}

/// What the cluster does itself when its disks are nearly full.
fn refuse(node: &RealNode, refuses: &Value) {
    let body = json!({"index.blocks.read_only_allow_delete": refuses}).to_string();
    let login = format!("{}:{}", node.user(), node.password());
    let url = format!("{}/{STREAM}/_settings", node.url());
    let authority = node.tls_file("ca.crt");
    let mut curl = Command::new("curl");
    curl.args(["-fsS", "-o", "/dev/null", "-u", &login, "-X", "PUT", "-d", &body])
        .args(JSON);
    let done = curl.arg("--cacert").arg(authority).arg(url).status().unwrap();
    assert!(done.success());
}

fn count(set: &Set) -> usize {
    let [api, _] = set.apis;
    set.done(api, &format!("/{STREAM}/_refresh"), &["-X", "POST"]);
    let counted = set.done(api, &format!("/{STREAM}/_count"), &[]);
    usize::try_from(counted["count"].as_u64().unwrap()).unwrap()
}

/// A stand-alone one, which reads a file of [`LINES`] lines.
struct Agent {
    folder: tempfile::TempDir,
    child: Child,
}

impl Agent {
    fn start(set: &Set, apis: &[u16]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut text = String::new();
        for number in 0..LINES {
            writeln!(
                text,
                "line {number} of a file that is long enough to be known by its beginning"
            )
            .unwrap();
        }
        fs_err::write(folder.path().join("app.log"), text).unwrap();
        fs_err::write(
            folder.path().join("elastic-agent.yml"),
            configuration(set, apis, folder.path()).to_string(),
        )
        .unwrap();
        let child = command(folder.path(), "run").stderr(Stdio::null()).spawn().unwrap();
        Self { folder, child }
    }

    fn status(&self) -> String {
        let output = command(self.folder.path(), "status")
            .args(["--output", "full"])
            .stdout(Stdio::piped())
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

fn command(home: &Path, command: &str) -> Command {
    let mut flotilla = Command::new(FLOTILLA);
    flotilla.arg("agent").arg("--path.home").arg(home).arg(command);
    flotilla.stdout(Stdio::null());
    flotilla
}

/// JSON is YAML, too.
fn configuration(set: &Set, apis: &[u16], folder: &Path) -> Value {
    let hosts: Vec<_> = apis.iter().map(|port| format!("https://127.0.0.1:{port}")).collect();
    let password = fs_err::read_to_string(set.path("elastic-password")).unwrap();
    json!({
        "agent": {"monitoring": {"enabled": false}},
        "outputs": {"default": {
            "type": "elasticsearch", "hosts": hosts, "username": "elastic", "password": password.trim(),
            "ssl": {"certificate_authorities": [set.path("ca/ca.crt")]},
            "backoff": {"init": "100ms", "max": "1s"},
        }},
        "inputs": [{"id": "logs", "type": "filestream", "streams": [{
            "id": "app", "paths": [folder.join("app.log")], "data_stream": {"dataset": "pressed"},
        }]}],
    })
}
