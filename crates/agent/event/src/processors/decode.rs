//! JSON inside of texts: the `decode_json_fields` processor, and what the ndjson parser of files needs.

use serde_json::{Value, json};

use super::settings::Settings;
use super::{Action, Parsed};
use crate::fields::{self, Fields};

/// How a decoded object becomes part of an event.
#[derive(Clone, Debug, Default)]
pub struct JsonInto {
    /// The group that gets the keys; empty for the event itself.
    pub target: String,
    /// Decoded keys win over fields that are there.
    pub overwrite_keys: bool,
    /// `a.b` becomes a key in a group.
    pub expand_keys: bool,
    /// Tell in `error.message` when something is wrong.
    pub add_error_key: bool,
    /// The key that is taken out as the document's id.
    pub document_id: Option<String>,
}

/// Puts a decoded object into an event. `@timestamp` is only taken when it is a time.
///
/// # Errors
/// What is wrong with the keys; nothing has been merged then.
pub fn merge_json(event: &mut Fields, mut decoded: Fields, into: &JsonInto) -> Result<(), String> {
    if let Some(key) = &into.document_id
        && let Some(Value::String(id)) = fields::remove(&mut decoded, key)
    {
        fields::put(event, "@metadata._id", Value::String(id)).map_err(|error| error.to_string())?;
    }
    if into.expand_keys {
        decoded = match settings::expand_dotted_keys(Value::Object(decoded)) {
            Ok(Value::Object(expanded)) => expanded,
            Ok(_) => Fields::new(),
            Err(key) => return Err(format!("`{key}` is both a value and a group of fields")),
        };
    }
    if !into.target.is_empty() {
        return fields::put(event, &into.target, Value::Object(decoded)).map_err(|error| error.to_string());
    }
    if !into.overwrite_keys {
        fields::merge_missing(event, &decoded);
        return Ok(());
    }
    let time = decoded.shift_remove("@timestamp");
    fields::merge(event, decoded);
    let Some(time) = time else { return Ok(()) };
    match time.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()) {
        Some(time) => {
            event.insert("@timestamp".to_owned(), Value::String(clock::rfc3339_millis(time)));
            Ok(())
        }
        None => Err(format!("`@timestamp` is `{time}`, not a time; it was left as it was")),
    }
}

#[derive(Debug)]
struct DecodeJson {
    fields: Vec<String>,
    /// `None`: each field is replaced by its own content.
    into: Option<JsonInto>,
    add_error_key: bool,
    process_array: bool,
    max_depth: u64,
}

pub(super) fn decode_json_fields(settings: &Settings<'_>) -> Parsed {
    let add_error_key = settings.boolean("add_error_key", false)?;
    let into = JsonInto {
        target: settings.text("target")?.unwrap_or_default().to_owned(),
        overwrite_keys: settings.boolean("overwrite_keys", false)?,
        expand_keys: settings.boolean("expand_keys", false)?,
        add_error_key,
        document_id: settings.text("document_id")?.map(str::to_owned),
    };
    Ok(Box::new(DecodeJson {
        fields: settings.required_texts("fields")?,
        into: settings.value("target").is_some().then_some(into),
        add_error_key,
        process_array: settings.boolean("process_array", false)?,
        max_depth: settings.number("max_depth")?.unwrap_or(1),
    }))
}

impl Action for DecodeJson {
    fn apply(&self, event: &mut Fields) -> Result<(), String> {
        for field in &self.fields {
            let Some(text) = fields::get(event, field).and_then(Value::as_str) else {
                continue;
            };
            let decoded = self.decode(text);
            let done = decoded.and_then(|decoded| self.place(event, field, decoded));
            if let Err(problem) = done
                && self.add_error_key
            {
                let error =
                    json!({"message": problem, "data": fields::get(event, field), "type": "json", "field": field});
                event.insert("error".to_owned(), error);
            }
        }
        Ok(())
    }
}

impl DecodeJson {
    fn decode(&self, text: &str) -> Result<Value, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("parsing input as JSON: {error}"))?;
        match &value {
            Value::Object(_) => {}
            Value::Array(_) if self.process_array => {}
            Value::Array(_) => return Err("it is an array, and `process_array` is off".to_owned()),
            _ => return Err("it is not an object".to_owned()),
        }
        Ok(deepen(value, self.max_depth))
    }

    fn place(&self, event: &mut Fields, field: &str, decoded: Value) -> Result<(), String> {
        match (&self.into, decoded) {
            (Some(into), Value::Object(decoded)) => merge_json(event, decoded, into),
            (Some(into), other) if !into.target.is_empty() => {
                fields::put(event, &into.target, other).map_err(|error| error.to_string())
            }
            (Some(_), _) => Err("only an object can be put at the root".to_owned()),
            (None, decoded) => fields::put(event, field, decoded).map_err(|error| error.to_string()),
        }
    }
}

/// Decodes texts that are JSON themselves, `depth` levels deep.
fn deepen(value: Value, depth: u64) -> Value {
    if depth <= 1 {
        return value;
    }
    let decode = |value: Value| match value {
        Value::String(text) => match serde_json::from_str::<Value>(&text) {
            Ok(inner @ (Value::Object(_) | Value::Array(_))) => deepen(inner, depth - 1),
            _ => Value::String(text),
        },
        other => deepen(other, depth - 1),
    };
    match value {
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, decode(value))).collect(),
        Value::Array(items) => items.into_iter().map(decode).collect(),
        other => other,
    }
}
