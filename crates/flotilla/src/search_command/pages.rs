//! Pages of a search by time. Pages overlap by one moment, and what the page before had of it is left out: that needs no
//! tie-breaker, which not every peer has.

use std::collections::HashSet;

use anyhow::{Context, Result};
use query::{Query, SearchRequest, SortOrder};
use remote::RemoteStore;
use serde_json::Value;
use store::{Hit, Store};

pub(super) const TIMESTAMP: &str = "@timestamp";
const PAGE: usize = 1000;
/// More hits than this in one answer are refused by a stock peer.
const LARGEST_PAGE: usize = 10_000;

/// Index and id.
pub(super) type Key = (String, String);

pub(super) fn key(hit: &Hit) -> Key {
    (hit.document.index.clone(), hit.document.id.clone())
}

pub(super) fn contains(seen: &HashSet<Key>, hit: &Hit) -> bool {
    seen.contains(&key(hit))
}

/// One search, to be read page by page.
pub(super) struct Pages<'a> {
    store: &'a RemoteStore,
    indices: &'a [String],
    query: Query,
}

impl<'a> Pages<'a> {
    pub(super) fn new(store: &'a RemoteStore, indices: &'a [String], query: Query) -> Self {
        Self { store, indices, query }
    }

    /// The newest `count`, oldest first.
    pub(super) async fn newest(&self, count: usize) -> Result<Vec<Hit>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut hits = self.page(self.query.clone(), SortOrder::Descending, count).await?;
        hits.reverse();
        Ok(hits)
    }

    /// Everything, oldest first.
    pub(super) async fn oldest_first(&self) -> Result<Vec<Hit>> {
        let mut all: Vec<Hit> = Vec::new();
        let mut seen = HashSet::new();
        let mut from: Option<i64> = None;
        let mut size = PAGE;
        loop {
            let query = match from {
                None => self.query.clone(),
                Some(from) => Query::all_of(vec![self.query.clone(), Query::at_least(TIMESTAMP, from)]),
            };
            let page = self.page(query, SortOrder::Ascending, size).await?;
            let full = page.len() == size;
            let last = page.last().and_then(time_of);
            all.extend(page.into_iter().filter(|hit| seen.insert(key(hit))));
            if !full {
                return Ok(all);
            }
            match last {
                Some(last) if Some(last) != from => from = Some(last),
                // One moment fills the page.
                _ if size < LARGEST_PAGE => size = LARGEST_PAGE,
                Some(last) => {
                    tracing::warn!(
                        time = last,
                        "more than {LARGEST_PAGE} documents of one millisecond; some are left out"
                    );
                    from = Some(last + 1);
                }
                None => return Ok(all),
            }
        }
    }

    async fn page(&self, query: Query, order: SortOrder, size: usize) -> Result<Vec<Hit>> {
        let request = SearchRequest {
            indices: self.indices.to_vec(),
            ignore_unavailable: true,
            track_total_hits: 0,
            ..SearchRequest::default()
        };
        let request = request.query(query).size(size).sort_by(TIMESTAMP, order);
        let found = self.store.search(request).await.context("the search failed")?;
        Ok(found.hits)
    }
}

fn time_of(hit: &Hit) -> Option<i64> {
    hit.sort.first().and_then(Value::as_i64)
}
