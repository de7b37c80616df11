//! What a listener counts, for whoever shows it to people.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counted since the listener began. Clones share the numbers.
#[derive(Clone, Debug, Default)]
pub struct ListenerCounts(Arc<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    open: AtomicUsize,
    accepted: AtomicU64,
    full: AtomicU64,
    resumed: AtomicU64,
    /// By the class of their explanation, of which there are a few dozen.
    failed: Mutex<BTreeMap<String, u64>>,
}

impl ListenerCounts {
    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Connections that were taken.
    pub fn accepted(&self) -> u64 {
        self.0.accepted.load(Ordering::Relaxed)
    }

    /// TLS handshakes that went well, whole ones and those that took up an earlier session.
    pub fn handshakes(&self) -> (u64, u64) {
        (
            self.0.full.load(Ordering::Relaxed),
            self.0.resumed.load(Ordering::Relaxed),
        )
    }

    /// TLS handshakes that failed, by why: `expired`, `unknown_authority` ..
    pub fn failed(&self) -> BTreeMap<String, u64> {
        self.0.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A connection is open as long as this lives.
    pub(crate) fn take(&self) -> Taken {
        self.0.accepted.fetch_add(1, Ordering::Relaxed);
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Taken(self.0.clone())
    }

    pub(crate) fn shook_hands(&self, resumed: bool) {
        let number = if resumed { &self.0.resumed } else { &self.0.full };
        number.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fail(&self, class: &str) {
        let mut failed = self.0.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match failed.get_mut(class) {
            Some(number) => *number += 1,
            None => drop(failed.insert(class.to_owned(), 1)),
        }
    }
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Taken(Arc<Numbers>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
