//! The `aggs` of a search body: names, kinds and keys are checked here, once for all stores.

use serde_json::Value;

use super::Keys;
use crate::dsl::{Aggregation, AggregationKind, QueryError};

/// Aggregations may hold aggregations this deep.
const DEEPEST: usize = 10;

/// Kinds and the keys that each understands.
const KINDS: &[(&str, &[&str])] = &[
    (
        "terms",
        &[
            "field",
            "size",
            "order",
            "missing",
            "min_doc_count",
            "shard_size",
            "include",
            "exclude",
            "show_term_doc_count_error",
            "execution_hint",
            "collect_mode",
            "value_type",
            "format",
        ],
    ),
    (
        "date_histogram",
        &[
            "field",
            "fixed_interval",
            "calendar_interval",
            "time_zone",
            "offset",
            "format",
            "keyed",
            "min_doc_count",
            "order",
            "extended_bounds",
            "hard_bounds",
            "missing",
        ],
    ),
    (
        "histogram",
        &[
            "field",
            "interval",
            "offset",
            "keyed",
            "min_doc_count",
            "order",
            "extended_bounds",
            "hard_bounds",
            "missing",
        ],
    ),
    ("range", &["field", "ranges", "keyed", "missing"]),
    (
        "date_range",
        &["field", "ranges", "keyed", "format", "time_zone", "missing"],
    ),
    ("filters", &["filters", "other_bucket", "other_bucket_key"]),
    ("composite", &["sources", "size", "after"]),
    ("missing", &["field"]),
    ("global", &[]),
    ("cardinality", &["field", "precision_threshold", "missing"]),
    ("percentiles", &["field", "percents", "keyed", "tdigest", "missing"]),
    ("min", &["field", "missing", "format"]),
    ("max", &["field", "missing", "format"]),
    ("avg", &["field", "missing", "format"]),
    ("sum", &["field", "missing", "format"]),
    ("value_count", &["field", "missing"]),
    ("stats", &["field", "missing"]),
    ("extended_stats", &["field", "missing"]),
    (
        "top_hits",
        &[
            "size",
            "from",
            "sort",
            "_source",
            "version",
            "seq_no_primary_term",
            "track_scores",
        ],
    ),
];

pub(crate) fn aggregations(value: &Value) -> Result<Vec<Aggregation>, QueryError> {
    let parsed = level(value, 0)?;
    crate::aggregate::Plan::compile(&parsed)?;
    Ok(parsed)
}

fn level(value: &Value, depth: usize) -> Result<Vec<Aggregation>, QueryError> {
    if depth > DEEPEST {
        return Err(QueryError::argument(format!(
            "aggregations are nested more than {DEEPEST} levels deep"
        )));
    }
    let map = value
        .as_object()
        .ok_or_else(|| QueryError::parsing("[aggs] must be an object"))?;
    map.iter().map(|(name, body)| one(name, body, depth)).collect()
}

fn one(name: &str, body: &Value, depth: usize) -> Result<Aggregation, QueryError> {
    if name.is_empty() || name.contains(['[', ']', '>']) {
        return Err(QueryError::parsing(format!(
            "Invalid aggregation name [{name}]. Aggregation names can contain any character except '[', ']', and '>'"
        )));
    }
    let map = body
        .as_object()
        .ok_or_else(|| QueryError::parsing(format!("aggregation [{name}] must be an object")))?;
    let mut kind = None;
    let mut children = Vec::new();
    for (key, inner) in map {
        match key.as_str() {
            "aggs" | "aggregations" => children = level(inner, depth + 1)?,
            "meta" => {}
            _ if kind.is_some() => {
                return Err(QueryError::parsing(format!(
                    "aggregation [{name}] has two types, the second is [{key}]"
                )));
            }
            _ => kind = Some(kind_of(name, key, inner)?),
        }
    }
    let kind = kind.ok_or_else(|| QueryError::parsing(format!("aggregation [{name}] has no type")))?;
    Ok(Aggregation {
        name: name.to_owned(),
        kind,
        children,
    })
}

fn kind_of(name: &str, kind: &str, parameters: &Value) -> Result<AggregationKind, QueryError> {
    // Its parameter is a query, not a set of keys.
    if kind == "filter" {
        return Ok(AggregationKind::Validated("filter", parameters.clone()));
    }
    let Some((kind, known)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        return Err(QueryError::parsing(format!(
            "Unknown aggregation type [{kind}] of [{name}]"
        )));
    };
    let mut keys = Keys::of(format!("aggregation [{name}] of type {kind}"), parameters)?;
    keys.ignore(known);
    keys.finish()?;
    Ok(AggregationKind::Validated(kind, parameters.clone()))
}
