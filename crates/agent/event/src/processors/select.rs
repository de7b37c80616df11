//! Processors that choose, move and copy fields.

use regex::Regex;
use serde_json::Value;

use super::settings::{FromTo, Settings};
use super::{Action, Parsed};
use crate::fields::{self, Fields};

/// A field by name, or every field whose whole path matches `/pattern/`.
#[derive(Debug)]
enum Pattern {
    Name(String),
    Regex(Regex),
}

fn patterns(settings: &Settings<'_>) -> Result<Vec<Pattern>, String> {
    settings.texts("fields")?.into_iter().map(pattern).collect()
}

fn pattern(text: String) -> Result<Pattern, String> {
    let Some(inside) = text
        .strip_prefix('/')
        .and_then(|text| text.strip_suffix('/'))
        .filter(|text| !text.is_empty())
    else {
        return Ok(Pattern::Name(text));
    };
    Regex::new(inside)
        .map(Pattern::Regex)
        .map_err(|_| format!("`{text}` in `fields` is not a regular expression"))
}

fn paths(event: &Fields) -> Vec<String> {
    fn collect(prefix: &str, fields: &Fields, found: &mut Vec<String>) {
        for (key, value) in fields {
            let path = if prefix.is_empty() {
                key.clone()
            } else {
                format!("{prefix}.{key}")
            };
            if let Value::Object(inner) = value {
                collect(&path, inner, found);
            }
            found.push(path);
        }
    }
    let mut found = Vec::new();
    collect("", event, &mut found);
    found
}

/// Fields that no processor can take away.
fn is_protected(path: &str) -> bool {
    path == "@timestamp" || path == "type" || path == "@metadata" || path.starts_with("@metadata.")
}

#[derive(Debug)]
struct DropFields {
    patterns: Vec<Pattern>,
    ignore_missing: bool,
}

pub(super) fn drop_fields(settings: &Settings<'_>) -> Parsed {
    let ignore_missing = settings.boolean("ignore_missing", false)?;
    Ok(Box::new(DropFields {
        patterns: patterns(settings)?,
        ignore_missing,
    }))
}

impl Action for DropFields {
    fn apply(&self, event: &mut Fields) -> Result<(), String> {
        let mut missing = None;
        for pattern in &self.patterns {
            let names = match pattern {
                Pattern::Name(name) => vec![name.clone()],
                Pattern::Regex(regex) => paths(event).into_iter().filter(|path| regex.is_match(path)).collect(),
            };
            for name in names.iter().filter(|name| !is_protected(name)) {
                let by_name = matches!(pattern, Pattern::Name(_));
                if fields::remove(event, name).is_none() && by_name && !self.ignore_missing {
                    missing = Some(name.clone());
                }
            }
        }
        missing.map_or(Ok(()), |name| Err(format!("there is no field `{name}` to drop")))
    }
}

#[derive(Debug)]
struct IncludeFields(Vec<Pattern>);

pub(super) fn include_fields(settings: &Settings<'_>) -> Parsed {
    Ok(Box::new(IncludeFields(patterns(settings)?)))
}

impl Action for IncludeFields {
    fn apply(&self, event: &mut Fields) -> Result<(), String> {
        let mut kept = Fields::new();
        for path in ["@timestamp", "type", "@metadata"] {
            if let Some(value) = event.get(path) {
                kept.insert(path.to_owned(), value.clone());
            }
        }
        for pattern in &self.0 {
            let names = match pattern {
                Pattern::Name(name) => vec![name.clone()],
                Pattern::Regex(regex) => paths(event).into_iter().filter(|path| regex.is_match(path)).collect(),
            };
            for name in names {
                if let Some(value) = fields::get(event, &name) {
                    fields::put(&mut kept, &name, value.clone()).map_err(|error| error.to_string())?;
                }
            }
        }
        *event = kept;
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Transfer {
    Rename,
    Copy,
}

#[derive(Debug)]
struct Transfers {
    kind: Transfer,
    fields: Vec<FromTo>,
    ignore_missing: bool,
    fail_on_error: bool,
}

pub(super) fn rename(settings: &Settings<'_>) -> Parsed {
    transfers(settings, Transfer::Rename)
}

pub(super) fn copy_fields(settings: &Settings<'_>) -> Parsed {
    transfers(settings, Transfer::Copy)
}

fn transfers(settings: &Settings<'_>, kind: Transfer) -> Parsed {
    Ok(Box::new(Transfers {
        kind,
        fields: settings.transfers()?,
        ignore_missing: settings.boolean("ignore_missing", false)?,
        fail_on_error: settings.boolean("fail_on_error", true)?,
    }))
}

impl Action for Transfers {
    fn apply(&self, event: &mut Fields) -> Result<(), String> {
        let backup = self.fail_on_error.then(|| event.clone());
        for FromTo { from, to, .. } in &self.fields {
            if let Err(problem) = self.transfer(event, from, to)
                && let Some(backup) = &backup
            {
                event.clone_from(backup);
                return Err(problem);
            }
        }
        Ok(())
    }
}

impl Transfers {
    fn transfer(&self, event: &mut Fields, from: &str, to: &str) -> Result<(), String> {
        if fields::get(event, to).is_some() {
            return Err(format!("there is already a field `{to}`"));
        }
        let value = match self.kind {
            Transfer::Rename => fields::remove(event, from),
            Transfer::Copy => fields::get(event, from).cloned(),
        };
        match value {
            Some(value) => fields::put(event, to, value.clone()).map_err(|error| {
                if self.kind == Transfer::Rename && fields::put(event, from, value).is_err() {
                    return format!("{error}, and `{from}` is lost");
                }
                error.to_string()
            }),
            None if self.ignore_missing => Ok(()),
            None => Err(format!("there is no field `{from}`")),
        }
    }
}

#[derive(Debug)]
struct MoveFields {
    from: String,
    to: String,
    fields: Vec<String>,
    exclude: Vec<String>,
    ignore_missing: bool,
    fail_on_error: bool,
}

pub(super) fn move_fields(settings: &Settings<'_>) -> Parsed {
    Ok(Box::new(MoveFields {
        from: settings.text("from")?.unwrap_or_default().to_owned(),
        to: settings.required_text("to")?.to_owned(),
        fields: settings.texts("fields")?,
        exclude: settings.texts("exclude")?,
        ignore_missing: settings.boolean("ignore_missing", false)?,
        fail_on_error: settings.boolean("fail_on_error", true)?,
    }))
}

impl Action for MoveFields {
    fn apply(&self, event: &mut Fields) -> Result<(), String> {
        let group = if self.from.is_empty() {
            Some(&*event)
        } else {
            fields::get(event, &self.from).and_then(Value::as_object)
        };
        let Some(group) = group else {
            let quiet = self.ignore_missing || !self.fail_on_error;
            return if quiet {
                Ok(())
            } else {
                Err(format!("there is no group `{}`", self.from))
            };
        };
        let chosen = |name: &String| self.fields.is_empty() || self.fields.contains(name);
        let names: Vec<String> = group
            .keys()
            .filter(|name| chosen(name) && !self.exclude.contains(name) && !is_protected(name))
            .cloned()
            .collect();
        for name in names {
            let from = if self.from.is_empty() {
                name.clone()
            } else {
                format!("{}.{name}", self.from)
            };
            if let Some(value) = fields::remove(event, &from) {
                fields::put(event, &format!("{}{name}", self.to), value).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Append {
    target: String,
    fields: Vec<String>,
    values: Vec<Value>,
    allow_duplicate: bool,
    ignore_empty_values: bool,
    ignore_missing: bool,
}

pub(super) fn append(settings: &Settings<'_>) -> Parsed {
    Ok(Box::new(Append {
        target: settings.required_text("target_field")?.to_owned(),
        fields: settings.texts("fields")?,
        values: settings.value("values").map(as_list).unwrap_or_default(),
        allow_duplicate: settings.boolean("allow_duplicate", true)?,
        ignore_empty_values: settings.boolean("ignore_empty_values", false)?,
        ignore_missing: settings.boolean("ignore_missing", false)?,
    }))
}

fn as_list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
}

impl Action for Append {
    fn apply(&self, event: &mut Fields) -> Result<(), String> {
        let mut list = fields::get(event, &self.target).map(as_list).unwrap_or_default();
        for field in &self.fields {
            match fields::get(event, field) {
                Some(value) => list.extend(as_list(value)),
                None if self.ignore_missing => {}
                None => return Err(format!("there is no field `{field}`")),
            }
        }
        list.extend(self.values.iter().cloned());
        if self.ignore_empty_values {
            list.retain(|value| !value.is_null() && value != "");
        }
        if !self.allow_duplicate {
            let mut seen: Vec<Value> = Vec::with_capacity(list.len());
            list.retain(|value| {
                let new = !seen.contains(value);
                if new {
                    seen.push(value.clone());
                }
                new
            });
        }
        fields::put(event, &self.target, Value::Array(list)).map_err(|error| error.to_string())
    }
}
