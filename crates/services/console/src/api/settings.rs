//! Settings, the audit log, data streams.

use std::sync::Arc;

use serde_json::{Value, json};

use super::call::{Call, Reply, bare_answer_of, item};
use super::error::ApiError;
use super::schema::{Field, Kind, NATURAL, TEXTS, field, flag, text};
use crate::Console;
use crate::domain::documents::AGENT_POLICIES;
use crate::domain::{
    agent_policies, audit, data_streams as streams, download_sources, fleet_server_hosts, fleet_state, outputs,
    proxies, settings as domain,
};

const DELETE_UNENROLLED: &[Field] = &[flag("enabled").required(), flag("is_preconfigured").default("false")];
pub(super) const BODY: &[Field] = &[
    flag("has_seen_add_data_notice"),
    flag("prerelease_integrations_enabled"),
    field("delete_unenrolled_agents", Kind::Object(DELETE_UNENROLLED)),
    text("additional_yaml_config"),
    field("kibana_urls", TEXTS),
    text("kibana_ca_sha256"),
    field("integration_knowledge_enabled", Kind::Bool),
];
pub(super) const SPACE_BODY: &[Field] = &[field("allowed_namespace_prefixes", TEXTS)];
pub(super) const ENROLLMENT_QUERY: &[Field] = &[text("agentPolicyId")];
pub(super) const AUDIT_QUERY: &[Field] = &[field("perPage", NATURAL).default("100")];

pub(super) async fn read(console: Arc<Console>, _call: Call) -> Result<Reply, ApiError> {
    item(domain::read(&console).await?)
}

pub(super) async fn update(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    item(domain::update(&console, &call.actor(), call.body).await?)
}

pub(super) async fn read_space(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    item(domain::read_space(&console, &call.space).await?)
}

pub(super) async fn update_space(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    item(domain::update_space(&console, &call.actor(), call.body).await?)
}

pub(super) async fn audit_log(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let records = audit::newest(&console, call.page().per_page.min(10_000)).await?;
    let unpacked = |value: &Value| {
        value
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or(Value::Null)
    };
    let items: Vec<Value> = records
        .into_iter()
        .map(|record| {
            let mut fields = Value::Object(record.fields);
            fields["before"] = unpacked(&fields["before"]);
            fields["after"] = unpacked(&fields["after"]);
            fields
        })
        .collect();
    Ok(Reply::Json(json!({"items": items})))
}

pub(super) async fn data_streams(console: Arc<Console>, _call: Call) -> Result<Reply, ApiError> {
    let list: Vec<Value> = streams::list(&console)
        .await?
        .iter()
        .map(streams::DataStream::to_json)
        .collect();
    Ok(Reply::Json(json!({"data_streams": list})))
}

pub(super) async fn enrollment(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let with_fleet_server = agent_policies::with_package(&console, "fleet_server").await?;
    let policies: Vec<Value> = agent_policies::list(&console)
        .await?
        .into_iter()
        .filter(|policy| with_fleet_server.contains(&policy.id))
        .map(|policy| {
            json!({
                "id": policy.id, "name": policy.name, "is_managed": policy.is_managed, "has_fleet_server": true,
                "is_default_fleet_server": policy.other.get("is_default_fleet_server"),
                "fleet_server_host_id": policy.fleet_server_host_id, "download_source_id": policy.download_source_id,
                "data_output_id": policy.data_output_id, "space_ids": policy.space_ids,
            })
        })
        .collect();
    let chosen = match call.text("agentPolicyId") {
        Some(id) => Some(
            console
                .require(&AGENT_POLICIES, id)
                .await?
                .parse::<policy::model::AgentPolicy>(&AGENT_POLICIES)?,
        ),
        None => None,
    };
    let named = |field: fn(&policy::model::AgentPolicy) -> Option<&String>| chosen.as_ref().and_then(field).cloned();
    let host_id = named(|policy| policy.fleet_server_host_id.as_ref());
    let host = fleet_server_hosts::list(&console)
        .await?
        .into_iter()
        .find(|host| host_id.as_ref().map_or(host.is_default, |id| host.id == *id));
    let output_id = named(|policy| policy.data_output_id.as_ref());
    let output = outputs::list(&console)
        .await?
        .into_iter()
        .find(|output| output_id.as_ref().map_or(output.is_default, |id| output.id == *id));
    let source_id = named(|policy| policy.download_source_id.as_ref());
    let source = download_sources::list(&console)
        .await?
        .into_iter()
        .find(|source| source_id.as_ref().map_or(source.is_default, |id| source.id == *id));
    let all_proxies = proxies::list(&console).await?;
    let proxy =
        |id: Option<String>| id.and_then(|id| all_proxies.iter().find(|proxy| proxy.id == id).map(bare_answer_of));
    let mut fleet_server = json!({"policies": policies, "has_active": fleet_state::has_fleet_server(&console).await?});
    let mut body = json!({});
    if let Some(host) = host {
        put(&mut fleet_server, "host_proxy", proxy(host.proxy_id.clone()));
        put(&mut fleet_server, "host", Some(bare_answer_of(host)));
    }
    if let Some(output) = output {
        put(&mut fleet_server, "es_output_proxy", proxy(output.proxy_id.clone()));
        put(&mut fleet_server, "es_output", Some(bare_answer_of(output)));
    }
    if let Some(source) = source {
        put(&mut body, "download_source_proxy", proxy(source.proxy_id.clone()));
        put(&mut body, "download_source", Some(bare_answer_of(source)));
    }
    body["fleet_server"] = fleet_server;
    Ok(Reply::Json(body))
}

fn put(object: &mut Value, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        object[key] = value;
    }
}
