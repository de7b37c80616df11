//! `POST /api/fleet/agents/{id}/audit/unenroll`.

use serde::{Deserialize, Serialize};

/// An agent's last words.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AuditUnenrollRequest {
    /// Why it goes.
    pub reason: AuditUnenrollReason,
    /// RFC 3339.
    pub timestamp: String,
}

/// Why an agent goes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditUnenrollReason {
    /// Somebody uninstalled it.
    Uninstall,
    /// Its supervisor lost it; final.
    Orphaned,
    /// Its key was revoked.
    KeyRevoked,
    /// It went to another fleet.
    Migrated,
}

impl AuditUnenrollReason {
    /// The text in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uninstall => "uninstall",
            Self::Orphaned => "orphaned",
            Self::KeyRevoked => "key_revoked",
            Self::Migrated => "migrated",
        }
    }
}
