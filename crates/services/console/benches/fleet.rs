//! Lists of many agents, policies with many integrations, many policies: `cargo bench -p fleet-console`, with the number of
//! agents as an argument (25,000 by default). Milliseconds in the server, without a network: the median of some rounds.

mod server;

use std::time::Instant;

use axum::body::Body;
use base64::Engine;
use http::{Method, Request};
use serde_json::{Value, json};
use server::{PASSWORD, ROUNDS, Server, say};
use store::{Operation, Refresh, Source};

const BATCH: usize = 1_000;
const INTEGRATIONS: usize = 50;
const POLICIES: usize = 1_000;

fn main() {
    let agents = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(25_000);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("it starts");
    runtime.block_on(async {
        let fleet = Fleet::start().await;
        fleet.enrol(agents).await;
        lists(&fleet, agents).await;
        fifty_integrations(&fleet).await;
        many_policies(&fleet).await;
    });
}

async fn lists(fleet: &Fleet, agents: usize) {
    fleet
        .timed(&format!("the first list of {agents} agents"), 1, "/api/fleet/agents")
        .await;
    for (what, query) in [
        ("no filter", ""),
        ("a status", "?kuery=status:offline"),
        (
            "a policy and a tag",
            "?kuery=policy_id:default-policy%20and%20tags:edge",
        ),
        ("a part of a host's name", "?kuery=local_metadata.host.hostname:*77*"),
        (
            "a version, sorted by host",
            "?kuery=agent.version:9.6.0&sortField=local_metadata.host.hostname&sortOrder=asc",
        ),
        ("the status of each, with the summary", "?getStatusSummary=true"),
        (
            "a field that is not kept in memory",
            "?kuery=local_metadata.os.kernel:6.1*",
        ),
        ("a page in the middle", "?page=150&perPage=50"),
        ("a word in any field", "?kuery=web-012345"),
        ("one of an id", "?kuery=_id:agent-000077"),
    ] {
        fleet
            .timed(&format!("agents: {what}"), ROUNDS, &format!("/api/fleet/agents{query}"))
            .await;
    }
    after_check_ins(fleet).await;
    after_removals(fleet).await;
    fleet.timed("agent_status", ROUNDS, "/api/fleet/agent_status").await;
    fleet.timed("tags of all", ROUNDS, "/api/fleet/agents/tags").await;
    fleet.server.timed_page("the page Agents", "/app/fleet/agents").await;
    fleet.server.timed_page("the page Home", "/").await;
    fleet.server.timed_page("the page TLS map", "/app/trust/map").await;
}

/// A hundred agents have checked in since the last list.
async fn after_check_ins(fleet: &Fleet) {
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        fleet.write((0..100).map(|number| number * 200 + round).collect()).await;
        times.push(
            fleet
                .took("/api/fleet/agents?kuery=status:online%20and%20tags:edge&sortField=last_checkin")
                .await,
        );
    }
    say("agents: after a hundred check-ins", times);
}

/// An agent has been removed since the last list.
async fn after_removals(fleet: &Fleet) {
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let path = format!("/api/fleet/agents/agent-{:06}", round * 17);
        fleet.ask(Method::DELETE, &path, None).await;
        times.push(fleet.took("/api/fleet/agents").await);
    }
    say("agents: after one was removed", times);
}

async fn fifty_integrations(fleet: &Fleet) {
    let policy = fleet.new_policy("fifty").await;
    for number in 0..INTEGRATIONS {
        fleet.new_integration(&policy, &format!("integration {number}")).await;
    }
    let path = format!("/api/fleet/agent_policies/{policy}");
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let body = json!({"name": "fifty", "namespace": format!("round{round}")});
        let start = Instant::now();
        fleet.ask(Method::PUT, &path, Some(body)).await;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    say(
        "a change of a policy with 50 integrations, compiled and published",
        times,
    );
    fleet
        .timed("the full policy with 50 integrations", ROUNDS, &format!("{path}/full"))
        .await;
}

async fn many_policies(fleet: &Fleet) {
    let start = Instant::now();
    for number in 0..POLICIES {
        let policy = fleet.new_policy(&format!("policy {number}")).await;
        fleet.new_integration(&policy, &format!("of policy {number}")).await;
    }
    let each = start.elapsed().as_secs_f64() * 1000.0 / POLICIES as f64;
    say("a new policy with an integration, mean of 1,000", vec![each]);
    let last = fleet.new_policy("the last").await;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let body = json!({"name": "the last", "namespace": format!("round{round}")});
        let start = Instant::now();
        fleet
            .ask(Method::PUT, &format!("/api/fleet/agent_policies/{last}"), Some(body))
            .await;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    say("a change of one of 1,000 policies, published", times);
    fleet
        .timed(
            "a page of 1,000 policies",
            ROUNDS,
            "/api/fleet/agent_policies?perPage=20",
        )
        .await;
    fleet
        .server
        .timed_page("the page Agent policies with 1,000", "/app/fleet/policies")
        .await;
}

struct Fleet {
    server: Server,
}

impl Fleet {
    async fn start() -> Self {
        Self {
            server: Server::start(None).await,
        }
    }

    async fn enrol(&self, count: usize) {
        for start in (0..count).step_by(BATCH) {
            self.write((start..count.min(start + BATCH)).collect()).await;
        }
    }

    /// Writes the documents of these agents.
    async fn write(&self, numbers: Vec<usize>) {
        let operations = numbers.into_iter().map(|number| {
            Operation::index(
                ".fleet-agents",
                format!("agent-{number:06}"),
                Source::of(&agent(number)),
            )
        });
        let written = self.server.store.bulk(operations.collect(), Refresh::WaitFor).await;
        let outcomes = written.expect("it is written");
        assert!(outcomes.into_iter().all(|outcome| outcome.written().is_ok()));
    }

    async fn new_policy(&self, name: &str) -> String {
        let body = json!({"name": name, "namespace": "default"});
        let made = self.ask(Method::POST, "/api/fleet/agent_policies", Some(body)).await;
        made["item"]["id"].as_str().expect("it has an id").to_owned()
    }

    async fn new_integration(&self, policy: &str, name: &str) {
        let body = json!({"name": name, "policy_ids": [policy], "package": {"name": "system", "version": "1.60.0"}, "inputs": {}});
        self.ask(Method::POST, "/api/fleet/package_policies", Some(body)).await;
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let credentials = base64::engine::general_purpose::STANDARD.encode(format!("elastic:{PASSWORD}"));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Basic {credentials}"))
            .header("kbn-xsrf", "1")
            .header("content-type", "application/json");
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let bytes = self.server.bytes(request.body(body).expect("a request")).await;
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    async fn timed(&self, what: &str, rounds: usize, path: &str) {
        let mut times = Vec::new();
        for _ in 0..rounds {
            times.push(self.took(path).await);
        }
        say(what, times);
    }

    /// Milliseconds.
    async fn took(&self, path: &str) -> f64 {
        let start = Instant::now();
        self.ask(Method::GET, path, None).await;
        start.elapsed().as_secs_f64() * 1000.0
    }
}

/// About as large as the document of a real agent.
fn agent(number: usize) -> Value {
    let now = clock::system().now();
    let silent = if number.is_multiple_of(10) { 900 } else { 20 };
    let last_checkin = clock::rfc3339_millis(now - jiff::SignedDuration::from_secs(silent));
    let unit = |id: &str| json!({"id": id, "type": "input", "status": "HEALTHY", "message": "Healthy"});
    let component = |id: &str| {
        json!({"id": id, "type": id, "status": "HEALTHY", "message": "Healthy: communicating",
        "units": [unit("one"), unit("two"), unit("three")]})
    };
    json!({
        "type": "PERMANENT", "active": true, "policy_id": "default-policy", "enrolled_at": clock::rfc3339_millis(now),
        "last_checkin": last_checkin, "last_checkin_status": "online", "last_checkin_message": "Running", "policy_revision_idx": 1,
        "tags": if number.is_multiple_of(4) { json!(["edge", "harbour"]) } else { json!(["core"]) },
        "agent": {"id": format!("agent-{number:06}"), "version": "9.6.0"}, "access_api_key_id": "k",
        "local_metadata": {
            "host": {"hostname": format!("web-{number:06}"), "name": format!("web-{number:06}"), "id": format!("{number:032x}"),
                     "architecture": "x86_64", "ip": ["127.0.0.1/8", "10.20.30.40/16", "fe80::1/64"], "mac": ["02:42:ac:11:00:02"]},
            "os": {"family": "debian", "full": "Debian GNU/Linux 12 (bookworm)", "kernel": "6.1.0-28-amd64", "platform": "debian",
                   "name": "Debian GNU/Linux", "version": "12"},
            "elastic": {"agent": {"id": format!("agent-{number:06}"), "version": "9.6.0", "snapshot": false, "upgradeable": true,
                                  "log_level": "info", "unprivileged": false, "build.original": "9.6.0 (build: 0)"}},
        },
        "components": [component("filestream-default"), component("system/metrics-default"), component("log-default")],
        "outputs": {"default": {"api_key_id": "k", "type": "elasticsearch", "permissions_hash": "0".repeat(64)}},
    })
}
