//! An index kept in memory, brought up to date by what has changed since it was last looked at.
//!
//! Every look asks the store for its sequence number and reads only the documents that were written since. A deleted document
//! leaves no trace in such a search; it shows in the number of documents, and then the index is read anew.

use std::collections::HashMap;
use std::fmt;
use std::sync::{self, Arc, PoisonError};

use query::{Query, SearchRequest, SortOrder};
use store::{Document, SeqNo, Store, StoreError};
use tokio::sync::Mutex;

use crate::domain::error::FleetError;

/// Documents that are read at once.
const BATCH: usize = 5_000;
/// Documents that are looked for one by one after a deletion; where there are more, reading all is quicker.
const MOST_SUSPECTS: usize = 1_000;
/// What is kept of every document of an index.
pub(crate) type Entries<T> = HashMap<Arc<str>, Arc<T>>;

/// How it is kept, by the ids of the documents.
pub(crate) trait Keeps<T>: Clone + Send + Sync {
    /// Another one, with nothing in it.
    fn emptied(&self) -> Self;

    /// Takes in what has changed.
    fn put(&mut self, changed: Vec<(Arc<str>, T)>);

    /// Forgets a document.
    fn remove(&mut self, id: &str);

    /// The number of documents.
    fn count(&self) -> usize;
}

impl<T: Send + Sync> Keeps<T> for Arc<Entries<T>> {
    fn emptied(&self) -> Self {
        Self::default()
    }

    fn put(&mut self, changed: Vec<(Arc<str>, T)>) {
        Arc::make_mut(self).extend(changed.into_iter().map(|(id, kept)| (id, Arc::new(kept))));
    }

    fn remove(&mut self, id: &str) {
        Arc::make_mut(self).remove(id);
    }

    fn count(&self) -> usize {
        self.len()
    }
}

/// What is kept of a document.
type Keep<T> = Box<dyn Fn(&Document) -> Result<T, FleetError> + Send + Sync>;

/// An index in memory.
pub(crate) struct Mirror<T, K = Arc<Entries<T>>> {
    index: &'static str,
    keep: Keep<T>,
    state: Mutex<State<K>>,
    /// Ids whose documents are perhaps deleted.
    suspects: sync::Mutex<Vec<String>>,
}

impl<T, K: fmt::Debug> fmt::Debug for Mirror<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror")
            .field("index", &self.index)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State<K> {
    seen: Option<SeqNo>,
    entries: K,
}

impl<T: Send + Sync> Mirror<T> {
    /// `keep` takes from a document what is kept of it.
    pub(crate) fn of(
        index: &'static str,
        keep: impl Fn(&Document) -> Result<T, FleetError> + Send + Sync + 'static,
    ) -> Self {
        Self::kept_in(Arc::default(), index, keep)
    }
}

impl<T, K: Keeps<T>> Mirror<T, K> {
    /// In `entries`, which are empty.
    pub(crate) fn kept_in(
        entries: K,
        index: &'static str,
        keep: impl Fn(&Document) -> Result<T, FleetError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            index,
            keep: Box::new(keep),
            state: Mutex::new(State { seen: None, entries }),
            suspects: sync::Mutex::default(),
        }
    }

    /// Says that a document has perhaps been deleted: then the next look need not read the whole index.
    pub(crate) fn suspect(&self, id: &str) {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        if suspects.len() < MOST_SUSPECTS {
            suspects.push(id.to_owned());
        }
    }

    /// What the index holds now.
    ///
    /// # Errors
    /// The store cannot answer, or a document cannot be read.
    pub(crate) async fn current(&self, store: &dyn Store) -> Result<K, FleetError> {
        let mut state = self.state.lock().await;
        let checkpoint = match store.checkpoint(self.index).await {
            Err(StoreError::IndexNotFound(_)) => None,
            checkpoint => checkpoint?,
        };
        if checkpoint == state.seen {
            return Ok(state.entries.clone());
        }
        if checkpoint.is_none() || checkpoint < state.seen {
            Self::forget(&mut state);
        }
        self.read_changes(store, &mut state, checkpoint).await?;
        let there = store.count(&[self.index.to_owned()], &Query::MatchAll).await;
        let there = match there {
            Err(StoreError::IndexNotFound(_)) => 0,
            there => there?,
        };
        if state.entries.count() as u64 > there {
            self.look_for_suspects(store, &mut state.entries).await?;
        }
        if state.entries.count() as u64 > there {
            Self::forget(&mut state);
            self.read_changes(store, &mut state, checkpoint).await?;
        }
        Ok(state.entries.clone())
    }

    fn forget(state: &mut State<K>) {
        state.seen = None;
        state.entries = state.entries.emptied();
    }

    /// Forgets those that are gone.
    async fn look_for_suspects(&self, store: &dyn Store, entries: &mut K) -> Result<(), FleetError> {
        let suspects = std::mem::take(&mut *self.suspects.lock().unwrap_or_else(PoisonError::into_inner));
        for id in suspects {
            match store.get(self.index, &id).await {
                Ok(None) | Err(StoreError::IndexNotFound(_)) => entries.remove(&id),
                Ok(Some(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn read_changes(
        &self,
        store: &dyn Store,
        state: &mut State<K>,
        checkpoint: Option<SeqNo>,
    ) -> Result<(), FleetError> {
        let since = state.seen;
        let mut search_after = None;
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
            let mut changed: Vec<(Arc<str>, T)> = Vec::with_capacity(found.hits.len());
            for hit in &found.hits {
                changed.push((hit.document.id.as_str().into(), (self.keep)(&hit.document)?));
            }
            state.entries.put(changed);
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
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    /// Reading an index again takes seconds where it holds many documents.
    #[tokio::test]
    async fn a_deletion_that_was_announced_costs_one_look() {
        let folder = tempfile::tempdir().unwrap();
        let path = camino::Utf8Path::from_path(folder.path()).unwrap().join("store");
        let store = EmbeddedStore::open(EmbeddedOptions::new(path, clock::system())).unwrap();
        let put = |id: &str| Operation::index(INDEX, id, Source::of(&json!({"name": "n"})));
        let all = ["a", "b", "c"].map(put).to_vec();
        store.bulk(all, Refresh::WaitFor).await.unwrap();
        let read = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&read);
        let mirror = Mirror::of(INDEX, move |document| {
            counted.fetch_add(1, Ordering::Relaxed);
            name(document)
        });
        check(&mirror, &*store, &["a n", "b n", "c n"]).await;
        // One is deleted, the other was only going to be.
        mirror.suspect("a");
        mirror.suspect("b");
        let gone = vec![Operation::delete(INDEX, "a")];
        store.bulk(gone, Refresh::WaitFor).await.unwrap();
        check(&mirror, &*store, &["b n", "c n"]).await;
        assert_eq!(read.load(Ordering::Relaxed), 3, "nothing was read again");
        let gone = vec![Operation::delete(INDEX, "b")];
        store.bulk(gone, Refresh::WaitFor).await.unwrap();
        check(&mirror, &*store, &["c n"]).await;
        assert_eq!(
            read.load(Ordering::Relaxed),
            4,
            "what nobody announced is found by reading all"
        );
    }
}
