//! The peer's own API keys; and Fleet's secrets, in the peer's store for them or as documents of ours.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use access::{
    AccessError, ApiKey, ApiKeyInfo, ApiKeys, AuthenticationError, Invalidated, NewApiKey, Principal, RoleDescriptors,
};
use async_trait::async_trait;
use clock::SharedClock;
use http::{HeaderValue, Method};
use jiff::Timestamp;
use secret::Secret;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{Operation, Refresh, Source, Store, StoreError, WriteResult};
use tokio::time::Instant;

use crate::bulk::new_id;
use crate::error::Failure;
use crate::settings::{RemoteSettings, api_key_header, sensitive};
use crate::store::RemoteStore;
use crate::wire::{Answer, Call, segment};

/// Secrets where the peer has no `_fleet/secret`. The Fleet Server's account may write only to names of a few shapes;
/// `.fleet-servers*` is the one of them that nobody else uses. Source: the account's role, asked of Elasticsearch 9.5.3.
const SECRETS_INDEX: &str = ".fleet-servers-secrets";
/// How long a new key may stay out of sight of the calls that search for keys: they see the last refresh.
const UNSEEN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Keys of the last seconds; at 1,500 a second for [`UNSEEN`].
const MOST_RECENT: usize = 15_000;

/// API keys that the peer keeps.
#[derive(Debug)]
pub(crate) struct NativeKeys {
    pub(crate) store: Arc<RemoteStore>,
    clock: SharedClock,
    /// `owner=true`: a service account may see only its own keys.
    own_only: bool,
    /// Makes and changes keys in place of the store's credential: with it they belong to the Fleet Servers' account.
    account: Option<HeaderValue>,
    recent: Mutex<HashMap<String, Instant>>,
}

#[derive(Deserialize)]
struct Made {
    id: String,
    name: String,
    api_key: Secret,
    #[serde(default)]
    expiration: Option<i64>,
}

#[derive(Deserialize)]
pub(crate) struct Listed {
    pub(crate) api_keys: Vec<ListedKey>,
}

#[derive(Deserialize)]
pub(crate) struct ListedKey {
    pub(crate) id: String,
    #[serde(default)]
    name: Option<String>,
    creation: i64,
    #[serde(default)]
    expiration: Option<i64>,
    invalidated: bool,
    #[serde(default)]
    invalidation: Option<i64>,
    #[serde(default)]
    username: String,
    #[serde(default)]
    realm: String,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    #[serde(default)]
    role_descriptors: Option<Map<String, Value>>,
    /// One object for each principal behind the key; there is one.
    #[serde(default)]
    limited_by: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
struct InvalidatedBody {
    #[serde(default)]
    invalidated_api_keys: Vec<String>,
    #[serde(default)]
    previously_invalidated_api_keys: Vec<String>,
    #[serde(default)]
    error_count: u64,
}

#[derive(Deserialize)]
struct Updated {
    #[serde(default)]
    updated: Vec<String>,
    #[serde(default)]
    noops: Vec<String>,
}

#[derive(Deserialize)]
struct Authenticated {
    username: String,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    #[serde(default)]
    api_key: Option<AuthenticatedKey>,
}

#[derive(Deserialize)]
struct AuthenticatedKey {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct SecretId {
    id: String,
}

#[derive(Deserialize, Serialize)]
struct SecretDocument {
    #[serde(serialize_with = "Secret::serialize_exposed")]
    value: Secret,
}

impl NativeKeys {
    /// `account`: a token of the Fleet Servers' account, where the store's credential is another's.
    pub(crate) fn new(store: Arc<RemoteStore>, settings: &RemoteSettings, account: Option<&Secret>) -> Self {
        Self {
            store,
            clock: settings.clock.clone(),
            own_only: settings.credential.owns_its_keys(),
            account: account.map(|token| sensitive(&format!("Bearer {}", token.expose()))),
            recent: Mutex::default(),
        }
    }

    pub(crate) async fn send(&self, call: Call) -> Result<Answer, AccessError> {
        Ok(self.store.inner().send(call).await?)
    }

    pub(crate) async fn ask<T: DeserializeOwned + Send + 'static>(&self, call: Call) -> Result<T, AccessError> {
        let answer = self.send(call).await?;
        if answer.is_success() {
            Ok(answer.parse().await?)
        } else {
            Err(refused(answer.status, &answer.body))
        }
    }

    fn has_secrets(&self) -> bool {
        self.store.inner().peer.secrets
    }

    fn made_now(&self, id: &str) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= MOST_RECENT {
            recent.retain(|_, made| made.elapsed() < UNSEEN);
        }
        if recent.len() < MOST_RECENT {
            recent.insert(id.to_owned(), Instant::now());
        }
    }

    fn seen(&self, id: &str) {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// A key that somebody has just shown: it is there, and may not be seen yet.
    pub(crate) async fn read_shown(&self, id: &str) -> Result<Option<ApiKeyInfo>, AccessError> {
        self.made_now(id);
        self.read(id).await
    }

    /// Whether the key may be there and not be seen yet.
    pub(crate) fn may_be_unseen(&self, id: &str) -> bool {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.get(id).is_some_and(|made| made.elapsed() < UNSEEN)
    }

    async fn look(&self, id: &str) -> Result<Option<ListedKey>, AccessError> {
        let path = format!(
            "/_security/api_key?id={}&owner={}&with_limited_by={}",
            segment(id),
            self.own_only,
            !self.own_only
        );
        let answer = self.send(Call::get(path)).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        if !answer.is_success() {
            return Err(refused(answer.status, &answer.body));
        }
        let listed: Listed = answer.parse().await?;
        Ok(listed.api_keys.into_iter().find(|key| key.id == id))
    }

    /// Changes keys; those of the last seconds are asked for until they are seen.
    pub(crate) async fn bulk_update(&self, ids: &[String], body: &Value) -> Result<Vec<String>, AccessError> {
        let mut call = Call::new(Method::POST, "/_security/api_key/_bulk_update")
            .json(body)
            .repeatable();
        call.authorization.clone_from(&self.account);
        let mut updated = Vec::new();
        loop {
            let done: Updated = self.ask(call.clone()).await?;
            updated.extend(
                done.updated
                    .iter()
                    .filter(|id| !updated.contains(*id))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
            let answered = |id: &String| updated.contains(id) || done.noops.contains(id);
            if !ids.iter().any(|id| !answered(id) && self.may_be_unseen(id)) {
                return Ok(updated);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn invalidate_seen(&self, ids: &[String]) -> Result<Invalidated, AccessError> {
        let body = json!({ "ids": ids, "owner": self.own_only });
        let call = Call::new(Method::DELETE, "/_security/api_key").json(&body);
        let done: InvalidatedBody = self.ask(call).await?;
        if done.error_count > 0 {
            return Err(AccessError::Store(StoreError::Unavailable(format!(
                "{} API keys could not be invalidated",
                done.error_count
            ))));
        }
        Ok(Invalidated {
            invalidated: done.invalidated_api_keys,
            previously_invalidated: done.previously_invalidated_api_keys,
        })
    }
}

#[async_trait]
impl ApiKeys for NativeKeys {
    async fn authenticate(&self, pair: &Secret) -> Result<Arc<Principal>, AuthenticationError> {
        let mut call = Call::get("/_security/_authenticate");
        call.authorization = Some(sensitive(&api_key_header(pair)));
        let answer = self.send(call).await?;
        if answer.status == 401 {
            return Err(AuthenticationError::Rejected(
                Failure::of_body(&answer.body).reason().to_owned(),
            ));
        }
        if !answer.is_success() {
            return Err(refused(answer.status, &answer.body).into());
        }
        let who: Authenticated = answer.parse().await.map_err(AccessError::from)?;
        let (shown, _) = pair.expose().split_once(':').unwrap_or_default();
        let (id, name, metadata) = match who.api_key {
            Some(key) => (key.id, key.name.unwrap_or_default(), key.metadata.or(who.metadata)),
            None => (shown.to_owned(), String::new(), who.metadata),
        };
        let principal = Principal::of_remote_api_key(&id, &name, &who.username, metadata.unwrap_or_default());
        Ok(Arc::new(principal))
    }

    async fn create(&self, key: NewApiKey) -> Result<ApiKey, AccessError> {
        let mut body = json!({ "name": key.name });
        if !key.role_descriptors.is_empty() {
            body["role_descriptors"] = Value::Object((*key.role_descriptors).clone());
        }
        if !key.metadata.is_null() {
            body["metadata"] = key.metadata;
        }
        if let Some(expires) = key.expires {
            let left = expires.as_millisecond() - self.clock.now().as_millisecond();
            if left <= 0 {
                return Err(AccessError::Invalid(
                    "[expiration] of an API key must be in the future".to_owned(),
                ));
            }
            body["expiration"] = json!(format!("{left}ms"));
        }
        // Without a refresh, as the original: with one the peer makes one key a second.
        let mut call = Call::new(Method::PUT, "/_security/api_key?refresh=false").json(&body);
        call.repeatable = false;
        call.authorization.clone_from(&self.account);
        let made: Made = self.ask(call).await?;
        self.made_now(&made.id);
        Ok(ApiKey {
            id: made.id,
            name: made.name,
            key: made.api_key,
            expires: made.expiration.and_then(|time| Timestamp::from_millisecond(time).ok()),
        })
    }

    async fn read(&self, id: &str) -> Result<Option<ApiKeyInfo>, AccessError> {
        loop {
            match self.look(id).await? {
                Some(key) => {
                    self.seen(id);
                    return key.into_info().map(Some);
                }
                None if self.may_be_unseen(id) => tokio::time::sleep(LOOK_AGAIN).await,
                None => return Ok(None),
            }
        }
    }

    async fn update(&self, ids: &[String], roles: &RoleDescriptors) -> Result<Vec<String>, AccessError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let body = json!({ "ids": ids, "role_descriptors": **roles });
        self.bulk_update(ids, &body).await
    }

    async fn invalidate(&self, ids: &[String]) -> Result<Invalidated, AccessError> {
        let mut all = Invalidated::default();
        let mut open: Vec<String> = ids.to_vec();
        while !open.is_empty() {
            let done = self.invalidate_seen(&open).await?;
            open.retain(|id| !done.invalidated.contains(id) && !done.previously_invalidated.contains(id));
            all.invalidated.extend(done.invalidated);
            all.previously_invalidated.extend(done.previously_invalidated);
            open.retain(|id| self.may_be_unseen(id));
            if !open.is_empty() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        Ok(all)
    }

    async fn put_secret(&self, value: &Secret) -> Result<String, AccessError> {
        if self.has_secrets() {
            let call = Call::new(Method::POST, "/_fleet/secret").json(&json!({ "value": value.expose() }));
            return Ok(self.ask::<SecretId>(call).await?.id);
        }
        let id = new_id();
        let document = SecretDocument { value: value.clone() };
        let operation = Operation::create(SECRETS_INDEX, id.as_str(), Source::of(&document));
        self.write(operation).await?;
        Ok(id)
    }

    async fn secret(&self, id: &str) -> Result<Option<Secret>, AccessError> {
        if self.has_secrets() {
            let answer = self.send(Call::get(format!("/_fleet/secret/{}", segment(id)))).await?;
            if answer.status == 404 {
                return Ok(None);
            }
            if !answer.is_success() {
                return Err(refused(answer.status, &answer.body));
            }
            return Ok(Some(answer.parse::<SecretDocument>().await?.value));
        }
        let Some(document) = self.store.get(SECRETS_INDEX, id).await? else {
            return Ok(None);
        };
        let parsed: SecretDocument = document.source.parse().map_err(|_| AccessError::Unreadable {
            id: id.to_owned(),
            reason: "it does not hold a secret".to_owned(),
        })?;
        Ok(Some(parsed.value))
    }

    async fn delete_secret(&self, id: &str) -> Result<bool, AccessError> {
        if self.has_secrets() {
            let call = Call::new(Method::DELETE, format!("/_fleet/secret/{}", segment(id)));
            let answer = self.send(call).await?;
            return match answer.status {
                404 => Ok(false),
                _ if answer.is_success() => Ok(true),
                status => Err(refused(status, &answer.body)),
            };
        }
        let written = self.write(Operation::delete(SECRETS_INDEX, id)).await?;
        Ok(written == WriteResult::Deleted)
    }
}

impl NativeKeys {
    async fn write(&self, operation: Operation) -> Result<WriteResult, AccessError> {
        let outcome = self.store.bulk(vec![operation], Refresh::Soon).await?.pop();
        match outcome.map(store::Outcome::written) {
            Some(Ok(written)) => Ok(written.result),
            Some(Err(rejection)) => Err(AccessError::Refused(rejection)),
            None => Err(StoreError::Unavailable("the store left a write unanswered".to_owned()).into()),
        }
    }
}

impl ListedKey {
    pub(crate) fn into_info(self) -> Result<ApiKeyInfo, AccessError> {
        let time = |milliseconds: i64| {
            Timestamp::from_millisecond(milliseconds).map_err(|error| {
                AccessError::Store(StoreError::Unavailable(format!(
                    "an API key has no readable time: {error}"
                )))
            })
        };
        Ok(ApiKeyInfo {
            created: time(self.creation)?,
            expires: self.expiration.map(time).transpose()?,
            invalidated: self.invalidated,
            invalidated_at: self.invalidation.map(time).transpose()?,
            id: self.id,
            name: self.name.unwrap_or_default(),
            username: self.username,
            realm: self.realm,
            metadata: self.metadata.unwrap_or_default(),
            role_descriptors: self.role_descriptors.unwrap_or_default().into(),
            limited_by: self.limited_by.into_iter().next(),
        })
    }
}

pub(crate) fn refused(status: u16, body: &[u8]) -> AccessError {
    let failure = Failure::of_body(body);
    let reason = failure.reason().to_owned();
    match status {
        400 => AccessError::Invalid(reason),
        401 | 403 => AccessError::Forbidden(reason),
        404 => AccessError::NotFound(reason),
        409 => AccessError::Conflict(reason),
        _ => AccessError::Store(failure.into_error(status, "_security")),
    }
}
