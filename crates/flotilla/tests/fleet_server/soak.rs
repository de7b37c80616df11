//! kill -9 at any moment: what was answered 2xx is there afterwards.
//!
//! `FLOTILLA_SOAK_ROUNDS` is the number of kills.

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use testkit::Flotilla;
use tls::{ClientTls, LoadOptions, SslSettings};
use tokio::runtime::Runtime;
use transport::{HeaderMap, HttpClient, HttpClientSettings, read_body};

use crate::FLOTILLA;

const WORKERS: usize = 4;

/// Something that was answered with 2xx.
enum Answered {
    Enrolled { agent_id: String },
    Acknowledged { agent_id: String, revision: u64 },
    Edited { revision: u64 },
}

#[test]
fn nothing_that_was_answered_is_lost() {
    let mut flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    let mut newest = 0;
    for round in 0..testkit::soak_rounds(20) {
        let mut agents: BTreeMap<String, u64> = BTreeMap::new();
        let (sender, answers) = channel();
        let clients = clients(&flotilla, &sender);
        let editor = editor(&flotilla, sender);
        // Killed after so many answers, which is another moment each time.
        let mut note = |answered| match answered {
            Answered::Enrolled { agent_id } => {
                agents.entry(agent_id).or_insert(0);
            }
            Answered::Acknowledged { agent_id, revision } => {
                agents.insert(agent_id, revision);
            }
            Answered::Edited { revision } => newest = newest.max(revision),
        };
        for answered in answers.iter().take(5 + round * 7 % 40) {
            note(answered);
        }
        flotilla.kill();
        // What was on its way counts as well; whoever gets no answer ends.
        answers.iter().for_each(&mut note);
        for thread in clients.into_iter().chain([editor]) {
            thread.join().unwrap();
        }
        flotilla.start_again();
        everything_is_there(&flotilla, &agents, newest, round);
        all.extend(agents);
    }
    everything_is_there(&flotilla, &all, newest, usize::MAX);
    assert!(all.values().any(|revision| *revision > 0), "no policy was acknowledged");
    assert!(newest > 0, "no policy was edited");
}

fn everything_is_there(flotilla: &Flotilla, agents: &BTreeMap<String, u64>, newest: u64, round: usize) {
    let policy = flotilla.console().get("/api/fleet/agent_policies/default-policy");
    assert!(
        policy["item"]["revision"].as_u64() >= Some(newest),
        "round {round}: {policy}"
    );
    let agents: Vec<(&String, &u64)> = agents.iter().collect();
    for some in agents.chunks(1_000) {
        these_are_there(flotilla, some, round);
    }
}

fn these_are_there(flotilla: &Flotilla, agents: &[(&String, &u64)], round: usize) {
    let ids: Vec<&String> = agents.iter().map(|(agent_id, _)| *agent_id).collect();
    let search = json!({"size": 1_000, "query": {"ids": {"values": ids}}, "_source": ["policy_revision_idx"]});
    let found = flotilla.elasticsearch().post("/.fleet-agents/_search", &search);
    let found: BTreeMap<&str, &Value> = found["hits"]["hits"]
        .as_array()
        .unwrap_or_else(|| panic!("round {round}: {found}"))
        .iter()
        .map(|hit| (hit["_id"].as_str().unwrap(), &hit["_source"]))
        .collect();
    for (agent_id, revision) in agents {
        let document = found
            .get(agent_id.as_str())
            .unwrap_or_else(|| panic!("round {round}: agent {agent_id} is gone"));
        let runs = document["policy_revision_idx"].as_u64().unwrap_or(0);
        assert!(
            runs >= **revision,
            "round {round}: {agent_id} acknowledged {revision}, and {runs} is stored"
        );
    }
}

/// Agents that enrol, check in and acknowledge, over and over, until there is no answer.
fn clients(flotilla: &Flotilla, sender: &Sender<Answered>) -> Vec<JoinHandle<()>> {
    let client = || {
        let (client, sender) = (Client::new(flotilla), sender.clone());
        std::thread::spawn(move || {
            let runtime = Runtime::new().unwrap();
            while runtime.block_on(client.life(&sender)).is_some() {}
        })
    };
    (0..WORKERS).map(|_| client()).collect()
}

fn editor(flotilla: &Flotilla, sender: Sender<Answered>) -> JoinHandle<()> {
    let console = flotilla.console();
    std::thread::spawn(move || {
        for edit in 0.. {
            let body = json!({"name": "Default policy", "namespace": "default", "description": format!("edit {edit}")});
            let changed = console.put("/api/fleet/agent_policies/default-policy", &body);
            let Some(revision) = changed["item"]["revision"].as_u64() else {
                return;
            };
            if sender.send(Answered::Edited { revision }).is_err() {
                return;
            }
        }
    })
}

struct Client {
    base: String,
    token: String,
    ca: String,
}

impl Client {
    fn new(flotilla: &Flotilla) -> Self {
        Self {
            base: flotilla.text("/urls/fleet_server"),
            token: flotilla.text("/enrollment_token"),
            ca: flotilla.text("/ca/path"),
        }
    }

    /// One agent's first minutes; `None` when an answer did not come.
    async fn life(&self, sender: &Sender<Answered>) -> Option<()> {
        let http = self.http();
        let enrolment = json!({"type": "PERMANENT", "metadata": {"local": {}, "user_provided": {}, "tags": []}});
        let enrolled = self
            .post(&http, "/api/fleet/agents/enroll", &self.token, &enrolment)
            .await?;
        let text = |field: &str| enrolled["item"][field].as_str().map(str::to_owned);
        let (agent_id, key) = (text("id")?, text("access_api_key")?);
        sender
            .send(Answered::Enrolled {
                agent_id: agent_id.clone(),
            })
            .ok()?;
        let path = format!("/api/fleet/agents/{agent_id}/checkin");
        let checked_in = self
            .post(&http, &path, &key, &json!({"status": "online", "message": ""}))
            .await?;
        let action_id = checked_in["actions"][0]["id"].as_str()?.to_owned();
        let revision = action_id.rsplit_once(':')?.1.parse().ok()?;
        let path = format!("/api/fleet/agents/{agent_id}/acks");
        let event = json!({
            "type": "ACTION_RESULT", "subtype": "ACKNOWLEDGED", "agent_id": agent_id, "action_id": action_id,
            "message": "", "timestamp": "2026-01-01T00:00:00Z",
        });
        self.post(&http, &path, &key, &json!({"events": [event]})).await?;
        sender.send(Answered::Acknowledged { agent_id, revision }).ok()
    }

    fn http(&self) -> HttpClient {
        let ssl = SslSettings::from_value(&json!({"certificate_authorities": [self.ca]})).unwrap();
        HttpClient::new(HttpClientSettings {
            tls: ClientTls::load(&ssl, LoadOptions::named("soak")).unwrap(),
            proxy: None,
            connect_timeout: Duration::from_secs(10),
            headers: HeaderMap::new(),
            connect_to: None,
        })
    }

    /// The body of an answer with a 2xx.
    async fn post(&self, http: &HttpClient, path: &str, key: &str, body: &Value) -> Option<Value> {
        let request = http::Request::post(format!("{}{path}", self.base))
            .header("Authorization", format!("ApiKey {key}"))
            .header("User-Agent", "Elastic Agent v9.6.0")
            .header("Content-Type", "application/json")
            .body(Bytes::from(body.to_string()))
            .ok()?;
        let answer = http.send(request).await.ok()?;
        let is_success = answer.status().is_success();
        let body = read_body(answer.into_body(), 1 << 20).await.ok()?;
        is_success.then(|| serde_json::from_slice(&body).ok())?
    }
}
