//! The simplified form of package policies: inputs as a map, variables as plain values.
//!
//! Source: fleet-api, package policies.

use packages::Package;
use serde_json::{Map, Value};

use crate::model::{PolicyInput, PolicyStream};
use crate::package_policy::{PackagePolicyError, default_inputs, default_vars};

/// Inputs, and the variables of the package as a whole, in the form in which they are kept.
pub type FullForm = (Vec<PolicyInput>, Option<Map<String, Value>>);

/// Reads the simplified `inputs` and `vars`; what they leave out has the package's defaults.
///
/// # Errors
/// A key or variable that the package does not have.
pub fn read(
    package: &Package,
    inputs: &Map<String, Value>,
    vars: Option<&Map<String, Value>>,
) -> Result<FullForm, PackagePolicyError> {
    let mut full = default_inputs(package);
    for (key, given) in inputs {
        let input = full.iter_mut().find(|input| input_key(input) == *key).ok_or_else(|| {
            PackagePolicyError::Unknown(format!(
                "the package {} {} has no input `{key}`",
                package.name, package.version
            ))
        })?;
        read_input(package, input, key, given)?;
    }
    let mut package_vars = default_vars(package);
    put_values(&mut package_vars, vars, "the package")?;
    Ok((full, package_vars))
}

fn read_input(package: &Package, input: &mut PolicyInput, key: &str, given: &Value) -> Result<(), PackagePolicyError> {
    input.enabled = given.get("enabled").and_then(Value::as_bool).unwrap_or(true);
    if !input.enabled {
        input.streams.iter_mut().for_each(|stream| stream.enabled = false);
    }
    if let Some(condition) = given.get("condition").and_then(Value::as_str) {
        input.condition = Some(condition.to_owned());
    }
    put_values(
        &mut input.vars,
        given.get("vars").and_then(Value::as_object),
        &format!("the input `{key}`"),
    )?;
    for (name, settings) in given.get("streams").and_then(Value::as_object).into_iter().flatten() {
        let is_named = |stream: &&mut PolicyStream| stream_key(package, stream) == *name;
        let stream = input
            .streams
            .iter_mut()
            .find(is_named)
            .ok_or_else(|| PackagePolicyError::Unknown(format!("the input `{key}` has no stream `{name}`")))?;
        stream.enabled = settings.get("enabled").and_then(Value::as_bool).unwrap_or(true);
        if let Some(condition) = settings.get("condition").and_then(Value::as_str) {
            stream.condition = Some(condition.to_owned());
        }
        let vars = settings.get("vars").and_then(Value::as_object);
        put_values(&mut stream.vars, vars, &format!("the stream `{name}`"))?;
    }
    Ok(())
}

fn put_values(
    vars: &mut Option<Map<String, Value>>,
    given: Option<&Map<String, Value>>,
    place: &str,
) -> Result<(), PackagePolicyError> {
    for (name, value) in given.into_iter().flatten() {
        let known = vars
            .as_mut()
            .and_then(|vars| vars.get_mut(name))
            .and_then(Value::as_object_mut);
        let known = known.ok_or_else(|| PackagePolicyError::Unknown(format!("{place} has no variable `{name}`")))?;
        known.insert("value".into(), value.clone());
    }
    Ok(())
}

/// Writes inputs in the simplified form.
pub fn write_inputs(package: Option<&Package>, inputs: &[PolicyInput]) -> Value {
    let of_input = |input: &PolicyInput| {
        let mut entry = Map::new();
        entry.insert("enabled".into(), input.enabled.into());
        put_condition(&mut entry, input.condition.as_deref());
        if let Some(vars) = &input.vars {
            entry.insert("vars".into(), write_vars(vars));
        }
        let of_stream = |stream: &PolicyStream| {
            let key = match package {
                Some(package) => stream_key(package, stream),
                None => stream.data_stream.dataset.clone(),
            };
            let mut entry = Map::new();
            entry.insert("enabled".into(), stream.enabled.into());
            put_condition(&mut entry, stream.condition.as_deref());
            if let Some(vars) = &stream.vars {
                entry.insert("vars".into(), write_vars(vars));
            }
            (key, Value::Object(entry))
        };
        let streams: Map<String, Value> = input.streams.iter().map(of_stream).collect();
        if !streams.is_empty() {
            entry.insert("streams".into(), streams.into());
        }
        (input_key(input), Value::Object(entry))
    };
    Value::Object(inputs.iter().map(of_input).collect())
}

fn put_condition(entry: &mut Map<String, Value>, condition: Option<&str>) {
    if let Some(condition) = condition {
        entry.insert("condition".into(), condition.into());
    }
}

/// Writes variables as plain values; those without one are left out.
pub fn write_vars(vars: &Map<String, Value>) -> Value {
    let plain = |(name, variable): (&String, &Value)| Some((name.clone(), variable.get("value")?.clone()));
    Value::Object(vars.iter().filter_map(plain).collect())
}

fn input_key(input: &PolicyInput) -> String {
    match &input.policy_template {
        Some(template) => format!("{template}-{}", input.kind),
        None => input.kind.clone(),
    }
}

/// `{package}.{folder of the data stream}`; for input packages the dataset.
fn stream_key(package: &Package, stream: &PolicyStream) -> String {
    let folder = package
        .data_stream(&stream.data_stream.dataset)
        .map(|data_stream| data_stream.path.as_str());
    match folder {
        Some(folder) if !package.is_input() => format!("{}.{folder}", package.name),
        _ => stream.data_stream.dataset.clone(),
    }
}
