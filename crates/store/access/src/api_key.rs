//! API keys: made, checked, changed, invalidated.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine};
use query::Query;
use secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{Operation, Outcome, Refresh, SeqNo, Source};

use crate::access::{Access, AccessError, AuthenticationError, SECURITY_INDEX, is_conflict, rejected, secret_matches};
use crate::credential::Credential;
use crate::fleet::Issued;
use crate::native::NativeIdentities;
use crate::principal::{OwnDescriptors, Principal, PrincipalKind};
use crate::privilege::{ClusterPrivilege, Privilege};
use crate::random;
use crate::role::Rights;
use crate::role_descriptors::{RoleDescriptors, RoleSet};
use crate::service_account;

/// What a new API key is to be.
#[derive(Clone, Debug, Default)]
pub struct NewApiKey {
    /// Free text.
    pub name: String,
    /// Empty: all rights of its maker.
    pub role_descriptors: RoleDescriptors,
    /// Free.
    pub metadata: Value,
    /// When it stops working.
    pub expires: Option<jiff::Timestamp>,
}

/// A new API key. The only time its secret is seen.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its secret.
    pub key: Secret,
    /// When it stops working.
    pub expires: Option<jiff::Timestamp>,
}

impl ApiKey {
    /// What stands after `ApiKey ` in the header: base64 of `id:key`.
    pub fn encoded(&self) -> Secret {
        Secret::from(BASE64_STANDARD.encode(self.pair().expose()))
    }

    /// `id:key`, as agents have it in their configuration.
    pub fn pair(&self) -> Secret {
        Secret::from(format!("{}:{}", self.id, self.key.expose()))
    }
}

/// What is known of an API key.
#[derive(Clone, Debug)]
pub struct ApiKeyInfo {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: jiff::Timestamp,
    /// When it stops working.
    pub expires: Option<jiff::Timestamp>,
    /// It was revoked.
    pub invalidated: bool,
    /// When it was revoked.
    pub invalidated_at: Option<jiff::Timestamp>,
    /// Its maker.
    pub username: String,
    /// Its maker's realm.
    pub realm: String,
    /// Free.
    pub metadata: Map<String, Value>,
    /// Role name to role.
    pub role_descriptors: RoleDescriptors,
    /// The roles of its maker, when it was made by a user.
    pub limited_by: Option<Map<String, Value>>,
}

/// Which API keys. Everything that is set must hold; with nothing set, all.
#[derive(Clone, Debug, Default)]
pub struct ApiKeyFilter {
    /// By id.
    pub ids: Vec<String>,
    /// By name; a `*` at the end matches any rest.
    pub name: Option<String>,
    /// By maker.
    pub username: Option<String>,
    /// By the maker's realm.
    pub realm: Option<String>,
    /// Leave out revoked and expired ones.
    pub active_only: bool,
}

/// What became of an invalidation.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Invalidated {
    /// Revoked now.
    pub invalidated: Vec<String>,
    /// Revoked before.
    pub previously_invalidated: Vec<String>,
}

/// The document of a key.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct KeyDocument {
    kind: String,
    id: String,
    name: String,
    /// Hex SHA-256 of the secret.
    hash: String,
    /// Milliseconds since 1970.
    created: i64,
    expires: Option<i64>,
    invalidated: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    invalidated_at: Option<i64>,
    username: String,
    realm: String,
    #[serde(default)]
    metadata: Map<String, Value>,
    /// The digest of its roles, which are a document of their own: ten thousand keys have the same ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role_set: Option<String>,
    /// The roles of a key that an older version wrote.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    role_descriptors: Map<String, Value>,
    /// Made by this service account, whose built-in rights limit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    /// Made by a user with these roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limited_by: Option<Map<String, Value>>,
}

impl Access {
    /// Makes a key for `owner`.
    ///
    /// # Errors
    /// [`AccessError::Forbidden`] when they may not, [`AccessError::Role`] when a role is not understood.
    pub async fn create_api_key(&self, owner: &Principal, new: NewApiKey) -> Result<ApiKey, AccessError> {
        let Issued { value, writes } = self.issue_api_key(owner, new).await?;
        self.write_all(writes).await?;
        Ok(value)
    }

    /// The same without the write that makes the key valid, which is left to the caller.
    pub(crate) async fn issue_api_key(&self, owner: &Principal, new: NewApiKey) -> Result<Issued<ApiKey>, AccessError> {
        if !owner.may(Privilege::Cluster(ClusterPrivilege::ManageOwnApiKey)) {
            return Err(AccessError::Forbidden("making API keys needs one of the cluster privileges [manage_own_api_key,manage_api_key,manage_security,all]".to_owned()));
        }
        let name = new.name.trim().to_owned();
        if name.is_empty() || name.len() > 256 || name.starts_with('_') {
            return Err(AccessError::Invalid(
                "[name] of an API key must have 1 to 256 characters and not begin with an underscore".to_owned(),
            ));
        }
        let metadata = object("metadata", new.metadata)?;
        let now = self.clock.now();
        if new.expires.is_some_and(|expires| expires <= now) {
            return Err(AccessError::Invalid(
                "[expiration] of an API key must be in the future".to_owned(),
            ));
        }
        if let Some(native) = self.native_keys_of(owner) {
            let metadata = Value::Object(metadata);
            let new = NewApiKey { name, metadata, ..new };
            return native.create(new).await.map(Issued::from);
        }
        let limits = Limits::of(owner, &new.role_descriptors)?;
        self.keep_role_set(&new.role_descriptors).await?;
        let (id, key) = (random::id(now), random::key());
        let document = KeyDocument {
            kind: "api_key".to_owned(),
            id: id.clone(),
            name: name.clone(),
            hash: hex::encode(random::hash(&key)),
            created: now.as_millisecond(),
            expires: new.expires.map(jiff::Timestamp::as_millisecond),
            invalidated: false,
            invalidated_at: None,
            username: owner.username.clone(),
            realm: owner.realm().0.to_owned(),
            metadata,
            role_set: role_set_name(&new.role_descriptors),
            role_descriptors: Map::new(),
            account: limits.account,
            limited_by: limits.roles,
        };
        let write = Operation::create(SECURITY_INDEX, document_id(&id), Source::of(&document));
        let value = ApiKey {
            id,
            name,
            key: Secret::from(key),
            expires: new.expires,
        };
        Ok(Issued {
            value,
            writes: vec![write],
        })
    }

    /// The key of that id.
    pub async fn api_key(&self, id: &str) -> Result<Option<ApiKeyInfo>, AccessError> {
        match self.read::<KeyDocument>(&document_id(id)).await? {
            Some(document) => Ok(Some(self.info(document).await?)),
            None => match &self.native {
                Some(native) => native.read(id).await,
                None => Ok(None),
            },
        }
    }

    /// The keys that match, up to 10,000, oldest first.
    pub async fn api_keys(&self, filter: &ApiKeyFilter) -> Result<Vec<ApiKeyInfo>, AccessError> {
        let mut keys = if filter.ids.is_empty() {
            self.all::<KeyDocument>("api_key", filter.query()).await?
        } else {
            self.keys_by_id(&filter.ids).await?
        };
        keys.sort_by(|left, right| (left.created, &left.id).cmp(&(right.created, &right.id)));
        let now = self.clock.now();
        let mut matching = Vec::new();
        for key in keys {
            let key = self.info(key).await?;
            matching.extend(filter.matches(&key, now).then_some(key));
        }
        if let Some(native) = &self.native {
            matching.extend(self.native_keys(&**native, filter, &matching).await?);
        }
        Ok(matching)
    }

    /// Those that match of the keys that are none of ours.
    async fn native_keys(
        &self,
        native: &dyn NativeIdentities,
        filter: &ApiKeyFilter,
        ours: &[ApiKeyInfo],
    ) -> Result<Vec<ApiKeyInfo>, AccessError> {
        let is_ours = |id: &String| ours.iter().any(|key| key.id == *id);
        let mut asked = filter.clone();
        asked.ids.retain(|id| !is_ours(id));
        if asked.ids.is_empty() && !filter.ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut keys = native.keys(&asked).await?;
        let now = self.clock.now();
        keys.retain(|key| filter.matches(key, now));
        keys.sort_by(|left, right| (left.created, &left.id).cmp(&(right.created, &right.id)));
        Ok(keys)
    }

    async fn role_set_of(&self, key: &KeyDocument) -> Result<RoleSet, AccessError> {
        match &key.role_set {
            Some(digest) => self.role_set(digest).await,
            None => RoleSet::new(key.role_descriptors.clone().into()),
        }
    }

    async fn info(&self, key: KeyDocument) -> Result<ApiKeyInfo, AccessError> {
        let roles = self.role_set_of(&key).await?.descriptors;
        Ok(key.into_info(roles))
    }

    async fn keys_by_id(&self, ids: &[String]) -> Result<Vec<KeyDocument>, AccessError> {
        let mut keys = Vec::with_capacity(ids.len());
        for id in ids {
            keys.extend(self.read::<KeyDocument>(&document_id(id)).await?);
        }
        Ok(keys)
    }

    /// Revokes keys; from the next call on they are refused. Unknown ids are passed over.
    pub async fn invalidate_api_keys(&self, ids: &[String]) -> Result<Invalidated, AccessError> {
        let mut result = Invalidated::default();
        let mut operations = Vec::new();
        for key in self.keys_by_id(ids).await? {
            if key.invalidated {
                result.previously_invalidated.push(key.id);
                continue;
            }
            let change = json!({ "invalidated": true, "invalidated_at": self.clock.now().as_millisecond() });
            operations.push(merge(&key.id, change));
            result.invalidated.push(key.id);
        }
        let written = self.write_all(operations).await;
        for id in &result.invalidated {
            self.keys.invalidate(id);
        }
        written?;
        if let Some(native) = &self.native {
            let ours = |id: &String| result.invalidated.contains(id) || result.previously_invalidated.contains(id);
            let others: Vec<String> = ids.iter().filter(|id| !ours(id)).cloned().collect();
            let done = native.invalidate(&others).await?;
            for id in &others {
                self.keys.invalidate(id);
            }
            result.invalidated.extend(done.invalidated);
            result.previously_invalidated.extend(done.previously_invalidated);
        }
        Ok(result)
    }

    /// Changes roles and metadata of a key; `None` leaves them. `false` when nothing changed.
    ///
    /// # Errors
    /// [`AccessError::NotFound`] when there is no such key, [`AccessError::Invalid`] when it is revoked.
    pub async fn update_api_key(
        &self,
        id: &str,
        roles: Option<&RoleDescriptors>,
        metadata: Option<Value>,
    ) -> Result<bool, AccessError> {
        if let Some(native) = &self.native
            && self.read::<KeyDocument>(&document_id(id)).await?.is_none()
        {
            let changed = native.change_key(id, roles, metadata).await?;
            self.keys.invalidate(id);
            return Ok(changed);
        }
        let metadata = metadata.map(|metadata| object("metadata", metadata)).transpose()?;
        if let Some(roles) = roles {
            self.keep_role_set(roles).await?;
        }
        // Compares and sets, so that an invalidation at the same moment is not undone.
        loop {
            let (present, seq_no) = self.key_to_update(id).await?;
            let changed = present.changed(roles, metadata.clone());
            if changed == present {
                return Ok(false);
            }
            let replace = Operation::replace(SECURITY_INDEX, document_id(id), Source::of(&changed), seq_no);
            match self.one(replace).await? {
                Ok(_) => break,
                Err(rejection) if is_conflict(&rejection) => {}
                Err(rejection) => return Err(AccessError::Refused(rejection)),
            }
        }
        self.keys.invalidate(id);
        Ok(true)
    }

    /// The key, unless it is revoked, and the number of its last write.
    async fn key_to_update(&self, id: &str) -> Result<(KeyDocument, SeqNo), AccessError> {
        let document_id = document_id(id);
        let Some(present) = self.store.get(SECURITY_INDEX, &document_id).await? else {
            return Err(AccessError::NotFound(format!(
                "no API key owned by requesting user found for ID [{id}]"
            )));
        };
        let key: KeyDocument = present.source.parse().map_err(|error| AccessError::Unreadable {
            id: document_id,
            reason: error.to_string(),
        })?;
        if key.invalidated {
            return Err(AccessError::Invalid(format!(
                "cannot update invalidated API key [{id}]"
            )));
        }
        Ok((key, present.seq_no))
    }

    async fn write_all(&self, operations: Vec<Operation>) -> Result<(), AccessError> {
        if operations.is_empty() {
            return Ok(());
        }
        let outcomes = self.store.bulk(operations, Refresh::Soon).await?;
        for outcome in outcomes {
            if let Outcome::Rejected(rejection) = outcome {
                return Err(AccessError::Refused(rejection));
            }
        }
        Ok(())
    }

    pub(crate) async fn authenticate_api_key(&self, pair: &Secret) -> Result<Arc<Principal>, AuthenticationError> {
        let Some((id, key)) = pair.expose().split_once(':') else {
            return Err(rejected("an API key must be `id:key`"));
        };
        let key = Secret::from(key);
        let now = self.clock.now();
        if let Some((hash, principal)) = self.keys.fresh(id, now) {
            return if secret_matches(&key, &hash) {
                Ok(principal)
            } else {
                Err(wrong_key(id))
            };
        }
        let epoch = self.keys.epoch();
        let Some(document) = self.read::<KeyDocument>(&document_id(id)).await? else {
            let Some(native) = self.native.as_deref() else {
                return Err(rejected(format!("unable to find apikey with id {id}")));
            };
            let principal = self.identify(native, &Credential::ApiKey(pair.clone())).await?;
            let hash = random::hash(key.expose());
            self.keys.put(id, (hash, Arc::clone(&principal)), now, epoch);
            return Ok(principal);
        };
        let hash = decode_hash(&document)?;
        if !secret_matches(&key, &hash) {
            return Err(wrong_key(id));
        }
        if document.invalidated {
            return Err(rejected(format!("api key [{id}] has been invalidated")));
        }
        let expires = document.expires;
        if expires.is_some_and(|expires| expires <= now.as_millisecond()) {
            return Err(rejected("api key is expired"));
        }
        let assigned = self.role_set_of(&document).await?;
        let principal = Arc::new(document.into_principal(assigned)?);
        // A key that expires is read each time rather than remembered beyond its end.
        if expires.is_none() {
            self.keys.put(id, (hash, Arc::clone(&principal)), now, epoch);
        }
        Ok(principal)
    }
}

impl ApiKeyFilter {
    fn query(&self) -> Query {
        let term = |field: &str, value: &Option<String>| value.as_ref().map(|value| Query::term(field, value.as_str()));
        let name = self.name.as_ref().map(|name| match name.strip_suffix('*') {
            Some(prefix) => Query::Prefix("name".to_owned(), prefix.to_owned()),
            None => Query::term("name", name.as_str()),
        });
        let clauses: Vec<_> = [name, term("username", &self.username), term("realm", &self.realm)]
            .into_iter()
            .flatten()
            .collect();
        if clauses.is_empty() {
            Query::MatchAll
        } else {
            Query::all_of(clauses)
        }
    }

    fn matches(&self, key: &ApiKeyInfo, now: jiff::Timestamp) -> bool {
        let name = self.name.as_ref().is_none_or(|name| match name.strip_suffix('*') {
            Some(prefix) => key.name.starts_with(prefix),
            None => key.name == *name,
        });
        name && self.username.as_ref().is_none_or(|username| key.username == *username)
            && self.realm.as_ref().is_none_or(|realm| key.realm == *realm)
            && (!self.active_only || (!key.invalidated && key.expires.is_none_or(|expires| expires > now)))
    }
}

impl KeyDocument {
    /// With other roles or metadata, where they are given.
    fn changed(&self, roles: Option<&RoleDescriptors>, metadata: Option<Map<String, Value>>) -> Self {
        let mut changed = self.clone();
        if let Some(roles) = roles {
            changed.role_set = role_set_name(roles);
            changed.role_descriptors = Map::new();
        }
        if let Some(metadata) = metadata {
            changed.metadata = metadata;
        }
        changed
    }

    fn into_principal(self, roles: RoleSet) -> Result<Principal, AccessError> {
        let limited_by = match (&self.account, &self.limited_by) {
            (Some(account), _) => service_account::rights(account).unwrap_or_default(),
            (None, Some(roles)) => Arc::new(Rights::from_descriptors(roles)?),
            (None, None) => Arc::default(),
        };
        let assigned = if roles.descriptors.is_empty() {
            Arc::clone(&limited_by)
        } else {
            roles.rights
        };
        Ok(Principal {
            username: self.username,
            kind: PrincipalKind::ApiKey {
                name: self.name,
                by_service_account: self.account.is_some(),
            },
            roles: Vec::new(),
            full_name: None,
            email: None,
            metadata: self.metadata,
            api_key_id: Some(self.id),
            assigned,
            limited_by: Some(limited_by),
            own_descriptors: OwnDescriptors::ApiKey,
        })
    }

    fn into_info(self, role_descriptors: RoleDescriptors) -> ApiKeyInfo {
        let time = |millis: i64| jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        ApiKeyInfo {
            id: self.id,
            name: self.name,
            created: time(self.created),
            expires: self.expires.map(time),
            invalidated: self.invalidated,
            invalidated_at: self.invalidated_at.map(time),
            username: self.username,
            realm: self.realm,
            metadata: self.metadata,
            role_descriptors,
            limited_by: self.limited_by,
        }
    }
}

fn wrong_key(id: &str) -> AuthenticationError {
    rejected(format!("invalid credentials for API key [{id}]"))
}

fn decode_hash(document: &KeyDocument) -> Result<[u8; 32], AccessError> {
    let mut hash = [0; 32];
    hex::decode_to_slice(&document.hash, &mut hash).map_err(|error| AccessError::Unreadable {
        id: document_id(&document.id),
        reason: error.to_string(),
    })?;
    Ok(hash)
}

fn merge(id: &str, change: Value) -> Operation {
    let partial = change.as_object().cloned().unwrap_or_default();
    Operation::merge(SECURITY_INDEX, document_id(id), partial)
}

/// What a key is limited by, beside its own roles.
struct Limits {
    /// The rights of this service account.
    account: Option<String>,
    /// These roles.
    roles: Option<Map<String, Value>>,
}

impl Limits {
    /// Of a key made by `owner`.
    fn of(owner: &Principal, roles: &RoleDescriptors) -> Result<Self, AccessError> {
        let by_roles = |roles| Self {
            account: None,
            roles: Some(roles),
        };
        match &owner.own_descriptors {
            OwnDescriptors::Account(account) => Ok(Self {
                account: Some(account.clone()),
                roles: None,
            }),
            OwnDescriptors::Roles(roles) => Ok(by_roles(roles.clone())),
            OwnDescriptors::ApiKey if grants_nothing(roles)? => Ok(by_roles(Map::new())),
            OwnDescriptors::ApiKey => Err(AccessError::Invalid(
                "creating derived api keys requires an explicit role descriptor that is empty (has no privileges)"
                    .to_owned(),
            )),
        }
    }
}

/// How a key's document names its roles; nothing when it has none.
fn role_set_name(roles: &RoleDescriptors) -> Option<String> {
    (!roles.is_empty()).then(|| roles.digest().to_owned())
}

fn grants_nothing(roles: &RoleDescriptors) -> Result<bool, AccessError> {
    Ok(!roles.is_empty() && Rights::from_descriptors(roles)?.is_empty())
}

fn document_id(id: &str) -> String {
    format!("api-key-{id}")
}

/// `null` and absent are an empty object.
fn object(field: &str, value: Value) -> Result<Map<String, Value>, AccessError> {
    match value {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        other => Err(AccessError::Invalid(format!(
            "[{field}] must be an object, not [{other}]"
        ))),
    }
}
