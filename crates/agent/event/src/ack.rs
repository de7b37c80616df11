//! Acknowledgements: how a source learns that its events have arrived.
//!
//! A source issues one [`Ack`] per event, in the order of its positions. The output gives them back in any order. The
//! source's callback only ever sees a position below which everything has arrived, so it can store that position as it is.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Hands out acknowledgements and tells a source how far delivery has come without a gap.
#[derive(Clone, Debug)]
pub struct AckTracker(Arc<Shared>);

struct Shared {
    pending: Mutex<Pending>,
    moved: Box<dyn Fn(u64) + Send + Sync>,
}

#[derive(Debug, Default)]
struct Pending {
    /// The number of the entry at the front; entries are numbered in the order of issue.
    first: u64,
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    position: u64,
    acknowledged: bool,
}

impl AckTracker {
    /// A tracker that calls `moved` with the highest position below which everything is acknowledged, each time it
    /// grows. `moved` runs on the acknowledging thread while the tracker is locked: it must be short and must not issue.
    pub fn new(moved: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            pending: Mutex::default(),
            moved: Box::new(moved),
        }))
    }

    /// An acknowledgement for the event that ends at `position`. Positions must not fall.
    pub fn issue(&self, position: u64) -> Ack {
        let mut pending = self.0.lock();
        let number = pending.first + pending.entries.len() as u64;
        pending.entries.push_back(Entry {
            position,
            acknowledged: false,
        });
        Ack(Some((Arc::clone(&self.0), number)))
    }

    /// Acknowledges `position` itself: for what a source skips (filtered lines, dropped events).
    pub fn skip_to(&self, position: u64) {
        let mut pending = self.0.lock();
        pending.entries.push_back(Entry {
            position,
            acknowledged: true,
        });
        self.0.advance(&mut pending);
    }

    /// How many events are on their way.
    pub fn pending(&self) -> usize {
        self.0.lock().entries.len()
    }
}

impl Pending {
    fn acknowledge(&mut self, number: u64) {
        let index = number
            .checked_sub(self.first)
            .and_then(|index| usize::try_from(index).ok());
        if let Some(entry) = index.and_then(|index| self.entries.get_mut(index)) {
            entry.acknowledged = true;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, pending: &mut Pending) {
        let mut reached = None;
        while pending.entries.front().is_some_and(|entry| entry.acknowledged) {
            reached = pending.entries.pop_front().map(|entry| entry.position);
            pending.first += 1;
        }
        if let Some(position) = reached {
            (self.moved)(position);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("pending", &self.lock().entries.len())
            .finish_non_exhaustive()
    }
}

/// The handle with which an output says that one event has arrived.
///
/// Dropping it without [`Ack::acknowledge`] means "not delivered": the source sends the event again after a restart.
#[must_use = "an event that is not acknowledged is sent again after a restart"]
#[derive(Debug)]
pub struct Ack(Option<(Arc<Shared>, u64)>);

impl Ack {
    /// For events whose source keeps no position.
    pub fn none() -> Self {
        Self(None)
    }

    /// The event has arrived, or has been dropped for good.
    pub fn acknowledge(self) {
        if let Some((shared, number)) = self.0 {
            let mut pending = shared.lock();
            pending.acknowledge(number);
            shared.advance(&mut pending);
        }
    }
}

/// Acknowledges a whole batch; neighbours from one source cost one lock and one callback.
pub fn acknowledge_all(acks: impl IntoIterator<Item = Ack>) {
    let mut acks = acks.into_iter().filter_map(|ack| ack.0).peekable();
    while let Some((shared, number)) = acks.next() {
        let mut pending = shared.lock();
        pending.acknowledge(number);
        while let Some((_, number)) = acks.next_if(|(next, _)| Arc::ptr_eq(next, &shared)) {
            pending.acknowledge(number);
        }
        shared.advance(&mut pending);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker() -> (AckTracker, Arc<Mutex<Vec<u64>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        (
            AckTracker::new(move |position| sink.lock().unwrap().push(position)),
            seen,
        )
    }

    #[test]
    fn the_callback_never_sees_a_position_beyond_a_gap() {
        let (tracker, seen) = tracker();
        let [first, second, third] = [10, 20, 30].map(|position| tracker.issue(position));
        third.acknowledge();
        first.acknowledge();
        assert_eq!(*seen.lock().unwrap(), [10]);
        second.acknowledge();
        assert_eq!(*seen.lock().unwrap(), [10, 30]);
        assert_eq!(tracker.pending(), 0);
    }

    #[test]
    fn a_dropped_ack_holds_the_position_back() {
        let (tracker, seen) = tracker();
        let lost = tracker.issue(10);
        let delivered = tracker.issue(20);
        drop(lost);
        delivered.acknowledge();
        assert!(seen.lock().unwrap().is_empty());
        assert_eq!(tracker.pending(), 2);
    }

    #[test]
    fn a_batch_moves_each_source_once() {
        let (left, seen_left) = tracker();
        let (right, seen_right) = tracker();
        let acks = vec![left.issue(1), left.issue(2), right.issue(7), Ack::none(), left.issue(3)];
        acknowledge_all(acks);
        assert_eq!(*seen_left.lock().unwrap(), [2, 3]);
        assert_eq!(*seen_right.lock().unwrap(), [7]);
    }

    #[test]
    fn what_is_skipped_waits_for_what_came_before() {
        let (tracker, seen) = tracker();
        let first = tracker.issue(10);
        tracker.skip_to(25);
        assert!(seen.lock().unwrap().is_empty());
        first.acknowledge();
        assert_eq!(*seen.lock().unwrap(), [25]);
    }
}
