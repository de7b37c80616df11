//! `inputs` of a policy: one for each enabled input of each package policy, with its rendered streams.

use serde_json::{Map, Value, json};

use crate::compile::{Form, PolicyInputs, Secrets, is_set, merge, output_key};
use crate::model::{FleetServerHost, PackagePolicy, PolicyInput, PolicyStream};
use crate::outputs::{Chosen, fleet_server_output_key, has_fleet_server_output, host_secret, set};

pub(crate) fn section(
    inputs: &PolicyInputs<'_>,
    chosen: &Chosen<'_>,
    host: Option<&FleetServerHost>,
    secrets: &mut Secrets,
) -> Vec<Value> {
    let mut section = Vec::new();
    for package_policy in inputs.package_policies.iter().filter(|policy| policy.enabled) {
        package_policy
            .secret_references
            .iter()
            .for_each(|reference| secrets.note(reference));
        for input in package_policy.inputs.iter().filter(|input| runs(input)) {
            let mut compiled = compiled_input(inputs, chosen, package_policy, input);
            if let Some(host) = host.filter(|_| input.kind == "fleet-server" && inputs.form == Form::Fleet) {
                put_fleet_server_tls(inputs, &mut compiled, host, secrets);
            }
            section.push(Value::Object(compiled));
        }
    }
    section
}

/// An input with data streams needs an enabled one; an input without any (Fleet Server) runs by itself.
fn runs(input: &PolicyInput) -> bool {
    input.enabled && (input.streams.is_empty() || input.streams.iter().any(|stream| stream.enabled))
}

fn compiled_input(
    inputs: &PolicyInputs<'_>,
    chosen: &Chosen<'_>,
    package_policy: &PackagePolicy,
    input: &PolicyInput,
) -> Map<String, Value> {
    let mut compiled = Map::new();
    let id = input_id(package_policy, input);
    compiled.insert("id".into(), id.clone().into());
    compiled.insert("revision".into(), package_policy.revision.into());
    compiled.insert("name".into(), package_policy.name.clone().into());
    compiled.insert("type".into(), input.kind.clone().into());
    compiled.insert(
        "data_stream".into(),
        json!({"namespace": namespace_of(inputs, package_policy)}),
    );
    compiled.insert(
        "use_output".into(),
        output_key(chosen.of(package_policy.output_id.as_ref())).into(),
    );
    compiled.insert("package_policy_id".into(), package_policy.id.clone().into());
    for (key, value) in input
        .compiled_input
        .iter()
        .flatten()
        .filter(|(key, _)| *key != "condition")
    {
        compiled.insert(key.clone(), value.clone());
    }
    if let Some(condition) = condition_of(input.compiled_input.as_ref(), input.condition.as_deref()) {
        compiled.insert("condition".into(), condition.into());
    }
    let streams: Vec<Value> = input
        .streams
        .iter()
        .filter(|stream| stream.enabled)
        .map(|stream| compiled_stream(package_policy, input, stream))
        .collect();
    if !streams.is_empty() {
        compiled.insert("streams".into(), streams.into());
    }
    if let Some(processor) = global_data_tags(inputs) {
        let own = compiled.entry("processors").or_insert_with(|| json!([]));
        if let Some(list) = own.as_array_mut() {
            list.push(processor);
        }
    }
    if let Some(package) = &package_policy.package {
        compiled.insert("meta".into(), json!({"package": package_meta(inputs, package, input)}));
    }
    merge_config(&mut compiled, input.config.as_ref());
    let overrides = package_policy
        .overrides
        .as_ref()
        .and_then(|overrides| overrides.get("inputs")?.get(&id)?.as_object());
    if let Some(overrides) = overrides {
        merge(&mut compiled, overrides);
    }
    compiled
}

/// `{type}-{policy_template}-{package policy id}`; Elastic Defend knows its input by the package policy's id alone.
pub(crate) fn input_id(package_policy: &PackagePolicy, input: &PolicyInput) -> String {
    match &input.policy_template {
        _ if input.kind == "endpoint" => package_policy.id.clone(),
        Some(template) => format!("{}-{template}-{}", input.kind, package_policy.id),
        None => format!("{}-{}", input.kind, package_policy.id),
    }
}

pub(crate) fn namespace_of<'a>(inputs: &'a PolicyInputs<'_>, package_policy: &'a PackagePolicy) -> &'a str {
    if package_policy.namespace.is_empty() {
        &inputs.policy.namespace
    } else {
        &package_policy.namespace
    }
}

/// What the template says and what the package policy says must both hold.
fn condition_of(compiled: Option<&Map<String, Value>>, own: Option<&str>) -> Option<String> {
    let compiled = compiled.and_then(|compiled| compiled.get("condition")?.as_str());
    match (
        compiled.filter(|text| !text.is_empty()),
        own.filter(|text| !text.is_empty()),
    ) {
        (Some(one), Some(other)) => Some(format!("({one}) and ({other})")),
        (one, other) => one.or(other).map(str::to_owned),
    }
}

fn compiled_stream(package_policy: &PackagePolicy, input: &PolicyInput, stream: &PolicyStream) -> Value {
    let mut target = Map::new();
    target.insert("type".into(), stream.data_stream.kind.clone().into());
    target.insert("dataset".into(), stream.data_stream.dataset.clone().into());
    if let Some(elasticsearch) = stream.data_stream.elasticsearch.as_ref().filter(|value| is_set(value)) {
        target.insert("elasticsearch".into(), elasticsearch.clone());
    }
    let rendered = stream.compiled_stream.clone().unwrap_or_default();
    if let Some(own) = rendered.get("data_stream").and_then(Value::as_object) {
        merge(&mut target, own);
    }
    if let Some(kind) = chosen_type(stream) {
        target.insert("type".into(), kind.into());
    }
    let id = stream
        .id
        .clone()
        .unwrap_or_else(|| stream_id(&package_policy.id, &input.kind, &stream.data_stream.dataset));
    let mut compiled = Map::new();
    compiled.insert("id".into(), id.into());
    compiled.insert("data_stream".into(), target.into());
    let condition = condition_of(Some(&rendered), stream.condition.as_deref());
    compiled.extend(rendered.into_iter().filter(|(key, _)| key != "data_stream"));
    if let Some(condition) = condition {
        compiled.insert("condition".into(), condition.into());
    }
    merge_config(&mut compiled, stream.config.as_ref());
    Value::Object(compiled)
}

/// Id of a stream.
pub(crate) fn stream_id(package_policy_id: &str, input: &str, dataset: &str) -> String {
    format!("{input}-{dataset}-{package_policy_id}")
}

/// A variable `data_stream.type` lets the user choose between logs and metrics.
fn chosen_type(stream: &PolicyStream) -> Option<&str> {
    stream
        .vars
        .as_ref()?
        .get("data_stream.type")?
        .get("value")?
        .as_str()
        .filter(|kind| !kind.is_empty())
}

fn merge_config(compiled: &mut Map<String, Value>, config: Option<&Map<String, Value>>) {
    for (key, setting) in config.into_iter().flatten() {
        let Some(value) = setting.get("value").filter(|value| !value.is_null()) else {
            continue;
        };
        match (compiled.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            _ => {
                compiled.insert(key.clone(), value.clone());
            }
        }
    }
}

fn global_data_tags(inputs: &PolicyInputs<'_>) -> Option<Value> {
    let tags = inputs
        .policy
        .global_data_tags
        .as_ref()
        .filter(|tags| !tags.is_empty())?;
    let fields: Map<String, Value> = tags.iter().map(|tag| (tag.name.clone(), tag.value.clone())).collect();
    Some(json!({"add_fields": {"target": "", "fields": fields}}))
}

fn package_meta(
    inputs: &PolicyInputs<'_>,
    package: &crate::model::PackageReference,
    input: &PolicyInput,
) -> Map<String, Value> {
    let mut meta = Map::new();
    meta.insert("name".into(), package.name.clone().into());
    meta.insert("version".into(), package.version.clone().into());
    set(&mut meta, "policy_template", json!(input.policy_template));
    if let Some(installed) = inputs.package(&package.name) {
        meta.insert("release".into(), installed.release().into());
        set(
            &mut meta,
            "agentVersion",
            installed
                .conditions
                .pointer("/agent/version")
                .cloned()
                .unwrap_or_default(),
        );
    }
    meta
}

/// The host's own leg on 8220, and the output for Fleet Server's way to Elasticsearch.
fn put_fleet_server_tls(
    inputs: &PolicyInputs<'_>,
    compiled: &mut Map<String, Value>,
    host: &FleetServerHost,
    secrets: &mut Secrets,
) {
    if let Some(settings) = &host.ssl {
        let mut tls = Map::new();
        set(
            &mut tls,
            "certificate_authorities",
            json!(settings.certificate_authorities),
        );
        set(&mut tls, "certificate", json!(settings.certificate));
        set(&mut tls, "key", json!(settings.key));
        set(&mut tls, "client_authentication", json!(settings.client_auth));
        if host_secret(host, "key").is_some() {
            tls.remove("key");
        }
        set(compiled, "ssl", tls.into());
    }
    if let Some(key) = host_secret(host, "key") {
        secrets.note(key);
        compiled.insert("secrets".into(), json!({"ssl": {"key": key}}));
    }
    if has_fleet_server_output(inputs, host) {
        compiled.insert("use_output".into(), fleet_server_output_key(host).into());
    }
}
