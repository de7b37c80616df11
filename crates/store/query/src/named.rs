//! Clauses with a `_name`: a hit tells which of them it matches.

use serde_json::Value;

use crate::dsl::{Query, QueryError};

/// The named clauses of a `query` body: those within another come before it.
///
/// # Errors
/// As [`Query::from_json`].
pub fn named_clauses(body: &Value) -> Result<Vec<(String, Query)>, QueryError> {
    let mut found = Vec::new();
    collect(body, &mut found)?;
    Ok(found)
}

fn collect(body: &Value, found: &mut Vec<(String, Query)>) -> Result<(), QueryError> {
    match body {
        Value::Array(items) => items.iter().try_for_each(|item| collect(item, found)),
        Value::Object(map) => {
            let inner = map.values().next().filter(|_| map.len() == 1);
            let name = |holder: Option<&Value>| holder?.get("_name")?.as_str().map(ToOwned::to_owned);
            if let (None, Some(name)) = (name(inner), name(inner.and_then(only))) {
                // The options of its one field: there are no clauses below.
                found.push((name, Query::from_json(body)?));
                return Ok(());
            }
            map.values().try_for_each(|inner| collect(inner, found))?;
            if let Some(name) = name(inner) {
                found.push((name, Query::from_json(body)?));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The one value of an object.
fn only(value: &Value) -> Option<&Value> {
    value.as_object().filter(|map| map.len() == 1)?.values().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_stand_at_clauses_and_at_fields() {
        let body = json!({ "bool": {
            "should": [
                { "term": { "a": { "value": 1, "_name": "first" } } },
                { "terms": { "b": [1], "_name": "second" } },
                { "match": { "c": "x" } },
            ],
            "_name": "whole",
        } });
        let names: Vec<String> = named_clauses(&body)
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["first", "second", "whole"]);
    }
}
