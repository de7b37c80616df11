//! The typed search request.

use serde_json::Value;

/// A field's full dotted name, such as `host.name`, `_id`, `_seq_no`. In clauses it may hold `*` and then means any field
/// that fits.
pub type Field = String;

/// Why a request body was refused: HTTP 400, `parsing_exception`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    /// Elasticsearch's error type, such as `parsing_exception`, `illegal_argument_exception`.
    pub kind: &'static str,
    /// Names the clause and what is wrong with it.
    pub message: String,
}

impl QueryError {
    /// The text cannot be read as a request: `parsing_exception`.
    pub fn parsing(message: impl Into<String>) -> Self {
        Self {
            kind: "parsing_exception",
            message: message.into(),
        }
    }

    /// It can be read but asks for something that cannot be: `illegal_argument_exception`.
    pub fn argument(message: impl Into<String>) -> Self {
        Self {
            kind: "illegal_argument_exception",
            message: message.into(),
        }
    }
}

/// One clause of the Query DSL.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Every document.
    MatchAll,
    /// No document.
    MatchNone,
    /// `bool`.
    Bool {
        /// All must match.
        must: Vec<Query>,
        /// All must match; no score.
        filter: Vec<Query>,
        /// At least `minimum_should_match` must match.
        should: Vec<Query>,
        /// None may match.
        must_not: Vec<Query>,
        /// Of `should`: 0 beside must or filter, else 1, unless given.
        minimum_should_match: usize,
    },
    /// `term`: the exact value; for text fields a token.
    Term(Field, Value),
    /// `terms`: any of the values.
    Terms(Field, Vec<Value>),
    /// `ids`.
    Ids(Vec<String>),
    /// `range`; date math is resolved against `now` before evaluation.
    Range {
        /// The field.
        field: Field,
        /// `gt` or `gte`.
        from: Option<RangeBound>,
        /// `lt` or `lte`.
        to: Option<RangeBound>,
    },
    /// `exists`.
    Exists(Field),
    /// `prefix`.
    Prefix(Field, String),
    /// `wildcard`: `*` and `?`.
    Wildcard {
        /// The field.
        field: Field,
        /// With `*` and `?`.
        pattern: String,
        /// Ignore case.
        case_insensitive: bool,
    },
    /// `regexp`, anchored at both ends.
    Regexp(Field, String),
    /// `match` on analysed text, or a term on keywords.
    Match {
        /// The field.
        field: Field,
        /// The text to analyse.
        text: String,
        /// All words (`and`) or any (`or`).
        all: bool,
    },
    /// `match_phrase`.
    MatchPhrase(Field, String),
    // `multi_match`, `query_string`, `simple_query_string`, `constant_score` and KQL become the clauses above.
}

/// One end of a range.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeBound {
    /// Number, string or date (RFC 3339, epoch milliseconds, or date math such as `now-1h/h`).
    pub value: Value,
    /// `gte`/`lte` rather than `gt`/`lt`.
    pub inclusive: bool,
    /// The time zone in which a date without one, and rounding, is meant; UTC when missing.
    pub time_zone: Option<String>,
}

impl RangeBound {
    /// `gte` or `lte`.
    pub fn inclusive(value: impl Into<Value>) -> Self {
        Self {
            value: value.into(),
            inclusive: true,
            time_zone: None,
        }
    }

    /// `gt` or `lt`.
    pub fn exclusive(value: impl Into<Value>) -> Self {
        Self {
            value: value.into(),
            inclusive: false,
            time_zone: None,
        }
    }
}

/// Ascending or descending.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SortOrder {
    /// Small to large.
    #[default]
    Ascending,
    /// Large to small.
    Descending,
}

/// One sort key.
#[derive(Clone, Debug, PartialEq)]
pub struct Sort {
    /// The field; `_doc`, `_score`, `_seq_no`, `_id` are allowed.
    pub field: Field,
    /// The direction.
    pub order: SortOrder,
    /// Documents without the field come first rather than last.
    pub missing_first: bool,
}

/// What of `_source` comes back.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum SourceFilter {
    /// All of it.
    #[default]
    All,
    /// Nothing.
    None,
    /// Patterns with `*`.
    Some {
        /// Empty means all.
        includes: Vec<String>,
        /// Removed afterwards.
        excludes: Vec<String>,
    },
}

/// A named aggregation with its children.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregation {
    /// The name the client gave.
    pub name: String,
    /// What it computes.
    pub kind: AggregationKind,
    /// Sub-aggregations.
    pub children: Vec<Aggregation>,
}

/// What an aggregation computes. Kept as validated JSON parameters where the engine takes Elasticsearch's own shape.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AggregationKind {
    /// The kind's name (`terms`, `date_histogram`, ..) and its validated parameters.
    Validated(&'static str, Value),
}

/// A parsed `_search` body.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchRequest {
    /// Index names and patterns; the URL's, not the body's.
    pub indices: Vec<String>,
    /// A missing index is an empty answer.
    pub ignore_unavailable: bool,
    /// The clause.
    pub query: Query,
    /// Empty: by score, then `_doc`.
    pub sort: Vec<Sort>,
    /// Hits to skip.
    pub from: usize,
    /// Hits to return; 10 unless given.
    pub size: usize,
    /// The sort values of the last hit of the previous page.
    pub search_after: Option<Vec<Value>>,
    /// What of `_source` comes back.
    pub source: SourceFilter,
    /// `fields` and `docvalue_fields` patterns.
    pub fields: Vec<String>,
    /// The aggregations.
    pub aggregations: Vec<Aggregation>,
    /// Count exactly up to this many; `u64::MAX` for `true`, 0 for `false`.
    pub track_total_hits: u64,
    /// Return `_seq_no` and `_primary_term`.
    pub seq_no_primary_term: bool,
    /// Return `_version`.
    pub version: bool,
    /// A point in time to read.
    pub point_in_time: Option<String>,
}

impl Default for SearchRequest {
    fn default() -> Self {
        Self {
            indices: Vec::new(),
            ignore_unavailable: false,
            query: Query::MatchAll,
            sort: Vec::new(),
            from: 0,
            size: 10,
            search_after: None,
            source: SourceFilter::All,
            fields: Vec::new(),
            aggregations: Vec::new(),
            track_total_hits: 10_000,
            seq_no_primary_term: false,
            version: false,
            point_in_time: None,
        }
    }
}

impl SearchRequest {
    /// Everything in `index`.
    pub fn new(index: impl Into<String>) -> Self {
        Self {
            indices: vec![index.into()],
            ignore_unavailable: true,
            ..Self::default()
        }
    }

    /// Narrows it to `query`.
    pub fn query(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    /// Returns at most `size` hits.
    pub fn size(mut self, size: usize) -> Self {
        self.size = size;
        self
    }

    /// Adds a sort key.
    pub fn sort_by(mut self, field: impl Into<String>, order: SortOrder) -> Self {
        self.sort.push(Sort {
            field: field.into(),
            order,
            missing_first: false,
        });
        self
    }
}

impl Query {
    /// `term`.
    pub fn term(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Term(field.into(), value.into())
    }

    /// `terms`.
    pub fn terms<V: Into<Value>>(field: impl Into<String>, values: impl IntoIterator<Item = V>) -> Self {
        Self::Terms(field.into(), values.into_iter().map(Into::into).collect())
    }

    /// `exists`.
    pub fn exists(field: impl Into<String>) -> Self {
        Self::Exists(field.into())
    }

    /// `bool` with only filters.
    pub fn all_of(clauses: Vec<Query>) -> Self {
        Self::Bool {
            must: Vec::new(),
            filter: clauses,
            should: Vec::new(),
            must_not: Vec::new(),
            minimum_should_match: 0,
        }
    }

    /// `bool` with only should clauses, one of which must match.
    pub fn any_of(clauses: Vec<Query>) -> Self {
        Self::Bool {
            must: Vec::new(),
            filter: Vec::new(),
            should: clauses,
            must_not: Vec::new(),
            minimum_should_match: 1,
        }
    }

    /// Everything that none of `clauses` matches.
    pub fn none_of(clauses: Vec<Query>) -> Self {
        Self::Bool {
            must: Vec::new(),
            filter: Vec::new(),
            should: Vec::new(),
            must_not: clauses,
            minimum_should_match: 0,
        }
    }

    /// `range` from `value` (exclusive).
    pub fn greater_than(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Range {
            field: field.into(),
            from: Some(RangeBound::exclusive(value)),
            to: None,
        }
    }

    /// `range` from `value` (inclusive).
    pub fn at_least(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Range {
            field: field.into(),
            from: Some(RangeBound::inclusive(value)),
            to: None,
        }
    }

    /// `range` up to `value` (exclusive).
    pub fn less_than(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Range {
            field: field.into(),
            from: None,
            to: Some(RangeBound::exclusive(value)),
        }
    }

    /// `range` up to `value` (inclusive).
    pub fn at_most(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Range {
            field: field.into(),
            from: None,
            to: Some(RangeBound::inclusive(value)),
        }
    }
}
