//! Fleet Servers under an agent on real engines, seeded the way a console would: policies, enrollment tokens and, where the
//! engine has them, a service token.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use access::NewApiKey;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use query::{Query, SearchRequest};
use remote::{RemoteCredential, RemoteSettings, RemoteStore};
use secret::Secret;
use serde_json::{Value, json};
use store::{Operation, Refresh, Source, Store};
use testkit::{Engine, RealNode, eventually, free_ports, run};
use tls::{ClientTls, LoadOptions, SslSettings};
use tokio::runtime::Runtime;
use url::Url;

use crate::SOON;
use crate::files::Files;
use crate::host::{Host, succeeded};

/// Each node takes half a gigabyte and both cores while it starts.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const SERVER_POLICY: &str = "fleet-server-policy";
const AGENT_POLICY: &str = "agent-policy";

/// Elasticsearch demands client certificates; so does the Fleet Server: mutual TLS on every leg, files of our certificate
/// tool, native API keys, data straight into the engine.
#[test]
fn elasticsearch_with_mutual_tls_on_every_leg() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let files = Files::make();
    files.issue("es", "fleet-ca/ca", &["--dns", "localhost", "--ip", "127.0.0.1"]);
    files.issue("es-client", "agent-ca/ca", &[]);
    let (certificate, key) = (
        files.path("es-client/es-client.crt"),
        files.path("es-client/es-client.key"),
    );
    let variables = [
        ("ES_CA", files.path("fleet-ca/ca.crt")),
        ("ES_CERT", files.path("es/es.crt")),
        ("ES_KEY", files.path("es/es.key")),
        ("ES_CLIENT_AUTH", "required".to_owned()),
        ("ES_CLIENT_CA", files.path("agent-ca/ca.crt")),
        ("ES_CURL_CERT", certificate.clone()),
        ("ES_CURL_KEY", key.clone()),
    ];
    let Some(node) = RealNode::start(Engine::Elasticsearch, &variables) else {
        return;
    };
    let ca = files.path("fleet-ca/ca.crt");
    let ssl = json!({"certificate_authorities": [&ca], "certificate": &certificate, "key": &key});
    let [port] = free_ports();
    let seeded = Seeded::new(&node, &ssl, port);
    let server = Host::new();
    let agent_pair = [
        format!("--elastic-agent-cert={}", files.path("agent/agent.crt")),
        format!("--elastic-agent-cert-key={}", files.path("agent/agent.key")),
        format!("--elastic-agent-cert-key-passphrase={}", files.path("passphrase")),
    ];
    let mut flags = vec![
        format!("--url=https://localhost:{port}"),
        format!("--certificate-authorities={ca},{}", files.path("agent-ca/ca.crt")),
    ];
    flags.extend_from_slice(&agent_pair);
    flags.extend([
        format!("--fleet-server-es={}", node.url()),
        format!("--fleet-server-es-ca={ca}"),
        format!("--fleet-server-es-cert={certificate}"),
        format!("--fleet-server-es-cert-key={key}"),
        format!("--fleet-server-cert={}", files.path("fleet-server/fleet-server.crt")),
        format!(
            "--fleet-server-cert-key={}",
            files.path("fleet-server/fleet-server.key")
        ),
        "--fleet-server-client-auth=required".to_owned(),
        format!(
            "--fleet-server-service-token={}",
            service_token(&node, &ca, &certificate, &key)
        ),
        format!("--fleet-server-policy={SERVER_POLICY}"),
        format!("--fleet-server-port={port}"),
    ]);
    succeeded(&server.enroll(&flags));
    let _server = server.start();
    seeded.online(1);
    let agent = Host::new();
    let mut flags = vec![
        format!("--url=https://localhost:{port}"),
        format!("--enrollment-token={}", seeded.token),
        format!("--certificate-authorities={ca}"),
    ];
    flags.extend_from_slice(&agent_pair);
    succeeded(&agent.enroll(&flags));
    let _agent = agent.start();
    seeded.online(2);
    seeded.data_of(&agent.agent_id());
}

/// OpenSearch has neither service tokens nor API keys: a user says who asks, and keys are documents in it.
#[test]
fn opensearch_as_a_user() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(node) = RealNode::start(Engine::OpenSearch, &[]) else {
        return;
    };
    let files = Files::make();
    let ca = node.tls_file("ca.crt").into_os_string().into_string().unwrap();
    let [port] = free_ports();
    let seeded = Seeded::new(&node, &json!({"certificate_authorities": [&ca]}), port);
    let server = Host::new();
    let address = node.url().trim_start_matches("https://");
    succeeded(&server.enroll(&[
        format!("--url=https://localhost:{port}"),
        format!("--certificate-authorities={}", files.path("fleet-ca/ca.crt")),
        format!(
            "--fleet-server-es=https://{}:{}@{address}",
            node.user(),
            node.password()
        ),
        format!("--fleet-server-es-ca={ca}"),
        format!("--fleet-server-cert={}", files.path("fleet-server/fleet-server.crt")),
        format!(
            "--fleet-server-cert-key={}",
            files.path("fleet-server/fleet-server.key")
        ),
        format!("--fleet-server-policy={SERVER_POLICY}"),
        format!("--fleet-server-port={port}"),
    ]));
    let _server = server.start();
    seeded.online(1);
    let agent = Host::new();
    succeeded(&agent.enroll(&[
        format!("--url=https://localhost:{port}"),
        format!("--enrollment-token={}", seeded.token),
        format!("--certificate-authorities={}", files.path("fleet-ca/ca.crt")),
    ]));
    let _agent = agent.start();
    // It has no API keys, so it does not take the data of agents directly, and the agent says so.
    seeded.run_their_policy(2, &["online", "degraded"]);
}

/// What a console has written into an engine.
struct Seeded {
    runtime: Runtime,
    store: Arc<RemoteStore>,
    /// Of the agents' policy.
    token: String,
}

impl Seeded {
    fn new(node: &RealNode, ssl: &Value, port: u16) -> Self {
        let runtime = Runtime::new().unwrap();
        let (store, token) = runtime.block_on(async {
            let store = connect(node, ssl).await;
            let token = write_documents(&store, node, ssl, port).await;
            (store, token)
        });
        Self { runtime, store, token }
    }

    /// Waits until these many agents are online and run the policy that they should.
    fn online(&self, agents: usize) {
        self.run_their_policy(agents, &["online"]);
    }

    /// The same, whether their output takes their data or not.
    fn run_their_policy(&self, agents: usize, statuses: &[&str]) {
        eventually("agents in the engine", SOON, || {
            let found = self.search(SearchRequest::new(".fleet-agents"));
            let runs = |agent: &Value| {
                let status = agent["last_checkin_status"].as_str().unwrap_or_default();
                statuses.contains(&status) && agent["policy_revision_idx"] == 1
            };
            (found.len() == agents && found.iter().all(runs)).then_some(())
        });
    }

    fn data_of(&self, agent_id: &str) {
        eventually("data in the engine", SOON, || {
            let of_agent = Query::term("agent.id", agent_id);
            let found = self.search(SearchRequest::new("metrics-system.cpu-default").query(of_agent));
            found
                .first()
                .map(|document| assert!(document["system"]["cpu"].is_object(), "{document}"))
        });
    }

    fn search(&self, request: SearchRequest) -> Vec<Value> {
        let found = self.runtime.block_on(self.store.search(request));
        let hits = found.map(|found| found.hits).unwrap_or_default();
        hits.iter().map(|hit| hit.document.source.to_value()).collect()
    }
}

impl Drop for Seeded {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for agent in self.search(SearchRequest::new(".fleet-agents")) {
                eprintln!("an agent in the engine: {agent}");
            }
        }
    }
}

async fn connect(node: &RealNode, ssl: &Value) -> Arc<RemoteStore> {
    let tls = ClientTls::load(&SslSettings::from_value(ssl).unwrap(), LoadOptions::named("node")).unwrap();
    RemoteStore::connect(RemoteSettings {
        hosts: vec![Url::parse(node.url()).unwrap()],
        path: String::new(),
        tls,
        credential: RemoteCredential::Basic {
            username: node.user().to_owned(),
            password: Secret::from(node.password()),
        },
        proxy: None,
        headers: transport::HeaderMap::new(),
        timeout: Duration::from_mins(1),
        clock: clock::system(),
    })
    .await
    .unwrap()
}

/// Two policies with a token each; the token of the agents' one.
async fn write_documents(store: &RemoteStore, node: &RealNode, ssl: &Value, port: u16) -> String {
    let mut operations = Vec::new();
    let mut token = String::new();
    for policy_id in [SERVER_POLICY, AGENT_POLICY] {
        let key = store
            .api_keys()
            .create(NewApiKey {
                name: format!("{policy_id} token"),
                role_descriptors: json!({"fleet-apikey-enroll": {"cluster": [], "applications": [
                    {"application": "fleet", "privileges": ["no-privileges"], "resources": ["*"]}
                ]}})
                .try_into()
                .unwrap(),
                metadata: json!({"policy_id": policy_id}),
                expires: None,
            })
            .await
            .unwrap();
        token = BASE64_STANDARD.encode(key.pair().expose());
        let record = json!({
            "active": true, "api_key_id": key.id, "api_key": token, "name": policy_id, "policy_id": policy_id,
            "created_at": "2026-01-01T00:00:00Z",
        });
        operations.push(Operation::create(
            ".fleet-enrollment-api-keys",
            policy_id,
            Source::of(&record),
        ));
        let policy = json!({
            "@timestamp": "2026-01-01T00:00:00Z", "policy_id": policy_id, "revision_idx": 1, "coordinator_idx": 0,
            "default_fleet_server": policy_id == SERVER_POLICY, "data": policy(policy_id, node, ssl, port),
        });
        operations.push(Operation::append(".fleet-policies", Source::of(&policy)));
    }
    for outcome in store.bulk(operations, Refresh::WaitFor).await.unwrap() {
        outcome.written().unwrap();
    }
    token
}

fn policy(policy_id: &str, node: &RealNode, ssl: &Value, port: u16) -> Value {
    let cpu = json!({
        "id": "cpu", "type": "system/metrics", "use_output": "default", "data_stream": {"namespace": "default"},
        "streams": [{
            "id": "cpu", "metricsets": ["cpu"], "period": "1s",
            "data_stream": {"dataset": "system.cpu", "type": "metrics"},
        }],
    });
    let server = json!({"id": "fleet-server", "type": "fleet-server", "use_output": "default"});
    json!({
        "id": policy_id,
        "revision": 1,
        "outputs": {"default": {"type": "elasticsearch", "hosts": [node.url()], "ssl": ssl}},
        "output_permissions": {"default": {
            "_elastic_agent_checks": {"cluster": ["monitor"]},
            "cpu": {"indices": [{"names": ["metrics-system.cpu-default"], "privileges": ["auto_configure", "create_doc"]}]},
        }},
        "inputs": [if policy_id == SERVER_POLICY { server } else { cpu }],
        "agent": {"monitoring": {"enabled": false, "logs": false, "metrics": false}},
        "fleet": {"hosts": [format!("https://localhost:{port}")]},
    })
}

fn service_token(node: &RealNode, ca: &str, certificate: &str, key: &str) -> String {
    let login = format!("{}:{}", node.user(), node.password());
    let url = format!(
        "{}/_security/service/elastic/fleet-server/credential/token/test",
        node.url()
    );
    let output = run(
        "curl",
        [
            "-sS",
            "-X",
            "POST",
            "--cacert",
            ca,
            "--cert",
            certificate,
            "--key",
            key,
            "-u",
            &login,
            &url,
        ],
    );
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    made["token"]["value"]
        .as_str()
        .unwrap_or_else(|| panic!("no token: {made}"))
        .to_owned()
}
