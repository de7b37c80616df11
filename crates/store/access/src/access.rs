//! [`Access`]: the store of identities, and the check of a credential.

use std::sync::Arc;

use clock::SharedClock;
use query::SearchRequest;
use secret::Secret;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use store::{Operation, Outcome, Refresh, Rejection, RejectionKind, Source, Store, StoreError};
use tokio::sync::Semaphore;

use crate::cache::Cache;
use crate::credential::Credential;
use crate::native::NativeIdentities;
use crate::principal::Principal;
use crate::random;
use crate::role::{BUILTIN_ROLES, Rights, RoleDescriptor, RoleError, builtin};
use crate::role_descriptors::RoleSet;

/// Users, roles, API keys and service tokens.
pub const SECURITY_INDEX: &str = ".flotilla-security";
/// Fleet's secrets.
pub const SECRETS_INDEX: &str = ".flotilla-secrets";

/// Checked API keys that are remembered; an entry is about 1 KiB, its rights are shared.
const CACHED_KEYS: usize = 10_000;
/// Roles of API keys that are remembered: as many as there are policies with permissions of their own; an entry is about 20 KiB.
const CACHED_ROLE_SETS: usize = 200;
/// Checked passwords that are remembered.
const CACHED_PASSWORDS: usize = 100;
/// Passwords that are hashed at once; each takes 19 MiB for the moment.
const PASSWORD_CHECKS_AT_ONCE: usize = 2;

/// Identities and what they may do, kept in a store.
#[derive(Debug)]
pub struct Access {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: SharedClock,
    /// By `id` of API keys and `account/name` of service tokens: the hash of the secret and whose it is.
    pub(crate) keys: Cache<([u8; 32], Arc<Principal>)>,
    /// By digest: the roles of API keys.
    pub(crate) role_sets: Cache<RoleSet>,
    /// By user name: a keyed hash of the password that was right.
    pub(crate) passwords: Cache<([u8; 32], Arc<Principal>)>,
    pub(crate) password_checks: Semaphore,
    /// Random for each process, so that a memory dump of the cache does not hold plain hashes of passwords.
    pub(crate) password_salt: [u8; 16],
    pub(crate) fleet_server: Arc<Principal>,
    /// Whom the store knows itself.
    pub(crate) native: Option<Arc<dyn NativeIdentities>>,
}

/// Why the request could not be done.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The store could not answer.
    #[error("cannot reach the documents of users and keys")]
    Store(#[from] StoreError),
    /// The store refused a document of ours.
    #[error("the store refused a document of users and keys: {0}")]
    Refused(Rejection),
    /// A document of ours cannot be read.
    #[error("document `{id}` in `{SECURITY_INDEX}` cannot be read: {reason}")]
    Unreadable {
        /// The document.
        id: String,
        /// Why.
        reason: String,
    },
    /// A role that cannot be accepted.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// A request that makes no sense; names the field.
    #[error("{0}")]
    Invalid(String),
    /// The caller may not.
    #[error("{0}")]
    Forbidden(String),
    /// It is there already.
    #[error("{0}")]
    Conflict(String),
    /// It is not there.
    #[error("{0}")]
    NotFound(String),
}

/// Why a credential was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// Unknown, wrong, expired or revoked; the text is for the log, and for API keys for the client as well.
    #[error("{0}")]
    Rejected(String),
    /// It could not be checked.
    #[error(transparent)]
    Unchecked(#[from] AccessError),
}

impl Access {
    /// Opens the identities that `store` keeps, making the indices at first.
    pub async fn open(store: Arc<dyn Store>, clock: SharedClock) -> Result<Arc<Self>, AccessError> {
        Self::open_beside(store, clock, None).await
    }

    /// The same beside identities that the store keeps itself.
    pub async fn open_beside(
        store: Arc<dyn Store>,
        clock: SharedClock,
        native: Option<Arc<dyn NativeIdentities>>,
    ) -> Result<Arc<Self>, AccessError> {
        make_index(&*store, SECURITY_INDEX, &security_mapping()).await?;
        make_index(&*store, SECRETS_INDEX, &json!({ "dynamic": false, "properties": {} })).await?;
        Ok(Arc::new(Self {
            store,
            clock,
            keys: Cache::new(CACHED_KEYS),
            role_sets: Cache::new(CACHED_ROLE_SETS),
            passwords: Cache::new(CACHED_PASSWORDS),
            password_checks: Semaphore::new(PASSWORD_CHECKS_AT_ONCE),
            password_salt: random::bytes(),
            fleet_server: Arc::new(crate::service_account::fleet_server("internal")),
            native,
        }))
    }

    /// Whose credential it is.
    pub async fn authenticate(&self, credential: &Credential) -> Result<Arc<Principal>, AuthenticationError> {
        match credential {
            Credential::ApiKey(pair) => self.authenticate_api_key(pair).await,
            Credential::Bearer(token) => self.authenticate_service_token(token).await,
            Credential::Basic { username, password } => self.authenticate_user(username, password).await,
            Credential::Certificate { common_name } => self.authenticate_certificate(common_name).await,
        }
    }

    /// The principal that a Fleet Server in this process acts as.
    pub fn fleet_server_principal(&self) -> Arc<Principal> {
        Arc::clone(&self.fleet_server)
    }

    /// Creates or replaces a role. `true` when it is new.
    pub async fn put_role(&self, name: &str, role: RoleDescriptor) -> Result<bool, AccessError> {
        if builtin(name).is_some() {
            return Err(AccessError::Invalid(format!(
                "role [{name}] is reserved and may not be modified"
            )));
        }
        check_name("role", name)?;
        Rights::default().add(name, &role)?;
        let document = RoleDocument {
            kind: "role".to_owned(),
            name: name.to_owned(),
            role,
        };
        let created = self
            .write(Operation::index(SECURITY_INDEX, role_id(name), Source::of(&document)))
            .await?;
        self.forget_checked();
        Ok(created)
    }

    /// A role, built-in or made.
    pub async fn role(&self, name: &str) -> Result<Option<RoleDescriptor>, AccessError> {
        if let Some(role) = builtin(name) {
            return Ok(Some(role));
        }
        Ok(self
            .read::<RoleDocument>(&role_id(name))
            .await?
            .map(|document| document.role))
    }

    /// All roles by name, built-in ones first.
    pub async fn roles(&self) -> Result<Vec<(String, RoleDescriptor)>, AccessError> {
        let mut roles: Vec<_> = BUILTIN_ROLES
            .iter()
            .filter_map(|&name| Some((name.to_owned(), builtin(name)?)))
            .collect();
        let made: Vec<RoleDocument> = self.all("role", query::Query::MatchAll).await?;
        roles.extend(made.into_iter().map(|document| (document.name, document.role)));
        Ok(roles)
    }

    /// Deletes a role; `false` when there is none.
    pub async fn delete_role(&self, name: &str) -> Result<bool, AccessError> {
        if builtin(name).is_some() {
            return Err(AccessError::Invalid(format!(
                "role [{name}] is reserved and may not be deleted"
            )));
        }
        let deleted = self.remove(SECURITY_INDEX, &role_id(name)).await?;
        self.forget_checked();
        Ok(deleted)
    }

    /// The rights of roles by name and their descriptors; unknown names grant nothing.
    pub(crate) async fn rights_of(
        &self,
        names: &[String],
    ) -> Result<(Rights, serde_json::Map<String, serde_json::Value>), AccessError> {
        let mut rights = Rights::default();
        let mut descriptors = serde_json::Map::new();
        for name in names {
            let Some(role) = self.role(name).await? else { continue };
            rights.add(name, &role)?;
            let value = serde_json::to_value(&role).expect("our own types can always be written");
            descriptors.insert(name.clone(), value);
        }
        Ok((rights, descriptors))
    }

    /// Checks each credential anew.
    pub fn forget_checked(&self) {
        self.keys.clear();
        self.passwords.clear();
    }

    /// The document `id` as `T`.
    pub(crate) async fn read<T: DeserializeOwned>(&self, id: &str) -> Result<Option<T>, AccessError> {
        let Some(document) = self.store.get(SECURITY_INDEX, id).await? else {
            return Ok(None);
        };
        document
            .source
            .parse()
            .map(Some)
            .map_err(|error| unreadable(id, &error))
    }

    /// Every document of `kind` that matches, up to 10,000.
    pub(crate) async fn all<T: DeserializeOwned>(
        &self,
        kind: &str,
        filter: query::Query,
    ) -> Result<Vec<T>, AccessError> {
        self.store.refresh(SECURITY_INDEX).await?;
        let query = query::Query::all_of(vec![query::Query::term("kind", kind), filter]);
        let found = self
            .store
            .search(SearchRequest::new(SECURITY_INDEX).query(query).size(10_000))
            .await?;
        found
            .hits
            .iter()
            .map(|hit| {
                hit.document
                    .source
                    .parse()
                    .map_err(|e| unreadable(&hit.document.id, &e))
            })
            .collect()
    }

    /// Writes one document; `true` when it is new.
    pub(crate) async fn write(&self, operation: Operation) -> Result<bool, AccessError> {
        let written = self.one(operation).await?.map_err(AccessError::Refused)?;
        Ok(written.result == store::WriteResult::Created)
    }

    /// Removes one document; `false` when there was none.
    pub(crate) async fn remove(&self, index: &str, id: &str) -> Result<bool, AccessError> {
        let written = self
            .one(Operation::delete(index, id))
            .await?
            .map_err(AccessError::Refused)?;
        Ok(written.result == store::WriteResult::Deleted)
    }

    pub(crate) async fn one(&self, operation: Operation) -> Result<Result<store::Written, Rejection>, AccessError> {
        let outcome = self.store.bulk(vec![operation], Refresh::Soon).await?.pop();
        Ok(outcome.map(Outcome::written).expect("a store answers each operation"))
    }
}

#[derive(serde::Deserialize, Serialize)]
struct RoleDocument {
    kind: String,
    name: String,
    role: RoleDescriptor,
}

fn role_id(name: &str) -> String {
    format!("role-{name}")
}

fn unreadable(id: &str, error: &serde_json::Error) -> AccessError {
    AccessError::Unreadable {
        id: id.to_owned(),
        reason: error.to_string(),
    }
}

/// Names of users, roles and tokens: printable ASCII, at most 507 characters, no space at either end.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), AccessError> {
    let printable = name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if name.is_empty() || name.len() > 507 || !printable || name.trim() != name {
        return Err(AccessError::Invalid(format!(
            "{what} names must be 1 to 507 printable ASCII characters without leading or trailing spaces, not [{name}]"
        )));
    }
    Ok(())
}

/// Whether the rejection says that the document is there already.
pub(crate) fn is_conflict(rejection: &Rejection) -> bool {
    rejection.kind == RejectionKind::VersionConflict
}

async fn make_index(store: &dyn Store, name: &str, mappings: &serde_json::Value) -> Result<(), AccessError> {
    match store.create_index(name, json!({ "mappings": mappings })).await {
        Ok(()) | Err(StoreError::AlreadyExists(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn security_mapping() -> serde_json::Value {
    let keyword = json!({ "type": "keyword" });
    json!({
        "dynamic": false,
        "properties": {
            "kind": keyword, "id": keyword, "name": keyword, "account": keyword,
            "username": keyword, "realm": keyword,
            "invalidated": { "type": "boolean" },
            "created": { "type": "long" }, "expires": { "type": "long" },
        },
    })
}

/// The reason that every failed check gives to the log: what kind of credential, whose, and why.
pub(crate) fn rejected(reason: impl Into<String>) -> AuthenticationError {
    AuthenticationError::Rejected(reason.into())
}

/// Whether `presented` hashes to `kept`, in constant time.
pub(crate) fn secret_matches(presented: &Secret, kept: &[u8; 32]) -> bool {
    secret::constant_time_eq(&random::hash(presented.expose()), kept)
}
