//! `_source` filtering and the `fields` option.

use serde_json::{Map, Value};

use crate::dsl::{ShownField, SourceFilter};
use crate::{field, pattern};

impl SourceFilter {
    /// What is left of `source`; `None` when nothing is wanted at all.
    pub fn apply(&self, source: Value) -> Option<Value> {
        match self {
            Self::All => Some(source),
            Self::None => None,
            Self::Some { includes, excludes } => Some(filter_object(source, "", includes, excludes)),
        }
    }
}

fn filter_object(value: Value, path: &str, includes: &[String], excludes: &[String]) -> Value {
    let Value::Object(map) = value else { return value };
    let kept = map.into_iter().filter_map(|(key, inner)| {
        let full = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        filter_value(inner, &full, includes, excludes).map(|inner| (key, inner))
    });
    Value::Object(kept.collect())
}

fn filter_value(value: Value, path: &str, includes: &[String], excludes: &[String]) -> Option<Value> {
    if excludes.iter().any(|pattern| covers(pattern, path)) {
        return None;
    }
    let included = includes.is_empty() || includes.iter().any(|pattern| covers(pattern, path));
    let includes = if included { &[] } else { includes };
    match value {
        Value::Object(_) => {
            let was_empty = value.as_object().is_some_and(Map::is_empty);
            let kept = filter_object(value, path, includes, excludes);
            let empty = kept.as_object().is_some_and(Map::is_empty);
            (!empty || included && was_empty).then_some(kept)
        }
        Value::Array(items) => {
            let was_empty = items.is_empty();
            let kept: Vec<Value> = items
                .into_iter()
                .filter_map(|item| filter_item(item, path, includes, excludes, included))
                .collect();
            (included && was_empty || !kept.is_empty()).then_some(Value::Array(kept))
        }
        leaf => included.then_some(leaf),
    }
}

fn filter_item(item: Value, path: &str, includes: &[String], excludes: &[String], included: bool) -> Option<Value> {
    match item {
        Value::Object(_) => {
            let kept = filter_object(item, path, includes, excludes);
            (included || kept.as_object().is_some_and(|map| !map.is_empty())).then_some(kept)
        }
        leaf => included.then_some(leaf),
    }
}

/// Whether a pattern names `path` or one of the objects that hold it.
fn covers(pattern: &str, path: &str) -> bool {
    pattern::wildcard(pattern, path)
        || path
            .match_indices('.')
            .any(|(dot, _)| pattern::wildcard(pattern, &path[..dot]))
}

/// The `fields` option where no mapping is known: full name to list of values, for every leaf that one of the patterns names.
pub fn fields(source: &Value, patterns: &[ShownField]) -> Map<String, Value> {
    let mut found = Map::new();
    if patterns.is_empty() {
        return found;
    }
    field::visit_all(source, &mut |name, value| {
        if !value.is_null() && patterns.iter().any(|one| pattern::wildcard(&one.pattern, name)) {
            let list = found.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.push(value.clone());
            }
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn includes_and_excludes() {
        let source = json!({"a": {"b": 1, "c": 2}, "d": [{"e": 3, "f": 4}], "g": 5, "h": {}});
        let check = |includes: &[&str], excludes: &[&str], expected: Value| {
            let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
            let filter = SourceFilter::Some {
                includes: owned(includes),
                excludes: owned(excludes),
            };
            assert_eq!(
                filter.apply(source.clone()),
                Some(expected),
                "{includes:?} {excludes:?}"
            );
        };
        check(&["a"], &[], json!({"a": {"b": 1, "c": 2}}));
        check(&["a.b", "d.e"], &[], json!({"a": {"b": 1}, "d": [{"e": 3}]}));
        check(&[], &["a", "d.f"], json!({"d": [{"e": 3}], "g": 5, "h": {}}));
        check(&["a.*"], &["a.c"], json!({"a": {"b": 1}}));
        check(&["nothing"], &[], json!({}));
        assert_eq!(SourceFilter::None.apply(source), None);
    }

    #[test]
    fn fields_are_lists() {
        let found = fields(
            &json!({"a": {"b": [1, 2]}, "c": null, "d": "x"}),
            &["a.*", "c"].map(|pattern| ShownField {
                pattern: pattern.to_owned(),
                ..ShownField::default()
            }),
        );
        assert_eq!(Value::Object(found), json!({"a.b": [1, 2]}));
    }
}
