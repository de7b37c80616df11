//! Whether one document matches: for stores, and parts of stores, that have no index for it.
//!
//! Strings count as keywords; `match` and its relatives compare words. Dates are recognised by their shape.

use std::cmp::Ordering;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use regex::Regex;
use serde_json::Value;

use crate::date_math;
use crate::dsl::{Query, Sort, SortOrder};
use crate::matcher::Matcher;

/// What a document has beside its source.
#[derive(Clone, Copy, Debug, Default)]
pub struct DocumentMeta<'a> {
    /// `_id`.
    pub id: &'a str,
    /// `_seq_no`.
    pub seq_no: u64,
    /// `_index`; may be empty.
    pub index: &'a str,
}

/// Whether the document matches. A range with `now` in it matches nothing here: see [`matches_at`].
pub fn matches(query: &Query, source: &Value, meta: &DocumentMeta<'_>) -> bool {
    matches_at(query, source, meta, None)
}

/// [`matches`] with the time that `now` stands for.
pub fn matches_at(query: &Query, source: &Value, meta: &DocumentMeta<'_>, now: Option<Timestamp>) -> bool {
    // Without a mapping nothing can be wrong with a value.
    Matcher::compile(query, None, now).is_ok_and(|matcher| matcher.holds(source, meta))
}

/// A regular expression that must fit the whole text; `None` when it cannot be read.
pub(crate) fn anchored(expression: &str) -> Option<Regex> {
    regex::RegexBuilder::new(&format!("^(?:{expression})$"))
        .size_limit(1 << 20)
        .dot_matches_new_line(true)
        .build()
        .ok()
}

/// Equality as `term` means it: numbers by value, booleans and numbers also by their text.
pub(crate) fn equal(value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Number(_), Value::Number(_)) => compare_values(value, wanted) == Ordering::Equal,
        (Value::String(text), Value::String(other)) => {
            text == other || date_math::looks_like_date_time(text) && same_instant(text, other)
        }
        (Value::String(text), Value::Number(number)) => *text == number.to_string(),
        (Value::Number(number), Value::String(text)) => {
            number.to_string() == *text || text.parse::<f64>().is_ok_and(|wanted| number.as_f64() == Some(wanted))
        }
        (Value::Bool(flag), Value::String(text)) | (Value::String(text), Value::Bool(flag)) => {
            text == if *flag { "true" } else { "false" }
        }
        (value, wanted) => value == wanted,
    }
}

fn same_instant(left: &str, right: &str) -> bool {
    let read = |text: &str| date_math::parse(text, &TimeZone::UTC, false);
    matches!((read(left), read(right)), (Some(left), Some(right)) if left == right)
}

/// The order that sorting uses: null, booleans, numbers, texts (dates by instant).
pub fn compare_values(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => left.cmp(&right),
            _ => match (left.as_u64(), right.as_u64()) {
                (Some(left), Some(right)) => left.cmp(&right),
                _ => left.as_f64().unwrap_or(0.0).total_cmp(&right.as_f64().unwrap_or(0.0)),
            },
        },
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (left, right) => rank(left).cmp(&rank(right)),
    }
}

/// The order of two hits by their sort values. Missing values come last unless the key says otherwise.
pub fn compare_sort_values(sort: &[Sort], left: &[Value], right: &[Value]) -> Ordering {
    sort.iter()
        .zip(left.iter().zip(right))
        .map(|(key, (left, right))| compare_sort_value(key, left, right))
        .find(|ordering| *ordering != Ordering::Equal)
        .unwrap_or(Ordering::Equal)
}

/// The order of two hits by one of their sort values.
pub fn compare_sort_value(key: &Sort, left: &Value, right: &Value) -> Ordering {
    let missing_side = if key.missing_first {
        Ordering::Less
    } else {
        Ordering::Greater
    };
    match (left.is_null(), right.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => missing_side,
        (false, true) => missing_side.reverse(),
        (false, false) if key.order == SortOrder::Descending => compare_values(right, left),
        (false, false) => compare_values(left, right),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Value {
        json!({
            "message": "Failed password for root", "host": {"name": "web-1"}, "agents": ["a", "b"], "n": 5,
            "expiration": "2026-03-01T00:00:00Z", "active": true, "nothing": null, "size": 1.5, "@timestamp": 1_767_225_600_000_i64
        })
    }

    #[track_caller]
    fn check(query: Value, expected: bool) {
        let parsed = Query::from_json(&query).unwrap_or_else(|error| panic!("{error}"));
        let meta = DocumentMeta {
            id: "1",
            seq_no: 7,
            index: "i",
        };
        let now = "2026-02-01T00:00:00Z".parse().unwrap();
        assert_eq!(matches_at(&parsed, &document(), &meta, Some(now)), expected, "{query}");
    }

    #[test]
    fn exact_values() {
        check(json!({"term": {"host.name": "web-1"}}), true);
        check(json!({"term": {"host.name.keyword": "web-1"}}), true);
        check(json!({"term": {"host.name": "web"}}), false);
        check(json!({"term": {"agents": "b"}}), true);
        check(json!({"terms": {"agents": ["x", "a"]}}), true);
        check(json!({"term": {"n": "5"}}), true);
        check(json!({"term": {"active": "true"}}), true);
        check(json!({"term": {"_id": "1"}}), true);
        check(json!({"ids": {"values": ["2", "1"]}}), true);
        check(json!({"exists": {"field": "host"}}), true);
        check(json!({"exists": {"field": "nothing"}}), false);
        check(json!({"exists": {"field": "absent"}}), false);
    }

    #[test]
    fn ranges() {
        check(json!({"range": {"n": {"gt": 4, "lte": 5}}}), true);
        check(json!({"range": {"n": {"gt": 5}}}), false);
        check(json!({"range": {"_seq_no": {"gt": 6, "lte": 7}}}), true);
        check(json!({"range": {"expiration": {"gt": "now"}}}), true);
        check(json!({"range": {"expiration": {"lte": "now+27d"}}}), false);
        check(json!({"range": {"expiration": {"lte": "2026-03-01"}}}), true);
        check(json!({"range": {"expiration": {"lt": "2026-03-01"}}}), false);
        check(
            json!({"range": {"@timestamp": {"gte": "2026-01-01", "lt": "2026-01-02"}}}),
            true,
        );
        check(json!({"range": {"host.name": {"gte": "a", "lt": "x"}}}), true);
        check(json!({"range": {"absent": {"gte": 0}}}), false);
    }

    #[test]
    fn texts_and_patterns() {
        check(json!({"match": {"message": "password banana"}}), true);
        check(
            json!({"match": {"message": {"query": "password banana", "operator": "and"}}}),
            false,
        );
        check(json!({"match_phrase": {"message": "password for"}}), true);
        check(json!({"match_phrase": {"message": "for password"}}), false);
        check(json!({"prefix": {"host.name": "we"}}), true);
        check(json!({"wildcard": {"host.name": "W?b*"}}), false);
        check(
            json!({"wildcard": {"host.name": {"value": "W?b*", "case_insensitive": true}}}),
            true,
        );
        check(json!({"regexp": {"host.name": "web-[0-9]+"}}), true);
        check(json!({"regexp": {"host.name": "web"}}), false);
        check(
            json!({"multi_match": {"query": "root", "fields": ["host.name", "message"]}}),
            true,
        );
        check(json!({"query_string": {"query": "root"}}), true);
    }

    #[test]
    fn boolean_clauses() {
        check(json!({"bool": {}}), true);
        check(json!({"bool": {"must_not": {"term": {"n": 5}}}}), false);
        check(
            json!({"bool": {"should": [{"term": {"n": 6}}, {"term": {"n": 5}}]}}),
            true,
        );
        check(
            json!({"bool": {"should": [{"term": {"n": 6}}], "filter": [{"term": {"n": 5}}]}}),
            true,
        );
        check(
            json!({"bool": {"should": [{"term": {"n": 6}}, {"term": {"n": 5}}], "minimum_should_match": 2}}),
            false,
        );
    }
}
