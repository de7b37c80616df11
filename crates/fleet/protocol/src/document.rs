//! The `.fleet-*` documents. Times are RFC 3339 texts. Fields that this version does not know stay in `other`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{ActionType, AgentId, ApiKeyId, PolicyId, SignedData};

/// A document of `.fleet-agents`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct AgentDocument {
    /// `PERMANENT`.
    #[serde(rename = "type", default)]
    pub agent_type: String,
    /// False once it is unenrolled.
    #[serde(default)]
    pub active: bool,
    /// When it enrolled.
    #[serde(default)]
    pub enrolled_at: String,
    /// The policy that it should run.
    #[serde(default)]
    pub policy_id: PolicyId,
    /// `policy_id` up to `#`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_base_id: Option<String>,
    /// Spaces that it belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub namespaces: Vec<String>,
    /// Sorted, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub tags: Vec<String>,
    /// Its access key.
    #[serde(default)]
    pub access_api_key_id: ApiKeyId,
    /// Makes its enrolment idempotent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrollment_id: Option<String>,
    /// PBKDF2 hash of what allows another host to take over its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_token: Option<String>,
    /// Sequence number of the last action that it received; `[-1]` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_seq_no: Option<Vec<i64>>,
    /// Id and version once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentReference>,
    /// Host, operating system, agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_metadata: Option<Value>,
    /// What it runs and how that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<Value>,
    /// When it was last heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_checkin: Option<String>,
    /// What it said: `online`, `degraded`, `error`, `starting`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_checkin_status: Option<String>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_checkin_message: Option<String>,
    /// `input`, `output`, `other`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy_reason: Option<Vec<String>>,
    /// When the document last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// The policy that it says it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_policy_id: Option<PolicyId>,
    /// The revision that it acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_revision_idx: Option<i64>,
    /// Its key for each output.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub outputs: BTreeMap<String, AgentOutput>,
    /// `{rollbacks: [..]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Value>,
    /// How far an upgrade is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade_details: Option<Value>,
    /// Since when it upgrades.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade_started_at: Option<String>,
    /// When it last upgraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgraded_at: Option<String>,
    /// Since when it is asked to unenrol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unenrollment_started_at: Option<String>,
    /// When it unenrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unenrolled_at: Option<String>,
    /// `manual` or `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unenrolled_reason: Option<String>,
    /// When it said that it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_unenrolled_time: Option<String>,
    /// Why it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_unenrolled_reason: Option<String>,
    /// What else is in the document.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl AgentDocument {
    /// The sequence number of the last action that it received; -1 for none.
    pub fn last_action_seq_no(&self) -> i64 {
        self.action_seq_no
            .as_ref()
            .and_then(|numbers| numbers.first())
            .copied()
            .unwrap_or(-1)
    }
}

/// `agent` of an agent document.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct AgentReference {
    /// The agent's id.
    #[serde(default)]
    pub id: AgentId,
    /// The agent's version.
    #[serde(default)]
    pub version: String,
    /// Set by `OpAMP` clients only.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
}

/// An agent's key for one output.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct AgentOutput {
    /// The output's type.
    #[serde(rename = "type", default)]
    pub output_type: String,
    /// Reference to the secret that holds `id:key`.
    #[serde(default)]
    pub api_key: String,
    /// Public half.
    #[serde(default)]
    pub api_key_id: ApiKeyId,
    /// Hash of the permissions that the key has.
    #[serde(default)]
    pub permissions_hash: String,
    /// Keys to be invalidated once the agent has the new one.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub to_retire_api_key_ids: Vec<RetiredApiKey>,
}

/// A key on its way out.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct RetiredApiKey {
    /// Public half.
    pub id: ApiKeyId,
    /// When it was replaced.
    #[serde(default)]
    pub retired_at: String,
    /// The remote output where it lives; empty: the main store.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// The secret that holds it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub secret_id: String,
}

/// A document of `.fleet-policies`: one revision of a policy.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct PolicyDocument {
    /// When it was made.
    #[serde(rename = "@timestamp", default)]
    pub timestamp: String,
    /// The policy.
    pub policy_id: PolicyId,
    /// Rises with each change.
    #[serde(default)]
    pub revision_idx: i64,
    /// Always 0 in our time.
    #[serde(default)]
    pub coordinator_idx: i64,
    /// Spaces that it belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub namespaces: Vec<String>,
    /// Whether it is for hosts that run a Fleet Server.
    #[serde(default)]
    pub default_fleet_server: bool,
    /// Seconds of silence after which an agent is unenrolled; 0: never.
    #[serde(default)]
    pub unenroll_timeout: i64,
    /// What the agent gets.
    #[serde(default)]
    pub data: PolicyData,
    /// What else is in the document.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// `data` of a policy document: everything that the agent gets, secrets still references.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub struct PolicyData(pub Map<String, Value>);

/// `{id}` of a secret that a policy refers to.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SecretReference {
    /// The secret.
    pub id: String,
}

/// A document of `.fleet-actions`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ActionDocument {
    /// When it was made.
    #[serde(rename = "@timestamp", default)]
    pub timestamp: String,
    /// What acknowledgements name.
    #[serde(default)]
    pub action_id: String,
    /// What to do.
    #[serde(rename = "type", default)]
    pub action_type: ActionType,
    /// The input that an `INPUT_ACTION` is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_type: Option<String>,
    /// Whom it is for.
    #[serde(default, deserialize_with = "null_is_default")]
    pub agents: Vec<AgentId>,
    /// Differs by type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// Not delivered later, nor when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<String>,
    /// Not started earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_execution_duration: Option<i64>,
    /// Seconds over which `start_time` is spread over the agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout_duration_seconds: Option<i64>,
    /// Seconds that an input has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// Who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Spaces that it belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub namespaces: Vec<String>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Signature over `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedData>,
    /// Secrets that `data` refers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub secret_references: Vec<SecretReference>,
    /// What else is in the document.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A document of `.fleet-actions-results`, `_id` = `<action id>:<agent id>`, or an [outcome](Self::UPGRADE_OUTCOME).
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ActionResultDocument {
    /// The action.
    pub action_id: String,
    /// The agent.
    pub agent_id: AgentId,
    /// Spaces that it belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub namespaces: Vec<String>,
    /// When it was acknowledged.
    #[serde(rename = "@timestamp", default)]
    pub timestamp: String,
    /// The input that handled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_input_type: Option<String>,
    /// What the input was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_data: Option<Value>,
    /// What the input answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_response: Option<Value>,
    /// Such as `{upload_id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
}

impl ActionResultDocument {
    /// The `action_input_type` of a second result, `_id` = `<action id>:<agent id>:outcome`: how an upgrade ended badly that
    /// the agent had acknowledged when it took it.
    pub const UPGRADE_OUTCOME: &'static str = "upgrade_outcome";
}

/// A document of `.fleet-enrollment-api-keys`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct EnrollmentApiKeyDocument {
    /// False once revoked.
    #[serde(default)]
    pub active: bool,
    /// Public half.
    pub api_key_id: ApiKeyId,
    /// Base64 of `id:key`; whoever reads it may enrol.
    #[serde(default)]
    pub api_key: String,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// The policy that agents get.
    #[serde(default)]
    pub policy_id: PolicyId,
    /// Spaces that it belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub namespaces: Vec<String>,
    /// When it was made.
    #[serde(default)]
    pub created_at: String,
    /// When it last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// Not valid later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_at: Option<String>,
    /// How many agents may enrol with it; none: any number. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_limit: Option<u64>,
    /// How many did, while a limit was set. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_count: Option<u64>,
    /// Addresses and networks (`10.0.0.0/8`) that may use it; empty: all. Ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub allowed_addresses: Vec<String>,
    /// What else is in the document.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A document of `.fleet-enrollment-api-keys-uses`: one enrolment.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct EnrollmentUseDocument {
    /// When.
    #[serde(rename = "@timestamp", default)]
    pub timestamp: String,
    /// `_id` of the enrollment key document.
    #[serde(default)]
    pub enrollment_key_id: String,
    /// Public half of the token.
    #[serde(default)]
    pub api_key_id: ApiKeyId,
    /// The new agent.
    #[serde(default)]
    pub agent_id: AgentId,
    /// The policy that it got.
    #[serde(default)]
    pub policy_id: PolicyId,
    /// Where it connected from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
}

/// A document of `.fleet-artifacts`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ArtifactDocument {
    /// Its name.
    pub identifier: String,
    /// `none` or `zlib`.
    #[serde(default)]
    pub compression_algorithm: String,
    /// `none`.
    #[serde(default)]
    pub encryption_algorithm: String,
    /// SHA-256 of the body as it is stored.
    #[serde(default)]
    pub encoded_sha256: String,
    /// In bytes.
    #[serde(default)]
    pub encoded_size: u64,
    /// SHA-256 of the content.
    #[serde(default)]
    pub decoded_sha256: String,
    /// In bytes.
    #[serde(default)]
    pub decoded_size: u64,
    /// When it was made.
    #[serde(default)]
    pub created: String,
    /// Base64.
    #[serde(default)]
    pub body: String,
    /// The package that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package_name: Option<String>,
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_agent_document_keeps_what_it_does_not_know() {
        let source = json!({
            "type": "PERMANENT", "active": true, "enrolled_at": "2026-11-22T01:31:23Z", "policy_id": "policy-1",
            "access_api_key_id": "k", "action_seq_no": [7], "tags": null, "upgrade_attempts": null, "newer": {"a": 1}
        });
        let document: AgentDocument = serde_json::from_value(source).unwrap();
        assert_eq!(document.last_action_seq_no(), 7);
        let written = serde_json::to_value(&document).unwrap();
        assert_eq!((&written["newer"], written.get("tags")), (&json!({"a": 1}), None));
    }

    #[test]
    fn an_agent_without_actions_is_at_minus_one() {
        assert_eq!(AgentDocument::default().last_action_seq_no(), -1);
    }
}
