//! The `_search` body.

use serde_json::Value;

use super::{Keys, scalar_text, text_list};
use crate::dsl::{
    Highlight, HighlightField, Query, QueryError, SearchRequest, ShownField, Sort, SortMode, SortOrder, SourceFilter,
};

/// Keys of `highlight` that choose between ways, and the ways that are known.
const HIGHLIGHT_CHOICES: [(&str, &[&str]); 5] = [
    ("boundary_scanner", &["chars", "sentence", "word"]),
    ("encoder", &["default"]),
    ("fragmenter", &["simple", "span"]),
    ("tags_schema", &["default"]),
    ("type", &["fvh", "plain", "unified"]),
];
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
        request.post_filter = keys.take("post_filter").map(Query::from_json).transpose()?;
        refuse_negative(&mut keys)?;
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
        request.highlight = keys.take("highlight").map(highlight).transpose()?;
        request.min_score = keys.number("min_score")?.map(|score| score as f32);
        request.track_scores = keys.flag("track_scores")?.unwrap_or(false);
        stored_fields(&mut keys, &mut request)?;
        if keys.flag("profile")?.unwrap_or(false) {
            return Err(QueryError::argument(
                "[profile] is not supported: searches are not measured",
            ));
        }
        // Known keys that change nothing here: no shard may time out alone, and a search that could end early may be whole.
        keys.ignore(&["timeout", "stats", "terminate_after"]);
        keys.finish()?;
        check_window(&request)?;
        Ok(request)
    }
}

fn refuse_negative(keys: &mut Keys<'_>) -> Result<(), QueryError> {
    let negative = |value: Option<&Value>| value.and_then(Value::as_i64).filter(|number| *number < 0);
    if let Some(size) = negative(keys.take("size")) {
        return Err(QueryError::argument(format!(
            "[size] parameter cannot be negative, found [{size}]"
        )));
    }
    if let Some(from) = negative(keys.take("from")) {
        return Err(QueryError::argument(format!(
            "[from] parameter cannot be negative but was [{from}]"
        )));
    }
    Ok(())
}

fn check_window(request: &SearchRequest) -> Result<(), QueryError> {
    if request.from.saturating_add(request.size) > LARGEST_WINDOW {
        return Err(QueryError::argument(format!(
            "Result window is too large, from + size must be less than or equal to: [{LARGEST_WINDOW}] but was [{}]. See the scroll api for a more efficient way to request large data sets. This limit can be set by changing the [index.max_result_window] index level setting.",
            request.from.saturating_add(request.size)
        )));
    }
    match &request.search_after {
        Some(_) if request.from > 0 => Err(QueryError {
            kind: "action_request_validation_exception",
            message: "Validation Failed: 1: [from] parameter must be set to 0 when [search_after] is used;".to_owned(),
        }),
        Some(_) if request.sort.is_empty() => Err(QueryError::argument("Sort must contain at least one field.")),
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
    let lists: Vec<Vec<Sort>> = match value {
        Value::Array(items) => items.iter().map(sort_key).collect::<Result<_, _>>()?,
        one => vec![sort_key(one)?],
    };
    let keys: Vec<Sort> = lists.into_iter().flatten().collect();
    // By score alone is how hits come anyway.
    let by_score = |key: &Sort| key.field == "_score" && key.order == SortOrder::Descending;
    Ok(if keys.len() == 1 && keys.iter().all(by_score) {
        Vec::new()
    } else {
        keys
    })
}

/// One key, or several in one object.
fn sort_key(value: &Value) -> Result<Vec<Sort>, QueryError> {
    if let Value::String(text) = value {
        let (field, order) = text
            .split_once(':')
            .map_or((text.as_str(), None), |(field, order)| (field, Some(order)));
        return Ok(vec![Sort {
            field: field.to_owned(),
            order: order_of(field, order)?,
            ..Sort::default()
        }]);
    }
    let Value::Object(keys) = value else {
        return Err(QueryError::argument(
            "malformed sort format, within the sort array, an object, or an actual string are allowed",
        ));
    };
    keys.iter()
        .map(|(field, options)| sort_options(field, options))
        .collect()
}

fn sort_options(field: &str, options: &Value) -> Result<Sort, QueryError> {
    if let Value::String(order) = options {
        return Ok(Sort {
            field: field.to_owned(),
            order: order_of(field, Some(order))?,
            ..Sort::default()
        });
    }
    let mut keys = Keys::of(format!("sort.{field}"), options)?;
    let order = order_of(field, keys.text("order")?.as_deref())?;
    let missing = keys.take("missing").cloned();
    let missing_first = missing.as_ref().is_some_and(|missing| missing == "_first");
    let mode = match keys.text("mode")?.as_deref() {
        None => None,
        Some("min") => Some(SortMode::Min),
        Some("max") => Some(SortMode::Max),
        Some("sum") => Some(SortMode::Sum),
        Some("avg") => Some(SortMode::Avg),
        Some("median") => Some(SortMode::Median),
        Some(mode) => {
            return Err(QueryError::argument(format!("Unknown SortMode [{mode}]")));
        }
    };
    let unmapped = keys.text("unmapped_type")?.is_some() || keys.flag("ignore_unmapped")?.unwrap_or(false);
    let format = keys.text("format")?;
    if let Some(nested) = keys.take("nested") {
        let mut nested = Keys::of(format!("sort.{field}.nested"), nested)?;
        nested.ignore(&["path"]);
        nested.finish()?;
    }
    keys.ignore(&["numeric_type"]);
    keys.finish()?;
    Ok(Sort {
        field: field.to_owned(),
        order,
        missing_first,
        missing: missing.filter(|missing| missing != "_first" && missing != "_last"),
        mode,
        format,
        unmapped,
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

fn field_patterns(keys: &mut Keys<'_>) -> Result<Vec<ShownField>, QueryError> {
    let mut patterns = Vec::new();
    for key in ["fields", "docvalue_fields"] {
        match keys.take(key) {
            None => {}
            Some(Value::Array(items)) => {
                for item in items {
                    let pattern = item.as_str().or_else(|| item.get("field").and_then(Value::as_str));
                    patterns.push(ShownField {
                        pattern: pattern.ok_or_else(|| keys.wrong(key, "a list of fields"))?.to_owned(),
                        format: item.get("format").and_then(Value::as_str).map(str::to_owned),
                        column: key == "docvalue_fields",
                    });
                }
            }
            Some(_) => return Err(keys.wrong(key, "a list of fields")),
        }
    }
    Ok(patterns)
}

/// Nothing is stored apart from `_source`: asking for stored fields is asking for no `_source`.
fn stored_fields(keys: &mut Keys<'_>, request: &mut SearchRequest) -> Result<(), QueryError> {
    let asked_for_source = keys.take("_source").is_some();
    let Some(value) = keys.take("stored_fields") else {
        return Ok(());
    };
    let names = text_list("stored_fields", value)?;
    if !asked_for_source && !names.iter().any(|name| name == "_source") {
        request.source = SourceFilter::None;
    }
    Ok(())
}

fn highlight(value: &Value) -> Result<Highlight, QueryError> {
    let mut keys = Keys::of("highlight", value)?;
    let default = HighlightField {
        before: "<em>".to_owned(),
        after: "</em>".to_owned(),
        fragment: 100,
        most: 5,
        unmarked: 0,
        by_score: false,
    };
    let general = highlight_options(&mut keys, &default)?;
    let same_field_only = keys.flag("require_field_match")?.unwrap_or(true);
    let mut fields = Vec::new();
    let named: Vec<(&String, &Value)> = match keys.required("fields")? {
        Value::Object(map) => map.iter().collect(),
        Value::Array(list) => list.iter().filter_map(Value::as_object).flatten().collect(),
        _ => return Err(keys.wrong("fields", "an object")),
    };
    for (name, options) in named {
        let mut keys = Keys::of("highlight_field", options)?;
        let field = highlight_options(&mut keys, &general)?;
        keys.ignore(&["require_field_match"]);
        keys.finish()?;
        fields.push((name.clone(), field));
    }
    keys.finish()?;
    Ok(Highlight {
        fields,
        same_field_only,
    })
}

fn highlight_options(keys: &mut Keys<'_>, default: &HighlightField) -> Result<HighlightField, QueryError> {
    let mut tag = |key: &'static str, default: &str| match keys.take(key) {
        None => Ok(default.to_owned()),
        Some(value) => text_list(key, value).map(|tags| tags.first().cloned().unwrap_or_default()),
    };
    let (before, after) = (tag("pre_tags", &default.before)?, tag("post_tags", &default.after)?);
    let field = HighlightField {
        before,
        after,
        fragment: keys.size("fragment_size")?.unwrap_or(default.fragment),
        most: keys.size("number_of_fragments")?.unwrap_or(default.most),
        unmarked: keys.size("no_match_size")?.unwrap_or(default.unmarked),
        by_score: keys.text("order")?.map_or(default.by_score, |order| order == "score"),
    };
    for (key, known) in HIGHLIGHT_CHOICES {
        match keys.text(key)? {
            Some(other) if !known.contains(&other.as_str()) => {
                return Err(QueryError::argument(format!(
                    "[highlight] [{key}] [{other}] is not supported"
                )));
            }
            _ => {}
        }
    }
    // They tune where a fragment ends.
    keys.ignore(&[
        "boundary_chars",
        "boundary_max_scan",
        "boundary_scanner_locale",
        "force_source",
        "max_analyzed_offset",
        "phrase_limit",
    ]);
    Ok(field)
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
                ..Sort::default()
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
            let request = SearchRequest::from_json(&json!({ "sort": &value })).unwrap();
            assert_eq!(
                request.sort,
                [Sort {
                    field: field.into(),
                    order,
                    missing_first,
                    unmapped: value
                        .get(field)
                        .is_some_and(|options| options.get("unmapped_type").is_some()),
                    ..Sort::default()
                }]
            );
        };
        check(json!("a"), "a", SortOrder::Ascending, false);
        check(json!("a:desc"), "a", SortOrder::Descending, false);
        check(json!([{"_score": "asc"}]), "_score", SortOrder::Ascending, false);
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
