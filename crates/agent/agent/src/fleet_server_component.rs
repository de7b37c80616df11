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
        input["server"] = self.server.clone();
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
