//! The built program as a child process, and curl as a stock client.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::free_ports;

/// A running `flotilla up --json`.
#[derive(Debug)]
pub struct Flotilla {
    child: Child,
    /// The line that it printed when it was ready.
    pub ready: Value,
    arguments: Vec<String>,
    binary: PathBuf,
    data_dir: PathBuf,
    // Kept so that the folder lives as long as the process.
    _folder: Option<TempDir>,
}

impl Flotilla {
    /// Starts `binary up` in a new folder on free ports and waits until it is ready.
    pub fn start(binary: &str, more_arguments: &[&str]) -> Self {
        Self::start_at(binary, "127.0.0.1", "localhost", more_arguments)
    }

    /// The same, listening on `bind` and known to others as `host`.
    pub fn start_at(binary: &str, bind: &str, host: &str, more_arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let data_dir = folder.path().join("data");
        let [fleet_server, elasticsearch, console] = free_ports();
        let mut arguments = vec![
            format!("--bind={bind}"),
            format!("--host={host}"),
            format!("--fleet-server-port={fleet_server}"),
            format!("--elasticsearch-port={elasticsearch}"),
            format!("--console-port={console}"),
        ];
        arguments.extend(more_arguments.iter().map(|argument| (*argument).to_owned()));
        let (child, ready) = spawn(Path::new(binary), &data_dir, &arguments);
        Self {
            child,
            ready,
            arguments,
            binary: binary.into(),
            data_dir,
            _folder: Some(folder),
        }
    }

    /// Starts it again, in the same folder and on the same ports, after [`Flotilla::stop`] or [`Flotilla::kill`].
    pub fn start_again(&mut self) {
        let (child, ready) = spawn(&self.binary, &self.data_dir, &self.arguments);
        self.child = child;
        self.ready = ready;
    }

    /// SIGTERM, and waits; true when it ended by itself with status 0.
    pub fn stop(&mut self) -> bool {
        run("kill", ["-TERM", &self.child.id().to_string()]);
        self.child.wait().is_ok_and(|status| status.success())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        let status = self.child.wait().expect("a child can be waited for");
        assert_eq!(status.signal(), Some(9), "it ended before it was killed: {status}");
    }

    /// Its data folder.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A text of the ready line, by JSON pointer.
    pub fn text(&self, pointer: &str) -> String {
        let value = self.ready.pointer(pointer).and_then(Value::as_str);
        value
            .unwrap_or_else(|| panic!("{pointer} in {}", self.ready))
            .to_owned()
    }

    /// curl against the Elasticsearch API, logged in.
    pub fn elasticsearch(&self) -> Curl {
        self.curl("/urls/elasticsearch")
    }

    /// curl against the console's API, logged in.
    pub fn console(&self) -> Curl {
        self.curl("/urls/console")
    }

    /// curl against the Fleet Server.
    pub fn fleet_server(&self) -> Curl {
        self.curl("/urls/fleet_server")
    }

    fn curl(&self, url: &str) -> Curl {
        Curl {
            base: self.text(url),
            ca: self.text("/ca/path"),
            login: format!("{}:{}", self.text("/username"), self.text("/password")),
        }
    }
}

impl Drop for Flotilla {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

fn spawn(binary: &Path, data_dir: &Path, arguments: &[String]) -> (Child, Value) {
    let mut child = Command::new(binary)
        .args(["up", "--json", "--data-dir"])
        .arg(data_dir)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the built program can be started");
    let mut first_line = String::new();
    let stdout = child.stdout.take().expect("stdout is piped");
    BufReader::new(stdout)
        .read_line(&mut first_line)
        .expect("its output can be read");
    let ready = serde_json::from_str(&first_line).unwrap_or_else(|error| {
        let status = child.wait();
        panic!("not ready: {error} in {first_line:?}, {status:?}")
    });
    (child, ready)
}

/// A stock HTTP client that verifies the server against our CA.
#[derive(Clone, Debug)]
pub struct Curl {
    base: String,
    ca: String,
    login: String,
}

impl Curl {
    /// GET; the body as JSON.
    pub fn get(&self, path: &str) -> Value {
        self.json(&[], path)
    }

    /// POST of a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> Value {
        self.json(
            &[
                "-X",
                "POST",
                "-H",
                "Content-Type: application/json",
                "-H",
                "kbn-xsrf: true",
                "-d",
                &body.to_string(),
            ],
            path,
        )
    }

    /// PUT of a JSON body.
    pub fn put(&self, path: &str, body: &Value) -> Value {
        self.json(
            &[
                "-X",
                "PUT",
                "-H",
                "Content-Type: application/json",
                "-H",
                "kbn-xsrf: true",
                "-d",
                &body.to_string(),
            ],
            path,
        )
    }

    /// POST of newline-delimited JSON.
    pub fn bulk(&self, lines: &str) -> Value {
        self.json(
            &[
                "-X",
                "POST",
                "-H",
                "Content-Type: application/x-ndjson",
                "--data-binary",
                lines,
            ],
            // What was shipped can be found when this returns.
            "/_bulk?refresh=wait_for",
        )
    }

    /// GET; the body as text.
    pub fn text(&self, path: &str) -> String {
        String::from_utf8_lossy(&self.output(&[], path).stdout).into_owned()
    }

    /// The body as JSON; `Value::Null` when there was no answer or it was no JSON, and curl's words for the test's output.
    pub fn json(&self, options: &[&str], path: &str) -> Value {
        let output = self.output(options, path);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
            let (body, said) = (
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
            );
            eprintln!("{path}: no JSON but {body:?}, {}: {said}", output.status);
            Value::Null
        })
    }

    /// The HTTP status.
    pub fn status(&self, options: &[&str], path: &str) -> u16 {
        let mut all = vec!["-o", "/dev/null", "-w", "%{http_code}"];
        all.extend(options);
        let output = self.output(&all, path);
        String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0)
    }

    fn output(&self, options: &[&str], path: &str) -> Output {
        let url = format!("{}{path}", self.base);
        let mut arguments = vec!["-sS", "--max-time", "30", "--cacert", &self.ca, "-u", &self.login];
        arguments.extend(options);
        arguments.push(&url);
        run("curl", arguments)
    }
}

/// Runs a program to its end.
pub fn run(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    let program = program.as_ref();
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display()))
}

/// The binary under another name, so that it speaks another command line.
#[derive(Debug)]
pub struct Link {
    path: PathBuf,
    _folder: TempDir,
}

impl Link {
    /// Links `binary` as `name`.
    pub fn new(binary: &str, name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join(name);
        std::os::unix::fs::symlink(binary, &path).expect("a link can be made in a new folder");
        Self { path, _folder: folder }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
