//! A processor's options: each is taken, and one that is left over is refused by name.

use serde_json::{Map, Value};

use crate::pipeline::PipelineError;

/// Options of one processor.
#[derive(Debug)]
pub(crate) struct Config {
    /// `processor [set]`, `pipeline [name]`.
    owner: String,
    options: Map<String, Value>,
}

impl Config {
    pub(crate) fn new(owner: String, options: &Value) -> Result<Self, PipelineError> {
        match options {
            Value::Object(options) => Ok(Self {
                owner,
                options: options.clone(),
            }),
            other => Err(PipelineError::new(format!("{owner} must be an object, not [{other}]"))),
        }
    }

    pub(crate) fn error(option: &str, problem: impl std::fmt::Display) -> PipelineError {
        PipelineError::new(format!("[{option}] {problem}"))
    }

    pub(crate) fn take(&mut self, option: &str) -> Option<Value> {
        self.options.shift_remove(option).filter(|value| !value.is_null())
    }

    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.get(option).is_some_and(|value| !value.is_null())
    }

    pub(crate) fn required(&mut self, option: &str) -> Result<Value, PipelineError> {
        self.take(option)
            .ok_or_else(|| Self::error(option, "required property is missing"))
    }

    pub(crate) fn text(&mut self, option: &str) -> Result<Option<String>, PipelineError> {
        match self.take(option) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(other) => Err(Self::error(option, format!("must be a text, not [{other}]"))),
        }
    }

    pub(crate) fn required_text(&mut self, option: &str) -> Result<String, PipelineError> {
        self.text(option)?
            .ok_or_else(|| Self::error(option, "required property is missing"))
    }

    pub(crate) fn flag(&mut self, option: &str, default: bool) -> Result<bool, PipelineError> {
        match self.take(option) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(other) => Err(Self::error(option, format!("must be true or false, not [{other}]"))),
        }
    }

    /// A text or a list of texts.
    pub(crate) fn list(&mut self, option: &str) -> Result<Option<Vec<String>>, PipelineError> {
        match self.take(option) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(vec![text])),
            Some(Value::Array(list)) => {
                let texts = list
                    .iter()
                    .map(|value| value.as_str().map(str::to_owned))
                    .collect::<Option<Vec<_>>>();
                texts
                    .map(Some)
                    .ok_or_else(|| Self::error(option, "must be a list of texts"))
            }
            Some(other) => Err(Self::error(option, format!("must be a list of texts, not [{other}]"))),
        }
    }

    /// Options that change nothing here.
    pub(crate) fn ignore(&mut self, options: &[&str]) {
        for option in options {
            self.options.shift_remove(*option);
        }
    }

    pub(crate) fn finish(self) -> Result<(), PipelineError> {
        match self.options.keys().next() {
            None => Ok(()),
            Some(option) => Err(PipelineError::new(format!(
                "{} doesn't support one or more provided configuration parameters [{option}]",
                self.owner
            ))),
        }
    }
}
