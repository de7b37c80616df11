//! A host with an agent: the built program in a folder of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use pki::Authority;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{eventually, run};

use crate::stub::{SOON, Stub, TOKEN};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
/// Failures are retried sooner than a person would want it, for the test's sake.
const CONFIG: &str = "fleet: {enabled: true, checkin: {request_backoff_init: 200ms, request_backoff_max: 400ms}}\n";

pub(crate) struct Host {
    folder: TempDir,
    daemon: Option<Child>,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            daemon: None,
        }
    }

    /// Enrolled and running.
    pub(crate) fn of(stub: &Stub, ca: &Authority) -> Self {
        let mut host = Self::new();
        let enrolled = host.enroll(&stub.url(), ca, &[]);
        assert!(enrolled.status.success(), "{}", said(&enrolled));
        host.start();
        host
    }

    pub(crate) fn enroll(&self, url: &str, ca: &Authority, more: &[&str]) -> Output {
        self.enroll_with(TOKEN, url, ca, more)
    }

    pub(crate) fn enroll_with(&self, token: &str, url: &str, ca: &Authority, more: &[&str]) -> Output {
        let ca = self.file("ca.crt", &ca.certificate_pem());
        let trust = format!("--certificate-authorities={ca}");
        let flags = ["enroll", "--force", "--url", url, "--enrollment-token", token, &trust];
        let output = self.agent(&[&flags, more].concat());
        if output.status.success() {
            self.file("elastic-agent.yml", CONFIG);
        }
        output
    }

    pub(crate) fn agent(&self, arguments: &[&str]) -> Output {
        let home = format!("--path.home={}", self.folder.path().display());
        run(FLOTILLA, [&["agent", home.as_str()], arguments].concat())
    }

    pub(crate) fn start(&mut self) {
        let daemon = Command::new(FLOTILLA)
            .args(["agent", "run"])
            .arg(format!("--path.home={}", self.folder.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.daemon = Some(daemon);
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    pub(crate) fn status(&self) -> Option<Value> {
        serde_json::from_slice(&self.agent(&["status", "--output=json"]).stdout).ok()
    }

    /// Asks for the status until `wanted` holds.
    pub(crate) fn status_becomes(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = None;
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(what, SOON, || {
                last = self.status();
                last.clone().filter(&wanted)
            })
        }));
        seen.unwrap_or_else(|_| panic!("{what}; the status stays {last:#?}"))
    }

    /// Fleet hears it and it is well.
    pub(crate) fn is_connected(&self) -> Value {
        self.status_becomes("connected", |status| status["FleetMessage"] == "Connected")
    }

    /// Writes a file; its absolute path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs_err::write(&path, text).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A policy whose output needs no server, with this `fleet` block.
    pub(crate) fn policy(&self, fleet: &Value) -> Value {
        json!({
            "id": "p",
            "outputs": {"default": {"type": "file", "path": self.path("out")}},
            "agent": {"monitoring": {"enabled": false}},
            "fleet": fleet,
            "inputs": [],
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _already_gone = daemon.kill();
            let _already_waited = daemon.wait();
        }
    }
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
