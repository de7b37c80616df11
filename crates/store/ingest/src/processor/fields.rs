//! Whole fields: set, remove, rename, append, convert.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{FieldPair, template};
use crate::config::Config;
use crate::document::{Context, text_of};
use crate::pipeline::PipelineError;
use crate::template::{Template, ValueTemplate};

/// `set`.
#[derive(Debug)]
pub(crate) struct Set {
    field: Template,
    source: SetSource,
    overrides: bool,
    ignore_empty: bool,
}

#[derive(Debug)]
enum SetSource {
    Value(ValueTemplate),
    Copy(String),
}

impl Set {
    pub(super) fn parse(config: &mut Config) -> Result<Self, PipelineError> {
        let field = template(config, "field")?;
        let source = match (config.take("value"), config.text("copy_from")?) {
            (Some(value), None) => {
                SetSource::Value(ValueTemplate::parse(&value).map_err(|problem| Config::error("value", problem))?)
            }
            (None, Some(field)) => SetSource::Copy(field),
            (Some(_), Some(_)) => return Err(Config::error("copy_from", "cannot set both `copy_from` and `value`")),
            (None, None) => return Err(Config::error("value", "required property is missing")),
        };
        config.ignore(&["media_type"]);
        let overrides = config.flag("override", true)?;
        Ok(Self {
            field,
            source,
            overrides,
            ignore_empty: config.flag("ignore_empty_value", false)?,
        })
    }

    pub(super) fn run(&self, context: &mut Context) -> Result<(), String> {
        let field = self.field.render(context);
        if !self.overrides && context.value(&field).is_some_and(|present| !present.is_null()) {
            return Ok(());
        }
        let value = match &self.source {
            SetSource::Value(value) => value.render(context),
            SetSource::Copy(from) => match context.value(from) {
                Some(value) => value,
                None if self.ignore_empty => return Ok(()),
                None => return Err(format!("field [{from}] not present as part of path [{from}]")),
            },
        };
        if self.ignore_empty && (value.is_null() || value == "") {
            return Ok(());
        }
        context.set(&field, value)
    }
}

/// `remove`.
#[derive(Debug)]
pub(crate) struct Remove {
    fields: Vec<Template>,
    keep: Vec<String>,
    ignore_missing: bool,
}

impl Remove {
    pub(super) fn parse(config: &mut Config) -> Result<Self, PipelineError> {
        let (fields, keep) = (config.list("field")?, config.list("keep")?);
        if fields.is_some() == keep.is_some() {
            return Err(Config::error("field", "either `field` or `keep` must be given"));
        }
        let fields = fields
            .unwrap_or_default()
            .iter()
            .map(|field| Template::parse(field))
            .collect::<Result<_, _>>();
        let fields = fields.map_err(|problem| Config::error("field", problem))?;
        let ignore_missing = config.flag("ignore_missing", false)?;
        Ok(Self {
            fields,
            keep: keep.unwrap_or_default(),
            ignore_missing,
        })
    }

    pub(super) fn run(&self, context: &mut Context) -> Result<(), String> {
        if !self.keep.is_empty() {
            let kept: Vec<_> = self
                .keep
                .iter()
                .filter_map(|path| Some((path, context.get(path)?.clone())))
                .collect();
            context.document.source.clear();
            return kept.into_iter().try_for_each(|(path, value)| context.set(path, value));
        }
        for field in &self.fields {
            let path = field.render(context);
            if context.remove(&path).is_none() && !self.ignore_missing {
                return Err(format!("field [{path}] not present as part of path [{path}]"));
            }
        }
        Ok(())
    }
}

/// `rename`.
#[derive(Debug)]
pub(crate) struct Rename {
    from: Template,
    to: Template,
    ignore_missing: bool,
    overrides: bool,
}

impl Rename {
    pub(super) fn parse(config: &mut Config) -> Result<Self, PipelineError> {
        Ok(Self {
            from: template(config, "field")?,
            to: template(config, "target_field")?,
            ignore_missing: config.flag("ignore_missing", false)?,
            overrides: config.flag("override", false)?,
        })
    }

    pub(super) fn run(&self, context: &mut Context) -> Result<(), String> {
        let (from, to) = (self.from.render(context), self.to.render(context));
        let Some(value) = context.get(&from).cloned() else {
            return if self.ignore_missing {
                Ok(())
            } else {
                Err(format!("field [{from}] doesn't exist"))
            };
        };
        if !self.overrides && context.get(&to).is_some() {
            return Err(format!("field [{to}] already exists"));
        }
        context.remove(&from);
        let outcome = context.set(&to, value.clone());
        if outcome.is_err() {
            context.set(&from, value)?;
        }
        outcome
    }
}

/// `append`.
#[derive(Debug)]
pub(crate) struct Append {
    field: Template,
    value: ValueTemplate,
    allow_duplicates: bool,
    ignore_empty: bool,
}

impl Append {
    pub(super) fn parse(config: &mut Config) -> Result<Self, PipelineError> {
        let field = template(config, "field")?;
        let value = config.required("value")?;
        config.ignore(&["media_type"]);
        Ok(Self {
            field,
            value: ValueTemplate::parse(&value).map_err(|problem| Config::error("value", problem))?,
            allow_duplicates: config.flag("allow_duplicates", true)?,
            ignore_empty: config.flag("ignore_empty_values", false)?,
        })
    }

    pub(super) fn run(&self, context: &mut Context) -> Result<(), String> {
        let field = self.field.render(context);
        let mut list = match context.get(&field).cloned() {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(list)) => list,
            Some(one) => vec![one],
        };
        let values = match self.value.render(context) {
            Value::Array(values) => values,
            one => vec![one],
        };
        for value in values {
            let empty = self.ignore_empty && (value.is_null() || value == "");
            if !empty && (self.allow_duplicates || !list.contains(&value)) {
                list.push(value);
            }
        }
        context.set(&field, Value::Array(list))
    }
}

/// `convert`.
#[derive(Debug)]
pub(crate) struct Convert {
    fields: FieldPair,
    to: Type,
}

#[derive(Clone, Copy, Debug)]
enum Type {
    Integer,
    Whole,
    Fraction,
    Text,
    Boolean,
    Ip,
    Auto,
}

impl Convert {
    pub(super) fn parse(config: &mut Config) -> Result<Self, PipelineError> {
        let to = match config.required_text("type")?.as_str() {
            "integer" => Type::Integer,
            "long" => Type::Whole,
            "float" | "double" => Type::Fraction,
            "string" => Type::Text,
            "boolean" => Type::Boolean,
            "ip" => Type::Ip,
            "auto" => Type::Auto,
            other => {
                return Err(Config::error(
                    "type",
                    format!("type [{other}] not supported, cannot convert field."),
                ));
            }
        };
        Ok(Self {
            fields: FieldPair::parse(config)?,
            to,
        })
    }

    pub(super) fn run(&self, context: &mut Context) -> Result<(), String> {
        let Some(value) = self.fields.read(context)? else {
            return Ok(());
        };
        let converted = match value {
            Value::Array(list) => Value::Array(list.iter().map(|one| self.to.convert(one)).collect::<Result<_, _>>()?),
            one => self.to.convert(&one)?,
        };
        context.set(&self.fields.target, converted)
    }
}

impl Type {
    fn convert(self, value: &Value) -> Result<Value, String> {
        let text = text_of(value);
        let text = text.as_str();
        let wrong = |kind: &str| format!("unable to convert [{text}] to {kind}");
        Ok(match self {
            Self::Integer => {
                let number = whole(text).filter(|number| i32::try_from(*number).is_ok());
                json!(number.ok_or_else(|| wrong("integer"))?)
            }
            Self::Whole => json!(whole(text).ok_or_else(|| wrong("long"))?),
            Self::Fraction => {
                let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
                json!(number.ok_or_else(|| wrong("float"))?)
            }
            Self::Text => Value::String(text_of(value)),
            Self::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => return Err(format!("[{text}] is not a boolean value, cannot convert to boolean")),
            },
            Self::Ip => {
                text.parse::<IpAddr>()
                    .map_err(|_| format!("[{text}] is not a valid ipv4/ipv6 address"))?;
                Value::String(text.to_owned())
            }
            Self::Auto => match value {
                Value::String(_) => automatic(text).unwrap_or_else(|| value.clone()),
                other => other.clone(),
            },
        })
    }
}

/// Decimal or `0x` hexadecimal.
fn whole(text: &str) -> Option<i64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hexadecimal) => i64::from_str_radix(hexadecimal, 16).ok(),
        None => text.strip_prefix('+').unwrap_or(text).parse().ok(),
    }
}

fn automatic(text: &str) -> Option<Value> {
    match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ => whole(text).map(|number| json!(number)).or_else(|| {
            let number = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
            Some(json!(number))
        }),
    }
}
