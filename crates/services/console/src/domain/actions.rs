//! Actions for agents, and what they change at once: unenrol, reassign, upgrade, settings, diagnostics, migrate.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use protocol::{ActionDocument, ActionType, indices};
use query::{Query, SearchRequest, SortOrder};
use serde_json::{Value, json};
use store::{Operation, Source};

use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::agent_policies;
use crate::domain::agents::{Agent, key_ids};
use crate::domain::changes::{self, Changes};
use crate::domain::documents::{AGENT_POLICIES, flag};
use crate::domain::error::FleetError;
use crate::domain::signing;
use crate::domain::upgrades;
use policy::Sign as _;

/// Agents named in one document; more become several documents with one action id.
const AGENTS_PER_DOCUMENT: usize = 1000;
/// Fleet Server does not deliver an action later than this.
const EXPIRES_AFTER: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What becomes of agents that cannot do what is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unfit {
    /// The request is refused, with the reason of the first.
    Refuse,
    /// The others are asked; these count as failed, each with its reason.
    Report,
}

/// Agents that are asked, and those that are not.
#[derive(Debug, Default)]
struct Asked {
    agents: Vec<Agent>,
    /// Their ids, and why.
    refused: Vec<(String, String)>,
}

impl Asked {
    fn of(
        agents: &[Agent],
        unfit: Unfit,
        why_not: impl Fn(&Agent) -> Result<(), FleetError>,
    ) -> Result<Self, FleetError> {
        let mut asked = Self::default();
        for agent in agents {
            match why_not(agent) {
                Ok(()) => asked.agents.push(agent.clone()),
                Err(error) if unfit == Unfit::Refuse => return Err(error),
                Err(error) => asked.refused.push((agent.id.clone(), error.to_string())),
            }
        }
        Ok(asked)
    }

    fn all(agents: &[Agent]) -> Self {
        Self {
            agents: agents.to_vec(),
            refused: Vec::new(),
        }
    }
}

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
    let asked = Asked::all(agents);
    let action = add(console, actor, kind, data, &asked, schedule, &mut changes).await?;
    changes::apply(console, actor, changes).await?;
    Ok(action)
}

async fn add(
    console: &Console,
    actor: &Actor,
    kind: &str,
    data: Value,
    asked: &Asked,
    schedule: &Schedule,
    changes: &mut Changes,
) -> Result<ActionDocument, FleetError> {
    let now = console.clock.now();
    let agents = &asked.agents;
    let start = start_of(schedule, now)?;
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
    action
        .other
        .insert("total".into(), (agents.len() + asked.refused.len()).into());
    let parts = agents.chunks(AGENTS_PER_DOCUMENT);
    // An action of nobody is a document, too: it holds that all were refused.
    let nobody: Option<&[Agent]> = agents.is_empty().then_some(&[]);
    for (index, part) in parts.chain(nobody).enumerate() {
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
            (None, Some(after)),
        );
    }
    for (agent, reason) in &asked.refused {
        changes.unrecorded(result(&action, agent, Some(reason)));
    }
    action.agents = agents.iter().map(|agent| agent.id.as_str().into()).collect();
    Ok(action)
}

/// When an action begins: not before now.
fn start_of(schedule: &Schedule, now: Timestamp) -> Result<Timestamp, FleetError> {
    let Some(text) = schedule.start_time.as_deref() else {
        return Ok(now);
    };
    let start: Timestamp = text.parse().map_err(|_| {
        FleetError::invalid(format!(
            "[request body.start_time]: `{text}` is no time such as 2026-03-01T09:00:00Z"
        ))
    })?;
    Ok(start.max(now))
}

/// What an agent answered, or would have.
fn result(action: &ActionDocument, agent: &str, error: Option<&str>) -> Operation {
    let mut document = json!({"@timestamp": action.timestamp, "action_id": action.action_id, "agent_id": agent, "namespaces": action.namespaces});
    if let Some(error) = error {
        document["error"] = error.into();
    }
    let id = format!("{}:{agent}", action.action_id);
    Operation::create(indices::ACTION_RESULTS, id, Source::of(&document))
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
pub async fn unenroll(
    console: &Console,
    actor: &Actor,
    agents: &[Agent],
    how: Unenroll,
    unfit: Unfit,
) -> Result<String, FleetError> {
    let hosted = hosted(console).await?;
    let asked = Asked::of(agents, unfit, |agent| {
        if how.force {
            Ok(())
        } else {
            refuse_hosted(&hosted, agent, "Cannot unenroll")
        }
    })?;
    let now = clock::rfc3339_millis(console.clock.now());
    let mut changes = Changes::default();
    let action = add(
        console,
        actor,
        "UNENROLL",
        Value::Null,
        &asked,
        &Schedule::default(),
        &mut changes,
    )
    .await?;
    for agent in &asked.agents {
        let partial = if how.revoke {
            json!({"active": false, "unenrolled_at": now, "unenrolled_reason": "manual"})
        } else {
            json!({"unenrollment_started_at": now})
        };
        change_agent(&mut changes, agent, partial);
    }
    if how.revoke {
        let ids: Vec<String> = asked.agents.iter().flat_map(|agent| key_ids(&agent.document)).collect();
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
    unfit: Unfit,
) -> Result<String, FleetError> {
    let Some(policy) = console.find(&AGENT_POLICIES, policy_id).await? else {
        return Err(FleetError::NotFound(format!("Agent policy not found: {policy_id}")));
    };
    if flag(&policy.fields, "is_managed") {
        return Err(FleetError::invalid(format!(
            "Cannot reassign to hosted agent policy {policy_id}"
        )));
    }
    let hosted = hosted(console).await?;
    let asked = Asked::of(agents, unfit, |agent| refuse_hosted(&hosted, agent, "Cannot reassign"))?;
    let mut changes = Changes::default();
    let data = json!({"policy_id": policy_id});
    let action = add(
        console,
        actor,
        "POLICY_REASSIGN",
        data,
        &asked,
        &Schedule::default(),
        &mut changes,
    )
    .await?;
    let namespaces = policy.fields.get("space_ids").cloned();
    for agent in &asked.agents {
        let mut partial =
            json!({"policy_id": policy_id, "policy_base_id": policy_id.split('#').next(), "policy_revision": null});
        if let Some(namespaces) = &namespaces {
            partial["namespaces"] = namespaces.clone();
        }
        change_agent(&mut changes, agent, partial);
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
    /// Also soon after another upgrade.
    pub skip_rate_limit: bool,
    /// When and how fast.
    pub schedule: Schedule,
}

/// Asks agents to upgrade.
///
/// # Errors
/// A version that is none or newer than the console; an agent that cannot.
pub async fn upgrade(
    console: &Console,
    actor: &Actor,
    agents: &[Agent],
    how: &Upgrade,
    unfit: Unfit,
) -> Result<String, FleetError> {
    let wanted = semver::Version::parse(&how.version)
        .map_err(|error| FleetError::invalid(format!("[request body.version]: not a semantic version: {error}")))?;
    let own = semver::Version::parse(&console.settings.version).unwrap_or(semver::Version::new(0, 0, 0));
    if !how.force && (wanted.major, wanted.minor) > (own.major, own.minor) {
        return Err(FleetError::invalid(format!(
            "Cannot upgrade agent to {}: it is newer than the console, which has {}",
            how.version, console.settings.version
        )));
    }
    let (hosted, now) = (hosted(console).await?, console.clock.now());
    let asked = Asked::of(agents, unfit, |agent| {
        refuse_hosted(&hosted, agent, "Cannot upgrade agent")?;
        if how.force {
            return Ok(());
        }
        refuse_not_upgradeable(agent, &wanted)?;
        refuse_too_soon(agent, how, now)
    })?;
    let mut data = json!({"version": how.version});
    if let Some(uri) = &how.source_uri {
        data["source_uri"] = uri.as_str().into();
    }
    let mut changes = Changes::default();
    let action = add(console, actor, "UPGRADE", data, &asked, &how.schedule, &mut changes).await?;
    for agent in &asked.agents {
        change_agent(
            &mut changes,
            agent,
            json!({"upgraded_at": null, "upgrade_started_at": clock::rfc3339_millis(now)}),
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

/// The time after an upgrade in which another one is probably a mistake.
const BETWEEN_UPGRADES: SignedDuration = SignedDuration::from_mins(10);

fn refuse_too_soon(agent: &Agent, how: &Upgrade, now: Timestamp) -> Result<(), FleetError> {
    let time = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
    let document = &agent.document;
    let told = upgrades::details(agent).map(|details| details.state);
    // One that ended badly is tried again at once.
    if told.is_some_and(upgrades::has_failed) {
        return Ok(());
    }
    let waits = time(&document.upgrade_started_at).is_some() && time(&document.upgraded_at).is_none();
    if waits || told.is_some() {
        return Err(FleetError::invalid(format!(
            "Agent {} is not upgradeable: agent is already being upgraded.",
            agent.id
        )));
    }
    match time(&document.upgraded_at) {
        Some(then) if !how.skip_rate_limit && now.duration_since(then) < BETWEEN_UPGRADES => {
            Err(FleetError::TooMany(format!(
                "agent {} was upgraded less than {} minutes ago",
                agent.id,
                BETWEEN_UPGRADES.as_mins()
            )))
        }
        _ => Ok(()),
    }
}

/// The policies whose agents only their owner changes.
async fn hosted(console: &Console) -> Result<HashSet<String>, FleetError> {
    let policies = agent_policies::all(console).await?;
    let managed = policies.iter().filter(|policy| policy.is_managed);
    Ok(managed.map(|policy| policy.id.clone()).collect())
}

fn refuse_hosted(hosted: &HashSet<String>, agent: &Agent, what: &str) -> Result<(), FleetError> {
    let policy = agent.document.policy_id.as_str();
    if hosted.contains(policy) {
        return Err(FleetError::invalid(format!(
            "{what} {} from a hosted agent policy {policy}",
            agent.id
        )));
    }
    Ok(())
}

/// Changes fields of an agent's document; the audit log has what they were.
fn change_agent(changes: &mut Changes, agent: &Agent, partial: Value) {
    let present = serde_json::to_value(&agent.document).unwrap_or_default();
    let fields = partial.as_object().cloned().unwrap_or_default();
    let was = fields.keys().map(|key| (key.clone(), present[key].clone()));
    let was = Value::Object(was.collect());
    changes.other(
        Operation::merge(indices::AGENTS, &agent.id, fields),
        "agent",
        &agent.id,
        (Some(was), Some(partial)),
    );
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
    let asked = Asked::all(&agents);
    let cancel = add(
        console,
        actor,
        "CANCEL",
        data,
        &asked,
        &Schedule::default(),
        &mut changes,
    )
    .await?;
    if action.action_type == action_type("UPGRADE")? {
        for agent in &agents {
            change_agent(
                &mut changes,
                agent,
                json!({"upgraded_at": null, "upgrade_started_at": null}),
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
pub async fn migrate(
    console: &Console,
    actor: &Actor,
    agents: &[Agent],
    data: Value,
    unfit: Unfit,
) -> Result<String, FleetError> {
    let hosted = hosted(console).await?;
    let with_fleet_server = agent_policies::with_package(console, "fleet_server").await?;
    let asked = Asked::of(agents, unfit, |agent| {
        refuse_hosted(&hosted, agent, "Cannot migrate")?;
        if with_fleet_server.contains(agent.document.policy_id.as_str()) {
            let message = format!("Cannot migrate agent {}: it runs Fleet Server", agent.id);
            return Err(FleetError::Forbidden(message));
        }
        Ok(())
    })?;
    let mut changes = Changes::default();
    let action = add(
        console,
        actor,
        "MIGRATE",
        data,
        &asked,
        &Schedule::default(),
        &mut changes,
    )
    .await?;
    changes::apply(console, actor, changes).await?;
    Ok(action.action_id)
}

/// Writes the results of an action that the console did by itself.
///
/// # Errors
/// The store cannot answer.
pub async fn acknowledge(console: &Console, action: &ActionDocument, agents: &[Agent]) -> Result<(), FleetError> {
    let operations: Vec<Operation> = agents.iter().map(|agent| result(action, &agent.id, None)).collect();
    if !operations.is_empty() {
        console.store.bulk(operations, store::Refresh::WaitFor).await?;
    }
    Ok(())
}
