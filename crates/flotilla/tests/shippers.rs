//! Stock shippers send to port 9200 of `flotilla up` over TLS; every line arrives once.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use testkit::{Flotilla, eventually, free_ports, is_installed, skip};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
/// Where `cargo xtask prepare` unpacks it: it and rsyslog cannot both be installed.
const SYSLOG_NG: &str = "/opt/flotilla-tests/syslog-ng/run";
const LINES: usize = 500;
const LONGEST: Duration = Duration::from_mins(1);

/// A shipper that runs until the test ends.
struct Shipper(Child);

impl Shipper {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _already_waited = self.0.wait();
    }
}

fn lines() -> String {
    (0..LINES).fold(String::new(), |mut text, number| {
        writeln!(text, "line {number} with \"quotes\", a \\ and ü").unwrap();
        text
    })
}

/// All lines are there, each once, in `stream`.
#[track_caller]
fn check_arrival(flotilla: &Flotilla, stream: &str) {
    eventually(&format!("{LINES} documents in {stream}"), LONGEST, || {
        let path = format!("/{stream}/_count?ignore_unavailable=true");
        (flotilla.elasticsearch().get(&path)["count"] == LINES).then_some(())
    });
    let last = json!({ "query": { "match_phrase": { "message": format!("line {}", LINES - 1) } } });
    let answer = flotilla.elasticsearch().post(&format!("/{stream}/_search"), &last);
    assert_eq!(answer["hits"]["total"]["value"], 1, "{answer}");
    let source = &answer["hits"]["hits"][0]["_source"];
    assert_eq!(
        source["message"],
        format!("line {} with \"quotes\", a \\ and ü", LINES - 1)
    );
    assert!(source["event"]["ingested"].is_string(), "{source}");
}

/// The port of a URL.
fn port(url: &str) -> &str {
    url.rsplit(':').next().unwrap().trim_end_matches('/')
}

fn write(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    fs_err::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn rsyslog_ships_with_a_password() {
    if !is_installed("rsyslogd") {
        return skip("rsyslog is not installed (Debian: apt-get install rsyslog-elasticsearch)");
    }
    let flotilla = Flotilla::start(FLOTILLA, &[]);
    let folder = tempfile::tempdir().unwrap();
    let read = write(&folder, "in.log", &lines());
    let (url, password, ca) = (
        flotilla.text("/urls/elasticsearch"),
        flotilla.text("/password"),
        flotilla.text("/ca/path"),
    );
    let (here, port) = (folder.path().display(), port(&url));
    let configuration = format!(
        r#"module(load="imfile" mode="polling" pollingInterval="1")
module(load="omelasticsearch")
global(workDirectory="{here}")
template(name="document" type="list" option.json="on") {{
  constant(value="{{\"@timestamp\":\"") property(name="timereported" dateFormat="rfc3339")
  constant(value="\",\"message\":\"") property(name="msg") constant(value="\"}}")
}}
template(name="id" type="string" string="%uuid%")
input(type="imfile" file="{read}" tag="try:" ruleset="ship")
ruleset(name="ship") {{
  action(type="omelasticsearch" server="https://localhost" serverport="{port}" usehttps="on" uid="elastic" pwd="{password}"
    tls.cacert="{ca}" template="document" searchIndex="logs-rsyslog-default" searchType="" bulkmode="on"
    writeoperation="create" dynbulkid="on" bulkid="id" errorfile="{here}/errors.json")
}}
"#
    );
    let configuration = write(&folder, "rsyslog.conf", &configuration);
    let pid = folder.path().join("pid");
    let _shipper = Shipper::start(
        Command::new("rsyslogd")
            .args(["-n", "-f", &configuration, "-i"])
            .arg(pid),
    );
    check_arrival(&flotilla, "logs-rsyslog-default");
    assert!(!folder.path().join("errors.json").exists());
}

#[test]
fn syslog_ng_ships_with_an_api_key() {
    if !Path::new(SYSLOG_NG).is_file() {
        return skip("syslog-ng is not unpacked: cargo xtask prepare");
    }
    let flotilla = Flotilla::start(FLOTILLA, &[]);
    let rights =
        json!({ "indices": [{ "names": ["logs-syslogng-*"], "privileges": ["auto_configure", "create_doc"] }] });
    let asked = json!({ "name": "syslog-ng", "role_descriptors": { "ship": rights } });
    let key = flotilla.elasticsearch().post("/_security/api_key", &asked);
    let key = key["encoded"].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [listen] = free_ports();
    let (url, ca) = (flotilla.text("/urls/elasticsearch"), flotilla.text("/ca/path"));
    let configuration = format!(
        r#"@version: 3.38
source lines {{ network(transport("tcp") ip("127.0.0.1") port({listen}) flags(no-parse)); }};
destination store {{
  http(url("{url}/_bulk") method("POST") batch-lines(100) batch-timeout(500) workers(2)
    headers("Content-Type: application/x-ndjson", "Authorization: ApiKey {key}") tls(ca-file("{ca}") peer-verify(yes))
    body-suffix("\n") delimiter("\n") body('{{"create":{{"_index":"logs-syslogng-default"}}}}
$(format-json --scope none @timestamp=$ISODATE message=$MSG)'));
}};
log {{ source(lines); destination(store); }};
"#
    );
    let configuration = write(&folder, "syslog-ng.conf", &configuration);
    let file = |name: &str| folder.path().join(name);
    let mut command = Command::new(SYSLOG_NG);
    command.args(["--foreground", "--no-caps", "--cfgfile", &configuration]);
    command.arg("--persist-file").arg(file("persist"));
    command
        .arg("--pidfile")
        .arg(file("pid"))
        .arg("--control")
        .arg(file("control"));
    let _shipper = Shipper::start(&mut command);
    let mut connection = eventually("syslog-ng listens", LONGEST, || {
        TcpStream::connect(("127.0.0.1", listen)).ok()
    });
    connection.write_all(lines().as_bytes()).unwrap();
    drop(connection);
    check_arrival(&flotilla, "logs-syslogng-default");
}
