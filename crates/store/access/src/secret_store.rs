//! Fleet's secrets: values that policies refer to by id.

use secret::Secret;
use serde::{Deserialize, Serialize};
use store::{Operation, Source};

use crate::access::{Access, AccessError, SECRETS_INDEX};
use crate::fleet::Issued;
use crate::random;

/// The document of a secret.
#[derive(Deserialize, Serialize)]
struct SecretDocument {
    #[serde(serialize_with = "Secret::serialize_exposed")]
    value: Secret,
}

/// An id for `value`, and the write that keeps it.
pub(crate) fn issue_secret(value: &Secret, now: jiff::Timestamp) -> Issued<String> {
    let id = random::id(now);
    let document = SecretDocument { value: value.clone() };
    let write = Operation::create(SECRETS_INDEX, id.clone(), Source::of(&document));
    Issued {
        value: id,
        writes: vec![write],
    }
}

impl Access {
    /// Keeps `value` and gives it an id.
    pub async fn put_secret(&self, value: &Secret) -> Result<String, AccessError> {
        if let Some(native) = &self.native {
            return native.put_secret(value).await;
        }
        let Issued { value: id, writes } = issue_secret(value, self.clock.now());
        for write in writes {
            self.write(write).await?;
        }
        Ok(id)
    }

    /// The value of that id.
    pub async fn secret(&self, id: &str) -> Result<Option<Secret>, AccessError> {
        if let Some(native) = &self.native {
            return native.secret(id).await;
        }
        let Some(document) = self.store.get(SECRETS_INDEX, id).await? else {
            return Ok(None);
        };
        let parsed = document
            .source
            .parse::<SecretDocument>()
            .map_err(|_| AccessError::Unreadable {
                id: id.to_owned(),
                reason: "it does not hold a secret".to_owned(),
            })?;
        Ok(Some(parsed.value))
    }

    /// Forgets it; `false` when there is none.
    pub async fn delete_secret(&self, id: &str) -> Result<bool, AccessError> {
        if let Some(native) = &self.native {
            return native.delete_secret(id).await;
        }
        self.remove(SECRETS_INDEX, id).await
    }
}
