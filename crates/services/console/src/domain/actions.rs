//! Actions for agents, and what they change at once: unenrol, reassign, upgrade, settings, diagnostics, migrate.

use jiff::SignedDuration;
use protocol::{ActionDocument, ActionType, indices};
use query::{Query, SearchRequest, SortOrder};
use serde_json::{Map, Value, json};
use store::{Operation, Source};

use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::agents::{Agent, key_ids};
use crate::domain::changes::{self, Changes};
use crate::domain::documents::AGENT_POLICIES;
use crate::domain::documents::{flag, text};
use crate::domain::error::FleetError;
use crate::domain::signing;
use policy::Sign as _;

/// Agents named in one document; more become several documents with one action id.
const AGENTS_PER_DOCUMENT: usize = 1000;
/// Fleet Server does not deliver an action later than this.
const EXPIRES_AFTER: SignedDuration = SignedDuration::from_hours(30 * 24);

/// When and how fast an action reaches its agents.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    /// RFC 3339; now when none.
    pub start_time: Option<String>,
    /// Seconds over which it is spread.
    pub rollout_duration_seconds: Option<i64>,
}

/// Queues an action; returns its id.
///
/// # Errors
/// The store cannot answer.
pub async fn queue(
    console: &Console,
    actor: &Actor,
    kind: &str,
    data: Value,
    agents: &[Agent],
    schedule: &Schedule,
) -> Result<ActionDocument, FleetError> {
    let mut changes = Changes::default();
    let action = add(console, actor, kind, data, agents, schedule, &mut changes).await?;
    changes::apply(console, actor, changes).await?;
    Ok(action)
}

async fn add(
    console: &Console,
    actor: &Actor,
    kind: &str,
    data: Value,
    agents: &[Agent],
    schedule: &Schedule,
    changes: &mut Changes,
) -> Result<ActionDocument, FleetError> {
    let now = console.clock.now();
    let start = schedule
        .start_time
        .as_deref()
        .and_then(|text| text.parse().ok())
        .unwrap_or(now)
        .max(now);
    let spread = SignedDuration::from_secs(schedule.rollout_duration_seconds.unwrap_or(0));
    let expiration = start
        .checked_add(EXPIRES_AFTER)
        .and_then(|time| time.checked_add(spread))
        .unwrap_or(start);
    let action_id = uuid::Uuid::new_v4().to_string();
    let mut action = ActionDocument {
        timestamp: clock::rfc3339_millis(now),
        action_id: action_id.clone(),
        action_type: action_type(kind)?,
        data: (!data.is_null()).then_some(data),
        expiration: Some(clock::rfc3339_millis(expiration)),
        start_time: schedule.start_time.clone(),
        minimum_execution_duration: schedule.rollout_duration_seconds.map(|seconds| seconds.min(7200)),
        rollout_duration_seconds: schedule.rollout_duration_seconds,
        user_id: Some(actor.name.clone()),
        namespaces: vec![actor.space.clone()],
        ..ActionDocument::default()
    };
    if matches!(kind, "UNENROLL" | "UPGRADE" | "MIGRATE" | "PRIVILEGE_LEVEL_CHANGE") {
        sign(console, &mut action).await?;
    }
    // How many there are, so that the status can be told when the action is spread over documents.
    action.other.insert("total".into(), agents.len().into());
    for (index, part) in agents.chunks(AGENTS_PER_DOCUMENT).enumerate() {
        let id = if index == 0 {
            action_id.clone()
        } else {
            format!("{action_id}-{index}")
        };
        let document = ActionDocument {
            agents: part.iter().map(|agent| agent.id.as_str().into()).collect(),
            ..action.clone()
        };
        let after = json!({"type": kind, "agents": part.len()});
        changes.other(
            Operation::create(indices::ACTIONS, id, Source::of(&document)),
            "action",
            &action_id,
            Some(after),
        );
    }
    action.agents = agents.iter().map(|agent| agent.id.as_str().into()).collect();
    Ok(action)
}

fn action_type(kind: &str) -> Result<ActionType, FleetError> {
    serde_json::from_value(Value::from(kind))
        .map_err(|_| FleetError::invalid(format!("[request body.action.type]: unknown action `{kind}`")))
}

async fn sign(console: &Console, action: &mut ActionDocument) -> Result<(), FleetError> {
    use base64::Engine;
    let key = signing::key(console).await?;
    let data = json!({"action_id": action.action_id, "expiration": action.expiration, "type": action.action_type, "data": action.data, "@timestamp": action.timestamp});
    let data = data.to_string();
    let engine = base64::engine::general_purpose::STANDARD;
    let signature = engine.encode(key.sign(data.as_bytes()));
    let signed = json!({"data": engine.encode(&data), "signature": signature});
    action.signed = serde_json::from_value(signed).ok();
    Ok(())
}

/// How agents are unenrolled.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unenroll {
    /// Of hosted policies as well.
    pub force: bool,
    /// At once: keys are revoked, the agents are not asked.
    pub revoke: bool,
}

/// Unenrols agents.
///
/// # Errors
/// An agent of a hosted policy without `force`.
pub async fn unenroll(console: &Console, actor: &Actor, agents: &[Agent], how: Unenroll) -> Result<String, FleetError> {
    if !how.force {
        refuse_hosted(console, agents, "Cannot unenroll").await?;
    }
    let now = clock::rfc3339_millis(console.clock.now());
    let mut changes = Changes::default();
    let action = add(
        console,
        actor,
        "UNENROLL",
        Value::Null,
        agents,
        &Schedule::default(),
        &mut changes,
    )
    .await?;
    for agent in agents {
        let partial = if how.revoke {
            json!({"active": false, "unenrolled_at": now, "unenrolled_reason": "manual"})
        } else {
            json!({"unenrollment_started_at": now})
        };
        let after = Some(partial.clone());
        let partial = partial.as_object().cloned().unwrap_or_default();
        changes.other(
            Operation::merge(indices::AGENTS, &agent.id, partial),
            "agent",
            &agent.id,
            after,
        );
    }
    if how.revoke {
        let ids: Vec<String> = agents.iter().flat_map(|agent| key_ids(&agent.document)).collect();
        console.access.invalidate_api_keys(&ids).await?;
    }
    changes::apply(console, actor, changes).await?;
    Ok(action.action_id)
}

/// Gives agents another policy.
///
/// # Errors
/// No such policy; a hosted one on either side.
pub async fn reassign(
    console: &Console,
    actor: &Actor,
    agents: &[Agent],
    policy_id: &str,
) -> Result<String, FleetError> {
    let Some(policy) = console.find(&AGENT_POLICIES, policy_id).await? else {
        return Err(FleetError::NotFound(format!("Agent policy not found: {policy_id}")));
    };
    if flag(&policy.fields, "is_managed") {
        return Err(FleetError::invalid(format!(
            "Cannot reassign to hosted agent policy {policy_id}"
        )));
    }
    refuse_hosted(console, agents, "Cannot reassign").await?;
    let mut changes = Changes::default();
    let data = json!({"policy_id": policy_id});
    let action = add(
        console,
        actor,
        "POLICY_REASSIGN",
        data,
        agents,
        &Schedule::default(),
        &mut changes,
    )
    .await?;
    let namespaces = policy.fields.get("space_ids").cloned();
    for agent in agents {
        let mut partial = Map::new();
        partial.insert("policy_id".into(), policy_id.into());
        partial.insert("policy_base_id".into(), policy_id.split('#').next().into());
        partial.insert("policy_revision".into(), Value::Null);
        if let Some(namespaces) = &namespaces {
            partial.insert("namespaces".into(), namespaces.clone());
        }
        let after = Some(json!({"policy_id": policy_id}));
        changes.other(
            Operation::merge(indices::AGENTS, &agent.id, partial),
            "agent",
            &agent.id,
            after,
        );
    }
    changes::apply(console, actor, changes).await?;
    Ok(action.action_id)
}

/// What agents are upgraded to.
#[derive(Clone, Debug, Default)]
pub struct Upgrade {
    /// A semantic version.
    pub version: String,
    /// Where from; their policy's download source when none.
    pub source_uri: Option<String>,
    /// Even when they have it, or do not say that they can.
    pub force: bool,
    /// When and how fast.
    pub schedule: Schedule,
}

/// Asks agents to upgrade.
///
/// # Errors
/// A version that is none or newer than the console; an agent that cannot.
pub async fn upgrade(console: &Console, actor: &Actor, agents: &[Agent], how: &Upgrade) -> Result<String, FleetError> {
    let wanted = semver::Version::parse(&how.version)
        .map_err(|error| FleetError::invalid(format!("[request body.version]: not a semantic version: {error}")))?;
    let own = semver::Version::parse(&console.settings.version).unwrap_or(semver::Version::new(0, 0, 0));
    if !how.force && (wanted.major, wanted.minor) > (own.major, own.minor) {
        return Err(FleetError::invalid(format!(
            "Cannot upgrade agent to {}: it is newer than the console, which has {}",
            how.version, console.settings.version
        )));
    }
    for agent in agents.iter().filter(|_| !how.force) {
        refuse_not_upgradeable(agent, &wanted)?;
    }
    refuse_hosted(console, agents, "Cannot upgrade agent").await?;
    let mut data = json!({"version": how.version});
    if let Some(uri) = &how.source_uri {
        data["source_uri"] = uri.as_str().into();
    }
    let mut changes = Changes::default();
    let action = add(console, actor, "UPGRADE", data, agents, &how.schedule, &mut changes).await?;
    let now = clock::rfc3339_millis(console.clock.now());
    for agent in agents {
        let partial = json!({"upgraded_at": null, "upgrade_started_at": now})
            .as_object()
            .cloned()
            .unwrap_or_default();
        let after = Some(json!({"upgrade_started_at": now}));
        changes.other(
            Operation::merge(indices::AGENTS, &agent.id, partial),
            "agent",
            &agent.id,
            after,
        );
    }
    changes::apply(console, actor, changes).await?;
    Ok(action.action_id)
}

fn refuse_not_upgradeable(agent: &Agent, wanted: &semver::Version) -> Result<(), FleetError> {
    let metadata = agent.document.local_metadata.as_ref();
    let upgradeable = metadata
        .and_then(|metadata| metadata.pointer("/elastic/agent/upgradeable"))
        .and_then(Value::as_bool);
    let present = metadata
        .and_then(|metadata| metadata.pointer("/elastic/agent/version"))
        .and_then(Value::as_str);
    let present = present.and_then(|version| semver::Version::parse(version).ok());
    let refuse = |why: &str| {
        Err(FleetError::invalid(format!(
            "Agent {} is not upgradeable: {why}",
            agent.id
        )))
    };
    if upgradeable == Some(false) {
        return refuse("agent cannot be upgraded through Fleet.");
    }
    if !agent.document.active {
        return refuse("agent has been unenrolled.");
    }
    if present.is_some_and(|present| present >= *wanted) {
        return refuse("agent is already running on the selected version or a newer one.");
    }
    Ok(())
}

async fn refuse_hosted(console: &Console, agents: &[Agent], what: &str) -> Result<(), FleetError> {
    let policies = console.all(&AGENT_POLICIES).await?;
    for agent in agents {
        let policy = policies
            .iter()
            .find(|policy| agent.document.policy_id == *policy.id.as_str());
        if policy.is_some_and(|policy| flag(&policy.fields, "is_managed")) {
            return Err(FleetError::invalid(format!(
                "{what} {} from a hosted agent policy {}",
                agent.id, agent.document.policy_id
            )));
        }
    }
    Ok(())
}

/// An action and its documents.
///
/// # Errors
/// None of that id.
pub async fn read(console: &Console, action_id: &str) -> Result<ActionDocument, FleetError> {
    let request = SearchRequest::new(indices::ACTIONS)
        .query(Query::term("action_id", action_id))
        .size(1000)
        .sort_by("@timestamp", SortOrder::Ascending);
    let found = console.store.search(request).await?;
    let mut documents = found
        .hits
        .into_iter()
        .map(|hit| hit.document.source.parse::<ActionDocument>());
    let first = documents
        .next()
        .ok_or_else(|| FleetError::NotFound("Action not found".to_owned()))?;
    let mut action = first.map_err(|error| FleetError::Unreadable {
        index: indices::ACTIONS.to_owned(),
        id: action_id.to_owned(),
        reason: error.to_string(),
    })?;
    documents.flatten().for_each(|more| action.agents.extend(more.agents));
    Ok(action)
}

/// Takes an action back from the agents that did not start it.
///
/// # Errors
/// None of that id.
pub async fn cancel(console: &Console, actor: &Actor, action_id: &str) -> Result<ActionDocument, FleetError> {
    let action = read(console, action_id).await?;
    let ids = action.agents.iter().map(|id| id.as_str().to_owned()).collect();
    let agents = crate::domain::agents::select(console, &crate::domain::agents::Selection::Ids(ids)).await?;
    let mut changes = Changes::default();
    let data = json!({"target_id": action_id});
    let cancel = add(
        console,
        actor,
        "CANCEL",
        data,
        &agents,
        &Schedule::default(),
        &mut changes,
    )
    .await?;
    if text(
        &serde_json::from_value(json!({"type": action.action_type})).unwrap_or_default(),
        "type",
    ) == Some("UPGRADE")
    {
        for agent in &agents {
            let partial = json!({"upgraded_at": null, "upgrade_started_at": null})
                .as_object()
                .cloned()
                .unwrap_or_default();
            changes.other(
                Operation::merge(indices::AGENTS, &agent.id, partial),
                "agent",
                &agent.id,
                Some(json!({"upgrade": "cancelled"})),
            );
        }
    }
    changes::apply(console, actor, changes).await?;
    Ok(cancel)
}

/// Moves agents to another fleet.
///
/// # Errors
/// An agent of a hosted policy, or one that runs Fleet Server.
pub async fn migrate(console: &Console, actor: &Actor, agents: &[Agent], data: Value) -> Result<String, FleetError> {
    refuse_hosted(console, agents, "Cannot migrate").await?;
    let with_fleet_server = crate::domain::agent_policies::with_package(console, "fleet_server").await?;
    if let Some(agent) = agents
        .iter()
        .find(|agent| with_fleet_server.contains(agent.document.policy_id.as_str()))
    {
        return Err(FleetError::Forbidden(format!(
            "Cannot migrate agent {}: it runs Fleet Server",
            agent.id
        )));
    }
    Ok(queue(console, actor, "MIGRATE", data, agents, &Schedule::default())
        .await?
        .action_id)
}

/// Writes the results of an action that the console did by itself.
///
/// # Errors
/// The store cannot answer.
pub async fn acknowledge(console: &Console, action: &ActionDocument, agents: &[Agent]) -> Result<(), FleetError> {
    let now = clock::rfc3339_millis(console.clock.now());
    let result = |agent: &Agent| {
        let document = json!({"@timestamp": now, "action_id": action.action_id, "agent_id": agent.id, "namespaces": action.namespaces});
        Operation::create(
            indices::ACTION_RESULTS,
            format!("{}:{}", action.action_id, agent.id),
            Source::of(&document),
        )
    };
    let operations: Vec<Operation> = agents.iter().map(result).collect();
    if !operations.is_empty() {
        console.store.bulk(operations, store::Refresh::WaitFor).await?;
    }
    Ok(())
}
