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
    /// A new id for an agent that enrols at `millis` after 1970: a UUID of version 7, which begins with the time, so that what is
    /// made together stands together in a store's table of ids.
    pub fn new_at(millis: u64) -> Self {
        let random = uuid::Uuid::new_v4();
        let random = random.as_bytes();
        let mut tail = [0; 10];
        // Around the two bytes that hold version and variant.
        tail[..6].copy_from_slice(&random[..6]);
        tail[6..].copy_from_slice(&random[9..13]);
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid();
        Self::from(id.to_string())
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
    fn new_ids_begin_with_the_time_and_never_repeat() {
        let (one, other) = (AgentId::new_at(0x1234), AgentId::new_at(0x1234));
        assert_ne!(one, other);
        assert!(one.as_str().starts_with("00000000-1234-7"), "{one}");
    }

    #[test]
    fn a_policy_s_base_ends_at_the_hash() {
        assert_eq!(PolicyId::from("policy-1").base(), "policy-1");
        assert_eq!(PolicyId::from("policy-1#9").base(), "policy-1");
    }
}
