//! Query DSL, aggregations, KQL and `filter_path`: parsed once into types, evaluated by whoever keeps documents.
//!
//! Pure: no store, no clock of its own (date math takes `now`), no I/O. A clause that is not understood is an error that
//! names it, never an ignored clause.
//!
//! A JSON body becomes a [`SearchRequest`] ([`SearchRequest::from_json`]), a console line becomes a [`Query`]
//! ([`kql::parse`]). Stores with an index translate the types; stores without one call [`matches`] and the
//! [`aggregate`] engine for each document.

pub mod aggregate;
pub mod analysis;
pub mod date_math;
mod dsl;
mod evaluate;
pub mod field;
pub mod filter_path;
pub mod kql;
mod parse;
pub mod pattern;
pub mod query_string;
mod source_filter;

pub use dsl::{
    Aggregation, AggregationKind, Field, Query, QueryError, RangeBound, SearchRequest, Sort, SortOrder, SourceFilter,
};
pub use evaluate::{DocumentMeta, compare_sort_values, compare_values, matches, matches_at};
pub use source_filter::fields;
