//! Structure out of text: grok, dissect, date, json, kv.

use std::collections::HashMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::{FieldPair, texts};
use crate::config::Config;
use crate::date::{Format, Zone};
use crate::dissect::Dissection;
use crate::document::{Context, text_of};
use crate::grok;
use crate::pipeline::PipelineError;
use crate::template::Template;

/// `grok`.
#[derive(Debug)]
pub(crate) struct Grok {
    fields: FieldPair,
    patterns: Vec<grok::Pattern>,
}

impl Grok {
    pub(super) fn parse(config: &mut Config) -> Result<Self, PipelineError> {
        let mut definitions = HashMap::new();
        if let Some(Value::Object(map)) = config.take("pattern_definitions") {
            definitions.extend(map.into_iter().map(|(name, text)| (name, text_of(&text))));
        }
        if config.flag("trace_match", false)? {
            return Err(Config::error("trace_match", "is not supported"));
        }
        let naming = match config.text("ecs_compatibility")?.as_deref() {
            None | Some("disabled") => grok::Naming::Old,
            Some("v1") => grok::Naming::Common,
            Some(other) => {
                return Err(Config::error(
                    "ecs_compatibility",
                    format!("unsupported mode '{other}'"),
                ));
            }
        };
        let texts = config
            .list("patterns")?
            .ok_or_else(|| Config::error("patterns", "required property is missing"))?;
        if texts.is_empty() {
            return Err(Config::error("patterns", "List of patterns must not be empty"));
        }
        let patterns = texts
            .iter()
            .map(|text| grok::Pattern::compile(text, &definitions, naming))
            .collect::<Result<_, _>>();
        let patterns = patterns.map_err(|problem| Config::error("patterns", problem))?;
        Ok(Self {
            fields: FieldPair::parse(config)?,
            patterns,
        })
    }

    pub(super) fn run(&self, context: &mut Context) -> Result<(), String> {
        let Some(text) = self.fields.read_text(context)? else {
            return Ok(());
        };
        let Some(found) = self.patterns.iter().find_map(|pattern| pattern.matched(&text)) else {
            return Err(format!("Provided Grok expressions do not match field value: [{text}]"));
        };
        found
            .into_iter()
            .try_for_each(|(field, value)| context.set(&field, value))
    }
}

/// `dissect`.
#[derive(Debug)]
pub(crate) struct Dissect {
    fields: FieldPair,
    dissection: Dissection,
}

impl Dissect {
    pub(super) fn parse(config: &mut Config) -> Result<Self, PipelineError> {
        let separator = config.text("append_separator")?.unwrap_or_default();
        let pattern = config.required_text("pattern")?;
        let dissection =
            Dissection::parse(&pattern, &separator).map_err(|problem| Config::error("pattern", problem))?;
        Ok(Self {
            fields: FieldPair::parse(config)?,
            dissection,
        })
    }

    pub(super) fn run(&self, context: &mut Context) -> Result<(), String> {
        let Some(text) = self.fields.read_text(context)? else {
            return Ok(());
        };
        let found = self.dissection.apply(&text)?;
        found
            .into_iter()
            .try_for_each(|(field, value)| context.set(&field, Value::String(value)))
    }
}

/// `date`.
#[derive(Debug)]
pub(crate) struct Date {
    field: String,
    target: String,
    formats: Vec<Format>,
    zone: Template,
    output: Option<Format>,
}

impl Date {
    pub(super) fn parse(config: &mut Config) -> Result<Self, PipelineError> {
        let field = config.required_text("field")?;
        let target = config.text("target_field")?.unwrap_or_else(|| "@timestamp".to_owned());
        let texts = config
            .list("formats")?
            .ok_or_else(|| Config::error("formats", "required property is missing"))?;
        let formats = texts.iter().map(|text| Format::parse(text)).collect::<Result<_, _>>();
        let formats = formats.map_err(|problem| Config::error("formats", problem))?;
        let zone = config.text("timezone")?.unwrap_or_else(|| "UTC".to_owned());
        let zone = Template::parse(&zone).map_err(|problem| Config::error("timezone", problem))?;
        match config
            .text("locale")?
            .as_deref()
            .map(str::to_ascii_lowercase)
            .as_deref()
        {
            None | Some("english" | "en" | "en_us" | "en-us" | "root") => {}
            Some(other) => {
                return Err(Config::error(
                    "locale",
                    format!("[{other}] is not supported; month names are English"),
                ));
            }
        }
        let output = match config.text("output_format")? {
            None => None,
            Some(text) => Some(Format::parse(&text).map_err(|problem| Config::error("output_format", problem))?),
        };
        Ok(Self {
            field,
            target,
            formats,
            zone,
            output,
        })
    }

    pub(super) fn run(&self, context: &mut Context) -> Result<(), String> {
        let text = match context.value(&self.field) {
            Some(value @ (Value::String(_) | Value::Number(_))) => text_of(&value),
            _ => {
                return Err(format!(
                    "field [{}] not present as part of path [{}]",
                    self.field, self.field
                ));
            }
        };
        let name = self.zone.render(context);
        let zone = Zone::parse(&name)?;
        let mut problem = String::new();
        for format in &self.formats {
            match format.read(&text, &zone, context.now) {
                Ok(time) => {
                    let shown = match &self.output {
                        None => zone.show(time),
                        Some(output) => output.write(&zone.at(time))?,
                    };
                    return context.set(&self.target, Value::String(shown));
                }
                Err(error) => problem = error,
            }
        }
        Err(format!("unable to parse date [{text}]: {problem}"))
    }
}

/// `json`.
#[derive(Debug)]
pub(crate) struct Json {
    fields: FieldPair,
    to_root: bool,
    merges: bool,
    /// Nothing may stand behind the value.
    strict: bool,
}

impl Json {
    pub(super) fn parse(config: &mut Config) -> Result<Self, PipelineError> {
        let to_root = config.flag("add_to_root", false)?;
        let merges = match config.text("add_to_root_conflict_strategy")?.as_deref() {
            None | Some("replace") => false,
            Some("merge") => true,
            Some(other) => {
                return Err(Config::error(
                    "add_to_root_conflict_strategy",
                    format!("[{other}] is neither replace nor merge"),
                ));
            }
        };
        if to_root && config.has("target_field") {
            return Err(Config::error(
                "target_field",
                "Cannot set a target field while also setting `add_to_root` to true",
            ));
        }
        if config.flag("allow_duplicate_keys", false)? {
            return Err(Config::error("allow_duplicate_keys", "is not supported"));
        }
        Ok(Self {
            strict: config.flag("strict_json_parsing", true)?,
            fields: FieldPair::parse(config)?,
            to_root,
            merges,
        })
    }

    pub(super) fn run(&self, context: &mut Context) -> Result<(), String> {
        let text = match context.value(&self.fields.field) {
            Some(Value::String(text)) => text,
            Some(Value::Null) => "null".to_owned(),
            Some(other) => text_of(&other),
            None => {
                let Some(_) = self.fields.read(context)? else {
                    return Ok(());
                };
                String::new()
            }
        };
        let value = self
            .value_of(&text)
            .map_err(|error| format!("[{text}] is not JSON: {error}"))?;
        if !self.to_root {
            return context.set(&self.fields.target, value);
        }
        let Value::Object(map) = value else {
            return Err("cannot add non-map fields to root of document".to_owned());
        };
        for (key, value) in map {
            match (self.merges, context.document.source.get_mut(&key)) {
                (true, Some(present)) => merge(present, value),
                _ => {
                    context.document.source.insert(key, value);
                }
            }
        }
        Ok(())
    }
}

impl Json {
    /// Nothing at all is null, as in the original.
    fn value_of(&self, text: &str) -> Result<Value, serde_json::Error> {
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        if self.strict {
            return serde_json::from_str(text);
        }
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        values.next().unwrap_or(Ok(Value::Null))
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// `kv`.
#[derive(Debug)]
pub(crate) struct KeyValue {
    field: String,
    target: Option<String>,
    ignore_missing: bool,
    field_split: Regex,
    value_split: Regex,
    include: Option<Vec<String>>,
    exclude: Vec<String>,
    prefix: String,
    trim_key: Vec<char>,
    trim_value: Vec<char>,
    strip_brackets: bool,
}

impl KeyValue {
    pub(super) fn parse(config: &mut Config) -> Result<Self, PipelineError> {
        let characters = |text: Option<String>| text.unwrap_or_default().chars().collect();
        Ok(Self {
            field: config.required_text("field")?,
            target: config.text("target_field")?,
            ignore_missing: config.flag("ignore_missing", false)?,
            field_split: texts::regex(config, "field_split")?,
            value_split: texts::regex(config, "value_split")?,
            include: config.list("include_keys")?,
            exclude: config.list("exclude_keys")?.unwrap_or_default(),
            prefix: config.text("prefix")?.unwrap_or_default(),
            trim_key: characters(config.text("trim_key")?),
            trim_value: characters(config.text("trim_value")?),
            strip_brackets: config.flag("strip_brackets", false)?,
        })
    }

    pub(super) fn run(&self, context: &mut Context) -> Result<(), String> {
        let text = match context.value(&self.field) {
            Some(Value::String(text)) => text,
            None | Some(Value::Null) if self.ignore_missing => return Ok(()),
            _ => {
                return Err(format!(
                    "field [{}] not present as part of path [{}]",
                    self.field, self.field
                ));
            }
        };
        let mut found: Map<String, Value> = Map::new();
        for part in parts(&self.field_split, &text) {
            let mut halves = self.value_split.splitn(part, 2);
            let (Some(key), Some(value)) = (halves.next(), halves.next()) else {
                return Err(format!(
                    "field [{}] does not contain value_split [{}]",
                    self.field, self.value_split
                ));
            };
            let key = key.trim_matches(&self.trim_key[..]);
            let wanted = self
                .include
                .as_ref()
                .is_none_or(|keys| keys.iter().any(|wanted| wanted == key));
            if wanted && !self.exclude.iter().any(|unwanted| unwanted == key) {
                add(&mut found, format!("{}{key}", self.prefix), self.value(value));
            }
        }
        found.into_iter().try_for_each(|(key, value)| match &self.target {
            Some(target) => context.set(&format!("{target}.{key}"), value),
            None => context.set(&key, value),
        })
    }

    fn value(&self, text: &str) -> Value {
        let mut text = text;
        if self.strip_brackets {
            for (open, close) in [('(', ')'), ('[', ']'), ('<', '>'), ('"', '"'), ('\'', '\'')] {
                text = text
                    .strip_prefix(open)
                    .and_then(|inner| inner.strip_suffix(close))
                    .unwrap_or(text);
            }
        }
        Value::String(text.trim_matches(&self.trim_value[..]).to_owned())
    }
}

/// What stands between the separators, empty ones at the end left out, as Java does it.
fn parts<'a>(separator: &Regex, text: &'a str) -> Vec<&'a str> {
    let mut parts: Vec<&str> = separator.split(text).collect();
    while parts.len() > 1 && parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    parts
}

/// A key that comes twice becomes a list.
fn add(found: &mut Map<String, Value>, key: String, value: Value) {
    match found.get_mut(&key) {
        None => {
            found.insert(key, value);
        }
        Some(Value::Array(list)) => list.push(value),
        Some(present) => *present = Value::Array(vec![present.take(), value]),
    }
}
