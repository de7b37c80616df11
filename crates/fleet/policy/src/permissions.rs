//! `output_permissions` of a policy: what the API key of each output may do.

use packages::Package;
use serde_json::{Map, Value, json};

use crate::compile::{PolicyInputs, output_key};
use crate::inputs::namespace_of;
use crate::model::{FleetServerHost, Output, PackagePolicy, PolicyStream};
use crate::outputs::{Chosen, fleet_server_output_key, has_fleet_server_output};

const WRITE: [&str; 2] = ["auto_configure", "create_doc"];

/// Datasets of the agents' own data streams, for when the package that defines them is not installed.
const MONITORING_DATASETS: [&str; 17] = [
    "elastic_agent",
    "elastic_agent.elastic_agent",
    "elastic_agent.apm_server",
    "elastic_agent.filebeat",
    "elastic_agent.filebeat_input",
    "elastic_agent.fleet_server",
    "elastic_agent.metricbeat",
    "elastic_agent.osquerybeat",
    "elastic_agent.packetbeat",
    "elastic_agent.endpoint_security",
    "elastic_agent.auditbeat",
    "elastic_agent.heartbeat",
    "elastic_agent.cloudbeat",
    "elastic_agent.cloud_defend",
    "elastic_agent.pf_host_agent",
    "elastic_agent.pf_elastic_collector",
    "elastic_agent.pf_elastic_symbolizer",
];

/// Packages whose agents write to data streams that no stream of the policy names.
const ALL_DATA_STREAMS: [&str; 3] = ["endpoint", "apm", "osquery_manager"];

pub(crate) fn section(
    inputs: &PolicyInputs<'_>,
    chosen: &Chosen<'_>,
    host: Option<&FleetServerHost>,
) -> Map<String, Value> {
    let mut section = Map::new();
    if let Some(host) = host.filter(|host| has_fleet_server_output(inputs, host)) {
        // An output without an entry makes a stock Fleet Server fail the check-in.
        section.insert(fleet_server_output_key(host), json!({}));
    }
    for output in chosen.all().into_iter().filter(|output| output.is_elasticsearch()) {
        section.insert(output_key(output).to_owned(), of_output(inputs, chosen, output).into());
    }
    section
}

fn of_output(inputs: &PolicyInputs<'_>, chosen: &Chosen<'_>, output: &Output) -> Map<String, Value> {
    let mut roles = Map::new();
    if output.id == chosen.monitoring.id {
        roles.insert(
            "_elastic_agent_monitoring".into(),
            json!({"indices": monitoring(inputs)}),
        );
    }
    roles.insert("_elastic_agent_checks".into(), json!({"cluster": ["monitor"]}));
    for package_policy in inputs.package_policies.iter().filter(|policy| policy.enabled) {
        if chosen.of(package_policy.output_id.as_ref()).id == output.id
            && let Some(role) = of_package_policy(inputs, package_policy)
        {
            roles.insert(package_policy.id.clone(), role);
        }
    }
    if output.write_to_logs_streams == Some(true) {
        let indices = json!([{"names": ["logs", "logs.*"], "privileges": WRITE}]);
        roles.insert("_write_to_logs_streams".into(), json!({"indices": indices}));
    }
    roles
}

fn monitoring(inputs: &PolicyInputs<'_>) -> Vec<Value> {
    let namespace = &inputs.policy.namespace;
    let kinds = ["logs", "metrics", "traces"]
        .into_iter()
        .filter(|kind| inputs.policy.monitors(kind));
    if let Some(package) = inputs.package("elastic_agent") {
        let kinds: Vec<&str> = kinds.collect();
        let streams = package
            .data_streams
            .iter()
            .filter(|stream| kinds.contains(&stream.kind.as_str()));
        return streams
            .map(|stream| json!({"names": [format!("{}-{}-{namespace}", stream.kind, stream.dataset)], "privileges": WRITE}))
            .collect();
    }
    let name = |kind: &str, dataset: &str| format!("{kind}-{dataset}-{namespace}");
    let names: Vec<String> = kinds
        .filter(|kind| *kind != "traces")
        .flat_map(|kind| MONITORING_DATASETS.iter().map(move |dataset| name(kind, dataset)))
        .collect();
    if names.is_empty() {
        Vec::new()
    } else {
        vec![json!({"names": names, "privileges": WRITE})]
    }
}

fn of_package_policy(inputs: &PolicyInputs<'_>, package_policy: &PackagePolicy) -> Option<Value> {
    let package = package_policy
        .package
        .as_ref()
        .and_then(|package| inputs.package(&package.name));
    let namespace = namespace_of(inputs, package_policy);
    let mut indices: Vec<Value> =
        if let Some(package) = package.filter(|package| ALL_DATA_STREAMS.contains(&package.name.as_str())) {
            package
    .data_streams
    .iter()
    .map(|stream| json!({"names": [format!("{}-{}-{namespace}", stream.kind, stream.dataset)], "privileges": WRITE}))
    .collect()
        } else {
            let enabled = package_policy.inputs.iter().filter(|input| input.enabled);
            let streams = enabled.flat_map(|input| input.streams.iter().filter(|stream| stream.enabled));
            streams.map(|stream| of_stream(package, stream, namespace)).collect()
        };
    indices.extend(additional_data_streams(package_policy));
    let cluster = package
        .map(|package| package.cluster_privileges.clone())
        .unwrap_or_default();
    if indices.is_empty() && cluster.is_empty() {
        return None;
    }
    let mut role = Map::new();
    if !cluster.is_empty() {
        role.insert("cluster".into(), json!(cluster));
    }
    role.insert("indices".into(), indices.into());
    Some(role.into())
}

fn of_stream(package: Option<&Package>, stream: &PolicyStream, namespace: &str) -> Value {
    let defined = package.and_then(|package| package.data_stream(&stream.data_stream.dataset));
    let chosen = stream
        .vars
        .as_ref()
        .and_then(|vars| vars.get("data_stream.type")?.get("value")?.as_str());
    let kind = chosen.unwrap_or(&stream.data_stream.kind);
    let compiled = stream.compiled_stream.as_ref().and_then(|compiled| {
        let nested = compiled.get("data_stream").and_then(|target| target.get("dataset"));
        nested.or_else(|| compiled.get("data_stream.dataset"))?.as_str()
    });
    let dataset = match defined {
        Some(stream) if stream.has_dynamic_dataset() => "*".to_owned(),
        Some(stream) if stream.dataset_is_prefix => format!("{}.*", stream.dataset),
        _ => compiled.unwrap_or(&stream.data_stream.dataset).to_owned(),
    };
    let namespace = if defined.is_some_and(packages::DataStream::has_dynamic_namespace) {
        "*"
    } else {
        namespace
    };
    let dot = if defined.is_some_and(|stream| stream.hidden) {
        "."
    } else {
        ""
    };
    let privileges = defined.and_then(packages::DataStream::index_privileges);
    let privileges = privileges.unwrap_or_else(|| WRITE.map(str::to_owned).to_vec());
    json!({"names": [format!("{dot}{kind}-{dataset}-{namespace}")], "privileges": privileges})
}

fn additional_data_streams(package_policy: &PackagePolicy) -> Option<Value> {
    let names = package_policy
        .other
        .get("additional_datastreams_permissions")?
        .as_array()?;
    (!names.is_empty()).then(|| json!({"names": names, "privileges": WRITE}))
}
