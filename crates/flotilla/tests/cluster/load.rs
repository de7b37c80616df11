//! People, shippers and agents that go on while processes and nodes are killed, and remember what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;

use serde_json::{Value, json};

use crate::set::{JSON, Set};

/// Documents of one bulk request.
const DOCUMENTS: usize = 10;
/// Above all numbers of requests of one shipper.
const APART: usize = 1_000_000;
/// As many as a `terms` aggregation gives.
const MOST_REQUESTS: usize = 9_000;

/// What the clients were told is done.
#[derive(Default)]
pub(crate) struct Acknowledged {
    requests: Vec<usize>,
    agents: Vec<String>,
    policies: Vec<String>,
}

/// Runs `disturb` while clients work, and checks afterwards that all is there that was acknowledged.
pub(crate) fn nothing_is_lost(set: &Set, disturb: impl FnOnce()) {
    let token = enrollment_token(set, "under load");
    let over = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| {
        let workers = start(scope, set, &token, &over);
        let ends = EndsWork(&over);
        disturb();
        drop(ends);
        workers.into_iter().fold(Acknowledged::default(), |mut all, worker| {
            let done = worker.join().unwrap();
            all.requests.extend(done.requests);
            all.agents.extend(done.agents);
            all.policies.extend(done.policies);
            all
        })
    });
    let Acknowledged {
        requests,
        agents,
        policies,
    } = acknowledged;
    eprintln!(
        "acknowledged: {} requests of {DOCUMENTS} documents, {} enrolments, {} policies",
        requests.len(),
        agents.len(),
        policies.len()
    );
    assert!(!requests.is_empty() && !agents.is_empty() && !policies.is_empty());
    check_documents(set, &requests);
    check_agents(set, &agents);
    let [api, _] = set.apis;
    for id in policies {
        set.done(set.console, &format!("/api/fleet/agent_policies/{id}"), &[]);
    }
    set.done(api, "/_cluster/health", &[]);
}

/// Also when something fails between: a scope waits for its threads.
struct EndsWork<'a>(&'a AtomicBool);

impl Drop for EndsWork<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A token with which agents enrol in the first policy.
pub(crate) fn enrollment_token(set: &Set, policy: &str) -> String {
    let policy = json!({"name": policy, "namespace": "default", "monitoring_enabled": ["logs", "metrics"]}).to_string();
    let made = set.done(
        set.console,
        "/api/fleet/agent_policies",
        &[&JSON[..], &["-d", &policy]].concat(),
    );
    let key = json!({"policy_id": made["item"]["id"]}).to_string();
    let made = set.done(
        set.console,
        "/api/fleet/enrollment_api_keys",
        &[&JSON[..], &["-d", &key]].concat(),
    );
    made["item"]["api_key"].as_str().unwrap().to_owned()
}

fn start<'scope, 'env: 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    set: &'env Set,
    token: &'env str,
    over: &'env AtomicBool,
) -> Vec<std::thread::ScopedJoinHandle<'scope, Acknowledged>> {
    vec![
        scope.spawn(|| ship(set, 0, over)),
        scope.spawn(|| ship(set, 1, over)),
        scope.spawn(|| enrol(set, token, over)),
        scope.spawn(|| make_policies(set, over)),
    ]
}

/// Sends documents, each request to the other API when one does not answer.
fn ship(set: &Set, shipper: usize, over: &AtomicBool) -> Acknowledged {
    let mut done = Acknowledged::default();
    for number in 0..MOST_REQUESTS / 2 {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let request = shipper * APART + number;
        let mut lines = String::new();
        for _ in 0..DOCUMENTS {
            let document = json!({"@timestamp": "2026-01-01T00:00:00Z", "request": request});
            writeln!(
                lines,
                "{{\"create\":{{\"_index\":\"logs-cluster-default\"}}}}\n{document}"
            )
            .unwrap();
        }
        let body = ["-H", "content-type: application/x-ndjson", "--data-binary", &lines];
        let Some((200, answer)) = set.ask(set.apis[(number + shipper) % 2], "/_bulk", &body) else {
            continue;
        };
        let items = answer["items"].as_array().unwrap();
        assert_eq!(items.len(), DOCUMENTS, "{answer}");
        if items.iter().all(|item| item["create"]["status"] == 201) {
            done.requests.push(request);
        }
    }
    done
}

/// Enrols an agent; `None` when that was not acknowledged.
pub(crate) fn enrol_one(set: &Set, port: u16, token: &str) -> Option<Value> {
    let key = format!("authorization: ApiKey {token}");
    let body = json!({"type": "PERMANENT", "metadata": {"local": {"host": {"hostname": "h"}}, "user_provided": {}}})
        .to_string();
    let more = [&JSON[..], &["-A", "elastic agent 9.6.0", "-H", &key, "-d", &body]].concat();
    match set.call(port, "/api/fleet/agents/enroll", &more)? {
        (200, answer) => Some(answer["item"].clone()),
        (status, answer) => {
            eprintln!("enrolment: {status} {answer}");
            None
        }
    }
}

fn enrol(set: &Set, token: &str, over: &AtomicBool) -> Acknowledged {
    let mut done = Acknowledged::default();
    let mut ports = set.fleet_servers.iter().cycle();
    while !over.load(Ordering::Relaxed) {
        let port = *ports.next().unwrap();
        done.agents
            .extend(enrol_one(set, port, token).map(|item| item["id"].as_str().unwrap().to_owned()));
    }
    done
}

fn make_policies(set: &Set, over: &AtomicBool) -> Acknowledged {
    let mut done = Acknowledged::default();
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        number += 1;
        let body = json!({"name": format!("policy {number}"), "namespace": "default"}).to_string();
        let more = [&JSON[..], &["-d", &body]].concat();
        if let Some((200, answer)) = set.ask(set.console, "/api/fleet/agent_policies", &more) {
            done.policies.push(answer["item"]["id"].as_str().unwrap().to_owned());
        }
    }
    done
}

fn check_documents(set: &Set, requests: &[usize]) {
    let [api, _] = set.apis;
    set.done(api, "/logs-cluster-default/_refresh", &["-X", "POST"]);
    let body = json!({"size": 0, "aggs": {"n": {"terms": {"field": "request", "size": 10_000}}}}).to_string();
    let found = set.done(
        api,
        "/logs-cluster-default/_search",
        &[&JSON[..], &["-d", &body]].concat(),
    );
    let number = |bucket: &Value, field: &str| usize::try_from(bucket[field].as_u64().unwrap()).unwrap();
    let kept: BTreeMap<usize, usize> = found["aggregations"]["n"]["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bucket| (number(bucket, "key"), number(bucket, "doc_count")))
        .collect();
    let wrong: Vec<_> = requests
        .iter()
        .filter(|request| kept.get(request) != Some(&DOCUMENTS))
        .collect();
    assert!(
        wrong.is_empty(),
        "of {} requests these are not whole: {wrong:?}",
        requests.len()
    );
}

fn check_agents(set: &Set, agents: &[String]) {
    let [api, _] = set.apis;
    set.done(api, "/.fleet-agents/_refresh", &["-X", "POST"]);
    let body = json!({"query": {"ids": {"values": agents}}, "size": 10_000, "_source": false}).to_string();
    let found = set.done(api, "/.fleet-agents/_search", &[&JSON[..], &["-d", &body]].concat());
    let kept: BTreeSet<&str> = found["hits"]["hits"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|hit| hit["_id"].as_str())
        .collect();
    let lost: Vec<_> = agents.iter().filter(|id| !kept.contains(id.as_str())).collect();
    assert!(lost.is_empty(), "lost enrolments: {lost:?}");
}
