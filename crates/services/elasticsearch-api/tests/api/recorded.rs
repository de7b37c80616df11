//! Requests that a stock Fleet Server made, replayed in their order; the answers must hold the recorded fields with the
//! recorded values. Ids that a store makes up are learnt from its answers and put in place of the recorded ones.

use access::Secret;
use serde_json::{Value, json};

use crate::harness::{Reply, Server};

/// Differ from run to run or from engine to engine, and no client reads them. `agents`: the searches exclude it, the
/// recording's store left it in.
const VOLATILE: &[&str] = &["took", "creation", "_shards", "_score", "max_score", "agents"];

struct Replay {
    server: Server,
    /// Recorded text, ours.
    learnt: Vec<(String, String)>,
    /// The first key that was made: the agent's own.
    agent_key: Option<String>,
}

impl Replay {
    async fn start() -> Self {
        let server = Server::start().await;
        let secret = server
            .access
            .put_secret(&Secret::from("s3cret-from-store"))
            .await
            .unwrap();
        Self {
            server,
            learnt: vec![("seed-secret-1".to_owned(), secret)],
            agent_key: None,
        }
    }

    /// Replays the exchanges of one recording that `wanted` picks.
    async fn run(&mut self, recording: &str, wanted: impl Fn(&Value) -> bool) {
        let recording: Value = serde_json::from_str(recording).unwrap();
        for exchange in recording["exchanges"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|exchange| wanted(exchange))
        {
            let exchange = self.translated(exchange);
            self.seed(&exchange["response"]["body"]).await;
            let reply = self.send(&exchange["request"]).await;
            let name = format!("{} {}", exchange["request"]["method"], exchange["request"]["path"]);
            let expected = &exchange["response"];
            assert_eq!(
                json!(reply.status.as_u16()),
                expected["status"],
                "{name}: {}",
                reply.text()
            );
            self.learn(&expected["body"], &reply.json());
            let expected = self.translated(&expected["body"]);
            compare(&expected, &reply.json(), &name);
        }
    }

    fn translated(&self, value: &Value) -> Value {
        let text = self
            .learnt
            .iter()
            .fold(value.to_string(), |text, (recorded, ours)| text.replace(recorded, ours));
        serde_json::from_str(&text).unwrap()
    }

    /// Another program wrote the policies and actions that the recording finds.
    async fn seed(&self, body: &Value) {
        let mut hits = Vec::new();
        collect_hits(body, &mut hits);
        for hit in hits {
            let index = hit["_index"].as_str().unwrap();
            if index == ".fleet-policies" || index == ".fleet-actions" {
                let path = format!("/{index}/_create/{}?refresh=true", hit["_id"].as_str().unwrap());
                let reply = self.server.call("PUT", &path, hit["_source"].to_string()).await;
                assert!([201, 409].contains(&reply.status.as_u16()), "{}", reply.text());
            }
        }
    }

    async fn send(&self, request: &Value) -> Reply {
        let body = match &request["body"] {
            Value::String(text) => text.clone(),
            Value::Object(body) if body.contains_key("ndjson") => {
                let lines = body["ndjson"].as_array().unwrap();
                lines
                    .iter()
                    .flat_map(|line| [line.to_string(), "\n".to_owned()])
                    .collect()
            }
            body if request["path"].as_str().unwrap().starts_with("/_bulk") => format!("{body}\n"),
            body => body.to_string(),
        };
        let agent = format!("ApiKey {}", self.agent_key.as_deref().unwrap_or_default());
        let authorization = if request["as"] == "agent" {
            &agent
        } else {
            &self.server.fleet
        };
        let (method, path) = (request["method"].as_str().unwrap(), request["path"].as_str().unwrap());
        self.server.call_as(authorization, method, path, body).await
    }

    fn learn(&mut self, recorded: &Value, ours: &Value) {
        for field in ["id", "api_key", "encoded"] {
            if let (Some(recorded), Some(ours)) = (recorded[field].as_str(), ours[field].as_str())
                && recorded != ours
            {
                self.learnt.push((recorded.to_owned(), ours.to_owned()));
            }
        }
        if let Some(key) = ours["encoded"].as_str() {
            self.agent_key.get_or_insert_with(|| key.to_owned());
        }
    }
}

fn collect_hits<'a>(value: &'a Value, hits: &mut Vec<&'a Value>) {
    match value {
        Value::Object(map) if map.contains_key("_source") && map.contains_key("_id") => hits.push(value),
        Value::Object(map) => map.values().for_each(|inner| collect_hits(inner, hits)),
        Value::Array(list) => list.iter().for_each(|inner| collect_hits(inner, hits)),
        _ => {}
    }
}

/// Every recorded field is in the answer, with its value.
fn compare(expected: &Value, found: &Value, at: &str) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (key, value) in expected.iter().filter(|(key, _)| !VOLATILE.contains(&key.as_str())) {
                // The recording's store said it on top of single searches as well; Elasticsearch does so in `_msearch` only.
                if key == "status" && at.contains("/_fleet_search?") {
                    continue;
                }
                let other = found.get(key).unwrap_or_else(|| panic!("{at} lacks {key}: {found:?}"));
                compare(value, other, &format!("{at}.{key}"));
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            assert_eq!(expected.len(), found.len(), "{at}: {found:?}");
            for (place, (expected, found)) in expected.iter().zip(found).enumerate() {
                compare(expected, found, &format!("{at}[{place}]"));
            }
        }
        _ => assert_eq!(expected, found, "{at}"),
    }
}

fn all(_: &Value) -> bool {
    true
}

#[tokio::test]
async fn from_start_to_the_first_action() {
    let mut replay = Replay::start().await;
    // The recording starts with a policy that is there already.
    let start: Value = serde_json::from_str(include_str!("recorded/00-start.json")).unwrap();
    replay
        .seed(&replay.translated(&start["exchanges"][2]["response"]["body"]))
        .await;
    replay.run(include_str!("recorded/00-start.json"), all).await;
    replay.run(include_str!("recorded/03-enroll.json"), all).await;
    replay.run(include_str!("recorded/04-first-checkin.json"), all).await;
    replay.run(include_str!("recorded/05-ack-policy.json"), all).await;
    replay.run(include_str!("recorded/06-checkin-idle.json"), all).await;
    replay.run(include_str!("recorded/08-actions.json"), all).await;
}

#[tokio::test]
async fn a_policy_change_and_the_end() {
    let mut replay = Replay::start().await;
    let start: Value = serde_json::from_str(include_str!("recorded/00-start.json")).unwrap();
    replay
        .seed(&replay.translated(&start["exchanges"][2]["response"]["body"]))
        .await;
    for recording in [
        include_str!("recorded/03-enroll.json"),
        include_str!("recorded/04-first-checkin.json"),
    ] {
        replay.run(recording, all).await;
    }
    let change: Value = serde_json::from_str(include_str!("recorded/11-policy-change.json")).unwrap();
    replay
        .seed(&replay.translated(&change["exchanges"][5]["response"]["body"]))
        .await;
    // What other recordings did to the agent's document in between is not replayed.
    let on_keys_and_policies = |exchange: &Value| {
        let path = exchange["request"]["path"].as_str().unwrap();
        path.starts_with("/_security") || path.starts_with("/.fleet-policies") || path.starts_with("/_fleet/secret")
    };
    replay
        .run(include_str!("recorded/11-policy-change.json"), on_keys_and_policies)
        .await;
    let on_keys = |exchange: &Value| {
        let path = exchange["request"]["path"].as_str().unwrap();
        path == "/_security/api_key" || path.starts_with("/_fleet/secret")
    };
    replay.run(include_str!("recorded/19-unenroll.json"), on_keys).await;
    let agent = format!("ApiKey {}", replay.agent_key.unwrap());
    let refused = replay
        .server
        .call_as(&agent, "GET", "/_security/_authenticate", "")
        .await;
    assert_eq!(refused.status, 401, "the agent's key was revoked");
}
