//! What a Fleet Server needs of keys and secrets, whoever keeps them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use secret::Secret;

use crate::access::{Access, AccessError, AuthenticationError};
use crate::api_key::{ApiKey, ApiKeyInfo, Invalidated, NewApiKey};
use crate::principal::Principal;
use crate::role_descriptors::RoleDescriptors;

/// Keys and secrets as a Fleet Server uses them: [`Access`] here, or the native ones of a remote Elasticsearch.
#[async_trait]
pub trait ApiKeys: fmt::Debug + Send + Sync + 'static {
    /// Whose API key `id:key` is.
    async fn authenticate(&self, pair: &Secret) -> Result<Arc<Principal>, AuthenticationError>;
    /// Makes a key limited by the rights of the Fleet Server's account.
    async fn create(&self, key: NewApiKey) -> Result<ApiKey, AccessError>;
    /// The key of that id.
    async fn read(&self, id: &str) -> Result<Option<ApiKeyInfo>, AccessError>;
    /// Changes the roles of keys; returns those that changed.
    async fn update(&self, ids: &[String], roles: &RoleDescriptors) -> Result<Vec<String>, AccessError>;
    /// Revokes keys.
    async fn invalidate(&self, ids: &[String]) -> Result<Invalidated, AccessError>;
    /// Keeps a secret and gives it an id.
    async fn put_secret(&self, value: &Secret) -> Result<String, AccessError>;
    /// The secret of that id.
    async fn secret(&self, id: &str) -> Result<Option<Secret>, AccessError>;
    /// Forgets a secret; `false` when there is none.
    async fn delete_secret(&self, id: &str) -> Result<bool, AccessError>;
}

#[async_trait]
impl ApiKeys for Access {
    async fn authenticate(&self, pair: &Secret) -> Result<Arc<Principal>, AuthenticationError> {
        self.authenticate_api_key(pair).await
    }

    async fn create(&self, key: NewApiKey) -> Result<ApiKey, AccessError> {
        self.create_api_key(&self.fleet_server, key).await
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

    async fn secret(&self, id: &str) -> Result<Option<Secret>, AccessError> {
        Access::secret(self, id).await
    }

    async fn delete_secret(&self, id: &str) -> Result<bool, AccessError> {
        Access::delete_secret(self, id).await
    }
}
