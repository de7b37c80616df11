//! Agents.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Map, Value, json};

use super::call::{Call, Reply, item};
use super::error::ApiError;
use super::schema::{Field, Kind, MAP, TEXTS, field, flag, text};
use crate::Console;
use crate::domain::agent_status::AgentStatus;
use crate::domain::agents::{self as domain, Agent, AgentFilter, StatusSummary};
use crate::domain::{agent_metrics, incoming_data, spaces};

pub(super) const LIST_QUERY: &[Field] = &[
    field("page", Kind::Integer { min: 1, max: 10_000 }).default("1"),
    field("perPage", Kind::Integer { min: 0, max: 10_000 }).default("20"),
    text("kuery"),
    flag("showInactive").default("false"),
    flag("showAgentless").default("true"),
    flag("withMetrics").default("false"),
    flag("showUpgradeable").default("false"),
    flag("getStatusSummary").default("false"),
    text("sortField"),
    field("sortOrder", Kind::Choice(&["asc", "desc"])),
    text("searchAfter"),
    flag("openPit"),
    text("pitId"),
    text("pitKeepAlive"),
];
pub(super) const READ_QUERY: &[Field] = &[flag("withMetrics").default("false")];
pub(super) const TAGS_QUERY: &[Field] = &[text("kuery"), flag("showInactive").default("false")];
pub(super) const SUMMARY_QUERY: &[Field] = &[text("policyId"), field("policyIds", TEXTS), text("kuery")];
pub(super) const DATA_QUERY: &[Field] = &[
    field("agentsIds", TEXTS).required(),
    text("pkgName"),
    text("pkgVersion"),
    flag("previewData").default("false"),
];
pub(super) const UPDATE: &[Field] = &[field("tags", TEXTS), field("user_provided_metadata", MAP)];

fn filter_of(call: &Call) -> Result<AgentFilter, ApiError> {
    let search_after = match call.text("searchAfter") {
        None => None,
        Some(text) => {
            let values: Vec<Value> = serde_json::from_str(text)
                .map_err(|_| ApiError::BadRequest("[request query.searchAfter]: must be a JSON list".to_owned()))?;
            Some(values)
        }
    };
    if search_after.is_some() && call.page().page > 1 {
        return Err(ApiError::BadRequest(
            "[request query]: You cannot use searchAfter and page together".to_owned(),
        ));
    }
    Ok(AgentFilter {
        kuery: call.text("kuery").map(str::to_owned),
        show_inactive: call.flag("showInactive"),
        upgradeable: call.flag("showUpgradeable"),
        space: Some(call.space.clone()),
        sort_field: call.text("sortField").map(str::to_owned),
        descending: call.text("sortOrder").unwrap_or("desc") == "desc",
        search_after,
    })
}

pub(super) async fn list(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let filter = filter_of(&call)?;
    let page = domain::list(&console, &filter, call.page()).await?;
    let next = page
        .items
        .last()
        .filter(|_| page.items.len() == page.request.per_page)
        .map(|agent| json!(agent.sort).to_string());
    let mut items: Vec<Value> = page.items.iter().map(answer_of).collect();
    if call.flag("withMetrics") {
        with_metrics(&console, &mut items).await?;
    }
    let mut body = json!({"items": items, "list": items, "total": page.total, "page": page.request.page, "perPage": page.request.per_page});
    if let Some(next) = next {
        body["nextSearchAfter"] = next.into();
    }
    if let Some(pit) = point_in_time(&console, &call)? {
        body["pit"] = pit.into();
    }
    if call.flag("getStatusSummary") {
        let summary = domain::summary(&console, &filter).await?;
        let counts = summary
            .counts
            .iter()
            .map(|(status, count)| (status.name().to_owned(), Value::from(*count)));
        body["statusSummary"] = Value::Object(counts.collect::<Map<_, _>>());
    }
    Ok(Reply::Json(body))
}

pub(super) async fn read(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let agent = spaces::agent(&console, call.id("agentId"), &call.space).await?;
    let mut items = vec![answer_of(&agent)];
    if call.flag("withMetrics") {
        with_metrics(&console, &mut items).await?;
    }
    item(items.remove(0))
}

/// Adds `metrics` to those agents that ship some.
async fn with_metrics(console: &Console, items: &mut [Value]) -> Result<(), ApiError> {
    let ids: Vec<String> = items
        .iter()
        .filter_map(|item| item["id"].as_str().map(str::to_owned))
        .collect();
    let metrics = agent_metrics::of_agents(console, &ids).await?;
    for item in items {
        if let Some(found) = item["id"].as_str().and_then(|id| metrics.get(id)) {
            item["metrics"] = found.to_json();
        }
    }
    Ok(())
}

/// The id of a point in time. Pages are not frozen: they are ordered by a field and the id, so that `searchAfter` neither
/// repeats nor skips an agent that stays the same. The id says when it was opened, and one that is not ours is refused.
fn point_in_time(console: &Console, call: &Call) -> Result<Option<String>, ApiError> {
    const PREFIX: &str = "flotilla-";
    let refuse = || {
        ApiError::BadRequest("[request query.pitId]: there is no such point in time; open one with openPit".to_owned())
    };
    if let Some(given) = call.text("pitId") {
        let opened = BASE64
            .decode(given)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let is_ours = opened.is_some_and(|text| text.starts_with(PREFIX));
        return if is_ours {
            Ok(Some(given.to_owned()))
        } else {
            Err(refuse())
        };
    }
    let opened = format!("{PREFIX}{}", console.clock.now().as_millisecond());
    Ok(call.flag("openPit").then(|| BASE64.encode(opened)))
}

pub(super) async fn update(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let tags = call.body_as::<Vec<String>>("tags")?;
    let metadata = call.body.get("user_provided_metadata").cloned();
    spaces::agent(&console, call.id("agentId"), &call.space).await?;
    item(answer_of(
        &domain::update(&console, &call.actor(), call.id("agentId"), tags, metadata).await?,
    ))
}

pub(super) async fn delete(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    spaces::agent(&console, call.id("agentId"), &call.space).await?;
    domain::delete(&console, &call.actor(), call.id("agentId")).await?;
    Ok(Reply::Json(json!({"action": "deleted"})))
}

pub(super) async fn tags(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let tags = domain::tags(&console, &filter_of(&call)?).await?;
    Ok(Reply::Json(json!({"items": tags})))
}

pub(super) async fn available_versions(console: Arc<Console>, _call: Call) -> Result<Reply, ApiError> {
    Ok(Reply::Json(json!({"items": [console.settings.version]})))
}

pub(super) async fn summary(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let mut clauses: Vec<String> = Vec::new();
    clauses.extend(call.text("kuery").map(|kuery| format!("({kuery})")));
    let mut policies: Vec<String> = call.text("policyId").map(str::to_owned).into_iter().collect();
    let many = call
        .query
        .get("policyIds")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    policies.extend(many.filter_map(Value::as_str).map(str::to_owned));
    if !policies.is_empty() {
        let quoted: Vec<String> = policies
            .iter()
            .map(|id| format!("\"{}\"", id.replace(['"', '\\'], "")))
            .collect();
        clauses.push(format!("policy_id:({})", quoted.join(" or ")));
    }
    let kuery = (!clauses.is_empty()).then(|| clauses.join(" and "));
    let summary = domain::summary(
        &console,
        &AgentFilter {
            kuery,
            space: Some(call.space.clone()),
            ..AgentFilter::default()
        },
    )
    .await?;
    Ok(Reply::Json(json!({"results": results_of(&summary)})))
}

fn results_of(summary: &StatusSummary) -> Value {
    let of = |status| summary.of(status);
    let error = of(AgentStatus::Error) + of(AgentStatus::Degraded);
    let updating = of(AgentStatus::Updating) + of(AgentStatus::Enrolling) + of(AgentStatus::Unenrolling);
    let (inactive, unenrolled) = (of(AgentStatus::Inactive), of(AgentStatus::Unenrolled));
    json!({
        "online": of(AgentStatus::Online), "error": error, "offline": of(AgentStatus::Offline), "updating": updating,
        "inactive": inactive, "unenrolled": unenrolled, "uninstalled": of(AgentStatus::Uninstalled),
        "orphaned": of(AgentStatus::Orphaned), "other": updating, "events": 0,
        "all": summary.all(), "active": summary.all() - inactive - unenrolled,
    })
}

pub(super) async fn incoming_data(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let ids = call
        .query
        .get("agentsIds")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let ids: Vec<String> = ids.filter_map(Value::as_str).map(str::to_owned).collect();
    let mut items = Vec::new();
    for id in &ids {
        let has = incoming_data::has_data(&console, id).await?;
        items.push(json!({id.as_str(): {"data": has}}));
    }
    let preview = if call.flag("previewData") {
        incoming_data::newest(&console, &ids).await?
    } else {
        Vec::new()
    };
    Ok(Reply::Json(json!({"items": items, "dataPreview": preview})))
}

/// Fields of the document that the API does not show.
const HIDDEN: [&str; 9] = [
    "replace_token",
    "action_seq_no",
    "policy_base_id",
    "updated_at",
    "policy_revision_idx",
    "enrollment_id",
    "agent_policy_id",
    "upgrade",
    "default_api_key_history",
];

/// An agent as the API shows it.
pub(super) fn answer_of(agent: &Agent) -> Value {
    let mut answer = serde_json::to_value(&agent.document).expect("our own types can always be written");
    answer["id"] = agent.id.as_str().into();
    answer["status"] = agent.status.name().into();
    if let Some(revision) = agent.document.policy_revision_idx {
        answer["policy_revision"] = revision.into();
    }
    if agent.document.policy_id.is_empty() {
        answer["policy_id"] = Value::Null;
    }
    let empty = json!({});
    answer["local_metadata"] = agent.document.local_metadata.clone().unwrap_or(empty);
    if answer.get("packages").is_none_or(Value::is_null) {
        answer["packages"] = json!([]);
    }
    if !agent.sort.is_empty() {
        answer["sort"] = json!(agent.sort);
    }
    if let Some(outputs) = answer.get_mut("outputs").and_then(Value::as_object_mut) {
        for output in outputs.values_mut().filter_map(Value::as_object_mut) {
            output.remove("api_key");
            output.remove("permissions_hash");
        }
    }
    if let Some(map) = answer.as_object_mut() {
        for key in HIDDEN {
            map.remove(key);
        }
    }
    answer
}
