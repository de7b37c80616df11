//! The clauses of the Query DSL.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::{Keys, scalar_text, single, text_list};
use crate::dsl::{Query, QueryError, RangeBound};
use crate::{date_math, evaluate, query_string};

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
        "multi_match" => multi_match(body),
        "query_string" => query_string_clause(body),
        "simple_query_string" => simple_query_string(body),
        unknown => Err(QueryError::parsing(format!("unknown query [{unknown}]"))),
    }
}

fn plain(kind: &str, body: &Value, query: Query) -> Result<Query, QueryError> {
    let mut keys = Keys::of(kind, body)?;
    keys.ignore(&["boost", "_name"]);
    keys.finish()?;
    Ok(query)
}

fn boolean(body: &Value, depth: usize) -> Result<Query, QueryError> {
    let mut keys = Keys::of("bool", body)?;
    let mut list = |key| keys.take(key).map_or(Ok(Vec::new()), |value| clauses(value, depth));
    let (must, filter, should, must_not) = (list("must")?, list("filter")?, list("should")?, list("must_not")?);
    let minimum_should_match = match keys.take("minimum_should_match") {
        Some(value) => minimum_should_match("bool", value, should.len())?,
        None => usize::from(must.is_empty() && filter.is_empty() && !should.is_empty()),
    };
    keys.ignore(&["boost", "_name", "adjust_pure_negative"]);
    keys.finish()?;
    Ok(Query::Bool {
        must,
        filter,
        should,
        must_not,
        minimum_should_match,
    })
}

fn clauses(value: &Value, depth: usize) -> Result<Vec<Query>, QueryError> {
    match value {
        Value::Array(items) => items.iter().map(|item| clause(item, depth + 1)).collect(),
        one => Ok(vec![clause(one, depth + 1)?]),
    }
}

/// A count (`2`, `-1`) or a share (`75%`, `-25%`) of `available`.
fn minimum_should_match(owner: &str, value: &Value, available: usize) -> Result<usize, QueryError> {
    let wrong = || {
        QueryError::parsing(format!(
            "[{owner}] [minimum_should_match] must be a number or a percentage"
        ))
    };
    let text = scalar_text(value).ok_or_else(wrong)?;
    let available_signed = i64::try_from(available).unwrap_or(i64::MAX);
    let number = match text.strip_suffix('%') {
        Some(share) => {
            let share: i64 = share.trim().parse().map_err(|_| wrong())?;
            available_signed.saturating_mul(share) / 100
        }
        None => text.trim().parse().map_err(|_| wrong())?,
    };
    let wanted = if number < 0 { available_signed + number } else { number };
    Ok(usize::try_from(wanted.max(0)).unwrap_or(usize::MAX))
}

fn constant_score(body: &Value, depth: usize) -> Result<Query, QueryError> {
    let mut keys = Keys::of("constant_score", body)?;
    let filter = clause(keys.required("filter")?, depth + 1)?;
    keys.ignore(&["boost", "_name"]);
    keys.finish()?;
    Ok(filter)
}

/// `{"field": {"value": .., ..}}` or `{"field": ..}`: the field, the value, and the other keys when there are any.
fn field_value<'a>(
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
    keys.ignore(&["boost", "_name"]);
    Ok((field.to_owned(), value, Some(keys)))
}

fn finish(keys: Option<Keys<'_>>) -> Result<(), QueryError> {
    keys.map_or(Ok(()), Keys::finish)
}

fn term(body: &Value) -> Result<Query, QueryError> {
    let (field, value, mut keys) = field_value("term", "value", body)?;
    let insensitive = keys
        .as_mut()
        .map_or(Ok(None), |keys| keys.flag("case_insensitive"))?
        .unwrap_or(false);
    finish(keys)?;
    scalar_or_error("term", value)?;
    match value.as_str().filter(|_| insensitive) {
        Some(text) => Ok(Query::Wildcard {
            field,
            pattern: text.to_owned(),
            case_insensitive: true,
        }),
        None => Ok(Query::Term(field, value.clone())),
    }
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
    Ok(Query::Terms(field.clone(), values.clone()))
}

fn ids(body: &Value) -> Result<Query, QueryError> {
    let mut keys = Keys::of("ids", body)?;
    let ids = text_list("ids", keys.required("values")?)?;
    keys.ignore(&["boost", "_name"]);
    keys.finish()?;
    Ok(Query::Ids(ids))
}

fn exists(body: &Value) -> Result<Query, QueryError> {
    let mut keys = Keys::of("exists", body)?;
    keys.required("field")?;
    let field = keys.text("field")?.unwrap_or_default();
    keys.ignore(&["boost", "_name"]);
    keys.finish()?;
    Ok(Query::Exists(field))
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
    keys.ignore(&["boost", "_name", "relation"]);
    keys.finish()?;
    let from = from.or(old_from.map(|bound| RangeBound {
        inclusive: lower,
        ..bound
    }));
    let to = to.or(old_to.map(|bound| RangeBound {
        inclusive: upper,
        ..bound
    }));
    Ok(Query::Range {
        field: field.to_owned(),
        from,
        to,
    })
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
    finish(keys)?;
    let text = scalar_text(value).ok_or_else(|| QueryError::parsing("[prefix] takes a string"))?;
    if insensitive {
        return Ok(Query::Wildcard {
            field,
            pattern: format!("{text}*"),
            case_insensitive: true,
        });
    }
    Ok(Query::Prefix(field, text))
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
    keys.ignore(&["boost", "_name", "rewrite"]);
    keys.finish()?;
    Ok(Query::Wildcard {
        field: field.to_owned(),
        pattern,
        case_insensitive,
    })
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
    finish(keys)?;
    let text = scalar_text(value).ok_or_else(|| QueryError::parsing("[regexp] takes a string"))?;
    let text = if insensitive { format!("(?i){text}") } else { text };
    if evaluate::anchored(&text).is_none() {
        return Err(QueryError::parsing(format!("[regexp] cannot read [{text}]")));
    }
    Ok(Query::Regexp(field, text))
}

fn match_words(body: &Value) -> Result<Query, QueryError> {
    let (field, value, mut keys) = field_value("match", "query", body)?;
    let mut all = false;
    if let Some(keys) = keys.as_mut() {
        all = operator_is_and("match", keys)?;
        keys.ignore(&["lenient", "zero_terms_query", "auto_generate_synonyms_phrase_query"]);
        refuse_fuzziness("match", keys)?;
    }
    finish(keys)?;
    let text = scalar_text(value).ok_or_else(|| QueryError::parsing("[match] takes a string, number or boolean"))?;
    Ok(Query::Match { field, text, all })
}

fn operator_is_and(owner: &str, keys: &mut Keys<'_>) -> Result<bool, QueryError> {
    match keys.text("operator")?.as_deref().map(str::to_lowercase).as_deref() {
        None | Some("or") => Ok(false),
        Some("and") => Ok(true),
        Some(_) => Err(QueryError::parsing(format!(
            "[{owner}] [operator] must be `and` or `or`"
        ))),
    }
}

fn refuse_fuzziness(owner: &str, keys: &mut Keys<'_>) -> Result<(), QueryError> {
    match keys.text("fuzziness")?.as_deref() {
        None | Some("0") => Ok(()),
        Some(_) => Err(QueryError::argument(format!(
            "[{owner}] does not support [fuzziness] here"
        ))),
    }
}

fn match_phrase(body: &Value) -> Result<Query, QueryError> {
    let (field, value, mut keys) = field_value("match_phrase", "query", body)?;
    if let Some(keys) = keys.as_mut() {
        if keys.size("slop")?.unwrap_or(0) > 0 {
            return Err(QueryError::argument("[match_phrase] does not support [slop] here"));
        }
        keys.ignore(&["zero_terms_query"]);
    }
    finish(keys)?;
    let text = scalar_text(value).ok_or_else(|| QueryError::parsing("[match_phrase] takes a string"))?;
    Ok(Query::MatchPhrase(field, text))
}

fn multi_match(body: &Value) -> Result<Query, QueryError> {
    let mut keys = Keys::of("multi_match", body)?;
    let text = scalar_text(keys.required("query")?).ok_or_else(|| keys.wrong("query", "a string"))?;
    let fields = keys
        .take("fields")
        .map_or(Ok(vec!["*".to_owned()]), |value| text_list("fields", value))?;
    let all = operator_is_and("multi_match", &mut keys)?;
    let kind = keys.text("type")?.unwrap_or_else(|| "best_fields".to_owned());
    keys.ignore(&["boost", "_name", "lenient", "tie_breaker", "zero_terms_query"]);
    refuse_fuzziness("multi_match", &mut keys)?;
    keys.finish()?;
    let phrase = match kind.as_str() {
        "best_fields" | "most_fields" | "cross_fields" => false,
        "phrase" => true,
        other => {
            return Err(QueryError::argument(format!(
                "[multi_match] does not support [type] [{other}]"
            )));
        }
    };
    let one = |field: String| {
        if phrase {
            Query::MatchPhrase(field, text.clone())
        } else {
            Query::Match {
                field,
                text: text.clone(),
                all,
            }
        }
    };
    Ok(Query::any_of(
        fields.iter().map(|field| one(without_boost(field))).collect(),
    ))
}

/// `title^3` without the weight: nothing here scores.
fn without_boost(field: &str) -> String {
    field.split('^').next().unwrap_or(field).to_owned()
}

fn query_string_clause(body: &Value) -> Result<Query, QueryError> {
    let mut keys = Keys::of("query_string", body)?;
    let text = scalar_text(keys.required("query")?).ok_or_else(|| keys.wrong("query", "a string"))?;
    let fields = default_fields(&mut keys)?;
    let and = match keys
        .text("default_operator")?
        .as_deref()
        .map(str::to_lowercase)
        .as_deref()
    {
        None | Some("or") => false,
        Some("and") => true,
        Some(_) => return Err(keys.wrong("default_operator", "`and` or `or`")),
    };
    keys.ignore(&[
        "analyze_wildcard",
        "lenient",
        "boost",
        "_name",
        "allow_leading_wildcard",
        "time_zone",
        "escape",
    ]);
    keys.finish()?;
    query_string::parse(&text, &fields, and)
}

fn default_fields(keys: &mut Keys<'_>) -> Result<Vec<String>, QueryError> {
    let fields = keys
        .take("fields")
        .map(|value| text_list("fields", value))
        .transpose()?;
    let field = keys.text("default_field")?;
    let fields = fields
        .or(field.map(|field| vec![field]))
        .unwrap_or_else(|| vec!["*".to_owned()]);
    Ok(fields.iter().map(|field| without_boost(field)).collect())
}

fn simple_query_string(body: &Value) -> Result<Query, QueryError> {
    let mut keys = Keys::of("simple_query_string", body)?;
    let text = scalar_text(keys.required("query")?).ok_or_else(|| keys.wrong("query", "a string"))?;
    let fields = default_fields(&mut keys)?;
    let and = match keys
        .text("default_operator")?
        .as_deref()
        .map(str::to_lowercase)
        .as_deref()
    {
        None | Some("or") => false,
        Some("and") => true,
        Some(_) => return Err(keys.wrong("default_operator", "`and` or `or`")),
    };
    keys.ignore(&["analyze_wildcard", "lenient", "boost", "_name", "flags"]);
    keys.finish()?;
    Ok(query_string::parse_simple(&text, &fields, and))
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
        check_error(json!({"term": {"a": {"value": 1, "bost": 2}}}), "[bost]");
        check_error(json!({"term": {"a": 1, "b": 2}}), "[b]");
        check_error(json!({"range": {"a": {"gte": 1, "than": 2}}}), "[than]");
        check_error(json!({"range": {"a": {"gte": "now-1x"}}}), "now-1x");
        check_error(json!({"range": {"a": {"gte": "now", "time_zone": "Mars"}}}), "Mars");
        check_error(json!({"bool": {"mist": []}}), "[mist]");
        check_error(json!({"bool": {"must": [{"fuzzy": {}}]}}), "[fuzzy]");
        check_error(json!({"terms": {"a": 1}}), "[a]");
        check_error(json!({"regexp": {"a": "("}}), "(");
        check_error(
            json!({"match": {"a": {"query": "x", "fuzziness": "AUTO"}}}),
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
