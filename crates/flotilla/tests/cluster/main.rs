//! Two APIs, two Fleet Servers and a console over an OpenSearch or an Elasticsearch: any of them, and any node of a cluster of
//! three, may be killed, and nothing that was acknowledged is lost.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(
    clippy::print_stderr,
    reason = "a test says what it has counted, and what processes said that failed"
)]

mod load;
mod pressure;
mod set;

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use testkit::{Engine, RealCluster, RealNode, eventually};

use load::{enrol_one, enrollment_token, nothing_is_lost};
use pressure::a_full_cluster_is_waited_for;
use set::{JSON, LONGEST, Nodes, Set};

/// Each process is killed four times.
const ROUNDS: usize = 20;
/// Each node takes half a gigabyte and both cores while it starts.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn any_process_over_an_opensearch_may_be_killed() {
    any_process_may_be_killed(Engine::OpenSearch);
}

#[test]
fn any_process_over_an_elasticsearch_may_be_killed() {
    any_process_may_be_killed(Engine::Elasticsearch);
}

fn any_process_may_be_killed(engine: Engine) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let variable = match engine {
        Engine::OpenSearch => "OS_JIT",
        Engine::Elasticsearch => "ES_JIT",
    };
    let Some(node) = RealNode::start(engine, &[(variable, "1".to_owned())]) else {
        return;
    };
    let set = Set::start(&Nodes {
        urls: node.url(),
        ca: node.tls_file("ca.crt"),
        user: node.user(),
        password: node.password(),
    });
    an_agent_ships(&set);
    a_certificate_is_as_good(&set);
    a_full_cluster_is_waited_for(&set, &node);
    let processes = set.processes();
    nothing_is_lost(&set, || {
        for round in 0..ROUNDS {
            let (name, port) = &processes[round % processes.len()];
            set.kill(name);
            set.start_again(name, *port);
        }
    });
    for port in set.fleet_servers {
        let (status, answer) = set.ask(port, "/api/status", &[]).unwrap();
        assert_eq!((status, &answer["status"]), (200, &Value::from("HEALTHY")), "{answer}");
    }
}

/// An agent that enrols gets a key with which it may write what its policy says, through any API, and which ends with it.
fn an_agent_ships(set: &Set) {
    let token = enrollment_token(set, "of one agent");
    let [fleet_server, other_fleet_server] = set.fleet_servers;
    let agent = enrol_one(set, fleet_server, &token).expect("it may enrol");
    let id = agent["id"].as_str().unwrap();
    let key = format!("authorization: ApiKey {}", agent["access_api_key"].as_str().unwrap());
    let body = json!({"status": "online", "message": "Running"}).to_string();
    let more = [&JSON[..], &["-A", "elastic agent 9.6.0", "-H", &key, "-d", &body]].concat();
    let path = format!("/api/fleet/agents/{id}/checkin");
    let (status, answer) = set.call(other_fleet_server, &path, &more).unwrap();
    assert_eq!(status, 200, "{answer}");
    let outputs = answer["actions"][0]["data"]["policy"]["outputs"].as_object().unwrap();
    let pair = outputs.values().find_map(|output| output["api_key"].as_str()).unwrap();
    let login = format!("authorization: ApiKey {}", base64(pair));

    let document = json!({"@timestamp": "2026-01-01T00:00:00Z", "agent": {"id": id}, "message": "m"});
    let create = |index: &str| format!("{{\"create\":{{\"_index\":\"{index}\"}}}}\n{document}\n");
    let lines = create("logs-elastic_agent-default") + &create("logs-of.others-default");
    let [api, other_api] = set.apis;
    let more = [
        "-H",
        &login,
        "-H",
        "content-type: application/x-ndjson",
        "--data-binary",
        &lines,
    ];
    let (status, answer) = set.call(other_api, "/_bulk", &more).unwrap();
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["items"][0]["create"]["status"], 201, "{answer}");
    assert_eq!(answer["items"][1]["create"]["status"], 403, "{answer}");
    set.done(api, "/logs-elastic_agent-default/_refresh", &["-X", "POST"]);
    let found = set.done(api, "/logs-elastic_agent-default/_search", &[]);
    let source = &found["hits"]["hits"][0]["_source"];
    assert_eq!(source["event"]["agent_id_status"], "verified", "{found}");

    let path = format!("/api/fleet/agents/{id}/unenroll");
    set.done(set.console, &path, &[&JSON[..], &["-d", "{\"revoke\":true}"]].concat());
    eventually("the key is refused", LONGEST, || {
        let (status, _) = set.call(api, "/_bulk", &more)?;
        (status == 401).then_some(())
    });
}

/// A shipper that shows a certificate of the CA that the API trusts is the user of its common name.
fn a_certificate_is_as_good(set: &Set) {
    let [api, other_api] = set.apis;
    let file = |name: &str| set.path(name).into_os_string().into_string().unwrap();
    let archive = file("shipper.zip");
    let (ca, ca_key) = (file("ca/ca.crt"), file("ca/ca.key"));
    let made = [
        "certutil",
        "cert",
        "--pem",
        "--silent",
        "--name",
        "shipper",
        "--ca-cert",
        &ca,
        "--ca-key",
        &ca_key,
        "--out",
        &archive,
    ];
    testkit::run(set::FLOTILLA, made);
    testkit::run("unzip", ["-q", &archive, "-d", &file("")]);
    let role =
        json!({"indices": [{"names": ["logs-*-*"], "privileges": ["auto_configure", "create_doc"]}]}).to_string();
    set.done(
        api,
        "/_security/role/shipper",
        &[&JSON[..], &["-X", "PUT", "-d", &role]].concat(),
    );
    let user = json!({"password": "is-not-used", "roles": ["shipper"]}).to_string();
    set.done(
        api,
        "/_security/user/shipper",
        &[&JSON[..], &["-X", "PUT", "-d", &user]].concat(),
    );
    let lines =
        "{\"create\":{\"_index\":\"logs-by.certificate-default\"}}\n{\"@timestamp\":\"2026-01-01T00:00:00Z\"}\n";
    let (certificate, key) = (file("shipper/shipper.crt"), file("shipper/shipper.key"));
    let body = ["-H", "content-type: application/x-ndjson", "--data-binary", lines];
    let with_it = [&["--cert", &certificate, "--key", &key][..], &body].concat();
    let (status, answer) = set.call(other_api, "/_bulk", &with_it).unwrap();
    assert_eq!(
        (status, &answer["items"][0]["create"]["status"]),
        (200, &json!(201)),
        "{answer}"
    );
    let (status, answer) = set.call(other_api, "/_bulk", &body).unwrap();
    assert_eq!(status, 401, "nobody without it: {answer}");
}

fn base64(text: &str) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    BASE64_STANDARD.encode(text)
}

/// Three nodes, each killed once while clients write, and started again when the next is to be killed.
#[test]
fn any_node_of_three_may_be_killed() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(cluster) = RealCluster::start(3) else {
        return;
    };
    let set = Set::start(&Nodes {
        urls: &cluster.urls().join(" "),
        ca: cluster.ca(),
        user: cluster.user(),
        password: cluster.password(),
    });
    nothing_is_lost(&set, || {
        for node in 1..=3 {
            cluster.wait_until_green();
            cluster.kill(node);
            cluster.start_again(node);
        }
        cluster.wait_until_green();
    });
}
