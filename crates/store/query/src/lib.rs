//! Query DSL, aggregations, KQL and `filter_path`: parsed once into types, evaluated by whoever keeps documents.
//!
//! Pure: no store, no clock of its own (date math takes `now`), no I/O. A clause that is not understood is an error that
//! names it, never an ignored clause.
//!
//! A JSON body becomes a [`SearchRequest`] ([`SearchRequest::from_json`]), a console line becomes a [`Query`]
//! ([`kql::parse`]). Stores with an index translate the types; stores without one ask a [`matcher::Matcher`] and the
//! [`aggregate`] engine about each document. What types fields have is a [`mapping::Mapping`].

mod after;
pub mod aggregate;
pub mod analysis;
pub mod date_math;
mod dsl;
mod evaluate;
pub mod field;
pub mod filter_path;
mod functions;
pub mod highlight;
pub mod kql;
pub mod mapping;
pub mod matcher;
mod named;
mod parse;
pub mod pattern;
pub mod query_string;
mod source_filter;

pub use after::Pipelines;
pub use dsl::{
    Aggregation, AggregationKind, Field, Fuzziness, Highlight, HighlightField, Minimum, Query, QueryError, RangeBound,
    ScoreMode, SearchRequest, ShownField, Sort, SortMode, SortOrder, SourceFilter,
};
pub use evaluate::{DocumentMeta, compare_sort_value, compare_sort_values, compare_values, matches, matches_at};
pub use functions::{Combination, ScoreFunction, ScoreFunctions};
pub use named::named_clauses;
pub use source_filter::fields;
