//! Certificate authorities and the certificates they issue.
//!
//! An [`Authority`] is made ([`Authority::generate`]), or taken from files ([`Authority::from_identity`]); it issues
//! further authorities, leaves with a fresh key, and certificates for a [`Csr`] whose key stays with its owner.
//! [`self_signed`] makes a leaf without any authority.
//!
//! The encoding is ours and small: it follows RFC 5280 and elasticsearch-certutil to the octet where its users may rely
//! on it (criticality of extensions, key identifiers, string types, repeated name parts such as `DC=a,DC=b`), and it
//! copies the name of an issuer as it stands in the issuer's certificate. Keys and signatures are aws-lc-rs.
//!
//! Files, formats and passphrases are `certs`' business; whether a certificate is trusted is decided in `tls`.

mod authority;
mod request;

mod csr;
mod encode;
mod error;
mod key;
mod name;
mod other_rsa;

pub use authority::{Authority, self_signed};
pub use csr::{Csr, CsrRequest};
pub use error::PkiError;
pub use key::{KeyType, SigningKey};
pub use name::{DistinguishedName, NameError};
pub use request::{AuthorityRequest, BeyondIssuer, KeyUsage, LeafRequest, Usages};
