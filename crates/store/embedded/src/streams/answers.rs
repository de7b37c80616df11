//! What was found out about segments, kept for the next time somebody asks: a segment's documents never change, so what was
//! counted in it once stays right for as long as it is there. Only what is new is counted for each look at a stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tantivy::aggregation::intermediate_agg_result::IntermediateAggregationResults;
use tantivy::index::SegmentId;

/// What all answers together may take, roughly.
const MOST_BYTES: usize = 32 << 20;
/// What one may.
const LARGEST: usize = MOST_BYTES / 8;
/// What an entry takes beside its answer and its question.
const OVERHEAD: usize = 160;

/// Answers of all streams, the least used of which go first.
#[derive(Debug, Default)]
pub(crate) struct Answers(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    entries: HashMap<(SegmentId, Arc<str>), Entry>,
    bytes: usize,
    /// Counts up with each use.
    now: u64,
    generation: u64,
}

#[derive(Debug)]
struct Entry {
    answer: Answer,
    bytes: usize,
    used: u64,
}

/// What is known of a segment.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// How many documents match.
    Count(u64),
    /// What became of aggregations.
    Aggregated(Arc<IntermediateAggregationResults>),
}

impl Answers {
    pub(crate) fn get(&self, segment: SegmentId, question: &Arc<str>) -> Option<Answer> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.now += 1;
        let now = kept.now;
        let entry = kept.entries.get_mut(&(segment, question.clone()))?;
        entry.used = now;
        Some(entry.answer.clone())
    }

    pub(crate) fn keep(&self, segment: SegmentId, question: &Arc<str>, answer: Answer) {
        let bytes = OVERHEAD + question.len() + answer.bytes();
        if bytes > LARGEST {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.now += 1;
        let entry = Entry {
            answer,
            bytes,
            used: kept.now,
        };
        kept.bytes += bytes;
        if let Some(before) = kept.entries.insert((segment, question.clone()), entry) {
            kept.bytes -= before.bytes;
        }
        if kept.bytes > MOST_BYTES {
            kept.shrink();
        }
    }

    /// Part of every question.
    pub(crate) fn generation(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).generation
    }

    /// Forgets everything: what a question means has changed.
    pub(crate) fn clear(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.generation += 1;
        kept.entries.clear();
        kept.bytes = 0;
    }
}

impl Kept {
    /// A quarter goes at once, so that this happens rarely.
    fn shrink(&mut self) {
        let mut uses: Vec<(u64, usize)> = self.entries.values().map(|entry| (entry.used, entry.bytes)).collect();
        uses.sort_unstable();
        let mut left = self.bytes;
        let mut oldest = 0;
        for (used, bytes) in uses {
            if left <= MOST_BYTES / 4 * 3 {
                break;
            }
            (left, oldest) = (left - bytes, used);
        }
        self.entries.retain(|_, entry| entry.used > oldest);
        self.bytes = left;
    }
}

impl Answer {
    /// Roughly; the text of an answer is about as long as the answer is large.
    fn bytes(&self) -> usize {
        match self {
            Self::Count(_) => 0,
            Self::Aggregated(results) => {
                let mut length = Length(0);
                match std::fmt::Write::write_fmt(&mut length, format_args!("{results:?}")) {
                    Ok(()) => length.0,
                    Err(_) => LARGEST,
                }
            }
        }
    }
}

/// Takes a text and keeps its length.
struct Length(usize);

impl std::fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(number: u32) -> SegmentId {
        SegmentId::from_uuid_string(&format!("{number:032x}")).unwrap()
    }

    fn count(answers: &Answers, number: u32, question: &str) -> Option<u64> {
        match answers.get(segment(number), &question.into())? {
            Answer::Count(count) => Some(count),
            Answer::Aggregated(_) => None,
        }
    }

    #[test]
    fn each_segment_has_its_own_answers() {
        let answers = Answers::default();
        answers.keep(segment(1), &"q".into(), Answer::Count(7));
        assert_eq!(count(&answers, 1, "q"), Some(7));
        assert_eq!((count(&answers, 2, "q"), count(&answers, 1, "other")), (None, None));
        answers.keep(segment(1), &"q".into(), Answer::Count(8));
        assert_eq!(count(&answers, 1, "q"), Some(8));
        answers.clear();
        assert_eq!(count(&answers, 1, "q"), None);
    }

    #[test]
    fn the_least_used_go_when_there_are_too_many() {
        let answers = Answers::default();
        let long = |number: u32| format!("{number} {}", "x".repeat(1 << 20));
        for number in 0..40 {
            answers.keep(segment(number), &long(number).into(), Answer::Count(1));
            assert_eq!(count(&answers, 0, &long(0)), Some(1), "what is used stays");
        }
        assert_eq!(count(&answers, 1, &long(1)), None);
        assert_eq!(count(&answers, 39, &long(39)), Some(1));
        let kept = answers.0.lock().unwrap();
        assert!(kept.bytes <= MOST_BYTES);
        assert_eq!(
            kept.bytes,
            kept.entries.values().map(|entry| entry.bytes).sum::<usize>()
        );
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let answers = Answers::default();
        let question = "x".repeat(LARGEST);
        answers.keep(segment(1), &question.as_str().into(), Answer::Count(1));
        assert_eq!(count(&answers, 1, &question), None);
    }
}
