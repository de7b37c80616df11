//! `dissect`: a text cut at fixed delimiters.

use serde_json::{Number, Value};

use super::settings::Settings;
use super::text::add_flag;
use super::{Action, Parsed};
use crate::fields::{self, Fields};

#[derive(Debug)]
struct Dissect {
    field: String,
    target_prefix: String,
    start: String,
    keys: Vec<Key>,
    ignore_failure: bool,
    overwrite_keys: bool,
    trim: Trim,
    trim_chars: Vec<char>,
}

/// One `%{..}` with the text that ends it.
#[derive(Debug)]
struct Key {
    name: String,
    modifier: Modifier,
    /// `->`: further delimiters behind it are skipped.
    greedy: bool,
    kind: Option<String>,
    delimiter: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Modifier {
    Plain,
    /// `+`, with the place of this part among the others.
    Append(usize),
    /// `?` or an empty name.
    Skip,
    /// `*`: the value is the name of the field ..
    PointerName,
    /// `&`: .. that gets this value.
    PointerValue,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Trim {
    None,
    Left,
    Right,
    All,
}

pub(super) fn dissect(settings: &Settings<'_>) -> Parsed {
    let (start, keys) = tokens(settings.required_text("tokenizer")?)?;
    let trim = match settings.text("trim_values")?.unwrap_or("none") {
        "none" => Trim::None,
        "left" => Trim::Left,
        "right" => Trim::Right,
        "all" => Trim::All,
        other => return Err(format!("`trim_values` `{other}` is not known")),
    };
    Ok(Box::new(Dissect {
        field: settings.text("field")?.unwrap_or("message").to_owned(),
        target_prefix: settings.text("target_prefix")?.unwrap_or("dissect").to_owned(),
        start,
        keys,
        ignore_failure: settings.boolean("ignore_failure", false)?,
        overwrite_keys: settings.boolean("overwrite_keys", false)?,
        trim,
        trim_chars: settings.text("trim_chars")?.unwrap_or(" ").chars().collect(),
    }))
}

fn tokens(tokenizer: &str) -> Result<(String, Vec<Key>), String> {
    let (start, mut rest) = tokenizer.split_once("%{").ok_or("`tokenizer` has no `%{key}`")?;
    let mut keys = Vec::new();
    loop {
        let (inside, behind) = rest
            .split_once('}')
            .ok_or("`tokenizer` has a `%{` that is not closed")?;
        let (delimiter, next) = behind
            .split_once("%{")
            .map_or((behind, None), |(delimiter, next)| (delimiter, Some(next)));
        if delimiter.is_empty() && next.is_some() {
            return Err("`tokenizer` has two keys with nothing between them".to_owned());
        }
        keys.push(key(inside, delimiter));
        match next {
            Some(next) => rest = next,
            None => return Ok((start.to_owned(), keys)),
        }
    }
}

fn key(inside: &str, delimiter: &str) -> Key {
    let (inside, kind) = match inside.split_once('|') {
        Some((inside, kind)) => (inside, Some(kind.to_owned())),
        None => (inside, None),
    };
    let (inside, greedy) = match inside.strip_suffix("->") {
        Some(inside) => (inside, true),
        None => (inside, false),
    };
    let (modifier, name) = match inside.chars().next() {
        None => (Modifier::Skip, inside),
        Some('?') => (Modifier::Skip, &inside[1..]),
        Some('*') => (Modifier::PointerName, &inside[1..]),
        Some('&') => (Modifier::PointerValue, &inside[1..]),
        Some('+') => match inside[1..].split_once('/') {
            Some((name, order)) => (Modifier::Append(order.parse().unwrap_or(0)), name),
            None => (Modifier::Append(0), &inside[1..]),
        },
        Some(_) => (Modifier::Plain, inside),
    };
    Key {
        name: name.to_owned(),
        modifier,
        greedy,
        kind,
        delimiter: delimiter.to_owned(),
    }
}

impl Action for Dissect {
    fn apply(&self, event: &mut Fields) -> Result<(), String> {
        let parsed = self.parse(event).and_then(|found| self.place(event, found));
        match parsed {
            Err(_) if self.ignore_failure => Ok(()),
            Err(problem) => {
                add_flag(event, "dissect_parsing_error");
                Err(problem)
            }
            Ok(()) => Ok(()),
        }
    }
}

impl Dissect {
    fn parse(&self, event: &Fields) -> Result<Vec<(String, Value)>, String> {
        let value = fields::get(event, &self.field).ok_or_else(|| format!("there is no field `{}`", self.field))?;
        let text = value
            .as_str()
            .ok_or_else(|| format!("`{}` is not a text", self.field))?;
        let parts = self
            .cut(text)
            .ok_or_else(|| format!("`{}` does not have the delimiters of the tokenizer", self.field))?;
        Ok(self.assign(&parts))
    }

    /// One part for each key.
    fn cut<'a>(&self, text: &'a str) -> Option<Vec<&'a str>> {
        let mut rest = text.strip_prefix(self.start.as_str())?;
        let mut parts = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            if key.delimiter.is_empty() {
                parts.push(rest);
                rest = "";
                continue;
            }
            let (part, mut behind) = rest.split_once(key.delimiter.as_str())?;
            while key.greedy
                && let Some(next) = behind.strip_prefix(key.delimiter.as_str())
            {
                behind = next;
            }
            parts.push(part);
            rest = behind;
        }
        Some(parts)
    }

    fn assign(&self, parts: &[&str]) -> Vec<(String, Value)> {
        let mut found: Vec<(String, Value)> = Vec::new();
        let mut appended: Vec<(&str, usize, &str, &str)> = Vec::new();
        let mut separator = "";
        for (key, part) in self.keys.iter().zip(parts) {
            let part = self.trimmed(part);
            match key.modifier {
                Modifier::Plain => found.push((key.name.clone(), typed(part, key.kind.as_deref()))),
                Modifier::Append(order) => {
                    // The first key of all has nothing before it.
                    let separator = if separator.is_empty() {
                        key.delimiter.as_str()
                    } else {
                        separator
                    };
                    appended.push((&key.name, order, separator, part));
                }
                Modifier::PointerName | Modifier::Skip => {}
                Modifier::PointerValue => {
                    // The name may have been read by `*key` or, as in older tokenizers, by `?key`.
                    let named = self
                        .keys
                        .iter()
                        .zip(parts)
                        .find(|(other, _)| other.name == key.name && other.modifier != Modifier::PointerValue);
                    if let Some((_, name)) = named {
                        found.push((self.trimmed(name).to_owned(), typed(part, key.kind.as_deref())));
                    }
                }
            }
            separator = &key.delimiter;
        }
        appended.sort_by_key(|(_, order, ..)| *order);
        for (name, _, separator, part) in appended {
            match found.iter_mut().find(|(known, _)| known == name) {
                Some((_, Value::String(text))) => {
                    text.push_str(separator);
                    text.push_str(part);
                }
                _ => found.push((name.to_owned(), Value::from(part))),
            }
        }
        found
    }

    fn trimmed<'a>(&self, part: &'a str) -> &'a str {
        let trims = |character: char| self.trim_chars.contains(&character);
        match self.trim {
            Trim::None => part,
            Trim::Left => part.trim_start_matches(trims),
            Trim::Right => part.trim_end_matches(trims),
            Trim::All => part.trim_matches(trims),
        }
    }

    fn place(&self, event: &mut Fields, found: Vec<(String, Value)>) -> Result<(), String> {
        let path = |name: &str| match self.target_prefix.as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}.{name}"),
        };
        let taken = found.iter().find(|(name, _)| fields::get(event, &path(name)).is_some());
        if let Some((name, _)) = taken.filter(|_| !self.overwrite_keys) {
            return Err(format!("there is already a field `{}`", path(name)));
        }
        for (name, value) in found {
            fields::put(event, &path(&name), value).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// `%{key|long}`; a text that is no such value stays a text.
fn typed(part: &str, kind: Option<&str>) -> Value {
    let value = match kind {
        Some("integer" | "long") => part.parse::<i64>().ok().map(Value::from),
        Some("float" | "double") => part.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number),
        Some("boolean") => part.parse::<bool>().ok().map(Value::from),
        _ => None,
    };
    value.unwrap_or_else(|| Value::from(part))
}
