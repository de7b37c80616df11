//! Fields of an event by their dotted paths.

use serde_json::{Map, Value};

/// The fields of an event.
pub type Fields = Map<String, Value>;

/// The value at `path` (`log.file.path`). A key that itself has dots is found as well.
pub fn get<'a>(fields: &'a Fields, path: &str) -> Option<&'a Value> {
    if let Some(value) = fields.get(path) {
        return Some(value);
    }
    let (head, rest) = path.split_once('.')?;
    get(fields.get(head)?.as_object()?, rest)
}

/// A path could not be written because something on the way is not a group of fields.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is a value, not a group of fields")]
pub struct NotAGroup(pub String);

/// Sets `path`, making groups on the way; an old value is replaced.
pub fn put(fields: &mut Fields, path: &str, value: Value) -> Result<(), NotAGroup> {
    let Some((head, rest)) = path.split_once('.').filter(|_| !fields.contains_key(path)) else {
        fields.insert(path.to_owned(), value);
        return Ok(());
    };
    let slot = fields.entry(head).or_insert_with(|| Value::Object(Map::new()));
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    let Value::Object(inner) = slot else {
        return Err(NotAGroup(head.to_owned()));
    };
    put(inner, rest, value).map_err(|NotAGroup(path)| NotAGroup(format!("{head}.{path}")))
}

/// Takes the value at `path` away; a group that becomes empty stays, as in the original.
pub fn remove(fields: &mut Fields, path: &str) -> Option<Value> {
    if fields.contains_key(path) {
        return fields.shift_remove(path);
    }
    let (head, rest) = path.split_once('.')?;
    remove(fields.get_mut(head)?.as_object_mut()?, rest)
}

/// Merges `from` into `fields` at every depth; values of `from` win.
pub fn merge(fields: &mut Fields, from: Fields) {
    for (key, value) in from {
        match (fields.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (Some(slot), value) => *slot = value,
            (None, value) => {
                fields.insert(key, value);
            }
        }
    }
}

/// Merges `from` into `fields` at every depth; values that are there stay.
pub fn merge_missing(fields: &mut Fields, from: &Fields) {
    for (key, value) in from {
        match (fields.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge_missing(old, new),
            (Some(_), _) => {}
            (None, value) => {
                fields.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Fields {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn paths_are_read_written_and_removed() {
        let mut fields = object(json!({"log": {"file": {"path": "/a"}}, "a.b": 1}));
        assert_eq!(get(&fields, "log.file.path"), Some(&json!("/a")));
        assert_eq!(get(&fields, "a.b"), Some(&json!(1)));
        assert_eq!(get(&fields, "log.file.path.x"), None);
        put(&mut fields, "log.offset", json!(3)).unwrap();
        put(&mut fields, "x.y.z", json!(true)).unwrap();
        assert_eq!(
            put(&mut fields, "log.offset.deep", json!(1)),
            Err(NotAGroup("log.offset".into()))
        );
        assert_eq!(remove(&mut fields, "log.file.path"), Some(json!("/a")));
        assert_eq!(remove(&mut fields, "log.file.path"), None);
        assert_eq!(
            Value::Object(fields),
            json!({"log": {"file": {}, "offset": 3}, "a.b": 1, "x": {"y": {"z": true}}})
        );
    }

    #[test]
    fn merging_goes_deep() {
        let mut fields = object(json!({"a": {"b": 1, "c": 2}}));
        merge(&mut fields, object(json!({"a": {"b": 3, "d": 4}, "e": 5})));
        merge_missing(&mut fields, &object(json!({"a": {"c": 9, "f": 6}, "g": 7})));
        assert_eq!(
            Value::Object(fields),
            json!({"a": {"b": 3, "c": 2, "d": 4, "f": 6}, "e": 5, "g": 7})
        );
    }
}
