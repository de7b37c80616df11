//! Identifiers that must not be mixed up.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a text as it is.
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether it is the empty text.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }
    };
}

id! {
    /// An agent; also the `_id` of its document. Cheap to clone.
    AgentId
}
id! {
    /// A policy. Cheap to clone.
    PolicyId
}
id! {
    /// The public half of an API key. Cheap to clone.
    ApiKeyId
}

impl AgentId {
    /// A new random id (UUID version 4).
    pub fn random() -> Self {
        Self::from(uuid::Uuid::new_v4().to_string())
    }
}

impl PolicyId {
    /// The id without what follows `#`: several policies of one family share it.
    pub fn base(&self) -> &str {
        self.0.split_once('#').map_or(&*self.0, |(base, _)| base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_s_base_ends_at_the_hash() {
        assert_eq!(PolicyId::from("policy-1").base(), "policy-1");
        assert_eq!(PolicyId::from("policy-1#9").base(), "policy-1");
    }
}
