//! The one loader and writer of certificate files.
//!
//! Nothing else in the program opens a certificate or key file. A [`PemSource`] (a path, or text pasted into a
//! setting) is read with a bound, recognised (PEM with anything around it, DER, PKCS#12) and becomes certificates
//! ([`load_certificates`], [`load_authorities`]), a key ([`load_key`]) or an [`Identity`] whose key is known to belong
//! to its leaf ([`load_identity`]). What cannot be used is a [`LoadError`] that names the setting and the file, has a
//! stable class and, where there is something to do about it, a hint.
//!
//! Writing is here as well: PEM in each of the usual forms, PKCS#12, and [`write_file_atomically`].
//!
//! What a certificate is good for (trust, names, dates) is not decided here but in `tls`; issuing is in `pki`.

mod source;

mod certificate;
mod identity;
mod key;

mod describe;
mod error;
mod fingerprint;
mod write;

pub mod der;
mod encrypted_key;
mod legacy_pem;
mod pem;
mod pkcs12;
mod pkcs12_bags;
mod pkcs12_form;
mod pkcs12_pbe;
mod recognize;

pub use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub use certificate::{load_authorities, load_certificates, not_an_authority, parse_certificates};
pub use describe::{CertificateSummary, KeySummary, SubjectAltName, describe, describe_key};
pub use encrypted_key::{EncryptionCost, decrypt_pkcs8, encrypt_pkcs8};
pub use error::{LoadError, Origin};
pub use fingerprint::{Fingerprint, ParseFingerprintError, fingerprint, spki_pin};
pub use identity::{Identity, IdentityNames, complete_chain, load_identity, load_identity_with, order_chain};
pub use key::{KeyOptions, KeyUnusable, LoadedKey, PublicKey, load_key, load_key_with, read_passphrase_file, to_pkcs8};
pub use legacy_pem::{LegacyCipher, decrypt_legacy_pem, encrypt_legacy_pem};
pub use pem::{PemBlock, parse_pem};
pub use pkcs12::{Pkcs12, Pkcs12Certificate, Pkcs12Error, Pkcs12Key, read_p12};
pub use recognize::{Content, recognize};
pub use source::{PemSource, can_be_read_again};
pub use write::{
    KeyFormat, P12Identity, WriteError, create_file_atomically, write_file_atomically, write_p12, write_pem,
    write_pem_certificates, write_pem_key,
};
