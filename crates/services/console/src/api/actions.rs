//! Actions for one agent, for many, and their state.

use std::sync::Arc;

use jiff::SignedDuration;
use jiff::civil::Date;
use serde_json::{Value, json};

use super::call::{Call, Reply, item};
use super::error::ApiError;
use super::schema::{Field, Kind, MAP, NATURAL, TEXTS, field, flag, text};
use crate::Console;
use crate::domain::actions::{self as domain, Schedule, Unenroll, Unfit, Upgrade};
use crate::domain::agents::{self, Agent, Selection};
use crate::domain::{action_status, spaces};

const AGENTS: Field = field("agents", Kind::Either(&[TEXTS, Kind::Text])).required();
/// A semantic version.
const VERSION: &str = r"^(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})(-[A-Za-z][0-9A-Za-z]*)?$";
const BATCH: Field = field("batchSize", NATURAL);
const INCLUDE_INACTIVE: Field = flag("includeInactive").default("false");
const METRICS: Field = field(
    "additional_metrics",
    Kind::List {
        of: &Kind::Choice(&["CPU", "CONN"]),
        min: 0,
        max: 2,
    },
);

pub(super) const UNENROLL: &[Field] = &[flag("force"), flag("revoke")];
pub(super) const BULK_UNENROLL: &[Field] = &[AGENTS, flag("force"), flag("revoke"), BATCH, INCLUDE_INACTIVE];
pub(super) const REASSIGN: &[Field] = &[text("policy_id").required()];
pub(super) const BULK_REASSIGN: &[Field] = &[AGENTS, text("policy_id").required(), BATCH, INCLUDE_INACTIVE];
pub(super) const UPGRADE: &[Field] = &[
    field("version", Kind::Shaped(VERSION)).required(),
    text("source_uri"),
    flag("force"),
    flag("skipRateLimitCheck"),
];
pub(super) const BULK_UPGRADE: &[Field] = &[
    AGENTS,
    field("version", Kind::Shaped(VERSION)).required(),
    text("source_uri"),
    flag("force"),
    flag("skipRateLimitCheck"),
    field(
        "rollout_duration_seconds",
        Kind::Integer {
            min: 600,
            max: i64::MAX,
        },
    ),
    text("start_time"),
    BATCH,
    INCLUDE_INACTIVE,
];
pub(super) const BULK_TAGS: &[Field] = &[
    AGENTS,
    field("tagsToAdd", TEXTS),
    field("tagsToRemove", TEXTS),
    BATCH,
    INCLUDE_INACTIVE,
];
pub(super) const DIAGNOSTICS: &[Field] = &[METRICS, flag("exclude_events_log")];
pub(super) const BULK_DIAGNOSTICS: &[Field] = &[AGENTS, METRICS, BATCH, flag("exclude_events_log")];
const MIGRATE_SETTINGS: &[Field] = &[
    text("ca_sha256"),
    text("certificate_authorities"),
    text("elastic_agent_cert"),
    text("elastic_agent_cert_key"),
    text("elastic_agent_cert_key_passphrase"),
    field("headers", MAP),
    flag("insecure"),
    flag("proxy_disabled"),
    field("proxy_headers", MAP),
    text("proxy_url"),
    text("staging"),
    field("tags", TEXTS),
    text("replace_token"),
];
pub(super) const MIGRATE: &[Field] = &[
    text("uri").required(),
    text("enrollment_token").required(),
    field("settings", Kind::Object(MIGRATE_SETTINGS)),
];
pub(super) const BULK_MIGRATE: &[Field] = &[
    AGENTS,
    text("uri").required(),
    text("enrollment_token").required(),
    field("settings", Kind::Object(MIGRATE_SETTINGS)),
    BATCH,
];
const USER_INFO: &[Field] = &[text("username"), text("groupname"), text("password")];
pub(super) const BULK_PRIVILEGES: &[Field] = &[AGENTS, field("user_info", Kind::Object(USER_INFO)), BATCH];
const ACTION: &[Field] = &[
    field(
        "type",
        Kind::Choice(&[
            "SETTINGS",
            "UNENROLL",
            "UPGRADE",
            "POLICY_REASSIGN",
            "CANCEL",
            "REQUEST_DIAGNOSTICS",
        ]),
    )
    .required(),
    field("data", Kind::Any),
    field("ack_data", Kind::Any),
];
pub(super) const CREATE: &[Field] = &[field("action", Kind::Object(ACTION)).required()];
pub(super) const ACTION_IDS: &[Field] = &[field("actionIds", TEXTS).required()];
pub(super) const STATUS_QUERY: &[Field] = &[
    field("page", NATURAL).default("0"),
    field("perPage", Kind::Integer { min: 1, max: 1000 }).default("20"),
    text("date"),
    field("latest", NATURAL),
    field("errorSize", Kind::Integer { min: 0, max: 100 }).default("5"),
];

async fn one(console: &Console, call: &Call) -> Result<Vec<Agent>, ApiError> {
    Ok(vec![spaces::agent(console, call.id("agentId"), &call.space).await?])
}

async fn selected(console: &Console, call: &Call) -> Result<Vec<Agent>, ApiError> {
    let selection = match call.body.get("agents") {
        Some(Value::String(kuery)) => Selection::Kuery {
            kuery: kuery.clone(),
            include_inactive: call.body_flag("includeInactive"),
            upgradeable: false,
        },
        _ => Selection::Ids(call.body_texts("agents")),
    };
    Ok(spaces::selected(console, &selection, &call.space).await?)
}

#[expect(clippy::unnecessary_wraps, reason = "the last expression of handlers")]
fn action_id(id: String) -> Result<Reply, ApiError> {
    Ok(Reply::Json(json!({"actionId": id})))
}

#[expect(clippy::unnecessary_wraps, reason = "the last expression of handlers")]
fn empty() -> Result<Reply, ApiError> {
    Ok(Reply::Json(json!({})))
}

fn unenroll_of(call: &Call) -> Unenroll {
    Unenroll {
        force: call.body_flag("force"),
        revoke: call.body_flag("revoke"),
    }
}

pub(super) async fn unenroll(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let agents = one(&console, &call).await?;
    domain::unenroll(&console, &call.actor(), &agents, unenroll_of(&call), Unfit::Refuse).await?;
    empty()
}

pub(super) async fn bulk_unenroll(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let agents = selected(&console, &call).await?;
    action_id(domain::unenroll(&console, &call.actor(), &agents, unenroll_of(&call), Unfit::Report).await?)
}

pub(super) async fn reassign(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let agents = one(&console, &call).await?;
    let policy = call.body_text("policy_id").unwrap_or_default();
    domain::reassign(&console, &call.actor(), &agents, policy, Unfit::Refuse).await?;
    empty()
}

pub(super) async fn bulk_reassign(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let agents = selected(&console, &call).await?;
    let policy = call.body_text("policy_id").unwrap_or_default();
    action_id(domain::reassign(&console, &call.actor(), &agents, policy, Unfit::Report).await?)
}

fn upgrade_of(call: &Call) -> Upgrade {
    Upgrade {
        version: call.body_text("version").unwrap_or_default().to_owned(),
        source_uri: call.body_text("source_uri").map(str::to_owned),
        force: call.body_flag("force"),
        skip_rate_limit: call.body_flag("skipRateLimitCheck"),
        schedule: Schedule {
            start_time: call.body_text("start_time").map(str::to_owned),
            rollout_duration_seconds: call.body.get("rollout_duration_seconds").and_then(Value::as_i64),
        },
    }
}

pub(super) async fn upgrade(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let agents = one(&console, &call).await?;
    domain::upgrade(&console, &call.actor(), &agents, &upgrade_of(&call), Unfit::Refuse).await?;
    empty()
}

pub(super) async fn bulk_upgrade(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let agents = selected(&console, &call).await?;
    action_id(domain::upgrade(&console, &call.actor(), &agents, &upgrade_of(&call), Unfit::Report).await?)
}

pub(super) async fn bulk_tags(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let agents = selected(&console, &call).await?;
    let (add, remove) = (call.body_texts("tagsToAdd"), call.body_texts("tagsToRemove"));
    agents::update_tags(&console, &call.actor(), &agents, &add, &remove).await?;
    let data = json!({"tags_to_add": add, "tags_to_remove": remove});
    let action = domain::queue(
        &console,
        &call.actor(),
        "UPDATE_TAGS",
        data,
        &agents,
        &Schedule::default(),
    )
    .await?;
    domain::acknowledge(&console, &action, &agents).await?;
    action_id(action.action_id)
}

fn diagnostics_of(call: &Call) -> Value {
    let mut data = json!({"additional_metrics": call.body_texts("additional_metrics")});
    if call.body_flag("exclude_events_log") {
        data["exclude_events_log"] = true.into();
    }
    data
}

pub(super) async fn diagnostics(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let agents = one(&console, &call).await?;
    let action = domain::queue(
        &console,
        &call.actor(),
        "REQUEST_DIAGNOSTICS",
        diagnostics_of(&call),
        &agents,
        &Schedule::default(),
    )
    .await?;
    action_id(action.action_id)
}

pub(super) async fn bulk_diagnostics(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let agents = selected(&console, &call).await?;
    let action = domain::queue(
        &console,
        &call.actor(),
        "REQUEST_DIAGNOSTICS",
        diagnostics_of(&call),
        &agents,
        &Schedule::default(),
    )
    .await?;
    action_id(action.action_id)
}

fn migrate_of(call: &Call) -> Value {
    json!({
        "target_uri": call.body_text("uri"), "enrollment_token": call.body_text("enrollment_token"),
        "settings": call.body.get("settings").cloned().unwrap_or_else(|| json!({})),
    })
}

pub(super) async fn migrate(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let agents = one(&console, &call).await?;
    action_id(domain::migrate(&console, &call.actor(), &agents, migrate_of(&call), Unfit::Refuse).await?)
}

pub(super) async fn bulk_migrate(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let agents = selected(&console, &call).await?;
    action_id(domain::migrate(&console, &call.actor(), &agents, migrate_of(&call), Unfit::Report).await?)
}

pub(super) async fn bulk_privileges(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let agents = selected(&console, &call).await?;
    let mut data = json!({"unprivileged": true});
    if let Some(user) = call.body.get("user_info") {
        data["user_info"] = user.clone();
    }
    let action = domain::queue(
        &console,
        &call.actor(),
        "PRIVILEGE_LEVEL_CHANGE",
        data,
        &agents,
        &Schedule::default(),
    )
    .await?;
    action_id(action.action_id)
}

pub(super) async fn create(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let agents = one(&console, &call).await?;
    let action = call.body.get("action").cloned().unwrap_or_default();
    let kind = action["type"].as_str().unwrap_or_default();
    if kind == "SETTINGS" {
        let level = action["data"]["log_level"].as_str();
        let known = level.is_none_or(|level| ["trace", "debug", "info", "warning", "error"].contains(&level));
        if !known {
            return Err(ApiError::BadRequest(
                "[request body.action.data.log_level]: must be one of debug, info, warning, error".to_owned(),
            ));
        }
    }
    let action = domain::queue(
        &console,
        &call.actor(),
        kind,
        action["data"].clone(),
        &agents,
        &Schedule::default(),
    )
    .await?;
    item(answer_of(&action))
}

pub(super) async fn cancel(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    item(answer_of(
        &domain::cancel(&console, &call.actor(), call.id("actionId")).await?,
    ))
}

fn answer_of(action: &protocol::ActionDocument) -> Value {
    json!({
        "id": action.action_id, "type": action.action_type, "data": action.data, "agents": action.agents,
        "created_at": action.timestamp, "expiration": action.expiration, "start_time": action.start_time,
        "namespaces": action.namespaces,
    })
}

pub(super) async fn agents_of(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let mut ids = Vec::new();
    for action in call.body_texts("actionIds") {
        ids.extend(domain::read(&console, &action).await?.agents);
    }
    ids.sort();
    ids.dedup();
    Ok(Reply::Json(json!({"items": ids})))
}

pub(super) async fn status(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let number = |name: &str| {
        call.query
            .get(name)
            .and_then(Value::as_u64)
            .and_then(|number| usize::try_from(number).ok())
    };
    let wanted = action_status::Wanted {
        page: number("page").unwrap_or(0),
        per_page: number("perPage").unwrap_or(20),
        errors: number("errorSize").unwrap_or(5),
        day: call.text("date").map(day_of).transpose()?,
        newest: call
            .query
            .get("latest")
            .and_then(Value::as_i64)
            .map(SignedDuration::from_millis),
    };
    let items = action_status::list(&console, &wanted).await?;
    Ok(Reply::Json(json!({"items": items})))
}

/// `2026-03-01`, or a time of that day.
fn day_of(text: &str) -> Result<Date, ApiError> {
    let day = text.get(..10).unwrap_or(text);
    day.parse()
        .map_err(|_| ApiError::BadRequest(format!("[request query.date]: `{text}` is no date such as 2026-03-01")))
}
