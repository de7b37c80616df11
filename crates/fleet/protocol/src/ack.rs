//! `POST /api/fleet/agents/{id}/acks`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an agent acknowledges.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct AckRequest {
    /// One for each action.
    #[serde(default)]
    pub events: Vec<AckEvent>,
}

/// What became of one action.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct AckEvent {
    /// `ACTION_RESULT`.
    #[serde(rename = "type", default)]
    pub event_type: String,
    /// `ACKNOWLEDGED`.
    #[serde(default)]
    pub subtype: String,
    /// The agent itself.
    #[serde(default)]
    pub agent_id: String,
    /// The action.
    #[serde(default)]
    pub action_id: String,
    /// In words.
    #[serde(default)]
    pub message: String,
    /// RFC 3339.
    #[serde(default)]
    pub timestamp: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Such as `{upload_id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// For a failed upgrade `{retry, retry_attempt}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// The input that handled an `INPUT_ACTION`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_input_type: Option<String>,
    /// What the input was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_data: Option<Value>,
    /// What the input answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_response: Option<Value>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
}

/// The answer; its HTTP status is the largest of the items'.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct AckResponse {
    /// `acks`.
    #[serde(default)]
    pub action: String,
    /// Whether an item is not 200.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub errors: bool,
    /// One for each event, in order; absent when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<AckItem>,
}

/// The answer to one event.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct AckItem {
    /// As HTTP has it.
    pub status: u16,
    /// The status in words.
    #[serde(default)]
    pub message: String,
}
