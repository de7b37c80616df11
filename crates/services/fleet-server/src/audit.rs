//! `POST /api/fleet/agents/{id}/audit/unenroll`: an agent says that it goes. Its keys stay valid.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use protocol::{AgentId, AuditUnenrollReason, AuditUnenrollRequest, indices};
use serde_json::{Map, Value};
use store::{Operation, Refresh};

use crate::body;
use crate::error::ApiError;
use crate::server::FleetServer;

pub(crate) async fn unenroll(
    State(server): State<Arc<FleetServer>>,
    Path(id): Path<AgentId>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let agent = server.authenticate_agent(&parts.headers, &id).await?;
    if agent.record.audit_reason.as_deref() == Some(AuditUnenrollReason::Orphaned.as_str()) {
        return Err(ApiError::AuditReasonConflict);
    }
    let limit = server.settings.limits.audit_unenroll.max_body;
    let body = body::read(&parts.headers, body, limit, server.settings.timeouts.read).await?;
    let request: AuditUnenrollRequest = body::decode("audit unenroll", &body)?;
    let time: jiff::Timestamp = request
        .timestamp
        .parse()
        .map_err(|_| ApiError::BadRequest("unable to decode audit unenroll request: bad timestamp".to_owned()))?;
    let mut change = Map::new();
    change.insert("audit_unenrolled_reason".into(), request.reason.as_str().into());
    change.insert("audit_unenrolled_time".into(), clock::rfc3339_seconds(time).into());
    change.insert("updated_at".into(), server.now_text().into());
    write_agent(&server, &id, change).await?;
    Ok(Response::default())
}

/// Merges a change into an agent's document, durable and visible when it returns.
pub(crate) async fn write_agent(
    server: &FleetServer,
    id: &AgentId,
    change: Map<String, Value>,
) -> Result<(), ApiError> {
    let outcomes = server.store.bulk(
        vec![Operation::merge(indices::AGENTS, id.as_str(), change)],
        Refresh::WaitFor,
    );
    for outcome in outcomes.await? {
        outcome.written().map_err(ApiError::store)?;
    }
    Ok(())
}
