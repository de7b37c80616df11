//! A query becomes nodes.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::Value;

use super::loose::{LooseBound, LooseTest};
use super::text::{Fuzzy, TextPattern, TextTest, WordTest};
use super::typed::{self, ValueTest};
use super::{At, FieldTest, Node, Test};
use crate::dsl::{Fuzziness, Minimum, Query, QueryError, RangeBound, ScoreMode};
use crate::evaluate::anchored;
use crate::functions::ScoreFunctions;
use crate::mapping::{Field, Kind, Mapping};
use crate::{analysis, pattern};

pub(super) struct Compiler<'m> {
    pub(super) mapping: Option<&'m Mapping>,
    pub(super) now: Option<Timestamp>,
    /// The path of the `nested` clause around.
    pub(super) nested: Option<String>,
}

impl Compiler<'_> {
    pub(super) fn node(&self, query: &Query) -> Result<Node, QueryError> {
        Ok(match query {
            Query::MatchAll => Node::All,
            Query::MatchNone => Node::Nothing,
            Query::Bool {
                must,
                filter,
                should,
                must_not,
                minimum_should_match,
            } => Node::Bool {
                must: self.nodes(must)?,
                filter: self.nodes(filter)?,
                should: self.nodes(should)?,
                must_not: self.nodes(must_not)?,
                minimum: *minimum_should_match,
            },
            Query::Ids(ids) => Node::Ids(ids.iter().cloned().collect()),
            Query::Best { queries, tie_breaker } => Node::Best(self.nodes(queries)?, *tie_breaker),
            Query::Constant(inner, boost) => Node::Constant(Box::new(self.node(inner)?), *boost),
            Query::Weighted(inner, boost) => Node::Weighted(Box::new(self.node(inner)?), *boost),
            Query::Demoted(inner, less, factor) => {
                Node::Demoted(Box::new(self.node(inner)?), Box::new(self.node(less)?), *factor)
            }
            Query::Nested {
                path,
                query,
                ignore_unmapped,
                score_mode,
            } => self.nested(path, query, *ignore_unmapped, *score_mode)?,
            Query::Scored(scored) => self.scored(scored)?,
            clause => self.field_clause(clause)?,
        })
    }

    fn nodes(&self, queries: &[Query]) -> Result<Vec<Node>, QueryError> {
        queries.iter().map(|query| self.node(query)).collect()
    }

    fn scored(&self, scored: &ScoreFunctions) -> Result<Node, QueryError> {
        let filter = |filter: &Option<Query>| filter.as_ref().map(|filter| self.node(filter)).transpose();
        let filters = scored.functions.iter().map(|(one, _)| filter(one));
        Ok(Node::Scored {
            inner: Box::new(self.node(&scored.query)?),
            filters: filters.collect::<Result<_, _>>()?,
            functions: Box::new(scored.clone()),
            now: self.now,
        })
    }

    fn nested(&self, path: &str, query: &Query, ignore_unmapped: bool, mode: ScoreMode) -> Result<Node, QueryError> {
        if let Some(mapping) = self.mapping {
            match mapping.object(path) {
                Some(true) => {}
                _ if ignore_unmapped => return Ok(Node::Nothing),
                other => {
                    let what = if other.is_some() {
                        format!("path [{path}] is not of nested type")
                    } else {
                        format!("failed to find nested object under path [{path}]")
                    };
                    return Err(QueryError {
                        kind: "query_shard_exception",
                        message: format!("failed to create query: [nested] {what}"),
                    });
                }
            }
        }
        let inside = Self {
            mapping: self.mapping,
            now: self.now,
            nested: Some(path.to_owned()),
        };
        Ok(Node::Nested {
            path: path.to_owned(),
            inner: Box::new(inside.node(query)?),
            mode,
        })
    }

    fn field_clause(&self, clause: &Query) -> Result<Node, QueryError> {
        let name = clause.field().unwrap_or_default();
        match name {
            "_id" => return Ok(self.loose(At::Id, clause)),
            "_seq_no" => return Ok(self.loose(At::SeqNo, clause)),
            "_index" => return Ok(self.loose(At::Index, clause)),
            _ => {}
        }
        let Some(mapping) = self.mapping else {
            let at = if pattern::is_pattern(name) {
                At::Names(name.to_owned())
            } else if let Some(plain) = name.strip_suffix(".keyword") {
                At::Either(name.to_owned(), plain.to_owned())
            } else {
                At::Path(name.to_owned())
            };
            return Ok(self.loose(at, clause));
        };
        if matches!(clause, Query::Exists(_)) {
            return Ok(self.exists(mapping, name));
        }
        if pattern::is_pattern(name) {
            return Ok(self.over_pattern(mapping, name, clause));
        }
        let tests = mapping
            .field(name)
            .map_or(Ok(None), |field| self.typed(&field, name, clause))?;
        Ok(tests.map_or(Node::Nothing, |test| Node::Fields(vec![test])))
    }

    /// A pattern stands for the fields that can be asked at all: a value that does not fit one is passed over.
    fn over_pattern(&self, mapping: &Mapping, pattern: &str, clause: &Query) -> Node {
        let mut tests = Vec::new();
        for name in mapping.names() {
            if !pattern::wildcard(pattern, &name) {
                continue;
            }
            let Some(field) = mapping.field(&name).filter(|field| !field.is_flattened()) else {
                continue;
            };
            // With an error in it the field cannot hold the value.
            tests.extend(self.typed(&field, &name, clause).unwrap_or_default());
        }
        if tests.is_empty() {
            Node::Nothing
        } else {
            Node::Fields(tests)
        }
    }

    fn exists(&self, mapping: &Mapping, name: &str) -> Node {
        let below = format!("{name}.");
        let here = |field: &Field<'_>| field.indexed() && field.nested == self.nested.is_some();
        let tests = mapping.names().into_iter().filter(|known| {
            known == name || known.starts_with(&below) || pattern::is_pattern(name) && pattern::wildcard(name, known)
        });
        let tests = tests.filter_map(|known| mapping.field(&known).filter(here).map(|field| present(&field, &known)));
        let mut tests: Vec<FieldTest> = tests.collect();
        if let Some(field) = mapping.field(name).filter(|field| field.flattened_key) {
            tests.push(present(&field, name));
        }
        if tests.is_empty() {
            Node::Nothing
        } else {
            Node::Fields(tests)
        }
    }

    fn loose(&self, at: At, clause: &Query) -> Node {
        let words = |text: &str| analysis::words(text).collect::<Vec<String>>();
        let test = match clause {
            Query::Term(_, value) => LooseTest::Equal(vec![value.clone()]),
            Query::Terms(_, values) => LooseTest::Equal(values.clone()),
            Query::Range { from, to, .. } => LooseTest::Range(
                from.as_ref()
                    .map(|bound| Box::new(LooseBound::new(bound, Ordering::Greater, self.now))),
                to.as_ref()
                    .map(|bound| Box::new(LooseBound::new(bound, Ordering::Less, self.now))),
            ),
            Query::Exists(_) => LooseTest::Present,
            Query::Match { text, all, .. } => LooseTest::Words(words(text), text.clone(), *all),
            Query::MatchSome { text, minimum, .. } => {
                LooseTest::Words(words(text), text.clone(), *minimum == Minimum::All)
            }
            Query::MatchPhrase(_, text) | Query::LoosePhrase { text, .. } => {
                LooseTest::Phrase(words(text), text.clone())
            }
            clause => match pattern_of(clause) {
                Some(pattern) => LooseTest::Pattern(pattern),
                None => return Node::Nothing,
            },
        };
        Node::Fields(vec![FieldTest {
            at,
            test: Test::Loose(test),
        }])
    }

    fn typed(&self, field: &Field<'_>, name: &str, clause: &Query) -> Result<Option<FieldTest>, QueryError> {
        if field.nested != self.nested.is_some() {
            return Ok(None);
        }
        if !field.indexed() && field.kind() == Kind::Text {
            return Err(QueryError {
                kind: "query_shard_exception",
                message: format!("failed to create query: Cannot search on field [{name}] since it is not indexed."),
            });
        }
        Ok(self.of_kind(field, clause)?.map(|test| placed(field, name, test)))
    }

    fn of_kind(&self, field: &Field<'_>, clause: &Query) -> Result<Option<Test>, QueryError> {
        if field.constant().is_some() {
            return Ok(constant(field, clause));
        }
        if field.kind() == Kind::Text {
            return Ok(text_test(clause).map(Test::Text));
        }
        let value = match clause {
            Query::Term(_, value) => typed::exactly(field, std::slice::from_ref(value), self.now)?,
            Query::Terms(_, values) => typed::exactly(field, values, self.now)?,
            Query::Match { text, .. } | Query::MatchSome { text, .. } => {
                if let (
                    Query::MatchSome {
                        fuzziness: Some(fuzziness),
                        ..
                    },
                    Kind::Keyword,
                ) = (clause, field.kind())
                {
                    let pattern = TextPattern::Fuzzy(fuzzy(text, *fuzziness));
                    return Ok(typed::pattern_test(field, pattern).map(Test::Value));
                }
                typed::exactly(field, &[Value::from(text.as_str())], self.now)?
            }
            Query::MatchPhrase(_, text) | Query::LoosePhrase { text, .. } => {
                typed::exactly(field, &[Value::from(text.as_str())], self.now)?
            }
            Query::Range { from, to, .. } => typed::range(field, from.as_ref(), to.as_ref(), self.now)?,
            clause => pattern_of(clause).and_then(|pattern| typed::pattern_test(field, pattern)),
        };
        Ok(value.map(Test::Value))
    }
}

fn placed(field: &Field<'_>, name: &str, test: Test) -> FieldTest {
    FieldTest {
        at: At::Path(name[..field.path_length].to_owned()),
        test,
    }
}

fn present(field: &Field<'_>, name: &str) -> FieldTest {
    let readable = field
        .ignore_malformed()
        .then(|| typed::range(field, None, None, None).ok().flatten())
        .flatten();
    placed(field, name, Test::Value(readable.unwrap_or(ValueTest::Present)))
}

/// A `constant_keyword` matches with all documents or none.
fn constant(field: &Field<'_>, clause: &Query) -> Option<Test> {
    let holds = match clause {
        Query::Term(_, value) => typed::constant_is(field, std::slice::from_ref(value)),
        Query::Terms(_, values) => typed::constant_is(field, values),
        Query::Match { text, .. } | Query::MatchPhrase(_, text) => {
            typed::constant_is(field, &[Value::from(text.as_str())])
        }
        Query::Wildcard { pattern, .. } => typed::constant_is(field, &[Value::from(pattern.as_str())]),
        Query::Prefix(_, prefix) => typed::constant_is(field, &[Value::from(format!("{prefix}*"))]),
        _ => false,
    };
    holds.then_some(Test::Value(ValueTest::Present))
}

fn pattern_of(clause: &Query) -> Option<TextPattern> {
    match clause {
        Query::Prefix(_, prefix) => Some(TextPattern::Prefix(prefix.clone())),
        Query::Wildcard {
            pattern,
            case_insensitive: false,
            ..
        } => Some(TextPattern::Wildcard(pattern.clone())),
        Query::Wildcard { pattern, .. } => Some(TextPattern::Insensitive(pattern.to_lowercase())),
        Query::Regexp(_, expression) => anchored(expression).map(TextPattern::Expression),
        Query::Fuzzy(_, text, fuzziness) => Some(TextPattern::Fuzzy(fuzzy(text, *fuzziness))),
        _ => None,
    }
}

fn fuzzy(text: &str, fuzziness: Fuzziness) -> Fuzzy {
    Fuzzy {
        word: text.to_owned(),
        distance: fuzziness.distance_of(text),
        prefix: fuzziness.prefix,
    }
}

/// `None` when no document can match, as with a text of no words.
fn text_test(clause: &Query) -> Option<TextTest> {
    let exact = |value: &Value| crate::parse::scalar_text(value).map(WordTest::Exact);
    let end = |bound: Option<&RangeBound>| {
        bound.map(|bound| {
            (
                crate::parse::scalar_text(&bound.value).unwrap_or_default(),
                bound.inclusive,
            )
        })
    };
    let some =
        |tests: Vec<WordTest>, minimum: usize| (!tests.is_empty()).then_some(TextTest::Words(tests, minimum.max(1)));
    match clause {
        Query::Term(_, value) => some(exact(value).into_iter().collect(), 1),
        Query::Terms(_, values) => some(values.iter().filter_map(exact).collect(), 1),
        Query::Match { text, all, .. } => {
            let words: Vec<WordTest> = standard_words(text).map(WordTest::Exact).collect();
            let minimum = if *all { words.len() } else { 1 };
            some(words, minimum)
        }
        Query::MatchSome {
            text,
            minimum,
            fuzziness,
            prefix_last,
            ..
        } => {
            let words: Vec<String> = standard_words(text).collect();
            let last = words.len().saturating_sub(1);
            let test = |(at, word): (usize, String)| match fuzziness {
                _ if *prefix_last && at == last => WordTest::Prefix(word),
                Some(fuzziness) => WordTest::Fuzzy(fuzzy(&word, *fuzziness)),
                None => WordTest::Exact(word),
            };
            let minimum = minimum.of(words.len());
            some(words.into_iter().enumerate().map(test).collect(), minimum)
        }
        Query::MatchPhrase(_, text) => phrase(text, 0, false),
        Query::LoosePhrase {
            text,
            slop,
            prefix_last,
            ..
        } => phrase(text, *slop, *prefix_last),
        Query::Range { from, to, .. } => Some(TextTest::Range(end(from.as_ref()), end(to.as_ref()))),
        Query::Exists(_) => Some(TextTest::Present),
        clause => pattern_of(clause).map(TextTest::Pattern),
    }
}

fn phrase(text: &str, slop: usize, prefix_last: bool) -> Option<TextTest> {
    let words: Vec<String> = standard_words(text).collect();
    (!words.is_empty()).then_some(TextTest::Phrase {
        words,
        slop,
        prefix_last,
    })
}

fn standard_words(text: &str) -> impl Iterator<Item = String> {
    analysis::standard(text).into_iter().map(|(_, word)| word)
}
