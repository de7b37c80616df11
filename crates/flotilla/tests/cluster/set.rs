//! Two APIs, two Fleet Servers and a console over a cluster, as `packaging/try-cluster.sh` starts them.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use testkit::{eventually, free_ports};

pub(crate) const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
/// A busy machine takes its time.
pub(crate) const LONGEST: Duration = Duration::from_mins(3);

/// The cluster that the set stands on.
pub(crate) struct Nodes<'a> {
    pub(crate) urls: &'a str,
    pub(crate) ca: PathBuf,
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
}

/// The set; stopped at the end.
pub(crate) struct Set {
    script: Child,
    folder: tempfile::TempDir,
    user: String,
    password: String,
    pub(crate) apis: [u16; 2],
    pub(crate) fleet_servers: [u16; 2],
    pub(crate) console: u16,
    /// Those that were killed and started again.
    again: Mutex<Vec<Child>>,
}

impl Set {
    pub(crate) fn start(nodes: &Nodes<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [api, other_api, fleet, other_fleet, console] = free_ports();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/try-cluster.sh");
        let mut script = Command::new("bash")
            .arg(script)
            .arg(folder.path())
            .env("FLOTILLA", FLOTILLA)
            .env("STORE", nodes.urls)
            .env("STORE_CA", &nodes.ca)
            .env("STORE_USER", nodes.user)
            .env("STORE_PASSWORD", nodes.password)
            .env("API_PORTS", format!("{api} {other_api}"))
            .env("FLEET_PORTS", format!("{fleet} {other_fleet}"))
            .env("CONSOLE_PORT", console.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
        let is_last = |line: &String| line.starts_with("CA ");
        assert!(
            lines.any(|line| is_last(&line.unwrap())),
            "the script ended before all were up"
        );
        Self {
            script,
            folder,
            user: nodes.user.to_owned(),
            password: nodes.password.to_owned(),
            apis: [api, other_api],
            fleet_servers: [fleet, other_fleet],
            console,
            again: Mutex::default(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Names and ports of the processes.
    pub(crate) fn processes(&self) -> Vec<(String, u16)> {
        let apis = self.apis.map(|port| (format!("api-{port}"), port));
        let fleet_servers = self.fleet_servers.map(|port| (format!("fleet-{port}"), port));
        let console = [("console".to_owned(), self.console)];
        apis.into_iter().chain(console).chain(fleet_servers).collect()
    }

    pub(crate) fn kill(&self, name: &str) {
        let file = self.path(&format!("{name}.pid"));
        let pid = fs_err::read_to_string(file).unwrap();
        testkit::run("kill", ["-KILL", pid.trim()]);
    }

    /// Starts a killed one again, and waits until it answers.
    pub(crate) fn start_again(&self, name: &str, port: u16) {
        eventually(&format!("{name} is gone"), LONGEST, || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err().then_some(())
        });
        let command = match name.split('-').next() {
            Some("api") => "elasticsearch-api",
            Some("fleet") => "fleet-server",
            _ => "console",
        };
        let log = fs_err::OpenOptions::new()
            .append(true)
            .open(self.path(&format!("{name}.log")))
            .unwrap();
        let child = Command::new(FLOTILLA)
            .args([command, "-c", &format!("{name}.yml")])
            .current_dir(self.folder.path())
            .env("STORE_USER", &self.user)
            .env("STORE_PASSWORD", &self.password)
            .stdout(Stdio::null())
            .stderr(log.into_parts().0)
            .spawn()
            .unwrap();
        fs_err::write(self.path(&format!("{name}.pid")), child.id().to_string()).unwrap();
        self.again.lock().unwrap_or_else(PoisonError::into_inner).push(child);
        eventually(&format!("{name} answers"), LONGEST, || {
            self.ask(port, "/api/status", &[]).map(|_| ())
        });
    }

    /// The status and body of a call as `elastic`; `None` when nobody answers.
    pub(crate) fn ask(&self, port: u16, path: &str, more: &[&str]) -> Option<(u16, Value)> {
        let password = fs_err::read_to_string(self.path("elastic-password")).unwrap();
        let login = format!("elastic:{}", password.trim());
        self.call(port, path, &[&["-u", &login][..], more].concat())
    }

    /// The same as whoever `more` says.
    pub(crate) fn call(&self, port: u16, path: &str, more: &[&str]) -> Option<(u16, Value)> {
        let output = Command::new("curl")
            .args([
                "-s",
                "-m",
                "60",
                "-w",
                "\n%{http_code}",
                "-H",
                "kbn-xsrf: 1",
                "--cacert",
            ])
            .arg(self.path("ca/ca.crt"))
            .args(more)
            .arg(format!("https://127.0.0.1:{port}{path}"))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        let status = status.parse().unwrap();
        (status != 0).then(|| (status, serde_json::from_str(body).unwrap_or_default()))
    }

    /// A call as `elastic` that has to succeed.
    pub(crate) fn done(&self, port: u16, path: &str, more: &[&str]) -> Value {
        let (status, answer) = self.ask(port, path, more).expect("it answers");
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        for child in self.again.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            let _already_gone = child.kill();
            let _already_waited = child.wait();
        }
        testkit::run("kill", ["-TERM", &self.script.id().to_string()]);
        let _already_waited = self.script.wait();
        if std::thread::panicking() {
            for (name, _) in self.processes() {
                let log = fs_err::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
                let end: Vec<&str> = log.lines().rev().take(20).collect();
                eprintln!("{name}: {end:#?}");
            }
        }
    }
}

pub(crate) const JSON: [&str; 2] = ["-H", "content-type: application/json"];
