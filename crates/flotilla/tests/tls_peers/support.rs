//! A folder with certificates, the built program as client and as server.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use certs::KeyFormat;
use pki::{Authority, AuthorityRequest, KeyType, LeafRequest, Usages};
use serde_json::Value;

/// The built program.
pub(crate) const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// A folder with certificates, gone with the test: `ca.crt`, `server.*` and `client.*`.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    pub(crate) authority: Authority,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self {
            folder,
            authority: authority("Test CA"),
        };
        place.write("ca.crt", place.authority.certificate_pem());
        place.issue("server", Usages::Server);
        place.issue("client", Usages::Client);
        place
    }

    pub(crate) fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.folder.path()).unwrap().join(name)
    }

    /// In one step, as careful programs replace files; the path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Utf8PathBuf {
        let path = self.path(name);
        let beside = self.path(&format!("{name}.new"));
        fs_err::write(&beside, content).unwrap();
        fs_err::rename(beside, &path).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.path(name)).unwrap()
    }

    /// A pair in `name.crt` (with its chain) and `name.key`, for `fleet.test`, `localhost` and 127.0.0.1.
    pub(crate) fn issue(&self, name: &str, usages: Usages) {
        self.issue_by(&self.authority, name, usages);
    }

    pub(crate) fn issue_by(&self, authority: &Authority, name: &str, usages: Usages) {
        let identity = authority
            .issue(LeafRequest {
                common_name: name.to_owned(),
                dns: vec!["fleet.test".into(), "localhost".into()],
                ips: vec!["127.0.0.1".parse().unwrap()],
                key_type: KeyType::EcdsaP256,
                usages,
                ..LeafRequest::default()
            })
            .unwrap();
        // The key first: a pair whose halves differ for a moment is not taken up.
        let key = certs::write_pem_key(&identity.key, KeyFormat::Pkcs8).unwrap();
        self.write(&format!("{name}.key"), key.expose());
        self.write(&format!("{name}.crt"), certs::write_pem_certificates(&identity.chain));
    }

    /// A settings file in which `@` before a name stands for this folder.
    pub(crate) fn settings(&self, name: &str, text: &str) -> Utf8PathBuf {
        let folder = self.path("");
        self.write(name, text.replace('@', folder.as_str()))
    }

    /// `tls serve` with the pair `server` and these further lines of the `ssl` block.
    pub(crate) fn serve(&self, more: &str) -> TlsServe {
        let text = format!(
            "ssl:\n  certificate: @server.crt\n  key: @server.key\n  {}\n",
            more.replace('\n', "\n  ")
        );
        TlsServe::start(&self.settings("serve.yml", &text))
    }

    /// `tls check --json` against `server`, by the name `fleet.test`, with more arguments (`@` as above).
    pub(crate) fn check(&self, server: SocketAddr, more: &str) -> Outcome {
        let url = format!("https://fleet.test:{}/", server.port());
        let target = server.to_string();
        let more = self.words(more);
        let mut arguments = vec!["tls", "check", &url, "--json", "--connect-to", &target];
        arguments.extend(more.iter().map(String::as_str));
        run(&arguments)
    }

    /// Words in which `@` stands for this folder.
    pub(crate) fn words(&self, line: &str) -> Vec<String> {
        let folder = self.path("");
        line.split_whitespace()
            .map(|word| word.replace('@', folder.as_str()))
            .collect()
    }
}

pub(crate) fn authority(name: &str) -> Authority {
    Authority::generate(AuthorityRequest {
        subject_cn: name.to_owned(),
        key_type: KeyType::EcdsaP256,
        ..AuthorityRequest::default()
    })
    .unwrap()
}

/// How a command ended and what it said.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The lines of standard output, each one JSON object.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        self.stdout.lines().map(parse).collect()
    }

    /// The only line.
    #[track_caller]
    pub(crate) fn line(&self) -> Value {
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "{self:?}");
        lines.into_iter().next().unwrap()
    }

    /// The class of the only line, after checks that hold for every line and its exit status.
    #[track_caller]
    pub(crate) fn class(&self) -> String {
        let line = self.line();
        well_formed(&line);
        assert_eq!(self.status, Some(i32::from(line["ok"] != true)), "{self:?}");
        assert_eq!(self.stderr, "", "JSON says everything");
        line["error_class"].as_str().unwrap().to_owned()
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The fields, and what they hold when it worked and when it did not.
#[track_caller]
pub(crate) fn well_formed(line: &Value) {
    let fields: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = ["ok", "stage", "error_class", "peer_alert", "message", "hint"];
    let mut found = fields.clone();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert!(line["stage"] == "load" || line["stage"] == "handshake", "{line}");
    assert_ne!(line["message"], "", "{line}");
    assert_eq!(line["ok"] == true, line["error_class"] == "none", "{line}");
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Outcome {
    testkit::run(FLOTILLA, arguments).into()
}

/// A child whose lines of standard output are read as they come; killed when it goes.
pub(crate) struct Lines {
    child: Child,
    lines: Receiver<String>,
}

impl Lines {
    pub(crate) fn spawn(program: &str, arguments: &[String]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    #[track_caller]
    pub(crate) fn next(&self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// SIGTERM; the exit status.
    pub(crate) fn stop(mut self) -> Option<i32> {
        testkit::run("kill", ["-TERM", &self.child.id().to_string()]);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

/// `tls serve --json` on a free port.
pub(crate) struct TlsServe {
    pub(crate) address: SocketAddr,
    pub(crate) lines: Lines,
}

impl TlsServe {
    pub(crate) fn start(config: &Utf8Path) -> Self {
        let arguments = ["tls", "serve", "--json", "--listen", "127.0.0.1:0", "--config"];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
        arguments.push(config.to_string());
        let lines = Lines::spawn(FLOTILLA, &arguments);
        let first = lines.next();
        let address = first["listening"].as_str().unwrap_or_else(|| panic!("{first}"));
        Self {
            address: address.parse().unwrap(),
            lines,
        }
    }

    /// The class of the next connection, in the server's words.
    #[track_caller]
    pub(crate) fn class(&self) -> String {
        let line = self.lines.next();
        well_formed(&line);
        line["error_class"].as_str().unwrap().to_owned()
    }
}
