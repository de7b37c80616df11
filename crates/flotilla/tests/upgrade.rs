//! `elastic-agent upgrade` as processes: a version that works stays, one that does not is taken back.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::fmt::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::{Flotilla, eventually, run};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);
/// Between the moments at which something is killed.
const STEP: Duration = Duration::from_millis(150);
/// A probation of seconds in place of minutes.
const CONFIG: &str = "outputs: {default: {type: console}}
agent.upgrade.watcher: {grace_period: 4s, error_check.interval: 200ms}
";

/// A folder as `install` makes it, and a service manager that starts the agent whenever it ends.
struct Host {
    folder: tempfile::TempDir,
    manager: Child,
}

impl Host {
    fn start() -> Self {
        Self::start_after(|_| ())
    }

    /// With what was done to its top folder before the first start.
    fn start_after(prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        let home = top.join("data/elastic-agent-first");
        std::fs::create_dir_all(&home).unwrap();
        symlink(FLOTILLA, home.join("elastic-agent")).unwrap();
        symlink(home.join("elastic-agent"), top.join("elastic-agent")).unwrap();
        fs_err::write(top.join(".installed"), "").unwrap();
        fs_err::write(top.join("elastic-agent.yml"), CONFIG).unwrap();
        // A program that outlives every home.
        symlink(FLOTILLA, folder.path().join("elastic-agent")).unwrap();
        std::fs::create_dir(folder.path().join("packages")).unwrap();
        prepare(&top);
        let manager = Command::new("sh")
            .args(["-c", "trap 'kill $child; exit' TERM; while :; do ./elastic-agent run --path.home=\"$PWD\" & child=$!; wait $child; sleep 0.1; done"])
            .current_dir(&top)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let host = Self { folder, manager };
        host.runs();
        host
    }

    fn top(&self) -> PathBuf {
        self.folder.path().join("top")
    }

    fn agent(&self, arguments: &[&str]) -> Output {
        let home = format!("--path.home={}", self.top().display());
        run(FLOTILLA, [&["agent", home.as_str()], arguments].concat())
    }

    /// Waits until an agent answers; its process.
    fn runs(&self) -> u64 {
        eventually("a running agent", SOON, || {
            let status = self.agent(&["status", "--output", "json"]);
            let report: Value = serde_json::from_slice(&status.stdout).ok()?;
            report["info"]["pid"].as_u64()
        })
    }

    /// A package whose program is this script.
    fn package(&self, version: &str, script: &str) {
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

    fn source(&self) -> String {
        format!("file://{}", self.folder.path().join("packages").display())
    }

    fn start_upgrade(&self, version: &str) -> Child {
        Command::new(FLOTILLA)
            .arg("agent")
            .arg(format!("--path.home={}", self.top().display()))
            .args(["upgrade", version, "--source-uri", &self.source(), "--skip-verify"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Kills every process of this installation whose command line has that word behind the program's name; all without one.
    fn kill(&self, word: &str) {
        let pattern = format!("elastic-agent {word}.*--path.home[= ]{}", self.top().display());
        run("pkill", ["-KILL", "-f", &pattern]);
    }

    fn upgrade(&self, version: &str) {
        let source = self.source();
        let upgraded = self.agent(&["upgrade", version, "--source-uri", &source, "--skip-verify"]);
        let mut said = String::from_utf8_lossy(&upgraded.stderr).into_owned();
        write!(said, "{}", String::from_utf8_lossy(&upgraded.stdout)).unwrap();
        assert!(upgraded.status.success(), "{said}");
    }

    /// The home that the link leads to.
    fn home(&self) -> PathBuf {
        let program = std::fs::read_link(self.top().join("elastic-agent")).unwrap();
        program.parent().map(Path::to_owned).unwrap()
    }

    fn marker(&self) -> Option<Value> {
        let text = fs_err::read(self.top().join("data/.update-marker")).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        run("kill", ["-TERM", &self.manager.id().to_string()]);
        let _already_waited = self.manager.wait();
    }
}

/// The version that this program says it is.
fn own_version() -> String {
    let said = run(FLOTILLA, ["agent", "version", "--binary-only"]);
    let said = String::from_utf8(said.stdout).unwrap();
    let is_version =
        |word: &&str| word.split('.').count() == 3 && word.starts_with(|first: char| first.is_ascii_digit());
    said.split_whitespace().find(is_version).unwrap().to_owned()
}

#[test]
fn a_version_that_works_stays_and_one_that_does_not_is_taken_back() {
    let host = Host::start();
    let first = host.home();
    let version = own_version();
    let works = format!(
        "#!/bin/sh\nexec {}/elastic-agent \"$@\"\n",
        host.folder.path().display()
    );
    host.package(&version, &works);
    let process = host.runs();
    host.upgrade(&version);
    assert_eq!(host.runs(), process, "the service manager does not notice");
    let second = host.home();
    assert_ne!(second, first);
    assert!(host.marker().is_some(), "it is on probation");
    eventually("the end of the probation", SOON, || {
        host.marker().is_none().then_some(())
    });
    assert_eq!(host.home(), second);

    host.package(
        "99.0.0",
        "#!/bin/sh\n[ \"$1\" = version ] && echo 99.0.0 && exit\nexit 1\n",
    );
    host.upgrade("99.0.0");
    let reason = eventually("the version before", SOON, || {
        host.marker()?["rolled_back"].as_str().map(str::to_owned)
    });
    assert!(reason.contains("answer"), "{reason}");
    assert_eq!(host.home(), second);
    host.runs();
    eventually("the homes of others are gone", SOON, || {
        let homes = std::fs::read_dir(host.top().join("data")).unwrap();
        let is_home = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("elastic-agent-");
        let left: Vec<_> = homes
            .map(Result::unwrap)
            .filter(is_home)
            .map(|entry| entry.path())
            .collect();
        (left == [second.clone()]).then_some(())
    });
}

/// Fleet asks, Fleet Server hands the program out, and a version that does not check in is taken back, which Fleet hears.
#[test]
fn a_version_from_fleet_server_that_does_not_check_in_is_taken_back() {
    let mut up = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let host = Host::start_after(|top| {
        let (join, home) = (up.text("/join"), format!("--path.home={}", top.display()));
        let enrolled = run(FLOTILLA, ["agent", &home, "enroll", "--force", "--join", &join]);
        assert!(
            enrolled.status.success(),
            "{}",
            String::from_utf8_lossy(&enrolled.stderr)
        );
        let times = "agent.upgrade.watcher: {grace_period: 8s, error_check.interval: 2s}\n";
        let config = format!("fleet.enabled: true\n{times}");
        fs_err::write(top.join("elastic-agent.yml"), config).unwrap();
    });
    let first = host.home();
    // It starts late enough for Fleet Server to be gone by then.
    let program = format!(
        "#!/bin/sh\n[ \"$1\" = version ] && echo 9.6.9 && exit\nsleep 3\nexec {}/elastic-agent \"$@\"\n",
        host.folder.path().display()
    );
    assert!(up.stop());
    let programs = up.data_dir().join("programs");
    std::fs::create_dir(&programs).unwrap();
    fs_err::write(
        programs.join(format!("flotilla-linux-{}", std::env::consts::ARCH)),
        program,
    )
    .unwrap();
    up.start_again();

    let id = eventually("the agent in the fleet", SOON, || {
        let agent = &up.console().get("/api/fleet/agents")["items"][0];
        (agent["status"] == "online").then(|| agent["id"].as_str().unwrap().to_owned())
    });
    let asked = up.console().post(
        &format!("/api/fleet/agents/{id}/upgrade"),
        &serde_json::json!({"version": "9.6.9", "force": true}),
    );
    assert!(asked.get("error").is_none(), "{asked}");
    eventually("probation", SOON, || (host.home() != first).then_some(()));
    up.kill();
    eventually("the version before", SOON, || (host.home() == first).then_some(()));
    up.start_again();
    let told = eventually("the rollback is told to Fleet", SOON, || {
        let agent = up.console().get(&format!("/api/fleet/agents/{id}"));
        let details = agent["item"]["upgrade_details"].clone();
        (details["state"] == "UPG_ROLLBACK").then_some(details)
    });
    assert_eq!(told["target_version"], "9.6.9");
    // Fleet's documents have no place for the reason; the host has.
    let status = host.agent(&["status", "--output", "json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    let reason = status["upgrade_details"]["metadata"]["reason"]
        .as_str()
        .unwrap_or_default();
    assert!(reason.contains("did not check in"), "{status}");
    assert_eq!(host.home(), first);
    assert!(host.marker().is_none());
}

/// Whatever is killed, and whenever: an agent runs afterwards, and takes the next upgrade.
#[test]
fn kills_in_the_midst_of_an_upgrade_strand_nothing() {
    let host = Host::start();
    // Another program each time, so that each has a home of its own.
    let works = |number: usize| {
        let program = host.folder.path().join("elastic-agent");
        format!("#!/bin/sh\n# {number}\nexec {} \"$@\"\n", program.display())
    };
    let version = own_version();
    for round in 0..testkit::soak_rounds(6) {
        host.package(&version, &works(round));
        let mut upgrade = host.start_upgrade(&version);
        // Spread over what an upgrade takes: unpacking, trying, turning the link, starting over, watching.
        std::thread::sleep(STEP * u32::try_from(round % 12).unwrap());
        let victim = if round % 2 == 0 { "run" } else { "" };
        host.kill(victim);
        let _refused_or_done = upgrade.wait().unwrap();
        host.runs();
        assert!(
            host.home().join("elastic-agent").exists(),
            "round {round}: the link leads nowhere"
        );
        eventually("the end of what was begun", SOON, || {
            host.marker().is_none().then_some(())
        });
    }
    host.package(&version, &works(usize::MAX));
    let before = host.home();
    host.upgrade(&version);
    assert_ne!(host.home(), before);
    eventually("the end of the probation", SOON, || {
        host.marker().is_none().then_some(())
    });
}

#[test]
fn what_cannot_be_upgraded_says_why() {
    let home = tempfile::tempdir().unwrap();
    let top = format!("--path.home={}", home.path().display());
    let check = |arguments: &[&str], expected: &str| {
        let output = run(FLOTILLA, [&["agent", top.as_str(), "upgrade"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    };
    check(&["9.9.9"], "no agent is installed");
    fs_err::write(home.path().join(".installed"), "").unwrap();
    check(&[], "name the version");
    check(&["9.9.9"], "--source-uri");
    check(&["9.9.9", "-s", "/nonexistent", "--skip-verify"], "/nonexistent");
    check(&["9.9.9", "-s", "/nonexistent", "--pgp-uri", "http://keys"], "https");
    check(
        &["9.9.9", "-s", "/nonexistent", "--pgp-path", "/nonexistent/key"],
        "--pgp-path",
    );
    check(&["--rollback"], "nothing to go back to");
}
