//! Frozen views: an open read transaction of the database and searchers of the backing indices.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use store::StoreError;
use tantivy::Searcher;

use crate::streams::backing::Backing;

/// Points in time that may be open: each keeps files and log pages from being reclaimed.
const MOST_OPEN: usize = 100;
const LONGEST: Duration = Duration::from_hours(24);

/// A frozen view.
pub(crate) struct PointInTime {
    /// In a read transaction.
    pub(crate) connection: Mutex<Connection>,
    pub(crate) indices: Vec<String>,
    pub(crate) searchers: Vec<(Arc<Backing>, Searcher)>,
}

/// A view, when it ends, and for how long each use keeps it.
type Kept = (Arc<PointInTime>, Instant, Duration);

#[derive(Default)]
pub(crate) struct PointsInTime {
    open: Mutex<HashMap<String, Kept>>,
}

impl std::fmt::Debug for PointsInTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PointsInTime")
    }
}

impl PointsInTime {
    pub(crate) fn insert(&self, view: PointInTime, keep_alive: Duration) -> Result<String, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        remove_expired(&mut open);
        if open.len() >= MOST_OPEN {
            let reason =
                format!("{MOST_OPEN} points in time are open already; close some, or ask for a shorter keep_alive");
            return Err(StoreError::Unavailable(reason));
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        let keep_alive = keep_alive.min(LONGEST);
        open.insert(id.clone(), (Arc::new(view), Instant::now() + keep_alive, keep_alive));
        Ok(id)
    }

    /// The view; using it keeps it alive for as long again.
    pub(crate) fn get(&self, id: &str) -> Result<Arc<PointInTime>, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        remove_expired(&mut open);
        let (view, until, keep_alive) = open
            .get_mut(id)
            .ok_or_else(|| StoreError::NoSuchPointInTime(id.to_owned()))?;
        *until = Instant::now() + *keep_alive;
        Ok(view.clone())
    }

    pub(crate) fn remove(&self, id: &str) -> bool {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id)
            .is_some()
    }

    pub(crate) fn expire(&self) {
        remove_expired(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn clear(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn remove_expired(open: &mut HashMap<String, Kept>) {
    let now = Instant::now();
    open.retain(|_, (_, until, _)| *until > now);
}
