//! `flotilla fleet-server`: the stock configuration file, the container's variables, several servers on one store.

use std::process::Command;

use serde_json::{Value, json};
use testkit::{Flotilla, eventually, free_ports, run};

use crate::files::Files;
use crate::host::{Daemon, Host, succeeded};
use crate::{FLOTILLA, SOON, add_fleet_server_host, data_arrives, edit_default_policy, online};

/// A Fleet Server in a process of its own, on the Elasticsearch of another.
struct Server {
    daemon: Daemon,
    port: u16,
    metrics: u16,
    ca: String,
    errors: String,
}

impl Server {
    /// By the stock file, which has a key that nobody knows in line 3.
    fn start(elasticsearch: &Flotilla, files: &Files) -> Self {
        let [port, metrics] = free_ports();
        let file = files.write(&format!("{port}.yml"), &stock_file(elasticsearch, files, port, metrics));
        let errors = files.path(&format!("{port}.stderr"));
        let mut command = Command::new(FLOTILLA);
        command
            .args(["fleet-server", "-c", &file])
            .env("TOKEN", elasticsearch.text("/service_token"))
            .stderr(fs_err::File::create(&errors).unwrap().into_file());
        let server = Self {
            daemon: Daemon::start(&mut command),
            port,
            metrics,
            ca: files.path("fleet-ca/ca.crt"),
            errors,
        };
        server.is("HEALTHY");
        server
    }

    fn get(&self, url: &str) -> String {
        let output = run("curl", ["-sS", "--max-time", "10", "--cacert", &self.ca, url]);
        String::from_utf8(output.stdout).unwrap()
    }

    fn is(&self, status: &str) {
        eventually(status, SOON, || {
            let text = self.get(&format!("https://localhost:{}/api/status", self.port));
            let answer: Value = serde_json::from_str(&text).ok()?;
            (answer["status"] == status).then_some(())
        });
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get(&format!("http://127.0.0.1:{}/metrics", self.metrics));
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    }

    /// An agent of this server, with a held poll.
    fn agent(&self, elasticsearch: &Flotilla) -> (Host, Daemon) {
        let agent = Host::new();
        succeeded(&agent.enroll(&[
            format!("--url=https://localhost:{}", self.port),
            format!("--enrollment-token={}", elasticsearch.text("/enrollment_token")),
            format!("--certificate-authorities={}", self.ca),
        ]));
        let daemon = agent.start();
        (agent, daemon)
    }
}

fn stock_file(elasticsearch: &Flotilla, files: &Files, port: u16, metrics: u16) -> String {
    format!(
        "output.elasticsearch:
  hosts: ['{}']
  no_such_key: 1
  service_token: ${{TOKEN}}
  ssl.certificate_authorities: ['{}']
inputs:
  - type: fleet-server
    policy.id: {}
    server:
      host: 127.0.0.1
      port: {port}
      ssl:
        certificate: {}
        key: {}
http: {{enabled: true, host: 127.0.0.1, port: {metrics}}}
",
        elasticsearch.text("/urls/elasticsearch"),
        elasticsearch.text("/ca/path"),
        elasticsearch.text("/fleet_server_policy_id"),
        files.path("fleet-server/fleet-server.crt"),
        files.path("fleet-server/fleet-server.key"),
    )
}

#[test]
fn the_stock_file_and_a_reload() {
    let elasticsearch = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let files = Files::make();
    let server = Server::start(&elasticsearch, &files);
    add_fleet_server_host(&elasticsearch, server.port);
    let told = fs_err::read_to_string(&server.errors).unwrap();
    assert!(told.contains("no_such_key") && told.contains("line 3"), "{told}");
    let (agent, _running) = server.agent(&elasticsearch);
    online(&elasticsearch, 1);
    data_arrives(&elasticsearch, &agent.agent_id());
    polls_are(&server, 1.0);

    // A new certificate is shown after SIGHUP, and the held poll stays held.
    let before = presented(server.port);
    files.issue("renewed", "fleet-ca/ca", &["--dns", "localhost", "--ip", "127.0.0.1"]);
    for end in ["key", "crt"] {
        let (new, old) = (
            format!("renewed/renewed.{end}"),
            format!("fleet-server/fleet-server.{end}"),
        );
        std::fs::rename(files.path(&new), files.path(&old)).unwrap();
    }
    server.daemon.signal("-HUP");
    eventually("the new certificate", SOON, || {
        (presented(server.port) != before).then_some(())
    });
    assert_eq!(server.metric("fleet_server_polls_held "), Some(1.0));
    assert!(agent.is_connected(), "a reload does not cost the connection");
    assert!(server.daemon.stop(), "SIGTERM ends it cleanly");
}

#[test]
fn a_policy_edit_reaches_the_agents_of_every_server() {
    let elasticsearch = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let files = Files::make();
    let (first, second) = (
        Server::start(&elasticsearch, &files),
        Server::start(&elasticsearch, &files),
    );
    // Agents stay where they are: both servers are in every policy, each agent's own first in its enrolment.
    let hosts = json!({
        "name": "both", "is_default": true,
        "host_urls": [format!("https://localhost:{}", first.port), format!("https://localhost:{}", second.port)],
    });
    let made = elasticsearch.console().post("/api/fleet/fleet_server_hosts", &hosts);
    assert!(made["item"]["id"].is_string(), "{made}");
    let _agents = [first.agent(&elasticsearch), second.agent(&elasticsearch)];
    online(&elasticsearch, 2);
    let revision = edit_default_policy(&elasticsearch, "through the console, which is neither");
    every_agent_runs(&elasticsearch, 2, revision);
}

#[test]
fn a_store_that_goes_away_costs_no_poll() {
    let mut elasticsearch = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let files = Files::make();
    let server = Server::start(&elasticsearch, &files);
    add_fleet_server_host(&elasticsearch, server.port);
    let (agent, _running) = server.agent(&elasticsearch);
    online(&elasticsearch, 1);
    polls_are(&server, 1.0);
    elasticsearch.kill();
    // Enrolments need the store; an answer that says so shows that the server has noticed.
    let refused = Host::new().enroll(&[
        format!("--url=https://localhost:{}", server.port),
        format!("--enrollment-token={}", elasticsearch.text("/enrollment_token")),
        format!("--certificate-authorities={}", server.ca),
        "--enroll-timeout=3s".to_owned(),
    ]);
    assert!(!refused.status.success(), "nobody enrols without a store");
    assert_eq!(server.metric("fleet_server_polls_held "), Some(1.0), "the poll is kept");
    assert!(agent.is_connected(), "and the agent has noticed nothing");
    elasticsearch.start_again();
    server.is("HEALTHY");
    let revision = edit_default_policy(&elasticsearch, "after the store came back");
    every_agent_runs(&elasticsearch, 1, revision);
    online(&elasticsearch, 1);
}

/// No file at all: the variables of the container image say everything.
#[test]
fn the_environment_alone_is_a_configuration() {
    let elasticsearch = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let files = Files::make();
    let [port] = free_ports();
    let mut command = Command::new(FLOTILLA);
    command.arg("fleet-server").current_dir(files.path("")).envs([
        (
            "FLEET_SERVER_ELASTICSEARCH_HOST",
            elasticsearch.text("/urls/elasticsearch"),
        ),
        ("FLEET_SERVER_ELASTICSEARCH_CA", elasticsearch.text("/ca/path")),
        ("FLEET_SERVER_SERVICE_TOKEN", elasticsearch.text("/service_token")),
        ("FLEET_SERVER_POLICY_ID", elasticsearch.text("/fleet_server_policy_id")),
        ("FLEET_SERVER_HOST", "127.0.0.1".to_owned()),
        ("FLEET_SERVER_PORT", port.to_string()),
        ("FLEET_SERVER_CERT", files.path("fleet-server/fleet-server.crt")),
        ("FLEET_SERVER_CERT_KEY", files.path("fleet-server/fleet-server.key")),
    ]);
    let server = Server {
        daemon: Daemon::start(&mut command),
        port,
        metrics: 0,
        ca: files.path("fleet-ca/ca.crt"),
        errors: String::new(),
    };
    server.is("HEALTHY");
    assert!(server.daemon.stop(), "SIGTERM ends it cleanly");
}

fn polls_are(server: &Server, expected: f64) {
    eventually("held polls", SOON, || {
        (server.metric("fleet_server_polls_held ") == Some(expected)).then_some(())
    });
}

fn every_agent_runs(elasticsearch: &Flotilla, agents: usize, revision: u64) {
    eventually("the new revision", SOON, || {
        let list = elasticsearch.console().get("/api/fleet/agents");
        let items = list["items"].as_array()?;
        let runs = |item: &Value| item["policy_revision"].as_u64() >= Some(revision);
        (items.len() == agents && items.iter().all(runs)).then_some(())
    });
}

/// The serial number of the certificate that a server shows.
fn presented(port: u16) -> String {
    let connect =
        format!("openssl s_client -connect localhost:{port} </dev/null 2>/dev/null | openssl x509 -noout -serial");
    String::from_utf8(run("sh", ["-c", &connect]).stdout).unwrap()
}
