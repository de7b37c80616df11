//! Who is calling, once that is proven.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::privilege::{IndexPrivilege, Privilege};
use crate::role::Rights;
use crate::service_account::FLEET_SERVER_ACCOUNT;

/// A caller whose credential was checked.
#[derive(Clone, Debug)]
pub struct Principal {
    /// A user's name, `elastic/fleet-server`, or the name of the user that made the API key.
    pub username: String,
    /// How they proved it.
    pub kind: PrincipalKind,
    /// The names of their roles; empty for API keys and service accounts.
    pub roles: Vec<String>,
    /// A person's name.
    pub full_name: Option<String>,
    /// A person's address.
    pub email: Option<String>,
    /// The user's metadata; for API keys the key's.
    pub metadata: Map<String, Value>,
    /// The API key that was used.
    pub api_key_id: Option<String>,
    /// The granted rights.
    pub(crate) assigned: Arc<Rights>,
    /// For API keys: the rights of their maker, which they never exceed.
    pub(crate) limited_by: Option<Arc<Rights>>,
    /// What an API key made by this principal is limited by, as it is kept.
    pub(crate) own_descriptors: OwnDescriptors,
}

/// How a principal proved who it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PrincipalKind {
    /// Name and password.
    User,
    /// A client certificate.
    Certificate,
    /// An API key.
    ApiKey {
        /// The key's name.
        name: String,
        /// The kind of its maker was a service account.
        by_service_account: bool,
    },
    /// A service token.
    ServiceAccount {
        /// The token's name.
        token: String,
    },
}

/// The rights that a new API key is limited by.
#[derive(Clone, Debug)]
pub(crate) enum OwnDescriptors {
    /// The built-in rights of this service account: not copied into each of a hundred thousand keys.
    Account(String),
    /// The roles as they are now.
    Roles(Map<String, Value>),
    /// An API key; it can make none with rights.
    ApiKey,
}

impl Principal {
    /// The owner of an API key that another server has checked. What it may do is that server's to say: here it may nothing.
    pub fn of_remote_api_key(id: &str, name: &str, username: &str, metadata: Map<String, Value>) -> Self {
        Self {
            username: username.to_owned(),
            kind: PrincipalKind::ApiKey {
                name: name.to_owned(),
                by_service_account: username == FLEET_SERVER_ACCOUNT,
            },
            roles: Vec::new(),
            full_name: None,
            email: None,
            metadata,
            api_key_id: Some(id.to_owned()),
            assigned: Arc::default(),
            limited_by: None,
            own_descriptors: OwnDescriptors::ApiKey,
        }
    }

    /// Whether they may do it.
    pub fn may(&self, privilege: Privilege<'_>) -> bool {
        let granted = |rights: &Rights| match privilege {
            Privilege::Index { index, privilege } => !is_restricted(index) && rights.index(index, privilege),
            Privilege::Cluster(privilege) => rights.cluster(privilege),
            Privilege::Fleet(privilege) => rights.fleet(privilege),
        };
        granted(&self.assigned) && self.limited_by.as_deref().is_none_or(granted)
    }

    /// Whether they may do `privilege` to `index`.
    pub fn may_index(&self, index: &str, privilege: IndexPrivilege) -> bool {
        self.may(Privilege::Index { index, privilege })
    }

    /// The roles of a user: name to role. `None` for API keys and service accounts.
    pub fn role_descriptors(&self) -> Option<&Map<String, Value>> {
        match &self.own_descriptors {
            OwnDescriptors::Roles(roles) => Some(roles),
            OwnDescriptors::Account(_) | OwnDescriptors::ApiKey => None,
        }
    }

    /// The agent that this key was made for by a Fleet Server; `None` when nobody vouches for the key's metadata.
    pub fn verified_agent_id(&self) -> Option<&str> {
        match &self.kind {
            PrincipalKind::ApiKey {
                by_service_account: true,
                ..
            } if self.username == FLEET_SERVER_ACCOUNT => self.metadata.get("agent_id")?.as_str(),
            _ => None,
        }
    }

    /// `authentication_type` of `_security/_authenticate`.
    pub fn authentication_type(&self) -> &'static str {
        match self.kind {
            PrincipalKind::ApiKey { .. } => "api_key",
            PrincipalKind::ServiceAccount { .. } => "token",
            PrincipalKind::User | PrincipalKind::Certificate => "realm",
        }
    }

    /// Name and type of the realm that vouches for them.
    pub fn realm(&self) -> (&'static str, &'static str) {
        match self.kind {
            PrincipalKind::ApiKey { .. } => ("_es_api_key", "_es_api_key"),
            PrincipalKind::ServiceAccount { .. } => ("_service_account", "_service_account"),
            PrincipalKind::Certificate => ("pki1", "pki"),
            PrincipalKind::User if self.username == "elastic" => ("reserved", "reserved"),
            PrincipalKind::User => ("default_native", "native"),
        }
    }
}

/// Our own indices, which hold hashes, secrets and settings, and which no API may reach.
pub fn is_restricted(index: &str) -> bool {
    index.starts_with(".flotilla")
}
