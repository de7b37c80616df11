//! From a policy to the inputs and outputs that should run. Pure: nothing is started here.
//!
//! Rules of grouping, defaults and errors: the agent policy's reference, sections 2 to 6.

use std::collections::{BTreeMap, BTreeSet};

use event::Variables;
use event::rendering::{DynamicProvider, Mapping, render_inputs};
use serde_json::{Map, Value, json};

use crate::local_endpoint::Place;
use crate::{fleet_server_component, monitoring};

/// A policy that cannot be run as a whole.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ModelError {
    /// `inputs` or `outputs` of the wrong kind.
    #[error("`{key}` of the policy must be {wanted}")]
    Kind {
        /// The key.
        key: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// An input without a type.
    #[error("input `{input}` has no `type`")]
    NoType {
        /// Its id, or its place in the list.
        input: String,
    },
    /// Two inputs with one id.
    #[error("two inputs have the id `{id}`; ids must be unique in a policy")]
    DuplicateId {
        /// The id.
        id: String,
    },
    /// An output that is not there.
    #[error("input `{input}` uses output `{output}`, which the policy does not have")]
    UnknownOutput {
        /// The input's id.
        input: String,
        /// The output's name.
        output: String,
    },
    /// A condition or a variable.
    #[error("{0}")]
    Render(String),
}

/// What should run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    /// Outputs that at least one input uses, by name.
    pub(crate) outputs: BTreeMap<String, Value>,
    /// Inputs in the order of the policy.
    pub(crate) inputs: Vec<ModelInput>,
    /// `agent.monitoring.http`, where that is on.
    pub(crate) local_endpoint: Option<Place>,
}

/// One input that should run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelInput {
    /// Unique in the policy.
    pub(crate) id: String,
    /// Its type.
    pub(crate) kind: String,
    /// The output's name.
    pub(crate) output: String,
    /// All of it, rendered.
    pub(crate) definition: Value,
    /// For a Fleet Server: the output that it keeps its state in.
    pub(crate) server_output: Option<Value>,
}

impl ModelInput {
    /// `<type>-<output>`: inputs of one type with one output are one component.
    pub(crate) fn component(&self) -> String {
        format!("{}-{}", self.kind, self.output)
    }

    /// `<component>-<input id>`.
    pub(crate) fn unit_id(&self) -> String {
        format!("{}-{}", self.component(), self.id)
    }
}

/// Works out what should run under `policy`.
///
/// # Errors
/// What makes the policy unusable as a whole; an input type that is not known here is no such error.
pub(crate) fn model(policy: &Value, variables: &Variables, log_directory: &str) -> Result<Model, ModelError> {
    let variables = with_policy_providers(policy, variables.clone());
    let mut inputs = listed(policy)?;
    inputs.extend(monitoring::inputs(policy, log_directory));
    let rendered = render_inputs(&inputs, &variables, &dynamic_providers(policy))
        .map_err(|error| ModelError::Render(error.to_string()))?;
    let outputs = match policy.get("outputs") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(outputs)) => outputs.clone(),
        Some(_) => {
            return Err(ModelError::Kind {
                key: "outputs".to_owned(),
                wanted: "a map",
            });
        }
    };
    let mut model = Model {
        local_endpoint: Place::of(policy),
        ..Model::default()
    };
    let mut seen = BTreeSet::new();
    for (place, definition) in rendered.into_iter().enumerate() {
        let Some(input) = model_input(place, definition)? else {
            continue;
        };
        if !seen.insert(input.id.clone()) {
            return Err(ModelError::DuplicateId { id: input.id });
        }
        let Some(output) = outputs.get(&input.output) else {
            return Err(ModelError::UnknownOutput {
                input: input.id,
                output: input.output,
            });
        };
        if output.get("enabled") == Some(&Value::Bool(false)) {
            continue;
        }
        let output =
            event::variables::substitute(output, &variables).map_err(|error| ModelError::Render(error.to_string()))?;
        let output = with_agent_headers(output, policy);
        // A Fleet Server makes its own connection to Elasticsearch; nothing is shipped through the output.
        if input.kind == fleet_server_component::INPUT_TYPE {
            model.inputs.push(ModelInput {
                server_output: Some(output),
                ..input
            });
            continue;
        }
        model.outputs.insert(input.output.clone(), output);
        model.inputs.push(input);
    }
    Ok(model)
}

fn listed(policy: &Value) -> Result<Vec<Value>, ModelError> {
    match policy.get("inputs") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(inputs)) if inputs.iter().all(Value::is_object) => Ok(inputs.clone()),
        Some(_) => Err(ModelError::Kind {
            key: "inputs".to_owned(),
            wanted: "a list of maps",
        }),
    }
}

/// `None` for a disabled input.
fn model_input(place: usize, mut definition: Value) -> Result<Option<ModelInput>, ModelError> {
    if definition.get("enabled") == Some(&Value::Bool(false)) {
        return Ok(None);
    }
    let text = |key: &str| {
        definition
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let id = text("id");
    let Some(kind) = text("type") else {
        return Err(ModelError::NoType {
            input: id.unwrap_or_else(|| format!("number {}", place + 1)),
        });
    };
    let id = id.unwrap_or_else(|| kind.clone());
    let output = text("use_output").unwrap_or_else(|| "default".to_owned());
    definition["id"] = json!(id);
    Ok(Some(ModelInput {
        id,
        kind,
        output,
        definition,
        server_output: None,
    }))
}

/// `agent.headers` go to Elasticsearch as well; the output's own win.
fn with_agent_headers(mut output: Value, policy: &Value) -> Value {
    let Some(Value::Object(common)) = policy.pointer("/agent/headers") else {
        return output;
    };
    if let Value::Object(map) = &mut output {
        let headers = map.entry("headers").or_insert_with(|| json!({}));
        if let Value::Object(headers) = headers {
            for (name, value) in common {
                headers.entry(name).or_insert_with(|| value.clone());
            }
        }
    }
    output
}

fn with_policy_providers(policy: &Value, mut variables: Variables) -> Variables {
    if let Some(local) = policy.pointer("/providers/local/vars") {
        variables.set("local", local.clone());
    }
    if let Some(default) = policy.pointer("/agent/providers/default").and_then(Value::as_str) {
        variables.set_default_provider(default);
    }
    variables
}

fn dynamic_providers(policy: &Value) -> Vec<DynamicProvider> {
    let Some(Value::Array(items)) = policy.pointer("/providers/local_dynamic/items") else {
        return Vec::new();
    };
    let mapping = |(number, item): (usize, &Value)| Mapping {
        id: format!("local_dynamic-{number}"),
        variables: item.get("vars").cloned().unwrap_or_default(),
        processors: item
            .get("processors")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default(),
    };
    vec![DynamicProvider {
        name: "local_dynamic".to_owned(),
        mappings: items.iter().enumerate().map(mapping).collect(),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: Value) -> Result<Model, ModelError> {
        model(&policy, &Variables::new(), "/logs")
    }

    #[test]
    fn inputs_get_their_defaults_and_their_component() {
        let model = check(json!({
            "outputs": {"default": {"type": "elasticsearch", "hosts": ["es"]}, "unused": {"type": "logstash"}},
            "agent": {"headers": {"x": "y"}},
            "inputs": [{"type": "filestream", "id": "one"}, {"type": "system/metrics"}, {"type": "log", "enabled": false}],
        }))
        .unwrap();
        let units: Vec<_> = model.inputs.iter().map(ModelInput::unit_id).collect();
        assert_eq!(
            units,
            ["filestream-default-one", "system/metrics-default-system/metrics"]
        );
        assert_eq!(model.outputs.keys().collect::<Vec<_>>(), ["default"]);
        assert_eq!(model.outputs["default"]["headers"]["x"], "y");
    }

    #[test]
    fn what_makes_a_policy_unusable_is_named() {
        let error = |policy: Value| check(policy).unwrap_err().to_string();
        assert!(error(json!({"inputs": {}})).contains("`inputs`"));
        assert!(error(json!({"outputs": {"default": {}}, "inputs": [{"id": "x"}]})).contains("`x` has no `type`"));
        assert!(error(json!({"outputs": {}, "inputs": [{"type": "log"}]})).contains("output `default`"));
        let twice = json!([{"type": "log", "id": "a"}, {"type": "filestream", "id": "a"}]);
        assert!(error(json!({"outputs": {"default": {}}, "inputs": twice})).contains("id `a`"));
    }
}
