//! The clauses of the Query DSL.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::text::{
    fuzziness, match_bool_prefix, match_phrase, match_phrase_prefix, match_words, multi_match, query_string_clause,
    simple_query_string,
};
use super::{Keys, scalar_text, single, text_list};
use crate::dsl::{Fuzziness, Minimum, Query, QueryError, RangeBound, ScoreMode};
use crate::functions::ScoreFunctions;
use crate::{date_math, evaluate};

/// Clauses may hold clauses this deep; deeper bodies are refused.
const DEEPEST: usize = 30;

impl Query {
    /// Reads a `query` body such as `{"term": {"host.name": "web-1"}}`.
    ///
    /// # Errors
    /// Names the clause or key that is not understood.
    pub fn from_json(body: &Value) -> Result<Self, QueryError> {
        clause(body, 0)
    }
}

fn clause(body: &Value, depth: usize) -> Result<Query, QueryError> {
    if depth > DEEPEST {
        return Err(QueryError::argument(format!(
            "the query is nested more than {DEEPEST} levels deep"
        )));
    }
    let (kind, body) = single("query", body)?;
    match kind {
        "match_all" => plain("match_all", body, Query::MatchAll),
        "match_none" => plain("match_none", body, Query::MatchNone),
        "bool" => boolean(body, depth),
        "constant_score" => constant_score(body, depth),
        "term" => term(body),
        "terms" => terms(body),
        "ids" => ids(body),
        "range" => range(body),
        "exists" => exists(body),
        "prefix" => prefix(body),
        "wildcard" => wildcard(body),
        "regexp" => regexp(body),
        "match" => match_words(body),
        "match_phrase" => match_phrase(body),
        "match_phrase_prefix" => match_phrase_prefix(body),
        "match_bool_prefix" => match_bool_prefix(body),
        "multi_match" => multi_match(body),
        "fuzzy" => fuzzy(body),
        "nested" => nested(body, depth),
        "dis_max" => dis_max(body, depth),
        "boosting" => boosting(body, depth),
        "function_score" => {
            let (scored, boost) = ScoreFunctions::parse(body, &|inner| clause(inner, depth + 1))?;
            Ok(weighted(Query::Scored(Box::new(scored)), boost))
        }
        "query_string" => query_string_clause(body),
        "simple_query_string" => simple_query_string(body),
        unknown => Err(QueryError::parsing(format!("unknown query [{unknown}]"))),
    }
}

fn plain(kind: &str, body: &Value, query: Query) -> Result<Query, QueryError> {
    let mut keys = Keys::of(kind, body)?;
    let boost = boost(&mut keys)?;
    keys.finish()?;
    Ok(weighted(query, boost))
}

/// `boost`, 1 when it is missing; `_name` is only for the client.
pub(super) fn boost(keys: &mut Keys<'_>) -> Result<f32, QueryError> {
    keys.ignore(&["_name"]);
    Ok(keys.number("boost")?.unwrap_or(1.0) as f32)
}

#[expect(clippy::float_cmp, reason = "exactly 1 is what a missing boost is")]
pub(super) fn weighted(query: Query, boost: f32) -> Query {
    if boost == 1.0 {
        query
    } else {
        Query::Weighted(Box::new(query), boost)
    }
}

fn boolean(body: &Value, depth: usize) -> Result<Query, QueryError> {
    let mut keys = Keys::of("bool", body)?;
    let mut list = |key| keys.take(key).map_or(Ok(Vec::new()), |value| clauses(value, depth));
    let (must, filter, should, must_not) = (list("must")?, list("filter")?, list("should")?, list("must_not")?);
    let minimum_should_match = match keys.take("minimum_should_match") {
        Some(value) => minimum_should_match("bool", value, should.len())?,
        None => usize::from(must.is_empty() && filter.is_empty() && !should.is_empty()),
    };
    keys.ignore(&["adjust_pure_negative"]);
    let boost = boost(&mut keys)?;
    keys.finish()?;
    if must.is_empty() && filter.is_empty() && should.is_empty() && must_not.is_empty() {
        return Ok(weighted(Query::MatchAll, boost));
    }
    let query = Query::Bool {
        must,
        filter,
        should,
        must_not,
        minimum_should_match,
    };
    Ok(weighted(query, boost))
}

fn clauses(value: &Value, depth: usize) -> Result<Vec<Query>, QueryError> {
    match value {
        Value::Array(items) => items.iter().map(|item| clause(item, depth + 1)).collect(),
        one => Ok(vec![clause(one, depth + 1)?]),
    }
}

/// A count (`2`, `-1`) or a share (`75%`, `-25%`).
pub(super) fn minimum(owner: &str, value: &Value) -> Result<Minimum, QueryError> {
    let wrong = || {
        QueryError::parsing(format!(
            "[{owner}] [minimum_should_match] must be a number or a percentage"
        ))
    };
    let text = scalar_text(value).ok_or_else(wrong)?;
    match text.strip_suffix('%') {
        Some(share) => share.trim().parse().map(Minimum::Percent).map_err(|_| wrong()),
        None => text.trim().parse().map(Minimum::Count).map_err(|_| wrong()),
    }
}

/// Of `available` clauses. More than there are can never match.
fn minimum_should_match(owner: &str, value: &Value, available: usize) -> Result<usize, QueryError> {
    Ok(match minimum(owner, value)? {
        Minimum::Count(count) if count >= 0 => usize::try_from(count).unwrap_or(usize::MAX),
        other => other.of(available),
    })
}

fn constant_score(body: &Value, depth: usize) -> Result<Query, QueryError> {
    let mut keys = Keys::of("constant_score", body)?;
    let filter = clause(keys.required("filter")?, depth + 1)?;
    let boost = boost(&mut keys)?;
    keys.finish()?;
    Ok(Query::Constant(Box::new(filter), boost))
}

fn dis_max(body: &Value, depth: usize) -> Result<Query, QueryError> {
    let mut keys = Keys::of("dis_max", body)?;
    let queries = clauses(keys.required("queries")?, depth)?;
    let tie_breaker = keys.number("tie_breaker")?.unwrap_or(0.0) as f32;
    let boost = boost(&mut keys)?;
    keys.finish()?;
    Ok(weighted(Query::Best { queries, tie_breaker }, boost))
}

fn boosting(body: &Value, depth: usize) -> Result<Query, QueryError> {
    let mut keys = Keys::of("boosting", body)?;
    let positive = clause(keys.required("positive")?, depth + 1)?;
    let negative = clause(keys.required("negative")?, depth + 1)?;
    keys.required("negative_boost")?;
    let factor = keys.number("negative_boost")?.unwrap_or(1.0) as f32;
    let boost = boost(&mut keys)?;
    keys.finish()?;
    Ok(weighted(
        Query::Demoted(Box::new(positive), Box::new(negative), factor),
        boost,
    ))
}

fn nested(body: &Value, depth: usize) -> Result<Query, QueryError> {
    let mut keys = Keys::of("nested", body)?;
    let query = Box::new(clause(keys.required("query")?, depth + 1)?);
    keys.required("path")?;
    let path = keys.text("path")?.unwrap_or_default();
    let ignore_unmapped = keys.flag("ignore_unmapped")?.unwrap_or(false);
    let score_mode = match keys.text("score_mode")?.as_deref() {
        None | Some("avg") => ScoreMode::Avg,
        Some("max") => ScoreMode::Max,
        Some("min") => ScoreMode::Min,
        Some("sum") => ScoreMode::Sum,
        Some("none") => ScoreMode::None,
        Some(other) => {
            return Err(QueryError::argument(format!(
                "No score mode for child query [{other}] found"
            )));
        }
    };
    let boost = boost(&mut keys)?;
    keys.finish()?;
    let query = Query::Nested {
        path,
        query,
        ignore_unmapped,
        score_mode,
    };
    Ok(weighted(query, boost))
}

fn fuzzy(body: &Value) -> Result<Query, QueryError> {
    let (field, value, mut keys) = field_value("fuzzy", "value", body)?;
    let mut fuzziness = Fuzziness {
        distance: None,
        prefix: 0,
    };
    if let Some(keys) = keys.as_mut() {
        fuzziness = self::fuzziness("fuzzy", keys)?.unwrap_or(fuzziness);
        keys.ignore(&["max_expansions", "transpositions", "rewrite"]);
    }
    let boost = finish(keys)?;
    let text = scalar_text(value).ok_or_else(|| QueryError::parsing("[fuzzy] takes a string"))?;
    Ok(weighted(Query::Fuzzy(field, text, fuzziness), boost))
}

/// `{"field": {"value": .., ..}}` or `{"field": ..}`: the field, the value, and the other keys when there are any.
pub(super) fn field_value<'a>(
    kind: &'static str,
    key: &'static str,
    body: &'a Value,
) -> Result<(String, &'a Value, Option<Keys<'a>>), QueryError> {
    let (field, inner) = single(kind, body)?;
    if !inner.is_object() {
        return Ok((field.to_owned(), inner, None));
    }
    let mut keys = Keys::of(kind, inner)?;
    let value = keys.required(key)?;
    Ok((field.to_owned(), value, Some(keys)))
}

/// Refuses what was not taken; returns the `boost`.
pub(super) fn finish(keys: Option<Keys<'_>>) -> Result<f32, QueryError> {
    let Some(mut keys) = keys else { return Ok(1.0) };
    let boost = boost(&mut keys)?;
    keys.finish()?;
    Ok(boost)
}

fn term(body: &Value) -> Result<Query, QueryError> {
    let (field, value, mut keys) = field_value("term", "value", body)?;
    let insensitive = keys
        .as_mut()
        .map_or(Ok(None), |keys| keys.flag("case_insensitive"))?
        .unwrap_or(false);
    let boost = finish(keys)?;
    scalar_or_error("term", value)?;
    let query = match value.as_str().filter(|_| insensitive) {
        Some(text) => Query::Wildcard {
            field,
            pattern: text.to_owned(),
            case_insensitive: true,
        },
        None => Query::Term(field, value.clone()),
    };
    Ok(weighted(query, boost))
}

fn scalar_or_error(kind: &str, value: &Value) -> Result<(), QueryError> {
    match value {
        Value::Array(_) | Value::Object(_) | Value::Null => Err(QueryError::parsing(format!(
            "[{kind}] takes a string, number or boolean"
        ))),
        _ => Ok(()),
    }
}

fn terms(body: &Value) -> Result<Query, QueryError> {
    let map = body
        .as_object()
        .ok_or_else(|| QueryError::parsing("[terms] must be an object"))?;
    let mut fields = map.iter().filter(|(key, _)| !matches!(key.as_str(), "boost" | "_name"));
    let (Some((field, values)), None) = (fields.next(), fields.next()) else {
        return Err(QueryError::parsing("[terms] takes exactly one field"));
    };
    let Value::Array(values) = values else {
        return Err(QueryError::parsing(format!(
            "[terms] [{field}] must be a list of values"
        )));
    };
    values.iter().try_for_each(|value| scalar_or_error("terms", value))?;
    let boost = map.get("boost").and_then(Value::as_f64).unwrap_or(1.0) as f32;
    Ok(weighted(Query::Terms(field.clone(), values.clone()), boost))
}

fn ids(body: &Value) -> Result<Query, QueryError> {
    let mut keys = Keys::of("ids", body)?;
    let ids = text_list("ids", keys.required("values")?)?;
    let boost = boost(&mut keys)?;
    keys.finish()?;
    Ok(weighted(Query::Ids(ids), boost))
}

fn exists(body: &Value) -> Result<Query, QueryError> {
    let mut keys = Keys::of("exists", body)?;
    keys.required("field")?;
    let field = keys.text("field")?.unwrap_or_default();
    let boost = boost(&mut keys)?;
    keys.finish()?;
    Ok(weighted(Query::Exists(field), boost))
}

fn range(body: &Value) -> Result<Query, QueryError> {
    let (field, inner) = single("range", body)?;
    let mut keys = Keys::of("range", inner)?;
    let zone = keys.text("time_zone")?;
    let format = keys.text("format")?;
    if let Some(zone) = &zone {
        date_math::time_zone(zone).map_err(|error| QueryError::parsing(format!("[range] [time_zone]: {error}")))?;
    }
    let mut bound = |key: &'static str, inclusive: bool| -> Result<Option<RangeBound>, QueryError> {
        let Some(value) = keys.take(key) else { return Ok(None) };
        scalar_or_error("range", value)?;
        let round_up = matches!(key, "gt" | "lte" | "to");
        let value = formatted(value, format.as_deref(), zone.as_deref(), round_up)?;
        check_date_math(&value)?;
        Ok(Some(RangeBound {
            value,
            inclusive,
            time_zone: zone.clone(),
        }))
    };
    let from = bound("gte", true)?.or(bound("gt", false)?);
    let to = bound("lte", true)?.or(bound("lt", false)?);
    // The old spelling: `from`, `to`, `include_lower`, `include_upper`.
    let (old_from, old_to) = (bound("from", true)?, bound("to", true)?);
    let lower = keys.flag("include_lower")?.unwrap_or(true);
    let upper = keys.flag("include_upper")?.unwrap_or(true);
    keys.ignore(&["relation"]);
    let boost = boost(&mut keys)?;
    keys.finish()?;
    let from = from.or(old_from.map(|bound| RangeBound {
        inclusive: lower,
        ..bound
    }));
    let to = to.or(old_to.map(|bound| RangeBound {
        inclusive: upper,
        ..bound
    }));
    let query = Query::Range {
        field: field.to_owned(),
        from,
        to,
    };
    Ok(weighted(query, boost))
}

/// A bound in a format of its own becomes RFC 3339.
fn formatted(value: &Value, format: Option<&str>, zone: Option<&str>, round_up: bool) -> Result<Value, QueryError> {
    let (Some(format), Some(text)) = (format, scalar_text(value)) else {
        return Ok(value.clone());
    };
    if text.starts_with("now") {
        return Ok(value.clone());
    }
    let zone = zone
        .map_or(Ok(TimeZone::UTC), date_math::time_zone)
        .map_err(|error| QueryError::parsing(error.to_string()))?;
    match date_math::parse_format(&text, format, &zone, round_up) {
        Ok(time) => Ok(Value::from(time.to_string())),
        Err(error) => Err(QueryError::parsing(format!("[range] {error}"))),
    }
}

fn check_date_math(value: &Value) -> Result<(), QueryError> {
    let Some(text) = value
        .as_str()
        .filter(|text| text.starts_with("now") || text.contains("||"))
    else {
        return Ok(());
    };
    date_math::resolve(text, Timestamp::UNIX_EPOCH, false)
        .map(|_| ())
        .map_err(|error| QueryError::parsing(format!("[range] {error}")))
}

fn prefix(body: &Value) -> Result<Query, QueryError> {
    let (field, value, mut keys) = field_value("prefix", "value", body)?;
    let insensitive = keys
        .as_mut()
        .map_or(Ok(None), |keys| keys.flag("case_insensitive"))?
        .unwrap_or(false);
    if let Some(keys) = keys.as_mut() {
        keys.ignore(&["rewrite"]);
    }
    let boost = finish(keys)?;
    let text = scalar_text(value).ok_or_else(|| QueryError::parsing("[prefix] takes a string"))?;
    let query = if insensitive {
        Query::Wildcard {
            field,
            pattern: format!("{text}*"),
            case_insensitive: true,
        }
    } else {
        Query::Prefix(field, text)
    };
    Ok(weighted(query, boost))
}

fn wildcard(body: &Value) -> Result<Query, QueryError> {
    let (field, inner) = single("wildcard", body)?;
    if let Value::String(pattern) = inner {
        return Ok(Query::Wildcard {
            field: field.to_owned(),
            pattern: pattern.clone(),
            case_insensitive: false,
        });
    }
    let mut keys = Keys::of("wildcard", inner)?;
    let pattern = keys.text("value")?.or(keys.text("wildcard")?);
    let pattern = pattern.ok_or_else(|| QueryError::parsing("[wildcard] needs [value]"))?;
    let case_insensitive = keys.flag("case_insensitive")?.unwrap_or(false);
    keys.ignore(&["rewrite"]);
    let boost = boost(&mut keys)?;
    keys.finish()?;
    let query = Query::Wildcard {
        field: field.to_owned(),
        pattern,
        case_insensitive,
    };
    Ok(weighted(query, boost))
}

fn regexp(body: &Value) -> Result<Query, QueryError> {
    let (field, value, mut keys) = field_value("regexp", "value", body)?;
    let insensitive = keys
        .as_mut()
        .map_or(Ok(None), |keys| keys.flag("case_insensitive"))?
        .unwrap_or(false);
    if let Some(keys) = keys.as_mut() {
        keys.ignore(&["flags", "max_determinized_states", "rewrite"]);
    }
    let boost = finish(keys)?;
    let text = scalar_text(value).ok_or_else(|| QueryError::parsing("[regexp] takes a string"))?;
    let text = if insensitive { format!("(?i){text}") } else { text };
    if evaluate::anchored(&text).is_none() {
        return Err(QueryError {
            kind: "query_shard_exception",
            message: format!("failed to create query: [regexp] cannot read [{text}]"),
        });
    }
    Ok(weighted(Query::Regexp(field, text), boost))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check_error(body: Value, names: &str) {
        let error = Query::from_json(&body).expect_err("it must be refused");
        assert!(error.message.contains(names), "{} does not name {names}", error.message);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        check_error(json!({"nested": {"path": "a"}}), "[nested]");
        check_error(json!({"span_near": {}}), "[span_near]");
        check_error(json!({"term": {"a": {"value": 1, "bost": 2}}}), "[bost]");
        check_error(json!({"term": {"a": 1, "b": 2}}), "[b]");
        check_error(json!({"range": {"a": {"gte": 1, "than": 2}}}), "[than]");
        check_error(json!({"range": {"a": {"gte": "now-1x"}}}), "now-1x");
        check_error(json!({"range": {"a": {"gte": "now", "time_zone": "Mars"}}}), "Mars");
        check_error(json!({"bool": {"mist": []}}), "[mist]");
        check_error(json!({"bool": {"must": [{"script": {}}]}}), "[script]");
        check_error(json!({"terms": {"a": 1}}), "[a]");
        check_error(json!({"regexp": {"a": "("}}), "(");
        check_error(
            json!({"match": {"a": {"query": "x", "fuzziness": "MUCH"}}}),
            "fuzziness",
        );
        check_error(json!({}), "empty");
        check_error(json!([]), "object");
    }

    #[test]
    fn deep_nesting_is_refused() {
        let mut body = json!({"match_all": {}});
        for _ in 0..40 {
            body = json!({"bool": {"must": [body]}});
        }
        check_error(body, "levels deep");
    }

    #[test]
    fn formats_become_rfc_3339() {
        let query = Query::from_json(&json!({"range": {"t": {"gte": "03/02/2026", "format": "dd/MM/yyyy"}}})).unwrap();
        assert_eq!(
            query,
            Query::Range {
                field: "t".into(),
                from: Some(RangeBound::inclusive("2026-02-03T00:00:00Z")),
                to: None
            }
        );
    }

    #[test]
    fn minimum_should_match_counts_and_shares() {
        let check = |value: Value, expected: usize| {
            assert_eq!(minimum_should_match("bool", &value, 4).unwrap(), expected, "{value}");
        };
        check(json!(2), 2);
        check(json!("-1"), 3);
        check(json!("50%"), 2);
        check(json!("-25%"), 3);
    }
}
