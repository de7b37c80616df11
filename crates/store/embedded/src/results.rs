//! Ordering, paging and merging hits from several places.

use std::cmp::Ordering;

use query::{Sort, compare_sort_values};
use serde_json::Value;
use store::Hit;

/// Hits of one page in the making: the best `from + size` so far.
pub(crate) struct Page {
    sort: Vec<Sort>,
    after: Option<Vec<Value>>,
    keep: usize,
    hits: Vec<Hit>,
    sorted: usize,
}

impl Page {
    pub(crate) fn new(sort: &[Sort], after: Option<&[Value]>, keep: usize) -> Self {
        Self {
            sort: sort.to_vec(),
            after: after.map(<[Value]>::to_vec),
            keep,
            hits: Vec::new(),
            sorted: 0,
        }
    }

    /// What hits are ordered by.
    pub(crate) fn sort(&self) -> &[Sort] {
        &self.sort
    }

    /// Whether a hit with these sort values can still get in. With no sort, the first come first. `after` is the cursor in
    /// the form of the index's own values.
    pub(crate) fn wants(&self, keys: &[Value], after: Option<&[Value]>) -> bool {
        if self.keep == 0 || (self.sort.is_empty() && self.hits.len() >= self.keep) {
            return false;
        }
        let behind = |cursor: &[Value]| compare_sort_values(&self.sort, keys, cursor) == Ordering::Greater;
        if !after.or(self.after.as_deref()).is_none_or(behind) {
            return false;
        }
        let worst = (self.sorted == self.keep)
            .then(|| self.hits.get(self.keep - 1))
            .flatten();
        worst.is_none_or(|worst| compare_sort_values(&self.sort, keys, &worst.sort) == Ordering::Less)
    }

    /// The first sort value of the worst hit, once the page is full: what sorts behind it is not looked at.
    pub(crate) fn worst(&self) -> Option<&Value> {
        let worst = (self.sorted == self.keep).then(|| self.hits.get(self.keep.checked_sub(1)?));
        worst.flatten()?.sort.first()
    }

    /// How many hits the page has at most.
    pub(crate) fn room(&self) -> usize {
        self.keep
    }

    pub(crate) fn push(&mut self, hit: Hit) {
        self.hits.push(hit);
        if self.hits.len() >= self.keep.saturating_mul(2).max(1000) {
            self.settle();
        }
    }

    /// Puts what was found so far in order; from then on it is known what is too bad to get in.
    pub(crate) fn settle(&mut self) {
        if !self.sort.is_empty() {
            let sort = &self.sort;
            self.hits
                .sort_by(|left, right| compare_sort_values(sort, &left.sort, &right.sort));
        }
        self.hits.truncate(self.keep);
        self.sorted = self.hits.len();
    }

    pub(crate) fn finish(mut self, from: usize) -> Vec<Hit> {
        self.settle();
        self.hits.drain(..from.min(self.hits.len()));
        self.hits
    }
}
