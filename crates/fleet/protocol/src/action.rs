//! Actions: what an agent is told to do.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::AgentId;

/// One action in a check-in's answer.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Action {
    /// The agent that it is for.
    #[serde(default)]
    pub agent_id: AgentId,
    /// RFC 3339.
    #[serde(default)]
    pub created_at: String,
    /// Differs by type; null for `UNENROLL`.
    #[serde(default)]
    pub data: Value,
    /// RFC 3339; not to be started later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<String>,
    /// What the acknowledgement names.
    #[serde(default)]
    pub id: String,
    /// Which input an `INPUT_ACTION` is for; else empty.
    #[serde(default)]
    pub input_type: String,
    /// Signature over `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedData>,
    /// RFC 3339; not to be started earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// Seconds that an input has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What to do.
    #[serde(rename = "type", default)]
    pub action_type: ActionType,
}

/// Data with its signature, both base64.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SignedData {
    /// What was signed.
    #[serde(default)]
    pub data: String,
    /// The signature.
    #[serde(default)]
    pub signature: String,
}

/// The types of action; unknown ones are kept by name.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "String", into = "String")]
pub enum ActionType {
    /// `{policy}`; made by the server.
    PolicyChange,
    /// `{policy_id}`.
    PolicyReassign,
    /// No data.
    Unenroll,
    /// `{version, source_uri?, rollback?}`.
    Upgrade,
    /// `{log_level}`.
    Settings,
    /// `{additional_metrics?, exclude_events_log?}` or null.
    RequestDiagnostics,
    /// Free, for the input named by `input_type`.
    InputAction,
    /// `{target_id}`.
    Cancel,
    /// `{target_uri, enrollment_token, settings}`.
    Migrate,
    /// `{unprivileged, user_info{username, password, groupname}}`.
    PrivilegeLevelChange,
    /// For the server only; agents never see it.
    UpdateTags,
    /// For the server only; agents never see it.
    ForceUnenroll,
    /// Anything else.
    Other(String),
    /// No type at all.
    #[default]
    Missing,
}

impl ActionType {
    /// The name on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::PolicyChange => "POLICY_CHANGE",
            Self::PolicyReassign => "POLICY_REASSIGN",
            Self::Unenroll => "UNENROLL",
            Self::Upgrade => "UPGRADE",
            Self::Settings => "SETTINGS",
            Self::RequestDiagnostics => "REQUEST_DIAGNOSTICS",
            Self::InputAction => "INPUT_ACTION",
            Self::Cancel => "CANCEL",
            Self::Migrate => "MIGRATE",
            Self::PrivilegeLevelChange => "PRIVILEGE_LEVEL_CHANGE",
            Self::UpdateTags => "UPDATE_TAGS",
            Self::ForceUnenroll => "FORCE_UNENROLL",
            Self::Other(name) => name,
            Self::Missing => "",
        }
    }

    /// The keys that agents know in `data`; others are dropped. `None`: `data` is free.
    pub fn data_keys(&self) -> Option<&'static [&'static str]> {
        match self {
            Self::PolicyChange => Some(&["policy"]),
            Self::PolicyReassign => Some(&["policy_id"]),
            Self::Upgrade => Some(&["rollback", "source_uri", "version"]),
            Self::Settings => Some(&["log_level"]),
            Self::RequestDiagnostics => Some(&["additional_metrics", "exclude_events_log"]),
            Self::Cancel => Some(&["target_id"]),
            Self::Migrate => Some(&["enrollment_token", "settings", "target_uri"]),
            Self::PrivilegeLevelChange => Some(&["unprivileged", "user_info"]),
            Self::Unenroll => Some(&[]),
            Self::InputAction | Self::UpdateTags | Self::ForceUnenroll | Self::Other(_) | Self::Missing => None,
        }
    }

    /// Whether an action document of this type is handed to agents.
    pub fn is_delivered(&self) -> bool {
        !matches!(
            self,
            Self::PolicyChange | Self::UpdateTags | Self::ForceUnenroll | Self::Other(_) | Self::Missing
        )
    }
}

impl From<String> for ActionType {
    fn from(name: String) -> Self {
        match name.as_str() {
            "POLICY_CHANGE" => Self::PolicyChange,
            "POLICY_REASSIGN" => Self::PolicyReassign,
            "UNENROLL" => Self::Unenroll,
            "UPGRADE" => Self::Upgrade,
            "SETTINGS" => Self::Settings,
            "REQUEST_DIAGNOSTICS" => Self::RequestDiagnostics,
            "INPUT_ACTION" => Self::InputAction,
            "CANCEL" => Self::Cancel,
            "MIGRATE" => Self::Migrate,
            "PRIVILEGE_LEVEL_CHANGE" => Self::PrivilegeLevelChange,
            "UPDATE_TAGS" => Self::UpdateTags,
            "FORCE_UNENROLL" => Self::ForceUnenroll,
            "" => Self::Missing,
            _ => Self::Other(name),
        }
    }
}

impl From<ActionType> for String {
    fn from(action_type: ActionType) -> Self {
        match action_type {
            ActionType::Other(name) => name,
            known => known.as_str().to_owned(),
        }
    }
}

impl fmt::Display for ActionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The id of a `POLICY_CHANGE`: `policy:<policy id>:<revision>`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyActionId {
    /// The policy.
    pub policy_id: crate::PolicyId,
    /// Its revision.
    pub revision: i64,
}

impl PolicyActionId {
    /// Reads `policy:<policy id>:<revision>[:<coordinator>]`; `None` for any other action id.
    pub fn parse(action_id: &str) -> Option<Self> {
        let (policy_id, numbers) = action_id.strip_prefix("policy:")?.split_once(':')?;
        let revision = numbers.split(':').next()?.parse().ok()?;
        Some(Self {
            policy_id: policy_id.into(),
            revision,
        })
    }
}

impl fmt::Display for PolicyActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy:{}:{}", self.policy_id, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_action_ids_are_told_from_others() {
        let check = |text: &str, expected: Option<(&str, i64)>| {
            let expected = expected.map(|(id, revision)| PolicyActionId {
                policy_id: id.into(),
                revision,
            });
            assert_eq!(PolicyActionId::parse(text), expected, "{text}");
        };
        check("policy:policy-1:3", Some(("policy-1", 3)));
        check("policy:policy-1:3:1", Some(("policy-1", 3)));
        check("policy:policy-1:x", None);
        check("policy:policy-1", None);
        check("82432e3b-1cf6-4799-9da8-378181150c61", None);
        assert_eq!(PolicyActionId::parse("policy:p:3").unwrap().to_string(), "policy:p:3");
    }

    #[test]
    fn every_action_type_survives_the_wire() {
        for name in ["POLICY_CHANGE", "UNENROLL", "MIGRATE", "UPDATE_TAGS", "BRAND_NEW", ""] {
            let read: ActionType = serde_json::from_value(Value::from(name)).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), Value::from(name));
        }
    }
}
