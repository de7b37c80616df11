//! Lines that are JSON objects.

use event::processors::{JsonInto, merge_json};
use serde_json::{Value, json};
use tracing::debug;

use super::{Message, Parser};
use crate::build::BuildError;
use crate::config::Config;

#[derive(Clone, Debug)]
pub(super) struct Settings {
    into: JsonInto,
    message_key: Option<String>,
    ignore_decoding_error: bool,
}

impl Settings {
    pub(super) fn read(config: Config<'_>) -> Result<Self, BuildError> {
        let text = |name: &'static str| config.text(&[name]).map(|text| text.filter(|text| !text.is_empty()));
        // The older input put the keys below `json` unless told otherwise.
        let default_target = if config.value("keys_under_root").is_some_and(|root| root != true) {
            "json"
        } else {
            ""
        };
        let into = JsonInto {
            target: text("target")?.unwrap_or(default_target).to_owned(),
            overwrite_keys: config.boolean(&["overwrite_keys"], false)?,
            expand_keys: config.boolean(&["expand_keys"], false)?,
            add_error_key: config.boolean(&["add_error_key"], false)?,
            document_id: text("document_id")?.map(str::to_owned),
        };
        let message_key = text("message_key")?.map(str::to_owned);
        let ignore_decoding_error = config.boolean(&["ignore_decoding_error"], false)?;
        Ok(Self {
            into,
            message_key,
            ignore_decoding_error,
        })
    }
}

#[derive(Debug)]
pub(super) struct Ndjson(pub(super) Settings);

impl Parser for Ndjson {
    fn push(&mut self, mut message: Message, out: &mut Vec<Message>) {
        let settings = &self.0;
        let done = match serde_json::from_str::<Value>(&message.text) {
            Ok(Value::Object(decoded)) => settings.place(decoded, &mut message),
            Ok(_) => Err("the line is JSON, but not an object".to_owned()),
            Err(error) => Err(format!("the line is not JSON: {error}")),
        };
        if let Err(problem) = done {
            if !settings.ignore_decoding_error {
                debug!(offset = message.start, problem, "a line could not be decoded");
            }
            if settings.into.add_error_key {
                message
                    .fields
                    .insert("error".to_owned(), json!({"message": problem, "type": "json"}));
            }
        }
        out.push(message);
    }
}

impl Settings {
    fn place(&self, mut decoded: event::fields::Fields, message: &mut Message) -> Result<(), String> {
        let key = self.message_key.as_deref();
        let text = key.and_then(|key| event::fields::get(&decoded, key)?.as_str().map(str::to_owned));
        message.without_text = text.is_none();
        message.text = text.unwrap_or_default();
        if !self.into.overwrite_keys && self.into.target.is_empty() {
            // The event's own time stays; it is written later, so it must not be put in here.
            decoded.remove("@timestamp");
        }
        merge_json(&mut message.fields, decoded, &self.into)
    }
}
