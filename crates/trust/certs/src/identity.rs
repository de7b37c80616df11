//! A certificate chain with the key that belongs to its leaf.

use std::fmt;

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secret::Secret;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::certificate::certificates_from_content;
use crate::error::{LoadError, Origin};
use crate::key::{KeyOptions, PublicKey, key_from_content};
use crate::pem::PemBlock;
use crate::recognize::{Content, recognize};
use crate::source::PemSource;

/// A chain, leaf first, and the leaf's key: loaded, matched, ready to be shown in a handshake.
pub struct Identity {
    /// The leaf, then its issuers as far as they are known, each after the one it issued.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
    /// What should be said about it in the log.
    pub warnings: Vec<String>,
}

impl Identity {
    /// An identity from parts that are known to belong together.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self {
            chain,
            key,
            warnings: Vec::new(),
        }
    }

    /// The leaf.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// Whether the key is that of the leaf; also true when the key's public half cannot be worked out.
    pub fn key_matches(&self) -> bool {
        belongs(&self.key, self.leaf())
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            warnings: self.warnings.clone(),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("leaf", &subject(self.leaf()))
            .field("chain", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// The names of the settings that an identity comes from, for errors.
#[derive(Clone, Copy, Debug)]
pub struct IdentityNames<'a> {
    /// The certificate's.
    pub certificate: &'a str,
    /// The key's.
    pub key: &'a str,
    /// The passphrase's.
    pub passphrase: &'a str,
}

impl IdentityNames<'static> {
    /// The names in an `ssl` block.
    pub const SSL: Self = Self {
        certificate: "ssl.certificate",
        key: "ssl.key",
        passphrase: "ssl.key_passphrase",
    };
}

impl Default for IdentityNames<'static> {
    fn default() -> Self {
        Self::SSL
    }
}

/// Loads a certificate with its key and proves that they belong together. Without `key` the certificate must be a
/// PKCS#12 bundle that holds one.
pub fn load_identity(
    certificate: &PemSource,
    key: Option<&PemSource>,
    passphrase: Option<&Secret>,
    names: IdentityNames<'_>,
) -> Result<Identity, LoadError> {
    let options = KeyOptions {
        passphrase,
        passphrase_setting: names.passphrase,
        refuse_legacy_pem: false,
    };
    load_identity_with(certificate, key, &options, names)
}

/// As [`load_identity`], with all options.
pub fn load_identity_with(
    certificate: &PemSource,
    key: Option<&PemSource>,
    options: &KeyOptions<'_>,
    names: IdentityNames<'_>,
) -> Result<Identity, LoadError> {
    let bytes = certificate.read(names.certificate)?;
    let content = recognize(&bytes);
    let certificate_origin = certificate.origin(names.certificate);
    let is_bundle = matches!(content, Content::Pkcs12(_));
    let has_key = matches!(&content, Content::Pem(blocks) if blocks.iter().any(PemBlock::is_private_key));
    let certificates = certificates_from_content(content, certificate_origin.clone(), options)?;
    let key_source = match key {
        Some(source) => source,
        None if is_bundle => certificate,
        None => {
            return Err(LoadError::KeyMissing {
                setting: names.key.to_owned(),
                certificate_setting: names.certificate.to_owned(),
                key_in_certificate_file: has_key,
            });
        }
    };
    let key_setting = if key.is_some() { names.key } else { names.certificate };
    let key_bytes = key_source.read(key_setting)?;
    let wanted = PublicKey::of_certificate(&certificates[0]);
    let key_origin = key_source.origin(key_setting);
    let loaded = key_from_content(recognize(&key_bytes), key_origin.clone(), options, wanted.as_ref())?;
    // A bundle has no first certificate: its leaf is the one that the key belongs to.
    let leaf = if is_bundle {
        certificates
            .iter()
            .position(|certificate| belongs(&loaded.key, certificate))
    } else {
        belongs(&loaded.key, &certificates[0]).then_some(0)
    };
    let Some(leaf) = leaf else {
        return Err(mismatch(&certificates, &loaded.key, certificate_origin, key_origin));
    };
    Ok(Identity {
        chain: order_chain(certificates, leaf),
        key: loaded.key,
        warnings: loaded.warnings,
    })
}

fn mismatch(
    certificates: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'_>,
    certificate: Origin,
    key_origin: Origin,
) -> LoadError {
    let belongs_to = certificates[1..]
        .iter()
        .find(|certificate| belongs(key, certificate))
        .map(subject);
    LoadError::KeyMismatch {
        certificate: Box::new(certificate),
        key: Box::new(key_origin),
        subject: subject(&certificates[0]),
        belongs_to,
    }
}

fn belongs(key: &PrivateKeyDer<'_>, certificate: &CertificateDer<'_>) -> bool {
    match (PublicKey::of_key(key), PublicKey::of_certificate(certificate)) {
        (Some(key), Some(certificate)) => key == certificate,
        // The public half of such a key is not known; the handshake will tell.
        (None, Some(_)) => true,
        (_, None) => false,
    }
}

fn subject(certificate: &CertificateDer<'_>) -> String {
    X509Certificate::from_der(certificate)
        .map(|(_, parsed)| parsed.subject().to_string())
        .unwrap_or_default()
}

/// Puts the certificate at `leaf` first, then its issuer, and so on; what does not belong to the chain comes last.
pub fn order_chain(mut certificates: Vec<CertificateDer<'static>>, leaf: usize) -> Vec<CertificateDer<'static>> {
    let mut ordered = vec![certificates.remove(leaf)];
    while let Some(position) = certificates
        .iter()
        .position(|candidate| issued(candidate, &ordered[ordered.len() - 1]))
    {
        ordered.push(certificates.remove(position));
    }
    ordered.append(&mut certificates);
    ordered
}

/// Appends from `issuers` what is missing between the end of `chain` and its root, the root included.
pub fn complete_chain(chain: &mut Vec<CertificateDer<'static>>, issuers: &[CertificateDer<'static>]) {
    while let Some(next) = chain.last().and_then(|last| {
        let mut fitting = issuers.iter().filter(|candidate| issued(candidate, last));
        fitting.find(|candidate| !chain.contains(candidate))
    }) {
        chain.push(next.clone());
    }
}

fn issued(issuer: &CertificateDer<'_>, certificate: &CertificateDer<'_>) -> bool {
    let (Ok((_, issuer)), Ok((_, certificate))) = (
        X509Certificate::from_der(issuer),
        X509Certificate::from_der(certificate),
    ) else {
        return false;
    };
    issuer.subject().as_raw() == certificate.issuer().as_raw()
}
