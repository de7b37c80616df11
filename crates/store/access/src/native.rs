//! Identities that the store keeps itself, where it is an Elasticsearch with security.
//!
//! Keys, tokens and secrets of the fleet are made there, so that Fleet Servers and agents may talk to that store directly as
//! well. Its users, keys and tokens are accepted here with the rights that it gives them; what is not among our own
//! documents is asked of it once and remembered as our own are.

use std::sync::Arc;

use async_trait::async_trait;
use secret::Secret;
use serde_json::{Map, Value};

use crate::access::{Access, AccessError, AuthenticationError, rejected};
use crate::api_key::{ApiKeyFilter, ApiKeyInfo};
use crate::credential::Credential;
use crate::fleet::ApiKeys;
use crate::principal::{OwnDescriptors, Principal, PrincipalKind};
use crate::role::{Rights, builtin};
use crate::role_descriptors::RoleDescriptors;
use crate::service_account;

/// What a store does that knows users, keys and tokens of its own.
#[async_trait]
pub trait NativeIdentities: ApiKeys {
    /// Whose credential it is; never asked about certificates.
    async fn identify(&self, credential: &Credential) -> Result<NativeIdentity, AuthenticationError>;
    /// The keys that match; those of a list of ids one by one.
    async fn keys(&self, filter: &ApiKeyFilter) -> Result<Vec<ApiKeyInfo>, AccessError>;
    /// Changes a key of the fleet; `false` when nothing changed.
    async fn change_key(
        &self,
        id: &str,
        roles: Option<&RoleDescriptors>,
        metadata: Option<Value>,
    ) -> Result<bool, AccessError>;
    /// Makes a token of a service account.
    async fn create_service_token(&self, account: &str, name: &str) -> Result<Secret, AccessError>;
    /// The names of the tokens of a service account.
    async fn service_tokens(&self, account: &str) -> Result<Vec<String>, AccessError>;
    /// Revokes a token; `false` when there is none.
    async fn delete_service_token(&self, account: &str, name: &str) -> Result<bool, AccessError>;
}

/// Somebody whom the store knows.
#[derive(Clone, Debug)]
pub enum NativeIdentity {
    /// A person or a program with a password.
    User {
        /// Their name.
        username: String,
        /// The names of their roles.
        roles: Vec<String>,
        /// What these are: name to role.
        descriptors: Map<String, Value>,
        /// A person's name.
        full_name: Option<String>,
        /// A person's address.
        email: Option<String>,
        /// Free.
        metadata: Map<String, Value>,
    },
    /// Who shows an API key.
    ApiKey(Box<ApiKeyInfo>),
    /// Who shows a service token.
    ServiceToken {
        /// Such as `elastic/fleet-server`.
        account: String,
        /// The token's name.
        token: String,
    },
}

impl Access {
    /// Whose credential it is, as the store says.
    pub(crate) async fn identify(
        &self,
        native: &dyn NativeIdentities,
        credential: &Credential,
    ) -> Result<Arc<Principal>, AuthenticationError> {
        match native.identify(credential).await? {
            NativeIdentity::ApiKey(key) => Ok(Arc::new(of_key(*key))),
            NativeIdentity::ServiceToken { account, token } => service_account::principal(&account, &token)
                .map(Arc::new)
                .ok_or_else(|| rejected(format!("service account [{account}] has no rights here"))),
            NativeIdentity::User {
                username,
                roles,
                mut descriptors,
                full_name,
                email,
                metadata,
            } => {
                take_known_roles(&mut descriptors);
                Ok(Arc::new(Principal {
                    username,
                    kind: PrincipalKind::User,
                    roles,
                    full_name,
                    email,
                    metadata,
                    api_key_id: None,
                    assigned: Arc::new(Rights::of_another_server(&descriptors)),
                    limited_by: None,
                    own_descriptors: OwnDescriptors::Roles(descriptors),
                }))
            }
        }
    }

    /// Where the keys that `owner` makes are kept, when not here: those of the fleet, which Fleet Servers look for there.
    pub(crate) fn native_keys_of(&self, owner: &Principal) -> Option<&dyn NativeIdentities> {
        let of_the_fleet = matches!(&owner.own_descriptors, OwnDescriptors::Account(account) if account == service_account::FLEET_SERVER_ACCOUNT);
        self.native.as_deref().filter(|_| of_the_fleet)
    }
}

/// Built-in roles are written with patterns there that nothing here reads.
fn take_known_roles(descriptors: &mut Map<String, Value>) {
    for (name, descriptor) in descriptors {
        if let Some(role) = builtin(name) {
            *descriptor = serde_json::to_value(role).expect("our own types can always be written");
        }
    }
}

fn of_key(key: ApiKeyInfo) -> Principal {
    let by_account = service_account::rights(&key.username);
    let by_service_account = by_account.is_some() && key.realm == "_service_account";
    let limits = by_account.filter(|_| by_service_account).unwrap_or_else(|| {
        let mut descriptors = key.limited_by.unwrap_or_default();
        take_known_roles(&mut descriptors);
        Arc::new(Rights::of_another_server(&descriptors))
    });
    let assigned = if key.role_descriptors.is_empty() {
        Arc::clone(&limits)
    } else {
        Arc::new(Rights::of_another_server(&key.role_descriptors))
    };
    Principal {
        username: key.username,
        kind: PrincipalKind::ApiKey {
            name: key.name,
            by_service_account,
        },
        roles: Vec::new(),
        full_name: None,
        email: None,
        metadata: key.metadata,
        api_key_id: Some(key.id),
        assigned,
        limited_by: Some(limits),
        own_descriptors: OwnDescriptors::ApiKey,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::privilege::IndexPrivilege as P;

    fn key(username: &str, realm: &str, roles: &Value, limited_by: Option<Value>) -> Principal {
        of_key(ApiKeyInfo {
            id: "id".to_owned(),
            name: "k".to_owned(),
            created: jiff::Timestamp::UNIX_EPOCH,
            expires: None,
            invalidated: false,
            invalidated_at: None,
            username: username.to_owned(),
            realm: realm.to_owned(),
            metadata: Map::from_iter([("agent_id".to_owned(), json!("a"))]),
            role_descriptors: roles.clone().try_into().unwrap(),
            limited_by: limited_by.map(|roles| roles.as_object().cloned().unwrap()),
        })
    }

    #[test]
    fn keys_are_limited_by_whoever_made_them() {
        let wide = json!({"r": {"cluster": ["monitor", "of_another_version"],
            "indices": [{"names": ["*"], "privileges": ["all", "of_another_version"]}]}});
        let agent = key("elastic/fleet-server", "_service_account", &wide, None);
        assert!(agent.may_index("logs-x-y", P::CreateDocument) && !agent.may_index("mine", P::Read));
        assert_eq!(agent.verified_agent_id(), Some("a"));
        let reader = json!({"r": {"indices": [{"names": ["mine"], "privileges": ["read"]}]}});
        let person = key("somebody", "native", &wide, Some(reader));
        assert!(person.may_index("mine", P::Read) && !person.may_index("mine", P::Delete));
        assert_eq!(person.verified_agent_id(), None, "nobody vouches for it");
        // A user may be called as the account is.
        let impostor = key("elastic/fleet-server", "native", &wide, None);
        assert!(!impostor.may_index("logs-x-y", P::CreateDocument));
        assert_eq!(impostor.verified_agent_id(), None);
    }

    #[test]
    fn what_is_not_understood_grants_nothing() {
        let limits = json!({"r": {"indices": [{"names": ["*"], "privileges": ["all"]}]}});
        for roles in [
            json!({"r": {"indices": [{"names": ["*"], "privileges": ["read"], "query": "{\"match_all\":{}}"}]}}),
            json!({"r": {"indices": [{"names": ["*"], "privileges": ["read"], "field_security": {"grant": ["a"]}}]}}),
            json!({"r": {"indices": [{"names": ["*"], "privileges": ["read"]}], "restriction": {"workflows": ["w"]}}}),
            json!({"r": {"indices": [{"names": ["*"], "privileges": ["read"]}], "of_another_version": 1}}),
            json!({"r": {"indices": [{"names": ["/.*/"], "privileges": ["read"]}]}}),
        ] {
            assert!(
                !key("u", "native", &roles, Some(limits.clone())).may_index("mine", P::Read),
                "{roles}"
            );
        }
    }
}
