//! JSON bodies become types. Every key is read or refused by name.

mod aggregations;
mod clause;
mod search;
mod text;

pub(crate) use aggregations::aggregations;

use serde_json::{Map, Value};

use crate::dsl::QueryError;

/// An object whose keys are taken one by one; what is left at the end is an error that names it.
pub(crate) struct Keys<'a> {
    owner: String,
    map: &'a Map<String, Value>,
    taken: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    /// # Errors
    /// When `value` is no object.
    pub(crate) fn of(owner: impl Into<String>, value: &'a Value) -> Result<Self, QueryError> {
        let owner = owner.into();
        match value {
            Value::Object(map) => Ok(Self {
                owner,
                map,
                taken: Vec::new(),
            }),
            _ => Err(QueryError::parsing(format!("[{owner}] must be an object"))),
        }
    }

    pub(crate) fn take(&mut self, key: &'static str) -> Option<&'a Value> {
        self.taken.push(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Known keys that change nothing here.
    pub(crate) fn ignore(&mut self, keys: &[&'static str]) {
        self.taken.extend(keys);
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Result<Option<String>, QueryError> {
        self.take(key)
            .map(|value| scalar_text(value).ok_or_else(|| self.wrong(key, "a string")))
            .transpose()
    }

    pub(crate) fn flag(&mut self, key: &'static str) -> Result<Option<bool>, QueryError> {
        self.take(key)
            .map(|value| match value {
                Value::Bool(flag) => Ok(*flag),
                Value::String(text) if text == "true" => Ok(true),
                Value::String(text) if text == "false" => Ok(false),
                _ => Err(self.wrong(key, "true or false")),
            })
            .transpose()
    }

    pub(crate) fn size(&mut self, key: &'static str) -> Result<Option<usize>, QueryError> {
        self.take(key)
            .map(|value| {
                let number = value
                    .as_u64()
                    .or_else(|| value.as_str().and_then(|text| text.parse().ok()));
                number
                    .and_then(|number| usize::try_from(number).ok())
                    .ok_or_else(|| self.wrong(key, "a number from 0"))
            })
            .transpose()
    }

    pub(crate) fn number(&mut self, key: &'static str) -> Result<Option<f64>, QueryError> {
        self.take(key)
            .map(|value| {
                let number = value
                    .as_f64()
                    .or_else(|| value.as_str().and_then(|text| text.parse().ok()));
                number.ok_or_else(|| self.wrong(key, "a number"))
            })
            .transpose()
    }

    pub(crate) fn required(&mut self, key: &'static str) -> Result<&'a Value, QueryError> {
        self.take(key)
            .ok_or_else(|| QueryError::parsing(format!("[{}] needs [{key}]", self.owner)))
    }

    pub(crate) fn wrong(&self, key: &str, wanted: &str) -> QueryError {
        QueryError::parsing(format!("[{}] [{key}] must be {wanted}", self.owner))
    }

    /// # Errors
    /// When a key was not taken.
    pub(crate) fn finish(self) -> Result<(), QueryError> {
        match self.map.keys().find(|key| !self.taken.contains(&key.as_str())) {
            Some(unknown) if self.owner == "search" => Err(QueryError::parsing(format!(
                "Unknown key for a {} in [{unknown}].",
                token_of(&self.map[unknown])
            ))),
            Some(unknown) => Err(QueryError::parsing(format!(
                "[{}] does not support [{unknown}]",
                self.owner
            ))),
            None => Ok(()),
        }
    }
}

/// What the original calls a value when it finds it at the wrong place.
fn token_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "VALUE_NULL",
        Value::Bool(_) => "VALUE_BOOLEAN",
        Value::Number(_) => "VALUE_NUMBER",
        Value::String(_) => "VALUE_STRING",
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
    }
}

/// A string, number or boolean as text.
pub(crate) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// One string or a list of strings.
pub(crate) fn text_list(owner: &str, value: &Value) -> Result<Vec<String>, QueryError> {
    let wrong = || QueryError::parsing(format!("[{owner}] must be a string or a list of strings"));
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(ToOwned::to_owned).ok_or_else(wrong))
            .collect(),
        _ => Err(wrong()),
    }
}

/// The one key of an object and its value: the shape of a clause.
pub(crate) fn single<'a>(owner: &str, value: &'a Value) -> Result<(&'a str, &'a Value), QueryError> {
    let map = value
        .as_object()
        .ok_or_else(|| QueryError::parsing(format!("[{owner}] must be an object")))?;
    let mut entries = map.iter();
    match (entries.next(), entries.next()) {
        (Some((key, inner)), None) => Ok((key, inner)),
        (None, _) => Err(QueryError::parsing(format!("[{owner}] is empty"))),
        (Some(_), Some((second, _))) => Err(QueryError::parsing(format!(
            "[{owner}] takes one key, but [{second}] is there as well"
        ))),
    }
}
