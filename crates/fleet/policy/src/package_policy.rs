//! A package policy and its package: defaults of a new one, completion of a given one, checks, rendering.

use packages::compile::{self, Variables};
use packages::{DataStream, InputDefinition, Package, PolicyTemplate, Var};
use serde_json::{Map, Value, json};

use crate::inputs::{input_id, stream_id};
use crate::model::{PackagePolicy, PackageReference, PolicyInput, PolicyStream, StreamTarget};

/// What is wrong with a package policy.
#[derive(Debug, thiserror::Error)]
pub enum PackagePolicyError {
    /// Variables that lack a value or have one of the wrong kind: `place: message`.
    #[error("package policy is invalid: {}", .0.join("; "))]
    Invalid(Vec<String>),
    /// A template that does not render with these variables.
    #[error("package policy `{name}` cannot be compiled at {place}: {source}")]
    Template {
        /// Name of the package policy.
        name: String,
        /// Input, and stream if it is one.
        place: String,
        /// Why.
        #[source]
        source: compile::CompileError,
    },
    /// An input, stream or variable that the package does not have.
    #[error("{0}")]
    Unknown(String),
}

/// The inputs of a new package policy: everything the package has, with its defaults.
pub fn default_inputs(package: &Package) -> Vec<PolicyInput> {
    let of_template = |template| inputs_of(package, template);
    package.policy_templates.iter().flat_map(of_template).collect()
}

/// Variables of the package as a whole, with their defaults.
pub fn default_vars(package: &Package) -> Option<Map<String, Value>> {
    let vars = vars_of(&package.vars);
    (!vars.is_empty()).then_some(vars)
}

/// What a package policy says about its package.
pub fn reference_to(package: &Package) -> PackageReference {
    PackageReference {
        name: package.name.clone(),
        title: package.title.clone(),
        version: package.version.clone(),
        other: Map::new(),
    }
}

fn inputs_of(package: &Package, template: &PolicyTemplate) -> Vec<PolicyInput> {
    let of_input = |input: &InputDefinition| {
        let streams: Vec<PolicyStream> = package
            .data_streams_of(template)
            .filter_map(|stream| default_stream(stream, &input.kind))
            .collect();
        let vars = vars_of(template.vars.iter().chain(&input.vars));
        PolicyInput {
            kind: input.kind.clone(),
            policy_template: Some(template.name.clone()),
            enabled: streams.is_empty() || streams.iter().any(|stream| stream.enabled),
            vars: (!vars.is_empty()).then_some(vars),
            streams,
            ..PolicyInput::default()
        }
    };
    template.inputs.iter().map(of_input).collect()
}

fn default_stream(data_stream: &DataStream, input: &str) -> Option<PolicyStream> {
    let stream = data_stream.stream(input)?;
    let privileges = data_stream.elasticsearch.get("privileges").cloned();
    Some(PolicyStream {
        enabled: stream.enabled,
        data_stream: StreamTarget {
            kind: data_stream.kind.clone(),
            dataset: data_stream.dataset.clone(),
            elasticsearch: privileges.map(|privileges| json!({"privileges": privileges})),
        },
        vars: Some(vars_of(&stream.vars)),
        ..PolicyStream::default()
    })
}

fn vars_of<'a>(vars: impl IntoIterator<Item = &'a Var>) -> Map<String, Value> {
    let with_default = |var: &Var| {
        let mut entry = Map::new();
        entry.insert("type".into(), var.kind.clone().into());
        if let Some(default) = default_of(var) {
            entry.insert("value".into(), default);
        }
        (var.name.clone(), Value::Object(entry))
    };
    vars.into_iter().map(with_default).collect()
}

fn default_of(var: &Var) -> Option<Value> {
    match &var.default {
        Some(default) => Some(default.clone()),
        None if var.multi => Some(json!([])),
        None if var.kind == "bool" => Some(false.into()),
        None => None,
    }
}

/// Brings a given package policy to the full form: inputs and streams that it leaves out are added, off; variables that it
/// leaves out get their default and their type.
///
/// # Errors
/// An input or stream that the package does not have.
pub fn complete(package: &Package, policy: &mut PackagePolicy) -> Result<(), PackagePolicyError> {
    policy.package = Some(PackageReference {
        other: policy
            .package
            .take()
            .map(|reference| reference.other)
            .unwrap_or_default(),
        ..reference_to(package)
    });
    complete_vars(&mut policy.vars, default_vars(package));
    let mut given = std::mem::take(&mut policy.inputs);
    for mut default in default_inputs(package) {
        let matches = |input: &PolicyInput| {
            let template = input.policy_template.as_ref();
            input.kind == default.kind && template.is_none_or(|name| Some(name) == default.policy_template.as_ref())
        };
        if let Some(position) = given.iter().position(matches) {
            policy.inputs.push(completed_input(given.remove(position), default)?);
        } else {
            default.enabled = false;
            default.streams.iter_mut().for_each(|stream| stream.enabled = false);
            policy.inputs.push(default);
        }
    }
    match given.first() {
        None => Ok(()),
        Some(input) => Err(PackagePolicyError::Unknown(format!(
            "the package {} {} has no input `{}`",
            package.name, package.version, input.kind
        ))),
    }
}

fn completed_input(mut input: PolicyInput, default: PolicyInput) -> Result<PolicyInput, PackagePolicyError> {
    input.policy_template = default.policy_template;
    complete_vars(&mut input.vars, default.vars);
    let mut given = std::mem::take(&mut input.streams);
    for mut stream in default.streams {
        if let Some(position) = given
            .iter()
            .position(|candidate| candidate.data_stream.dataset == stream.data_stream.dataset)
        {
            let mut own = given.remove(position);
            complete_vars(&mut own.vars, stream.vars);
            own.data_stream.elasticsearch = own.data_stream.elasticsearch.or(stream.data_stream.elasticsearch);
            input.streams.push(own);
        } else {
            stream.enabled = false;
            input.streams.push(stream);
        }
    }
    match given.first() {
        None => Ok(input),
        Some(stream) => Err(PackagePolicyError::Unknown(format!(
            "the input `{}` has no data stream `{}`",
            input.kind, stream.data_stream.dataset
        ))),
    }
}

fn complete_vars(vars: &mut Option<Map<String, Value>>, defaults: Option<Map<String, Value>>) {
    let Some(defaults) = defaults else { return };
    let vars = vars.get_or_insert_with(Map::new);
    for (name, default) in defaults {
        match vars.get_mut(&name).and_then(Value::as_object_mut) {
            None => {
                vars.insert(name, default);
            }
            Some(given) => {
                if !given.contains_key("type") {
                    given.insert("type".into(), default["type"].clone());
                }
            }
        }
    }
}

/// Every stored value of a variable that the package declares secret, to be replaced by a reference.
pub fn secret_values<'a>(package: &Package, policy: &'a mut PackagePolicy) -> Vec<&'a mut Value> {
    let mut values = Vec::new();
    collect_secret_values(&mut values, policy.vars.as_mut(), package.vars.iter());
    for input in &mut policy.inputs {
        let template = input
            .policy_template
            .as_ref()
            .and_then(|name| package.policy_template(name));
        let definition = template.and_then(|template| template.inputs.iter().find(|known| known.kind == input.kind));
        let declared = template.iter().flat_map(|template| &template.vars);
        let declared = declared.chain(definition.iter().flat_map(|input| &input.vars));
        collect_secret_values(&mut values, input.vars.as_mut(), declared);
        for stream in &mut input.streams {
            let definition = package.data_stream(&stream.data_stream.dataset);
            let definition = definition.and_then(|data_stream| data_stream.stream(&input.kind));
            let declared = definition.iter().flat_map(|stream| &stream.vars);
            collect_secret_values(&mut values, stream.vars.as_mut(), declared);
        }
    }
    values
}

fn collect_secret_values<'a, 'd>(
    values: &mut Vec<&'a mut Value>,
    vars: Option<&'a mut Map<String, Value>>,
    declared: impl Iterator<Item = &'d Var>,
) {
    let secret: Vec<&str> = declared.filter(|var| var.secret).map(|var| var.name.as_str()).collect();
    for (name, variable) in vars.into_iter().flatten() {
        if secret.contains(&name.as_str()) {
            values.extend(variable.get_mut("value").filter(|value| !value.is_null()));
        }
    }
}

/// The ids of all secrets that its variables refer to.
pub fn secret_ids(policy: &PackagePolicy) -> Vec<String> {
    let mut ids = Vec::new();
    let inputs = policy.inputs.iter().flat_map(|input| {
        let streams = input.streams.iter().filter_map(|stream| stream.vars.as_ref());
        input.vars.iter().chain(streams)
    });
    for variable in policy.vars.iter().chain(inputs).flat_map(Map::values) {
        let Some(reference) = variable.get("value").filter(|value| value["isSecretRef"] == true) else {
            continue;
        };
        ids.extend(reference["id"].as_str().map(str::to_owned));
        let many = reference["ids"].as_array().into_iter().flatten();
        ids.extend(many.filter_map(Value::as_str).map(str::to_owned));
    }
    ids
}

/// Checks the variables of everything that is on.
///
/// # Errors
/// All that is wrong, each with its place.
pub fn check(package: &Package, policy: &PackagePolicy) -> Result<(), PackagePolicyError> {
    let mut errors = Vec::new();
    check_vars(&mut errors, "vars", &package.vars, policy.vars.as_ref());
    for input in policy.inputs.iter().filter(|input| input.enabled && policy.enabled) {
        let Some(template) = input
            .policy_template
            .as_ref()
            .and_then(|name| package.policy_template(name))
        else {
            continue;
        };
        let Some(definition) = template.inputs.iter().find(|known| known.kind == input.kind) else {
            continue;
        };
        let declared: Vec<Var> = template.vars.iter().chain(&definition.vars).cloned().collect();
        let place = format!("inputs.{}", input.kind);
        check_vars(&mut errors, &format!("{place}.vars"), &declared, input.vars.as_ref());
        for stream in input.streams.iter().filter(|stream| stream.enabled) {
            let dataset = &stream.data_stream.dataset;
            let Some(declared) = package.data_stream(dataset).and_then(|known| known.stream(&input.kind)) else {
                continue;
            };
            check_vars(
                &mut errors,
                &format!("{place}.streams.{dataset}.vars"),
                &declared.vars,
                stream.vars.as_ref(),
            );
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(PackagePolicyError::Invalid(errors))
    }
}

fn check_vars(errors: &mut Vec<String>, place: &str, declared: &[Var], given: Option<&Map<String, Value>>) {
    for var in declared {
        let value = given
            .and_then(|vars| vars.get(&var.name)?.get("value"))
            .unwrap_or(&Value::Null);
        if let Some(message) = problem_of(var, value) {
            let title = if var.title.is_empty() { &var.name } else { &var.title };
            errors.push(format!("{place}.{}: {title} {message}", var.name));
        }
    }
}

fn problem_of(var: &Var, value: &Value) -> Option<String> {
    let is_empty = match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    if is_empty {
        return var.required.then(|| "is required".to_owned());
    }
    if value["isSecretRef"] == true {
        return None;
    }
    match value {
        Value::Array(_) if !var.multi && var.kind != "yaml" => Some("takes one value, not a list".to_owned()),
        Value::Array(list) => list.iter().find_map(|item| wrong_kind(var, item)),
        item if var.multi => Some(format!("takes a list, not `{item}`")),
        item => wrong_kind(var, item),
    }
}

fn wrong_kind(var: &Var, value: &Value) -> Option<String> {
    match var.kind.as_str() {
        "bool" => {
            (!value.is_boolean() && value != "true" && value != "false").then(|| "must be true or false".to_owned())
        }
        "integer" => {
            let is_integer = value.is_i64() || value.as_str().is_some_and(|text| text.trim().parse::<i64>().is_ok());
            (!is_integer).then(|| "must be a whole number".to_owned())
        }
        "yaml" => {
            let error = settings::from_yaml_as_written(&var.name, value.as_str()?).err()?;
            Some(format!("is not valid YAML: {error}"))
        }
        "select" => {
            let options = var.other.get("options").and_then(Value::as_array)?;
            let known = options.iter().any(|option| option["value"] == *value);
            (!known).then(|| format!("has no option `{value}`"))
        }
        _ => None,
    }
}

/// Renders the templates of everything that is on, and gives every stream its id.
///
/// # Errors
/// The first template that does not render.
pub fn render(package: &Package, policy: &mut PackagePolicy) -> Result<(), PackagePolicyError> {
    let package_meta = json!({"name": package.name, "title": package.title, "version": package.version});
    let package_vars = policy.vars.clone().unwrap_or_default();
    let (id, name) = (policy.id.clone(), policy.name.clone());
    let ids: Vec<String> = policy.inputs.iter().map(|input| input_id(policy, input)).collect();
    let whole_policy_is_on = policy.enabled;
    for (input, input_id) in policy.inputs.iter_mut().zip(ids) {
        let meta = json!({"package": package_meta, "input": {"id": input_id}});
        let mut input_vars = package_vars.clone();
        extend(&mut input_vars, input.vars.as_ref());
        input.compiled_input = None;
        let is_on = whole_policy_is_on && input.enabled;
        let template = input
            .policy_template
            .as_ref()
            .and_then(|name| package.policy_template(name));
        let template = template.and_then(|template| template.inputs.iter().find(|known| known.kind == input.kind));
        if let Some(text) = template.and_then(|input| input.template.as_deref()).filter(|_| is_on) {
            let error = |source| PackagePolicyError::Template {
                name: name.clone(),
                place: format!("input {}", input.kind),
                source,
            };
            input.compiled_input = Some(compile::compile(text, &input_vars, &meta).map_err(error)?);
        }
        for stream in &mut input.streams {
            let dataset = stream.data_stream.dataset.clone();
            let stream_id = stream_id(&id, &input.kind, &dataset);
            stream.compiled_stream = None;
            let definition = package
                .data_stream(&dataset)
                .and_then(|data_stream| data_stream.stream(&input.kind));
            if let Some(definition) = definition.filter(|_| is_on && stream.enabled) {
                let mut vars = input_vars.clone();
                extend(&mut vars, stream.vars.as_ref());
                let mut meta = meta.clone();
                meta["stream"] =
                    json!({"id": stream_id, "data_stream": {"dataset": dataset, "type": stream.data_stream.kind}});
                let place = format!("input {}, stream {dataset}", input.kind);
                let error = |source| PackagePolicyError::Template {
                    name: name.clone(),
                    place,
                    source,
                };
                stream.compiled_stream = Some(compile::compile(&definition.template, &vars, &meta).map_err(error)?);
            }
            stream.id = Some(stream_id);
        }
    }
    Ok(())
}

fn extend(variables: &mut Variables, scope: Option<&Map<String, Value>>) {
    for (name, variable) in scope.into_iter().flatten() {
        variables.insert(name.clone(), variable.clone());
    }
}
