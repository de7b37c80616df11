//! Primary terms: Elasticsearch wants one beside each expected sequence number, the trait's callers know only the number.
//!
//! A document that a caller holds came through here, so its term was seen here. What was not seen is guessed; a wrong guess
//! is a conflict, which is looked at again before it is believed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use store::SeqNo;

/// Indices that are remembered; beyond it all are forgotten, which costs one look each.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Terms(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    indices: HashMap<String, Vec<Seen>>,
    /// Which index stands behind a name, where they differ.
    aliases: HashMap<String, String>,
}

/// Numbers that were written in one term.
#[derive(Clone, Copy, Debug)]
struct Seen {
    term: u64,
    lowest: SeqNo,
    highest: SeqNo,
}

impl Terms {
    /// `seq_no` of `index` was written in `term`.
    pub(crate) fn observe(&self, index: &str, seq_no: SeqNo, term: u64) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let indices = &mut memory.indices;
        if indices.len() > MOST {
            indices.clear();
        }
        if !indices.contains_key(index) {
            indices.insert(index.to_owned(), Vec::new());
        }
        let Some(seen) = indices.get_mut(index) else { return };
        match seen.iter_mut().find(|seen| seen.term == term) {
            Some(known) => {
                known.lowest = known.lowest.min(seq_no);
                known.highest = known.highest.max(seq_no);
            }
            None => seen.push(Seen {
                term,
                lowest: seq_no,
                highest: seq_no,
            }),
        }
    }

    /// The term of `seq_no` as far as is known: the newest one whose numbers surround it, else the newest of all.
    pub(crate) fn guess(&self, index: &str, seq_no: SeqNo) -> u64 {
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = memory.aliases.get(index).map_or(index, String::as_str);
        let seen = memory.indices.get(index).map(Vec::as_slice).unwrap_or_default();
        let around = seen
            .iter()
            .filter(|seen| (seen.lowest..=seen.highest).contains(&seq_no))
            .map(|seen| seen.term)
            .max();
        around.or_else(|| seen.iter().map(|seen| seen.term).max()).unwrap_or(1)
    }

    /// What is written to `name` goes to `index`.
    pub(crate) fn alias(&self, name: &str, index: &str) {
        if name == index {
            return;
        }
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.aliases.len() > MOST {
            memory.aliases.clear();
        }
        if memory.aliases.get(name).is_none_or(|known| known != index) {
            memory.aliases.insert(name.to_owned(), index.to_owned());
        }
    }

    pub(crate) fn forget(&self, index: &str) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.indices.remove(index);
        memory.aliases.remove(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_between_two_of_one_term_has_that_term() {
        let terms = Terms::default();
        assert_eq!(terms.guess("a", 5), 1, "nothing is known");
        for (seq_no, term) in [(0, 1), (9, 1), (12, 3), (20, 3)] {
            terms.observe("a", seq_no, term);
        }
        for (seq_no, expected) in [(0, 1), (5, 1), (9, 1), (10, 3), (15, 3), (99, 3)] {
            assert_eq!(terms.guess("a", seq_no), expected, "{seq_no}");
        }
        terms.alias("b", "a");
        assert_eq!(terms.guess("b", 15), 3);
        terms.forget("a");
        assert_eq!(terms.guess("a", 15), 1);
    }
}
