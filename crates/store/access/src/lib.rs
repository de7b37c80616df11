//! Who may do what: API keys, service tokens, users, roles and secrets, kept as documents of a store.
//!
//! [`Access`] turns a [`Credential`] into a [`Principal`] and answers for it; what a request needs is the business of the
//! service that got the request, which asks [`Principal::may`]. Random keys are hashed with SHA-256, people's passwords
//! with argon2; both are compared in constant time and remembered in a small cache that a revocation clears.
//!
//! The documents live in two indices of our own, [`SECURITY_INDEX`] and [`SECRETS_INDEX`], which no principal can reach
//! through an API.

mod access;
mod credential;
mod principal;
mod privilege;
mod role;

mod api_key;
mod fleet;
mod native;
mod role_descriptors;
mod service_account;
mod user;

mod cache;
mod random;
mod secret_store;

pub use access::{Access, AccessError, AuthenticationError, SECRETS_INDEX, SECURITY_INDEX};
pub use api_key::{ApiKey, ApiKeyFilter, ApiKeyInfo, Invalidated, NewApiKey};
pub use credential::{Credential, CredentialError};
pub use fleet::{ApiKeys, Issued};
pub use native::{NativeIdentities, NativeIdentity};
pub use principal::{Principal, PrincipalKind, is_restricted};
pub use privilege::{ClusterPrivilege, FleetPrivilege, IndexPrivilege, Privilege, privilege_names};
pub use role::{RoleDescriptor, RoleError};
pub use role_descriptors::RoleDescriptors;
pub use secret::Secret;
pub use service_account::{FLEET_SERVER_ACCOUNT, FLEET_SERVER_REMOTE_ACCOUNT};
pub use user::{NewUser, User};
