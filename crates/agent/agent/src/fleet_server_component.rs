//! The seam for a Fleet Server that runs under this agent: the agent says when and with what, the binary brings the server.
//!
//! Source of the unit's shape: the original hands its component the policy's output with the enrolment's
//! `fleet.server.output.elasticsearch` under the key `bootstrap`, and the policy's input with `fleet.server` under `server`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use event::Reporter;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The type of input that stands for a Fleet Server in a policy.
pub(crate) const INPUT_TYPE: &str = "fleet-server";

/// A Fleet Server that an agent can run.
#[async_trait]
pub trait FleetServerComponent: fmt::Debug + Send + Sync + 'static {
    /// Runs until `stop`, telling its health through `reporter`.
    async fn run(&self, unit: FleetServerUnit, reporter: Reporter, stop: CancellationToken);
}

/// What a Fleet Server is to run with.
#[derive(Clone, Debug)]
pub struct FleetServerUnit {
    /// The policy's input, with `server` (address, TLS) and `policy` of the enrolment.
    pub input: Value,
    /// The policy's output without its API key, with `bootstrap`: what the enrolment said of Elasticsearch.
    pub output: Value,
    /// The agent that it runs under.
    pub agent_id: String,
    /// The agent's version.
    pub version: String,
}

/// A component and what the enrolment said about it.
#[derive(Clone, Debug)]
pub(crate) struct FleetServerSeat {
    pub(crate) component: Arc<dyn FleetServerComponent>,
    /// `fleet.server`.
    pub(crate) server: Value,
    pub(crate) agent_id: String,
    pub(crate) version: String,
}

impl FleetServerSeat {
    pub(crate) fn unit(&self, input: &Value, output: &Value) -> FleetServerUnit {
        let mut input = input.clone();
        let mut server = input.get("server").cloned().unwrap_or_else(|| json!({}));
        merge(&mut server, &self.server);
        input["server"] = server;
        input["policy"] = self.server.get("policy").cloned().unwrap_or_else(|| json!({}));
        let mut output = output.clone();
        if let Value::Object(output) = &mut output {
            output.shift_remove("api_key");
            let bootstrap = self
                .server
                .pointer("/output/elasticsearch")
                .cloned()
                .unwrap_or_else(|| json!({}));
            output.insert("bootstrap".to_owned(), bootstrap);
        }
        FleetServerUnit {
            input,
            output,
            agent_id: self.agent_id.clone(),
            version: self.version.clone(),
        }
    }
}

/// `over` wins, group by group.
fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

/// The policy with a Fleet Server in it. An agent that was enrolled for one keeps it running under any policy, and before
/// it has one: the next policy can only come through it.
pub(crate) fn with_server_input(policy: &Value) -> Value {
    let mut policy = policy.clone();
    let inputs = policy.get("inputs").and_then(Value::as_array);
    let is_server = |input: &Value| input["type"] == INPUT_TYPE && input["enabled"] != false;
    if inputs.is_some_and(|inputs| inputs.iter().any(is_server)) {
        return policy;
    }
    let outputs = policy.get("outputs").and_then(Value::as_object);
    let output = match outputs {
        Some(outputs) if !outputs.is_empty() && !outputs.contains_key("default") => outputs.keys().next().cloned(),
        _ => None,
    };
    let input = json!({"id": INPUT_TYPE, "type": INPUT_TYPE, "use_output": output.as_deref().unwrap_or("default")});
    if outputs.is_none_or(serde_json::Map::is_empty) {
        policy["outputs"] = json!({"default": {"type": "elasticsearch"}});
    }
    match policy.get_mut("inputs") {
        Some(Value::Array(inputs)) => inputs.push(input),
        _ => policy["inputs"] = json!([input]),
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_runs_under_any_policy() {
        let check =
            |policy: Value, expected: Value| assert_eq!(with_server_input(&policy)["inputs"], expected, "{policy}");
        let added = |output: &str| json!({"id": INPUT_TYPE, "type": INPUT_TYPE, "use_output": output});
        check(json!({}), json!([added("default")]));
        check(json!({"inputs": [], "outputs": {"other": {}}}), json!([added("other")]));
        let own = json!([{"id": "fs", "type": INPUT_TYPE}]);
        check(json!({"inputs": own}), own);
        let disabled = json!({"id": "fs", "type": INPUT_TYPE, "enabled": false});
        check(json!({"inputs": [disabled]}), json!([disabled, added("default")]));
    }

    #[test]
    fn the_enrolment_wins_and_the_policy_fills() {
        let mut server = json!({"limits": {"max_agents": 5}, "port": 1});
        merge(&mut server, &json!({"port": 2, "ssl": {"key": "k"}}));
        assert_eq!(
            server,
            json!({"limits": {"max_agents": 5}, "port": 2, "ssl": {"key": "k"}})
        );
    }
}
