//! Who changes something.

use std::sync::Arc;

use access::{Access, Principal, PrincipalKind};

/// The person or program behind a change, for the audit log and for `updated_by`.
#[derive(Clone, Debug)]
pub struct Actor {
    /// A user's name, or `system`.
    pub name: String,
    /// Whose rights count when keys are made on their behalf.
    pub principal: Arc<Principal>,
    /// The space whose prefix the request had.
    pub space: String,
}

impl Actor {
    /// A caller of the API or a user of the pages.
    pub fn of(principal: Arc<Principal>, space: &str) -> Self {
        Self {
            name: principal.username.clone(),
            principal,
            space: space.to_owned(),
        }
    }

    /// The console itself.
    pub fn system(access: &Access) -> Self {
        Self {
            name: "system".to_owned(),
            principal: access.fleet_server_principal(),
            space: "default".to_owned(),
        }
    }

    /// How the caller proved who it is, in a word for the audit log.
    pub fn credential(&self) -> &'static str {
        match self.principal.kind {
            PrincipalKind::User => "password",
            PrincipalKind::Certificate => "session",
            PrincipalKind::ApiKey { .. } => "api_key",
            PrincipalKind::ServiceAccount { .. } => "service_token",
        }
    }
}
