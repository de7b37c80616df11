//! The `_search` body.

use serde_json::Value;

use super::{Keys, scalar_text, single, text_list};
use crate::dsl::{Query, QueryError, SearchRequest, Sort, SortOrder, SourceFilter};

/// `from` + `size` may not go beyond this. Source: Elasticsearch, `index.max_result_window`.
const LARGEST_WINDOW: usize = 10_000;

impl SearchRequest {
    /// Reads a `_search` body; `indices` stays empty for the caller to set.
    ///
    /// # Errors
    /// Names the key or clause that is not understood.
    pub fn from_json(body: &Value) -> Result<Self, QueryError> {
        let mut request = Self::default();
        if body.is_null() {
            return Ok(request);
        }
        let mut keys = Keys::of("search", body)?;
        if let Some(query) = keys.take("query") {
            request.query = Query::from_json(query)?;
        }
        if let Some(filter) = keys.take("post_filter") {
            return Err(QueryError::argument(format!(
                "[post_filter] is not supported: put [{filter}] into the query"
            )));
        }
        request.from = keys.size("from")?.unwrap_or(0);
        request.size = keys.size("size")?.unwrap_or(10);
        request.sort = keys.take("sort").map_or(Ok(Vec::new()), sort_keys)?;
        request.search_after = search_after(&mut keys)?;
        request.source = keys.take("_source").map_or(Ok(SourceFilter::All), source_filter)?;
        request.fields = field_patterns(&mut keys)?;
        request.track_total_hits = track_total_hits(&mut keys)?;
        request.seq_no_primary_term = keys.flag("seq_no_primary_term")?.unwrap_or(false);
        request.version = keys.flag("version")?.unwrap_or(false);
        request.point_in_time = point_in_time(&mut keys)?;
        let aggregations = keys.take("aggs").or(keys.take("aggregations"));
        request.aggregations = aggregations.map_or(Ok(Vec::new()), super::aggregations)?;
        // Known keys that change nothing here: nothing scores, nothing is explained, no shard may time out alone.
        keys.ignore(&[
            "timeout",
            "track_scores",
            "explain",
            "profile",
            "stats",
            "terminate_after",
            "highlight",
            "stored_fields",
        ]);
        keys.finish()?;
        check_window(&request)?;
        Ok(request)
    }
}

fn check_window(request: &SearchRequest) -> Result<(), QueryError> {
    if request.from.saturating_add(request.size) > LARGEST_WINDOW {
        return Err(QueryError::argument(format!(
            "Result window is too large, from + size must be less than or equal to: [{LARGEST_WINDOW}] but was [{}]",
            request.from.saturating_add(request.size)
        )));
    }
    match &request.search_after {
        Some(values) if values.len() != request.sort.len() => Err(QueryError::argument(format!(
            "search_after has {} value(s) but sort has {}.",
            values.len(),
            request.sort.len()
        ))),
        _ => Ok(()),
    }
}

fn search_after(keys: &mut Keys<'_>) -> Result<Option<Vec<Value>>, QueryError> {
    match keys.take("search_after") {
        None => Ok(None),
        Some(Value::Array(values)) => Ok(Some(values.clone())),
        Some(_) => Err(keys.wrong("search_after", "a list of values")),
    }
}

fn sort_keys(value: &Value) -> Result<Vec<Sort>, QueryError> {
    match value {
        Value::Array(items) => items.iter().map(sort_key).collect(),
        one => Ok(vec![sort_key(one)?]),
    }
}

fn sort_key(value: &Value) -> Result<Sort, QueryError> {
    if let Value::String(text) = value {
        let (field, order) = text
            .split_once(':')
            .map_or((text.as_str(), None), |(field, order)| (field, Some(order)));
        return Ok(Sort {
            field: field.to_owned(),
            order: order_of(field, order)?,
            missing_first: false,
        });
    }
    let (field, options) = single("sort", value)?;
    if let Value::String(order) = options {
        return Ok(Sort {
            field: field.to_owned(),
            order: order_of(field, Some(order))?,
            missing_first: false,
        });
    }
    let mut keys = Keys::of(format!("sort.{field}"), options)?;
    let order = order_of(field, keys.text("order")?.as_deref())?;
    let missing_first = match keys.text("missing")?.as_deref() {
        None | Some("_last") => false,
        Some("_first") => true,
        Some(_) => return Err(keys.wrong("missing", "`_first` or `_last`")),
    };
    keys.ignore(&["unmapped_type", "format", "numeric_type", "ignore_unmapped"]);
    if let Some(mode) = keys
        .text("mode")?
        .filter(|mode| !matches!(mode.as_str(), "min" | "max"))
    {
        return Err(QueryError::argument(format!(
            "[sort.{field}] does not support [mode] [{mode}]"
        )));
    }
    keys.finish()?;
    Ok(Sort {
        field: field.to_owned(),
        order,
        missing_first,
    })
}

fn order_of(field: &str, order: Option<&str>) -> Result<SortOrder, QueryError> {
    match order {
        None if field == "_score" => Ok(SortOrder::Descending),
        None => Ok(SortOrder::Ascending),
        Some(order) if order.eq_ignore_ascii_case("asc") => Ok(SortOrder::Ascending),
        Some(order) if order.eq_ignore_ascii_case("desc") => Ok(SortOrder::Descending),
        Some(other) => Err(QueryError::parsing(format!(
            "[sort.{field}] [order] must be `asc` or `desc`, not [{other}]"
        ))),
    }
}

fn source_filter(value: &Value) -> Result<SourceFilter, QueryError> {
    match value {
        Value::Bool(true) => Ok(SourceFilter::All),
        Value::Bool(false) => Ok(SourceFilter::None),
        Value::String(text) if text == "true" => Ok(SourceFilter::All),
        Value::String(text) if text == "false" => Ok(SourceFilter::None),
        Value::String(_) | Value::Array(_) => Ok(SourceFilter::Some {
            includes: text_list("_source", value)?,
            excludes: Vec::new(),
        }),
        Value::Object(_) => {
            let mut keys = Keys::of("_source", value)?;
            let mut list = |first, second| {
                let value = keys.take(first).or(keys.take(second));
                value.map_or(Ok(Vec::new()), |value| text_list(first, value))
            };
            let (includes, excludes) = (list("includes", "include")?, list("excludes", "exclude")?);
            keys.finish()?;
            Ok(SourceFilter::Some { includes, excludes })
        }
        _ => Err(QueryError::parsing(
            "[_source] must be true, false, a pattern, a list of patterns or an object",
        )),
    }
}

fn field_patterns(keys: &mut Keys<'_>) -> Result<Vec<String>, QueryError> {
    let mut patterns = Vec::new();
    for key in ["fields", "docvalue_fields"] {
        match keys.take(key) {
            None => {}
            Some(Value::Array(items)) => {
                for item in items {
                    let pattern = item.as_str().or_else(|| item.get("field").and_then(Value::as_str));
                    patterns.push(pattern.ok_or_else(|| keys.wrong(key, "a list of fields"))?.to_owned());
                }
            }
            Some(_) => return Err(keys.wrong(key, "a list of fields")),
        }
    }
    Ok(patterns)
}

fn track_total_hits(keys: &mut Keys<'_>) -> Result<u64, QueryError> {
    match keys.take("track_total_hits") {
        None => Ok(SearchRequest::default().track_total_hits),
        Some(Value::Bool(true)) => Ok(u64::MAX),
        Some(Value::Bool(false)) => Ok(0),
        Some(Value::Number(number)) if number.as_i64() == Some(-1) => Ok(0),
        Some(value) => value
            .as_u64()
            .ok_or_else(|| keys.wrong("track_total_hits", "true, false or a number")),
    }
}

fn point_in_time(keys: &mut Keys<'_>) -> Result<Option<String>, QueryError> {
    let Some(value) = keys.take("pit") else { return Ok(None) };
    let mut inner = Keys::of("pit", value)?;
    let id = scalar_text(inner.required("id")?).ok_or_else(|| inner.wrong("id", "a string"))?;
    inner.ignore(&["keep_alive"]);
    inner.finish()?;
    Ok(Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fleet_server_search() {
        let body = json!({
            "query": {"bool": {"filter": [
                {"range": {"_seq_no": {"gt": 3, "lte": 9}}},
                {"range": {"expiration": {"gt": "2026-01-01T00:00:00Z"}}},
                {"terms": {"agents": ["a"]}}
            ]}},
            "sort": [{"_seq_no": {"order": "asc"}}], "size": 100, "_source": {"excludes": ["agents"]}, "seq_no_primary_term": true
        });
        let request = SearchRequest::from_json(&body).unwrap();
        assert_eq!(request.size, 100);
        assert!(request.seq_no_primary_term);
        assert_eq!(
            request.sort,
            [Sort {
                field: "_seq_no".into(),
                order: SortOrder::Ascending,
                missing_first: false
            }]
        );
        assert_eq!(
            request.source,
            SourceFilter::Some {
                includes: vec![],
                excludes: vec!["agents".into()]
            }
        );
    }

    #[test]
    fn sort_forms() {
        let check = |value: Value, field: &str, order: SortOrder, missing_first: bool| {
            let request = SearchRequest::from_json(&json!({"sort": value})).unwrap();
            assert_eq!(
                request.sort,
                [Sort {
                    field: field.into(),
                    order,
                    missing_first
                }]
            );
        };
        check(json!("a"), "a", SortOrder::Ascending, false);
        check(json!("a:desc"), "a", SortOrder::Descending, false);
        check(json!(["_score"]), "_score", SortOrder::Descending, false);
        check(json!([{"a": "desc"}]), "a", SortOrder::Descending, false);
        check(
            json!({"a": {"order": "desc", "missing": "_first", "unmapped_type": "date"}}),
            "a",
            SortOrder::Descending,
            true,
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let check = |body: Value, names: &str| {
            let error = SearchRequest::from_json(&body).expect_err("it must be refused");
            assert!(error.message.contains(names), "{}", error.message);
        };
        check(json!({"querry": {}}), "[querry]");
        check(json!({"size": -1}), "[size]");
        check(json!({"size": 10_001}), "10000");
        check(json!({"sort": [{"a": {"order": "up"}}]}), "[order]");
        check(json!({"sort": ["a"], "search_after": [1, 2]}), "search_after");
        check(json!({"knn": {}}), "[knn]");
        check(
            json!({"aggs": {"a": {"median_absolute_deviation": {}}}}),
            "median_absolute_deviation",
        );
    }
}
