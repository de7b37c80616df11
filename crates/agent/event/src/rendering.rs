//! From the inputs of a policy to the inputs that run: conditions are decided, variables replaced, and an input that
//! uses a dynamic provider becomes one copy for each of the provider's mappings.

use serde_json::{Map, Value};

use crate::condition::{Condition, ConditionError};
use crate::variables::{self, VariableError, Variables};

/// One set of variables of a dynamic provider.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// Appended to the id of the input: `<id>-<mapping id>`.
    pub id: String,
    /// What the provider knows for this mapping.
    pub variables: Value,
    /// Processors to put before the input's own.
    pub processors: Vec<Value>,
}

/// A dynamic provider with its mappings.
#[derive(Clone, Debug)]
pub struct DynamicProvider {
    /// `local_dynamic` ..
    pub name: String,
    /// One copy of an input for each.
    pub mappings: Vec<Mapping>,
}

/// Why inputs cannot be rendered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RenderError {
    /// A condition is wrong.
    #[error("input `{input}`: {source}")]
    Condition {
        /// The input's id.
        input: String,
        /// What is wrong.
        source: ConditionError,
    },
    /// A reference is wrong; a missing variable is no error.
    #[error("input `{input}`: {source}")]
    Variable {
        /// The input's id.
        input: String,
        /// What is wrong.
        source: VariableError,
    },
    /// `condition` is not a text or a boolean.
    #[error("input `{input}`: `condition` must be a text")]
    NotACondition {
        /// The input's id.
        input: String,
    },
}

/// Renders `inputs`. An input with a missing variable is left out, as are inputs and streams whose condition is false
/// and inputs that lose their last stream that way.
///
/// # Errors
/// The first condition or reference that is not valid.
pub fn render_inputs(
    inputs: &[Value],
    variables: &Variables,
    dynamic: &[DynamicProvider],
) -> Result<Vec<Value>, RenderError> {
    let mut rendered: Vec<Value> = Vec::new();
    for input in inputs {
        for candidate in copies(input, variables, dynamic) {
            if let Some(input) = render_input(&candidate.input, &candidate.variables)?
                && !rendered.contains(&input)
            {
                rendered.push(input);
            }
        }
    }
    Ok(rendered)
}

struct Candidate {
    input: Value,
    variables: Variables,
}

/// The input itself, or one copy for each mapping of the first dynamic provider that it uses.
fn copies(input: &Value, variables: &Variables, dynamic: &[DynamicProvider]) -> Vec<Candidate> {
    let names = variables::names_in(input);
    let used = dynamic.iter().find(|provider| {
        names
            .iter()
            .any(|name| name.split_once('.').is_some_and(|(head, _)| head == provider.name))
    });
    let Some(provider) = used else {
        return vec![Candidate {
            input: input.clone(),
            variables: variables.clone(),
        }];
    };
    let copy = |mapping: &Mapping| Candidate {
        input: copy_for(input, mapping),
        variables: variables.clone().with(&provider.name, mapping.variables.clone()),
    };
    provider.mappings.iter().map(copy).collect()
}

fn copy_for(input: &Value, mapping: &Mapping) -> Value {
    let mut input = input.clone();
    let Some(map) = input.as_object_mut() else { return input };
    let id = input_id(map);
    map.insert("id".to_owned(), Value::String(format!("{id}-{}", mapping.id)));
    map.insert("original_id".to_owned(), Value::String(id));
    if !mapping.processors.is_empty() {
        let own = map
            .get("processors")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        map.insert(
            "processors".to_owned(),
            mapping.processors.iter().cloned().chain(own).collect(),
        );
    }
    input
}

/// `id`, which defaults to the type.
fn input_id(input: &Map<String, Value>) -> String {
    let text = |key: &str| input.get(key).and_then(Value::as_str);
    text("id").or_else(|| text("type")).unwrap_or_default().to_owned()
}

fn render_input(input: &Value, variables: &Variables) -> Result<Option<Value>, RenderError> {
    let Some(map) = input.as_object() else {
        return Ok(Some(input.clone()));
    };
    let id = input_id(map);
    if !is_wanted(map, variables, &id)? {
        return Ok(None);
    }
    let mut map = map.clone();
    map.remove("condition");
    if let Some(Value::Array(streams)) = map.get_mut("streams") {
        let had_some = !streams.is_empty();
        let mut wanted = Vec::with_capacity(streams.len());
        for stream in streams.drain(..) {
            wanted.extend(wanted_stream(stream, variables, &id)?);
        }
        *streams = wanted;
        if had_some && streams.is_empty() {
            return Ok(None);
        }
    }
    match variables::substitute(&Value::Object(map), variables) {
        Ok(input) => Ok(Some(input)),
        Err(VariableError::Missing { .. }) => Ok(None),
        Err(source) => Err(RenderError::Variable { input: id, source }),
    }
}

fn wanted_stream(mut stream: Value, variables: &Variables, input: &str) -> Result<Option<Value>, RenderError> {
    let Some(map) = stream.as_object_mut() else {
        return Ok(Some(stream));
    };
    if !is_wanted(map, variables, input)? {
        return Ok(None);
    }
    map.remove("condition");
    Ok(Some(stream))
}

fn is_wanted(map: &Map<String, Value>, variables: &Variables, input: &str) -> Result<bool, RenderError> {
    let text = match map.get("condition") {
        None | Some(Value::Null) => return Ok(true),
        Some(Value::Bool(wanted)) => return Ok(*wanted),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(true),
        Some(Value::String(text)) => text,
        Some(_) => {
            return Err(RenderError::NotACondition {
                input: input.to_owned(),
            });
        }
    };
    let answer = Condition::parse(text).and_then(|condition| condition.evaluate(variables));
    answer.map_err(|source| RenderError::Condition {
        input: input.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn variables() -> Variables {
        Variables::new()
            .with("host", json!({"platform": "linux"}))
            .with("env", json!({"DIR": "/srv"}))
    }

    #[track_caller]
    fn check(input: Value, expected: Value) {
        let rendered = render_inputs(&[input], &variables(), &[]).unwrap();
        assert_eq!(Value::Array(rendered), expected);
    }

    #[test]
    fn conditions_and_variables_are_decided() {
        check(
            json!({"type": "a", "condition": "${host.platform} == 'windows'"}),
            json!([]),
        );
        check(
            json!({"type": "a", "condition": "${host.platform} == 'linux'", "p": "${DIR}/x"}),
            json!([{"type": "a", "p": "/srv/x"}]),
        );
        check(json!({"type": "a", "p": "${env.NOPE}"}), json!([]));
        check(
            json!({"type": "a", "streams": [{"id": "1", "condition": "false"}, {"id": "2"}]}),
            json!([{"type": "a", "streams": [{"id": "2"}]}]),
        );
        check(
            json!({"type": "a", "streams": [{"id": "1", "condition": "false"}]}),
            json!([]),
        );
        check(
            json!({"type": "a", "streams": []}),
            json!([{"type": "a", "streams": []}]),
        );
    }

    #[test]
    fn errors_name_the_input() {
        let error = render_inputs(&[json!({"id": "x", "condition": "1 +"})], &variables(), &[]).unwrap_err();
        assert!(error.to_string().starts_with("input `x`: condition `1 +`"), "{error}");
        let error = render_inputs(&[json!({"type": "t", "p": "${a"})], &variables(), &[]).unwrap_err();
        assert!(error.to_string().starts_with("input `t`:"), "{error}");
    }

    #[test]
    fn a_dynamic_provider_makes_one_copy_for_each_mapping() {
        let mapping = |id: &str, port: u16| Mapping {
            id: id.into(),
            variables: json!({"port": port}),
            processors: vec![json!({"add_tags": {"tags": [id]}})],
        };
        let dynamic = [DynamicProvider {
            name: "local_dynamic".into(),
            mappings: vec![mapping("0", 1), mapping("1", 2)],
        }];
        let inputs = [json!({"id": "in", "type": "tcp", "port": "${local_dynamic.port}", "processors": [{"x": 1}]})];
        let rendered = render_inputs(&inputs, &variables(), &dynamic).unwrap();
        assert_eq!(rendered.len(), 2);
        assert_eq!(
            rendered[1],
            json!({"id": "in-1", "type": "tcp", "port": 2, "original_id": "in",
            "processors": [{"add_tags": {"tags": ["1"]}}, {"x": 1}]})
        );
    }
}
