//! `flotilla store` and `flotilla search` beside a running `up` and without one.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use testkit::{Flotilla, free_ports};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
/// That the long story below writes.
const DOCUMENTS: usize = 7;

fn flotilla(arguments: &[&str]) -> Output {
    Command::new(FLOTILLA)
        .args(arguments)
        .env_remove("FLOTILLA_DATA_DIR")
        .env("COLUMNS", "120")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8(both).unwrap()
}

fn succeeds(arguments: &[&str]) -> String {
    let output = flotilla(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn is_refused(arguments: &[&str], expected: &str) {
    let output = flotilla(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", said(&output));
    assert!(said(&output).contains(expected), "{arguments:?}: {}", said(&output));
}

#[test]
fn help_names_every_flag() {
    insta::assert_snapshot!("help_store", succeeds(&["store", "--help"]));
    insta::assert_snapshot!("help_store_backup", succeeds(&["store", "backup", "--help"]));
    insta::assert_snapshot!("help_search", succeeds(&["search", "--help"]));
}

#[test]
fn a_folder_without_a_store_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = format!("--data-dir={}", folder.path().display());
    is_refused(&["store", "check", &data_dir], "there is no store in");
    is_refused(
        &["store", "restore", "/nonexistent", &data_dir],
        "not a finished backup",
    );
    is_refused(&["search", "x:1", &data_dir], "no flotilla runs on");
    is_refused(&["search", "(x:1", &data_dir], "KQL");
    is_refused(&["search", "--since=soon", &data_dir], "`--since`");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made");
}

#[test]
fn documents_are_found_backed_up_and_restored() {
    let mut up = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let data_dir = format!("--data-dir={}", up.data_dir().display());
    write(&up, "2026-01-01T00:00:01Z", "error", "first");
    write(&up, "2026-01-01T00:00:02Z", "info", "second");
    lines_and_json_are_printed(&data_dir);
    what_arrives_is_followed(&up, &data_dir);
    what_is_new_and_matches_is_followed(&up, &data_dir);

    assert!(succeeds(&["store", "check", &data_dir]).contains("0 damaged"));
    succeeds(&["store", "compact", &data_dir]);
    let folder = tempfile::tempdir().unwrap();
    let online = folder.path().join("online").display().to_string();
    succeeds(&["store", "backup", &online, &data_dir]);
    is_refused(&["store", "backup", &online, &data_dir], "exists already");

    let (ca, url) = (up.text("/ca/path"), up.text("/urls/elasticsearch"));
    let password = up.data_dir().join("secrets/elastic-password").display().to_string();
    let by_url = [
        "search",
        "--url",
        &url,
        "-a",
        &ca,
        "--username",
        "elastic",
        "--password-path",
        &password,
    ];
    assert_eq!(succeeds(&by_url).lines().count(), DOCUMENTS);

    assert!(up.stop());
    let offline = folder.path().join("offline").display().to_string();
    let report: Value = serde_json::from_str(&succeeds(&["store", "check", "--json", &data_dir])).unwrap();
    assert_eq!(report["damage"], json!([]));
    succeeds(&["store", "backup", &offline, &data_dir]);
    for backup in [online, offline] {
        let restored = folder.path().join(format!("restored-{}", backup.len()));
        is_the_same_installation(&up, &backup, &restored);
    }
}

fn write(up: &Flotilla, time: &str, level: &str, message: &str) {
    let document = json!({ "@timestamp": time, "log.level": level, "message": message, "host": { "name": "web-1" } });
    let lines = format!(
        "{}\n{document}\n",
        json!({ "create": { "_index": "logs-app-default" } })
    );
    let options = ["-H", "Content-Type: application/x-ndjson", "--data-binary", &lines];
    let answer = up.elasticsearch().json(&options, "/_bulk?refresh=wait_for");
    assert_eq!(answer["errors"], false, "{answer}");
}

fn lines_and_json_are_printed(data_dir: &str) {
    let check = |arguments: &[&str], expected: &str| {
        let all = [&["search", "--index=logs-app-*", data_dir], arguments].concat();
        assert_eq!(succeeds(&all), expected, "{arguments:?}");
    };
    let line = "2026-01-01T00:00:01Z  web-1  error  first\n";
    check(&["log.level:error and host.name:web*"], line);
    check(&["--until=2026-01-01T00:00:01Z"], line);
    check(&["log.level:error", "--since=1h"], "");
    check(&["log.level:nothing"], "");
    let found = succeeds(&["search", "--index=logs-app-*", "--json", data_dir]);
    let messages: Vec<Value> = found
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["message"].clone())
        .collect();
    assert_eq!(messages, ["first", "second"], "oldest first");
    let newest = succeeds(&["search", "--index=logs-app-*", "--json", "-n1", data_dir]);
    assert!(newest.contains("second") && newest.lines().count() == 1, "{newest}");
}

/// A late document, older than what was printed, is printed as well.
fn what_arrives_is_followed(up: &Flotilla, data_dir: &str) {
    let mut child = Command::new(FLOTILLA)
        .args(["search", "--index=logs-app-*", "--follow", data_dir])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(lines.next().unwrap().ends_with("first"));
    assert!(lines.next().unwrap().ends_with("second"));
    write(up, "2026-01-01T00:00:00Z", "warn", "late");
    assert!(lines.next().unwrap().ends_with("late"));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The documented line: of what arrives, only what matches and is not older.
fn what_is_new_and_matches_is_followed(up: &Flotilla, data_dir: &str) {
    let now = || jiff::Timestamp::now().to_string();
    let mut child = Command::new(FLOTILLA)
        .args([
            "search",
            "log.level:error and host.name:web*",
            "--since",
            "1h",
            "--follow",
            data_dir,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    write(up, &now(), "error", "of now");
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(lines.next().unwrap().ends_with("of now"), "and not those of January");
    write(up, &now(), "warn", "of no interest");
    write(up, "2026-01-01T00:00:00Z", "error", "too old");
    write(up, &now(), "error", "the next");
    assert!(lines.next().unwrap().ends_with("the next"));
    child.kill().unwrap();
    child.wait().unwrap();
}

fn is_the_same_installation(original: &Flotilla, backup: &str, root: &Path) {
    let data_dir = format!("--data-dir={}", root.display());
    succeeds(&["store", "restore", backup, &data_dir]);
    is_refused(&["store", "restore", backup, &data_dir], "is not empty");
    let kept = |root: &Path, name: &str| fs_err::read(root.join(name)).unwrap();
    for name in ["flotilla.json", "certs/root-ca.crt", "secrets/elastic-password"] {
        assert_eq!(kept(root, name), kept(original.data_dir(), name), "{name}");
    }
    let [fleet_server, elasticsearch, console] = free_ports();
    let mut child = Command::new(FLOTILLA)
        .args([
            "up",
            "--json",
            "--no-agent",
            "--bind=127.0.0.1",
            "--host=localhost",
            &data_dir,
        ])
        .arg(format!("--fleet-server-port={fleet_server}"))
        .arg(format!("--elasticsearch-port={elasticsearch}"))
        .arg(format!("--console-port={console}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut ready)
        .unwrap();
    let found = flotilla(&["search", "--index=logs-app-*", &data_dir]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&found.stdout).lines().count(),
        DOCUMENTS,
        "{}",
        said(&found)
    );
}
