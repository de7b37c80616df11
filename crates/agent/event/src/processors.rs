//! `processors:` of policies: what is done to an event before it leaves.
//!
//! [`Processors::from_policy`] reads the list once; a name or setting that we do not know is an error, so that the unit
//! fails with its reason instead of shipping other documents than the policy asks for. A processor that fails on one
//! event leaves a text in `error.message` and the event goes on.

mod constant;
mod convert;
mod decode;
mod dissect;
mod identity;
mod select;
mod settings;
pub mod syslog;
mod text;
pub mod timestamp;
mod when;

pub(crate) use constant::LocaleFormat;
pub use decode::{JsonInto, merge_json};

use std::fmt;

use serde_json::{Map, Value};

use crate::fields::{self, Fields};
use settings::Settings;
pub use when::When;

/// The processors of a stream, in order.
#[derive(Debug, Default)]
pub struct Processors(Vec<Step>);

/// What became of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It goes on.
    Keep,
    /// A `drop_event` matched.
    Drop,
}

/// Why a list of processors cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProcessorError {
    /// There is no processor of this name here.
    #[error("processor `{0}` is not supported")]
    Unknown(String),
    /// A processor's settings are wrong.
    #[error("processor `{processor}`: {problem}")]
    Settings {
        /// Its name.
        processor: String,
        /// The setting and what is wrong with it.
        problem: String,
    },
    /// The list itself is not what it should be.
    #[error("`processors` {0}")]
    Shape(&'static str),
}

/// What processors may know of their surroundings.
#[derive(Clone, Debug, Default)]
pub struct ProcessorContext {
    /// The fields below `host`, for `add_host_metadata`.
    pub host: Fields,
}

#[derive(Debug)]
enum Step {
    Action {
        name: String,
        when: Option<When>,
        action: Box<dyn Action>,
    },
    DropEvent {
        when: Option<When>,
    },
    Branch {
        condition: When,
        then: Vec<Step>,
        otherwise: Vec<Step>,
    },
}

/// One processor with its settings.
trait Action: fmt::Debug + Send + Sync {
    /// Changes the event. On `Err` the event must be as it was, or as the settings say.
    fn apply(&self, event: &mut Fields) -> Result<(), String>;

    /// Whether it adds the same fields to every event, without looking at it.
    fn is_constant(&self) -> bool {
        false
    }

    /// Whether what it adds follows the zone of the machine.
    fn locale(&self) -> Option<LocaleFormat> {
        None
    }
}

impl Processors {
    /// Reads a list of processors; null is an empty list.
    pub fn from_policy(list: &Value) -> Result<Self, ProcessorError> {
        Self::with_context(list, &ProcessorContext::default())
    }

    /// Reads a list of processors that may need the surroundings.
    pub fn with_context(list: &Value, context: &ProcessorContext) -> Result<Self, ProcessorError> {
        steps(list, context, 0).map(Self)
    }

    /// Puts `later` behind these.
    pub fn extend(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs all of them.
    pub fn apply(&self, event: &mut Fields) -> Outcome {
        apply_steps(&self.0, event)
    }

    /// Applies the leading processors that are the same for every event to `constants`, and forgets them. Gives the
    /// format of `event.timezone` when it is among them: the only constant that changes with time.
    pub(crate) fn fold_into(&mut self, constants: &mut Fields) -> Option<LocaleFormat> {
        let mut folded = 0;
        let mut locale = None;
        for step in &self.0 {
            let Step::Action { when: None, action, .. } = step else {
                break;
            };
            let mut changed = constants.clone();
            if !action.is_constant() || action.apply(&mut changed).is_err() || touches_sources(constants, &changed) {
                break;
            }
            *constants = changed;
            locale = action.locale().or(locale);
            folded += 1;
        }
        self.0.drain(..folded);
        locale
    }
}

/// Groups that sources write; a constant there must be written after the source, not before.
fn touches_sources(before: &Fields, after: &Fields) -> bool {
    ["@timestamp", "message", "log", "error", "system", "process"]
        .iter()
        .any(|key| before.get(*key) != after.get(*key))
}

fn apply_steps(steps: &[Step], event: &mut Fields) -> Outcome {
    for step in steps {
        let outcome = match step {
            Step::Action { name, when, action } => {
                if holds(when.as_ref(), event)
                    && let Err(problem) = action.apply(event)
                {
                    note_error(event, &format!("failed in processor.{name}: {problem}"));
                }
                Outcome::Keep
            }
            Step::DropEvent { when } if holds(when.as_ref(), event) => Outcome::Drop,
            Step::DropEvent { .. } => Outcome::Keep,
            Step::Branch {
                condition,
                then,
                otherwise,
            } => {
                let branch = if condition.holds(event) { then } else { otherwise };
                apply_steps(branch, event)
            }
        };
        if outcome == Outcome::Drop {
            return Outcome::Drop;
        }
    }
    Outcome::Keep
}

fn holds(when: Option<&When>, event: &Fields) -> bool {
    when.is_none_or(|when| when.holds(event))
}

fn note_error(event: &mut Fields, problem: &str) {
    let earlier = fields::get(event, "error.message").and_then(Value::as_str);
    let message = earlier.map_or_else(|| problem.to_owned(), |earlier| format!("{earlier}; {problem}"));
    if fields::put(event, "error.message", Value::String(message.clone())).is_err() {
        event.insert("error".to_owned(), serde_json::json!({"message": message}));
    }
}

/// `if` inside `then` inside `if` ..: deeper lists are refused.
const MAX_DEPTH: usize = 16;

fn steps(list: &Value, context: &ProcessorContext, depth: usize) -> Result<Vec<Step>, ProcessorError> {
    if depth > MAX_DEPTH {
        return Err(ProcessorError::Shape("is nested too deeply"));
    }
    match list {
        Value::Array(items) => items
            .iter()
            .filter(|item| !item.is_null())
            .map(|item| step(item, context, depth))
            .collect(),
        Value::Object(item) if !item.is_empty() => step(list, context, depth).map(|step| vec![step]),
        Value::Null | Value::Object(_) => Ok(Vec::new()),
        _ => Err(ProcessorError::Shape("must be a list")),
    }
}

fn step(item: &Value, context: &ProcessorContext, depth: usize) -> Result<Step, ProcessorError> {
    let item = item
        .as_object()
        .ok_or(ProcessorError::Shape("must hold maps of one key each"))?;
    if let Some(condition) = item.get("if") {
        return branch(item, condition, context, depth);
    }
    let (name, body) = match item.iter().collect::<Vec<_>>().as_slice() {
        [(name, body)] => ((*name).clone(), *body),
        [(name, body), (when, _)] | [(when, _), (name, body)] if *when == "when" => ((*name).clone(), *body),
        _ => return Err(ProcessorError::Shape("must hold maps of one key each")),
    };
    let fail = |problem: String| ProcessorError::Settings {
        processor: name.clone(),
        problem,
    };
    let when = body
        .get("when")
        .or_else(|| item.get("when"))
        .filter(|when| !when.is_null());
    let when = when.map(When::parse).transpose().map_err(fail)?;
    if name == "drop_event" {
        return Ok(Step::DropEvent { when });
    }
    let settings = Settings::new(body).map_err(fail)?;
    let action = action(&name, &settings, context)
        .ok_or_else(|| ProcessorError::Unknown(name.clone()))?
        .map_err(fail)?;
    Ok(Step::Action { name, when, action })
}

fn branch(
    item: &Map<String, Value>,
    condition: &Value,
    context: &ProcessorContext,
    depth: usize,
) -> Result<Step, ProcessorError> {
    let fail = |problem: String| ProcessorError::Settings {
        processor: "if".to_owned(),
        problem,
    };
    let condition = When::parse(condition).map_err(fail)?;
    let then = item.get("then").ok_or_else(|| fail("`then` is missing".to_owned()))?;
    Ok(Step::Branch {
        condition,
        then: steps(then, context, depth + 1)?,
        otherwise: steps(item.get("else").unwrap_or(&Value::Null), context, depth + 1)?,
    })
}

type Parsed = Result<Box<dyn Action>, String>;

fn action(name: &str, settings: &Settings<'_>, context: &ProcessorContext) -> Option<Parsed> {
    Some(match name {
        "add_fields" => constant::add_fields(settings),
        "add_labels" => constant::add_labels(settings),
        "add_tags" => constant::add_tags(settings),
        "add_locale" => constant::add_locale(settings),
        "add_host_metadata" => Ok(constant::add_host_metadata(context)),
        "add_cloud_metadata" => Ok(constant::add_cloud_metadata()),
        "add_id" => identity::add_id(settings),
        "fingerprint" => identity::fingerprint(settings),
        "drop_fields" => select::drop_fields(settings),
        "include_fields" => select::include_fields(settings),
        "rename" => select::rename(settings),
        "copy_fields" => select::copy_fields(settings),
        "move_fields" => select::move_fields(settings),
        "append" => select::append(settings),
        "replace" => text::replace(settings),
        "truncate_fields" => text::truncate_fields(settings),
        "lowercase" => text::lowercase(settings),
        "uppercase" => text::uppercase(settings),
        "urldecode" => text::urldecode(settings),
        "decode_base64_field" => text::decode_base64_field(settings),
        "decode_json_fields" => decode::decode_json_fields(settings),
        "convert" => convert::convert(settings),
        "dissect" => dissect::dissect(settings),
        "timestamp" => timestamp::timestamp(settings),
        "syslog" => syslog::syslog(settings),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
