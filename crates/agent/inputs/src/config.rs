//! Reading a stream's settings: each wrong one is an error with its name.

use std::time::Duration;

use regex::Regex;
use serde_json::{Map, Value};

use crate::build::BuildError;

/// The settings of one stream (dotted keys expanded) with the stream's id for errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config<'a> {
    pub(crate) stream: &'a str,
    pub(crate) settings: &'a Map<String, Value>,
}

impl<'a> Config<'a> {
    pub(crate) fn error(&self, setting: &str, problem: impl Into<String>) -> BuildError {
        BuildError::setting(self.stream, setting, problem)
    }

    /// The value at a dotted path; null counts as absent.
    pub(crate) fn value(&self, path: &str) -> Option<&'a Value> {
        event::fields::get(self.settings, path).filter(|value| !value.is_null())
    }

    /// The first of several names that is set: newer and older names of one setting.
    fn first(&self, paths: &[&'static str]) -> Option<(&'static str, &'a Value)> {
        paths
            .iter()
            .find_map(|path| self.value(path).map(|value| (*path, value)))
    }

    pub(crate) fn boolean(&self, paths: &[&'static str], default: bool) -> Result<bool, BuildError> {
        let Some((path, value)) = self.first(paths) else {
            return Ok(default);
        };
        let parsed = match value {
            Value::Bool(value) => Some(*value),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        parsed.ok_or_else(|| self.error(path, "it must be true or false"))
    }

    pub(crate) fn number(&self, paths: &[&'static str], default: u64) -> Result<u64, BuildError> {
        let Some((path, value)) = self.first(paths) else {
            return Ok(default);
        };
        let parsed = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        parsed.ok_or_else(|| self.error(path, "it must be a whole number"))
    }

    /// A size in bytes: a number, or a text such as `10MiB`.
    pub(crate) fn bytes(&self, paths: &[&'static str], default: u64) -> Result<u64, BuildError> {
        let Some((path, value)) = self.first(paths) else {
            return Ok(default);
        };
        let parsed = value.as_u64().or_else(|| parse_bytes(value.as_str()?));
        parsed.ok_or_else(|| self.error(path, "it must be a number of bytes such as `10485760` or `10MiB`"))
    }

    /// A duration; `None` when it is absent, zero or negative.
    pub(crate) fn duration(&self, paths: &[&'static str]) -> Result<Option<Duration>, BuildError> {
        let Some((path, value)) = self.first(paths) else {
            return Ok(None);
        };
        self.parse_duration(path, value)
    }

    /// A duration with a default; an explicit zero is `None`.
    pub(crate) fn duration_or(
        &self,
        paths: &[&'static str],
        default: Duration,
    ) -> Result<Option<Duration>, BuildError> {
        let Some((path, value)) = self.first(paths) else {
            return Ok(Some(default));
        };
        self.parse_duration(path, value)
    }

    fn parse_duration(&self, path: &str, value: &Value) -> Result<Option<Duration>, BuildError> {
        let text = match value {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            _ => String::new(),
        };
        if text.starts_with('-') && settings::parse_duration(&text[1..]).is_some() {
            return Ok(None);
        }
        let parsed = settings::parse_duration(&text);
        let duration = parsed.ok_or_else(|| self.error(path, "it must be a duration such as `10s` or `5m`"))?;
        Ok((!duration.is_zero()).then_some(duration))
    }

    pub(crate) fn text(&self, paths: &[&'static str]) -> Result<Option<&'a str>, BuildError> {
        let Some((path, value)) = self.first(paths) else {
            return Ok(None);
        };
        value
            .as_str()
            .map(Some)
            .ok_or_else(|| self.error(path, "it must be a text"))
    }

    /// Says in the log which of these switches are on and do nothing here.
    pub(crate) fn warn_without_effect(&self, switches: &[&str]) {
        for switch in switches
            .iter()
            .filter(|switch| self.value(switch) == Some(&Value::Bool(true)))
        {
            tracing::warn!(
                stream.id = self.stream,
                setting = switch,
                "a setting is not supported and has no effect"
            );
        }
    }

    /// A list of texts; one text is a list of one.
    pub(crate) fn texts(&self, paths: &[&'static str]) -> Result<Vec<String>, BuildError> {
        let Some((path, value)) = self.first(paths) else {
            return Ok(Vec::new());
        };
        let text = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(self.error(path, "it must be a list of texts")),
        };
        match value {
            Value::Array(items) => items.iter().map(text).collect(),
            other => text(other).map(|text| vec![text]),
        }
    }

    pub(crate) fn patterns(&self, paths: &[&'static str]) -> Result<Vec<Regex>, BuildError> {
        let setting = self.first(paths).map_or("", |(path, _)| path);
        let regex = |text: &String| {
            Regex::new(text).map_err(|_| self.error(setting, format!("`{text}` is not a regular expression")))
        };
        self.texts(paths)?.iter().map(regex).collect()
    }
}

/// `10MiB`, `16KB`, `512`; units are powers of 1024 with an `i` and of 1000 without.
fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" | "k" => 1e3,
        "mb" | "m" => 1e6,
        "gb" | "g" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor;
    (bytes.is_finite() && bytes < 1e15).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("512", Some(512)),
            ("10MiB", Some(10 << 20)),
            ("16 kb", Some(16_000)),
            ("x", None),
            ("1e", None),
        ] {
            assert_eq!(parse_bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        let value = serde_json::json!({"close": {"inactive": "soon"}, "n": -1, "r": ["("], "off": "-1", "zero": 0});
        let config = Config {
            stream: "s",
            settings: value.as_object().unwrap(),
        };
        let error = config.duration(&["close.inactive"]).unwrap_err().to_string();
        assert!(error.contains("input `s`: setting `close.inactive`"), "{error}");
        assert!(config.number(&["n"], 0).is_err());
        assert!(config.patterns(&["r"]).unwrap_err().to_string().contains("`(`"));
        assert_eq!(config.duration(&["off"]).unwrap(), None);
        assert_eq!(config.duration_or(&["zero"], Duration::from_secs(1)).unwrap(), None);
        assert_eq!(
            config.duration_or(&["absent"], Duration::from_secs(1)).unwrap(),
            Some(Duration::from_secs(1))
        );
    }
}
