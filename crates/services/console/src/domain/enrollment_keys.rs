//! Enrollment tokens: API keys that let agents enrol into one policy.

use access::NewApiKey;
use std::net::IpAddr;

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
use crate::domain::spaces;

/// More tokens than anybody keeps.
const EVERY: PageRequest = PageRequest {
    page: 1,
    per_page: 10_000,
};

/// A token and its id.
#[derive(Clone, Debug)]
pub struct EnrollmentKey {
    /// Its id.
    pub id: String,
    /// What it says; `api_key` is the token itself.
    pub document: EnrollmentApiKeyDocument,
}

impl EnrollmentKey {
    /// Whether it lets hosts in at that time (RFC 3339, milliseconds).
    pub fn is_usable(&self, now: &str) -> bool {
        let document = &self.document;
        let is_over = document.expire_at.as_deref().is_some_and(|end| end <= now);
        let is_used_up = document
            .use_limit
            .is_some_and(|limit| document.use_count.unwrap_or_default() >= limit);
        document.active && !is_over && !is_used_up
    }

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
    Ok(list(console, Query::term("policy_id", policy_id), EVERY).await?.items)
}

/// All tokens, revoked ones included, newest first.
///
/// # Errors
/// The store cannot answer.
pub async fn all(console: &Console) -> Result<Vec<EnrollmentKey>, FleetError> {
    Ok(list(console, Query::MatchAll, EVERY).await?.items)
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

/// What a new token is to be.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// The policy that agents get.
    pub policy_id: String,
    /// For people; the id is put behind it.
    pub name: Option<String>,
    /// It stops working after that.
    pub expiration: Option<SignedDuration>,
    /// Agents that may enrol with it; none: any number.
    pub use_limit: Option<u64>,
    /// Addresses and networks (`10.0.0.0/8`) that it works from; empty: all.
    pub allowed_addresses: Vec<String>,
}

impl NewKey {
    /// What every policy has from its beginning: a token without bounds.
    pub fn of_policy(policy_id: &str) -> Self {
        Self {
            policy_id: policy_id.to_owned(),
            name: Some("Default".to_owned()),
            ..Self::default()
        }
    }
}

/// Makes a token. Its name is kept as `{name} ({id})`; with `expiration` it stops working then.
///
/// # Errors
/// No such policy; a limit or an address that is none.
pub async fn create(console: &Console, actor: &Actor, new: NewKey) -> Result<EnrollmentKey, FleetError> {
    let policy_id = new.policy_id.as_str();
    let policy = console.find(&AGENT_POLICIES, policy_id).await?;
    let policy = policy.ok_or_else(|| no_policy(policy_id))?;
    check_bounds(&new)?;
    let id = uuid::Uuid::new_v4().to_string();
    let name = match new.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => format!("{name} ({id})"),
        None => id.clone(),
    };
    let now = console.clock.now();
    let expires = new.expiration.and_then(|after| now.checked_add(after).ok());
    let roles = json!({"fleet-apikey-enroll": {"cluster": [], "index": [], "applications": [
        {"application": "fleet", "privileges": ["no-privileges"], "resources": ["*"]}]}});
    let key = NewApiKey {
        name: name.clone(),
        role_descriptors: roles.try_into()?,
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
        namespaces: spaces::of_fields(&policy.fields)
            .into_iter()
            .map(str::to_owned)
            .collect(),
        created_at: clock::rfc3339_millis(now),
        expire_at: expires.map(clock::rfc3339_millis),
        use_limit: new.use_limit,
        allowed_addresses: new.allowed_addresses,
        ..EnrollmentApiKeyDocument::default()
    };
    let mut changes = Changes::default();
    let after = json!({"name": document.name, "policy_id": policy_id, "api_key_id": key.id, "expire_at": document.expire_at,
        "use_limit": document.use_limit, "allowed_addresses": document.allowed_addresses});
    let operation = Operation::create(indices::ENROLLMENT_API_KEYS, &id, Source::of(&document));
    changes.other(operation, "enrollment_api_key", &id, (None, Some(after)));
    changes::apply(console, actor, changes).await?;
    Ok(EnrollmentKey { id, document })
}

pub(crate) fn no_policy(id: &str) -> FleetError {
    FleetError::NotFound(format!("Agent policy \"{id}\" not found"))
}

fn check_bounds(new: &NewKey) -> Result<(), FleetError> {
    if new.use_limit == Some(0) {
        return Err(FleetError::invalid(
            "[request body.use_limit]: a token must be good for one agent at least",
        ));
    }
    match new.allowed_addresses.iter().find(|text| !is_network(text)) {
        Some(wrong) => Err(FleetError::invalid(format!(
            "[request body.allowed_addresses]: `{wrong}` is neither an address nor a network such as 10.0.0.0/8"
        ))),
        None => Ok(()),
    }
}

/// An address, or an address and the number of its leading bits.
fn is_network(text: &str) -> bool {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
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
        (
            Some(
                json!({"name": key.document.name, "policy_id": key.document.policy_id, "active": key.document.active}),
            ),
            Some(json!({"name": key.document.name, "policy_id": key.document.policy_id, "active": false, "deleted": delete})),
        ),
    );
    changes::apply(console, actor, changes).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_told_from_other_texts() {
        for text in ["10.1.2.3", "10.0.0.0/8", "::1", "fd00::/8"] {
            assert!(is_network(text), "{text}");
        }
        for text in ["", "web-1", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "fd00::/129"] {
            assert!(!is_network(text), "{text}");
        }
    }
}
