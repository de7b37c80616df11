//! `elastic-agent install` in the documents' words, on a host of its own: a mount and process namespace whose /opt, /usr/bin
//! and /etc/systemd are not this machine's, with a stand-in for the service manager.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use testkit::{Flotilla, eventually, free_ports, is_installed, skip};

use crate::files::Files;
use crate::{FLOTILLA, SOON, add_fleet_server_host, data_arrives, online};

/// Makes the folders that `install` writes to the namespace's own, then does what comes in over stdin.
const ENTER: &str = r#"
set -e
mount -t tmpfs own /run && mkdir -p /run/systemd/system
mount -t tmpfs own /opt
mkdir -p "$SCRATCH/own" && mount -t tmpfs own "$SCRATCH/own" && mkdir "$SCRATCH/own/up" "$SCRATCH/own/work"
mount -t overlay own -o "lowerdir=/usr/bin,upperdir=$SCRATCH/own/up,workdir=$SCRATCH/own/work" /usr/bin
mkdir "$SCRATCH/own/systemd" "$SCRATCH/own/systemd/system" && mount --bind "$SCRATCH/own/systemd" /etc/systemd
cd "$SCRATCH"
while read -r line; do
  if eval "$line" >"$SCRATCH/said" 2>&1; then echo 0 >"$SCRATCH/done"; else echo 1 >"$SCRATCH/done"; fi
done
"#;

/// Starts and stops what a unit names; everything else of a service manager has nothing to do here. The terminal that the command was
/// typed at may be gone before the service has left its session.
const SYSTEMCTL: &str = r#"#!/bin/sh
case "$1" in
start) trap '' HUP
  setsid $(sed -n 's/^ExecStart=//p' "/etc/systemd/system/$2.service") >/dev/null 2>&1 </dev/null &
  echo $! >"$SCRATCH/$2.pid" ;;
stop) pid=$(cat "$SCRATCH/$2.pid"); kill "$pid"
  while [ -d "/proc/$pid" ] && ! grep -q '^State:.*Z' "/proc/$pid/status"; do sleep 0.05; done ;;
esac
"#;

/// One host that has a service manager.
struct Machine {
    child: Child,
    stdin: Option<ChildStdin>,
    scratch: TempDir,
}

impl Machine {
    /// `None`, and said aloud, where namespaces cannot be made.
    fn boot() -> Option<Self> {
        if !is_installed("unshare") || !is_installed("script") || !can_unshare() {
            skip("installing needs root, `unshare` and `script`");
            return None;
        }
        let scratch = tempfile::tempdir().unwrap();
        let (programs, unpacked) = (scratch.path().join("programs"), scratch.path().join("elastic-agent"));
        std::fs::create_dir(&programs).unwrap();
        let systemctl = programs.join("systemctl");
        fs_err::write(&systemctl, SYSTEMCTL).unwrap();
        std::fs::set_permissions(&systemctl, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        // `./elastic-agent`, as after unpacking the archive.
        std::os::unix::fs::symlink(FLOTILLA, unpacked).unwrap();
        let mut child = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "bash",
                "-c",
                ENTER,
            ])
            .env("SCRATCH", scratch.path())
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display()))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        Some(Self { child, stdin, scratch })
    }

    /// Types a command at a terminal and answers every question with yes.
    fn types(&mut self, command: &str) -> String {
        assert!(!command.contains(['\'', '\n']), "one command without quotes: {command}");
        self.runs(&format!(
            r"printf 'y\ny\n' | script --quiet --return --command '{command}' /dev/null"
        ))
    }

    /// Runs a line and waits for its end; what it said.
    fn runs(&mut self, line: &str) -> String {
        let file = |name: &str| -> PathBuf { self.scratch.path().join(name) };
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
        let ended = || {
            let status = fs_err::read_to_string(file("done")).ok()?;
            (!status.is_empty()).then_some(status)
        };
        let status = eventually(line, SOON, ended);
        std::fs::remove_file(file("done")).unwrap();
        let said = fs_err::read_to_string(file("said")).unwrap();
        assert_eq!(status.trim(), "0", "{line}: {said}");
        said
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

fn can_unshare() -> bool {
    let tried = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "true"])
        .output();
    tried.is_ok_and(|output| output.status.success())
}

/// "Configure SSL/TLS for self-managed Fleet Servers", both `install` commands; paths, addresses and tokens are the test's.
#[test]
fn a_fleet_server_and_an_agent_as_secure_connections_says() {
    let (Some(mut server), Some(mut host)) = (Machine::boot(), Machine::boot()) else {
        return;
    };
    let elasticsearch = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let files = Files::make();
    let certs = elasticsearch.data_dir().join("certs");
    // One CA signs for every leg; `flotilla up` accepts its clients.
    files.take_authority("ca", &certs.join("agent-ca.crt"), &certs.join("agent-ca.key"));
    files.issue("one", "ca", &["--dns", "localhost", "--ip", "127.0.0.1"]);
    let [port] = free_ports();
    add_fleet_server_host(&elasticsearch, port);
    let (ca, certificate, key) = (
        files.path("ca.crt"),
        files.path("one/one.crt"),
        files.path("one/one.key"),
    );
    let pair = format!(
        "--elastic-agent-cert={certificate} \
   --elastic-agent-cert-key={key} \
   --elastic-agent-cert-key-passphrase={} ",
        files.path("passphrase")
    );
    let said = server.types(&format!(
        "./elastic-agent install \
   --url=https://localhost:{port} \
   --fleet-server-es={} \
   --fleet-server-service-token={} \
   --fleet-server-policy=fleet-server-policy \
   --fleet-server-es-ca={} \
   --certificate-authorities={ca} \
   --fleet-server-cert={certificate} \
   --fleet-server-cert-key={key} \
   --fleet-server-port={port} \
   {pair} \
   --fleet-server-es-cert={certificate} \
   --fleet-server-es-cert-key={key} \
   --fleet-server-client-auth=required",
        elasticsearch.text("/urls/elasticsearch"),
        elasticsearch.text("/service_token"),
        elasticsearch.text("/ca/path"),
    ));
    assert!(said.contains("runs as a service"), "{said}");
    online(&elasticsearch, 1);
    host.types(&format!(
        "./elastic-agent install --url=https://localhost:{port} \
  --enrollment-token={} \
  --certificate-authorities={ca} {pair}",
        elasticsearch.text("/enrollment_token"),
    ));
    online(&elasticsearch, 2);
    // The wrapper that every other document calls.
    let status = host.runs("elastic-agent status --output=json");
    let status: Value = serde_json::from_str(&status).unwrap();
    data_arrives(&elasticsearch, status["info"]["id"].as_str().unwrap());
    host.types("elastic-agent uninstall");
    let left = host.runs("ls /opt/Elastic /etc/systemd/system");
    assert!(!left.contains("Agent") && !left.contains("elastic-agent"), "{left}");
}
