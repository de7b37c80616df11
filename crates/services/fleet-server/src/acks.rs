//! `POST /api/fleet/agents/{id}/acks`: what became of actions. Everything is durable when the answer goes out, and
//! acknowledging twice is the same as once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use protocol::{
    AckEvent, AckItem, AckRequest, AckResponse, ActionDocument, ActionResultDocument, ActionType, AgentId,
    PolicyActionId, indices,
};
use query::{Query, SearchRequest, SourceFilter};
use serde_json::{Map, Value, json};
use store::{Action, Operation, Outcome, Refresh, RejectionKind, Source, Update};
use tokio::time::Instant;

use crate::audit::write_agent;
use crate::auth::AuthenticatedAgent;
use crate::body;
use crate::error::ApiError;
use crate::output_keys;
use crate::server::FleetServer;

/// Types of actions kept in memory at most, and for how long.
const MOST_KNOWN: usize = 10_000;
const KNOWN_FOR: Duration = Duration::from_mins(5);

/// The types of actions lately acknowledged.
#[derive(Debug, Default)]
pub(crate) struct KnownActions(Mutex<HashMap<String, (Instant, ActionType)>>);

/// What one event comes down to.
enum Effect {
    /// Nothing to write.
    None(StatusCode),
    /// The agent runs this policy.
    Policy(PolicyActionId),
    /// An action was carried out, or failed.
    Result(ActionType),
}

pub(crate) async fn acks(
    State(server): State<Arc<FleetServer>>,
    Path(id): Path<AgentId>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let agent = server.authenticate_agent(&parts.headers, &id).await?;
    if agent.is_from_memory {
        return Err(ApiError::ServiceUnavailable);
    }
    let limit = server.settings.limits.ack.max_body;
    let body = body::read(&parts.headers, body, limit, server.settings.timeouts.read).await?;
    let request: AckRequest = body::decode("acks", &body)?;
    server.metrics.acknowledgements.inc_by(request.events.len() as u64);
    let response = acknowledge(&server, &agent, request.events).await?;
    let status = response.items.iter().map(|item| item.status).max().unwrap_or(200);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Ok((status, axum::Json(response)).into_response())
}

async fn acknowledge(
    server: &Arc<FleetServer>,
    agent: &AuthenticatedAgent,
    events: Vec<AckEvent>,
) -> Result<AckResponse, ApiError> {
    let mut items = Vec::with_capacity(events.len());
    let mut writes = Vec::new();
    let mut policy: Option<PolicyActionId> = None;
    let mut leaves = false;
    for event in events {
        let status = match effect(server, agent, &event).await? {
            Effect::None(status) => status,
            Effect::Policy(acknowledged) => {
                let is_newest = policy
                    .as_ref()
                    .is_none_or(|known| known.revision < acknowledged.revision);
                policy = if is_newest { Some(acknowledged) } else { policy };
                StatusCode::OK
            }
            Effect::Result(action_type) => {
                leaves |= is_leave(&action_type, &event);
                writes.extend(upgrade_change(server, &agent.id, &action_type, &event));
                writes.push(result_document(server, agent, event));
                StatusCode::OK
            }
        };
        let message = status.canonical_reason().unwrap_or_default().to_owned();
        items.push(AckItem {
            status: status.as_u16(),
            message,
        });
    }
    write(server, writes).await?;
    if let Some(policy) = policy {
        acknowledge_policy(server, agent, &policy).await?;
    }
    if leaves {
        unenroll(server, agent).await?;
    }
    let errors = items.iter().any(|item| item.status != 200);
    Ok(AckResponse {
        action: "acks".to_owned(),
        errors,
        items,
    })
}

async fn effect(server: &FleetServer, agent: &AuthenticatedAgent, event: &AckEvent) -> Result<Effect, ApiError> {
    if !event.agent_id.is_empty() && event.agent_id != agent.id.as_str() {
        return Ok(Effect::None(StatusCode::BAD_REQUEST));
    }
    if let Some(policy) = PolicyActionId::parse(&event.action_id) {
        let has_failed = event.error.as_deref().is_some_and(|error| !error.is_empty());
        let is_own = policy.policy_id == agent.record.policy_id;
        return Ok(if has_failed || !is_own {
            Effect::None(StatusCode::OK)
        } else {
            Effect::Policy(policy)
        });
    }
    match server.action_type(&event.action_id).await? {
        Some(action_type) => Ok(Effect::Result(action_type)),
        None => Ok(Effect::None(StatusCode::NOT_FOUND)),
    }
}

/// Whether the agent is to be unenrolled after this.
fn is_leave(action_type: &ActionType, event: &AckEvent) -> bool {
    let went_well = event.error.as_deref().is_none_or(str::is_empty);
    went_well && matches!(action_type, ActionType::Unenroll | ActionType::Migrate)
}

fn result_document(server: &FleetServer, agent: &AuthenticatedAgent, event: AckEvent) -> Operation {
    let id = format!("{}:{}", event.action_id, agent.id);
    let document = ActionResultDocument {
        action_id: event.action_id,
        agent_id: agent.id.clone(),
        namespaces: agent.record.namespaces.clone(),
        timestamp: server.now_text(),
        action_input_type: event.action_input_type,
        action_data: event.action_data,
        action_response: event.action_response,
        data: event.data,
        error: event.error.filter(|error| !error.is_empty()),
        started_at: event.started_at,
        completed_at: event.completed_at,
    };
    Operation::create(indices::ACTION_RESULTS, id, Source::of(&document))
}

/// An upgrade that is over, well or for good, is noted in the agent's document.
fn upgrade_change(server: &FleetServer, id: &AgentId, action_type: &ActionType, event: &AckEvent) -> Option<Operation> {
    if *action_type != ActionType::Upgrade {
        return None;
    }
    let will_retry = || event.payload.as_ref().is_some_and(|payload| payload["retry"] == true);
    let mut change = Map::new();
    change.insert("upgrade_started_at".into(), Value::Null);
    match event.error.as_deref().filter(|error| !error.is_empty()) {
        None => {
            change.insert("upgrade_attempts".into(), Value::Null);
            change.insert("upgraded_at".into(), server.now_text().into());
        }
        Some(_) if will_retry() => return None,
        Some(_) => {}
    }
    Some(Operation::merge(indices::AGENTS, id.as_str(), change))
}

/// Writes all at once. A result that is there already was acknowledged before.
pub(crate) async fn write(server: &FleetServer, writes: Vec<Operation>) -> Result<(), ApiError> {
    if writes.is_empty() {
        return Ok(());
    }
    for outcome in server.store.bulk(writes, Refresh::WaitFor).await? {
        match outcome {
            Outcome::Rejected(rejection) if rejection.kind != RejectionKind::VersionConflict => {
                return Err(ApiError::store(rejection));
            }
            _ => {}
        }
    }
    Ok(())
}

async fn acknowledge_policy(
    server: &Arc<FleetServer>,
    agent: &AuthenticatedAgent,
    policy: &PolicyActionId,
) -> Result<(), ApiError> {
    if let Some(newest) = server
        .policies
        .newest(&policy.policy_id)
        .filter(|newest| newest.revision == policy.revision)
    {
        output_keys::settle(server, &agent.id, &agent.record, &newest).await?;
    }
    if write_with_checkin(server, agent, policy).await? {
        return Ok(());
    }
    let params = json!({"id": policy.policy_id, "rev": policy.revision, "ts": server.now_text()});
    let update = Update::Script(params.as_object().cloned().unwrap_or_default());
    let action = Action::Update { update, expected: None };
    let id = Some(agent.id.as_str().to_owned());
    write(
        server,
        vec![Operation {
            index: indices::AGENTS.to_owned(),
            id,
            require_data_stream: false,
            action,
        }],
    )
    .await
}

/// Writes the acknowledgement and what the agent's last check-in brought at once, if nobody else has written meanwhile and
/// the agent still has this policy; `false` when that is not so.
async fn write_with_checkin(
    server: &FleetServer,
    agent: &AuthenticatedAgent,
    policy: &PolicyActionId,
) -> Result<bool, ApiError> {
    if agent.record.has_key_history || agent.record.policy_id != policy.policy_id {
        return Ok(false);
    }
    let entry = server.agents.entry(&agent.id);
    let pending = entry.take_plain_changes();
    let now = server.now_text();
    let mut partial = pending.as_ref().map_or_else(Map::new, |pending| pending.partial(&now));
    partial.insert("agent_policy_id".into(), policy.policy_id.as_str().into());
    partial.insert("policy_revision_idx".into(), policy.revision.into());
    partial.insert("updated_at".into(), now.into());
    let update = Update::Merge { partial, upsert: None };
    let expected = Some(agent.seq_no.into());
    let write = Operation {
        index: indices::AGENTS.to_owned(),
        id: Some(agent.id.as_str().to_owned()),
        require_data_stream: false,
        action: Action::Update { update, expected },
    };
    let outcome = server.store.bulk(vec![write], Refresh::WaitFor).await;
    let written = match outcome.as_deref() {
        Ok([Outcome::Done(written)]) => Some(written),
        _ => None,
    };
    match (written, pending) {
        (Some(written), pending) => {
            let mut state = entry.state();
            if pending.is_some() {
                state.last_flush = Some(Instant::now());
            }
            state.wrote(written, |record| {
                if let Some(pending) = &pending {
                    record.apply(pending);
                }
                record.agent_policy_id = Some(policy.policy_id.clone());
                record.policy_revision_idx = policy.revision;
            });
        }
        (None, Some(pending)) => entry.give_back(pending),
        (None, None) => {}
    }
    let is_written = written.is_some();
    outcome?;
    Ok(is_written)
}

/// Revokes everything that the agent has and makes it inactive. Its own key goes last: until then it can ask again, should
/// a step fail.
async fn unenroll(server: &Arc<FleetServer>, agent: &AuthenticatedAgent) -> Result<(), ApiError> {
    let record = &agent.record;
    let outputs = record.outputs.iter().map(|(_, output)| output);
    let output_keys: Vec<String> = outputs
        .clone()
        .flat_map(|output| {
            let retired = output.to_retire_api_key_ids.iter().map(|key| &key.id);
            retired.chain(Some(&output.api_key_id)).map(|id| id.as_str().to_owned())
        })
        .filter(|id| !id.is_empty())
        .collect();
    if !output_keys.is_empty() {
        server.keys.invalidate(&output_keys).await?;
    }
    for output in outputs {
        output_keys::delete_secrets(server, output).await?;
    }
    let now = server.now_text();
    let mut change = Map::new();
    change.insert("active".into(), false.into());
    change.insert("unenrolled_at".into(), now.clone().into());
    change.insert("updated_at".into(), now.into());
    write_agent(server, &agent.id, change).await?;
    server
        .keys
        .invalidate(&[record.access_api_key_id.as_str().to_owned()])
        .await?;
    server.agents.remove(&agent.id);
    tracing::info!(agent.id = %agent.id, "agent unenrolled");
    Ok(())
}

impl FleetServer {
    /// The type of an action, by its `action_id`; nothing when there is no such action.
    pub(crate) async fn action_type(&self, action_id: &str) -> Result<Option<ActionType>, ApiError> {
        if let Some(known) = self.known_actions.find(action_id) {
            return Ok(Some(known));
        }
        let mut request = SearchRequest::new(indices::ACTIONS)
            .query(Query::term("action_id", action_id))
            .size(1);
        request.source = SourceFilter::Some {
            includes: vec!["type".to_owned()],
            excludes: Vec::new(),
        };
        let Some(hit) = self.store.search(request).await?.hits.pop() else {
            return Ok(None);
        };
        let action: ActionDocument = hit.document.source.parse().map_err(ApiError::store)?;
        self.known_actions.put(action_id, &action.action_type);
        Ok(Some(action.action_type))
    }
}

impl KnownActions {
    fn find(&self, action_id: &str) -> Option<ActionType> {
        let known = self.0.lock().expect("no holder of this lock can panic");
        let (read, action_type) = known.get(action_id)?;
        (read.elapsed() < KNOWN_FOR).then(|| action_type.clone())
    }

    fn put(&self, action_id: &str, action_type: &ActionType) {
        let mut known = self.0.lock().expect("no holder of this lock can panic");
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(action_id.to_owned(), (Instant::now(), action_type.clone()));
    }
}
