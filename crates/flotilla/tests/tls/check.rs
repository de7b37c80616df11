//! `flotilla tls check` against `flotilla tls serve`: exit statuses and the lines that scripts read.

use std::process::Output;

use pki::Usages;
use serde_json::Value;
use testkit::run;

use super::FLOTILLA;
use super::folder::{Folder, authority};
use super::server::Server;

const FIELDS: [&str; 6] = ["ok", "stage", "error_class", "peer_alert", "message", "hint"];

fn check(arguments: &[&str]) -> (i32, Vec<Value>) {
    let output: Output = run(FLOTILLA, [&["tls", "check", "--json"], arguments].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        let fields: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, FIELDS, "{line}");
        if line["ok"] == false {
            assert!(!line["message"].as_str().unwrap().is_empty(), "{line}");
            assert!(!line["error_class"].as_str().unwrap().is_empty(), "{line}");
        }
    }
    (output.status.code().unwrap(), lines)
}

fn works(arguments: &[&str]) {
    let (status, lines) = check(arguments);
    assert_eq!(status, 0, "{lines:?}");
    assert!(lines.iter().all(|line| line["ok"] == true), "{lines:?}");
}

fn fails(arguments: &[&str], stage: &str, class: &str) -> Value {
    let (status, mut lines) = check(arguments);
    assert_eq!(status, 1, "{lines:?}");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = lines.remove(0);
    assert_eq!(
        (&line["stage"], &line["error_class"]),
        (&stage.into(), &class.into()),
        "{line}"
    );
    line
}

#[test]
fn one_way_with_flags_and_with_every_form_of_settings() {
    let folder = Folder::new();
    let server = Server::start(
        &folder,
        &format!(
            "ssl:\n  certificate: {}\n  key: {}\n",
            folder.path("server.crt"),
            folder.path("server.key")
        ),
    );
    let url = server.url();
    let authority = folder.path("ca.crt");
    works(&[&url, "-a", &authority]);
    let indented = folder.read("ca.crt").replace('\n', "\n      ");
    for (form, text) in [
        ("dotted", format!("ssl.certificate_authorities: [\"{authority}\"]\n")),
        (
            "nested",
            format!("ssl:\n  certificate_authorities: [\"{authority}\"]\n"),
        ),
        (
            "pasted",
            format!("ssl:\n  certificate_authorities:\n    - |\n      {indented}\n"),
        ),
        ("scalar", format!("ssl.certificate_authorities: {authority}\n")),
    ] {
        let config = folder.write(&format!("{form}.yml"), &text);
        works(&[&url, "--config", &config]);
    }
    // The host of the URL is verified, whatever is dialled.
    let address = format!("127.0.0.1:{}", server.port);
    works(&["https://localhost/", "-a", &authority, "--connect-to", &address]);
    fails(
        &["https://elsewhere.example/", "-a", &authority, "--connect-to", &address],
        "handshake",
        "hostname_mismatch",
    );
    works(&[
        "https://elsewhere.example/",
        "-a",
        &authority,
        "--connect-to",
        &address,
        "--verification-mode=certificate",
    ]);
}

#[test]
fn what_fails_is_classed_and_explained() {
    let folder = Folder::new();
    let other = folder.write("other.crt", &authority("Other CA").certificate_pem());
    let server = Server::mutual(&folder);
    let (url, ca) = (server.url(), folder.path("ca.crt"));
    let line = fails(&[&url, "-a", &other], "handshake", "unknown_authority");
    assert!(!line["hint"].as_str().unwrap().is_empty(), "{line}");
    // A TLS 1.3 server refuses a client only after the handshake; the alert is waited for.
    let line = fails(&[&url, "-a", &ca], "handshake", "client_certificate_missing");
    assert_eq!(line["peer_alert"], "certificate required", "{line}");
    let missing = folder.path("missing.crt");
    let line = fails(&[&url, "-a", &missing], "load", "file_unreadable");
    assert!(line["message"].as_str().unwrap().contains(&missing), "{line}");
    works(&[
        &url,
        "-a",
        &ca,
        "--certificate",
        &folder.path("client.crt"),
        "--key",
        &folder.path("client.key"),
    ]);
}

#[test]
fn the_passphrase_may_come_from_a_file_or_the_environment() {
    let folder = Folder::new();
    let server = Server::mutual(&folder);
    let key = certs::load_key(&certs::PemSource::Path(folder.path("client.key").into()), "key", None).unwrap();
    let format = certs::KeyFormat::Pkcs8Encrypted(&"hunter2".into());
    let sealed = folder.write("sealed.key", certs::write_pem_key(&key, format).unwrap().expose());
    let passphrase = folder.write("passphrase", "hunter2\n");
    let (url, ca, certificate) = (server.url(), folder.path("ca.crt"), folder.path("client.crt"));
    let arguments = [&url, "-a", &ca, "--certificate", &certificate, "--key", &sealed];
    fails(&arguments, "load", "key_needs_passphrase");
    works(&[&arguments[..], &["--key-passphrase-path", &passphrase]].concat());
    for (passphrase, status) in [("hunter2", 0), ("hunter3", 1)] {
        let output = std::process::Command::new(FLOTILLA)
            .args(["tls", "check", "--json"])
            .args(arguments)
            .env("FLOTILLA_KEY_PASSPHRASE", passphrase)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert_eq!(said.contains("key_wrong_passphrase"), status == 1, "{said}");
        assert!(!said.contains(passphrase), "{said}");
    }
}

#[test]
fn a_bad_url_is_a_load_error_and_keeps_its_password() {
    let (status, lines) = check(&["https://user:hunter2@[/"]);
    assert_eq!(status, 1);
    assert_eq!(lines[0]["stage"], "load");
    assert!(!lines[0].to_string().contains("hunter2"), "{}", lines[0]);
}

#[test]
fn one_configuration_serves_several_connections_and_follows_the_server() {
    let folder = Folder::new();
    let mut server = Server::mutual(&folder);
    let (url, ca) = (server.url(), folder.path("ca.crt"));
    let (certificate, key) = (folder.path("client.crt"), folder.path("client.key"));
    let (status, lines) = check(&[
        &url,
        "-a",
        &ca,
        "--certificate",
        &certificate,
        "--key",
        &key,
        "--repeat=3",
        "--interval=10ms",
    ]);
    assert_eq!((status, lines.len()), (0, 3), "{lines:?}");
    for _ in 0..3 {
        let line = server.line();
        assert_eq!(line["ok"], true, "{line}");
    }
    folder.issue("server", Usages::Server);
    works(&[&url, "-a", &ca, "--certificate", &certificate, "--key", &key]);
}

#[test]
fn people_read_what_was_configured_presented_and_what_to_do() {
    let folder = Folder::new();
    let other = folder.write("other.crt", &authority("Other CA").certificate_pem());
    let server = Server::mutual(&folder);
    let output = run(FLOTILLA, ["tls", "check", &server.url(), "-a", &other]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    for part in ["Other CA", "Test CA", "CN=server"] {
        assert!(said.contains(part), "`{part}` is missing:\n{said}");
    }
}
