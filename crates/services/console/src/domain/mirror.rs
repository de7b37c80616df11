//! An index kept in memory, brought up to date by what has changed since it was last looked at.
//!
//! Every look asks the store for its sequence number and reads only the documents that were written since. A deleted document
//! leaves no trace in such a search; it shows in the number of documents, and then the index is read anew.

use std::collections::HashMap;
use std::sync::Arc;

use query::{Query, SearchRequest, SortOrder};
use store::{Document, SeqNo, Store, StoreError};
use tokio::sync::Mutex;

use crate::domain::error::FleetError;

/// Documents that are read at once.
const BATCH: usize = 5_000;

/// What is kept of every document of an index.
pub(crate) type Entries<T> = HashMap<Arc<str>, Arc<T>>;

/// An index in memory.
#[derive(Debug)]
pub(crate) struct Mirror<T> {
    index: &'static str,
    keep: fn(&Document) -> Result<T, FleetError>,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    seen: Option<SeqNo>,
    entries: Arc<Entries<T>>,
}

impl<T> Mirror<T> {
    /// `keep` takes from a document what is kept of it.
    pub(crate) fn of(index: &'static str, keep: fn(&Document) -> Result<T, FleetError>) -> Self {
        let state = State {
            seen: None,
            entries: Arc::default(),
        };
        Self {
            index,
            keep,
            state: Mutex::new(state),
        }
    }

    /// What the index holds now.
    ///
    /// # Errors
    /// The store cannot answer, or a document cannot be read.
    pub(crate) async fn current(&self, store: &dyn Store) -> Result<Arc<Entries<T>>, FleetError> {
        let mut state = self.state.lock().await;
        let checkpoint = match store.checkpoint(self.index).await {
            Err(StoreError::IndexNotFound(_)) => None,
            checkpoint => checkpoint?,
        };
        if checkpoint == state.seen {
            return Ok(Arc::clone(&state.entries));
        }
        if checkpoint.is_none() || checkpoint < state.seen {
            *state = State {
                seen: None,
                entries: Arc::default(),
            };
        }
        self.read_changes(store, &mut state, checkpoint).await?;
        let there = store.count(&[self.index.to_owned()], &Query::MatchAll).await;
        let there = match there {
            Err(StoreError::IndexNotFound(_)) => 0,
            there => there?,
        };
        if state.entries.len() as u64 > there {
            state.seen = None;
            state.entries = Arc::default();
            self.read_changes(store, &mut state, checkpoint).await?;
        }
        Ok(Arc::clone(&state.entries))
    }

    async fn read_changes(
        &self,
        store: &dyn Store,
        state: &mut State<T>,
        checkpoint: Option<SeqNo>,
    ) -> Result<(), FleetError> {
        let since = state.seen;
        let mut search_after = None;
        let entries = Arc::make_mut(&mut state.entries);
        loop {
            let query = since.map_or(Query::MatchAll, |seen| Query::greater_than("_seq_no", seen));
            let request = SearchRequest {
                search_after,
                ..SearchRequest::new(self.index)
                    .query(query)
                    .size(BATCH)
                    .sort_by("_seq_no", SortOrder::Ascending)
            };
            let found = match store.search(request).await {
                Err(StoreError::IndexNotFound(_)) => break,
                found => found?,
            };
            let is_last = found.hits.len() < BATCH;
            search_after = found.hits.last().map(|hit| hit.sort.clone());
            for hit in &found.hits {
                let kept = (self.keep)(&hit.document)?;
                entries.insert(hit.document.id.as_str().into(), Arc::new(kept));
            }
            if is_last {
                break;
            }
        }
        // What was written meanwhile is read once more the next time.
        state.seen = checkpoint;
        Ok(())
    }
}
