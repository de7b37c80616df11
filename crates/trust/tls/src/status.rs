//! What people should know of a loaded configuration: which certificates, until when, and how the last reload went.

use certs::{Fingerprint, describe};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use serde::Serialize;

/// Where a certificate serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateRole {
    /// Shown in handshakes.
    Own,
    /// Trusted.
    Authority,
}

/// One certificate in use.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct CertificateStatus {
    /// Where it serves.
    pub role: CertificateRole,
    /// Its subject.
    pub subject: String,
    /// Its serial number, hex.
    pub serial: String,
    /// End of its validity.
    pub not_after: Timestamp,
    /// SHA-256.
    pub fingerprint: Fingerprint,
}

impl CertificateStatus {
    pub(crate) fn of(role: CertificateRole, certificate: &CertificateDer<'_>) -> Self {
        let summary = describe(certificate);
        Self {
            role,
            subject: summary.subject,
            serial: summary.serial,
            not_after: summary.not_after,
            fingerprint: summary.fingerprint,
        }
    }
}

/// The state of one configuration.
#[derive(Clone, Debug, Serialize)]
pub struct TlsStatus {
    /// What it is for, as the owner called it.
    pub name: String,
    /// The certificates in use. Of the system's roots only configured ones are listed.
    pub certificates: Vec<CertificateStatus>,
    /// When what is in use was loaded.
    pub last_reload: Timestamp,
    /// How often it was replaced since the start.
    pub reloads: u64,
    /// Why the newest files are not in use; `None` when they are.
    pub last_error: Option<String>,
    /// What should be changed although it works.
    pub warnings: Vec<String>,
}
