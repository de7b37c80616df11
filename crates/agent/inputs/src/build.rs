//! From one rendered input of a policy to its streams.

use camino::Utf8PathBuf;
use event::fields::Fields;
use event::processors::{ProcessorContext, ProcessorError};
use event::{AgentMetadata, DataStream, Documents, Processors};
use serde_json::{Map, Value, json};

use crate::Input;
use crate::filestream::Filestream;
use crate::journald::Journald;
use crate::listener::Listener;
use crate::metrics::Metrics;
use crate::prometheus::Prometheus;

/// What inputs need to know of the agent and its host.
#[derive(Clone, Debug)]
pub struct BuildContext {
    /// Goes into every event.
    pub agent: AgentMetadata,
    /// The fields below `host`; see [`crate::host::metadata`].
    pub host: Fields,
    /// The agent's folders.
    pub paths: InputPaths,
    /// Keeps the `ssl` blocks of streams in line with their files.
    pub reloader: tls::Reloader,
}

/// The agent's folders.
#[derive(Clone, Debug)]
pub struct InputPaths {
    /// `path.home`.
    pub home: Utf8PathBuf,
    /// Where the agent keeps its state.
    pub data: Utf8PathBuf,
    /// Where the agent writes its own logs.
    pub logs: Utf8PathBuf,
}

/// One stream, ready to run.
#[derive(Debug)]
pub struct BuiltInput {
    /// The stream's id, by which it reports.
    pub stream_id: String,
    /// The stream itself.
    pub input: Box<dyn Input>,
}

/// Why an input cannot run. The other inputs of the policy are not touched by it.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no such input here.
    #[error("input type `{0}` is not supported by this agent")]
    UnknownType(String),
    /// A setting of the input or of a stream is wrong.
    #[error("input `{input}`: setting `{setting}` is not valid: {problem}")]
    Setting {
        /// The id of the input or of its stream.
        input: String,
        /// The setting's name.
        setting: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A processor is not known or not set up rightly.
    #[error("input `{input}`: {source}")]
    Processor {
        /// The id of the input or of its stream.
        input: String,
        /// What is wrong.
        source: ProcessorError,
    },
}

impl BuildError {
    pub(crate) fn setting(input: &str, setting: &str, problem: impl Into<String>) -> Self {
        Self::Setting {
            input: input.to_owned(),
            setting: setting.to_owned(),
            problem: problem.into(),
        }
    }
}

/// The kind of input behind a policy's type, its aliases resolved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Filestream,
    Journald,
    Listener,
    Metrics,
    Prometheus,
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "filestream" | "logfile" | "log" => Self::Filestream,
            "journald" => Self::Journald,
            "tcp" | "udp" | "syslog" => Self::Listener,
            "system/metrics" => Self::Metrics,
            "prometheus/metrics" => Self::Prometheus,
            _ => return None,
        })
    }
}

/// One stream of an input, with everything that all kinds of inputs share already read.
#[derive(Debug)]
pub(crate) struct StreamConfig<'a> {
    pub(crate) id: String,
    pub(crate) input_id: String,
    pub(crate) input_type: &'a str,
    /// The stream's own settings, dotted keys expanded.
    pub(crate) settings: &'a Map<String, Value>,
    /// The settings of the input around it.
    pub(crate) input: &'a Map<String, Value>,
    pub(crate) data_stream: DataStream,
    processors: Processors,
    context: &'a BuildContext,
}

/// Whether this crate has an input of this type.
pub fn is_supported(input_type: &str) -> bool {
    Kind::named(input_type).is_some()
}

/// Builds all streams of one input. `input` is what the policy holds after conditions and variables.
///
/// # Errors
/// The input's type is unknown, or one of its settings or processors is wrong.
pub fn build(input: &Value, context: &BuildContext) -> Result<Vec<BuiltInput>, BuildError> {
    let input_type = input.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let input_id = input
        .get("id")
        .and_then(Value::as_str)
        .unwrap_or(&input_type)
        .to_owned();
    let kind = Kind::named(&input_type).ok_or_else(|| BuildError::UnknownType(input_type.clone()))?;
    let conflict = |key: String| BuildError::setting(&input_id, &key, "it is both a value and a group of settings");
    let input = settings::expand_dotted_keys(input.clone()).map_err(conflict)?;
    let Value::Object(input) = &input else {
        return Err(BuildError::setting(&input_id, "inputs", "an input must be a map"));
    };
    let mut built = Vec::new();
    for (index, stream) in streams_of(input, &input_id)?.iter().enumerate() {
        if stream.get("enabled") == Some(&Value::Bool(false)) {
            continue;
        }
        let config = stream_config(&input_id, &input_type, input, stream, index, context)?;
        let stream_id = config.id.clone();
        let input = match kind {
            Kind::Filestream => Filestream::build(config)?,
            Kind::Journald => Journald::build(config)?,
            Kind::Listener => Listener::build(config)?,
            Kind::Metrics => Metrics::build(config)?,
            Kind::Prometheus => Prometheus::build(config)?,
        };
        built.push(BuiltInput { stream_id, input });
    }
    Ok(built)
}

/// The streams; an input without the key is its own only stream.
fn streams_of<'a>(input: &'a Map<String, Value>, id: &str) -> Result<Vec<&'a Map<String, Value>>, BuildError> {
    match input.get("streams") {
        None | Some(Value::Null) => Ok(vec![input]),
        Some(Value::Array(streams)) => streams
            .iter()
            .map(|stream| {
                stream
                    .as_object()
                    .ok_or_else(|| BuildError::setting(id, "streams", "a stream must be a map"))
            })
            .collect(),
        Some(_) => Err(BuildError::setting(id, "streams", "it must be a list")),
    }
}

fn stream_config<'a>(
    input_id: &str,
    input_type: &'a str,
    input: &'a Map<String, Value>,
    stream: &'a Map<String, Value>,
    index: usize,
    context: &'a BuildContext,
) -> Result<StreamConfig<'a>, BuildError> {
    let default_kind = if input_type.ends_with("/metrics") {
        "metrics"
    } else {
        "logs"
    };
    let part = |key: &str, default: &str| {
        let of = |map: &'a Map<String, Value>| map.get("data_stream")?.get(key)?.as_str();
        of(stream)
            .or_else(|| of(input))
            .filter(|text| !text.is_empty())
            .unwrap_or(default)
            .to_owned()
    };
    let data_stream = DataStream {
        kind: part("type", default_kind),
        dataset: part("dataset", "generic").to_lowercase(),
        namespace: part("namespace", "default").to_lowercase(),
    };
    let own_id = stream.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
    let id = own_id.map_or_else(|| format!("{input_id}-{}-{index}", data_stream.dataset), str::to_owned);
    let processor_context = ProcessorContext {
        host: context.host.clone(),
    };
    let processors_of = |map: &Map<String, Value>| {
        Processors::with_context(map.get("processors").unwrap_or(&Value::Null), &processor_context).map_err(|source| {
            BuildError::Processor {
                input: id.clone(),
                source,
            }
        })
    };
    let mut processors = processors_of(input)?;
    if !std::ptr::eq(input, stream) {
        processors.extend(processors_of(stream)?);
    }
    let input_id = input_id.to_owned();
    Ok(StreamConfig {
        id,
        input_id,
        input_type,
        settings: stream,
        input,
        data_stream,
        processors,
        context,
    })
}

impl StreamConfig<'_> {
    pub(crate) fn reloader(&self) -> &tls::Reloader {
        &self.context.reloader
    }

    /// The document maker of the stream: common fields, then `own` fields of the input, then the policy's processors.
    pub(crate) fn documents(&mut self, agent_type: &str, own: Fields) -> Documents {
        let mut constants = self.context.agent.constants(agent_type, &self.data_stream);
        if let Some(module) = self.module() {
            event::fields::merge(
                &mut constants,
                Fields::from_iter([("event".to_owned(), json!({"module": module}))]),
            );
        }
        if !self.hides_host() && !self.context.host.is_empty() {
            constants.insert("host".to_owned(), Value::Object(self.context.host.clone()));
        }
        if let Some(tags) = self
            .settings
            .get("tags")
            .filter(|tags| tags.as_array().is_some_and(|tags| !tags.is_empty()))
        {
            constants.insert("tags".to_owned(), tags.clone());
        }
        event::fields::merge(&mut constants, own);
        let text = |key: &str| {
            self.settings
                .get(key)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let pipeline = text("pipeline").map(str::to_owned);
        Documents::new(
            self.id.clone(),
            self.input_type.to_owned(),
            self.data_stream.clone(),
            pipeline,
            constants,
            std::mem::take(&mut self.processors),
        )
    }

    /// `event.module`: the part before the slash of a metrics input; for logs the package, unless it is one of the
    /// packages for files of any kind.
    fn module(&self) -> Option<String> {
        if let Some(module) = self.input_type.strip_suffix("/metrics") {
            return Some(module.to_owned());
        }
        let package = self.input.get("meta")?.get("package")?.get("name")?.as_str()?;
        (!matches!(package, "log" | "filestream")).then(|| package.to_owned())
    }

    /// Events that come from elsewhere must not carry this host's name.
    fn hides_host(&self) -> bool {
        let forwarded = |tags: &Value| {
            tags.as_array()
                .is_some_and(|tags| tags.iter().any(|tag| tag == "forwarded"))
        };
        let disabled = |value: &Value| value.get("disable_host").and_then(Value::as_bool).unwrap_or(false);
        self.settings.get("tags").is_some_and(forwarded)
            || self.settings.get("publisher_pipeline").is_some_and(disabled)
    }
}

#[cfg(test)]
mod tests;
