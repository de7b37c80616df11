//! RSA keys that the cryptographic library does not make (2560, 5120, 6144, 7168 bits and the like), or does not sign with
//! (below 2048 bits).
//!
//! elasticsearch-certutil takes any size, so scripts may ask for them. Making one is slow: seconds, for the large ones minutes.

use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use rsa::sha2::{Digest, Sha256};
use rsa::{Pkcs1v15Sign, PrivateKey};
use rustls_pki_types::PrivatePkcs8KeyDer;

use crate::error::PkiError;

/// The smallest key that is made.
pub(crate) const LEAST_BITS: u32 = 1024;
/// The largest one: no TLS library that we know of takes larger ones.
pub(crate) const MOST_BITS: u32 = 8192;

/// A new key as PKCS#8.
pub(crate) fn generate(bits: u32) -> Result<Vec<u8>, PkiError> {
    let failed = || PkiError::Key {
        reason: "it could not be made".to_owned(),
    };
    if !(LEAST_BITS..=MOST_BITS).contains(&bits) {
        return Err(PkiError::KeySize { bits });
    }
    let key = PrivateKey::new(&mut rand::rng(), bits as usize).map_err(|_| failed())?;
    let document = key.to_pkcs8_der().map_err(|_| failed())?;
    Ok(document.as_bytes().to_vec())
}

/// A key below 2048 bits, with which the cryptographic library refuses to sign.
pub(crate) struct SmallKey(PrivateKey);

impl SmallKey {
    pub(crate) fn read(pkcs8: &PrivatePkcs8KeyDer<'_>) -> Option<Self> {
        PrivateKey::from_pkcs8_der(pkcs8.secret_pkcs8_der()).ok().map(Self)
    }

    /// PKCS#1 v1.5 with SHA-256.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.0
            .sign(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(message))
            .ok()
    }
}
