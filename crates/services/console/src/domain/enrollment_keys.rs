//! Enrollment tokens: API keys that let agents enrol into one policy.

use access::NewApiKey;
use jiff::SignedDuration;
use protocol::{EnrollmentApiKeyDocument, indices};
use query::{Query, SearchRequest, SortOrder};
use secret::Secret;
use serde_json::json;
use store::{Operation, Source, StoreError};

use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::changes::{self, Changes};
use crate::domain::documents::AGENT_POLICIES;
use crate::domain::error::FleetError;
use crate::domain::page::{Page, PageRequest};

/// A token and its id.
#[derive(Clone, Debug)]
pub struct EnrollmentKey {
    /// Its id.
    pub id: String,
    /// What it says; `api_key` is the token itself.
    pub document: EnrollmentApiKeyDocument,
}

impl EnrollmentKey {
    /// What stands behind `--enrollment-token`.
    pub fn token(&self) -> Secret {
        Secret::from(self.document.api_key.as_str())
    }
}

/// Tokens that match, newest first.
///
/// # Errors
/// The store cannot answer.
pub async fn list(console: &Console, query: Query, page: PageRequest) -> Result<Page<EnrollmentKey>, FleetError> {
    let request = SearchRequest {
        from: page.offset(),
        track_total_hits: u64::MAX,
        ..SearchRequest::new(indices::ENROLLMENT_API_KEYS)
            .query(query)
            .size(page.per_page)
            .sort_by("created_at", SortOrder::Descending)
    };
    let found = console.store.search(request).await?;
    let items = found
        .hits
        .into_iter()
        .map(|hit| key_of(hit.document))
        .collect::<Result<_, _>>()?;
    Ok(Page {
        items,
        total: found.total,
        request: page,
    })
}

/// The tokens of a policy, revoked ones included.
///
/// # Errors
/// The store cannot answer.
pub async fn of_policy(console: &Console, policy_id: &str) -> Result<Vec<EnrollmentKey>, FleetError> {
    Ok(list(
        console,
        Query::term("policy_id", policy_id),
        PageRequest {
            page: 1,
            per_page: 10_000,
        },
    )
    .await?
    .items)
}

/// One token.
///
/// # Errors
/// None of that id.
pub async fn read(console: &Console, id: &str) -> Result<EnrollmentKey, FleetError> {
    let found = match console.store.get(indices::ENROLLMENT_API_KEYS, id).await {
        Ok(found) => found,
        Err(StoreError::IndexNotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    key_of(found.ok_or_else(|| FleetError::NotFound(format!("EnrollmentAPIKey {id} not found")))?)
}

fn key_of(document: store::Document) -> Result<EnrollmentKey, FleetError> {
    let parsed = document.source.parse().map_err(|error| FleetError::Unreadable {
        index: document.index.clone(),
        id: document.id.clone(),
        reason: error.to_string(),
    })?;
    Ok(EnrollmentKey {
        id: document.id,
        document: parsed,
    })
}

/// Makes a token. Its name is kept as `{name} ({id})`; with `expiration` it stops working then.
///
/// # Errors
/// No such policy; a hosted one; a name that is taken.
pub async fn create(
    console: &Console,
    actor: &Actor,
    policy_id: &str,
    name: Option<&str>,
    expiration: Option<SignedDuration>,
) -> Result<EnrollmentKey, FleetError> {
    if console.find(&AGENT_POLICIES, policy_id).await?.is_none() {
        return Err(FleetError::NotFound(format!("Agent policy \"{policy_id}\" not found")));
    }
    let id = uuid::Uuid::new_v4().to_string();
    let name = match name.filter(|name| !name.is_empty()) {
        Some(name) => format!("{name} ({id})"),
        None => id.clone(),
    };
    let now = console.clock.now();
    let expires = expiration.and_then(|after| now.checked_add(after).ok());
    let key = NewApiKey {
        name: name.clone(),
        role_descriptors: json!({"fleet-apikey-enroll": {"cluster": [], "index": [], "applications": [
            {"application": "fleet", "privileges": ["no-privileges"], "resources": ["*"]}]}}),
        metadata: json!({"managed_by": "fleet", "managed": true, "type": "enroll", "policy_id": policy_id}),
        expires,
    };
    let key = console
        .access
        .create_api_key(&console.access.fleet_server_principal(), key)
        .await?;
    let document = EnrollmentApiKeyDocument {
        active: true,
        api_key_id: key.id.as_str().into(),
        api_key: key.encoded().expose().to_owned(),
        name,
        policy_id: policy_id.into(),
        namespaces: vec![actor.space.clone()],
        created_at: clock::rfc3339_millis(now),
        expire_at: expires.map(clock::rfc3339_millis),
        ..EnrollmentApiKeyDocument::default()
    };
    let mut changes = Changes::default();
    let after = json!({"name": document.name, "policy_id": policy_id, "api_key_id": key.id});
    let operation = Operation::create(indices::ENROLLMENT_API_KEYS, &id, Source::of(&document));
    changes.other(operation, "enrollment_api_key", &id, Some(after));
    changes::apply(console, actor, changes).await?;
    Ok(EnrollmentKey { id, document })
}

/// Revokes a token. Its document stays, unless it is to go, too.
///
/// # Errors
/// None of that id.
pub async fn revoke(console: &Console, actor: &Actor, id: &str, delete: bool) -> Result<(), FleetError> {
    let key = read(console, id).await?;
    console
        .access
        .invalidate_api_keys(&[key.document.api_key_id.as_str().to_owned()])
        .await?;
    let mut changes = Changes::default();
    let operation = if delete {
        Operation::delete(indices::ENROLLMENT_API_KEYS, id)
    } else {
        let now = clock::rfc3339_millis(console.clock.now());
        let partial = json!({"active": false, "updated_at": now});
        Operation::merge(
            indices::ENROLLMENT_API_KEYS,
            id,
            partial.as_object().cloned().unwrap_or_default(),
        )
    };
    changes.other(
        operation,
        "enrollment_api_key",
        id,
        Some(json!({"active": false, "deleted": delete})),
    );
    changes::apply(console, actor, changes).await
}
