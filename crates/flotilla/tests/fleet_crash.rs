//! kill -9 of the whole program with enrolments, check-ins, acknowledgements and policy edits in flight: everything that was
//! answered with 200 is there afterwards.
//!
//! `cargo xtask soak` runs a thousand rounds of it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::mpsc::{self, Sender};
use std::thread;

use serde_json::{Value, json};
use testkit::{Curl, Flotilla, soak_rounds};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const POLICY: &str = "/api/fleet/agent_policies/default-policy";
const CHECKIN: &str = r#"{"status": "online", "message": "Running", "poll_timeout": "1m"}"#;

/// What the server answered with 200.
#[derive(Clone, Debug)]
enum Answered {
    Enrolment(Agent),
    /// This agent runs that revision.
    Acknowledgement(String, i64),
    /// The default policy has that description, and that revision or a later one.
    Edit(String, i64),
}

#[derive(Clone, Debug)]
struct Agent {
    id: String,
    key: String,
}

#[test]
fn what_the_fleet_was_told_survives_kill_9_of_the_whole_program() {
    let mut flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    for round in 0..soak_rounds(20) {
        let answered = work_until_killed(&mut flotilla, round);
        flotilla.start_again();
        check(&flotilla, round, &answered);
    }
}

fn work_until_killed(flotilla: &mut Flotilla, round: usize) -> Vec<Answered> {
    let (tell, told) = mpsc::channel();
    let token = flotilla.text("/enrollment_token");
    let hosts = (0..3).map(|_| {
        let (server, token, tell) = (flotilla.fleet_server(), token.clone(), tell.clone());
        thread::spawn(move || while host(&server, &token, &tell).is_some() {})
    });
    let (console, editor) = (flotilla.console(), tell.clone());
    let editing = thread::spawn(move || {
        for edit in 0.. {
            if edit_policy(&console, &format!("edit {edit} of round {round}"), &editor).is_none() {
                return;
            }
        }
    });
    let workers: Vec<_> = hosts.chain([editing]).collect();
    drop(tell);
    // Another moment each round.
    let mut answered: Vec<Answered> = told.iter().take(1 + round % 17).collect();
    flotilla.kill();
    answered.extend(told.iter());
    for worker in workers {
        worker.join().unwrap();
    }
    answered
}

/// A host's first minute; `None` when the server is gone.
fn host(server: &Curl, token: &str, tell: &Sender<Answered>) -> Option<()> {
    let enrolment = r#"{"type": "PERMANENT", "metadata": {"local": {}, "user_provided": {}}}"#;
    let answer = post(server, token, "/api/fleet/agents/enroll", enrolment)?;
    let agent = Agent {
        id: answer.pointer("/item/id")?.as_str()?.to_owned(),
        key: answer.pointer("/item/access_api_key")?.as_str()?.to_owned(),
    };
    tell.send(Answered::Enrolment(agent.clone())).ok()?;
    let path = format!("/api/fleet/agents/{}", agent.id);
    let answer = post(server, &agent.key, &format!("{path}/checkin"), CHECKIN)?;
    let action = answer.pointer("/actions/0")?;
    let revision = action.pointer("/data/policy/revision")?.as_i64()?;
    let event = json!({"type": "ACTION_RESULT", "subtype": "ACKNOWLEDGED", "agent_id": agent.id, "action_id": action["id"], "message": ""});
    let events = json!({ "events": [event] }).to_string();
    let answer = post(server, &agent.key, &format!("{path}/acks"), &events)?;
    (answer["errors"] == false).then_some(())?;
    tell.send(Answered::Acknowledgement(agent.id, revision)).ok()
}

fn edit_policy(console: &Curl, description: &str, tell: &Sender<Answered>) -> Option<()> {
    let body = json!({"name": "Default policy", "namespace": "default", "description": description});
    let answer = console.put(POLICY, &body);
    let revision = answer.pointer("/item/revision")?.as_i64()?;
    tell.send(Answered::Edit(description.to_owned(), revision)).ok()
}

fn post(server: &Curl, key: &str, path: &str, body: &str) -> Option<Value> {
    let key = format!("Authorization: ApiKey {key}");
    let common = ["-X", "POST", "-f", "-H", &key, "-A", "Elastic Agent v9.6.0"];
    let answer = server.json(
        &[&common[..], &["-H", "Content-Type: application/json", "-d", body]].concat(),
        path,
    );
    (!answer.is_null()).then_some(answer)
}

/// Everything that was answered is there, and every agent's key opens its door.
fn check(flotilla: &Flotilla, round: usize, answered: &[Answered]) {
    let (store, server) = (flotilla.elasticsearch(), flotilla.fleet_server());
    let policy = flotilla.console().get(POLICY);
    for one in answered {
        match one {
            Answered::Enrolment(agent) => {
                let found = store.get(&format!("/.fleet-agents/_doc/{}", agent.id));
                assert_eq!(found["_source"]["active"], true, "round {round}: {agent:?} in {found}");
                let nothing = r#"{"events": []}"#;
                let answer = post(
                    &server,
                    &agent.key,
                    &format!("/api/fleet/agents/{}/acks", agent.id),
                    nothing,
                );
                assert!(answer.is_some(), "round {round}: the key of {agent:?} opens nothing");
            }
            Answered::Acknowledgement(id, revision) => {
                let found = store.get(&format!("/.fleet-agents/_doc/{id}"));
                let runs = found["_source"]["policy_revision_idx"].as_i64();
                assert_eq!(runs, Some(*revision), "round {round}: {found}");
            }
            Answered::Edit(description, revision) => {
                let now = policy.pointer("/item/revision").and_then(Value::as_i64);
                assert!(now >= Some(*revision), "round {round}: {description} in {policy}");
            }
        }
    }
}
