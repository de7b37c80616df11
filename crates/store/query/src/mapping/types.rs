//! The types that fields can have.

/// How a field's values are compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Words.
    Text,
    /// Whole values.
    Keyword,
    /// Versions, compared part by part.
    Version,
    /// Whole numbers within bounds.
    Whole {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// Other numbers.
    Fraction,
    /// Instants.
    Date,
    /// True or false.
    Boolean,
    /// IP addresses.
    Ip,
    /// An object whose leaves are keywords.
    Flattened,
    /// Kept in `_source` only.
    Stored,
}

/// The kind of a `type`; `None` for one that is not known.
pub(super) fn kind_of(name: &str) -> Option<Kind> {
    let whole = |min, max| Kind::Whole { min, max };
    Some(match name {
        "text" | "match_only_text" | "search_as_you_type" | "annotated_text" => Kind::Text,
        "keyword" | "constant_keyword" | "wildcard" => Kind::Keyword,
        "version" => Kind::Version,
        "byte" => whole(i64::from(i8::MIN), i64::from(i8::MAX)),
        "short" => whole(i64::from(i16::MIN), i64::from(i16::MAX)),
        "integer" => whole(i64::from(i32::MIN), i64::from(i32::MAX)),
        "long" | "token_count" => whole(i64::MIN, i64::MAX),
        "unsigned_long" => whole(0, i64::MAX),
        "double" | "float" | "half_float" | "scaled_float" => Kind::Fraction,
        "date" | "date_nanos" => Kind::Date,
        "boolean" => Kind::Boolean,
        "ip" => Kind::Ip,
        "flattened" => Kind::Flattened,
        "binary"
        | "geo_point"
        | "geo_shape"
        | "point"
        | "shape"
        | "dense_vector"
        | "sparse_vector"
        | "completion"
        | "integer_range"
        | "long_range"
        | "float_range"
        | "double_range"
        | "date_range"
        | "ip_range"
        | "histogram"
        | "aggregate_metric_double"
        | "percolator"
        | "rank_feature"
        | "rank_features"
        | "join"
        | "semantic_text"
        | "counted_keyword"
        | "passthrough"
        | "alias" => Kind::Stored,
        _ => return None,
    })
}

/// Keys that a field of any type may have, with those of the types that are kept and change nothing here.
pub(super) const PARAMETERS: &[&str] = &[
    "type",
    "fields",
    "analyzer",
    "boost",
    "coerce",
    "copy_to",
    "depth_limit",
    "dims",
    "doc_values",
    "eager_global_ordinals",
    "element_type",
    "enable_position_increments",
    "fielddata",
    "fielddata_frequency_filter",
    "format",
    "ignore_above",
    "ignore_malformed",
    "ignore_z_value",
    "index",
    "index_options",
    "index_phrases",
    "index_prefixes",
    "locale",
    "meta",
    "metric_type",
    "metrics",
    "default_metric",
    "norms",
    "null_value",
    "on_script_error",
    "orientation",
    "path",
    "position_increment_gap",
    "positive_score_impact",
    "relations",
    "scaling_factor",
    "script",
    "search_analyzer",
    "search_quote_analyzer",
    "similarity",
    "split_queries_on_whitespace",
    "store",
    "subobjects",
    "synthetic_source_keep",
    "term_vector",
    "time_series_dimension",
    "time_series_dimensions",
    "time_series_metric",
    "value",
    "normalizer",
    "max_shingle_size",
    "inference_id",
    "index_options",
    "priority",
    "dynamic",
    "contexts",
    "max_input_length",
    "preserve_separators",
    "preserve_position_increments",
];
