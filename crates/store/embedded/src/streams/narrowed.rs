//! What a query comes down to in one segment. Segments know from when to when their documents are: one that lies within the
//! time that is asked for need not look at any time, and one outside of it has nothing.

use std::sync::Arc;

use query::{Query, RangeBound};
use store::StoreError;
use tantivy::columnar::Cardinality;
use tantivy::query::{EnableScoring, Weight};
use tantivy::{Searcher, SegmentReader};

use super::answers::{Answer, Answers};
use super::backing::index_error;
use super::translate::Translator;

const TIME: &str = "@timestamp";
/// Times this close to a bound are compared one by one.
const MARGIN_MS: i64 = 1_000;
/// Segments with fewer documents are gone quickly, and are merged soon.
const FEWEST: u32 = 1_000;
/// Longer questions are not kept.
const LONGEST: usize = 4_096;

/// One query over the segments of one searcher.
pub(crate) struct Narrowed<'a> {
    translator: &'a Translator<'a>,
    searcher: &'a Searcher,
    whole: &'a Query,
    /// Read before what fields mean, so that an answer is never found under a later meaning.
    generation: u64,
    /// Most segments share one of few forms.
    forms: Vec<(Query, Arc<dyn Weight>)>,
}

/// The query in one segment.
#[derive(Clone)]
pub(crate) struct InSegment {
    pub(crate) weight: Arc<dyn Weight>,
    /// What is asked there, when the answer stays right for as long as the segment is there.
    question: Option<Arc<str>>,
    /// Every document matches.
    is_all: bool,
}

impl<'a> Narrowed<'a> {
    pub(crate) fn new(
        translator: &'a Translator<'a>,
        searcher: &'a Searcher,
        whole: &'a Query,
        answers: &Answers,
    ) -> Result<Self, StoreError> {
        let mut narrowed = Self {
            translator,
            searcher,
            whole,
            generation: answers.generation(),
            forms: Vec::new(),
        };
        // A query that cannot be is refused, whatever segments there are.
        narrowed.weight(whole)?;
        Ok(narrowed)
    }

    pub(crate) fn in_segment(&mut self, segment: &SegmentReader) -> Result<InSegment, StoreError> {
        let form = match Times::of(segment)? {
            Some(times) => times.narrow(self.whole, self.translator),
            None => self.whole.clone(),
        };
        Ok(InSegment {
            weight: self.weight(&form)?,
            question: question(&form, self.generation)
                .filter(|_| segment.max_doc() >= FEWEST && !segment.has_deletes()),
            is_all: form == Query::MatchAll,
        })
    }

    fn weight(&mut self, form: &Query) -> Result<Arc<dyn Weight>, StoreError> {
        if let Some((_, weight)) = self.forms.iter().find(|(known, _)| known == form) {
            return Ok(weight.clone());
        }
        let query = self.translator.query(form)?;
        let scoring = EnableScoring::disabled_from_searcher(self.searcher);
        let weight: Arc<dyn Weight> = query.weight(scoring).map_err(index_error)?.into();
        self.forms.push((form.clone(), weight.clone()));
        Ok(weight)
    }
}

impl InSegment {
    /// The question together with what else the answer depends on.
    pub(crate) fn question(&self, about: &str) -> Option<Arc<str>> {
        Some(format!("{}|{about}", self.question.as_deref()?).into())
    }

    pub(crate) fn count(&self, segment: &SegmentReader, answers: &Answers) -> Result<u64, StoreError> {
        if self.is_all {
            return Ok(u64::from(segment.num_docs()));
        }
        let known = self
            .question
            .as_ref()
            .and_then(|question| answers.get(segment.segment_id(), question));
        if let Some(Answer::Count(count)) = known {
            return Ok(count);
        }
        let count = u64::from(self.weight.count(segment).map_err(index_error)?);
        self.counted(segment, count, answers);
        Ok(count)
    }

    /// Notes what somebody has counted who went through the documents anyway.
    pub(crate) fn counted(&self, segment: &SegmentReader, count: u64, answers: &Answers) {
        if let Some(question) = self.question.as_ref().filter(|_| !self.is_all) {
            answers.keep(segment.segment_id(), question, Answer::Count(count));
        }
    }
}

/// The query as a text; none when what it means depends on more than the segment: on now, or on which fields others have.
fn question(query: &Query, generation: u64) -> Option<Arc<str>> {
    let text = format!("{generation} {query:?}");
    let lasts = text.len() <= LONGEST && !text.contains("\"now") && !text.contains(".keyword\"");
    lasts.then(|| text.into())
}

/// From when to when a segment's documents are, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Times {
    first: i64,
    last: i64,
}

impl Times {
    /// None when not every document has exactly one time.
    fn of(segment: &SegmentReader) -> Result<Option<Self>, StoreError> {
        let column = segment.fast_fields().date(TIME).map_err(index_error)?;
        if segment.max_doc() == 0 || column.get_cardinality() != Cardinality::Full {
            return Ok(None);
        }
        Ok(Some(Self {
            first: column.min_value().into_timestamp_millis(),
            last: column.max_value().into_timestamp_millis(),
        }))
    }

    fn narrow(self, query: &Query, translator: &Translator<'_>) -> Query {
        match query {
            Query::Range { field, from, to } if field == TIME => {
                self.narrow_range(query, from.as_ref(), to.as_ref(), translator)
            }
            Query::Bool {
                must,
                filter,
                should,
                must_not,
                minimum_should_match,
            } => {
                let clauses = must.iter().chain(filter);
                let mut needed: Vec<Query> = clauses.map(|clause| self.narrow(clause, translator)).collect();
                if needed.contains(&Query::MatchNone) {
                    return Query::MatchNone;
                }
                needed.retain(|clause| *clause != Query::MatchAll);
                let is_plain = must_not.is_empty() && *minimum_should_match == 0;
                match needed.len() {
                    0 if is_plain => Query::MatchAll,
                    1 if is_plain => needed.remove(0),
                    _ => Query::Bool {
                        must: Vec::new(),
                        filter: needed,
                        should: should.clone(),
                        must_not: must_not.clone(),
                        minimum_should_match: *minimum_should_match,
                    },
                }
            }
            other => other.clone(),
        }
    }

    fn narrow_range(
        self,
        query: &Query,
        from: Option<&RangeBound>,
        to: Option<&RangeBound>,
        translator: &Translator<'_>,
    ) -> Query {
        let time = |bound: Option<&RangeBound>, upper: bool, without: i64| match bound {
            None => Some(without),
            Some(bound) => translator
                .instant(bound, bound.inclusive == upper)
                .map(tantivy::DateTime::into_timestamp_millis),
        };
        let (Some(from), Some(to)) = (time(from, false, i64::MIN), time(to, true, i64::MAX)) else {
            return query.clone();
        };
        let (near, far) = (i64::saturating_sub, i64::saturating_add);
        if near(self.first, MARGIN_MS) >= from && far(self.last, MARGIN_MS) <= to {
            Query::MatchAll
        } else if far(self.last, MARGIN_MS) < from || near(self.first, MARGIN_MS) > to {
            Query::MatchNone
        } else {
            query.clone()
        }
    }
}
