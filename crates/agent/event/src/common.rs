//! The fields that every event of an agent has. Source: reference on agent data, common fields.

use serde_json::{Value, json};

use crate::document::DataStream;
use crate::fields::Fields;

/// What events say about the agent that made them.
#[derive(Clone, Debug)]
pub struct AgentMetadata {
    /// The Fleet agent id.
    pub id: String,
    /// New at each start of the process.
    pub ephemeral_id: String,
    /// The host's name.
    pub name: String,
    /// `9.2.0`.
    pub version: String,
    /// Whether this is a build between releases.
    pub snapshot: bool,
}

/// The version of the Elastic Common Schema that events name.
const ECS_VERSION: &str = "8.0.0";

impl AgentMetadata {
    /// `agent.*`, `elastic_agent.*`, `ecs.version` and `event.{dataset,module}`. `agent_type` is `filebeat` for files,
    /// journals and listeners, `metricbeat` for metrics.
    pub fn constants(&self, agent_type: &str, data_stream: &DataStream) -> Fields {
        let fields = json!({
            "agent": {
                "id": self.id, "ephemeral_id": self.ephemeral_id, "name": self.name,
                "type": agent_type, "version": self.version,
            },
            "elastic_agent": {"id": self.id, "version": self.version, "snapshot": self.snapshot},
            "ecs": {"version": ECS_VERSION},
            "event": {"dataset": data_stream.dataset},
        });
        match fields {
            Value::Object(fields) => fields,
            _ => Fields::new(),
        }
    }
}
