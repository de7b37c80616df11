//! A host: the binary as `elastic-agent` with a home of its own.

use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use testkit::{Link, eventually, run};

use crate::{FLOTILLA, SOON};

pub(crate) struct Host {
    link: Link,
    home: TempDir,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self {
            link: Link::new(FLOTILLA, "elastic-agent"),
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn home(&self) -> String {
        format!("--path.home={}", self.home.path().display())
    }

    /// `elastic-agent enroll` with these flags.
    pub(crate) fn enroll(&self, flags: &[String]) -> Output {
        let mut words = vec!["enroll".to_owned(), self.home(), "--force".to_owned()];
        words.extend_from_slice(flags);
        run(self.link.path(), words)
    }

    pub(crate) fn start(&self) -> Daemon {
        let mut command = Command::new(self.link.path());
        command.args(["run", &self.home()]);
        Daemon::start(&mut command)
    }

    /// `elastic-agent container`, which takes everything from its environment.
    pub(crate) fn container(&self, environment: &[(&str, String)]) -> Daemon {
        let mut command = Command::new(self.link.path());
        command.arg("container").env("STATE_PATH", self.home.path());
        command.envs(environment.iter().map(|(name, value)| (*name, value)));
        Daemon::start(command.stderr(Stdio::null()))
    }

    pub(crate) fn is_enrolled(&self) -> bool {
        self.home.path().join("fleet.enc").exists()
    }

    /// Waits until the running agent says who it is.
    pub(crate) fn agent_id(&self) -> String {
        eventually("the agent's status", SOON, || {
            self.status()?["info"]["id"].as_str().map(str::to_owned)
        })
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.status().is_some_and(|status| status["FleetState"] == 2)
    }

    fn status(&self) -> Option<Value> {
        let status = run(self.link.path(), ["status", "--output=json", &self.home()]);
        serde_json::from_slice(&status.stdout).ok()
    }
}

/// A process that is killed at the end.
pub(crate) struct Daemon(Child);

impl Daemon {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }

    /// With what it prints in a file.
    pub(crate) fn start_printing(command: &mut Command, into: fs_err::File) -> Self {
        Self(command.stdout(into.into_file()).spawn().unwrap())
    }

    pub(crate) fn signal(&self, name: &str) {
        succeeded(&run("kill", [name, &self.0.id().to_string()]));
    }

    /// SIGTERM; whether it ended with status 0.
    pub(crate) fn stop(mut self) -> bool {
        self.signal("-TERM");
        self.0.wait().unwrap().success()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _already_waited = self.0.wait();
    }
}

pub(crate) fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", said(output));
}

/// What a program printed.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
