//! Who is connected, and what is still to be written about them: all that Fleet Server keeps of an agent in memory.
//!
//! One small entry for each agent that checked in lately. Entries have a lock each and the map has many; no lock is held
//! across a wait, and none covers more than one agent.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use protocol::{AgentId, PolicyId};
use secret::Secret;
use serde_json::value::RawValue;
use store::{SeqNo, Written};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::action_board::DeliverableAction;
use crate::agent_record::AgentRecord;

const SHARDS: usize = 64;

/// All agents that checked in lately.
#[derive(Debug)]
pub(crate) struct Registry {
    shards: Vec<Mutex<HashMap<AgentId, Arc<AgentEntry>>>>,
    hasher: RandomState,
}

/// One agent.
#[derive(Debug)]
pub(crate) struct AgentEntry {
    pub(crate) id: AgentId,
    /// Rung when there is something for the poll that is held.
    pub(crate) bell: Notify,
    state: Mutex<AgentState>,
}

/// What is known of one agent.
#[derive(Debug)]
pub(crate) struct AgentState {
    /// Rises with each check-in; the poll of an older one ends.
    pub(crate) generation: u64,
    /// A poll is held now.
    pub(crate) is_held: bool,
    /// When it last asked or was still there.
    pub(crate) last_contact: Instant,
    /// When the store last heard of that.
    pub(crate) last_flush: Option<Instant>,
    /// What the last check-in brought that the store does not have yet.
    pub(crate) pending: Option<Box<PendingCheckin>>,
    /// Digests of what the document has, to tell a changed report without reading it.
    pub(crate) metadata: Option<u64>,
    pub(crate) components: Option<u64>,
    pub(crate) rollbacks: Option<u64>,
    pub(crate) upgrade_details: Option<u64>,
    /// The ack token that it was last given, and the action's sequence number.
    pub(crate) ack_token: Option<(Box<str>, i64)>,
    /// Actions that arrived while the poll is held.
    pub(crate) actions: Vec<Arc<DeliverableAction>>,
    /// The document as last read, with what this server has written since.
    pub(crate) record: Option<Arc<AgentRecord>>,
    /// Which write of the document `record` tells of; nothing when somebody else may have written in between.
    pub(crate) write: Option<DocumentWrite>,
    /// Digest of the status and message that the document has, or will have.
    pub(crate) condition: Option<u64>,
    /// The access key that was last found good.
    pub(crate) verified_key: Option<VerifiedKey>,
    /// `id:key` of each output, with the id of the key.
    pub(crate) output_keys: Vec<OutputKey>,
}

/// A write of a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct DocumentWrite {
    pub(crate) seq_no: SeqNo,
    /// How many there were before it, and itself.
    pub(crate) version: u64,
}

/// An access key that was found good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VerifiedKey {
    /// SHA-256 of `id:key`.
    pub(crate) hash: [u8; 32],
    pub(crate) at: Instant,
    /// It is good for as long as no key is revoked or changed: while this is the number of revocations.
    pub(crate) revocations: Option<u64>,
}

/// An output key as the agent gets it.
#[derive(Clone, Debug)]
pub(crate) struct OutputKey {
    pub(crate) output: Box<str>,
    pub(crate) api_key_id: Box<str>,
    pub(crate) pair: Secret,
    /// No stale roles are on it.
    pub(crate) is_clean: bool,
}

/// Changes of one agent's document, newest of each field.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingCheckin {
    pub(crate) last_checkin: Option<Timestamp>,
    pub(crate) status: Option<String>,
    pub(crate) message: Option<String>,
    /// Set when components changed.
    pub(crate) unhealthy_reason: Option<Vec<&'static str>>,
    pub(crate) components: Option<Box<RawValue>>,
    pub(crate) local_metadata: Option<Box<RawValue>>,
    pub(crate) rollbacks: Option<Box<RawValue>>,
    pub(crate) version: Option<String>,
    pub(crate) action_seq_no: Option<i64>,
    pub(crate) policy: Option<(PolicyId, i64)>,
    pub(crate) clear_audit: bool,
}

impl PendingCheckin {
    /// Lays `newer` over this one.
    pub(crate) fn overlay(&mut self, newer: Self) {
        fn put<T>(target: &mut Option<T>, value: Option<T>) {
            if value.is_some() {
                *target = value;
            }
        }
        if newer.status.is_some() {
            self.unhealthy_reason.clone_from(&newer.unhealthy_reason);
        }
        put(&mut self.last_checkin, newer.last_checkin);
        put(&mut self.status, newer.status);
        put(&mut self.message, newer.message);
        put(&mut self.components, newer.components);
        put(&mut self.local_metadata, newer.local_metadata);
        put(&mut self.rollbacks, newer.rollbacks);
        put(&mut self.version, newer.version);
        put(&mut self.action_seq_no, newer.action_seq_no);
        put(&mut self.policy, newer.policy);
        self.clear_audit |= newer.clear_audit;
    }
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// The agent's entry, made when there is none.
    pub(crate) fn entry(&self, id: &AgentId) -> Arc<AgentEntry> {
        let mut shard = self.shard(id.as_str());
        if let Some(known) = shard.get(id) {
            return Arc::clone(known);
        }
        let entry = Arc::new(AgentEntry::new(id.clone()));
        shard.insert(id.clone(), Arc::clone(&entry));
        entry
    }

    /// The agent's entry, if it has one.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<AgentEntry>> {
        self.shard(id).get(id).cloned()
    }

    /// Forgets the agent.
    pub(crate) fn remove(&self, id: &AgentId) {
        self.shard(id.as_str()).remove(id);
    }

    /// Calls `visit` for each entry and forgets those for which it returns `false`.
    pub(crate) fn retain(&self, mut visit: impl FnMut(&Arc<AgentEntry>) -> bool) {
        for shard in &self.shards {
            shard
                .lock()
                .expect("no holder of this lock can panic")
                .retain(|_, entry| visit(entry));
        }
    }

    /// How many agents have an entry.
    pub(crate) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().expect("no holder of this lock can panic").len())
            .sum()
    }

    fn shard(&self, id: &str) -> MutexGuard<'_, HashMap<AgentId, Arc<AgentEntry>>> {
        let index = self.hasher.hash_one(id) as usize % SHARDS;
        self.shards[index].lock().expect("no holder of this lock can panic")
    }
}

impl AgentEntry {
    fn new(id: AgentId) -> Self {
        let state = AgentState {
            generation: 0,
            is_held: false,
            last_contact: Instant::now(),
            last_flush: None,
            pending: None,
            metadata: None,
            components: None,
            rollbacks: None,
            upgrade_details: None,
            ack_token: None,
            actions: Vec::new(),
            record: None,
            write: None,
            condition: None,
            verified_key: None,
            output_keys: Vec::new(),
        };
        Self {
            id,
            bell: Notify::new(),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, AgentState> {
        self.state.lock().expect("no holder of this lock can panic")
    }

    /// Hands an action to the poll that is held, if one is.
    pub(crate) fn deliver(&self, action: &Arc<DeliverableAction>) {
        let mut state = self.state();
        if state.is_held {
            state.actions.push(Arc::clone(action));
            drop(state);
            self.bell.notify_waiters();
        }
    }

    /// Takes what is to be written out, to be written with something else; but not what only a script can write.
    pub(crate) fn take_plain_changes(&self) -> Option<Box<PendingCheckin>> {
        let mut state = self.state();
        if state.pending.as_ref().is_some_and(|pending| pending.clear_audit) {
            return None;
        }
        state.take_changes()
    }

    /// Puts changes that were not written under those that came since.
    pub(crate) fn give_back(&self, mut pending: Box<PendingCheckin>) {
        let mut state = self.state();
        if let Some(newer) = state.pending.take() {
            pending.overlay(*newer);
        }
        state.pending = Some(pending);
    }

    /// Begins a poll: an older one of the same agent ends, since its connection is most likely dead.
    pub(crate) fn hold(self: &Arc<Self>) -> HeldPoll {
        let mut state = self.state();
        state.generation += 1;
        state.is_held = true;
        state.actions = Vec::new();
        state.last_contact = Instant::now();
        let generation = state.generation;
        drop(state);
        self.bell.notify_waiters();
        HeldPoll {
            entry: Arc::clone(self),
            generation,
        }
    }
}

impl AgentState {
    /// Whether the store should hear again that this agent is there.
    pub(crate) fn is_due(&self, now: Instant, renewal: Duration) -> bool {
        self.is_held && !self.was_written_since(now, renewal)
    }

    /// Takes what is to be written out. Until that is done the store is not known to have heard of the agent.
    pub(crate) fn take_changes(&mut self) -> Option<Box<PendingCheckin>> {
        let pending = self.pending.take()?;
        self.last_flush = None;
        Some(pending)
    }

    /// Notes a write of this server, which made `change` of the document, so that it need not be read again; unless somebody
    /// else wrote in between.
    pub(crate) fn wrote(&mut self, written: &Written, change: impl FnOnce(&mut AgentRecord)) {
        let Some(known) = self.write.filter(|known| known.seq_no != written.seq_no) else {
            return;
        };
        let follows = written.version == known.version + 1;
        self.write = follows.then_some(DocumentWrite {
            seq_no: written.seq_no,
            version: written.version,
        });
        if let (true, Some(record)) = (follows, &mut self.record) {
            change(Arc::make_mut(record));
        }
    }

    /// Whether the store heard of this agent within `renewal`.
    pub(crate) fn was_written_since(&self, now: Instant, renewal: Duration) -> bool {
        self.last_flush
            .is_some_and(|flushed| now.duration_since(flushed) < renewal)
    }

    pub(crate) fn output_key(&self, output: &str, api_key_id: &str) -> Option<&OutputKey> {
        self.output_keys
            .iter()
            .find(|key| &*key.output == output && &*key.api_key_id == api_key_id)
    }

    pub(crate) fn put_output_key(&mut self, key: OutputKey) {
        self.output_keys.retain(|known| known.output != key.output);
        self.output_keys.push(key);
        self.output_keys.shrink_to_fit();
    }
}

/// A check-in that waits. Dropping it (answered, or the connection is gone) says that the agent is no longer there.
#[derive(Debug)]
pub(crate) struct HeldPoll {
    pub(crate) entry: Arc<AgentEntry>,
    generation: u64,
}

impl HeldPoll {
    /// Actions that arrived meanwhile; an error when a newer check-in took over.
    pub(crate) fn take_actions(&self) -> Result<Vec<Arc<DeliverableAction>>, Superseded> {
        let mut state = self.entry.state();
        if state.generation != self.generation {
            return Err(Superseded);
        }
        Ok(std::mem::take(&mut state.actions))
    }
}

/// A newer check-in of the same agent took over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Superseded;

impl Drop for HeldPoll {
    fn drop(&mut self) {
        let mut state = self.entry.state();
        if state.generation == self.generation {
            state.is_held = false;
            state.actions = Vec::new();
            state.last_contact = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_newer_poll_takes_over() {
        let registry = Registry::new();
        let entry = registry.entry(&"a".into());
        let first = entry.hold();
        let second = registry.entry(&"a".into()).hold();
        assert_eq!(first.take_actions().unwrap_err(), Superseded);
        assert!(second.take_actions().unwrap().is_empty());
        drop(first);
        assert!(entry.state().is_held);
        drop(second);
        assert!(!entry.state().is_held);
        assert_eq!(registry.len(), 1);
    }

    #[tokio::test]
    async fn newer_changes_lie_over_older_ones() {
        let mut pending = PendingCheckin {
            status: Some("online".into()),
            action_seq_no: Some(3),
            ..PendingCheckin::default()
        };
        pending.overlay(PendingCheckin {
            status: Some("error".into()),
            clear_audit: true,
            ..PendingCheckin::default()
        });
        assert_eq!(
            (pending.status.as_deref(), pending.action_seq_no, pending.clear_audit),
            (Some("error"), Some(3), true)
        );
    }

    #[tokio::test]
    async fn own_writes_are_followed_and_others_noticed() {
        let entry = Registry::new().entry(&"a".into());
        let mut state = entry.state();
        state.record = Some(Arc::default());
        state.write = Some(DocumentWrite { seq_no: 5, version: 2 });
        let mut check = |seq_no: u64, version: u64, expected: Option<u64>, revision: i64| {
            let written = Written {
                index: String::new(),
                id: String::new(),
                version,
                seq_no,
                result: store::WriteResult::Updated,
            };
            state.wrote(&written, |record| record.policy_revision_idx = version as i64);
            assert_eq!(state.write.map(|write| write.seq_no), expected);
            assert_eq!(state.record.as_ref().unwrap().policy_revision_idx, revision);
        };
        check(5, 2, Some(5), 0);
        check(9, 3, Some(9), 3);
        check(12, 5, None, 3);
        check(13, 6, None, 3);
    }

    #[tokio::test]
    async fn only_connected_agents_are_renewed() {
        let entry = Registry::new().entry(&"a".into());
        let (now, renewal) = (Instant::now(), Duration::from_secs(30));
        assert!(!entry.state().is_due(now, renewal));
        let _held = entry.hold();
        assert!(entry.state().is_due(now, renewal));
        entry.state().last_flush = Some(now);
        assert!(!entry.state().is_due(now + renewal / 2, renewal));
        assert!(entry.state().is_due(now + renewal, renewal));
    }
}
