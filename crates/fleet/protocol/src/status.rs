//! `GET /api/status`.

use serde::{Deserialize, Serialize};

/// How a Fleet Server is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StatusResponse {
    /// `fleet-server`.
    pub name: String,
    /// Its state; HTTP 200 only for [`ServerStatus::Healthy`], else 503.
    pub status: ServerStatus,
    /// Only for those who show a valid key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<StatusVersion>,
}

/// Which build it is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StatusVersion {
    /// Commit.
    #[serde(default)]
    pub build_hash: String,
    /// RFC 3339.
    #[serde(default)]
    pub build_time: String,
    /// Version.
    pub number: String,
}

/// The states of a Fleet Server.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ServerStatus {
    /// Not listening yet.
    Starting,
    /// Reading its policy.
    Configuring,
    /// All well.
    Healthy,
    /// Serves, but something is wrong.
    Degraded,
    /// Does not serve.
    Failed,
    /// Going down.
    Stopping,
    /// Down.
    Stopped,
    /// Not known.
    Unknown,
}
