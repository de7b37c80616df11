//! Processors that add the same to every event.

use serde_json::{Value, json};

use super::settings::Settings;
use super::{Action, Parsed, ProcessorContext};
use crate::fields::{self, Fields};

/// Fields that are merged over the event.
#[derive(Debug)]
struct Add(Fields);

impl Action for Add {
    fn apply(&self, event: &mut Fields) -> Result<(), String> {
        fields::merge(event, self.0.clone());
        Ok(())
    }

    fn is_constant(&self) -> bool {
        true
    }
}

pub(super) fn add_fields(settings: &Settings<'_>) -> Parsed {
    let target = settings.text("target")?.unwrap_or("fields");
    let added = match settings.value("fields") {
        None => Fields::new(),
        Some(value) => expanded(value)?,
    };
    let mut event = Fields::new();
    if target.is_empty() {
        event = added;
    } else {
        fields::put(&mut event, target, Value::Object(added)).map_err(|error| error.to_string())?;
    }
    Ok(Box::new(Add(event)))
}

fn expanded(value: &Value) -> Result<Fields, String> {
    match ::settings::expand_dotted_keys(value.clone()) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err("`fields` must be a map".to_owned()),
        Err(key) => Err(format!("`fields` sets `{key}` both as a value and as a group")),
    }
}

/// Labels keep flat names: `labels.a.b` is one label called `a.b`.
pub(super) fn add_labels(settings: &Settings<'_>) -> Parsed {
    let mut labels = Fields::new();
    flatten("", settings.value("labels").ok_or("`labels` is missing")?, &mut labels);
    Ok(Box::new(Add(Fields::from_iter([(
        "labels".to_owned(),
        Value::Object(labels),
    )]))))
}

fn flatten(path: &str, value: &Value, labels: &mut Fields) {
    let join = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| flatten(&join(key), value, labels)),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, value)| flatten(&join(&index.to_string()), value, labels));
        }
        other => {
            labels.insert(path.to_owned(), other.clone());
        }
    }
}

#[derive(Debug)]
struct AddTags {
    target: String,
    tags: Vec<String>,
}

pub(super) fn add_tags(settings: &Settings<'_>) -> Parsed {
    let target = settings.text("target")?.unwrap_or("tags").to_owned();
    Ok(Box::new(AddTags {
        target,
        tags: settings.required_texts("tags")?,
    }))
}

impl Action for AddTags {
    fn apply(&self, event: &mut Fields) -> Result<(), String> {
        let mut tags = match fields::get(event, &self.target) {
            Some(Value::Array(tags)) => tags.clone(),
            Some(Value::String(tag)) => vec![json!(tag)],
            _ => Vec::new(),
        };
        tags.extend(self.tags.iter().map(|tag| json!(tag)));
        fields::put(event, &self.target, Value::Array(tags)).map_err(|error| error.to_string())
    }

    fn is_constant(&self) -> bool {
        true
    }
}

/// How `add_locale` writes the zone of the machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LocaleFormat {
    /// `+02:00`.
    Offset,
    /// `CEST`.
    Abbreviation,
}

impl LocaleFormat {
    /// The zone at present: it belongs to the machine, not to the time in the event, and changes twice a year.
    pub(crate) fn now(self) -> String {
        let now = jiff::Zoned::now();
        match self {
            Self::Offset => now.strftime("%:z").to_string(),
            Self::Abbreviation => now.strftime("%Z").to_string(),
        }
    }
}

#[derive(Debug)]
struct AddLocale(LocaleFormat);

pub(super) fn add_locale(settings: &Settings<'_>) -> Parsed {
    match settings.text("format")?.unwrap_or("offset") {
        "offset" => Ok(Box::new(AddLocale(LocaleFormat::Offset))),
        "abbreviation" => Ok(Box::new(AddLocale(LocaleFormat::Abbreviation))),
        other => Err(format!("`format` must be `offset` or `abbreviation`, not `{other}`")),
    }
}

impl Action for AddLocale {
    fn apply(&self, event: &mut Fields) -> Result<(), String> {
        fields::put(event, "event.timezone", Value::String(self.0.now())).map_err(|error| error.to_string())
    }

    fn is_constant(&self) -> bool {
        true
    }

    fn locale(&self) -> Option<LocaleFormat> {
        Some(self.0)
    }
}

pub(super) fn add_host_metadata(context: &ProcessorContext) -> Box<dyn Action> {
    let host = Value::Object(context.host.clone());
    Box::new(Add(Fields::from_iter([("host".to_owned(), host)])))
}

/// No cloud's metadata service is asked, so no cloud is found and nothing is added: as outside of any cloud.
pub(super) fn add_cloud_metadata() -> Box<dyn Action> {
    Box::new(Add(Fields::new()))
}
