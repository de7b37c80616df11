//! Ordering, paging and merging hits from several places.

use std::cmp::Ordering;

use query::{Sort, SortOrder, compare_values};
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

    /// Whether a hit with these sort values can still get in. With no sort, the first come first.
    pub(crate) fn wants(&self, keys: &[Value]) -> bool {
        if self.keep == 0 || (self.sort.is_empty() && self.hits.len() >= self.keep) {
            return false;
        }
        let after = |cursor: &Vec<Value>| compare_keys(&self.sort, keys, cursor) == Ordering::Greater;
        if !self.after.as_ref().is_none_or(after) {
            return false;
        }
        let worst = (self.sorted == self.keep)
            .then(|| self.hits.get(self.keep - 1))
            .flatten();
        worst.is_none_or(|worst| compare_keys(&self.sort, keys, &worst.sort) == Ordering::Less)
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

    fn settle(&mut self) {
        if !self.sort.is_empty() {
            let sort = &self.sort;
            self.hits
                .sort_by(|left, right| compare_keys(sort, &left.sort, &right.sort));
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

/// The order of two hits by their sort values. Missing values come last unless the key says otherwise.
pub(crate) fn compare_keys(sort: &[Sort], left: &[Value], right: &[Value]) -> Ordering {
    sort.iter()
        .zip(left.iter().zip(right))
        .map(|(key, (left, right))| compare_key(key, left, right))
        .find(|ordering| *ordering != Ordering::Equal)
        .unwrap_or(Ordering::Equal)
}

fn compare_key(key: &Sort, left: &Value, right: &Value) -> Ordering {
    let missing_side = if key.missing_first {
        Ordering::Less
    } else {
        Ordering::Greater
    };
    match (left.is_null(), right.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => missing_side,
        (false, true) => missing_side.reverse(),
        (false, false) if key.order == SortOrder::Descending => compare_values(right, left),
        (false, false) => compare_values(left, right),
    }
}
