//! The typed search request.

use serde_json::Value;

use crate::functions::ScoreFunctions;

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
    /// `match_phrase` with `slop`, and `match_phrase_prefix`.
    LoosePhrase {
        /// The field.
        field: Field,
        /// The text to analyse.
        text: String,
        /// Moves that words may be away from their places.
        slop: usize,
        /// The last word is the beginning of one.
        prefix_last: bool,
    },
    /// `match` with more than an operator, and `match_bool_prefix`.
    MatchSome {
        /// The field.
        field: Field,
        /// The text to analyse.
        text: String,
        /// How many of the words must match.
        minimum: Minimum,
        /// Words may be so far from the given ones.
        fuzziness: Option<Fuzziness>,
        /// The last word is the beginning of one.
        prefix_last: bool,
    },
    /// `fuzzy`: a keyword or word that is near.
    Fuzzy(Field, String, Fuzziness),
    /// `nested`: one object of a list matches as a whole.
    Nested {
        /// The list.
        path: Field,
        /// With full field names.
        query: Box<Query>,
        /// A path that is not there matches nothing instead of failing.
        ignore_unmapped: bool,
        /// What several objects that match score together.
        score_mode: ScoreMode,
    },
    /// `dis_max`, and `multi_match` over several fields: any matches, the best scores.
    Best {
        /// The clauses.
        queries: Vec<Query>,
        /// The share of the other clauses' scores.
        tie_breaker: f32,
    },
    /// `constant_score`.
    Constant(Box<Query>, f32),
    /// A clause with `boost`.
    Weighted(Box<Query>, f32),
    /// `boosting`: what matches the second as well scores less, by this factor.
    Demoted(Box<Query>, Box<Query>, f32),
    /// `function_score`.
    Scored(Box<ScoreFunctions>),
    // `multi_match`, `query_string`, `simple_query_string` and KQL become the clauses above.
}

/// `score_mode` of `nested`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ScoreMode {
    /// Their average.
    #[default]
    Avg,
    /// The best.
    Max,
    /// The worst.
    Min,
    /// All together.
    Sum,
    /// Nothing.
    None,
}

impl ScoreMode {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avg => "avg",
            Self::Max => "max",
            Self::Min => "min",
            Self::Sum => "sum",
            Self::None => "none",
        }
    }
}

/// `minimum_should_match` of words: `2`, `-1`, `75%`, `-25%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Minimum {
    /// One word is enough.
    Any,
    /// Every word.
    All,
    /// So many; below zero so many may miss.
    Count(i64),
    /// Such a share in percent; below zero such a share may miss.
    Percent(i64),
}

impl Minimum {
    /// Of `available` words.
    pub fn of(self, available: usize) -> usize {
        let total = i64::try_from(available).unwrap_or(i64::MAX);
        let wanted = match self {
            Self::Any => 1,
            Self::All => total,
            Self::Count(count) => count,
            Self::Percent(share) => total.saturating_mul(share) / 100,
        };
        let wanted = if wanted < 0 { total + wanted } else { wanted };
        usize::try_from(wanted.clamp(0, total)).unwrap_or(available)
    }
}

/// `fuzziness` and `prefix_length`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fuzziness {
    /// Changes that a word may have; `None` is `AUTO`: none below 3 letters, 1 below 6, else 2.
    pub distance: Option<usize>,
    /// Letters at the beginning that must be the same.
    pub prefix: usize,
}

impl Fuzziness {
    /// For one word.
    pub fn distance_of(self, word: &str) -> usize {
        self.distance.unwrap_or_else(|| match word.chars().count() {
            0..=2 => 0,
            3..=5 => 1,
            _ => 2,
        })
    }
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sort {
    /// The field; `_doc`, `_score`, `_seq_no`, `_id` are allowed.
    pub field: Field,
    /// The direction.
    pub order: SortOrder,
    /// Documents without the field come first rather than last.
    pub missing_first: bool,
    /// What documents without the field have instead.
    pub missing: Option<Value>,
    /// Of several values; the smallest when ascending, else the largest, unless given.
    pub mode: Option<SortMode>,
    /// How a date is shown.
    pub format: Option<String>,
    /// An index that does not know the field is no error.
    pub unmapped: bool,
}

/// Which of several values counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SortMode {
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// All together.
    Sum,
    /// Their average.
    Avg,
    /// The one in the middle.
    Median,
}

/// A pattern of `fields` or `docvalue_fields`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShownField {
    /// With `*`.
    pub pattern: String,
    /// How dates are shown.
    pub format: Option<String>,
    /// Of `docvalue_fields`: from columns, which texts do not have.
    pub column: bool,
}

/// `highlight`.
#[derive(Clone, Debug, PartialEq)]
pub struct Highlight {
    /// Patterns of fields and how each is shown.
    pub fields: Vec<(String, HighlightField)>,
    /// Only words that were searched for in the field itself are marked.
    pub same_field_only: bool,
}

/// How one field is highlighted.
#[derive(Clone, Debug, PartialEq)]
pub struct HighlightField {
    /// What stands before a mark.
    pub before: String,
    /// What stands behind it.
    pub after: String,
    /// Characters of a fragment.
    pub fragment: usize,
    /// Fragments at most; 0 is the whole text.
    pub most: usize,
    /// Characters shown of a text without a mark.
    pub unmarked: usize,
    /// The best fragments first.
    pub by_score: bool,
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
    pub fields: Vec<ShownField>,
    /// Marked words.
    pub highlight: Option<Highlight>,
    /// Narrows the hits and leaves the aggregations alone.
    pub post_filter: Option<Query>,
    /// Documents that score less are no hits.
    pub min_score: Option<f32>,
    /// Scores are wanted although something else sorts.
    pub track_scores: bool,
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
            highlight: None,
            post_filter: None,
            min_score: None,
            track_scores: false,
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
            ..Sort::default()
        });
        self
    }

    /// Whether hits need scores: by default, when `_score` sorts, or when they are asked for.
    pub fn scores(&self) -> bool {
        self.sort.is_empty()
            || self.track_scores
            || self.min_score.is_some()
            || self.sort.iter().any(|sort| sort.field == "_score")
    }
}

impl Query {
    /// The one field that a clause looks at; `None` for those that look at none, or that hold other clauses.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Term(field, _)
            | Self::Terms(field, _)
            | Self::Exists(field)
            | Self::Prefix(field, _)
            | Self::Regexp(field, _)
            | Self::MatchPhrase(field, _)
            | Self::Fuzzy(field, ..)
            | Self::Range { field, .. }
            | Self::Wildcard { field, .. }
            | Self::Match { field, .. }
            | Self::MatchSome { field, .. }
            | Self::LoosePhrase { field, .. } => Some(field),
            Self::MatchAll
            | Self::MatchNone
            | Self::Ids(_)
            | Self::Bool { .. }
            | Self::Best { .. }
            | Self::Constant(..)
            | Self::Weighted(..)
            | Self::Demoted(..)
            | Self::Scored(_)
            | Self::Nested { .. } => None,
        }
    }

    /// Whether two documents that match can have different scores.
    pub fn scores_differ(&self) -> bool {
        match self {
            Self::MatchAll
            | Self::MatchNone
            | Self::Ids(_)
            | Self::Constant(..)
            | Self::Exists(_)
            | Self::Range { .. }
            | Self::Terms(..)
            | Self::Prefix(..)
            | Self::Wildcard { .. }
            | Self::Regexp(..) => false,
            Self::Bool { must, should, .. } => !should.is_empty() || must.iter().any(Self::scores_differ),
            Self::Weighted(inner, _) => inner.scores_differ(),
            _ => true,
        }
    }

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
