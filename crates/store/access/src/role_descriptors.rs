//! [`RoleDescriptors`]: the roles of API keys, one copy for all keys that have the same ones.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{Operation, Source};

use crate::access::{Access, AccessError, SECURITY_INDEX, is_conflict};
use crate::random;
use crate::role::Rights;

/// Role name to role, as a `role_descriptors` object has it, and its digest. The agents of a policy share one.
#[derive(Clone)]
pub struct RoleDescriptors(Arc<Content>);

struct Content {
    roles: Map<String, Value>,
    digest: String,
}

impl RoleDescriptors {
    /// Hex SHA-256 of the object, whatever the order of its fields.
    pub fn digest(&self) -> &str {
        &self.0.digest
    }
}

impl From<Map<String, Value>> for RoleDescriptors {
    fn from(roles: Map<String, Value>) -> Self {
        let mut sorted = Value::Object(roles.clone());
        sorted.sort_all_objects();
        let digest = hex::encode(random::hash(&sorted.to_string()));
        Self(Arc::new(Content { roles, digest }))
    }
}

impl TryFrom<Value> for RoleDescriptors {
    type Error = AccessError;

    /// `null` is an empty object.
    fn try_from(value: Value) -> Result<Self, AccessError> {
        match value {
            Value::Object(roles) => Ok(roles.into()),
            Value::Null => Ok(Self::default()),
            other => Err(AccessError::Invalid(format!(
                "[role_descriptors] must be an object, not [{other}]"
            ))),
        }
    }
}

impl Default for RoleDescriptors {
    fn default() -> Self {
        static EMPTY: LazyLock<RoleDescriptors> = LazyLock::new(|| Map::new().into());
        EMPTY.clone()
    }
}

impl Deref for RoleDescriptors {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Self::Target {
        &self.0.roles
    }
}

impl PartialEq for RoleDescriptors {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for RoleDescriptors {}

impl fmt::Debug for RoleDescriptors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.roles, formatter)
    }
}

/// Roles that a document of the store has, and what they grant.
#[derive(Clone, Debug)]
pub(crate) struct RoleSet {
    pub(crate) descriptors: RoleDescriptors,
    pub(crate) rights: Arc<Rights>,
}

/// The document of a role set, named by its digest; it never changes.
#[derive(Deserialize, Serialize)]
struct RoleSetDocument {
    kind: String,
    role_descriptors: Map<String, Value>,
}

impl RoleSet {
    pub(crate) fn new(descriptors: RoleDescriptors) -> Result<Self, AccessError> {
        let rights = Arc::new(Rights::from_descriptors(&descriptors)?);
        Ok(Self { descriptors, rights })
    }
}

impl Access {
    /// Checks roles and puts them into the store, unless they are there or there are none.
    ///
    /// # Errors
    /// [`AccessError::Role`] when a role is not understood.
    pub(crate) async fn keep_role_set(&self, descriptors: &RoleDescriptors) -> Result<(), AccessError> {
        let now = self.clock.now();
        if descriptors.is_empty() || self.role_sets.fresh(descriptors.digest(), now).is_some() {
            return Ok(());
        }
        let set = RoleSet::new(descriptors.clone())?;
        let document = RoleSetDocument {
            kind: "role_set".to_owned(),
            role_descriptors: (**descriptors).clone(),
        };
        let id = document_id(descriptors.digest());
        let create = Operation::create(SECURITY_INDEX, id, Source::of(&document));
        match self.one(create).await? {
            Ok(_) => {}
            Err(rejection) if is_conflict(&rejection) => {}
            Err(rejection) => return Err(AccessError::Refused(rejection)),
        }
        self.remember(&set, now);
        Ok(())
    }

    /// The roles of that digest.
    ///
    /// # Errors
    /// [`AccessError::Unreadable`] when the store has no such document.
    pub(crate) async fn role_set(&self, digest: &str) -> Result<RoleSet, AccessError> {
        let now = self.clock.now();
        if let Some(known) = self.role_sets.fresh(digest, now) {
            return Ok(known);
        }
        let id = document_id(digest);
        let Some(document) = self.read::<RoleSetDocument>(&id).await? else {
            let reason = "API keys have these roles, but the document is missing".to_owned();
            return Err(AccessError::Unreadable { id, reason });
        };
        let set = RoleSet::new(document.role_descriptors.into())?;
        self.remember(&set, now);
        Ok(set)
    }

    fn remember(&self, set: &RoleSet, now: jiff::Timestamp) {
        let epoch = self.role_sets.epoch();
        self.role_sets.put(set.descriptors.digest(), set.clone(), now, epoch);
    }
}

fn document_id(digest: &str) -> String {
    format!("role-set-{digest}")
}
