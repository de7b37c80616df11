//! [`QueueCipher`]: AES-256-GCM over the records of a disk queue, each bound to its number.

use std::io;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};

/// What seals the records of a queue.
#[derive(Clone, Debug)]
pub struct QueueCipher(Arc<RandomizedNonceKey>);

impl QueueCipher {
    /// With this key.
    ///
    /// # Panics
    /// Never: each 32 octets are a key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Arc::new(
            RandomizedNonceKey::new(&AES_256_GCM, key).expect("the key has the cipher's length"),
        ))
    }

    pub(crate) fn seal(&self, number: u64, payload: &[u8]) -> io::Result<Vec<u8>> {
        let mut sealed = payload.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(number.to_le_bytes()), &mut sealed)
            .map_err(|_| io::Error::other("encryption failed"))?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    pub(crate) fn open(&self, number: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let opened = self.0.open_in_place(nonce, Aad::from(number.to_le_bytes()), &mut plain);
        Some(opened.ok()?.to_vec())
    }
}
