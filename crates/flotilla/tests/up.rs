//! `flotilla up` as people start it: what it refuses and how, files of their own, the short way to add a host, and
//! kill -9 in the middle of ingest.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use testkit::{Curl, Flotilla, Link, eventually, free_ports, run, soak_rounds};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);

fn up(arguments: &[&str]) -> Output {
    let ports = free_ports::<3>();
    let [fleet_server, elasticsearch, console] = ports.map(|port| port.to_string());
    let mut all = vec!["up", "--bind=127.0.0.1", "--host=localhost", "--json"];
    all.extend(arguments);
    for (flag, port) in [
        ("--fleet-server-port", &fleet_server),
        ("--elasticsearch-port", &elasticsearch),
        ("--console-port", &console),
    ] {
        if !arguments.iter().any(|argument| argument.starts_with(flag)) {
            all.extend([flag, port]);
        }
    }
    run(FLOTILLA, all)
}

/// One error that says what and one hint that says what to do.
fn refusal(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty(), "nothing is ready");
    assert_eq!(said.matches("error:").count(), 1, "{said}");
    assert!(said.contains("hint:"), "{said}");
    said
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let said = refusal(&up(&[
        &format!("--data-dir={}", data_dir.display()),
        &format!("--elasticsearch-port={port}"),
    ]));
    assert!(
        said.contains(&port.to_string()) && said.contains("--elasticsearch-port"),
        "{said}"
    );
    assert!(!data_dir.exists(), "nothing is half made");
}

#[test]
fn a_folder_that_cannot_be_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs_err::write(&file, "no folder").unwrap();
    // Root may write everywhere, but nobody makes a folder below a file.
    let below = file.join("data");
    let said = refusal(&up(&[&format!("--data-dir={}", below.display())]));
    assert!(
        said.contains(below.to_str().unwrap()) && said.contains("--data-dir"),
        "{said}"
    );
}

#[test]
fn a_second_process_and_damage_are_refused() {
    let mut flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let data_dir = format!("--data-dir={}", flotilla.data_dir().display());
    let said = refusal(&up(&[&data_dir]));
    assert!(said.contains("in use by another flotilla"), "{said}");
    assert!(flotilla.stop());

    let damage = |file: &str| {
        let path = flotilla.data_dir().join(file);
        let kept = fs_err::read(&path).unwrap();
        fs_err::write(&path, "damaged").unwrap();
        let output = up(&[&data_dir]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{file}: {said}");
        assert_eq!(said.matches("error:").count(), 1, "{said}");
        assert!(said.contains("damaged"), "{file}: {said}");
        fs_err::write(&path, kept).unwrap();
    };
    damage("flotilla.json");
    damage("certs/console.rsa.crt");
    damage("certs/fleet-server-ca.key");
    flotilla.start_again();
    assert_eq!(flotilla.fleet_server().get("/api/status")["status"], "HEALTHY");
}

#[test]
fn the_key_of_foreign_packages_is_handed_out_from_the_data_folder() {
    const PATH: &str = "/api/agents/upgrades/9.6.0/pgp-public-key";
    let flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let fleet_server = flotilla.fleet_server();
    assert_eq!(fleet_server.status(&[], PATH), 503, "there is none yet");
    let folder = flotilla.data_dir().join("pgp");
    fs_err::create_dir(&folder).unwrap();
    fs_err::write(folder.join("default.pgp"), "the key").unwrap();
    assert_eq!(fleet_server.text(PATH), "the key");
}

#[test]
fn a_client_certificate_of_the_named_authority_logs_in_to_the_console() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let issue = |authority: &str, name: &str| {
        let (certificate, key) = (at(&format!("{authority}/ca.crt")), at(&format!("{authority}/ca.key")));
        let zip = at(&format!("{authority}-{name}.zip"));
        let name = format!("--name={name}");
        let (certificate, key) = (format!("--ca-cert={certificate}"), format!("--ca-key={key}"));
        certutil(
            folder.path(),
            &["cert", &name, &certificate, &key, "--pem", &format!("--out={zip}")],
        );
        unzip(&zip, &folder.path().join(format!("of-{authority}")));
    };
    for authority in ["people", "strangers"] {
        let zip = at(&format!("{authority}.zip"));
        certutil(folder.path(), &["ca", "--pem", &format!("--out={zip}")]);
        unzip(&zip, folder.path());
        fs_err::rename(at("ca"), at(authority)).unwrap();
        issue(authority, "auditor");
    }
    issue("people", "elastic");
    let flotilla = Flotilla::start(
        FLOTILLA,
        &["--no-agent", &format!("--console-client-ca={}", at("people/ca.crt"))],
    );
    let user = r#"{"password": "of no use here", "roles": ["viewer"]}"#;
    let json = ["-X", "PUT", "-H", "Content-Type: application/json", "-d", user];
    let made = flotilla.elasticsearch().json(&json, "/_security/user/auditor");
    assert_eq!(made["created"], true, "{made}");
    let (url, ca) = (flotilla.text("/urls/console"), flotilla.text("/ca/path"));
    let with = |files: &str, path: &str| {
        let (certificate, key) = (at(&format!("{files}.crt")), at(&format!("{files}.key")));
        let url = format!("{url}{path}");
        let options = ["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", &ca];
        let output = run(
            "curl",
            [&options[..], &["--cert", &certificate, "--key", &key, &url]].concat(),
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let auditor = "of-people/auditor/auditor";
    assert_eq!(with(auditor, "/api/fleet/outputs"), "200");
    assert_eq!(
        with(auditor, "/api/fleet/audit_log"),
        "403",
        "a viewer does not see the audit log"
    );
    assert_eq!(
        with("of-people/elastic/elastic", "/api/fleet/outputs"),
        "401",
        "never the superuser"
    );
    let stranger = with("of-strangers/auditor/auditor", "/api/fleet/outputs");
    assert!(stranger == "000" || stranger == "401", "{stranger}");
}

#[test]
fn files_of_certutil_serve_and_the_short_way_works_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    certutil(folder.path(), &["ca", "--pem", "--out", &at("ca.zip")]);
    unzip(&at("ca.zip"), folder.path());
    certutil(
        folder.path(),
        &[
            "cert",
            "--name=fleet-server",
            &format!("--ca-cert={}", at("ca/ca.crt")),
            &format!("--ca-key={}", at("ca/ca.key")),
            "--dns=localhost",
            "--ip=127.0.0.1",
            "--pem",
            &format!("--out={}", at("fleet-server.zip")),
        ],
    );
    unzip(&at("fleet-server.zip"), folder.path());
    let flotilla = Flotilla::start(
        FLOTILLA,
        &[
            &format!("--fleet-server-cert={}", at("fleet-server/fleet-server.crt")),
            &format!("--fleet-server-cert-key={}", at("fleet-server/fleet-server.key")),
            &format!("--certificate-authorities={}", at("ca/ca.crt")),
        ],
    );
    let status = run(
        "curl",
        [
            "-sS",
            "--cacert",
            &at("ca/ca.crt"),
            &format!("{}/api/status", flotilla.text("/urls/fleet_server")),
        ],
    );
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    agents_online(&flotilla.console(), 1);

    // The join string knows the CA by its fingerprint, so the server has to show it.
    let home = tempfile::tempdir().unwrap();
    let joined = join(home.path(), &flotilla.text("/join"));
    let said = String::from_utf8_lossy(&joined.stderr).into_owned();
    assert!(joined.status.success(), "{said}");
}

#[test]
fn the_short_way_adds_a_host_and_a_wrong_one_is_explained() {
    let flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let join_string = flotilla.text("/join");
    let home = tempfile::tempdir().unwrap();
    let said = join(home.path(), &join_string[..join_string.len() - 9]);
    assert!(!said.status.success(), "a torn string is no join string");

    let joined = join(home.path(), &join_string);
    assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
    let link = Link::new(FLOTILLA, "elastic-agent");
    let mut daemon = std::process::Command::new(link.path())
        .arg("run")
        .arg(format!("--path.home={}", home.path().display()))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    agents_online(&flotilla.console(), 1);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

#[test]
fn no_trust_a_foreign_authority_and_a_wrong_token_are_explained_at_once() {
    let flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let foreign = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let url = format!("--url={}", flotilla.text("/urls/fleet_server"));
    let token = format!("--enrollment-token={}", flotilla.text("/enrollment_token"));
    let authority = format!("--certificate-authorities={}", flotilla.text("/ca/path"));
    let check = |arguments: &[&str], expected: &[&str]| {
        let home = tempfile::tempdir().unwrap();
        let link = Link::new(FLOTILLA, "elastic-agent");
        let path = format!("--path.home={}", home.path().display());
        let refused = run(link.path(), [&["enroll", &path, "--force"], arguments].concat());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "{said}");
        for part in expected {
            assert!(said.contains(part), "`{part}` is missing: {said}");
        }
        assert!(
            !said.contains(&flotilla.text("/enrollment_token")),
            "no secret is shown: {said}"
        );
    };
    let presented = ["presented", "Flotilla Root CA", "--certificate-authorities"];
    check(&[&url, &token], &presented);
    let foreign_authority = format!("--certificate-authorities={}", foreign.text("/ca/path"));
    check(&[&url, &token, &foreign_authority], &presented);
    check(&[&url, "--enrollment-token=d3Jvbmc6d3Jvbmc=", &authority], &["token"]);
}

#[test]
fn what_was_acknowledged_survives_kill_9_of_the_whole_program() {
    let mut flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    for round in 0..soak_rounds(20) {
        let acknowledged = ingest_until_killed(&mut flotilla, round);
        flotilla.start_again();
        assert!(!acknowledged.is_empty(), "round {round} wrote nothing");
        for ids in acknowledged.chunks(500) {
            let query = serde_json::json!({ "query": { "ids": { "values": ids } } });
            let answer = flotilla.elasticsearch().post("/logs-crash-default/_count", &query);
            assert_eq!(
                answer["count"].as_u64(),
                Some(ids.len() as u64),
                "round {round}: {answer}"
            );
        }
    }
}

/// Writes batches from two clients, kills the program at another moment each round; the ids that were acknowledged.
fn ingest_until_killed(flotilla: &mut Flotilla, round: usize) -> Vec<String> {
    const BATCH: usize = 50;
    let (acknowledge, acknowledged) = mpsc::channel::<Vec<String>>();
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let (curl, acknowledge) = (flotilla.elasticsearch(), acknowledge.clone());
            thread::spawn(move || {
                for batch in 0.. {
                    let ids: Vec<String> = (0..BATCH)
                        .map(|line| format!("{round}-{writer}-{batch}-{line}"))
                        .collect();
                    let answer = curl.bulk(&creates(&ids));
                    let Some(items) = answer["items"].as_array() else {
                        return;
                    };
                    assert!(items.iter().all(|item| item["create"]["status"] == 201), "{answer}");
                    if acknowledge.send(ids).is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    drop(acknowledge);
    let mut all: Vec<String> = acknowledged.iter().take(1 + round % 7).flatten().collect();
    flotilla.kill();
    all.extend(acknowledged.iter().flatten());
    for writer in writers {
        writer.join().unwrap();
    }
    all
}

fn creates(ids: &[String]) -> String {
    let lines = ids.iter().map(|id| {
        let action = serde_json::json!({ "create": { "_index": "logs-crash-default", "_id": id } });
        format!("{action}\n{{\"@timestamp\":\"2026-01-01T00:00:00Z\",\"message\":\"{id}\"}}\n")
    });
    lines.collect()
}

fn agents_online(console: &Curl, wanted: usize) {
    eventually("agents online", SOON, || {
        let list = console.get("/api/fleet/agents");
        let online = list["items"]
            .as_array()?
            .iter()
            .filter(|agent| agent["status"] == "online")
            .count();
        (online == wanted).then_some(())
    });
}

fn join(home: &Path, join_string: &str) -> Output {
    let link = Link::new(FLOTILLA, "elastic-agent");
    run(
        link.path(),
        [
            "enroll",
            &format!("--path.home={}", home.display()),
            "--force",
            "--join",
            join_string,
        ],
    )
}

fn certutil(folder: &Path, arguments: &[&str]) {
    let link = Link::new(FLOTILLA, "elasticsearch-certutil");
    let output = std::process::Command::new(link.path())
        .args(arguments)
        .current_dir(folder)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn unzip(archive: &str, folder: &Path) {
    let mut archive = zip::ZipArchive::new(fs_err::File::open(archive).unwrap()).unwrap();
    archive.extract(folder).unwrap();
}
