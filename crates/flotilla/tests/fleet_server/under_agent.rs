//! `elastic-agent enroll` with the `--fleet-server-*` flags of the documents, then `run`.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use serde_json::Value;
use testkit::{Flotilla, eventually, free_ports, run};

use crate::files::Files;
use crate::host::{Host, said, succeeded};
use crate::{FLOTILLA, SOON, add_fleet_server_host, data_arrives, online};

/// "Simple one-way TLS connection": the flags of the document, in its order.
#[test]
fn one_way_tls_as_documented() {
    one_way_tls(&Files::make());
}

#[test]
fn one_way_tls_with_files_of_the_original_tool() {
    if let Some(files) = Files::make_with_the_original() {
        one_way_tls(&files);
    }
}

fn one_way_tls(files: &Files) {
    let elasticsearch = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let [port] = free_ports();
    add_fleet_server_host(&elasticsearch, port);
    let server = Host::new();
    succeeded(&server.enroll(&[
        format!("--url=https://localhost:{port}"),
        format!("--certificate-authorities={}", files.path("fleet-ca/ca.crt")),
        format!("--fleet-server-es={}", elasticsearch.text("/urls/elasticsearch")),
        format!("--fleet-server-es-ca={}", elasticsearch.text("/ca/path")),
        format!("--fleet-server-cert={}", files.path("fleet-server/fleet-server.crt")),
        format!(
            "--fleet-server-cert-key={}",
            files.path("fleet-server/fleet-server.key")
        ),
        format!("--fleet-server-service-token={}", elasticsearch.text("/service_token")),
        format!(
            "--fleet-server-policy={}",
            elasticsearch.text("/fleet_server_policy_id")
        ),
        format!("--fleet-server-port={port}"),
    ]));
    let daemon = server.start();
    online(&elasticsearch, 1);

    let agent = Host::new();
    succeeded(&agent.enroll(&[
        format!("--url=https://localhost:{port}"),
        format!("--enrollment-token={}", elasticsearch.text("/enrollment_token")),
        format!("--certificate-authorities={}", files.path("fleet-ca/ca.crt")),
    ]));
    let _agent = agent.start();
    online(&elasticsearch, 2);
    data_arrives(&elasticsearch, &agent.agent_id());

    // The server comes back by itself, as the same agent, after its process ended.
    drop(daemon);
    let _daemon = server.start();
    let status = healthy(port, &files.path("fleet-ca/ca.crt"));
    assert_eq!(status["name"], "fleet-server");
    online(&elasticsearch, 2);
}

/// "Mutual TLS connection": the flags of the document, in its order.
#[test]
fn mutual_tls_as_documented() {
    mutual_tls(&Files::make());
}

/// The key of the agent's pair is encrypted in the original's own way.
#[test]
fn mutual_tls_with_files_of_the_original_tool() {
    if let Some(files) = Files::make_with_the_original() {
        mutual_tls(&files);
    }
}

fn mutual_tls(files: &Files) {
    let elasticsearch = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let (certificate, key) = elasticsearch_pair(&elasticsearch, files);
    let [port] = free_ports();
    add_fleet_server_host(&elasticsearch, port);
    let own_pair = [
        format!("--elastic-agent-cert={}", files.path("agent/agent.crt")),
        format!("--elastic-agent-cert-key={}", files.path("agent/agent.key")),
        format!("--elastic-agent-cert-key-passphrase={}", files.path("passphrase")),
    ];
    let server = Host::new();
    let mut flags = vec![
        format!("--url=https://localhost:{port}"),
        format!(
            "--certificate-authorities={},{}",
            files.path("fleet-ca/ca.crt"),
            files.path("agent-ca/ca.crt")
        ),
    ];
    flags.extend_from_slice(&own_pair);
    flags.extend([
        format!("--fleet-server-es={}", elasticsearch.text("/urls/elasticsearch")),
        format!("--fleet-server-es-ca={}", elasticsearch.text("/ca/path")),
        format!("--fleet-server-es-cert={certificate}"),
        format!("--fleet-server-es-cert-key={key}"),
        format!("--fleet-server-cert={}", files.path("fleet-server/fleet-server.crt")),
        format!(
            "--fleet-server-cert-key={}",
            files.path("fleet-server/fleet-server.key")
        ),
        "--fleet-server-client-auth=required".to_owned(),
        format!("--fleet-server-service-token={}", elasticsearch.text("/service_token")),
        format!(
            "--fleet-server-policy={}",
            elasticsearch.text("/fleet_server_policy_id")
        ),
        format!("--fleet-server-port={port}"),
    ]);
    succeeded(&server.enroll(&flags));
    let _daemon = server.start();
    online(&elasticsearch, 1);

    let join = |host: &Host, more: &[String]| {
        let mut flags = vec![
            format!("--url=https://localhost:{port}"),
            format!("--enrollment-token={}", elasticsearch.text("/enrollment_token")),
            format!("--certificate-authorities={}", files.path("fleet-ca/ca.crt")),
        ];
        flags.extend_from_slice(more);
        host.enroll(&flags)
    };
    let refused = join(&Host::new(), &["--enroll-timeout=10s".to_owned()]);
    assert!(!refused.status.success(), "without a certificate nobody enrols");
    assert!(said(&refused).contains("certificate"), "{}", said(&refused));
    let agent = Host::new();
    succeeded(&join(&agent, &own_pair));
    let _agent = agent.start();
    online(&elasticsearch, 2);
    data_arrives(&elasticsearch, &agent.agent_id());
}

/// The `install` command of "Configure SSL/TLS for self-managed Fleet Servers", whose one CA signs for every leg, with the
/// fingerprint in place of Elasticsearch's CA and every key encrypted.
#[test]
fn one_authority_for_every_leg_and_encrypted_keys() {
    let elasticsearch = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let files = Files::make();
    let certs = elasticsearch.data_dir().join("certs");
    files.take_authority("ca", &certs.join("agent-ca.crt"), &certs.join("agent-ca.key"));
    let names = ["--dns", "localhost", "--ip", "127.0.0.1", "--pass", "changeme"];
    files.issue("one", "ca", &names);
    let [port] = free_ports();
    add_fleet_server_host(&elasticsearch, port);
    let (certificate, key) = (files.path("one/one.crt"), files.path("one/one.key"));
    let passphrase = files.path("passphrase");
    let agent_pair = [
        format!("--elastic-agent-cert={certificate}"),
        format!("--elastic-agent-cert-key={key}"),
        format!("--elastic-agent-cert-key-passphrase={passphrase}"),
    ];
    let server = Host::new();
    let mut flags = vec![
        format!("--url=https://localhost:{port}"),
        format!("--fleet-server-es={}", elasticsearch.text("/urls/elasticsearch")),
        format!("--fleet-server-service-token={}", elasticsearch.text("/service_token")),
        "--fleet-server-policy=fleet-server-policy".to_owned(),
        format!(
            "--fleet-server-es-ca-trusted-fingerprint={}",
            elasticsearch.text("/ca/sha256")
        ),
        format!("--certificate-authorities={}", files.path("ca.crt")),
        format!("--fleet-server-cert={certificate}"),
        format!("--fleet-server-cert-key={key}"),
        format!("--fleet-server-cert-key-passphrase={passphrase}"),
        format!("--fleet-server-port={port}"),
    ];
    flags.extend_from_slice(&agent_pair);
    flags.extend([
        format!("--fleet-server-es-cert={certificate}"),
        format!("--fleet-server-es-cert-key={key}"),
        format!("--fleet-server-es-cert-key-passphrase={passphrase}"),
        "--fleet-server-client-auth=required".to_owned(),
    ]);
    succeeded(&server.enroll(&flags));
    let _daemon = server.start();
    online(&elasticsearch, 1);
    let agent = Host::new();
    let mut flags = vec![
        format!("--url=https://localhost:{port}"),
        format!("--enrollment-token={}", elasticsearch.text("/enrollment_token")),
        format!("--certificate-authorities={}", files.path("ca.crt")),
    ];
    flags.extend_from_slice(&agent_pair);
    succeeded(&agent.enroll(&flags));
    let _agent = agent.start();
    online(&elasticsearch, 2);
}

/// "What happens if you enroll Fleet Server without specifying certificates?"
#[test]
fn without_a_certificate_others_need_insecure() {
    let elasticsearch = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let [port] = free_ports();
    let server = Host::new();
    let enrolled = server.enroll(&[
        format!("--fleet-server-es={}", elasticsearch.text("/urls/elasticsearch")),
        format!("--fleet-server-es-ca={}", elasticsearch.text("/ca/path")),
        format!("--fleet-server-service-token={}", elasticsearch.text("/service_token")),
        format!(
            "--fleet-server-policy={}",
            elasticsearch.text("/fleet_server_policy_id")
        ),
        format!("--fleet-server-port={port}"),
    ]);
    succeeded(&enrolled);
    assert!(said(&enrolled).contains("--insecure"), "{}", said(&enrolled));
    let _daemon = server.start();
    online(&elasticsearch, 1);
    let join = |more: &[String]| {
        let mut flags = vec![
            format!("--url=https://localhost:{port}"),
            format!("--enrollment-token={}", elasticsearch.text("/enrollment_token")),
        ];
        flags.extend_from_slice(more);
        Host::new().enroll(&flags)
    };
    assert!(!join(&[]).status.success(), "a self-signed certificate is not trusted");
    succeeded(&join(&["--insecure".to_owned()]));
}

/// `--url=https://..:443` in front of `--fleet-server-port=8220`: a balancer passes the bytes on.
#[test]
fn agents_may_reach_it_on_another_port_than_its_own() {
    let elasticsearch = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let files = Files::make();
    let [port] = free_ports();
    let public = forward_to(port);
    add_fleet_server_host(&elasticsearch, public);
    let server = Host::new();
    succeeded(&server.enroll(&[
        format!("--url=https://localhost:{public}"),
        format!("--certificate-authorities={}", files.path("fleet-ca/ca.crt")),
        format!("--fleet-server-es={}", elasticsearch.text("/urls/elasticsearch")),
        format!("--fleet-server-es-ca={}", elasticsearch.text("/ca/path")),
        format!(
            "--fleet-server-cert={}",
            files.path("fleet-server-encrypted/fleet-server-encrypted.crt")
        ),
        format!(
            "--fleet-server-cert-key={}",
            files.path("fleet-server-encrypted/fleet-server-encrypted.key")
        ),
        format!("--fleet-server-cert-key-passphrase={}", files.path("passphrase")),
        format!("--fleet-server-service-token={}", elasticsearch.text("/service_token")),
        format!(
            "--fleet-server-policy={}",
            elasticsearch.text("/fleet_server_policy_id")
        ),
        format!("--fleet-server-port={port}"),
    ]));
    let _daemon = server.start();
    online(&elasticsearch, 1);
    healthy(public, &files.path("fleet-ca/ca.crt"));
    let agent = Host::new();
    succeeded(&agent.enroll(&[
        format!("--url=https://localhost:{public}"),
        format!("--enrollment-token={}", elasticsearch.text("/enrollment_token")),
        format!("--certificate-authorities={}", files.path("fleet-ca/ca.crt")),
    ]));
    let _agent = agent.start();
    online(&elasticsearch, 2);
}

#[test]
fn what_waiting_cannot_mend_is_told_at_once() {
    let elasticsearch = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let files = Files::make();
    let check = |flags: &[String], expected: &str| {
        let mut all = vec![
            format!("--fleet-server-es={}", elasticsearch.text("/urls/elasticsearch")),
            format!(
                "--fleet-server-policy={}",
                elasticsearch.text("/fleet_server_policy_id")
            ),
            "--fleet-server-timeout=20s".to_owned(),
            format!("--fleet-server-port={}", free_ports::<1>()[0]),
        ];
        all.extend_from_slice(flags);
        let host = Host::new();
        let output = host.enroll(&all);
        assert!(!output.status.success(), "{flags:?}");
        assert!(said(&output).contains(expected), "{flags:?}: {}", said(&output));
        assert!(!host.is_enrolled(), "nothing is stored: {flags:?}");
    };
    let token = format!("--fleet-server-service-token={}", elasticsearch.text("/service_token"));
    let wrong_ca = format!("--fleet-server-es-ca={}", files.path("fleet-ca/ca.crt"));
    check(&[token.clone(), wrong_ca], "Elasticsearch");
    let right_ca = format!("--fleet-server-es-ca={}", elasticsearch.text("/ca/path"));
    let wrong_token = "--fleet-server-service-token=wrong".to_owned();
    check(&[wrong_token, right_ca.clone()], "refused the credential");
    let mismatch = [
        token,
        right_ca,
        "--url=https://localhost:8220".to_owned(),
        format!("--fleet-server-cert={}", files.path("fleet-server/fleet-server.crt")),
        format!("--fleet-server-cert-key={}", files.path("fleet-ca/ca.key")),
    ];
    check(&mismatch, "certificate");
}

/// The variables of the container image, for the server and for an agent of it.
#[test]
fn containers_are_set_up_by_their_environment() {
    let elasticsearch = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let files = Files::make();
    let [port] = free_ports();
    add_fleet_server_host(&elasticsearch, port);
    let url = format!("https://localhost:{port}");
    let server = Host::new();
    let _server = server.container(&[
        ("FLEET_SERVER_ENABLE", "true".to_owned()),
        ("FLEET_URL", url.clone()),
        ("FLEET_CA", files.path("fleet-ca/ca.crt")),
        (
            "FLEET_SERVER_ELASTICSEARCH_HOST",
            elasticsearch.text("/urls/elasticsearch"),
        ),
        ("FLEET_SERVER_ELASTICSEARCH_CA", elasticsearch.text("/ca/path")),
        ("FLEET_SERVER_SERVICE_TOKEN", elasticsearch.text("/service_token")),
        ("FLEET_SERVER_POLICY_ID", elasticsearch.text("/fleet_server_policy_id")),
        ("FLEET_SERVER_CERT", files.path("fleet-server/fleet-server.crt")),
        ("FLEET_SERVER_CERT_KEY", files.path("fleet-server/fleet-server.key")),
        ("FLEET_SERVER_PORT", port.to_string()),
    ]);
    online(&elasticsearch, 1);
    let agent = Host::new();
    let _agent = agent.container(&[
        ("FLEET_ENROLL", "1".to_owned()),
        ("FLEET_URL", url),
        ("FLEET_CA", files.path("fleet-ca/ca.crt")),
        ("FLEET_ENROLLMENT_TOKEN", elasticsearch.text("/enrollment_token")),
    ]);
    online(&elasticsearch, 2);
}

/// A pair that `flotilla up` accepts from a client: its agents' CA signs.
fn elasticsearch_pair(elasticsearch: &Flotilla, files: &Files) -> (String, String) {
    let certs = elasticsearch.data_dir().join("certs");
    files.take_authority("es-clients", &certs.join("agent-ca.crt"), &certs.join("agent-ca.key"));
    files.issue_by_ours("fleet-es", "es-clients", &[]);
    (files.path("fleet-es/fleet-es.crt"), files.path("fleet-es/fleet-es.key"))
}

fn healthy(port: u16, ca: &str) -> Value {
    eventually("a healthy server", SOON, || {
        let url = format!("https://localhost:{port}/api/status");
        let output = run("curl", ["-sS", "--cacert", ca, &url]);
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        (status["status"] == "HEALTHY").then_some(status)
    })
}

/// A port that leads to `port`, for as long as the process lives.
fn forward_to(port: u16) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let public = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
                continue;
            };
            let (Ok(back), Ok(forth)) = (client.try_clone(), server.try_clone()) else {
                continue;
            };
            std::thread::spawn(move || pass_on(client, forth));
            std::thread::spawn(move || pass_on(server, back));
        }
    });
    public
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let _broken_off = io::copy(&mut from, &mut to);
    let _already_closed = to.shutdown(std::net::Shutdown::Both);
}
