//! Query DSL, aggregations, KQL and `filter_path`: parsed once into types, evaluated by whoever keeps documents.
//!
//! Pure: no store, no clock of its own (date math takes `now`), no I/O. A clause that is not understood is an error that
//! names it, never an ignored clause.

mod dsl;
pub use dsl::{
    Aggregation, AggregationKind, Field, Matching, MultiValue, Query, QueryError, RangeBound, SearchRequest, Sort,
    SortOrder, SourceFilter,
};
