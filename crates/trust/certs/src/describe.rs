//! What a certificate or key says about itself, for people and for `--json`. Never anything secret.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::der::{self, Reader};
use crate::fingerprint::{Fingerprint, fingerprint, spki_pin};
use crate::key::PublicKey;

/// A certificate in words.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct CertificateSummary {
    /// `CN=fleet-server, O=Example`, in the order of the certificate.
    pub subject: String,
    /// As `subject`.
    pub issuer: String,
    /// Hex pairs with colons.
    pub serial: String,
    /// 1 or 3.
    pub version: u32,
    /// Subject alternative names.
    pub sans: Vec<SubjectAltName>,
    /// `RSA 2048`, `ECDSA P-256`, `Ed25519`.
    pub key_type: String,
    /// The object identifier of the signature.
    pub signature_algorithm: String,
    /// Whether basicConstraints say CA.
    pub is_ca: bool,
    /// Whether there are basicConstraints at all.
    pub basic_constraints: bool,
    /// The path length, when it is limited.
    pub path_length: Option<u32>,
    /// Start of the validity.
    pub not_before: Timestamp,
    /// End of the validity.
    pub not_after: Timestamp,
    /// SHA-256 of the certificate.
    pub fingerprint: Fingerprint,
    /// `ca_sha256` of the public key.
    pub spki_pin: String,
    /// `keyCertSign`, ...; empty when the extension is absent.
    pub key_usages: Vec<String>,
    /// `serverAuth`, ...; empty when the extension is absent.
    pub extended_key_usages: Vec<String>,
    /// Hex pairs with colons.
    pub subject_key_id: Option<String>,
    /// Hex pairs with colons.
    pub authority_key_id: Option<String>,
}

impl CertificateSummary {
    /// Whether issuer and subject are the same.
    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }
}

/// One subject alternative name.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "type", content = "value", rename_all = "lowercase")]
pub enum SubjectAltName {
    /// A host name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// An e-mail address.
    Email(String),
    /// A URI.
    Uri(String),
    /// Anything else, in words. certutil's `cn` entries are `2.5.4.3: name`.
    Other(String),
}

/// A key in words.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct KeySummary {
    /// `RSA 2048`, `ECDSA P-256`, `Ed25519`.
    pub key_type: String,
    /// `PKCS#1`, `PKCS#8` or `SEC1`.
    pub format: String,
    /// `ca_sha256` of the public key: equal to that of the certificate it belongs to.
    pub spki_pin: Option<String>,
}

/// Describes a key.
pub fn describe_key(key: &PrivateKeyDer<'_>) -> KeySummary {
    let format = match key {
        PrivateKeyDer::Pkcs1(_) => "PKCS#1",
        PrivateKeyDer::Sec1(_) => "SEC1",
        _ => "PKCS#8",
    };
    let public = PublicKey::of_key(key);
    KeySummary {
        key_type: public.as_ref().map_or_else(|| "unknown".to_owned(), PublicKey::name),
        format: format.to_owned(),
        spki_pin: public.map(|public| STANDARD.encode(digest(&SHA256, &public.to_spki()))),
    }
}

/// Describes a certificate. Bytes that are none give a summary whose subject says so.
pub fn describe(certificate: &CertificateDer<'_>) -> CertificateSummary {
    let fingerprint = fingerprint(certificate);
    match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => summary(&parsed, fingerprint, spki_pin(certificate)),
        Err(_) => unreadable(fingerprint),
    }
}

fn summary(parsed: &X509Certificate<'_>, fingerprint: Fingerprint, spki_pin: String) -> CertificateSummary {
    let basic_constraints = parsed.basic_constraints().ok().flatten();
    let (subject_key_id, authority_key_id) = key_ids(parsed);
    CertificateSummary {
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        serial: parsed.raw_serial_as_string(),
        version: parsed.version().0 + 1,
        sans: subject_alt_names(parsed),
        key_type: PublicKey::from_spki(parsed.public_key().raw).map_or_else(|| "unknown".to_owned(), |key| key.name()),
        signature_algorithm: parsed.signature_algorithm.algorithm.to_id_string(),
        is_ca: parsed.is_ca(),
        basic_constraints: basic_constraints.is_some(),
        path_length: basic_constraints.and_then(|extension| extension.value.path_len_constraint),
        not_before: timestamp(parsed.validity().not_before.timestamp()),
        not_after: timestamp(parsed.validity().not_after.timestamp()),
        fingerprint,
        spki_pin,
        key_usages: key_usages(parsed),
        extended_key_usages: extended_key_usages(parsed),
        subject_key_id,
        authority_key_id,
    }
}

fn unreadable(fingerprint: Fingerprint) -> CertificateSummary {
    CertificateSummary {
        subject: "not a certificate".to_owned(),
        issuer: String::new(),
        serial: String::new(),
        version: 0,
        sans: Vec::new(),
        key_type: "unknown".to_owned(),
        signature_algorithm: String::new(),
        is_ca: false,
        basic_constraints: false,
        path_length: None,
        not_before: Timestamp::UNIX_EPOCH,
        not_after: Timestamp::UNIX_EPOCH,
        fingerprint,
        spki_pin: String::new(),
        key_usages: Vec::new(),
        extended_key_usages: Vec::new(),
        subject_key_id: None,
        authority_key_id: None,
    }
}

fn timestamp(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

fn colons(octets: &[u8]) -> String {
    octets
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect::<Vec<_>>()
        .join(":")
}

fn key_ids(parsed: &X509Certificate<'_>) -> (Option<String>, Option<String>) {
    let mut ids = (None, None);
    for extension in parsed.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => ids.0 = Some(colons(id.0)),
            ParsedExtension::AuthorityKeyIdentifier(id) => ids.1 = id.key_identifier.as_ref().map(|id| colons(id.0)),
            _ => {}
        }
    }
    ids
}

fn subject_alt_names(parsed: &X509Certificate<'_>) -> Vec<SubjectAltName> {
    let Ok(Some(extension)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    extension.value.general_names.iter().map(subject_alt_name).collect()
}

fn subject_alt_name(name: &GeneralName<'_>) -> SubjectAltName {
    match name {
        GeneralName::DNSName(name) => SubjectAltName::Dns((*name).to_owned()),
        GeneralName::RFC822Name(name) => SubjectAltName::Email((*name).to_owned()),
        GeneralName::URI(uri) => SubjectAltName::Uri((*uri).to_owned()),
        GeneralName::IPAddress(octets) => match (<[u8; 4]>::try_from(*octets), <[u8; 16]>::try_from(*octets)) {
            (Ok(v4), _) => SubjectAltName::Ip(v4.into()),
            (_, Ok(v6)) => SubjectAltName::Ip(v6.into()),
            _ => SubjectAltName::Other(format!("address of {} octets", octets.len())),
        },
        GeneralName::OtherName(kind, value) => {
            // The value is `[0] EXPLICIT` around a string.
            let text = Reader::new(value).any().and_then(|outer| match outer.tag {
                der::SEQUENCE | 0xa0 => Reader::new(outer.content).any(),
                _ => Some(outer),
            });
            let text = text
                .map(|inner| String::from_utf8_lossy(inner.content).into_owned())
                .unwrap_or_default();
            SubjectAltName::Other(format!("{}: {text}", kind.to_id_string()))
        }
        other => SubjectAltName::Other(format!("{other:?}")),
    }
}

fn key_usages(parsed: &X509Certificate<'_>) -> Vec<String> {
    // Bit 0 is the first; the order is that of RFC 5280, section 4.2.1.3.
    const NAMES: [&str; 9] = [
        "digitalSignature",
        "nonRepudiation",
        "keyEncipherment",
        "dataEncipherment",
        "keyAgreement",
        "keyCertSign",
        "cRLSign",
        "encipherOnly",
        "decipherOnly",
    ];
    let Ok(Some(extension)) = parsed.key_usage() else {
        return Vec::new();
    };
    let flags = extension.value.flags;
    NAMES
        .iter()
        .enumerate()
        .filter(|(bit, _)| flags >> bit & 1 == 1)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

fn extended_key_usages(parsed: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = parsed.extended_key_usage() else {
        return Vec::new();
    };
    let usage = extension.value;
    let known = [
        (usage.any, "any"),
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
    ];
    let known = known
        .into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, name)| name.to_owned());
    known
        .chain(usage.other.iter().map(x509_parser::der_parser::Oid::to_id_string))
        .collect()
}
