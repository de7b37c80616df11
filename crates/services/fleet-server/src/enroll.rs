//! `POST /api/fleet/agents/enroll`: a token becomes an agent with a key of its own.
//!
//! Order: API key, User-Agent, the token's record, body. The work itself is a task that the server tracks: when the
//! client goes away before the answer, or a step fails, what was made is taken back.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex};

use access::{Issued, NewApiKey, RoleDescriptors};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use protocol::{
    AgentId, AgentReference, ApiKeyId, EnrollRequest, EnrollResponse, EnrolledAgent, EnrollmentType,
    EnrollmentUseDocument, PolicyId, indices,
};
use query::{Query, SearchRequest};
use secret::Secret;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use store::{Operation, Outcome, Refresh, RejectionKind, Source};
use tokio_util::sync::CancellationToken;

use crate::agent_record::AgentRecord;
use crate::auth::ShownKey;
use crate::enrollment_token::EnrollmentToken;
use crate::error::ApiError;
use crate::server::FleetServer;
use crate::{body, host_description, peer};

/// Everything about one enrolment that the request tells.
#[derive(Debug)]
struct Enrolment {
    request: EnrollRequest,
    kind: EnrollmentType,
    token: Arc<EnrollmentToken>,
    token_key_id: String,
    version: String,
    address: Option<IpAddr>,
}

/// What an enrolment comes down to.
#[derive(Debug)]
enum Plan {
    /// A new document.
    Create(AgentId),
    /// The document of an agent that gave the right replace token.
    Replace { id: AgentId, old_key: String },
}

/// The enrolments in progress, by `enrollment_id`.
#[derive(Debug, Default)]
pub(crate) struct EnrollmentIds(Mutex<HashSet<String>>);

pub(crate) async fn enroll(State(server): State<Arc<FleetServer>>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let key = ShownKey::from_headers(&parts.headers)?;
    let configured = configured_token(&server, &key)?;
    if configured.is_none() {
        server.check_key(&key).await?;
    }
    let version = server.version.check(&parts.headers)?;
    let ttl = server.settings.cache.ttl_enroll_key;
    let token = match configured {
        Some(token) => token,
        None => server.tokens.find(&*server.store, &key.id, ttl).await?,
    };
    let address = peer::address(&parts.extensions);
    token.check(server.clock.now(), address)?;
    let body = body::read(
        &parts.headers,
        body,
        server.settings.limits.enroll.max_body,
        server.settings.timeouts.read,
    );
    let request: EnrollRequest = body::decode("enroll", &body.await?)?;
    let kind = request
        .enrollment_type
        .parse()
        .map_err(|error: protocol::UnknownEnrollmentType| ApiError::Invalid(error.to_string()))?;
    let enrolment = Enrolment {
        request,
        kind,
        token,
        token_key_id: key.id,
        version,
        address,
    };
    Ok(axum::Json(run_tracked(server, enrolment).await?).into_response())
}

/// The token of the configuration that the client shows, if it is one.
fn configured_token(server: &FleetServer, key: &ShownKey) -> Result<Option<Arc<EnrollmentToken>>, ApiError> {
    let is_shown = |token: &Secret| secret::constant_time_eq(token.expose().as_bytes(), key.key().as_bytes());
    let tokens = &server.settings.static_policy_tokens;
    let Some(token) = tokens.iter().find(|token| is_shown(&token.token_key)) else {
        return Ok(None);
    };
    let policy_id = PolicyId::from(token.policy_id.as_str());
    match server.policies.newest(&policy_id) {
        Some(_) => Ok(Some(Arc::new(EnrollmentToken::of_configuration(&token.policy_id)))),
        None => Err(ApiError::PolicyNotFound),
    }
}

/// Runs the enrolment to its end even when the client is gone, and takes it back then.
async fn run_tracked(server: Arc<FleetServer>, enrolment: Enrolment) -> Result<EnrollResponse, ApiError> {
    let abandoned = CancellationToken::new();
    let guard = abandoned.clone().drop_guard();
    let tracked = Arc::clone(&server);
    let task = server.tasks.spawn(async move {
        let enrolled = run(&tracked, enrolment).await?;
        if abandoned.is_cancelled() {
            take_back(&tracked, &enrolled.item.id, enrolled.item.access_api_key_id.as_str()).await;
            return Err(ApiError::RequestTimeout);
        }
        Ok(enrolled)
    });
    let result = task.await.map_err(ApiError::store)?;
    guard.disarm();
    result
}

async fn run(server: &FleetServer, enrolment: Enrolment) -> Result<EnrollResponse, ApiError> {
    let enrollment_id = enrolment.request.enrollment_id.as_deref().filter(|id| !id.is_empty());
    let _in_progress = enrollment_id.map(|id| server.enrollment_ids.begin(id)).transpose()?;
    if let Some(id) = enrollment_id {
        forget_unfinished(server, id).await?;
    }
    let plan = plan(server, &enrolment).await?;
    enrolment.token.count_use(&*server.store).await?;
    let enrolled = match carry_out(server, &enrolment, plan).await {
        Ok(enrolled) => enrolled,
        Err(error) => {
            if let Err(error) = enrolment.token.give_back_use(&*server.store).await {
                tracing::warn!(error = %error, "a use of an enrollment token was counted for an enrolment that failed");
            }
            return Err(error);
        }
    };
    server.metrics.enrolments.inc();
    tracing::info!(agent.id = %enrolled.item.id, policy.id = %enrolled.item.policy_id, "agent enrolled");
    Ok(enrolled)
}

impl EnrollmentIds {
    fn begin(&self, id: &str) -> Result<InProgress<'_>, ApiError> {
        let is_new = self
            .0
            .lock()
            .expect("no holder of this lock can panic")
            .insert(id.to_owned());
        if is_new {
            Ok(InProgress {
                ids: self,
                id: id.to_owned(),
            })
        } else {
            Err(ApiError::EnrollDuplicate)
        }
    }
}

struct InProgress<'a> {
    ids: &'a EnrollmentIds,
    id: String,
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.ids
            .0
            .lock()
            .expect("no holder of this lock can panic")
            .remove(&self.id);
    }
}

/// An agent of the same `enrollment_id` that never checked in is the same host, which did not get its answer.
async fn forget_unfinished(server: &FleetServer, enrollment_id: &str) -> Result<(), ApiError> {
    server.store.refresh(indices::AGENTS).await?;
    let request = SearchRequest::new(indices::AGENTS)
        .query(Query::term("enrollment_id", enrollment_id))
        .size(10);
    for hit in server.store.search(request).await?.hits {
        let (record, _) = AgentRecord::read(&hit.document.source)?;
        if !record.has_checked_in && record.active {
            take_back(
                server,
                &hit.document.id.as_str().into(),
                record.access_api_key_id.as_str(),
            )
            .await;
        }
    }
    Ok(())
}

async fn plan(server: &FleetServer, enrolment: &Enrolment) -> Result<Plan, ApiError> {
    let Some(id) = enrolment.request.id.as_deref().filter(|id| !id.is_empty()) else {
        return Ok(Plan::Create(new_id(server)));
    };
    let id = AgentId::from(id);
    let Some(document) = server.store.get(indices::AGENTS, id.as_str()).await? else {
        return Ok(Plan::Create(id));
    };
    let (record, _) = AgentRecord::read(&document.source)?;
    if !record.active {
        let delete = vec![Operation::delete(indices::AGENTS, id.as_str())];
        all_written(server.store.bulk(delete, Refresh::Soon).await?)?;
        return Ok(Plan::Create(id));
    }
    let token = enrolment
        .request
        .replace_token
        .as_ref()
        .filter(|token| !token.is_empty());
    let (Some(token), Some(stored)) = (token, &record.replace_token) else {
        return Err(ApiError::AgentNotReplaceable);
    };
    let may_replace =
        record.policy_id == enrolment.token.policy_id && server.replace_tokens.matches(token, stored).await?;
    if !may_replace {
        return Err(ApiError::AgentNotReplaceable);
    }
    Ok(Plan::Replace {
        id,
        old_key: record.access_api_key_id.as_str().to_owned(),
    })
}

fn new_id(server: &FleetServer) -> AgentId {
    AgentId::new_at(u64::try_from(server.clock.now().as_millisecond()).unwrap_or(0))
}

async fn carry_out(server: &FleetServer, enrolment: &Enrolment, plan: Plan) -> Result<EnrollResponse, ApiError> {
    let (Plan::Create(id) | Plan::Replace { id, .. }) = &plan;
    let replace_token = match enrolment
        .request
        .replace_token
        .as_ref()
        .filter(|token| !token.is_empty())
    {
        Some(token) if matches!(plan, Plan::Create(_)) => Some(server.replace_tokens.hash(token).await?),
        _ => None,
    };
    let local_metadata = host_description::with_id(enrolment.request.metadata.local.as_deref(), id)?;
    // The key is valid with the agent's document: one wait for the disk.
    let Issued { value: key, writes } = server.keys.issue(access_key(id)).await?;
    let enrolled_at = server.now_text();
    let item = EnrolledAgent {
        id: id.clone(),
        active: true,
        policy_id: enrolment.token.policy_id.clone(),
        enrollment_type: enrolment.kind.as_str().to_owned(),
        enrolled_at,
        user_provided_metadata: Value::Null,
        local_metadata: Some(local_metadata),
        access_api_key_id: key.id.as_str().into(),
        access_api_key: key.encoded(),
        status: "online".to_owned(),
        tags: sorted_tags(enrolment.request.metadata.tags.clone()),
    };
    let written = match &plan {
        Plan::Create(_) => create_document(server, enrolment, &item, replace_token, writes).await,
        Plan::Replace { old_key, .. } => replace_document(server, enrolment, &item, old_key, writes).await,
    };
    if let Err(error) = written {
        let is_new = matches!(plan, Plan::Create(_));
        if is_new {
            take_back(server, id, &key.id).await;
        } else {
            invalidate(server, &key.id).await;
        }
        return Err(error);
    }
    Ok(EnrollResponse {
        action: "created".to_owned(),
        item,
    })
}

/// An agent's own key. It opens nothing in Elasticsearch: Fleet Server checks whose it is.
fn access_key(id: &AgentId) -> NewApiKey {
    static ROLES: LazyLock<RoleDescriptors> = LazyLock::new(|| {
        let nothing = json!({
            "cluster": [],
            "applications": [{"application": "fleet", "privileges": ["no-privileges"], "resources": ["*"]}]
        });
        Map::from_iter([("fleet-apikey-access".to_owned(), nothing)]).into()
    });
    NewApiKey {
        name: id.to_string(),
        role_descriptors: ROLES.clone(),
        metadata: json!({"agent_id": id, "managed": true, "managed_by": "fleet-server", "type": "access"}),
        expires: None,
    }
}

/// A new agent's document, with the fields that a stock server gives it.
#[derive(Serialize)]
struct NewAgent<'a> {
    #[serde(flatten)]
    common: CommonFields<'a>,
    action_seq_no: [i64; 1],
    active: bool,
    enrolled_at: &'a str,
    policy_id: &'a PolicyId,
    #[serde(rename = "type")]
    enrollment_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    enrollment_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replace_token: Option<String>,
}

/// What a new and a replaced document have in common.
#[derive(Serialize)]
struct CommonFields<'a> {
    access_api_key_id: &'a ApiKeyId,
    agent: AgentReference,
    local_metadata: Option<&'a RawValue>,
    policy_base_id: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    namespaces: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
}

async fn create_document(
    server: &FleetServer,
    enrolment: &Enrolment,
    item: &EnrolledAgent,
    replace_token: Option<String>,
    mut writes: Vec<Operation>,
) -> Result<(), ApiError> {
    let document = NewAgent {
        common: CommonFields::of(enrolment, item),
        action_seq_no: [-1],
        active: true,
        enrolled_at: &item.enrolled_at,
        policy_id: &item.policy_id,
        enrollment_type: &item.enrollment_type,
        enrollment_id: enrolment.request.enrollment_id.as_deref().filter(|id| !id.is_empty()),
        replace_token,
    };
    writes.push(use_record(server, enrolment, item));
    writes.push(Operation::create(
        indices::AGENTS,
        item.id.as_str(),
        Source::of(&document),
    ));
    let mut outcomes = server.store.bulk(writes, Refresh::WaitFor).await?;
    match outcomes.pop() {
        Some(Outcome::Rejected(rejection)) if rejection.kind == RejectionKind::VersionConflict => {
            return Err(ApiError::AgentNotReplaceable);
        }
        Some(outcome) => outcomes.push(outcome),
        None => return Err(ApiError::store(std::io::Error::other("the store returned no outcome"))),
    }
    all_written(outcomes)
}

fn all_written(outcomes: Vec<Outcome>) -> Result<(), ApiError> {
    outcomes
        .into_iter()
        .try_for_each(|outcome| outcome.written().map(drop))
        .map_err(ApiError::store)
}

async fn replace_document(
    server: &FleetServer,
    enrolment: &Enrolment,
    item: &EnrolledAgent,
    old_key: &str,
    mut writes: Vec<Operation>,
) -> Result<(), ApiError> {
    let common = serde_json::to_value(CommonFields::of(enrolment, item)).map_err(ApiError::store)?;
    let mut change = common.as_object().cloned().unwrap_or_default();
    change.insert("tags".into(), json!(item.tags));
    change.insert("policy_revision_idx".into(), 0.into());
    change.insert("updated_at".into(), server.now_text().into());
    for gone in [
        "audit_unenrolled_reason",
        "audit_unenrolled_time",
        "unenrolled_at",
        "unenrolled_reason",
    ] {
        change.insert(gone.into(), Value::Null);
    }
    writes.push(use_record(server, enrolment, item));
    writes.push(Operation::merge(indices::AGENTS, item.id.as_str(), change));
    all_written(server.store.bulk(writes, Refresh::WaitFor).await?)?;
    server.agents.remove(&item.id);
    invalidate(server, old_key).await;
    Ok(())
}

impl<'a> CommonFields<'a> {
    fn of(enrolment: &'a Enrolment, item: &'a EnrolledAgent) -> Self {
        Self {
            access_api_key_id: &item.access_api_key_id,
            agent: AgentReference {
                id: item.id.clone(),
                version: enrolment.version.clone(),
                agent_type: None,
            },
            local_metadata: item.local_metadata.as_deref(),
            policy_base_id: item.policy_id.base(),
            namespaces: &enrolment.token.namespaces,
            tags: &item.tags,
        }
    }
}

/// Who enrolled with which token, from where.
fn use_record(server: &FleetServer, enrolment: &Enrolment, item: &EnrolledAgent) -> Operation {
    let host_name = item.local_metadata.as_deref().and_then(host_description::host_name);
    let record = EnrollmentUseDocument {
        timestamp: clock::rfc3339_millis(server.clock.now()),
        enrollment_key_id: enrolment.token.document_id.clone(),
        api_key_id: enrolment.token_key_id.as_str().into(),
        agent_id: item.id.clone(),
        policy_id: item.policy_id.clone(),
        address: enrolment.address.map(|address| address.to_canonical().to_string()),
        host_name,
    };
    Operation::append(indices::ENROLLMENT_USES, Source::of(&record))
}

fn sorted_tags(tags: Option<Vec<String>>) -> Vec<String> {
    let mut tags = tags.unwrap_or_default();
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// Undoes an enrolment as far as possible.
async fn take_back(server: &FleetServer, id: &AgentId, key: &str) {
    invalidate(server, key).await;
    let deleted = server
        .store
        .bulk(vec![Operation::delete(indices::AGENTS, id.as_str())], Refresh::WaitFor)
        .await;
    if let Err(error) = deleted {
        tracing::warn!(error = %error, agent.id = %id, "the document of a failed enrolment was not deleted");
    }
    server.agents.remove(id);
}

async fn invalidate(server: &FleetServer, key: &str) {
    if let Err(error) = server.keys.invalidate(&[key.to_owned()]).await {
        tracing::warn!(error = %error, api_key.id = %key, "an API key that is no longer used was not invalidated");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_sorted_and_each_is_there_once() {
        let tags = ["web", "linux", "web"].map(str::to_owned).to_vec();
        assert_eq!(sorted_tags(Some(tags)), ["linux", "web"]);
        assert!(sorted_tags(None).is_empty());
    }

    #[test]
    fn one_enrollment_id_enrols_once_at_a_time() {
        let ids = EnrollmentIds::default();
        let first = ids.begin("e").unwrap();
        assert!(matches!(ids.begin("e"), Err(ApiError::EnrollDuplicate)));
        drop(first);
        assert!(ids.begin("e").is_ok());
    }
}
