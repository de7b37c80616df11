//! What a stream has done, for metrics and health. Source: reference on agent data, input metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one stream over files.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) files_opened: Counter,
    pub(super) files_closed: Counter,
    pub(super) messages: Counter,
    pub(super) truncated: Counter,
    pub(super) bytes: Counter,
    pub(super) events: Counter,
    pub(super) errors: Counter,
}

impl Counters {
    pub(super) fn read(&self, bytes: u64, truncated: bool) {
        self.messages.add(1);
        self.bytes.add(bytes);
        if truncated {
            self.truncated.add(1);
        }
    }

    /// Under the names that the stock agent's input metrics have.
    pub(super) fn json(&self) -> Value {
        let (opened, closed) = (self.files_opened.get(), self.files_closed.get());
        json!({
            "files_opened_total": opened,
            "files_closed_total": closed,
            "files_active": opened.saturating_sub(closed),
            "messages_read_total": self.messages.get(),
            "messages_truncated_total": self.truncated.get(),
            "bytes_processed_total": self.bytes.get(),
            "events_processed_total": self.events.get(),
            "processing_errors_total": self.errors.get(),
        })
    }
}
