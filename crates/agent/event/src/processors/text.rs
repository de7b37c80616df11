//! Processors that change texts.

use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use percent_encoding::percent_decode_str;
use regex::Regex;
use serde_json::{Value, json};

use super::settings::{FromTo, Settings};
use super::{Action, Parsed};
use crate::fields::{self, Fields};

/// What is done to one text.
#[derive(Debug)]
enum Change {
    UrlDecode,
    Lowercase,
    Uppercase,
    Replace(Vec<(String, Regex, String)>),
}

/// Reads texts from `from`, writes the changed text to `to`.
#[derive(Debug)]
struct Texts {
    change: Change,
    fields: Vec<FromTo>,
    ignore_missing: bool,
    fail_on_error: bool,
}

fn texts(settings: &Settings<'_>, change: Change, fields: Vec<FromTo>) -> Parsed {
    let ignore_missing = settings.boolean("ignore_missing", false)?;
    let fail_on_error = settings.boolean("fail_on_error", true)?;
    Ok(Box::new(Texts {
        change,
        fields,
        ignore_missing,
        fail_on_error,
    }))
}

pub(super) fn urldecode(settings: &Settings<'_>) -> Parsed {
    texts(settings, Change::UrlDecode, settings.transfers()?)
}

pub(super) fn lowercase(settings: &Settings<'_>) -> Parsed {
    texts(
        settings,
        Change::Lowercase,
        in_place(settings.required_texts("fields")?),
    )
}

pub(super) fn uppercase(settings: &Settings<'_>) -> Parsed {
    texts(
        settings,
        Change::Uppercase,
        in_place(settings.required_texts("fields")?),
    )
}

fn in_place(names: Vec<String>) -> Vec<FromTo> {
    names
        .into_iter()
        .map(|name| FromTo {
            to: name.clone(),
            from: name,
            kind: None,
        })
        .collect()
}

pub(super) fn replace(settings: &Settings<'_>) -> Parsed {
    let list = settings
        .value("fields")
        .and_then(Value::as_array)
        .ok_or("`fields` must be a list")?;
    let mut replacements = Vec::new();
    for entry in list {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        let field = text("field").ok_or("each entry of `fields` needs `field`")?;
        let pattern = text("pattern").ok_or("each entry of `fields` needs `pattern`")?;
        let regex = Regex::new(pattern).map_err(|_| format!("`{pattern}` is not a regular expression"))?;
        replacements.push((
            field.to_owned(),
            regex,
            text("replacement").unwrap_or_default().to_owned(),
        ));
    }
    let fields = in_place(replacements.iter().map(|(field, ..)| field.clone()).collect());
    texts(settings, Change::Replace(replacements), fields)
}

impl Action for Texts {
    fn apply(&self, event: &mut Fields) -> Result<(), String> {
        let backup = self.fail_on_error.then(|| event.clone());
        for (index, field) in self.fields.iter().enumerate() {
            if let Err(problem) = self.change(event, index, field)
                && let Some(backup) = &backup
            {
                event.clone_from(backup);
                return Err(problem);
            }
        }
        Ok(())
    }
}

impl Texts {
    fn change(&self, event: &mut Fields, index: usize, FromTo { from, to, .. }: &FromTo) -> Result<(), String> {
        let Some(value) = fields::get(event, from) else {
            return if self.ignore_missing {
                Ok(())
            } else {
                Err(format!("there is no field `{from}`"))
            };
        };
        let text = value.as_str().ok_or_else(|| format!("`{from}` is not a text"))?;
        let changed = match &self.change {
            Change::UrlDecode => percent_decode_str(&text.replace('+', " "))
                .decode_utf8()
                .map_err(|_| format!("`{from}` is not UTF-8 when decoded"))?
                .into_owned(),
            Change::Lowercase => text.to_lowercase(),
            Change::Uppercase => text.to_uppercase(),
            Change::Replace(replacements) => {
                let (_, regex, replacement) = &replacements[index];
                regex.replace_all(text, replacement.as_str()).into_owned()
            }
        };
        fields::put(event, to, Value::String(changed)).map_err(|error| error.to_string())
    }
}

#[derive(Debug)]
struct Truncate {
    fields: Vec<String>,
    limit: Limit,
    ignore_missing: bool,
    fail_on_error: bool,
}

#[derive(Debug)]
enum Limit {
    Bytes(usize),
    Characters(usize),
}

pub(super) fn truncate_fields(settings: &Settings<'_>) -> Parsed {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let limit = match (settings.number("max_bytes")?, settings.number("max_characters")?) {
        (Some(bytes), None) => Limit::Bytes(size(bytes)),
        (None, Some(characters)) => Limit::Characters(size(characters)),
        _ => return Err("exactly one of `max_bytes` and `max_characters` must be set".to_owned()),
    };
    Ok(Box::new(Truncate {
        fields: settings.required_texts("fields")?,
        limit,
        ignore_missing: settings.boolean("ignore_missing", false)?,
        fail_on_error: settings.boolean("fail_on_error", true)?,
    }))
}

impl Action for Truncate {
    fn apply(&self, event: &mut Fields) -> Result<(), String> {
        for field in &self.fields {
            let Some(value) = fields::get(event, field) else {
                if self.ignore_missing || !self.fail_on_error {
                    continue;
                }
                return Err(format!("there is no field `{field}`"));
            };
            let Some(text) = value.as_str() else { continue };
            let end = match self.limit {
                Limit::Bytes(bytes) => text.floor_char_boundary(bytes),
                Limit::Characters(count) => text.char_indices().nth(count).map_or(text.len(), |(at, _)| at),
            };
            if end < text.len() {
                let shorter = text[..end].to_owned();
                fields::put(event, field, Value::String(shorter)).map_err(|error| error.to_string())?;
                add_flag(event, "truncated");
            }
        }
        Ok(())
    }
}

/// Adds to `log.flags`.
pub(super) fn add_flag(event: &mut Fields, flag: &str) {
    let mut flags = fields::get(event, "log.flags")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if !flags.contains(&json!(flag)) {
        flags.push(json!(flag));
    }
    if fields::put(event, "log.flags", Value::Array(flags)).is_err() {
        event.insert("log".to_owned(), json!({"flags": [flag]}));
    }
}

#[derive(Debug)]
struct DecodeBase64 {
    field: FromTo,
    ignore_missing: bool,
    fail_on_error: bool,
}

pub(super) fn decode_base64_field(settings: &Settings<'_>) -> Parsed {
    let field = settings.value("field").ok_or("`field` is missing")?;
    let from = field
        .get("from")
        .and_then(Value::as_str)
        .ok_or("`field.from` is missing")?
        .to_owned();
    let to = field
        .get("to")
        .and_then(Value::as_str)
        .filter(|to| !to.is_empty())
        .unwrap_or(&from)
        .to_owned();
    Ok(Box::new(DecodeBase64 {
        field: FromTo { from, to, kind: None },
        ignore_missing: settings.boolean("ignore_missing", false)?,
        fail_on_error: settings.boolean("fail_on_error", true)?,
    }))
}

impl Action for DecodeBase64 {
    fn apply(&self, event: &mut Fields) -> Result<(), String> {
        let FromTo { from, to, .. } = &self.field;
        let decoded = match fields::get(event, from) {
            None if self.ignore_missing => return Ok(()),
            None => Err(format!("there is no field `{from}`")),
            Some(value) => decode(value).ok_or_else(|| format!("`{from}` is not base64 of a text")),
        };
        match decoded {
            Ok(text) => fields::put(event, to, Value::String(text)).map_err(|error| error.to_string()),
            Err(problem) if self.fail_on_error => Err(problem),
            Err(_) => Ok(()),
        }
    }
}

fn decode(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let engine: &GeneralPurpose = if text.ends_with('=') {
        &STANDARD
    } else {
        &STANDARD_NO_PAD
    };
    String::from_utf8(engine.decode(text).ok()?).ok()
}
