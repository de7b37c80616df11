//! Actions as they are written: handed at once to the polls that are held, searched for by those that come later.
//!
//! For each agent the number of the newest action that names it is kept, so that a check-in with nothing new asks the
//! store nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};

use bytes::Bytes;
use jiff::Timestamp;
use protocol::{ActionDocument, ActionType, AgentId, find_secret_references};
use serde_json::{Map, Value};
use store::SeqNo;

/// An action as agents get it, all but the agent's own parts written out once.
#[derive(Debug)]
pub(crate) struct DeliverableAction {
    /// `_id` of the document: the ack token.
    pub(crate) document_id: String,
    pub(crate) seq_no: SeqNo,
    pub(crate) action_type: ActionType,
    expiration: Option<Timestamp>,
    /// The object without its braces, `agent_id` and `start_time`.
    common: Bytes,
    schedule: Option<Schedule>,
}

/// When each agent is to start: spread evenly over `rollout`, in the order of `agents`.
#[derive(Debug)]
struct Schedule {
    start: Timestamp,
    rollout_seconds: i64,
    agents: HashMap<AgentId, usize>,
    count: usize,
}

/// Newest action of each agent, by sequence number.
#[derive(Debug, Default)]
pub(crate) struct ActionBoard {
    newest: RwLock<HashMap<AgentId, SeqNo>>,
    /// Actions lately handed out, by document, for agents that come later.
    prepared: Mutex<HashMap<String, Arc<DeliverableAction>>>,
    /// False until all actions of the store have been seen once; until then every check-in asks.
    is_complete: std::sync::atomic::AtomicBool,
}

/// Actions kept ready at most.
const MOST_PREPARED: usize = 1000;

impl ActionBoard {
    /// An action that was prepared before.
    pub(crate) fn prepared(&self, document_id: &str) -> Option<Arc<DeliverableAction>> {
        self.prepared
            .lock()
            .expect("no holder of this lock can panic")
            .get(document_id)
            .cloned()
    }

    /// Keeps an action for the next agent that it is for.
    pub(crate) fn keep_prepared(&self, action: &Arc<DeliverableAction>) {
        let mut prepared = self.prepared.lock().expect("no holder of this lock can panic");
        if prepared.len() >= MOST_PREPARED {
            prepared.clear();
        }
        prepared.insert(action.document_id.clone(), Arc::clone(action));
    }

    /// Notes whom an action is for.
    pub(crate) fn note(&self, agents: &[AgentId], seq_no: SeqNo) {
        let mut newest = self.newest.write().expect("no holder of this lock can panic");
        for agent in agents {
            let known = newest.entry(agent.clone()).or_insert(seq_no);
            *known = (*known).max(seq_no);
        }
    }

    /// Every action that the store had at the start is noted.
    pub(crate) fn complete(&self) {
        self.is_complete.store(true, std::sync::atomic::Ordering::Release);
    }

    /// Whether there may be actions for the agent above `seq_no`.
    pub(crate) fn may_have(&self, agent: &AgentId, seq_no: i64) -> bool {
        if !self.is_complete.load(std::sync::atomic::Ordering::Acquire) {
            return true;
        }
        let newest = self.newest.read().expect("no holder of this lock can panic");
        newest
            .get(agent)
            .is_some_and(|newest| i64::try_from(*newest).is_ok_and(|newest| newest > seq_no))
    }
}

impl DeliverableAction {
    /// Prepares a document; secrets in its data must be filled in already.
    pub(crate) fn new(document_id: String, seq_no: SeqNo, document: ActionDocument) -> Self {
        let mut common = Map::new();
        common.insert("created_at".into(), document.timestamp.into());
        common.insert("data".into(), known_data(&document.action_type, document.data));
        if let Some(expiration) = &document.expiration {
            common.insert("expiration".into(), expiration.clone().into());
        }
        common.insert("id".into(), document.action_id.into());
        common.insert("input_type".into(), document.input_type.unwrap_or_default().into());
        if let Some(signed) = document.signed {
            common.insert(
                "signed".into(),
                serde_json::json!({"data": signed.data, "signature": signed.signature}),
            );
        }
        if let Some(timeout) = document.timeout.filter(|timeout| *timeout != 0) {
            common.insert("timeout".into(), timeout.into());
        }
        if let Some(traceparent) = document.traceparent {
            common.insert("traceparent".into(), traceparent.into());
        }
        common.insert("type".into(), document.action_type.as_str().into());
        let text = serde_json::to_string(&common).expect("a map of JSON values can always be written");
        let start = document.start_time.as_deref().and_then(|text| text.parse().ok());
        Self {
            document_id,
            seq_no,
            action_type: document.action_type,
            expiration: document.expiration.and_then(|text| text.parse().ok()),
            common: Bytes::from(text[1..text.len() - 1].to_owned()),
            schedule: start
                .map(|start| Schedule::new(start, document.rollout_duration_seconds.unwrap_or(0), &document.agents)),
        }
    }

    /// Whether it is still to be delivered; a document without expiration never is.
    pub(crate) fn is_deliverable(&self, now: Timestamp) -> bool {
        self.action_type.is_delivered() && self.expiration.is_some_and(|expiration| expiration > now)
    }

    /// Writes it as one agent gets it.
    pub(crate) fn write(&self, agent: &AgentId, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"agent_id\":");
        crate::json_text::write_string(agent.as_str(), out);
        if let Some(schedule) = &self.schedule {
            out.extend_from_slice(b",\"start_time\":\"");
            out.extend_from_slice(clock::rfc3339_seconds(schedule.start_of(agent)).as_bytes());
            out.push(b'"');
        }
        out.push(b',');
        out.extend_from_slice(&self.common);
        out.push(b'}');
    }
}

impl Schedule {
    fn new(start: Timestamp, rollout_seconds: i64, agents: &[AgentId]) -> Self {
        // Without a rollout all start together, and nobody's place matters.
        let places = if rollout_seconds > 0 {
            agents
                .iter()
                .cloned()
                .enumerate()
                .map(|(place, agent)| (agent, place))
                .collect()
        } else {
            HashMap::new()
        };
        Self {
            start,
            rollout_seconds,
            agents: places,
            count: agents.len().max(1),
        }
    }

    fn start_of(&self, agent: &AgentId) -> Timestamp {
        let place = self.agents.get(agent).copied().unwrap_or(0);
        let seconds = self.rollout_seconds.saturating_mul(place as i64) / self.count as i64;
        self.start
            .saturating_add(jiff::SignedDuration::from_secs(seconds))
            .unwrap_or(self.start)
    }
}

/// Keys that agents do not know are dropped from the data of typed actions.
fn known_data(action_type: &ActionType, data: Option<Value>) -> Value {
    let Some(keys) = action_type.data_keys() else {
        return data.unwrap_or_default();
    };
    match data {
        Some(Value::Object(mut data)) if !keys.is_empty() => {
            data.retain(|key, _| keys.contains(&key.as_str()));
            data.sort_keys();
            Value::Object(data)
        }
        _ => Value::Null,
    }
}

/// Ids of the secrets that an action's data refers to.
pub(crate) fn action_secrets(document: &ActionDocument) -> Vec<String> {
    document.data.as_ref().map(find_secret_references).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn action(document: Value) -> DeliverableAction {
        DeliverableAction::new("doc-1".into(), 4, serde_json::from_value(document).unwrap())
    }

    fn written(action: &DeliverableAction, agent: &str) -> Value {
        let mut text = Vec::new();
        action.write(&agent.into(), &mut text);
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn it_is_written_as_agents_read_it() {
        let action = action(json!({
            "@timestamp": "2026-11-22T01:31:42.000Z", "action_id": "a1", "agents": ["agent-1"], "type": "SETTINGS",
            "data": {"log_level": "debug", "unknown": 1}, "expiration": "2026-12-22T01:31:42.000Z"
        }));
        let expected = json!({
            "agent_id": "agent-1", "created_at": "2026-11-22T01:31:42.000Z", "data": {"log_level": "debug"},
            "expiration": "2026-12-22T01:31:42.000Z", "id": "a1", "input_type": "", "type": "SETTINGS"
        });
        assert_eq!(written(&action, "agent-1"), expected);
        assert!(action.is_deliverable("2026-12-22T01:31:41Z".parse().unwrap()));
        assert!(!action.is_deliverable("2026-12-22T01:31:42Z".parse().unwrap()));
    }

    #[test]
    fn starts_are_spread_over_the_rollout() {
        let action = action(json!({
            "action_id": "a1", "agents": ["one", "two", "three", "four"], "type": "UPGRADE",
            "start_time": "2026-11-22T01:00:00Z", "rollout_duration_seconds": 100, "expiration": "2027-01-01T00:00:00Z"
        }));
        assert_eq!(written(&action, "one")["start_time"], "2026-11-22T01:00:00Z");
        assert_eq!(written(&action, "three")["start_time"], "2026-11-22T01:00:50Z");
    }

    #[test]
    fn what_is_not_for_agents_is_not_delivered() {
        let check = |action_type: &str, expiration: Option<&str>, expected: bool| {
            let action = action(json!({"action_id": "a", "type": action_type, "expiration": expiration}));
            assert_eq!(
                action.is_deliverable("2026-01-01T00:00:00Z".parse().unwrap()),
                expected,
                "{action_type}"
            );
        };
        let later = Some("2027-01-01T00:00:00Z");
        check("UNENROLL", later, true);
        check("UNENROLL", None, false);
        check("UNENROLL", Some("soon"), false);
        check("UPDATE_TAGS", later, false);
        check("FORCE_UNENROLL", later, false);
        check("POLICY_CHANGE", later, false);
        check("BRAND_NEW", later, false);
    }

    #[test]
    fn an_agent_without_news_need_not_ask() {
        let board = ActionBoard::default();
        assert!(board.may_have(&"a".into(), -1));
        board.note(&["a".into()], 3);
        board.complete();
        assert!(board.may_have(&"a".into(), 2) && !board.may_have(&"a".into(), 3) && !board.may_have(&"b".into(), -1));
    }
}
