//! File uploads. The begin request is free JSON with a few required fields; the server keeps all of it.

use serde::{Deserialize, Serialize};

/// Answer to a begin.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct UploadBeginResponse {
    /// Size of every chunk but the last, in bytes.
    pub chunk_size: u64,
    /// Names the upload in the following requests.
    pub upload_id: String,
}

/// Ends an upload.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct UploadCompleteRequest {
    /// The hash of the hashes.
    #[serde(default)]
    pub transithash: TransitHash,
}

/// SHA-256 over the chunks' binary SHA-256 sums, in order.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct TransitHash {
    /// Hex.
    #[serde(default)]
    pub sha256: String,
}

/// Answer to a complete.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct UploadCompleteResponse {
    /// `ok`.
    pub status: String,
}

/// `file.Status` of an upload.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UploadStatus {
    /// Begun, no chunk yet.
    AwaitingUpload,
    /// Chunks arrive.
    Uploading,
    /// Complete and checked.
    Ready,
    /// Given up.
    UploadError,
    /// Removed by a person.
    Deleted,
}

impl UploadStatus {
    /// The text in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingUpload => "AWAITING_UPLOAD",
            Self::Uploading => "UPLOADING",
            Self::Ready => "READY",
            Self::UploadError => "UPLOAD_ERROR",
            Self::Deleted => "DELETED",
        }
    }
}
