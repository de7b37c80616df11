//! Reading a processor's settings: each with its name in the error.

use serde_json::{Map, Value};

/// The settings of one processor.
pub(super) struct Settings<'a>(Option<&'a Map<String, Value>>);

/// One entry of `fields: [{from, to}]`.
#[derive(Clone, Debug)]
pub(super) struct FromTo {
    pub(super) from: String,
    pub(super) to: String,
    /// `convert` only.
    pub(super) kind: Option<String>,
}

impl<'a> Settings<'a> {
    pub(super) fn new(body: &'a Value) -> Result<Self, String> {
        match body {
            Value::Null => Ok(Self(None)),
            Value::Object(map) => Ok(Self(Some(map))),
            _ => Err("its settings must be a map".to_owned()),
        }
    }

    /// The raw value; null counts as absent.
    pub(super) fn value(&self, key: &str) -> Option<&'a Value> {
        self.0?.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn boolean(&self, key: &str, default: bool) -> Result<bool, String> {
        match self.value(key) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(Value::String(text)) => text.parse().map_err(|_| format!("`{key}` must be true or false")),
            Some(_) => Err(format!("`{key}` must be true or false")),
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => value
                .as_str()
                .map(Some)
                .ok_or_else(|| format!("`{key}` must be a text")),
        }
    }

    pub(super) fn required_text(&self, key: &str) -> Result<&'a str, String> {
        self.text(key)?.ok_or_else(|| format!("`{key}` is missing"))
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, String> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => value
                .as_u64()
                .map(Some)
                .ok_or_else(|| format!("`{key}` must be a whole number")),
        }
    }

    /// A list of texts; a single text is a list of one.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, String> {
        let text = |value: &Value| {
            value
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| format!("`{key}` must hold texts"))
        };
        match self.value(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(text).collect(),
            Some(value) => text(value).map(|text| vec![text]),
        }
    }

    pub(super) fn required_texts(&self, key: &str) -> Result<Vec<String>, String> {
        let texts = self.texts(key)?;
        if texts.is_empty() {
            Err(format!("`{key}` is missing"))
        } else {
            Ok(texts)
        }
    }

    /// `fields: [{from, to, type}]`; `to` may be missing (then it is `from`).
    pub(super) fn transfers(&self) -> Result<Vec<FromTo>, String> {
        let list = self
            .value("fields")
            .and_then(Value::as_array)
            .ok_or("`fields` must be a list")?;
        list.iter()
            .map(|entry| {
                let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
                let from = text("from").ok_or("each entry of `fields` needs `from`")?;
                Ok(FromTo {
                    to: text("to").unwrap_or_else(|| from.clone()),
                    from,
                    kind: text("type"),
                })
            })
            .collect()
    }
}
