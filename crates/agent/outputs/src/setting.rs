//! Reading of single settings out of an output's block, each error naming the setting.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::OutputError;

/// One output's block, dotted keys expanded.
pub(crate) struct Block<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: &'a Value,
}

impl Block<'_> {
    /// The value at a dotted path; null counts as absent.
    pub(crate) fn at(&self, path: &str) -> Option<&Value> {
        let found = path.split('.').try_fold(self.value, |value, key| value.get(key));
        found.filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, path: &str) -> Result<Option<String>, OutputError> {
        match self.at(path) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(self.invalid(path, "a text")),
        }
    }

    pub(crate) fn flag(&self, path: &str, default: bool) -> Result<bool, OutputError> {
        match self.at(path) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(_) => Err(self.invalid(path, "true or false")),
        }
    }

    pub(crate) fn integer(&self, path: &str) -> Result<Option<i64>, OutputError> {
        match self.at(path) {
            None => Ok(None),
            Some(Value::Number(number)) => number
                .as_i64()
                .map(Some)
                .ok_or_else(|| self.invalid(path, "a whole number")),
            Some(Value::String(text)) => text
                .trim()
                .parse()
                .map(Some)
                .map_err(|_| self.invalid(path, "a whole number")),
            Some(_) => Err(self.invalid(path, "a whole number")),
        }
    }

    pub(crate) fn duration(&self, path: &str) -> Result<Option<Duration>, OutputError> {
        let text = match self.at(path) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::String(text)) => text.clone(),
            Some(_) => return Err(self.invalid(path, "a duration such as `10s`")),
        };
        settings::parse_duration(&text)
            .map(Some)
            .ok_or_else(|| self.invalid(path, "a duration such as `10s`"))
    }

    /// A size in bytes: a number, or a text such as `100MB` or `1GiB`.
    pub(crate) fn bytes(&self, path: &str) -> Result<Option<u64>, OutputError> {
        let text = match self.at(path) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::String(text)) => text.clone(),
            Some(_) => return Err(self.invalid(path, "a size such as `100MB`")),
        };
        parse_bytes(&text)
            .map(Some)
            .ok_or_else(|| self.invalid(path, "a size such as `100MB`"))
    }

    /// A list of texts; one text counts as a list of one.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<String>, OutputError> {
        match self.at(path) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text.clone()]),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| {
                    item.as_str()
                        .map(str::to_owned)
                        .ok_or_else(|| self.invalid(path, "a list of texts"))
                })
                .collect(),
            Some(_) => Err(self.invalid(path, "a list of texts")),
        }
    }

    /// A map of texts; numbers and booleans are written as text.
    pub(crate) fn map(&self, path: &str) -> Result<BTreeMap<String, String>, OutputError> {
        let Some(value) = self.at(path) else {
            return Ok(BTreeMap::new());
        };
        let Value::Object(map) = value else {
            return Err(self.invalid(path, "a map of texts"));
        };
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            _ => None,
        };
        map.iter()
            .map(|(key, value)| {
                text(value)
                    .map(|text| (key.clone(), text))
                    .ok_or_else(|| self.invalid(path, "a map of texts"))
            })
            .collect()
    }

    pub(crate) fn invalid(&self, setting: &str, wanted: &str) -> OutputError {
        OutputError::Setting {
            output: self.name.to_owned(),
            setting: setting.to_owned(),
            wanted: wanted.to_owned(),
        }
    }
}

fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(parse_bytes(text), expected, "{text}");
        check("4096", Some(4096));
        check("10MB", Some(10_000_000));
        check("1 GiB", Some(1 << 30));
        check("1 parsec", None);
        check("", None);
    }
}
