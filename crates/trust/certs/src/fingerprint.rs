//! Fingerprints (SHA-256 of a certificate) and pins (SHA-256 of its public key).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The SHA-256 of a certificate's DER. Shown as 64 lower-case hex digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The 32 octets.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Upper case with colons, as `openssl x509 -fingerprint` and Elasticsearch print it.
    pub fn with_colons(&self) -> String {
        hex::encode_upper(self.0)
            .as_bytes()
            .chunks(2)
            .map(String::from_utf8_lossy)
            .collect::<Vec<_>>()
            .join(":")
    }
}

/// Why a text is no fingerprint.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a SHA-256 fingerprint: {reason}; expected 64 hex digits, with or without colons")]
pub struct ParseFingerprintError {
    reason: String,
}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    /// Any case, with or without colons, blanks around it; nothing else.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: String = text.trim().chars().filter(|&c| c != ':').collect();
        if let Some(odd) = digits.chars().find(|c| !c.is_ascii_hexdigit()) {
            return Err(ParseFingerprintError {
                reason: format!("`{odd}` is no hex digit"),
            });
        }
        let mut octets = [0; 32];
        hex::decode_to_slice(&digits, &mut octets).map_err(|_| ParseFingerprintError {
            reason: match digits.len() {
                40 => "40 hex digits are a SHA-1".to_owned(),
                other => format!("{other} hex digits"),
            },
        })?;
        Ok(Self(octets))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = ParseFingerprintError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The fingerprint of a certificate.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    Fingerprint(
        digest(&SHA256, certificate)
            .as_ref()
            .try_into()
            .expect("SHA-256 has 32 octets"),
    )
}

/// The pin (`ca_sha256`) of a certificate: standard base64 of the SHA-256 over its SubjectPublicKeyInfo. Empty for
/// bytes that are no certificate.
pub fn spki_pin(certificate: &CertificateDer<'_>) -> String {
    X509Certificate::from_der(certificate)
        .map(|(_, certificate)| STANDARD.encode(digest(&SHA256, certificate.public_key().raw)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_people_paste() {
        let plain = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        let parsed: Fingerprint = plain.parse().unwrap();
        assert_eq!(colons.parse(), Ok(parsed));
        assert_eq!(format!(" {} \n", plain.to_uppercase()).parse(), Ok(parsed));
        assert_eq!((parsed.to_string(), parsed.with_colons()), (plain, colons));
    }

    #[test]
    fn what_is_no_fingerprint() {
        for text in [
            "",
            "ab",
            &format!("0x{}", "ab".repeat(32)),
            &"ab".repeat(20),
            &"ab".repeat(33),
            &"zz".repeat(32),
        ] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
