//! What an output counted since it started: read by status, metrics and tests.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Running totals of one output; all in events unless said.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) acknowledged: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) dead_lettered: AtomicU64,
    pub(crate) overflow_dropped: AtomicU64,
    pub(crate) spilled: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) failed_requests: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
}

/// [`Counters`] at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct CountersSnapshot {
    /// Events whose delivery was confirmed.
    pub acknowledged: u64,
    /// Events that the store already had (status 409); counted in `acknowledged` as well.
    pub duplicates: u64,
    /// Events sent again because of an item's 429 or 5xx, or because a whole request failed.
    pub retried: u64,
    /// Events that the other side refused for good.
    pub dropped: u64,
    /// Dropped events that are kept in the dead-letter file.
    pub dead_lettered: u64,
    /// Events lost because the disk queue's bound was reached.
    pub overflow_dropped: u64,
    /// Events that went through the disk queue.
    pub spilled: u64,
    /// Requests that were answered.
    pub batches: u64,
    /// Requests that failed as a whole.
    pub failed_requests: u64,
    /// Bytes sent, after compression.
    pub bytes_written: u64,
}

impl Counters {
    /// The totals now.
    pub fn snapshot(&self) -> CountersSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CountersSnapshot {
            acknowledged: read(&self.acknowledged),
            duplicates: read(&self.duplicates),
            retried: read(&self.retried),
            dropped: read(&self.dropped),
            dead_lettered: read(&self.dead_lettered),
            overflow_dropped: read(&self.overflow_dropped),
            spilled: read(&self.spilled),
            batches: read(&self.batches),
            failed_requests: read(&self.failed_requests),
            bytes_written: read(&self.bytes_written),
        }
    }

    pub(crate) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}
