//! An agent as `install` leaves it, with a service manager that starts it again, so that it can be upgraded.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::fmt::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::{eventually, run};

const SOON: Duration = Duration::from_mins(1);
/// A probation of seconds in place of minutes.
const CONFIG: &str = "outputs: {default: {type: console}}
agent.upgrade.watcher: {grace_period: 4s, error_check.interval: 200ms}
";

/// A folder as `install` makes it, and a service manager that starts the agent whenever it ends.
#[derive(Debug)]
pub struct InstalledHost {
    binary: String,
    folder: tempfile::TempDir,
    manager: Child,
}

impl InstalledHost {
    /// One that no Fleet manages.
    pub fn start(binary: &str) -> Self {
        Self::start_after(binary, |_| ())
    }

    /// With what was done to its top folder before the first start.
    pub fn start_after(binary: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        let home = top.join("data/elastic-agent-first");
        std::fs::create_dir_all(&home).unwrap();
        symlink(binary, home.join("elastic-agent")).unwrap();
        symlink(home.join("elastic-agent"), top.join("elastic-agent")).unwrap();
        fs_err::write(top.join(".installed"), "").unwrap();
        fs_err::write(top.join("elastic-agent.yml"), CONFIG).unwrap();
        // A program that outlives every home.
        symlink(binary, folder.path().join("elastic-agent")).unwrap();
        std::fs::create_dir(folder.path().join("packages")).unwrap();
        prepare(&top);
        let manager = Command::new("sh")
            .args(["-c", "trap 'kill $child; exit' TERM; while :; do ./elastic-agent run --path.home=\"$PWD\" & child=$!; wait $child; sleep 0.1; done"])
            .current_dir(&top)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let host = Self {
            binary: binary.to_owned(),
            folder,
            manager,
        };
        host.runs();
        host
    }

    /// One that is enrolled with a join string; a new version is on probation for that many seconds.
    pub fn join(binary: &str, string: &str, probation: u32) -> Self {
        Self::start_after(binary, |top| {
            let home = format!("--path.home={}", top.display());
            let enrolled = run(binary, ["agent", &home, "enroll", "--force", "--join", string]);
            assert!(
                enrolled.status.success(),
                "{}",
                String::from_utf8_lossy(&enrolled.stderr)
            );
            let config = format!(
                "fleet.enabled: true\nagent.upgrade.watcher: {{grace_period: {probation}s, error_check.interval: 2s}}\n"
            );
            fs_err::write(top.join("elastic-agent.yml"), config).unwrap();
        })
    }

    /// What it lies in, with a program that outlives every home.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What `install` made.
    pub fn top(&self) -> PathBuf {
        self.folder.path().join("top")
    }

    /// Runs a command of the agent's on it.
    pub fn agent(&self, arguments: &[&str]) -> Output {
        let home = format!("--path.home={}", self.top().display());
        run(&self.binary, [&["agent", home.as_str()], arguments].concat())
    }

    /// Waits until an agent answers; its process.
    pub fn runs(&self) -> u64 {
        eventually("a running agent", SOON, || {
            let status = self.agent(&["status", "--output", "json"]);
            let report: Value = serde_json::from_slice(&status.stdout).ok()?;
            report["info"]["pid"].as_u64()
        })
    }

    /// A package whose program is this script.
    pub fn package(&self, version: &str, script: &str) {
        let root = format!("elastic-agent-{version}");
        let unpacked = self.folder.path().join(&root);
        std::fs::create_dir_all(&unpacked).unwrap();
        let program = unpacked.join("elastic-agent");
        fs_err::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let packages = self.folder.path().join("packages");
        let architecture = if std::env::consts::ARCH == "aarch64" {
            "arm64"
        } else {
            std::env::consts::ARCH
        };
        let name = format!("elastic-agent-{version}-linux-{architecture}.tar.gz");
        let make = format!("tar -czf packages/{name} {root} && cd packages && sha512sum {name} > {name}.sha512");
        let made = Command::new("sh")
            .args(["-c", &make])
            .current_dir(self.folder.path())
            .status()
            .unwrap();
        assert!(made.success() && packages.join(name).exists());
    }

    /// Where its packages are.
    pub fn source(&self) -> String {
        format!("file://{}", self.folder.path().join("packages").display())
    }

    /// `upgrade`, without waiting.
    pub fn start_upgrade(&self, version: &str) -> Child {
        Command::new(&self.binary)
            .arg("agent")
            .arg(format!("--path.home={}", self.top().display()))
            .args(["upgrade", version, "--source-uri", &self.source(), "--skip-verify"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Kills every process of this installation whose command line has that word behind the program's name; all without one.
    pub fn kill(&self, word: &str) {
        let pattern = format!("elastic-agent {word}.*--path.home[= ]{}", self.top().display());
        run("pkill", ["-KILL", "-f", &pattern]);
    }

    /// `upgrade`, which works.
    pub fn upgrade(&self, version: &str) {
        let source = self.source();
        let upgraded = self.agent(&["upgrade", version, "--source-uri", &source, "--skip-verify"]);
        let mut said = String::from_utf8_lossy(&upgraded.stderr).into_owned();
        write!(said, "{}", String::from_utf8_lossy(&upgraded.stdout)).unwrap();
        assert!(upgraded.status.success(), "{said}");
    }

    /// The home that the link leads to.
    pub fn home(&self) -> PathBuf {
        let program = std::fs::read_link(self.top().join("elastic-agent")).unwrap();
        program.parent().map(Path::to_owned).unwrap()
    }

    /// What says that a new version is on probation.
    pub fn marker(&self) -> Option<Value> {
        let text = fs_err::read(self.top().join("data/.update-marker")).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

impl Drop for InstalledHost {
    fn drop(&mut self) {
        run("kill", ["-TERM", &self.manager.id().to_string()]);
        let _already_waited = self.manager.wait();
    }
}

/// The version that this program says it is.
pub fn version_of(binary: &str) -> String {
    let said = run(binary, ["agent", "version", "--binary-only"]);
    let said = String::from_utf8(said.stdout).unwrap();
    let is_version =
        |word: &&str| word.split('.').count() == 3 && word.starts_with(|first: char| first.is_ascii_digit());
    said.split_whitespace().find(is_version).unwrap().to_owned()
}
