//! The parts of an agent's document that Fleet Server acts on, read without building the rest.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use protocol::{AgentOutput, AgentReference, ApiKeyId, CheckinRequest, PolicyId, indices};
use query::{Query, SearchRequest};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use store::{Document, Source, Store};

use crate::error::ApiError;
use crate::registry::PendingCheckin;

/// What Fleet Server needs to know of an agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct AgentRecord {
    pub(crate) active: bool,
    pub(crate) access_api_key_id: ApiKeyId,
    pub(crate) policy_id: PolicyId,
    pub(crate) agent_policy_id: Option<PolicyId>,
    pub(crate) policy_revision_idx: i64,
    pub(crate) action_seq_no: i64,
    pub(crate) version: Option<String>,
    pub(crate) namespaces: Vec<String>,
    pub(crate) has_checked_in: bool,
    pub(crate) has_upgrade_details: bool,
    /// The upgrade that it tells of has only been waiting for its time, has failed, or was taken back.
    pub(crate) is_as_before_upgrade: bool,
    pub(crate) has_upgrade_attempts: bool,
    pub(crate) audit_reason: Option<String>,
    pub(crate) is_unenrolled: bool,
    pub(crate) replace_token: Option<String>,
    pub(crate) outputs: AgentOutputs,
    /// It has the list of keys that servers of long ago kept.
    pub(crate) has_key_history: bool,
}

/// An agent's outputs by name: one or two, kept in no more room than they need.
#[derive(Clone, Debug, Default)]
pub(crate) struct AgentOutputs(Vec<(String, AgentOutput)>);

impl AgentOutputs {
    pub(crate) fn get(&self, name: &str) -> Option<&AgentOutput> {
        self.iter().find(|(known, _)| *known == name).map(|(_, output)| output)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut AgentOutput> {
        let found = self.0.iter_mut().find(|(known, _)| known == name);
        found.map(|(_, output)| output)
    }

    /// The output of that name, made when there is none.
    pub(crate) fn entry(&mut self, name: &str) -> &mut AgentOutput {
        let place = self.0.iter().position(|(known, _)| known == name);
        let place = place.unwrap_or_else(|| {
            self.0.reserve_exact(1);
            self.0.push((name.to_owned(), AgentOutput::default()));
            self.0.len() - 1
        });
        &mut self.0[place].1
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &AgentOutput)> + Clone {
        self.0.iter().map(|(name, output)| (name.as_str(), output))
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, AgentOutput)> for AgentOutputs {
    fn from_iter<I: IntoIterator<Item = (String, AgentOutput)>>(outputs: I) -> Self {
        Self(outputs.into_iter().collect())
    }
}

/// Parts of the document that agents report with every check-in, as texts to compare with.
#[derive(Debug, Default)]
pub(crate) struct StoredReport {
    pub(crate) local_metadata: Option<Box<RawValue>>,
    pub(crate) components: Option<Box<RawValue>>,
    pub(crate) rollbacks: Option<Box<RawValue>>,
    pub(crate) status: Option<String>,
    pub(crate) message: Option<String>,
}

impl StoredReport {
    /// Whether the document has the status and the message that the agent reports.
    pub(crate) fn has_status_of(&self, report: &CheckinRequest) -> bool {
        self.status.as_ref() == Some(&report.status) && self.message.as_ref() == Some(&report.message)
    }
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(default)]
    active: bool,
    #[serde(default)]
    access_api_key_id: Option<ApiKeyId>,
    #[serde(default)]
    policy_id: Option<PolicyId>,
    #[serde(default)]
    agent_policy_id: Option<PolicyId>,
    #[serde(default)]
    policy_revision_idx: Option<i64>,
    #[serde(default)]
    action_seq_no: Option<Vec<i64>>,
    #[serde(default)]
    agent: Option<AgentReference>,
    #[serde(default)]
    namespaces: Option<Vec<String>>,
    #[serde(default, borrow)]
    last_checkin: Option<&'a RawValue>,
    #[serde(default, borrow)]
    upgrade_details: Option<&'a RawValue>,
    #[serde(default, borrow)]
    upgrade_attempts: Option<&'a RawValue>,
    #[serde(default)]
    audit_unenrolled_reason: Option<String>,
    #[serde(default, borrow)]
    unenrolled_at: Option<&'a RawValue>,
    #[serde(default)]
    replace_token: Option<String>,
    #[serde(default)]
    outputs: Option<BTreeMap<String, AgentOutput>>,
    #[serde(default)]
    local_metadata: Option<Box<RawValue>>,
    #[serde(default)]
    components: Option<Box<RawValue>>,
    #[serde(default)]
    upgrade: Option<RawUpgrade>,
    #[serde(default)]
    last_checkin_status: Option<String>,
    #[serde(default)]
    last_checkin_message: Option<String>,
    #[serde(default)]
    default_api_key_history: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct RawUpgrade {
    #[serde(default)]
    rollbacks: Option<Box<RawValue>>,
}

impl AgentRecord {
    /// Reads a document; an active one without `agent` is corrupted.
    pub(crate) fn read(source: &Source) -> Result<(Self, StoredReport), ApiError> {
        let raw: Raw<'_> = serde_json::from_slice(source.bytes()).map_err(ApiError::store)?;
        if raw.agent.is_none() && raw.active {
            return Err(ApiError::AgentCorrupted);
        }
        let record = Self {
            active: raw.active,
            access_api_key_id: raw.access_api_key_id.unwrap_or_default(),
            policy_id: raw.policy_id.unwrap_or_default(),
            agent_policy_id: raw.agent_policy_id,
            policy_revision_idx: raw.policy_revision_idx.unwrap_or(0),
            action_seq_no: raw
                .action_seq_no
                .and_then(|numbers| numbers.first().copied())
                .unwrap_or(-1),
            version: raw.agent.map(|agent| agent.version),
            namespaces: raw.namespaces.unwrap_or_default(),
            has_checked_in: raw.last_checkin.is_some(),
            has_upgrade_details: raw.upgrade_details.is_some(),
            is_as_before_upgrade: raw.upgrade_details.is_some_and(|details| {
                let states = ["UPG_SCHEDULED", "UPG_FAILED", "UPG_ROLLBACK"];
                states.iter().any(|state| details.get().contains(state))
            }),
            has_upgrade_attempts: raw.upgrade_attempts.is_some(),
            audit_reason: raw.audit_unenrolled_reason,
            is_unenrolled: raw.unenrolled_at.is_some(),
            replace_token: raw.replace_token,
            outputs: raw.outputs.unwrap_or_default().into_iter().collect(),
            has_key_history: raw.default_api_key_history.is_some(),
        };
        let report = StoredReport {
            local_metadata: raw.local_metadata,
            components: raw.components,
            rollbacks: raw.upgrade.and_then(|upgrade| upgrade.rollbacks),
            status: raw.last_checkin_status,
            message: raw.last_checkin_message,
        };
        Ok((record, report))
    }

    /// What a check-in's changes make of it.
    pub(crate) fn apply(&mut self, change: &PendingCheckin) {
        self.has_checked_in |= change.last_checkin.is_some();
        if let Some(version) = &change.version {
            self.version = Some(version.clone());
        }
        if let Some(seq_no) = change.action_seq_no {
            self.action_seq_no = seq_no;
        }
        if let Some((policy_id, revision)) = &change.policy {
            self.agent_policy_id = Some(policy_id.clone());
            self.policy_revision_idx = *revision;
        }
        if change.clear_audit {
            self.audit_reason = None;
            self.is_unenrolled = false;
        }
    }

    /// Whether the next check-in has marks of an uninstallation to clear.
    pub(crate) fn has_audit_marks(&self) -> bool {
        self.audit_reason.is_some() || self.is_unenrolled
    }
}

/// The document of the agent that has this access key.
pub(crate) async fn find_by_access_key(store: &dyn Store, key: &str) -> Result<Option<Document>, ApiError> {
    let request = SearchRequest::new(indices::AGENTS)
        .query(Query::term("access_api_key_id", key))
        .size(2);
    let mut hits = store.search(request).await?.hits;
    Ok(if hits.len() == 1 {
        hits.pop().map(|hit| hit.document)
    } else {
        None
    })
}

/// A number that stands for the status and the message of a report.
pub(crate) fn condition(report: &CheckinRequest) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&report.status, &report.message).hash(&mut hasher);
    hasher.finish()
}

/// A number that stands for a text: equal texts have equal numbers, and different ones most probably do not.
pub(crate) fn digest(text: &RawValue) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.get().hash(&mut hasher);
    hasher.finish()
}

/// Whether two JSON texts say the same.
pub(crate) fn same_json(left: Option<&RawValue>, right: &RawValue) -> bool {
    let Some(left) = left else { return false };
    left.get() == right.get()
        || matches!(
            (serde_json::from_str::<Value>(left.get()), serde_json::from_str::<Value>(right.get())),
            (Ok(left), Ok(right)) if left == right
        )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn source(value: &Value) -> Source {
        Source::from_checked(Bytes::from(value.to_string()))
    }

    #[test]
    fn nulls_are_as_good_as_nothing() {
        let document = json!({
            "active": true, "agent": {"id": "a", "version": "9.6.0"}, "policy_id": "p", "upgrade_details": null,
            "audit_unenrolled_reason": null, "unenrolled_at": null, "outputs": null, "action_seq_no": [5]
        });
        let (record, report) = AgentRecord::read(&source(&document)).unwrap();
        assert!(!record.has_upgrade_details && !record.has_audit_marks() && record.outputs.is_empty());
        assert_eq!((record.action_seq_no, report.components.is_none()), (5, true));
    }

    #[test]
    fn a_document_without_agent_is_corrupted() {
        let error = AgentRecord::read(&source(&json!({"active": true}))).unwrap_err();
        assert_eq!(error.code(), "ErrAgentCorrupted");
    }

    #[test]
    fn json_is_compared_by_meaning() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        assert!(same_json(
            Some(&raw(r#"{"a":1,"b":[2]}"#)),
            &raw(r#"{ "b": [2], "a": 1 }"#)
        ));
        assert!(!same_json(Some(&raw("[1]")), &raw("[2]")));
        assert!(!same_json(None, &raw("null")));
    }
}
