//! An index kept in memory, brought up to date by what has changed since it was last looked at.
//!
//! Every look asks the store for its sequence number and reads only the documents that were written since. A deleted document
//! leaves no trace in such a search; it shows in the number of documents, and then the index is read anew.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use query::{Query, SearchRequest, SortOrder};
use store::{Document, SeqNo, Store, StoreError};
use tokio::sync::Mutex;

use crate::domain::error::FleetError;

/// Documents that are read at once.
const BATCH: usize = 5_000;
/// What is kept of every document of an index.
pub(crate) type Entries<T> = HashMap<Arc<str>, Arc<T>>;

/// What is kept of a document.
type Keep<T> = Box<dyn Fn(&Document) -> Result<T, FleetError> + Send + Sync>;

/// An index in memory.
pub(crate) struct Mirror<T> {
    index: &'static str,
    keep: Keep<T>,
    state: Mutex<State<T>>,
}

impl<T: fmt::Debug> fmt::Debug for Mirror<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror")
            .field("index", &self.index)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State<T> {
    seen: Option<SeqNo>,
    entries: Arc<Entries<T>>,
}

impl<T> State<T> {
    fn empty() -> Self {
        Self {
            seen: None,
            entries: Arc::default(),
        }
    }
}

impl<T> Mirror<T> {
    /// `keep` takes from a document what is kept of it.
    pub(crate) fn of(
        index: &'static str,
        keep: impl Fn(&Document) -> Result<T, FleetError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            index,
            keep: Box::new(keep),
            state: Mutex::new(State::empty()),
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
            *state = State::empty();
        }
        self.read_changes(store, &mut state, checkpoint).await?;
        let there = store.count(&[self.index.to_owned()], &Query::MatchAll).await;
        let there = match there {
            Err(StoreError::IndexNotFound(_)) => 0,
            there => there?,
        };
        if state.entries.len() as u64 > there {
            *state = State::empty();
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

#[cfg(test)]
mod tests {
    use embedded::{EmbeddedOptions, EmbeddedStore};
    use serde_json::json;
    use store::{Operation, Refresh, Source};

    use super::*;

    const INDEX: &str = ".fleet-agents";

    fn name(document: &Document) -> Result<String, FleetError> {
        let name = document.source.to_value()["name"].as_str().map(str::to_owned);
        name.ok_or_else(|| FleetError::invalid("a document without a name"))
    }

    async fn check(mirror: &Mirror<String>, store: &dyn Store, expected: &[&str]) {
        let entries = mirror.current(store).await.unwrap();
        let mut names: Vec<String> = entries.iter().map(|(id, name)| format!("{id} {name}")).collect();
        names.sort();
        assert_eq!(names, expected);
    }

    #[tokio::test]
    async fn what_is_written_changed_and_deleted_is_seen_at_the_next_look() {
        let folder = tempfile::tempdir().unwrap();
        let path = camino::Utf8Path::from_path(folder.path()).unwrap().join("store");
        let store = EmbeddedStore::open(EmbeddedOptions::new(path, clock::system())).unwrap();
        let write = async |operations: Vec<Operation>| {
            store.bulk(operations, Refresh::WaitFor).await.unwrap();
        };
        let put = |id: &str, name: &str| Operation::index(INDEX, id, Source::of(&json!({"name": name})));
        let mirror = Mirror::of(INDEX, name);
        check(&mirror, &*store, &[]).await;
        write(vec![put("a", "one"), put("b", "two")]).await;
        check(&mirror, &*store, &["a one", "b two"]).await;
        write(vec![put("b", "three"), put("c", "four")]).await;
        check(&mirror, &*store, &["a one", "b three", "c four"]).await;
        // One goes and one comes: the number alone would say nothing.
        write(vec![Operation::delete(INDEX, "a"), put("d", "five")]).await;
        check(&mirror, &*store, &["b three", "c four", "d five"]).await;
        write(vec![Operation::delete(INDEX, "d")]).await;
        check(&mirror, &*store, &["b three", "c four"]).await;
    }
}
