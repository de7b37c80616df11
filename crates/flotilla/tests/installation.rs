//! `install` and `uninstall` that are killed at any of their steps: what is left can be completed, and removed.
//!
//! They run in a mount namespace of their own, where changes below `/etc` and `/usr/bin` stay, with a service manager that
//! writes down what it is asked and kills who asks at a chosen moment.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use testkit::{Link, is_installed, run, skip};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");

/// Kills who asks at the call whose number stands in `kill-at`, before it does anything. As systemd it knows only units
/// whose file is there.
const SYSTEMCTL: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/calls"
if [ -f "$here/kill-at" ] && [ "$(wc -l < "$here/calls")" -eq "$(cat "$here/kill-at")" ]; then
    kill -9 $PPID
    exit 1
fi
case "$1" in
    stop|start|enable|disable) [ -f "/etc/systemd/system/$2.service" ] || { echo "Unit $2.service not loaded." >&2; exit 5; } ;;
esac
"#;

/// Everything below which an installation writes, laid over the real folders.
const MOUNTS: &str = r#"
for folder in /etc /usr/bin; do
    over="$1/over$folder"; mkdir -p "$over/upper" "$over/work"
    mount -t overlay overlay -o "lowerdir=$folder,upperdir=$over/upper,workdir=$over/work" "$folder" || exit 1
done
mkdir -p /etc/systemd/system
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system || exit 1
echo ready
exec cat
"#;

struct Host {
    folder: tempfile::TempDir,
    /// Holds the namespace as long as its input is open.
    holder: Child,
    agent: Link,
}

impl Host {
    fn new() -> Option<Self> {
        use std::io::{BufRead, BufReader};
        if !is_installed("unshare") || !is_installed("nsenter") {
            skip("`unshare` and `nsenter` are not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let tools = folder.path().join("tools");
        fs_err::create_dir(&tools).unwrap();
        fs_err::write(tools.join("systemctl"), SYSTEMCTL).unwrap();
        fs_err::set_permissions(tools.join("systemctl"), PermissionsExt::from_mode(0o755)).unwrap();
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", MOUNTS, "sh"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap())
            .read_line(&mut ready)
            .unwrap();
        let host = Self {
            folder,
            holder,
            agent: Link::new(FLOTILLA, "elastic-agent"),
        };
        if ready.trim() != "ready" {
            skip("this user may not mount folders in a namespace");
            return None;
        }
        Some(host)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn top(&self) -> PathBuf {
        self.path("base/Elastic/Agent")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let tools = self.path("tools");
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()))
            .arg("env")
            .arg(format!("PATH={}:/usr/sbin:/usr/bin:/sbin:/bin", tools.display()))
            .arg(self.agent.path())
            .args(arguments);
        command
    }

    /// As [`Host::run`], killed at a call of the service manager; 0 is never.
    fn run_killed_at(&self, call: usize, arguments: &[&str]) -> Output {
        let tools = self.path("tools");
        drop(fs_err::remove_file(tools.join("calls")));
        fs_err::write(tools.join("kill-at"), call.to_string()).unwrap();
        self.command(arguments).output().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_killed_at(0, arguments)
    }

    fn install(&self) -> Vec<String> {
        let base = self.path("base").to_str().unwrap().to_owned();
        ["install", "--non-interactive", "--base-path", &base]
            .map(str::to_owned)
            .into()
    }

    fn uninstall(&self) -> Vec<String> {
        let top = self.top().to_str().unwrap().to_owned();
        ["uninstall", "--force", "--skip-fleet-audit", "--path.home", &top]
            .map(str::to_owned)
            .into()
    }

    #[track_caller]
    fn must(&self, arguments: &[String]) {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = self.run(&arguments);
        assert!(output.status.success(), "{arguments:?}: {}", told(&output));
    }

    fn sees(&self, path: &str) -> bool {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        run("nsenter", [&namespace, "test", "-e", path]).status.success()
    }

    #[track_caller]
    fn is_installed(&self) {
        let version = Command::new(self.top().join("elastic-agent"))
            .args(["version", "--binary-only"])
            .output()
            .unwrap();
        assert!(version.status.success(), "{}", told(&version));
        for path in ["/etc/systemd/system/elastic-agent.service", "/usr/bin/elastic-agent"] {
            assert!(self.sees(path), "{path}");
        }
        let calls = fs_err::read_to_string(self.path("tools/calls")).unwrap();
        assert!(calls.ends_with("start elastic-agent\n"), "{calls}");
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        assert!(!self.top().exists());
        for path in ["/etc/systemd/system/elastic-agent.service", "/usr/bin/elastic-agent"] {
            assert!(!self.sees(path), "{path}");
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        drop(self.holder.wait());
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// `install` asks the service manager three times: to read the unit, to enable it, to start it.
const INSTALL_CALLS: usize = 3;
/// `uninstall`: to stop, to disable, to forget.
const UNINSTALL_CALLS: usize = 3;

#[test]
fn a_killed_installation_is_completed_by_the_next_one() {
    let Some(host) = Host::new() else { return };
    for call in 1..=INSTALL_CALLS {
        let killed = host.run_killed_at(call, &words(&host.install()));
        assert!(!killed.status.success(), "call {call}: {}", told(&killed));
        let mut again = host.install();
        // From the registration on the agent is there: only --force replaces it.
        let refused = host.run(&words(&again));
        assert!(
            !refused.status.success() && told(&refused).contains("--force"),
            "call {call}: {}",
            told(&refused)
        );
        again.push("--force".to_owned());
        host.must(&again);
        host.is_installed();
        host.must(&host.uninstall());
        host.nothing_is_left();
    }
}

#[test]
fn a_killed_installation_can_be_removed() {
    let Some(host) = Host::new() else { return };
    for call in 1..=INSTALL_CALLS {
        host.run_killed_at(call, &words(&host.install()));
        host.must(&host.uninstall());
        host.nothing_is_left();
    }
}

#[test]
fn a_killed_removal_is_completed_by_the_next_one() {
    let Some(host) = Host::new() else { return };
    for call in 1..=UNINSTALL_CALLS {
        host.must(&host.install());
        let killed = host.run_killed_at(call, &words(&host.uninstall()));
        assert!(!killed.status.success(), "call {call}: {}", told(&killed));
        host.must(&host.uninstall());
        host.nothing_is_left();
    }
    // In the midst of the files: whatever is gone already, the marker is still there.
    host.must(&host.install());
    for name in ["data", "elastic-agent"] {
        let path = host.top().join(name);
        let removed = if path.is_dir() && !path.is_symlink() {
            fs_err::remove_dir_all(&path)
        } else {
            fs_err::remove_file(&path)
        };
        removed.unwrap();
    }
    host.must(&host.uninstall());
    host.nothing_is_left();
}

/// The Fleet Server that is asked answers nothing: the moment between is when the program is killed.
#[test]
fn an_installation_killed_while_it_enrols_is_completed_without_force() {
    let Some(host) = Host::new() else { return };
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    let mut enrolling = host.install();
    enrolling.extend(["--url", &url, "--enrollment-token", "dG9rZW4=", "--insecure"].map(str::to_owned));
    let mut child = host.command(&words(&enrolling)).spawn().unwrap();
    let asked = server.accept().unwrap();
    // `nsenter` and `env` have become the program.
    child.kill().unwrap();
    child.wait().unwrap();
    drop(asked);
    assert!(host.top().join(".installed").exists() && !host.sees("/etc/systemd/system/elastic-agent.service"));
    host.must(&host.install());
    host.is_installed();
    host.must(&host.uninstall());
    host.nothing_is_left();
}

/// Copied halfway: no marker, a program that is not whole.
#[test]
fn an_installation_killed_while_it_copies_is_completed() {
    let Some(host) = Host::new() else { return };
    host.must(&host.install());
    let home = |top: &Path| {
        fs_err::read_dir(top.join("data"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path()
    };
    let home = home(&host.top());
    host.must(&host.uninstall());
    fs_err::create_dir_all(&home).unwrap();
    fs_err::write(home.join("elastic-agent.new"), "half").unwrap();
    host.must(&host.install());
    host.is_installed();
    assert!(!home.join("elastic-agent.new").exists());
    host.must(&host.uninstall());
    host.nothing_is_left();
}
