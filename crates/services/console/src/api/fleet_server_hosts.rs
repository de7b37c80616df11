//! Fleet Server hosts.

use std::sync::Arc;

use policy::model::AgentPolicy;
use serde_json::json;

use super::call::{Call, Reply, bare_answer_of, item, whole_list};
use super::error::ApiError;
use super::schema::{Field, ID, Kind, field, flag, text};
use crate::Console;
use crate::domain::{agent_policies, agents, fleet_server_hosts as domain};

const URLS: Kind = Kind::List {
    of: &Kind::Url,
    min: 1,
    max: 10,
};
pub(super) const AUTHORITIES: Kind = Kind::List {
    of: &Kind::Text,
    min: 0,
    max: 10,
};
const SSL: &[Field] = &[
    field("certificate_authorities", AUTHORITIES),
    text("certificate"),
    text("key"),
    field("es_certificate_authorities", AUTHORITIES),
    text("es_certificate"),
    text("es_key"),
    field("agent_certificate_authorities", AUTHORITIES),
    text("agent_certificate"),
    text("agent_key"),
    field("client_auth", Kind::Choice(&["optional", "required", "none"])),
];
/// A plain text to be stored, or the reference of a stored one.
pub(super) const SECRET: Kind = Kind::Either(&[
    Kind::Text,
    Kind::Object(&[text("id").required(), field("hash", Kind::Text)]),
]);
const SECRET_SSL: &[Field] = &[
    field("key", SECRET).nullable(),
    field("es_key", SECRET).nullable(),
    field("agent_key", SECRET).nullable(),
];
const SECRETS: &[Field] = &[field("ssl", Kind::Object(SECRET_SSL)).nullable()];

pub(super) const CREATE: &[Field] = &[
    ID,
    text("name").required(),
    field("host_urls", URLS).required(),
    flag("is_default").default("false"),
    flag("is_internal"),
    flag("is_preconfigured").default("false"),
    text("proxy_id").nullable(),
    field("ssl", Kind::Object(SSL)).nullable(),
    field("secrets", Kind::Object(SECRETS)).nullable(),
];
pub(super) const UPDATE: &[Field] = &[
    text("name"),
    field("host_urls", URLS),
    flag("is_default"),
    flag("is_internal"),
    text("proxy_id").nullable(),
    field("ssl", Kind::Object(SSL)).nullable(),
    field("secrets", Kind::Object(SECRETS)).nullable(),
];

pub(super) async fn list(console: Arc<Console>, _call: Call) -> Result<Reply, ApiError> {
    whole_list(domain::list(&console).await?.iter().map(bare_answer_of).collect())
}

pub(super) async fn read(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    item(bare_answer_of(domain::read(&console, call.id("itemId")).await?))
}

pub(super) async fn create(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    if call.flag("dry_run") {
        return item(domain::dry_run(&console, None, call.body).await?);
    }
    item(bare_answer_of(
        domain::create(&console, &call.actor(), call.body).await?,
    ))
}

pub(super) async fn update(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let id = call.id("itemId").to_owned();
    if call.flag("dry_run") {
        return item(domain::dry_run(&console, Some(&id), call.body).await?);
    }
    item(bare_answer_of(
        domain::update(&console, &call.actor(), &id, call.body).await?,
    ))
}

pub(super) async fn delete(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    domain::delete(&console, &call.actor(), call.id("itemId")).await?;
    Ok(Reply::Json(json!({"id": call.id("itemId")})))
}

pub(super) async fn policy_status(console: Arc<Console>, _call: Call) -> Result<Reply, ApiError> {
    let with_fleet_server = agent_policies::with_package(&console, "fleet_server").await?;
    let tallies = agents::tallies(&console).await?;
    let policies = agent_policies::all(&console).await?;
    let of_policy = |policy: &Arc<AgentPolicy>| {
        let tally = tallies.get(&policy.id).copied().unwrap_or_default();
        json!({
            "id": policy.id, "name": policy.name, "fleet_server_host_id": policy.fleet_server_host_id,
            "agents": tally.active, "unhealthy": tally.unhealthy,
        })
    };
    let items = policies.iter().filter(|policy| with_fleet_server.contains(&policy.id));
    Ok(Reply::Json(json!({"items": items.map(of_policy).collect::<Vec<_>>()})))
}
