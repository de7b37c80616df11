//! `filter_path`: cutting an answer down to the wanted parts.
//!
//! Source: Elasticsearch reference, common options: `*` stands for a part of a name, `**` for any depth, a leading `-`
//! takes away; exclusions are applied first.

use serde_json::{Map, Value};

use crate::pattern;

/// Cuts `value` down to what the comma-separated `filters` name.
pub fn apply(value: &mut Value, filters: &str) {
    let (excluded, included): (Vec<&str>, Vec<&str>) = filters
        .split(',')
        .map(str::trim)
        .filter(|filter| !filter.is_empty())
        .partition(|filter| filter.starts_with('-'));
    let split = |filter: &str| filter.split('.').map(ToOwned::to_owned).collect::<Vec<_>>();
    let excluded: Vec<Vec<String>> = excluded.iter().map(|filter| split(&filter[1..])).collect();
    let included: Vec<Vec<String>> = included.iter().map(|filter| split(filter)).collect();
    if !excluded.is_empty() {
        exclude(value, &borrow(&excluded));
    }
    if !included.is_empty() {
        let taken = std::mem::take(value);
        *value = include(taken, &borrow(&included)).unwrap_or_else(|| Value::Object(Map::new()));
    }
}

fn borrow(filters: &[Vec<String>]) -> Vec<&[String]> {
    filters.iter().map(Vec::as_slice).collect()
}

/// What is left of the filters below `key`; the flag says that one of them ends here.
fn descend<'a>(filters: &[&'a [String]], key: &str) -> (Vec<&'a [String]>, bool) {
    let mut below = Vec::new();
    let mut ends = false;
    let mut queue: Vec<&'a [String]> = filters.to_vec();
    while let Some(filter) = queue.pop() {
        match filter {
            [first, rest @ ..] if first == "**" => {
                below.push(filter);
                if rest.is_empty() {
                    ends = true;
                } else {
                    queue.push(rest);
                }
            }
            [first, rest @ ..] if pattern::wildcard(first, key) => {
                ends |= rest.is_empty();
                below.push(rest);
            }
            _ => {}
        }
    }
    (below, ends)
}

fn include(value: Value, filters: &[&[String]]) -> Option<Value> {
    match value {
        Value::Object(map) => {
            let kept: Map<String, Value> = map
                .into_iter()
                .filter_map(|(key, inner)| {
                    let (below, ends) = descend(filters, &key);
                    let kept = if ends {
                        Some(inner)
                    } else if below.is_empty() {
                        None
                    } else {
                        include(inner, &below)
                    };
                    kept.map(|kept| (key, kept))
                })
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(items) => {
            let kept: Vec<Value> = items.into_iter().filter_map(|item| include(item, filters)).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        _ => None,
    }
}

fn exclude(value: &mut Value, filters: &[&[String]]) {
    match value {
        Value::Object(map) => map.retain(|key, inner| {
            let (below, ends) = descend(filters, key);
            if !ends && !below.is_empty() {
                exclude(inner, &below);
            }
            !ends
        }),
        Value::Array(items) => items.iter_mut().for_each(|item| exclude(item, filters)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn the_filters_that_shippers_send() {
        let answer = json!({
            "took": 3, "errors": true,
            "items": [
                {"create": {"_index": "a", "status": 201, "_seq_no": 1}},
                {"create": {"_index": "b", "status": 400, "error": {"type": "t", "reason": "r", "caused_by": {"type": "c"}}}}
            ]
        });
        let check = |filters: &str, expected: Value| {
            let mut value = answer.clone();
            apply(&mut value, filters);
            assert_eq!(value, expected, "{filters}");
        };
        check(
            "errors,items.*.error,items.*.status,items.*.failure_store",
            json!({"errors": true, "items": [
                {"create": {"status": 201}},
                {"create": {"status": 400, "error": {"type": "t", "reason": "r", "caused_by": {"type": "c"}}}}
            ]}),
        );
        check(
            "items.*._index,items.*.error.type",
            json!({"items": [{"create": {"_index": "a"}}, {"create": {"_index": "b", "error": {"type": "t"}}}]}),
        );
        check(
            "**.type",
            json!({"items": [{"create": {"error": {"type": "t", "caused_by": {"type": "c"}}}}]}),
        );
        check("-items", json!({"took": 3, "errors": true}));
        check(
            "items.*.error,-**.caused_by",
            json!({"items": [{"create": {"error": {"type": "t", "reason": "r"}}}]}),
        );
        check("t*", json!({"took": 3}));
        check("nothing", json!({}));
        check("", answer.clone());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(filters in "[a-c.*,-]{0,30}") {
            let mut value = json!({"a": [{"b": {"c": 1}}], "c": {"a": {"a": 2}}});
            apply(&mut value, &filters);
        }
    }
}
