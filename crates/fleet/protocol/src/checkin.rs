//! `POST /api/fleet/agents/{id}/checkin`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::{Action, PolicyId};

/// What an agent reports and with what it asks for news. Unknown fields are ignored.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct CheckinRequest {
    /// `online`, `degraded`, `error` or `starting`; required, stored as it is.
    #[serde(default)]
    pub status: String,
    /// In words.
    #[serde(default)]
    pub message: String,
    /// The last one received; empty, null or unknown: the server goes by what it has stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_token: Option<String>,
    /// Host, operating system, agent: stored when it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_metadata: Option<Box<RawValue>>,
    /// A list of [`Component`]; stored when it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<Box<RawValue>>,
    /// How long the agent is willing to wait, as Go writes it (`5m`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_timeout: Option<String>,
    /// The policy that the agent runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_policy_id: Option<PolicyId>,
    /// Its revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_revision_idx: Option<i64>,
    /// An [`UpgradeDetails`]; absent or null: no upgrade is going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade_details: Option<Box<RawValue>>,
    /// What the agent could go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeReport>,
}

/// `upgrade` of a check-in.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct UpgradeReport {
    /// `[{version, valid_until}]`; stored when it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollbacks: Option<Box<RawValue>>,
}

/// One component that an agent runs.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Component {
    /// `<input type>-<output name>`.
    pub id: String,
    /// The input's type.
    #[serde(rename = "type", default)]
    pub component_type: String,
    /// `HEALTHY`, `DEGRADED`, `FAILED`, `STARTING` ..
    #[serde(default)]
    pub status: String,
    /// In words.
    #[serde(default)]
    pub message: String,
    /// Its inputs and its output.
    #[serde(default)]
    pub units: Option<Vec<Unit>>,
}

/// One input or output of a component.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Unit {
    /// `<component id>-<input id>`, or the component's id for its output.
    pub id: String,
    /// `input` or `output`.
    #[serde(rename = "type", default)]
    pub unit_type: String,
    /// As the component's.
    #[serde(default)]
    pub status: String,
    /// In words.
    #[serde(default)]
    pub message: String,
    /// Free JSON, such as the state of each stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
}

/// Which kinds of unit are degraded or failed: `input`, `output`, or `other` for a component without such a unit.
/// `None` when all is well. Source: `unhealthy_reason` of the agent document.
pub fn unhealthy_reason(components: &[Component]) -> Option<Vec<&'static str>> {
    let is_bad = |status: &str| matches!(status, "FAILED" | "DEGRADED");
    let mut reasons = Vec::new();
    let mut note = |reason| {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    };
    for component in components.iter().filter(|component| is_bad(&component.status)) {
        let mut explained = false;
        for unit in component.units.iter().flatten().filter(|unit| is_bad(&unit.status)) {
            let reason = match unit.unit_type.as_str() {
                "input" => "input",
                "output" => "output",
                _ => continue,
            };
            explained = true;
            note(reason);
        }
        if !explained {
            note("other");
        }
    }
    (!reasons.is_empty()).then_some(reasons)
}

/// How far an upgrade is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct UpgradeDetails {
    /// The version that the agent goes to.
    #[serde(default)]
    pub target_version: String,
    /// The action that asked for it.
    #[serde(default)]
    pub action_id: String,
    /// Where it is.
    pub state: UpgradeState,
    /// Differs by state; see [`UpgradeState`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
}

/// Where an upgrade is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum UpgradeState {
    /// The agent has the action.
    #[serde(rename = "UPG_REQUESTED")]
    Requested,
    /// It waits; metadata `scheduled_at`.
    #[serde(rename = "UPG_SCHEDULED")]
    Scheduled,
    /// It fetches; metadata `download_percent`, `download_rate`, `retry_error_msg`, `retry_until`.
    #[serde(rename = "UPG_DOWNLOADING")]
    Downloading,
    /// It unpacks.
    #[serde(rename = "UPG_EXTRACTING")]
    Extracting,
    /// It swaps the program.
    #[serde(rename = "UPG_REPLACING")]
    Replacing,
    /// It starts anew.
    #[serde(rename = "UPG_RESTARTING")]
    Restarting,
    /// The new one runs on probation.
    #[serde(rename = "UPG_WATCHING")]
    Watching,
    /// It went back.
    #[serde(rename = "UPG_ROLLBACK")]
    Rollback,
    /// It failed; metadata `failed_state`, `error_msg`.
    #[serde(rename = "UPG_FAILED")]
    Failed,
}

/// What an agent gets from a check-in.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct CheckinResponse {
    /// `checkin`.
    #[serde(default)]
    pub action: String,
    /// To be sent with the next check-in; empty: keep the previous one.
    #[serde(default)]
    pub ack_token: String,
    /// In order; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions: Option<Vec<Action>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(status: &str, units: &[(&str, &str)]) -> Component {
        let units = units
            .iter()
            .map(|(unit_type, status)| Unit {
                unit_type: (*unit_type).to_owned(),
                status: (*status).to_owned(),
                ..Unit::default()
            })
            .collect();
        Component {
            status: status.to_owned(),
            units: Some(units),
            ..Component::default()
        }
    }

    #[test]
    fn the_unhealthy_reason_names_the_kinds_of_bad_units() {
        let check = |components: &[Component], expected: Option<&[&str]>| {
            assert_eq!(unhealthy_reason(components).as_deref(), expected);
        };
        check(&[], None);
        check(&[component("HEALTHY", &[("input", "HEALTHY")])], None);
        check(
            &[component("FAILED", &[("input", "FAILED"), ("output", "HEALTHY")])],
            Some(&["input"]),
        );
        check(
            &[component("DEGRADED", &[("input", "DEGRADED"), ("output", "FAILED")])],
            Some(&["input", "output"]),
        );
        check(&[component("FAILED", &[("input", "HEALTHY")])], Some(&["other"]));
        check(
            &[
                component("FAILED", &[("output", "FAILED")]),
                component("FAILED", &[("output", "FAILED")]),
            ],
            Some(&["output"]),
        );
    }

    #[test]
    fn null_and_absent_are_the_same_and_unknown_fields_are_ignored() {
        let request: CheckinRequest = serde_json::from_str(
            r#"{"status":"online","ack_token":null,"local_metadata":null,"upgrade":{},"newer":[1],"components":[ ]}"#,
        )
        .unwrap();
        assert!(request.ack_token.is_none() && request.local_metadata.is_none() && request.message.is_empty());
        assert_eq!(request.components.unwrap().get(), "[ ]");
    }
}
