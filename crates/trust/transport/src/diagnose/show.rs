//! What is in a file: certificates, keys and bundles, told without anything secret.

use std::fmt;

use camino::Utf8Path;
use certs::{CertificateSummary, Content, KeySummary, KeyUnusable, LoadError, PemBlock, PemSource, SubjectAltName};
use rustls_pki_types::CertificateDer;
use secret::Secret;
use serde::Serialize;

/// One thing found in a file.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// The file.
    pub file: String,
    /// Its place in the file, from 1.
    pub position: usize,
    /// The name that a PKCS#12 bundle gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// What it is.
    #[serde(flatten)]
    pub kind: ItemKind,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ItemKind {
    /// A certificate.
    Certificate(Box<CertificateSummary>),
    /// A private key that could be read.
    PrivateKey(KeySummary),
    /// A private key or bundle that no given passphrase opens.
    Encrypted {
        /// What it is and why it stays closed.
        detail: String,
    },
    /// A block of another kind.
    Other {
        /// Its label or what it looks like.
        detail: String,
    },
}

/// Why a file cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] LoadError),
    /// Nothing that is known.
    #[error("`{file}` holds neither certificate nor key: {found}")]
    Nothing {
        /// The file.
        file: String,
        /// What it looks like.
        found: String,
    },
}

/// Lists what a file holds.
///
/// # Errors
/// It cannot be read, or nothing in it is known.
pub fn show(path: &Utf8Path, passphrase: Option<&Secret>) -> Result<Vec<Item>, ShowError> {
    let bytes = PemSource::from(path).read("FILE")?;
    let found = match certs::recognize(&bytes) {
        Content::Pem(blocks) => blocks
            .iter()
            .map(|block| (None, block_kind(block, passphrase)))
            .collect(),
        Content::Certificate(der) => vec![(None, certificate_kind(&CertificateDer::from(der)))],
        Content::Key(key) => vec![(None, ItemKind::PrivateKey(certs::describe_key(&key)))],
        Content::EncryptedKey(_) => vec![(None, key_kind(&bytes, passphrase))],
        Content::Pkcs12(_) => bundle(&bytes, passphrase),
        Content::Other(found) => {
            return Err(ShowError::Nothing {
                file: path.to_string(),
                found: found.to_owned(),
            });
        }
    };
    let items = found.into_iter().enumerate().map(|(place, (alias, kind))| Item {
        file: path.to_string(),
        position: place + 1,
        alias,
        kind,
    });
    Ok(items.collect())
}

fn certificate_kind(certificate: &CertificateDer<'_>) -> ItemKind {
    ItemKind::Certificate(Box::new(certs::describe(certificate)))
}

fn block_kind(block: &PemBlock, passphrase: Option<&Secret>) -> ItemKind {
    if block.label.ends_with("CERTIFICATE") {
        return certificate_kind(&CertificateDer::from(block.der.to_vec()));
    }
    if !block.is_private_key() {
        return ItemKind::Other {
            detail: block.label.clone(),
        };
    }
    if block.header("DEK-Info").is_some() {
        let opened = passphrase.map(|passphrase| certs::decrypt_legacy_pem(block, passphrase));
        return opened_key(opened, &format!("{} with legacy PEM encryption", block.label));
    }
    key_kind(&block.der, passphrase)
}

fn key_kind(der: &[u8], passphrase: Option<&Secret>) -> ItemKind {
    match certs::recognize(der) {
        Content::Key(key) => ItemKind::PrivateKey(certs::describe_key(&key)),
        Content::EncryptedKey(encrypted) => {
            let opened = passphrase.map(|passphrase| certs::decrypt_pkcs8(&encrypted, passphrase));
            opened_key(opened, "private key in PKCS#8")
        }
        _ => ItemKind::Other {
            detail: "a damaged private key".to_owned(),
        },
    }
}

/// `None`: nobody tried to open it.
fn opened_key<B: AsRef<[u8]>>(opened: Option<Result<B, KeyUnusable>>, what: &str) -> ItemKind {
    match opened {
        None => ItemKind::Encrypted {
            detail: format!("{what}; give a passphrase to look inside"),
        },
        Some(Err(error)) => ItemKind::Encrypted {
            detail: format!("{what}: {error}"),
        },
        Some(Ok(der)) => match certs::recognize(der.as_ref()) {
            Content::Key(key) => ItemKind::PrivateKey(certs::describe_key(&key)),
            _ => ItemKind::Encrypted {
                detail: format!("{what}: the passphrase does not open it"),
            },
        },
    }
}

fn bundle(bytes: &[u8], passphrase: Option<&Secret>) -> Vec<(Option<String>, ItemKind)> {
    let blank = Secret::from("");
    match certs::read_p12(bytes, passphrase.unwrap_or(&blank)) {
        Ok(bundle) => {
            let keys = bundle
                .keys
                .into_iter()
                .map(|entry| (entry.alias, ItemKind::PrivateKey(certs::describe_key(&entry.key))));
            let certificates = bundle
                .certificates
                .into_iter()
                .map(|entry| (entry.alias, certificate_kind(&entry.certificate)));
            keys.chain(certificates).collect()
        }
        Err(error) => vec![(
            None,
            ItemKind::Encrypted {
                detail: error.to_string(),
            },
        )],
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.file, self.position)?;
        if let Some(alias) = &self.alias {
            write!(f, " ({alias})")?;
        }
        match &self.kind {
            ItemKind::Certificate(certificate) => fmt_certificate(certificate, f),
            ItemKind::PrivateKey(key) => {
                write!(f, ": private key, {} in {}", key.key_type, key.format)?;
                key.spki_pin
                    .as_ref()
                    .map_or(Ok(()), |pin| write!(f, "\n  pin (ca_sha256)  {pin}"))
            }
            ItemKind::Encrypted { detail } => write!(f, ": encrypted, {detail}"),
            ItemKind::Other { detail } => write!(f, ": {detail}"),
        }
    }
}

fn fmt_certificate(certificate: &CertificateSummary, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let joined = |list: &[String]| {
        if list.is_empty() {
            "-".to_owned()
        } else {
            list.join(", ")
        }
    };
    let names: Vec<String> = certificate.sans.iter().map(name_in_words).collect();
    let authority = match (certificate.is_ca, certificate.path_length) {
        (true, Some(length)) => format!("yes, path length {length}"),
        (true, None) => "yes".to_owned(),
        (false, _) if certificate.basic_constraints => "no".to_owned(),
        (false, _) => "no (no basicConstraints)".to_owned(),
    };
    write!(f, ": certificate")?;
    for (label, value) in [
        ("subject", certificate.subject.clone()),
        ("issuer", certificate.issuer.clone()),
        ("serial", certificate.serial.clone()),
        ("names", joined(&names)),
        ("key", certificate.key_type.clone()),
        ("CA", authority),
        ("key usage", joined(&certificate.key_usages)),
        ("extended usage", joined(&certificate.extended_key_usages)),
        ("valid from", clock::rfc3339_seconds(certificate.not_before)),
        ("valid to", clock::rfc3339_seconds(certificate.not_after)),
        ("SHA-256", certificate.fingerprint.to_string()),
        ("pin (ca_sha256)", certificate.spki_pin.clone()),
    ] {
        write!(f, "\n  {label:<16} {value}")?;
    }
    Ok(())
}

fn name_in_words(name: &SubjectAltName) -> String {
    match name {
        SubjectAltName::Dns(name) => format!("DNS:{name}"),
        SubjectAltName::Ip(address) => format!("IP:{address}"),
        SubjectAltName::Email(name) => format!("email:{name}"),
        SubjectAltName::Uri(name) => format!("URI:{name}"),
        SubjectAltName::Other(name) => format!("other:{name}"),
    }
}
