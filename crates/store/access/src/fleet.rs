//! What a Fleet Server needs of keys and secrets, whoever keeps them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use secret::Secret;
use store::Operation;

use crate::access::{Access, AccessError, AuthenticationError};
use crate::api_key::{ApiKey, ApiKeyInfo, Invalidated, NewApiKey};
use crate::principal::Principal;
use crate::role_descriptors::RoleDescriptors;
use crate::secret_store;

/// A key or a secret that is valid once `writes` are done: its maker puts them into the bulk with the document that makes use
/// of it, so that both come with one wait for the disk. Without writes it is valid already.
#[derive(Clone, Debug)]
pub struct Issued<T> {
    /// The key, or the id of the secret.
    pub value: T,
    /// For the store that the Fleet Server writes its own documents to.
    pub writes: Vec<Operation>,
}

impl<T> From<T> for Issued<T> {
    /// It is valid already.
    fn from(value: T) -> Self {
        Self {
            value,
            writes: Vec::new(),
        }
    }
}

/// Keys and secrets as a Fleet Server uses them: [`Access`] here, or the native ones of a remote Elasticsearch.
#[async_trait]
pub trait ApiKeys: fmt::Debug + Send + Sync + 'static {
    /// Whose API key `id:key` is.
    async fn authenticate(&self, pair: &Secret) -> Result<Arc<Principal>, AuthenticationError>;
    /// The same for a caller that will see the key often. With a number, the key is good for as long as
    /// [`ApiKeys::revocations`] gives that number; without one, it has to be shown each time.
    async fn authenticate_lasting(&self, pair: &Secret) -> Result<Option<u64>, AuthenticationError> {
        self.authenticate(pair).await.map(|_| None)
    }
    /// Rises whenever a key is revoked or changed.
    fn revocations(&self) -> u64 {
        0
    }
    /// Makes a key limited by the rights of the Fleet Server's account.
    async fn create(&self, key: NewApiKey) -> Result<ApiKey, AccessError>;
    /// The same, where the caller has more to write at once.
    async fn issue(&self, key: NewApiKey) -> Result<Issued<ApiKey>, AccessError> {
        self.create(key).await.map(Issued::from)
    }
    /// The key of that id.
    async fn read(&self, id: &str) -> Result<Option<ApiKeyInfo>, AccessError>;
    /// Changes the roles of keys; returns those that changed.
    async fn update(&self, ids: &[String], roles: &RoleDescriptors) -> Result<Vec<String>, AccessError>;
    /// Revokes keys.
    async fn invalidate(&self, ids: &[String]) -> Result<Invalidated, AccessError>;
    /// Keeps a secret and gives it an id.
    async fn put_secret(&self, value: &Secret) -> Result<String, AccessError>;
    /// The same, where the caller has more to write at once.
    async fn issue_secret(&self, value: &Secret) -> Result<Issued<String>, AccessError> {
        self.put_secret(value).await.map(Issued::from)
    }
    /// The secret of that id.
    async fn secret(&self, id: &str) -> Result<Option<Secret>, AccessError>;
    /// Forgets a secret; `false` when there is none.
    async fn delete_secret(&self, id: &str) -> Result<bool, AccessError>;
    /// Called now and then: lets go of what is remembered and too old to be used.
    fn tidy(&self) {}
}

#[async_trait]
impl ApiKeys for Access {
    async fn authenticate(&self, pair: &Secret) -> Result<Arc<Principal>, AuthenticationError> {
        self.authenticate_api_key(pair).await
    }

    async fn authenticate_lasting(&self, pair: &Secret) -> Result<Option<u64>, AuthenticationError> {
        let revocations = self.keys.epoch();
        self.authenticate_api_key(pair).await?;
        // What is not in the cache may end, or was changed just now.
        let id = pair.expose().split_once(':').map_or("", |(id, _)| id);
        let lasts = self.store.is_exclusive() && self.keys.fresh(id, self.clock.now()).is_some();
        Ok(lasts.then_some(revocations))
    }

    fn revocations(&self) -> u64 {
        self.keys.epoch()
    }

    async fn create(&self, key: NewApiKey) -> Result<ApiKey, AccessError> {
        self.create_api_key(&self.fleet_server, key).await
    }

    async fn issue(&self, key: NewApiKey) -> Result<Issued<ApiKey>, AccessError> {
        self.issue_api_key(&self.fleet_server, key).await
    }

    async fn read(&self, id: &str) -> Result<Option<ApiKeyInfo>, AccessError> {
        self.api_key(id).await
    }

    async fn update(&self, ids: &[String], roles: &RoleDescriptors) -> Result<Vec<String>, AccessError> {
        let mut updated = Vec::new();
        for id in ids {
            if self.update_api_key(id, Some(roles), None).await? {
                updated.push(id.clone());
            }
        }
        Ok(updated)
    }

    async fn invalidate(&self, ids: &[String]) -> Result<Invalidated, AccessError> {
        self.invalidate_api_keys(ids).await
    }

    async fn put_secret(&self, value: &Secret) -> Result<String, AccessError> {
        Access::put_secret(self, value).await
    }

    async fn issue_secret(&self, value: &Secret) -> Result<Issued<String>, AccessError> {
        match &self.native {
            Some(native) => native.issue_secret(value).await,
            None => Ok(secret_store::issue_secret(value, self.clock.now())),
        }
    }

    async fn secret(&self, id: &str) -> Result<Option<Secret>, AccessError> {
        Access::secret(self, id).await
    }

    async fn delete_secret(&self, id: &str) -> Result<bool, AccessError> {
        Access::delete_secret(self, id).await
    }

    fn tidy(&self) {
        self.keys.tidy(self.clock.now());
    }
}
