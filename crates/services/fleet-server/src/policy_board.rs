//! The newest revision of each policy, and who waits for the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use protocol::PolicyId;
use tokio::sync::watch;

use crate::policy_text::PreparedPolicy;

/// What waits for a policy sees; nothing before its first revision.
pub(crate) type PolicyNews = watch::Receiver<Option<Arc<PreparedPolicy>>>;

/// One channel for each policy: a new revision wakes those that wait for it, at once, and nobody else.
#[derive(Debug, Default)]
pub(crate) struct PolicyBoard {
    channels: Mutex<HashMap<PolicyId, watch::Sender<Option<Arc<PreparedPolicy>>>>>,
}

impl PolicyBoard {
    /// Follows a policy, known or not.
    pub(crate) fn subscribe(&self, policy_id: &PolicyId) -> PolicyNews {
        let mut channels = self.channels();
        if let Some(known) = channels.get(policy_id) {
            return known.subscribe();
        }
        let (sender, receiver) = watch::channel(None);
        channels.insert(policy_id.clone(), sender);
        receiver
    }

    /// The newest revision.
    pub(crate) fn newest(&self, policy_id: &PolicyId) -> Option<Arc<PreparedPolicy>> {
        self.channels().get(policy_id)?.borrow().clone()
    }

    /// Puts a revision up, unless a newer one is there.
    pub(crate) fn publish(&self, policy: PreparedPolicy) {
        let sender = self
            .channels()
            .entry(policy.policy_id.clone())
            .or_insert_with(|| watch::channel(None).0)
            .clone();
        sender.send_if_modified(|present| {
            let is_newer = present
                .as_ref()
                .is_none_or(|present| policy.revision >= present.revision);
            if is_newer {
                *present = Some(Arc::new(policy));
            }
            is_newer
        });
    }

    /// How many policies have a revision.
    pub(crate) fn len(&self) -> usize {
        self.channels()
            .values()
            .filter(|sender| sender.borrow().is_some())
            .count()
    }

    /// Forgets channels that nobody uses: ids that agents made up.
    pub(crate) fn prune(&self) {
        self.channels()
            .retain(|_, sender| sender.receiver_count() > 0 || sender.borrow().is_some());
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<PolicyId, watch::Sender<Option<Arc<PreparedPolicy>>>>> {
        self.channels.lock().expect("no holder of this lock can panic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(id: &str, revision: i64) -> PreparedPolicy {
        let document = serde_json::json!({"policy_id": id, "revision_idx": revision, "data": {}});
        PreparedPolicy::new(serde_json::from_value(document).unwrap(), &HashMap::new(), 1).unwrap()
    }

    #[tokio::test]
    async fn only_those_concerned_are_woken() {
        let board = PolicyBoard::default();
        let (mut one, two) = (board.subscribe(&"one".into()), board.subscribe(&"two".into()));
        board.publish(policy("one", 2));
        one.changed().await.unwrap();
        assert!(!two.has_changed().unwrap());
        board.publish(policy("one", 1));
        assert!(!one.has_changed().unwrap());
        assert_eq!(board.newest(&"one".into()).unwrap().revision, 2);
    }

    #[test]
    fn made_up_ids_do_not_stay() {
        let board = PolicyBoard::default();
        drop(board.subscribe(&"made-up".into()));
        board.publish(policy("one", 1));
        board.prune();
        assert_eq!((board.len(), board.channels().len()), (1, 1));
    }
}
