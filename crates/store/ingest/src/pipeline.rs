//! Pipelines: compiled when put, run for each document.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::condition::Condition;
use crate::config::Config;
use crate::document::{Context, Document, Failure};
use crate::processor::{Effect, Kind};

/// A pipeline in a pipeline in a pipeline: deeper is a circle.
const DEEPEST: usize = 16;

/// Why a pipeline is refused; names the processor and the option.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct PipelineError(String);

impl PipelineError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Why a document could not be processed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct IngestError {
    /// In words.
    pub message: String,
    /// The type of the processor that failed.
    pub processor: String,
    /// Its tag.
    pub tag: String,
    /// The pipeline it stands in.
    pub pipeline: String,
}

impl IngestError {
    /// Elasticsearch's error type.
    pub fn kind(&self) -> &'static str {
        match self.processor.as_str() {
            "fail" => "fail_processor_exception",
            "pipeline" if self.message.starts_with("Pipeline processor") => "illegal_state_exception",
            _ => "illegal_argument_exception",
        }
    }
}

/// Pipelines by name.
#[derive(Clone, Debug, Default)]
pub struct Pipelines {
    by_name: BTreeMap<String, Arc<Pipeline>>,
}

#[derive(Debug)]
struct Pipeline {
    steps: Vec<Step>,
    on_failure: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    kind_name: String,
    tag: String,
    condition: Option<Condition>,
    ignore_failure: bool,
    on_failure: Vec<Step>,
    kind: Kind,
}

impl Pipelines {
    /// Compiles a pipeline body and keeps it under `name`.
    ///
    /// # Errors
    /// Names the processor, option or condition that is not understood.
    pub fn put(&mut self, name: &str, body: &Value) -> Result<(), PipelineError> {
        let mut config = Config::new(format!("pipeline [{name}]"), body)?;
        config.ignore(&["description", "version", "_meta", "deprecated", "field_access_pattern"]);
        let steps = steps(&config.required("processors")?)?;
        let on_failure = config
            .take("on_failure")
            .map_or(Ok(Vec::new()), |value| self::steps(&value))?;
        if body
            .get("on_failure")
            .is_some_and(|value| *value == Value::Array(Vec::new()))
        {
            return Err(PipelineError::new(format!(
                "pipeline [{name}] cannot have an empty on_failure option defined"
            )));
        }
        config.finish()?;
        self.by_name
            .insert(name.to_owned(), Arc::new(Pipeline { steps, on_failure }));
        Ok(())
    }

    /// Whether there is one of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Runs the pipeline `name`; `None` when it drops the document.
    pub fn run(&self, name: &str, document: Document, now: jiff::Timestamp) -> Result<Option<Document>, IngestError> {
        let mut context = Context {
            document,
            now,
            failure: None,
        };
        let kept = self.run_in(name, &mut context, 0)?;
        Ok(kept.then_some(context.document))
    }

    /// `false` when the document is dropped.
    fn run_in(&self, name: &str, context: &mut Context, depth: usize) -> Result<bool, IngestError> {
        let failed = |message: String| IngestError {
            message,
            processor: "pipeline".to_owned(),
            tag: String::new(),
            pipeline: name.to_owned(),
        };
        if depth > DEEPEST {
            return Err(failed(format!("Cycle detected for pipeline: {name}")));
        }
        let Some(pipeline) = self.by_name.get(name) else {
            return Err(failed(format!("pipeline with id [{name}] does not exist")));
        };
        match self.run_steps(name, &pipeline.steps, context, depth) {
            Err(error) if !pipeline.on_failure.is_empty() => {
                self.recover(name, &error, &pipeline.on_failure, context, depth)
            }
            outcome => outcome,
        }
    }

    fn run_steps(&self, name: &str, steps: &[Step], context: &mut Context, depth: usize) -> Result<bool, IngestError> {
        for step in steps {
            if !self.run_step(name, step, context, depth)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn run_step(&self, name: &str, step: &Step, context: &mut Context, depth: usize) -> Result<bool, IngestError> {
        let error = |message: String| IngestError {
            message,
            processor: step.kind_name.clone(),
            tag: step.tag.clone(),
            pipeline: name.to_owned(),
        };
        let outcome = match step.condition.as_ref().map(|condition| condition.holds(context)) {
            Some(Ok(false)) => return Ok(true),
            Some(Err(message)) => Err(error(message)),
            None | Some(Ok(true)) => match step.kind.run(context) {
                Ok(Effect::Drop) => Ok(false),
                Ok(Effect::Pipeline { name, .. }) if self.contains(&name) => self.run_in(&name, context, depth + 1),
                Ok(Effect::Pipeline {
                    name,
                    ignore_missing: false,
                }) => Err(error(format!(
                    "Pipeline processor configured for non-existent pipeline [{name}]"
                ))),
                Ok(Effect::Continue | Effect::Pipeline { .. }) => Ok(true),
                Err(message) => Err(error(message)),
            },
        };
        match outcome {
            Err(_) if step.ignore_failure => Ok(true),
            Err(error) if !step.on_failure.is_empty() => self.recover(name, &error, &step.on_failure, context, depth),
            outcome => outcome,
        }
    }

    fn recover(
        &self,
        name: &str,
        error: &IngestError,
        steps: &[Step],
        context: &mut Context,
        depth: usize,
    ) -> Result<bool, IngestError> {
        let before = context.failure.replace(Failure {
            message: error.message.clone(),
            processor: error.processor.clone(),
            tag: error.tag.clone(),
            pipeline: error.pipeline.clone(),
        });
        let outcome = self.run_steps(name, steps, context, depth);
        context.failure = before;
        outcome
    }
}

fn steps(value: &Value) -> Result<Vec<Step>, PipelineError> {
    let Value::Array(list) = value else {
        return Err(PipelineError::new("[processors] must be a list"));
    };
    let mut steps = Vec::new();
    for one in list {
        let Some(named) = one.as_object() else {
            return Err(PipelineError::new(format!(
                "a processor must be an object, not [{one}]"
            )));
        };
        for (kind_name, options) in named {
            steps.push(step(kind_name, options)?);
        }
    }
    Ok(steps)
}

fn step(kind_name: &str, options: &Value) -> Result<Step, PipelineError> {
    let mut config = Config::new(format!("processor [{kind_name}]"), options)?;
    config.ignore(&["description"]);
    let condition = match config.text("if")? {
        None => None,
        Some(text) => Some(Condition::parse(&text).map_err(|problem| Config::error("if", problem))?),
    };
    let tag = config.text("tag")?.unwrap_or_default();
    let ignore_failure = config.flag("ignore_failure", false)?;
    let on_failure = config
        .take("on_failure")
        .map_or(Ok(Vec::new()), |value| steps(&value))?;
    if options
        .get("on_failure")
        .is_some_and(|value| *value == Value::Array(Vec::new()))
    {
        return Err(PipelineError::new("[on_failure] processors list cannot be empty"));
    }
    let kind = Kind::parse(kind_name, config)?;
    Ok(Step {
        kind_name: kind_name.to_owned(),
        tag,
        condition,
        ignore_failure,
        on_failure,
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(body: Value, source: Value) -> Result<Option<Value>, IngestError> {
        let mut pipelines = Pipelines::default();
        pipelines.put("p", &body).unwrap();
        let Value::Object(source) = source else {
            panic!("a source is an object")
        };
        let document = Document {
            index: "i".to_owned(),
            id: None,
            source,
        };
        let done = pipelines.run("p", document, "2026-01-02T03:04:05Z".parse().unwrap())?;
        Ok(done.map(|document| Value::Object(document.source)))
    }

    #[test]
    fn failures_are_ignored_or_handled_where_they_happen() {
        let fails = json!({"fail": {"message": "no {{a}}"}});
        let error = run(json!({"processors": [fails]}), json!({"a": 1})).unwrap_err();
        assert_eq!((error.message.as_str(), error.processor.as_str()), ("no 1", "fail"));
        let ignored = json!({"processors": [{"fail": {"message": "x", "ignore_failure": true}}, {"set": {"field": "b", "value": 2}}]});
        assert_eq!(run(ignored, json!({})).unwrap(), Some(json!({"b": 2})));
        let handled = json!({
            "processors": [{"fail": {"message": "x", "tag": "t"}}, {"set": {"field": "never", "value": 1}}],
            "on_failure": [{"set": {"field": "error.message", "value": "{{_ingest.on_failure_processor_tag}}: {{_ingest.on_failure_message}}"}}],
        });
        assert_eq!(
            run(handled, json!({})).unwrap(),
            Some(json!({"error": {"message": "t: x"}}))
        );
    }

    #[test]
    fn pipelines_call_pipelines_and_circles_end() {
        let mut pipelines = Pipelines::default();
        pipelines
            .put("a", &json!({"processors": [{"pipeline": {"name": "a"}}]}))
            .unwrap();
        let error = pipelines
            .run("a", Document::default(), jiff::Timestamp::UNIX_EPOCH)
            .unwrap_err();
        assert!(error.message.contains("Cycle"));
        let body = json!({"processors": [{"pipeline": {"name": "gone", "ignore_missing_pipeline": true}}]});
        assert_eq!(run(body, json!({})).unwrap(), Some(json!({})));
        assert!(run(json!({"processors": [{"pipeline": {"name": "gone"}}]}), json!({})).is_err());
    }

    #[test]
    fn a_dropped_document_is_none_and_conditions_decide() {
        let body = json!({"processors": [{"drop": {"if": "ctx.level == 'debug'"}}]});
        assert_eq!(run(body.clone(), json!({"level": "debug"})).unwrap(), None);
        assert!(run(body, json!({"level": "info"})).unwrap().is_some());
    }

    #[test]
    fn what_is_not_understood_is_refused_when_put() {
        let refused = |body: Value| Pipelines::default().put("p", &body).unwrap_err().to_string();
        assert!(refused(json!({"processors": [{"geoip": {}}]})).contains("[geoip]"));
        assert!(
            refused(json!({"processors": [{"set": {"field": "a", "value": 1, "colour": 2}}]})).contains("[colour]")
        );
        assert!(refused(json!({"processors": [{"set": {"value": 1}}]})).contains("[field]"));
        assert!(refused(json!({"processors": [{"drop": {"if": "for (x in y) {}"}}]})).contains("[if]"));
        assert!(refused(json!({"processors": [{"grok": {"field": "m", "patterns": ["%{NOPE:x}"]}}]})).contains("NOPE"));
    }
}
