//! People: names, passwords, roles.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use store::{Operation, Source};

use crate::access::{Access, AccessError, AuthenticationError, SECURITY_INDEX, check_name, rejected};
use crate::credential::Credential;
use crate::principal::{OwnDescriptors, Principal, PrincipalKind};

/// Elasticsearch's lower bound.
const SHORTEST_PASSWORD: usize = 6;
/// Long enough for any pass phrase; bounds the work of hashing.
const LONGEST_PASSWORD: usize = 1024;

/// What a user is to be.
#[derive(Clone, Debug, Default)]
pub struct NewUser {
    /// `None` keeps the present one; a user without any can log in with a certificate only.
    pub password: Option<Secret>,
    /// Role names.
    pub roles: Vec<String>,
    /// A person's name.
    pub full_name: Option<String>,
    /// A person's address.
    pub email: Option<String>,
    /// Free.
    pub metadata: Map<String, Value>,
    /// Disabled users are refused.
    pub enabled: bool,
}

/// What is known of a user.
#[derive(Clone, Debug)]
pub struct User {
    /// The name.
    pub username: String,
    /// Role names.
    pub roles: Vec<String>,
    /// A person's name.
    pub full_name: Option<String>,
    /// A person's address.
    pub email: Option<String>,
    /// Free.
    pub metadata: Map<String, Value>,
    /// Disabled users are refused.
    pub enabled: bool,
}

/// The document of a user.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct UserDocument {
    kind: String,
    username: String,
    /// In PHC form.
    password: Option<String>,
    roles: Vec<String>,
    full_name: Option<String>,
    email: Option<String>,
    #[serde(default)]
    metadata: Map<String, Value>,
    enabled: bool,
}

impl Access {
    /// Creates or changes a user; `true` when they are new.
    pub async fn put_user(&self, username: &str, new: NewUser) -> Result<bool, AccessError> {
        check_name("user", username)?;
        if username == "elastic" {
            return Err(AccessError::Invalid(
                "user [elastic] is reserved; only its password can be changed".to_owned(),
            ));
        }
        let present = self.read::<UserDocument>(&document_id(username)).await?;
        let password = match new.password {
            Some(password) => Some(self.hash_password(password).await?),
            None => present.and_then(|present| present.password),
        };
        let document = UserDocument {
            kind: "user".to_owned(),
            username: username.to_owned(),
            password,
            roles: new.roles,
            full_name: new.full_name,
            email: new.email,
            metadata: new.metadata,
            enabled: new.enabled,
        };
        self.write_user(&document).await
    }

    /// Sets a password. The user `elastic` comes to be when it gets its first.
    pub async fn set_password(&self, username: &str, password: Secret) -> Result<(), AccessError> {
        let present = self.read::<UserDocument>(&document_id(username)).await?;
        let mut document = match present {
            Some(document) => document,
            None if username == "elastic" => superuser(),
            None => return Err(AccessError::NotFound(format!("user [{username}] does not exist"))),
        };
        document.password = Some(self.hash_password(password).await?);
        self.write_user(&document).await?;
        Ok(())
    }

    /// Lets a user in again or keeps them out.
    pub async fn set_enabled(&self, username: &str, enabled: bool) -> Result<(), AccessError> {
        let Some(mut document) = self.read::<UserDocument>(&document_id(username)).await? else {
            return Err(AccessError::NotFound(format!("user [{username}] does not exist")));
        };
        document.enabled = enabled;
        self.write_user(&document).await?;
        Ok(())
    }

    /// The user of that name.
    pub async fn user(&self, username: &str) -> Result<Option<User>, AccessError> {
        Ok(self.read::<UserDocument>(&document_id(username)).await?.map(User::from))
    }

    /// All users, up to 10,000.
    pub async fn users(&self) -> Result<Vec<User>, AccessError> {
        let documents: Vec<UserDocument> = self.all("user", query::Query::MatchAll).await?;
        Ok(documents.into_iter().map(User::from).collect())
    }

    /// Deletes a user; `false` when there is none.
    pub async fn delete_user(&self, username: &str) -> Result<bool, AccessError> {
        if username == "elastic" {
            return Err(AccessError::Invalid(
                "user [elastic] is reserved and cannot be deleted".to_owned(),
            ));
        }
        let deleted = self.remove(SECURITY_INDEX, &document_id(username)).await?;
        self.passwords.invalidate(username);
        Ok(deleted)
    }

    async fn write_user(&self, document: &UserDocument) -> Result<bool, AccessError> {
        let operation = Operation::index(SECURITY_INDEX, document_id(&document.username), Source::of(document));
        let created = self.write(operation).await?;
        self.passwords.invalidate(&document.username);
        Ok(created)
    }

    pub(crate) async fn authenticate_user(
        &self,
        username: &str,
        password: &Secret,
    ) -> Result<Arc<Principal>, AuthenticationError> {
        let now = self.clock.now();
        let keyed = self.keyed_hash(password);
        let wrong = || rejected(format!("failed to authenticate user [{username}]"));
        if let Some((remembered, principal)) = self.passwords.fresh(username, now)
            && secret::constant_time_eq(&remembered, &keyed)
        {
            return Ok(principal);
        }
        let epoch = self.passwords.epoch();
        let document = self.read::<UserDocument>(&document_id(username)).await?;
        if let (None, Some(native)) = (&document, self.native.as_deref()) {
            let credential = Credential::Basic {
                username: username.to_owned(),
                password: password.clone(),
            };
            let principal = self.identify(native, &credential).await?;
            self.passwords
                .put(username, (keyed, Arc::clone(&principal)), now, epoch);
            return Ok(principal);
        }
        let hash = document.as_ref().and_then(|document| document.password.clone());
        // Unknown users cost as much as known ones, so that the duration does not tell which names exist.
        let right = self.verify_password(password.clone(), hash).await?;
        let Some(document) = document.filter(|document| right && document.enabled) else {
            return Err(wrong());
        };
        let principal = Arc::new(self.principal_of_user(document, PrincipalKind::User).await?);
        self.passwords
            .put(username, (keyed, Arc::clone(&principal)), now, epoch);
        Ok(principal)
    }

    pub(crate) async fn authenticate_certificate(&self, name: &str) -> Result<Arc<Principal>, AuthenticationError> {
        let document = self.read::<UserDocument>(&document_id(name)).await?;
        let Some(document) = document.filter(|document| document.enabled) else {
            return Err(rejected(format!(
                "no enabled user has the certificate's common name [{name}]"
            )));
        };
        Ok(Arc::new(
            self.principal_of_user(document, PrincipalKind::Certificate).await?,
        ))
    }

    async fn principal_of_user(&self, user: UserDocument, kind: PrincipalKind) -> Result<Principal, AccessError> {
        let (rights, descriptors) = self.rights_of(&user.roles).await?;
        Ok(Principal {
            username: user.username,
            kind,
            roles: user.roles,
            full_name: user.full_name,
            email: user.email,
            metadata: user.metadata,
            api_key_id: None,
            assigned: Arc::new(rights),
            limited_by: None,
            own_descriptors: OwnDescriptors::Roles(descriptors),
        })
    }

    fn keyed_hash(&self, password: &Secret) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.password_salt)
            .chain_update(password.expose())
            .finalize()
            .into()
    }

    async fn hash_password(&self, password: Secret) -> Result<String, AccessError> {
        let length = password.expose().len();
        if !(SHORTEST_PASSWORD..=LONGEST_PASSWORD).contains(&length) {
            return Err(AccessError::Invalid(format!(
                "passwords must have {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters"
            )));
        }
        self.off_the_runtime(move || {
            let hash = Argon2::default().hash_password(password.expose().as_bytes());
            hash.map(|hash| hash.to_string())
                .map_err(|error| AccessError::Invalid(format!("cannot hash the password: {error}")))
        })
        .await?
    }

    async fn verify_password(&self, password: Secret, hash: Option<String>) -> Result<bool, AccessError> {
        if password.expose().len() > LONGEST_PASSWORD {
            return Ok(false);
        }
        self.off_the_runtime(move || {
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| NOBODYS_PASSWORD.to_owned());
            let Ok(parsed) = PasswordHash::new(&hash) else {
                return false;
            };
            let matches = Argon2::default()
                .verify_password(password.expose().as_bytes(), &parsed)
                .is_ok();
            known && matches
        })
        .await
    }

    /// Hashing takes tens of milliseconds and 19 MiB: never on a runtime thread, few at once.
    async fn off_the_runtime<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AccessError> {
        let _permit = self
            .password_checks
            .acquire()
            .await
            .expect("the semaphore is never closed");
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| AccessError::Invalid(format!("checking a password was interrupted: {error}")))
    }
}

/// A hash of the default parameters that no password is known for.
const NOBODYS_PASSWORD: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn superuser() -> UserDocument {
    UserDocument {
        kind: "user".to_owned(),
        username: "elastic".to_owned(),
        password: None,
        roles: vec!["superuser".to_owned()],
        full_name: None,
        email: None,
        metadata: Map::from_iter([("_reserved".to_owned(), Value::Bool(true))]),
        enabled: true,
    }
}

impl From<UserDocument> for User {
    fn from(document: UserDocument) -> Self {
        Self {
            username: document.username,
            roles: document.roles,
            full_name: document.full_name,
            email: document.email,
            metadata: document.metadata,
            enabled: document.enabled,
        }
    }
}

fn document_id(username: &str) -> String {
    format!("user-{username}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_nobody_is_read_like_any_other() {
        let parsed = PasswordHash::new(NOBODYS_PASSWORD).unwrap();
        assert!(Argon2::default().verify_password(b"x", &parsed).is_err());
    }
}
