//! How far an agent's upgrade is: `upgrade_details` of a check-in, checked and written to the agent's document.
//!
//! Agents acknowledge an upgrade when they take it, and what they say of it later is replaced by the next one. That it
//! failed is therefore also kept as a second result of its action, beside the acknowledgement.

use protocol::{ActionResultDocument, AgentId, UpgradeDetails, UpgradeState, indices};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use store::{Operation, Source};

use crate::acks;
use crate::agent_record::{AgentRecord, digest};
use crate::audit::write_agent;
use crate::error::ApiError;
use crate::server::FleetServer;

/// Keys that each state may have beside the ones it must have.
const DOWNLOADING: [&str; 4] = ["download_percent", "download_rate", "retry_error_msg", "retry_until"];

/// Writes what changed. Details of an action that does not exist are passed over.
pub(crate) async fn record(
    server: &FleetServer,
    id: &AgentId,
    record: &AgentRecord,
    reported: Option<&RawValue>,
) -> Result<(), ApiError> {
    let entry = server.agents.entry(id);
    let Some(reported) = reported else {
        if record.has_upgrade_details {
            entry.state().upgrade_details = None;
            return write_agent(server, id, finished(server, record)).await;
        }
        return Ok(());
    };
    let number = digest(reported);
    if record.has_upgrade_details && entry.state().upgrade_details == Some(number) {
        return Ok(());
    }
    let details = parse(reported)?;
    if server.action_type(&details.action_id).await?.is_none() {
        tracing::debug!(agent.id = %id, action.id = %details.action_id, "upgrade details of an unknown action");
        return Ok(());
    }
    if let Some(reason) = why_it_failed(&details) {
        acks::write(server, vec![outcome(server, id, record, &details, reason)]).await?;
    }
    let mut change = Map::new();
    change.insert("upgrade_details".into(), json!(details));
    if details.state == UpgradeState::Watching && record.has_upgrade_attempts {
        change.insert("upgrade_attempts".into(), Value::Null);
    }
    write_agent(server, id, change).await?;
    entry.state().upgrade_details = Some(number);
    Ok(())
}

fn why_it_failed(details: &UpgradeDetails) -> Option<&str> {
    let told = |key: &str| details.metadata.as_ref()?.get(key)?.as_str();
    match details.state {
        UpgradeState::Failed => told("error_msg"),
        UpgradeState::Rollback => Some(told("reason").unwrap_or("the new version did not pass its probation")),
        _ => None,
    }
}

/// Results can only be added to, so it has an id of its own; whoever reads results sees an error of this agent.
fn outcome(
    server: &FleetServer,
    id: &AgentId,
    record: &AgentRecord,
    details: &UpgradeDetails,
    reason: &str,
) -> Operation {
    let now = server.now_text();
    let document = ActionResultDocument {
        action_id: details.action_id.clone(),
        agent_id: id.clone(),
        namespaces: record.namespaces.clone(),
        timestamp: now.clone(),
        action_input_type: Some(ActionResultDocument::UPGRADE_OUTCOME.to_owned()),
        error: Some(reason.to_owned()),
        completed_at: Some(now),
        ..ActionResultDocument::default()
    };
    let id = format!("{}:{id}:outcome", details.action_id);
    Operation::create(indices::ACTION_RESULTS, id, Source::of(&document))
}

/// No details any more: the upgrade is over, and went well unless it had failed or was waiting for its time.
fn finished(server: &FleetServer, record: &AgentRecord) -> Map<String, Value> {
    let mut change = Map::new();
    change.insert("upgrade_details".into(), Value::Null);
    change.insert("upgrade_started_at".into(), Value::Null);
    if !record.is_as_before_upgrade {
        change.insert("upgraded_at".into(), server.now_text().into());
    }
    change
}

fn parse(reported: &RawValue) -> Result<UpgradeDetails, ApiError> {
    let refuse = |reason: String| ApiError::Invalid(format!("failed to update upgrade_details: {reason}"));
    let mut details: UpgradeDetails =
        serde_json::from_str(reported.get()).map_err(|error| refuse(format!("invalid upgrade details: {error}")))?;
    let metadata = details.metadata.take().and_then(|metadata| match metadata {
        Value::Object(map) => Some(map),
        _ => None,
    });
    details.metadata = check_metadata(details.state, metadata)
        .map_err(|reason| refuse(format!("invalid upgrade metadata: {reason}")))?
        .map(Value::Object);
    Ok(details)
}

/// Each state has its own metadata; other keys are dropped.
fn check_metadata(
    state: UpgradeState,
    metadata: Option<Map<String, Value>>,
) -> Result<Option<Map<String, Value>>, &'static str> {
    let filled = |metadata: &Map<String, Value>, key: &str| {
        metadata
            .get(key)
            .and_then(Value::as_str)
            .is_some_and(|text| !text.is_empty())
    };
    match state {
        UpgradeState::Scheduled => {
            let metadata = metadata.ok_or("metadata missing")?;
            if filled(&metadata, "scheduled_at") {
                Ok(Some(keep(metadata, &["scheduled_at"])))
            } else {
                Err("scheduled_at missing")
            }
        }
        UpgradeState::Failed => {
            let metadata = metadata.ok_or("metadata missing")?;
            if !filled(&metadata, "error_msg") {
                return Err("error_msg missing");
            }
            if !filled(&metadata, "failed_state") {
                return Err("failed_state missing");
            }
            Ok(Some(keep(metadata, &["error_msg", "failed_state"])))
        }
        UpgradeState::Downloading => Ok(metadata.map(|metadata| keep(metadata, &DOWNLOADING))),
        UpgradeState::Rollback if metadata.as_ref().is_some_and(|metadata| filled(metadata, "reason")) => {
            Ok(metadata.map(|metadata| keep(metadata, &["reason"])))
        }
        _ => Ok(None),
    }
}

fn keep(mut metadata: Map<String, Value>, keys: &[&str]) -> Map<String, Value> {
    metadata.retain(|key, _| keys.contains(&key.as_str()));
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(details: &Value) -> Result<Value, String> {
        let raw = RawValue::from_string(details.to_string()).unwrap();
        parse(&raw)
            .map(|details| details.metadata.unwrap_or_default())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn metadata_is_checked_by_state() {
        let check = |state: &str, metadata: Value, expected: Result<Value, &str>| {
            let details = json!({"target_version": "9.6.1", "action_id": "a", "state": state, "metadata": metadata});
            let prefix = "failed to update upgrade_details: invalid upgrade metadata: ";
            assert_eq!(
                parsed(&details),
                expected.map_err(|reason| format!("{prefix}{reason}")),
                "{state}"
            );
        };
        check("UPG_REQUESTED", json!({"x": 1}), Ok(Value::Null));
        check(
            "UPG_DOWNLOADING",
            json!({"download_percent": 12.5, "x": 1}),
            Ok(json!({"download_percent": 12.5})),
        );
        check("UPG_DOWNLOADING", Value::Null, Ok(Value::Null));
        check("UPG_SCHEDULED", Value::Null, Err("metadata missing"));
        check("UPG_SCHEDULED", json!({}), Err("scheduled_at missing"));
        check(
            "UPG_FAILED",
            json!({"failed_state": "UPG_DOWNLOADING"}),
            Err("error_msg missing"),
        );
        check("UPG_FAILED", json!({"error_msg": "e"}), Err("failed_state missing"));
        check("UPG_ROLLBACK", json!({"x": 1}), Ok(Value::Null));
        let reason = json!({"reason": "it did not check in"});
        check(
            "UPG_ROLLBACK",
            json!({"reason": "it did not check in", "x": 1}),
            Ok(reason),
        );
        let failed = json!({"error_msg": "no such host", "failed_state": "UPG_DOWNLOADING"});
        check("UPG_FAILED", failed.clone(), Ok(failed));
    }

    #[test]
    fn an_unknown_state_is_refused() {
        let error = parsed(&json!({"state": "UPG_DANCING"})).unwrap_err();
        assert!(
            error.starts_with("failed to update upgrade_details: invalid upgrade details"),
            "{error}"
        );
    }
}
