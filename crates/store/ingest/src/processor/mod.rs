//! The processors, compiled from their options.

mod fields;
mod parsers;
mod texts;

use crate::config::Config;
use crate::document::Context;
use crate::pipeline::PipelineError;
use crate::template::Template;

/// What follows after a processor.
#[derive(Debug)]
pub(crate) enum Effect {
    /// The next one.
    Continue,
    /// Nothing: the document is not kept.
    Drop,
    /// Another pipeline, then the next one.
    Pipeline { name: String, ignore_missing: bool },
}

/// One processor.
#[derive(Debug)]
pub(crate) enum Kind {
    Set(fields::Set),
    Remove(fields::Remove),
    Rename(fields::Rename),
    Append(fields::Append),
    Convert(fields::Convert),
    Text(texts::Change),
    Split(texts::Split),
    Join(texts::Join),
    Gsub(texts::Gsub),
    Grok(Box<parsers::Grok>),
    Dissect(parsers::Dissect),
    Date(parsers::Date),
    Json(parsers::Json),
    KeyValue(Box<parsers::KeyValue>),
    Drop,
    Fail(Template),
    Pipeline { name: Template, ignore_missing: bool },
}

impl Kind {
    /// Compiles the processor `name`.
    pub(crate) fn parse(name: &str, mut config: Config) -> Result<Self, PipelineError> {
        let kind = match name {
            "set" => Self::Set(fields::Set::parse(&mut config)?),
            "remove" => Self::Remove(fields::Remove::parse(&mut config)?),
            "rename" => Self::Rename(fields::Rename::parse(&mut config)?),
            "append" => Self::Append(fields::Append::parse(&mut config)?),
            "convert" => Self::Convert(fields::Convert::parse(&mut config)?),
            "lowercase" => Self::Text(texts::Change::parse(texts::Case::Lower, &mut config)?),
            "uppercase" => Self::Text(texts::Change::parse(texts::Case::Upper, &mut config)?),
            "trim" => Self::Text(texts::Change::parse(texts::Case::Trim, &mut config)?),
            "split" => Self::Split(texts::Split::parse(&mut config)?),
            "join" => Self::Join(texts::Join::parse(&mut config)?),
            "gsub" => Self::Gsub(texts::Gsub::parse(&mut config)?),
            "grok" => Self::Grok(Box::new(parsers::Grok::parse(&mut config)?)),
            "dissect" => Self::Dissect(parsers::Dissect::parse(&mut config)?),
            "date" => Self::Date(parsers::Date::parse(&mut config)?),
            "json" => Self::Json(parsers::Json::parse(&mut config)?),
            "kv" => Self::KeyValue(Box::new(parsers::KeyValue::parse(&mut config)?)),
            "drop" => Self::Drop,
            "fail" => Self::Fail(template(&mut config, "message")?),
            "pipeline" => Self::Pipeline {
                name: template(&mut config, "name")?,
                ignore_missing: config.flag("ignore_missing_pipeline", false)?,
            },
            other => {
                return Err(PipelineError::new(format!(
                    "No processor type exists with name [{other}]"
                )));
            }
        };
        config.finish()?;
        Ok(kind)
    }

    /// Runs it.
    ///
    /// # Errors
    /// The reason, in words; the document may be changed in part.
    pub(crate) fn run(&self, context: &mut Context) -> Result<Effect, String> {
        match self {
            Self::Set(set) => set.run(context)?,
            Self::Remove(remove) => remove.run(context)?,
            Self::Rename(rename) => rename.run(context)?,
            Self::Append(append) => append.run(context)?,
            Self::Convert(convert) => convert.run(context)?,
            Self::Text(change) => change.run(context)?,
            Self::Split(split) => split.run(context)?,
            Self::Join(join) => join.run(context)?,
            Self::Gsub(gsub) => gsub.run(context)?,
            Self::Grok(grok) => grok.run(context)?,
            Self::Dissect(dissect) => dissect.run(context)?,
            Self::Date(date) => date.run(context)?,
            Self::Json(json) => json.run(context)?,
            Self::KeyValue(pairs) => pairs.run(context)?,
            Self::Drop => return Ok(Effect::Drop),
            Self::Fail(message) => return Err(message.render(context)),
            Self::Pipeline { name, ignore_missing } => {
                return Ok(Effect::Pipeline {
                    name: name.render(context),
                    ignore_missing: *ignore_missing,
                });
            }
        }
        Ok(Effect::Continue)
    }
}

/// A required option with `{{field}}` in it.
fn template(config: &mut Config, option: &str) -> Result<Template, PipelineError> {
    let text = config.required_text(option)?;
    Template::parse(&text).map_err(|problem| Config::error(option, problem))
}

/// Where a processor reads and writes.
#[derive(Debug)]
struct FieldPair {
    field: String,
    target: String,
    ignore_missing: bool,
}

impl FieldPair {
    fn parse(config: &mut Config) -> Result<Self, PipelineError> {
        let field = config.required_text("field")?;
        let target = config.text("target_field")?.unwrap_or_else(|| field.clone());
        Ok(Self {
            field,
            target,
            ignore_missing: config.flag("ignore_missing", false)?,
        })
    }

    /// The field's value; `None` when it is missing and may be.
    fn read(&self, context: &Context) -> Result<Option<serde_json::Value>, String> {
        match context.value(&self.field) {
            Some(value) if !value.is_null() => Ok(Some(value)),
            _ if self.ignore_missing => Ok(None),
            Some(_) => Err(format!("field [{}] is null, cannot be processed", self.field)),
            None => Err(format!(
                "field [{}] not present as part of path [{}]",
                last(&self.field),
                self.field
            )),
        }
    }

    /// The same, which must be a text.
    fn read_text(&self, context: &Context) -> Result<Option<String>, String> {
        match self.read(context)? {
            None => Ok(None),
            Some(serde_json::Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!(
                "field [{}] of type [{}] cannot be cast to [string]",
                self.field,
                crate::document::kind_of(&other)
            )),
        }
    }
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}
