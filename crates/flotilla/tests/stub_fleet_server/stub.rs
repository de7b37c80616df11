//! The stub as a child process: its certificates, its policy, its failures and its records.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use certs::KeyFormat;
use pki::{Authority, AuthorityRequest, LeafRequest};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{eventually, free_ports, is_installed, skip};

pub(crate) const SOON: Duration = Duration::from_secs(40);
pub(crate) const TOKEN: &str = "dG9rZW46a2V5";

pub(crate) struct Stub {
    child: Child,
    script: PathBuf,
    folder: TempDir,
    port: u16,
}

impl Stub {
    /// With a good certificate of `ca`; `None`, and said aloud, where there is no stub.
    pub(crate) fn start(ca: &Authority) -> Option<Self> {
        Self::start_with(ca, good_leaf())
    }

    pub(crate) fn start_with(ca: &Authority, leaf: LeafRequest) -> Option<Self> {
        let script = testkit::shared_tools().join("stub_fleet_server/stub_fleet_server.py");
        if !script.is_file() || !is_installed("python3") {
            skip(&format!(
                "{} and python3 are needed; set FLOTILLA_SHARED_TOOLS",
                script.display()
            ));
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let [port] = free_ports();
        write_certificate(folder.path(), ca, leaf);
        let child = run(&script, folder.path(), port);
        let stub = Self {
            child,
            script,
            folder,
            port,
        };
        stub.listens();
        Some(stub)
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Stops it; agents find a closed port.
    pub(crate) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::fs::remove_file(self.path("log")).unwrap();
    }

    /// Starts it anew on the same port with another certificate; it takes agents of before as they come.
    pub(crate) fn start_again(&mut self, ca: &Authority, leaf: LeafRequest) {
        write_certificate(self.folder.path(), ca, leaf);
        self.child = run(&self.script, self.folder.path(), self.port);
        self.listens();
    }

    /// Publishes a policy: each is a new revision.
    pub(crate) fn publish(&self, policy: &Value) {
        self.put("policy.json", &policy.to_string());
    }

    pub(crate) fn send(&self, action: &Value) {
        let id = action["id"].as_str().unwrap();
        self.put(&format!("actions/{id}.json"), &action.to_string());
    }

    /// Requests whose path matches are answered with this status, for ever or so many times.
    pub(crate) fn fail(&self, path: &str, status: u16, times: Option<u32>) {
        let times = times.map(|times| times.to_string()).unwrap_or_default();
        self.put("fail", &format!("{path} {status} {times}"));
    }

    pub(crate) fn heal(&self) {
        std::fs::remove_file(self.path("fail")).unwrap();
    }

    /// Requests of a kind (`enroll`, `checkin`, `acks`, `upload`, ..), in order.
    pub(crate) fn seen(&self, what: &str) -> Vec<Value> {
        let mut files: Vec<_> = std::fs::read_dir(self.path("records"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().ends_with(&format!("-{what}.json")))
            .collect();
        files.sort();
        // One that is being written is read the next time.
        let record = |path: &PathBuf| serde_json::from_slice(&fs_err::read(path).unwrap()).ok();
        files.iter().filter_map(record).collect()
    }

    /// The first request of a kind for which `wanted` holds, now or soon.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(what, SOON, || self.seen(what).into_iter().find(|record| wanted(record)))
    }

    /// The acknowledgement of an action.
    pub(crate) fn acknowledged(&self, action: &str) -> Value {
        eventually(action, SOON, || self.acknowledgement(action))
    }

    pub(crate) fn acknowledgement(&self, action: &str) -> Option<Value> {
        let events = |record: &Value| record["request"]["body"]["events"].as_array().cloned();
        let all = self
            .seen("acks")
            .iter()
            .filter_map(events)
            .flatten()
            .collect::<Vec<_>>();
        all.into_iter().find(|event| event["action_id"] == action)
    }

    fn listens(&self) {
        eventually("the stub", SOON, || {
            let said = fs_err::read_to_string(self.path("log")).ok()?;
            said.contains("listening on").then_some(())
        });
    }

    fn put(&self, name: &str, text: &str) {
        fs_err::write(self.path("beside"), text).unwrap();
        std::fs::rename(self.path("beside"), self.path(name)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

fn run(script: &Path, folder: &Path, port: u16) -> Child {
    let log = fs_err::File::create(folder.join("log")).unwrap();
    Command::new("python3")
        .arg(script)
        .arg(format!("--listen=127.0.0.1:{port}"))
        .args([
            "--cert=leaf.crt",
            "--key=leaf.key",
            "--policy=policy.json",
            "--actions=actions",
        ])
        .args(["--fail=fail", "--record=records", "--long-poll=1", "--accept-unknown"])
        .arg(format!("--enrollment-token={TOKEN}"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.into_parts().0)
        .spawn()
        .unwrap()
}

pub(crate) fn authority() -> Authority {
    Authority::generate(AuthorityRequest::default()).unwrap()
}

pub(crate) fn good_leaf() -> LeafRequest {
    LeafRequest {
        ips: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        ..LeafRequest::default()
    }
}

/// It was good until yesterday.
pub(crate) fn expired_leaf() -> LeafRequest {
    LeafRequest {
        valid_from: Some(jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * 11)),
        days: 10,
        ..good_leaf()
    }
}

fn write_certificate(folder: &Path, ca: &Authority, leaf: LeafRequest) {
    let issued = ca.issue(leaf).unwrap();
    let key = certs::write_pem_key(&issued.key, KeyFormat::Pkcs8).unwrap();
    fs_err::write(folder.join("leaf.crt"), certs::write_pem_certificates(&issued.chain)).unwrap();
    fs_err::write(folder.join("leaf.key"), key.expose()).unwrap();
    if !folder.join("policy.json").exists() {
        fs_err::write(
            folder.join("policy.json"),
            json!({"id": "p", "inputs": [], "outputs": {}}).to_string(),
        )
        .unwrap();
    }
}
