//! The clauses of the Query DSL that look for words of a text.

use serde_json::Value;

use super::clause::{boost, field_value, finish, minimum, weighted};
use super::{Keys, scalar_text, text_list};
use crate::dsl::{Fuzziness, Minimum, Query, QueryError};
use crate::query_string;

pub(super) fn match_words(body: &Value) -> Result<Query, QueryError> {
    let (field, value, mut keys) = field_value("match", "query", body)?;
    let (mut least, mut near) = (Minimum::Any, None);
    if let Some(keys) = keys.as_mut() {
        least = least_words("match", keys)?;
        near = fuzziness("match", keys)?;
        keys.ignore(&[
            "analyzer",
            "auto_generate_synonyms_phrase_query",
            "fuzzy_rewrite",
            "fuzzy_transpositions",
            "lenient",
            "max_expansions",
            "zero_terms_query",
        ]);
    }
    let boost = finish(keys)?;
    let text = scalar_text(value).ok_or_else(|| QueryError::parsing("[match] takes a string, number or boolean"))?;
    Ok(weighted(words(field, text, least, near), boost))
}

/// The plainest clause that says it.
fn words(field: String, text: String, minimum: Minimum, fuzziness: Option<Fuzziness>) -> Query {
    match (minimum, fuzziness) {
        (Minimum::Any | Minimum::All, None) => Query::Match {
            field,
            text,
            all: minimum == Minimum::All,
        },
        _ => Query::MatchSome {
            field,
            text,
            minimum,
            fuzziness,
            prefix_last: false,
        },
    }
}

/// `operator` and `minimum_should_match`.
fn least_words(owner: &str, keys: &mut Keys<'_>) -> Result<Minimum, QueryError> {
    let all = operator_is_and(owner, keys)?;
    match keys.take("minimum_should_match") {
        Some(value) if !all => minimum(owner, value),
        _ => Ok(if all { Minimum::All } else { Minimum::Any }),
    }
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

/// `fuzziness` and `prefix_length`; `None` where words must be exact.
pub(super) fn fuzziness(owner: &str, keys: &mut Keys<'_>) -> Result<Option<Fuzziness>, QueryError> {
    let prefix = keys.size("prefix_length")?.unwrap_or(0);
    let Some(text) = keys.text("fuzziness")? else {
        return Ok(None);
    };
    let distance = match text.to_uppercase().as_str() {
        "0" => return Ok(None),
        auto if auto.starts_with("AUTO") => None,
        "1" => Some(1),
        "2" => Some(2),
        _ => {
            return Err(QueryError::argument(format!(
                "[{owner}] [fuzziness] must be `AUTO`, 0, 1 or 2, not [{text}]"
            )));
        }
    };
    Ok(Some(Fuzziness { distance, prefix }))
}

pub(super) fn match_phrase(body: &Value) -> Result<Query, QueryError> {
    let (field, value, mut keys) = field_value("match_phrase", "query", body)?;
    let mut slop = 0;
    if let Some(keys) = keys.as_mut() {
        slop = keys.size("slop")?.unwrap_or(0);
        keys.ignore(&["analyzer", "zero_terms_query"]);
    }
    let boost = finish(keys)?;
    let text = scalar_text(value).ok_or_else(|| QueryError::parsing("[match_phrase] takes a string"))?;
    Ok(weighted(phrase(field, text, slop, false), boost))
}

pub(super) fn match_phrase_prefix(body: &Value) -> Result<Query, QueryError> {
    let (field, value, mut keys) = field_value("match_phrase_prefix", "query", body)?;
    let mut slop = 0;
    if let Some(keys) = keys.as_mut() {
        slop = keys.size("slop")?.unwrap_or(0);
        keys.ignore(&["analyzer", "max_expansions", "zero_terms_query"]);
    }
    let boost = finish(keys)?;
    let text = scalar_text(value).ok_or_else(|| QueryError::parsing("[match_phrase_prefix] takes a string"))?;
    Ok(weighted(phrase(field, text, slop, true), boost))
}

fn phrase(field: String, text: String, slop: usize, prefix_last: bool) -> Query {
    if slop == 0 && !prefix_last {
        return Query::MatchPhrase(field, text);
    }
    Query::LoosePhrase {
        field,
        text,
        slop,
        prefix_last,
    }
}

pub(super) fn match_bool_prefix(body: &Value) -> Result<Query, QueryError> {
    let (field, value, mut keys) = field_value("match_bool_prefix", "query", body)?;
    let (mut minimum, mut near) = (Minimum::Any, None);
    if let Some(keys) = keys.as_mut() {
        minimum = least_words("match_bool_prefix", keys)?;
        near = fuzziness("match_bool_prefix", keys)?;
        keys.ignore(&["analyzer", "max_expansions", "fuzzy_rewrite", "fuzzy_transpositions"]);
    }
    let boost = finish(keys)?;
    let text = scalar_text(value).ok_or_else(|| QueryError::parsing("[match_bool_prefix] takes a string"))?;
    let query = Query::MatchSome {
        field,
        text,
        minimum,
        fuzziness: near,
        prefix_last: true,
    };
    Ok(weighted(query, boost))
}

pub(super) fn multi_match(body: &Value) -> Result<Query, QueryError> {
    let mut keys = Keys::of("multi_match", body)?;
    let text = scalar_text(keys.required("query")?).ok_or_else(|| keys.wrong("query", "a string"))?;
    let fields = keys
        .take("fields")
        .map_or(Ok(vec!["*".to_owned()]), |value| text_list("fields", value))?;
    let minimum = least_words("multi_match", &mut keys)?;
    let kind = keys.text("type")?.unwrap_or_else(|| "best_fields".to_owned());
    let tie_breaker = keys.number("tie_breaker")?.unwrap_or(0.0) as f32;
    let slop = keys.size("slop")?.unwrap_or(0);
    let near = fuzziness("multi_match", &mut keys)?;
    keys.ignore(&[
        "analyzer",
        "auto_generate_synonyms_phrase_query",
        "fuzzy_transpositions",
        "lenient",
        "max_expansions",
        "zero_terms_query",
    ]);
    let boost = boost(&mut keys)?;
    keys.finish()?;
    let over = |clause: &dyn Fn(String) -> Query| fields.iter().map(|field| with_weight(field, clause)).collect();
    let query = match kind.as_str() {
        "best_fields" => Query::Best {
            queries: over(&|field| words(field, text.clone(), minimum, near)),
            tie_breaker,
        },
        "most_fields" => Query::any_of(over(&|field| words(field, text.clone(), minimum, near))),
        "cross_fields" => across(&text, &fields, minimum),
        "phrase" | "phrase_prefix" => Query::Best {
            queries: over(&|field| phrase(field, text.clone(), slop, kind == "phrase_prefix")),
            tie_breaker,
        },
        "bool_prefix" => Query::any_of(over(&|field| Query::MatchSome {
            field,
            text: text.clone(),
            minimum,
            fuzziness: near,
            prefix_last: true,
        })),
        other => {
            return Err(QueryError::argument(format!(
                "[multi_match] does not support [type] [{other}]"
            )));
        }
    };
    Ok(weighted(query, boost))
}

/// Every word in any of the fields.
fn across(text: &str, fields: &[String], minimum: Minimum) -> Query {
    let one = |word: &str| Query::Best {
        queries: fields
            .iter()
            .map(|field| with_weight(field, &|field| words(field, word.to_owned(), Minimum::Any, None)))
            .collect(),
        tie_breaker: 0.0,
    };
    let should: Vec<Query> = text.split_whitespace().map(one).collect();
    Query::Bool {
        must: Vec::new(),
        filter: Vec::new(),
        minimum_should_match: minimum.of(should.len()).max(1),
        should,
        must_not: Vec::new(),
    }
}

/// The clause for `title`, or for `title^3` with that weight.
fn with_weight(field: &str, clause: &dyn Fn(String) -> Query) -> Query {
    let weight = field
        .split_once('^')
        .and_then(|(_, weight)| weight.parse().ok())
        .unwrap_or(1.0);
    weighted(clause(without_boost(field)), weight)
}

/// `title^3` without the weight.
fn without_boost(field: &str) -> String {
    field.split('^').next().unwrap_or(field).to_owned()
}

pub(super) fn query_string_clause(body: &Value) -> Result<Query, QueryError> {
    let mut keys = Keys::of("query_string", body)?;
    let text = scalar_text(keys.required("query")?).ok_or_else(|| keys.wrong("query", "a string"))?;
    let fields = default_fields(&mut keys)?;
    let and = default_operator_is_and(&mut keys)?;
    keys.ignore(&[
        "analyze_wildcard",
        "analyzer",
        "auto_generate_synonyms_phrase_query",
        "lenient",
        "allow_leading_wildcard",
        "time_zone",
        "escape",
        "type",
        "tie_breaker",
    ]);
    let boost = boost(&mut keys)?;
    keys.finish()?;
    let query = query_string::parse(&text, &fields, and).map_err(|error| QueryError {
        kind: "query_shard_exception",
        message: format!("Failed to parse query [{text}]: {}", error.message),
    })?;
    Ok(weighted(query, boost))
}

fn default_operator_is_and(keys: &mut Keys<'_>) -> Result<bool, QueryError> {
    let operator = keys.text("default_operator")?.map(|operator| operator.to_lowercase());
    match operator.as_deref() {
        None | Some("or") => Ok(false),
        Some("and") => Ok(true),
        Some(_) => Err(keys.wrong("default_operator", "`and` or `or`")),
    }
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

pub(super) fn simple_query_string(body: &Value) -> Result<Query, QueryError> {
    let mut keys = Keys::of("simple_query_string", body)?;
    let text = scalar_text(keys.required("query")?).ok_or_else(|| keys.wrong("query", "a string"))?;
    let fields = default_fields(&mut keys)?;
    let and = default_operator_is_and(&mut keys)?;
    keys.ignore(&["analyze_wildcard", "analyzer", "lenient", "flags"]);
    let boost = boost(&mut keys)?;
    keys.finish()?;
    Ok(weighted(query_string::parse_simple(&text, &fields, and), boost))
}
