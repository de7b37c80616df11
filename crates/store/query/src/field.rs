//! Reaching into a document by a field's full dotted name.

use serde_json::Value;

/// Calls `visit` with each leaf value (never an array) that `path` leads to: through objects, through arrays, and through
/// keys that hold dots themselves.
pub fn visit<'a>(value: &'a Value, path: &str, visit_leaf: &mut dyn FnMut(&'a Value)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| visit(item, path, visit_leaf)),
        Value::Object(map) => {
            if let Some(inner) = map.get(path) {
                visit_items(inner, visit_leaf);
            }
            for (dot, _) in path.match_indices('.') {
                if let Some(inner) = map.get(&path[..dot]) {
                    visit(inner, &path[dot + 1..], visit_leaf);
                }
            }
        }
        _ => {}
    }
}

fn visit_items<'a>(value: &'a Value, visit_leaf: &mut dyn FnMut(&'a Value)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| visit_items(item, visit_leaf)),
        leaf => visit_leaf(leaf),
    }
}

/// All values at `path`; objects count as one value.
pub fn values<'a>(source: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = Vec::new();
    visit(source, path, &mut |value| found.push(value));
    found
}

/// The first value at `path`.
pub fn first<'a>(source: &'a Value, path: &str) -> Option<&'a Value> {
    let mut found = None;
    visit(source, path, &mut |value| found = found.or(Some(value)));
    found
}

/// Calls `visit_leaf` with the full name and value of every leaf.
pub fn visit_all<'a>(value: &'a Value, visit_leaf: &mut dyn FnMut(&str, &'a Value)) {
    walk(value, &mut String::new(), visit_leaf);
}

fn walk<'a>(value: &'a Value, path: &mut String, visit_leaf: &mut dyn FnMut(&str, &'a Value)) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let length = path.len();
                if length > 0 {
                    path.push('.');
                }
                path.push_str(key);
                walk(inner, path, visit_leaf);
                path.truncate(length);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, path, visit_leaf)),
        leaf => visit_leaf(path, leaf),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_lead_through_objects_arrays_and_dotted_keys() {
        let source = json!({"a": {"b": [1, [2]]}, "a.b": 3, "c": [{"d": 4}, {"d": 5}], "x.y": {"z": 6}});
        let check = |path: &str, expected: Value| {
            assert_eq!(
                values(&source, path).into_iter().cloned().collect::<Value>(),
                expected,
                "{path}"
            );
        };
        check("a.b", json!([3, 1, 2]));
        check("c.d", json!([4, 5]));
        check("x.y.z", json!([6]));
        check("a.b.c", json!([]));
        check("a", json!([{"b": [1, [2]]}]));
    }
}
