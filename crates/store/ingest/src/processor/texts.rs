//! Texts: case, trim, split, join, gsub.

use regex::Regex;
use serde_json::Value;

use super::FieldPair;
use crate::config::Config;
use crate::document::{Context, kind_of, text_of};
use crate::pipeline::PipelineError;

/// What a [`Change`] does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Case {
    Lower,
    Upper,
    Trim,
}

/// `lowercase`, `uppercase`, `trim`.
#[derive(Debug)]
pub(crate) struct Change {
    fields: FieldPair,
    case: Case,
}

impl Change {
    pub(super) fn parse(case: Case, config: &mut Config) -> Result<Self, PipelineError> {
        Ok(Self {
            fields: FieldPair::parse(config)?,
            case,
        })
    }

    pub(super) fn run(&self, context: &mut Context) -> Result<(), String> {
        let Some(value) = self.fields.read(context)? else {
            return Ok(());
        };
        let changed = each_text(&self.fields.field, value, |text| match self.case {
            Case::Lower => text.to_lowercase(),
            Case::Upper => text.to_uppercase(),
            Case::Trim => text.trim().to_owned(),
        })?;
        context.set(&self.fields.target, changed)
    }
}

/// Applies `change` to a text or to each text of a list.
fn each_text(field: &str, value: Value, change: impl Fn(&str) -> String) -> Result<Value, String> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(Value::String(change(text))),
        other => Err(format!(
            "field [{field}] of type [{}] cannot be cast to [string]",
            kind_of(other)
        )),
    };
    match value {
        Value::Array(list) => Ok(Value::Array(list.iter().map(one).collect::<Result<_, _>>()?)),
        value => one(&value),
    }
}

/// `split`.
#[derive(Debug)]
pub(crate) struct Split {
    fields: FieldPair,
    separator: Regex,
    preserve_trailing: bool,
}

impl Split {
    pub(super) fn parse(config: &mut Config) -> Result<Self, PipelineError> {
        let preserve_trailing = config.flag("preserve_trailing", false)?;
        Ok(Self {
            fields: FieldPair::parse(config)?,
            separator: regex(config, "separator")?,
            preserve_trailing,
        })
    }

    pub(super) fn run(&self, context: &mut Context) -> Result<(), String> {
        let Some(text) = self.fields.read_text(context)? else {
            return Ok(());
        };
        let mut parts: Vec<_> = self.separator.split(&text).collect();
        while !self.preserve_trailing && parts.len() > 1 && parts.last() == Some(&"") {
            parts.pop();
        }
        let parts = parts.into_iter().map(|part| Value::String(part.to_owned())).collect();
        context.set(&self.fields.target, Value::Array(parts))
    }
}

/// `join`.
#[derive(Debug)]
pub(crate) struct Join {
    fields: FieldPair,
    separator: String,
}

impl Join {
    pub(super) fn parse(config: &mut Config) -> Result<Self, PipelineError> {
        Ok(Self {
            separator: config.required_text("separator")?,
            fields: FieldPair::parse(config)?,
        })
    }

    pub(super) fn run(&self, context: &mut Context) -> Result<(), String> {
        match self.fields.read(context)? {
            None => Ok(()),
            Some(Value::Array(list)) => {
                let texts: Vec<_> = list.iter().map(text_of).collect();
                context.set(&self.fields.target, Value::String(texts.join(&self.separator)))
            }
            Some(other) => Err(format!(
                "field [{}] of type [{}] cannot be cast to [list]",
                self.fields.field,
                kind_of(&other)
            )),
        }
    }
}

/// `gsub`.
#[derive(Debug)]
pub(crate) struct Gsub {
    fields: FieldPair,
    pattern: Regex,
    replacement: String,
}

impl Gsub {
    pub(super) fn parse(config: &mut Config) -> Result<Self, PipelineError> {
        let fields = FieldPair::parse(config)?;
        let pattern = regex(config, "pattern")?;
        let replacement = groups_in_braces(&config.required_text("replacement")?);
        Ok(Self {
            fields,
            pattern,
            replacement,
        })
    }

    pub(super) fn run(&self, context: &mut Context) -> Result<(), String> {
        let Some(value) = self.fields.read(context)? else {
            return Ok(());
        };
        let changed = each_text(&self.fields.field, value, |text| {
            self.pattern.replace_all(text, self.replacement.as_str()).into_owned()
        })?;
        context.set(&self.fields.target, changed)
    }
}

/// Java's `$1x` is group 1 and an x; ours would be the group `1x`. And `\$` is a dollar sign.
fn groups_in_braces(replacement: &str) -> String {
    let mut braced = String::with_capacity(replacement.len());
    let mut characters = replacement.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('$') => braced.push_str("$$"),
                Some(other) => braced.push(other),
                None => {}
            },
            '$' if characters.peek().is_some_and(char::is_ascii_digit) => {
                let digit = characters.next().unwrap_or('0');
                braced.extend(['$', '{', digit, '}']);
            }
            '$' if characters.peek() == Some(&'{') => braced.push('$'),
            '$' => braced.push_str("$$"),
            other => braced.push(other),
        }
    }
    braced
}

/// A required regular expression.
pub(super) fn regex(config: &mut Config, option: &str) -> Result<Regex, PipelineError> {
    let text = config.required_text(option)?;
    Regex::new(&text).map_err(|error| {
        Config::error(
            option,
            format!("[{text}] is not a supported regular expression: {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacements_are_javas() {
        let check = |text: &str, expected: &str| assert_eq!(groups_in_braces(text), expected, "{text}");
        check("$1x", "${1}x");
        check("\\$5", "$$5");
        check("${name}", "${name}");
        check("a$", "a$$");
    }
}
