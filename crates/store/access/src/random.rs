//! Random ids and keys, and the hash that is kept of them.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jiff::Timestamp;
use rand::Rng;
use sha2::{Digest, Sha256};

/// 22 characters of the url-safe alphabet: 128 random bits and nothing to escape.
pub(crate) fn key() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes::<16>())
}

/// 20 characters, the length of ids that Elasticsearch gives out, and like those they begin with the time: what is made
/// together stands together in a store's table of ids, where random ones would each change a page of their own. 72 bits are
/// random.
pub(crate) fn id(now: Timestamp) -> String {
    let mut id = bytes::<15>();
    id[..6].copy_from_slice(&now.as_millisecond().to_be_bytes()[2..]);
    BASE64_URL_SAFE_NO_PAD.encode(id)
}

/// `N` bytes of the operating system's seeded generator.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// SHA-256: enough for keys that are random, and fast enough to check on every call.
pub(crate) fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_and_never_repeat() {
        assert_eq!(key().len(), 22);
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!((id(now).len(), &id(now)[..8]), (20, "AAAAAAAA"));
        assert_ne!(id(now), id(now));
        assert_ne!(key(), key());
    }
}
