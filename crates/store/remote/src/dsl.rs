//! Typed queries and sort keys back to the Query DSL's JSON.
//!
//! Three differences between our dialect and a peer's are levelled here: a field may be a pattern in any clause, `x.keyword`
//! means `x` where no such sub-field exists, and a value that does not fit its field finds nothing instead of failing.

use query::{
    Aggregation, AggregationKind, Fuzziness, Minimum, Query, RangeBound, Sort, SortMode, SortOrder, SourceFilter,
    pattern,
};
use serde_json::{Map, Value, json};
use store::StoreError;

use crate::peer::Kind;

/// A clause.
///
/// # Errors
/// [`StoreError::Unsupported`] for the few clauses that take no pattern as their field.
pub(crate) fn query(query: &Query) -> Result<Value, StoreError> {
    Ok(match query {
        Query::MatchAll => json!({ "match_all": {} }),
        Query::MatchNone => json!({ "match_none": {} }),
        Query::Bool {
            must,
            filter,
            should,
            must_not,
            minimum_should_match,
        } => {
            let mut parts = Map::new();
            for (name, clauses) in [
                ("must", must),
                ("filter", filter),
                ("should", should),
                ("must_not", must_not),
            ] {
                if !clauses.is_empty() {
                    let clauses: Vec<Value> = clauses.iter().map(self::query).collect::<Result<_, _>>()?;
                    parts.insert(name.to_owned(), Value::Array(clauses));
                }
            }
            if *minimum_should_match > should.len() {
                return Ok(json!({ "match_none": {} }));
            }
            if !should.is_empty() {
                parts.insert("minimum_should_match".to_owned(), json!(minimum_should_match));
            }
            json!({ "bool": parts })
        }
        Query::Ids(ids) => json!({ "ids": { "values": ids } }),
        Query::Exists(field) => with_plain(field, &|field| json!({ "exists": { "field": field } })),
        Query::Term(field, value) if pattern::is_pattern(field) => anywhere(field, "best_fields", &text_of(value)),
        Query::Term(field, value) => with_plain(field, &|field| json!({ "term": { field: { "value": value } } })),
        Query::Terms(field, values) if pattern::is_pattern(field) => {
            let each = values
                .iter()
                .map(|value| anywhere(field, "best_fields", &text_of(value)));
            json!({ "bool": { "should": each.collect::<Vec<_>>(), "minimum_should_match": 1 } })
        }
        Query::Terms(field, values) => with_plain(field, &|field| json!({ "terms": { field: values } })),
        Query::Range { field, from, to } => {
            let body = range(from.as_ref(), to.as_ref());
            exact("range", field)?;
            with_plain(field, &|field| json!({ "range": { field: body } }))
        }
        Query::Prefix(field, text) if pattern::is_pattern(field) => lucene(field, &format!("{}*", escaped(text))),
        Query::Prefix(field, text) => with_plain(field, &|field| json!({ "prefix": { field: { "value": text } } })),
        Query::Wildcard {
            field, pattern: text, ..
        } if pattern::is_pattern(field) => lucene(field, &escaped(text)),
        Query::Wildcard {
            field,
            pattern,
            case_insensitive,
        } => with_plain(
            field,
            &|field| json!({ "wildcard": { field: { "value": pattern, "case_insensitive": case_insensitive } } }),
        ),
        Query::Regexp(field, text) => {
            exact("regexp", field)?;
            let (text, insensitive) = match text.strip_prefix("(?i)") {
                Some(rest) => (rest, true),
                None => (text.as_str(), false),
            };
            with_plain(
                field,
                &|field| json!({ "regexp": { field: { "value": text, "case_insensitive": insensitive } } }),
            )
        }
        Query::Match { field, text, all } if pattern::is_pattern(field) => {
            let operator = if *all { "and" } else { "or" };
            json!({ "multi_match": { "query": text, "fields": [field], "operator": operator, "lenient": true } })
        }
        Query::Match { field, text, all } => {
            let operator = if *all { "and" } else { "or" };
            json!({ "match": { field: { "query": text, "operator": operator, "lenient": true } } })
        }
        Query::MatchPhrase(field, text) if pattern::is_pattern(field) => anywhere(field, "phrase", text),
        Query::MatchPhrase(field, text) => json!({ "match_phrase": { field: { "query": text } } }),
        Query::LoosePhrase {
            field,
            text,
            slop,
            prefix_last,
        } => {
            exact("match_phrase", field)?;
            let clause = if *prefix_last {
                "match_phrase_prefix"
            } else {
                "match_phrase"
            };
            json!({ clause: { field: { "query": text, "slop": slop } } })
        }
        Query::MatchSome { field, .. } => {
            exact("match", field)?;
            some_words(query)
        }
        Query::Fuzzy(field, text, fuzziness) => {
            exact("fuzzy", field)?;
            let body =
                json!({ "value": text, "fuzziness": fuzziness_of(*fuzziness), "prefix_length": fuzziness.prefix });
            with_plain(field, &|field| json!({ "fuzzy": { field: body } }))
        }
        Query::Nested {
            path,
            query,
            ignore_unmapped,
            score_mode,
        } => json!({ "nested": {
            "path": path, "query": self::query(query)?, "ignore_unmapped": ignore_unmapped, "score_mode": score_mode.name(),
        } }),
        Query::Scored(scored) => scored.to_json(&self::query)?,
        Query::Best { queries, tie_breaker } => {
            let queries: Vec<Value> = queries.iter().map(self::query).collect::<Result<_, _>>()?;
            json!({ "dis_max": { "queries": queries, "tie_breaker": tie_breaker } })
        }
        Query::Constant(inner, boost) => {
            json!({ "constant_score": { "filter": self::query(inner)?, "boost": boost } })
        }
        Query::Weighted(inner, boost) => json!({ "bool": { "must": [self::query(inner)?], "boost": boost } }),
        Query::Demoted(inner, less, factor) => json!({ "boosting": {
            "positive": self::query(inner)?, "negative": self::query(less)?, "negative_boost": factor,
        } }),
    })
}

/// `match` with a minimum, fuzziness or a prefix at the end.
fn some_words(query: &Query) -> Value {
    let Query::MatchSome {
        field,
        text,
        minimum,
        fuzziness,
        prefix_last,
    } = query
    else {
        return json!({ "match_none": {} });
    };
    let mut body = json!({ "query": text });
    match minimum {
        Minimum::Any => {}
        Minimum::All => body["operator"] = json!("and"),
        Minimum::Count(count) => body["minimum_should_match"] = json!(count),
        Minimum::Percent(share) => body["minimum_should_match"] = json!(format!("{share}%")),
    }
    if let Some(fuzziness) = fuzziness {
        body["fuzziness"] = fuzziness_of(*fuzziness);
        body["prefix_length"] = json!(fuzziness.prefix);
    }
    let clause = if *prefix_last { "match_bool_prefix" } else { "match" };
    json!({ clause: { field: body } })
}

fn fuzziness_of(fuzziness: Fuzziness) -> Value {
    fuzziness
        .distance
        .map_or_else(|| json!("AUTO"), |distance| json!(distance))
}

/// The clause for `field`; for `x.keyword` also for `x`: the peer may have either.
fn with_plain(field: &str, clause: &dyn Fn(&str) -> Value) -> Value {
    match field.strip_suffix(".keyword") {
        Some(plain) if !plain.is_empty() => {
            json!({ "bool": { "should": [clause(field), clause(plain)], "minimum_should_match": 1 } })
        }
        _ => clause(field),
    }
}

fn exact(clause: &str, field: &str) -> Result<(), StoreError> {
    if pattern::is_pattern(field) {
        return Err(StoreError::Unsupported(format!(
            "[{clause}] on the fields [{field}] is not supported here: name one field"
        )));
    }
    Ok(())
}

fn anywhere(fields: &str, kind: &str, text: &str) -> Value {
    json!({ "multi_match": { "query": text, "fields": [fields], "type": kind, "lenient": true } })
}

/// `*` and `?` in the text keep their meaning.
fn lucene(fields: &str, text: &str) -> Value {
    json!({ "query_string": { "query": text, "fields": [fields], "analyze_wildcard": true, "lenient": true } })
}

/// Everything that the Lucene syntax would take for an operator is escaped; `<` and `>` cannot be and go.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '<' | '>' => continue,
            letter if letter.is_alphanumeric() || matches!(letter, '*' | '?' | '_') => {}
            _ => out.push('\\'),
        }
        out.push(letter);
    }
    out
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn range(from: Option<&RangeBound>, to: Option<&RangeBound>) -> Value {
    let mut body = Map::new();
    for (bound, inclusive, exclusive) in [(from, "gte", "gt"), (to, "lte", "lt")] {
        if let Some(bound) = bound {
            let name = if bound.inclusive { inclusive } else { exclusive };
            body.insert(name.to_owned(), bound.value.clone());
            if let Some(zone) = &bound.time_zone {
                body.insert("time_zone".to_owned(), json!(zone));
            }
        }
    }
    Value::Object(body)
}

/// Sort keys.
pub(crate) fn sort(keys: &[Sort], kind: Kind) -> Value {
    let keys = keys.iter().enumerate().map(|(place, key)| {
        let order = match key.order {
            SortOrder::Ascending => "asc",
            SortOrder::Descending => "desc",
        };
        // Elasticsearch refuses to sort by id. As a tie-breaker the sequence number does as well.
        let field = match key.field.as_str() {
            "_id" if kind == Kind::Elasticsearch && place > 0 => "_seq_no",
            field => field,
        };
        if field.starts_with('_') {
            return json!({ field: { "order": order } });
        }
        let default = if key.missing_first { "_first" } else { "_last" };
        let missing = key.missing.clone().unwrap_or_else(|| json!(default));
        let unmapped = if field == "@timestamp" { "date" } else { "long" };
        let mut body = json!({ "order": order, "missing": missing, "unmapped_type": unmapped });
        if let Some(format) = &key.format {
            body["format"] = json!(format);
        }
        if let Some(mode) = key.mode {
            body["mode"] = json!(match mode {
                SortMode::Min => "min",
                SortMode::Max => "max",
                SortMode::Sum => "sum",
                SortMode::Avg => "avg",
                SortMode::Median => "median",
            });
        }
        json!({ field: body })
    });
    Value::Array(keys.collect())
}

/// `_source`.
pub(crate) fn source(filter: &SourceFilter) -> Value {
    match filter {
        SourceFilter::All => json!(true),
        SourceFilter::None => json!(false),
        SourceFilter::Some { includes, excludes } => json!({ "includes": includes, "excludes": excludes }),
    }
}

/// `aggs`.
pub(crate) fn aggregations(aggregations: &[Aggregation]) -> Result<Value, StoreError> {
    let mut named = Map::new();
    for aggregation in aggregations {
        let mut body = Map::new();
        match &aggregation.kind {
            AggregationKind::Validated(kind, parameters) => {
                body.insert((*kind).to_owned(), parameters.clone());
            }
            other => {
                return Err(StoreError::Unsupported(format!(
                    "aggregation [{}] of the kind {other:?} is not supported here",
                    aggregation.name
                )));
            }
        }
        if !aggregation.children.is_empty() {
            body.insert("aggs".to_owned(), self::aggregations(&aggregation.children)?);
        }
        named.insert(aggregation.name.clone(), Value::Object(body));
    }
    Ok(Value::Object(named))
}

#[cfg(test)]
mod tests {
    use super::*;
    use query::SearchRequest;

    fn check(text: Value, expected: Value) {
        let parsed = Query::from_json(&text).expect("it can be read");
        assert_eq!(query(&parsed).expect("it can be written"), expected, "{text}");
    }

    #[test]
    fn clauses_come_back_as_they_were() {
        check(
            json!({"bool": {"filter": [{"term": {"a": "x"}}, {"range": {"_seq_no": {"gt": 3, "lte": 9}}}], "must_not": {"exists": {"field": "b"}}}}),
            json!({"bool": {"filter": [{"term": {"a": {"value": "x"}}}, {"range": {"_seq_no": {"gt": 3, "lte": 9}}}], "must_not": [{"exists": {"field": "b"}}]}}),
        );
        check(
            json!({"bool": {"should": [{"match_all": {}}]}}),
            json!({"bool": {"should": [{"match_all": {}}], "minimum_should_match": 1}}),
        );
        check(
            json!({"range": {"t": {"gte": "now-1d/d", "time_zone": "+01:00"}}}),
            json!({"range": {"t": {"gte": "now-1d/d", "time_zone": "+01:00"}}}),
        );
        check(
            json!({"match": {"m": {"query": "a b", "operator": "and"}}}),
            json!({"match": {"m": {"query": "a b", "operator": "and", "lenient": true}}}),
        );
        check(
            json!({"regexp": {"a": {"value": "x.*", "case_insensitive": true}}}),
            json!({"regexp": {"a": {"value": "x.*", "case_insensitive": true}}}),
        );
    }

    #[test]
    fn a_keyword_sub_field_may_be_the_field_itself() {
        check(
            json!({"term": {"zone.keyword": "a"}}),
            json!({"bool": {"should": [{"term": {"zone.keyword": {"value": "a"}}}, {"term": {"zone": {"value": "a"}}}], "minimum_should_match": 1}}),
        );
    }

    #[test]
    fn patterns_of_fields_become_clauses_that_take_them() {
        check(
            json!({"query_string": {"query": "took"}}),
            json!({"multi_match": {"query": "took", "fields": ["*"], "operator": "or", "lenient": true}}),
        );
        let prefix = query(&Query::Prefix("*".into(), "a-b c".into())).expect("it can be written");
        assert_eq!(prefix["query_string"]["query"], r"a\-b\ c*");
        let range = Query::at_least("a.*", 1);
        assert!(matches!(query(&range), Err(StoreError::Unsupported(text)) if text.contains("a.*")));
    }

    #[test]
    fn sort_keys_by_id() {
        let request = SearchRequest::new("a")
            .sort_by("enrolled_at", SortOrder::Descending)
            .sort_by("_id", SortOrder::Ascending);
        assert_eq!(
            sort(&request.sort, Kind::Elasticsearch),
            json!([{"enrolled_at": {"order": "desc", "missing": "_last", "unmapped_type": "long"}}, {"_seq_no": {"order": "asc"}}])
        );
        assert_eq!(
            sort(&request.sort, Kind::OpenSearch)[1],
            json!({"_id": {"order": "asc"}})
        );
    }

    #[test]
    fn aggregations_nest() {
        let body = json!({"aggs": {"p": {"terms": {"field": "policy_id"}, "aggs": {"r": {"top_hits": {"size": 1}}}}}});
        let request = SearchRequest::from_json(&body).expect("it can be read");
        assert_eq!(
            aggregations(&request.aggregations).expect("it can be written"),
            body["aggs"]
        );
    }
}
