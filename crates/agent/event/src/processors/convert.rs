//! `convert`: another type for a field.

use std::net::IpAddr;

use serde_json::{Number, Value};

use super::settings::{FromTo, Settings};
use super::{Action, Parsed};
use crate::fields::{self, Fields};

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Only copy or rename.
    Same,
    Integer,
    Long,
    Float,
    String,
    Boolean,
    Ip,
}

#[derive(Debug)]
struct Convert {
    fields: Vec<(FromTo, Kind)>,
    renames: bool,
    ignore_missing: bool,
    fail_on_error: bool,
}

pub(super) fn convert(settings: &Settings<'_>) -> Parsed {
    let renames = match settings.text("mode")?.unwrap_or("copy") {
        "copy" => false,
        "rename" => true,
        other => return Err(format!("`mode` `{other}` is not known; it may be `copy` or `rename`")),
    };
    let fields = settings
        .transfers()?
        .into_iter()
        .map(|field| kind(&field).map(|kind| (field, kind)));
    Ok(Box::new(Convert {
        fields: fields.collect::<Result<_, String>>()?,
        renames,
        ignore_missing: settings.boolean("ignore_missing", false)?,
        fail_on_error: settings.boolean("fail_on_error", true)?,
    }))
}

fn kind(field: &FromTo) -> Result<Kind, String> {
    Ok(match field.kind.as_deref() {
        None => Kind::Same,
        Some("integer") => Kind::Integer,
        Some("long") => Kind::Long,
        Some("float" | "double") => Kind::Float,
        Some("string") => Kind::String,
        Some("boolean") => Kind::Boolean,
        Some("ip") => Kind::Ip,
        Some(other) => return Err(format!("type `{other}` of `{}` is not known", field.from)),
    })
}

impl Action for Convert {
    fn apply(&self, event: &mut Fields) -> Result<(), String> {
        let backup = self.fail_on_error.then(|| event.clone());
        for (field, kind) in &self.fields {
            if let Err(problem) = self.convert(event, field, *kind)
                && let Some(backup) = &backup
            {
                event.clone_from(backup);
                return Err(problem);
            }
        }
        Ok(())
    }
}

impl Convert {
    fn convert(&self, event: &mut Fields, FromTo { from, to, .. }: &FromTo, kind: Kind) -> Result<(), String> {
        let Some(value) = fields::get(event, from) else {
            return if self.ignore_missing {
                Ok(())
            } else {
                Err(format!("there is no field `{from}`"))
            };
        };
        let converted = converted(value, kind).ok_or_else(|| format!("`{from}` cannot be converted to {kind:?}"))?;
        if self.renames && from != to {
            fields::remove(event, from);
        }
        fields::put(event, to, converted).map_err(|error| error.to_string())
    }
}

fn converted(value: &Value, kind: Kind) -> Option<Value> {
    match kind {
        Kind::Same => Some(value.clone()),
        Kind::Integer => integer(value)
            .filter(|number| i32::try_from(*number).is_ok())
            .map(Value::from),
        Kind::Long => integer(value).map(Value::from),
        Kind::Float => {
            let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
            Number::from_f64(number).map(Value::Number)
        }
        Kind::String => Some(Value::String(text(value)?)),
        Kind::Boolean => match value {
            Value::Bool(_) => Some(value.clone()),
            Value::String(text) => match text.as_str() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(Value::Bool(true)),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(Value::Bool(false)),
                _ => None,
            },
            _ => None,
        },
        Kind::Ip => value
            .as_str()
            .filter(|text| text.parse::<IpAddr>().is_ok())
            .map(Value::from),
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => {
            let whole = |number: f64| (number.is_finite() && number.abs() < 9.2e18).then_some(number as i64);
            number.as_i64().or_else(|| whole(number.as_f64()?))
        }
        Value::String(text) => match text.trim().strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16).ok(),
            None => text.trim().parse().ok(),
        },
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}
