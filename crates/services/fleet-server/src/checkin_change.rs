//! What a check-in changes in the agent's document: noted in memory here, written by `flush`, or at the next check-in's
//! expense of nothing when nothing changed.

use protocol::{CheckinRequest, Component, unhealthy_reason};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use store::{Action, Operation, Update};
use tokio::time::Instant;

use crate::agent_record::{condition, digest, same_json};
use crate::auth::AuthenticatedAgent;
use crate::error::ApiError;
use crate::flush;
use crate::registry::PendingCheckin;
use crate::server::FleetServer;

/// Notes the changes of a check-in for the next write.
pub(crate) fn note(
    server: &FleetServer,
    agent: &AuthenticatedAgent,
    report: &CheckinRequest,
    version: &str,
    seq_no: i64,
) -> Result<(), ApiError> {
    let components = report.components.as_deref().filter(|text| text.get() != "null");
    let parsed: Vec<Component> = match components {
        Some(text) => serde_json::from_str(text.get())
            .map_err(|error| ApiError::BadRequest(format!("unable to decode checkin components: {error}")))?,
        None => Vec::new(),
    };
    let record = &agent.record;
    let entry = server.agents.entry(&agent.id);
    let mut state = entry.state();
    let changed = |known: &mut Option<u64>, stored: Option<&RawValue>, reported: Option<&RawValue>| {
        let reported = reported.filter(|text| text.get() != "null")?;
        let number = digest(reported);
        let is_known = *known == Some(number);
        *known = Some(number);
        (!is_known && !same_json(stored, reported)).then(|| reported.to_owned())
    };
    let stored = &agent.report;
    let rollbacks = report.upgrade.as_ref().and_then(|upgrade| upgrade.rollbacks.as_deref());
    let change = PendingCheckin {
        last_checkin: Some(server.clock.now()),
        status: Some(report.status.clone()),
        message: Some(report.message.clone()),
        unhealthy_reason: unhealthy_reason(&parsed),
        local_metadata: changed(
            &mut state.metadata,
            stored.local_metadata.as_deref(),
            report.local_metadata.as_deref(),
        ),
        components: changed(&mut state.components, stored.components.as_deref(), components),
        rollbacks: changed(&mut state.rollbacks, stored.rollbacks.as_deref(), rollbacks),
        version: (record.version.as_deref() != Some(version)).then(|| version.to_owned()),
        action_seq_no: (seq_no != record.action_seq_no).then_some(seq_no),
        policy: acknowledged_policy(agent, report),
        clear_audit: record.has_audit_marks(),
    };
    let condition = condition(report);
    let has_condition = if agent.is_unchanged {
        state.condition == Some(condition)
    } else {
        stored.has_status_of(report)
    };
    state.condition = Some(condition);
    let is_renewal = state.pending.is_none() && has_condition && change.is_condition_alone();
    if is_renewal && state.was_written_since(Instant::now(), flush::renewal(server)) {
        return Ok(());
    }
    match &mut state.pending {
        Some(pending) => pending.overlay(change),
        slot => *slot = Some(Box::new(change)),
    }
    Ok(())
}

/// The policy that the agent says it runs, when its document says otherwise.
fn acknowledged_policy(agent: &AuthenticatedAgent, report: &CheckinRequest) -> Option<(protocol::PolicyId, i64)> {
    let policy_id = report.agent_policy_id.clone().filter(|id| !id.is_empty())?;
    let revision = report.policy_revision_idx?;
    let record = &agent.record;
    let is_known = record.agent_policy_id.as_ref() == Some(&policy_id) && record.policy_revision_idx == revision;
    (!is_known).then_some((policy_id, revision))
}

impl PendingCheckin {
    /// Nothing is new beside the time, status and message.
    fn is_condition_alone(&self) -> bool {
        let Self {
            last_checkin: _,
            status: _,
            message: _,
            unhealthy_reason: _,
            components: None,
            local_metadata: None,
            rollbacks: None,
            version: None,
            action_seq_no: None,
            policy: None,
            clear_audit: false,
        } = self
        else {
            return false;
        };
        true
    }

    /// The write that brings the document up to date. `now` is the time of writing, in whole seconds.
    pub(crate) fn operation(&self, index: &str, agent_id: &str, now: &str) -> Operation {
        if !self.clear_audit {
            return Operation::merge(index, agent_id, self.partial(now));
        }
        let update = Update::Script(self.script(now));
        let action = Action::Update { update, expected: None };
        Operation {
            index: index.to_owned(),
            id: Some(agent_id.to_owned()),
            require_data_stream: false,
            action,
        }
    }

    /// What a merge writes; it cannot remove the marks of an uninstallation.
    pub(crate) fn partial(&self, now: &str) -> Map<String, Value> {
        let mut partial = Map::new();
        if let Some(seq_no) = self.action_seq_no {
            partial.insert("action_seq_no".into(), serde_json::json!([seq_no]));
        }
        if let Some((policy_id, revision)) = &self.policy {
            partial.insert("agent_policy_id".into(), policy_id.as_str().into());
            partial.insert("policy_revision_idx".into(), (*revision).into());
        }
        if let Some(version) = &self.version {
            partial.insert("agent".into(), serde_json::json!({"version": version}));
        }
        for (field, text) in [
            ("components", &self.components),
            ("local_metadata", &self.local_metadata),
        ] {
            if let Some(value) = parsed(text.as_deref()) {
                partial.insert(field.into(), value);
            }
        }
        if let Some(rollbacks) = parsed(self.rollbacks.as_deref()) {
            partial.insert("upgrade".into(), serde_json::json!({"rollbacks": rollbacks}));
        }
        if let Some(time) = self.last_checkin {
            partial.insert("last_checkin".into(), clock::rfc3339_seconds(time).into());
        }
        if let Some(status) = &self.status {
            partial.insert(
                "last_checkin_message".into(),
                self.message.clone().unwrap_or_default().into(),
            );
            partial.insert("last_checkin_status".into(), status.clone().into());
            partial.insert("sequence_num".into(), 0.into());
            partial.insert("unhealthy_reason".into(), serde_json::json!(self.unhealthy_reason));
        }
        partial.insert("updated_at".into(), now.into());
        partial
    }

    /// Parameters of the script that also removes the marks of an uninstallation. Rollbacks wait for the next check-in:
    /// the script does not know them.
    fn script(&self, now: &str) -> Map<String, Value> {
        let mut params = Map::new();
        params.insert("TS".into(), self.last_checkin.map(clock::rfc3339_seconds).into());
        params.insert("Now".into(), now.into());
        params.insert("Status".into(), self.status.clone().into());
        params.insert("Message".into(), self.message.clone().into());
        params.insert("UnhealthyReason".into(), serde_json::json!(self.unhealthy_reason));
        let (policy_id, revision) = self
            .policy
            .as_ref()
            .map_or(("", 0), |(policy_id, revision)| (policy_id.as_str(), *revision));
        params.insert("PolicyID".into(), policy_id.into());
        params.insert("RevisionIDX".into(), revision.into());
        params.insert("Ver".into(), self.version.clone().unwrap_or_default().into());
        params.insert(
            "Meta".into(),
            parsed(self.local_metadata.as_deref()).unwrap_or_default(),
        );
        params.insert(
            "Components".into(),
            parsed(self.components.as_deref()).unwrap_or_default(),
        );
        params.insert("SeqNoSet".into(), self.action_seq_no.is_some().into());
        params.insert("SeqNo".into(), serde_json::json!([self.action_seq_no.unwrap_or(-1)]));
        params
    }
}

/// A text that was checked to be JSON when it arrived.
fn parsed(text: Option<&RawValue>) -> Option<Value> {
    serde_json::from_str(text?.get()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_renewal_touches_the_time_only() {
        let pending = PendingCheckin {
            last_checkin: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            ..PendingCheckin::default()
        };
        let partial = Value::Object(pending.partial("2026-01-01T00:00:01Z"));
        assert_eq!(
            partial,
            json!({"last_checkin": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:01Z"})
        );
    }

    #[test]
    fn all_changes_are_written() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let pending = PendingCheckin {
            last_checkin: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            status: Some("error".into()),
            message: Some("m".into()),
            unhealthy_reason: Some(vec!["input"]),
            components: Some(raw("[]")),
            local_metadata: Some(raw("{\"a\":1}")),
            rollbacks: Some(raw("[1]")),
            version: Some("9.6.1".into()),
            action_seq_no: Some(4),
            policy: Some(("p".into(), 2)),
            clear_audit: false,
        };
        let expected = json!({
            "last_checkin": "2026-01-01T00:00:00Z", "updated_at": "n", "last_checkin_status": "error",
            "last_checkin_message": "m", "unhealthy_reason": ["input"], "components": [], "local_metadata": {"a": 1},
            "upgrade": {"rollbacks": [1]}, "agent": {"version": "9.6.1"}, "action_seq_no": [4],
            "agent_policy_id": "p", "policy_revision_idx": 2, "sequence_num": 0
        });
        assert_eq!(Value::Object(pending.partial("n")), expected);
        let marked = PendingCheckin {
            clear_audit: true,
            ..pending
        };
        let params = Value::Object(marked.script("n"));
        assert_eq!(
            (&params["SeqNo"], &params["PolicyID"], &params["Ver"]),
            (&json!([4]), &json!("p"), &json!("9.6.1"))
        );
    }
}
