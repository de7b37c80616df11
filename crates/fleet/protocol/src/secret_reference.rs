//! References to secrets: `$co.elastic.secret{<id>}` in place of the value.

use serde_json::Value;

const OPEN: &str = "$co.elastic.secret{";

/// The text that stands for the secret `id`.
pub fn secret_reference(id: &str) -> String {
    format!("{OPEN}{id}}}")
}

/// The ids of all secrets that the texts in `value` refer to, in order of appearance, each once.
pub fn find_secret_references(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(value, &mut found);
    found
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            for id in in_text(text) {
                if !found.iter().any(|known| known == id) {
                    found.push(id.to_owned());
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(map) => map.values().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// The ids referred to in one text.
fn in_text(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(OPEN).filter_map(move |(start, _)| {
        let rest = &text[start + OPEN.len()..];
        rest.find('}').map(|end| &rest[..end])
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_found_at_every_depth() {
        let value = json!({"a": ["$co.elastic.secret{one}", {"b": "x$co.elastic.secret{two}y$co.elastic.secret{one}"}], "c": "$co.elastic.secret{open"});
        assert_eq!(find_secret_references(&value), ["one", "two"]);
        assert_eq!(find_secret_references(&json!({"k": secret_reference("i")})), ["i"]);
    }
}
