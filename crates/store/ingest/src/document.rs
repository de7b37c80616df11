//! A document on its way: index, id, source; fields by their dotted paths.

use serde_json::{Map, Value};

/// A document that runs through a pipeline.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// Where it is to be kept.
    pub index: String,
    /// Its id, when it has one yet.
    pub id: Option<String>,
    /// Its fields.
    pub source: Map<String, Value>,
}

/// A document and what processors may know besides.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) document: Document,
    pub(crate) now: jiff::Timestamp,
    /// Set while `on_failure` processors run: message, processor type, tag, pipeline.
    pub(crate) failure: Option<Failure>,
}

/// What `_ingest.on_failure_*` tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) processor: String,
    pub(crate) tag: String,
    pub(crate) pipeline: String,
}

impl Context {
    /// The value at `path`. `_index`, `_id` and `_ingest.*` are answered as texts.
    pub(crate) fn value(&self, path: &str) -> Option<Value> {
        match path.strip_prefix("_ingest.") {
            Some(name) => self.ingest_metadata(name).map(Value::String),
            None if path == "_index" => Some(Value::String(self.document.index.clone())),
            None if path == "_id" => self.document.id.clone().map(Value::String),
            None => self.get(path).cloned(),
        }
    }

    fn ingest_metadata(&self, name: &str) -> Option<String> {
        if name == "timestamp" {
            return Some(self.now.to_string());
        }
        let failure = self.failure.as_ref()?;
        match name {
            "on_failure_message" => Some(failure.message.clone()),
            "on_failure_processor_type" => Some(failure.processor.clone()),
            "on_failure_processor_tag" => Some(failure.tag.clone()),
            "on_failure_pipeline" => Some(failure.pipeline.clone()),
            _ => None,
        }
    }

    /// The field at `path`; numbers in it are positions in lists.
    pub(crate) fn get(&self, path: &str) -> Option<&Value> {
        let path = path.strip_prefix("_source.").unwrap_or(path);
        let (first, rest) = split(path);
        let mut value = self.document.source.get(first)?;
        for part in rest.split('.').filter(|part| !part.is_empty()) {
            value = match value {
                Value::Object(map) => map.get(part)?,
                Value::Array(list) => list.get(part.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(value)
    }

    /// Sets the field at `path`, making objects on the way.
    pub(crate) fn set(&mut self, path: &str, value: Value) -> Result<(), String> {
        match path {
            "_index" => self.document.index = text_of(&value),
            "_id" => self.document.id = Some(text_of(&value)),
            _ => {
                let path = path.strip_prefix("_source.").unwrap_or(path);
                set_in(&mut self.document.source, path, value)?;
            }
        }
        Ok(())
    }

    /// Removes and returns the field at `path`.
    pub(crate) fn remove(&mut self, path: &str) -> Option<Value> {
        let path = path.strip_prefix("_source.").unwrap_or(path);
        let Some((before, last)) = path.rsplit_once('.') else {
            return self.document.source.shift_remove(path);
        };
        let mut parts = before.split('.');
        let mut holder = self.document.source.get_mut(parts.next()?)?;
        for part in parts {
            holder = match holder {
                Value::Object(map) => map.get_mut(part)?,
                Value::Array(list) => list.get_mut(part.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        match holder {
            Value::Object(map) => map.shift_remove(last),
            Value::Array(list) => {
                let at = last.parse::<usize>().ok().filter(|at| *at < list.len())?;
                Some(list.remove(at))
            }
            _ => None,
        }
    }
}

fn split(path: &str) -> (&str, &str) {
    path.split_once('.').unwrap_or((path, ""))
}

fn set_in(map: &mut Map<String, Value>, path: &str, value: Value) -> Result<(), String> {
    let (first, rest) = split(path);
    if first.is_empty() {
        return Err(format!("path [{path}] is not valid"));
    }
    if rest.is_empty() {
        map.insert(first.to_owned(), value);
        return Ok(());
    }
    match map.entry(first.to_owned()).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(inner) => set_in(inner, rest, value),
        slot @ Value::Null => {
            *slot = Value::Object(Map::new());
            slot.as_object_mut().map_or(Ok(()), |inner| set_in(inner, rest, value))
        }
        Value::Array(list) => {
            let (position, rest) = split(rest);
            let slot = position.parse::<usize>().ok().and_then(|at| list.get_mut(at));
            match (slot, rest) {
                (Some(slot), "") => {
                    *slot = value;
                    Ok(())
                }
                (Some(Value::Object(inner)), rest) => set_in(inner, rest, value),
                _ => Err(format!(
                    "cannot set [{path}]: [{position}] is no position of the list [{first}]"
                )),
            }
        }
        other => Err(format!(
            "cannot set [{rest}] with parent object of type [{}] as part of path [{path}]",
            kind_of(other)
        )),
    }
}

/// The kind of a value, for messages.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// A value as text: lists and objects as Java writes them, which pipelines written for the original may rely on.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(list) => format!("[{}]", joined(list.iter().map(inner_text))),
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| format!("{key}={}", inner_text(value)));
            format!("{{{}}}", joined(entries))
        }
        other => other.to_string(),
    }
}

fn inner_text(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        other => text_of(other),
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn context(source: Value) -> Context {
        let Value::Object(source) = source else {
            panic!("a source is an object")
        };
        let document = Document {
            index: "logs-x-default".to_owned(),
            id: None,
            source,
        };
        Context {
            document,
            now: "2026-06-02T03:04:05Z".parse().unwrap(),
            failure: None,
        }
    }

    #[test]
    fn paths_lead_through_objects_and_lists() {
        let mut context = context(json!({"a": {"b": [1, {"c": 2}]}, "n": null, "t": "text"}));
        assert_eq!(context.get("a.b.1.c"), Some(&json!(2)));
        assert_eq!(context.get("a.x"), None);
        context.set("a.b.1.c", json!(3)).unwrap();
        context.set("n.m", json!(4)).unwrap();
        context.set("new.deep.er", json!(5)).unwrap();
        assert!(context.set("t.x", json!(6)).unwrap_err().contains("[string]"));
        assert_eq!(context.remove("a.b"), Some(json!([1, {"c": 3}])));
        assert_eq!(
            Value::Object(context.document.source),
            json!({"a": {}, "n": {"m": 4}, "t": "text", "new": {"deep": {"er": 5}}})
        );
    }
}
