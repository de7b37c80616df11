//! What a request can end with when it does not end well, and what the client then sees.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use protocol::ErrorBody;
use store::StoreError;

/// A refused or failed request. Source of codes and texts: Fleet Server API, error body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("no authorization header")]
    NoAuthHeader,
    #[error("malformed authorization header")]
    MalformedHeader,
    #[error("token not valid utf8")]
    InvalidToken,
    #[error("malformed token")]
    MalformedToken,
    #[error("unauthorized")]
    Unauthorized,
    /// The key is good, but not for enrolling; the text says why.
    #[error("{0}")]
    TokenRefused(&'static str),
    #[error("Agent inactive")]
    AgentInactive,
    #[error("Agent header contains wrong identifier")]
    AgentIdentity,
    #[error("agent document is corrupted: it has no `agent` object")]
    AgentCorrupted,
    #[error("agent could not be found")]
    AgentNotFound,
    #[error("existing agent cannot be replaced")]
    AgentNotReplaceable,
    #[error("Header parameter {0} is required, but not found")]
    HeaderMissing(&'static str),
    #[error("user-agent is invalid")]
    InvalidUserAgent,
    #[error("version is not supported")]
    UnsupportedVersion,
    #[error("received \"{0}\", expected a valid date string formatted as YYYY-MM-DD. invalid version format")]
    InvalidApiVersionFormat(String),
    #[error(
        "received \"{0}\", is not supported. supported versions are: [{supported}] version is not supported",
        supported = protocol::API_VERSION
    )]
    UnsupportedApiVersion(String),
    #[error("Bad request: {0}")]
    BadRequest(String),
    /// As `BadRequest`, with a text of its own.
    #[error("{0}")]
    Invalid(String),
    #[error("policy not found")]
    PolicyNotFound,
    #[error("request body is larger than {limit} bytes")]
    PayloadTooLarge { limit: usize },
    #[error("the request was not read in time")]
    RequestTimeout,
    #[error("exceeded the rate limit")]
    RateLimit { retry_after: u64 },
    #[error("exceeded the max limit")]
    MaxLimit,
    #[error("an enrollment with the same enrollment_id is in progress")]
    EnrollDuplicate,
    #[error("agent document contains audit_unenroll_reason")]
    AuditReasonConflict,
    #[error("agent not authorized for artifact")]
    ArtifactForbidden,
    #[error("{0}")]
    NotFound(&'static str),
    #[error("{0}")]
    Upload(UploadProblem),
    #[error("file not found")]
    NoFile,
    #[error("this file may only be fetched by its own client")]
    FileForbidden,
    #[error("range not satisfiable")]
    RangeNotSatisfiable { size: u64 },
    #[error("this endpoint is served over TLS only")]
    TlsRequired,
    #[error("Fleet server unable to communicate with Elasticsearch")]
    ServiceUnavailable,
    /// The store answered, but not with what was asked.
    #[error("elasticsearch error")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What can be wrong with an upload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum UploadProblem {
    BodyRequired,
    SizeRequired,
    InvalidSize,
    FieldRequired(&'static str),
    TooLarge,
    InvalidChunkNumber,
    HashMismatch,
    Expired,
    Stopped,
    MissingChunks,
    FailedValidation,
    Closed,
    TransitHashRequired,
    InvalidId,
    AgentIdMissing,
}

impl UploadProblem {
    fn code(self) -> &'static str {
        match self {
            Self::BodyRequired => "ErrFileInfoBodyRequired",
            Self::SizeRequired => "ErrFileSizeRequired",
            Self::InvalidSize => "ErrInvalidFileSize",
            Self::FieldRequired(_) => "ErrFieldRequired",
            Self::TooLarge => "ErrFileSizeTooLarge",
            Self::InvalidChunkNumber => "ErrInvalidChunkNum",
            Self::HashMismatch => "ErrHashMismatch",
            Self::Expired => "ErrUploadExpired",
            Self::Stopped => "ErrUploadStopped",
            Self::MissingChunks => "ErrMissingChunks",
            Self::FailedValidation => "ErrFailValidation",
            Self::Closed => "ErrStatusNoUploads",
            Self::TransitHashRequired => "TransitHashRequired",
            Self::InvalidId => "ErrInvalidFileID",
            Self::AgentIdMissing => "ErrAgentIDMissing",
        }
    }
}

impl std::fmt::Display for UploadProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BodyRequired => "file info body is required",
            Self::SizeRequired => "file.size is required",
            Self::InvalidSize => "invalid filesize",
            Self::FieldRequired(field) => return write!(f, "field `{field}` is required"),
            Self::TooLarge => "file size exceeds the allowed maximum",
            Self::InvalidChunkNumber => "invalid chunk number",
            Self::HashMismatch => "hash does not match",
            Self::Expired => "upload has expired",
            Self::Stopped => "upload has stopped",
            Self::MissingChunks => "file data is incomplete: a chunk is missing",
            Self::FailedValidation => "file contents failed validation",
            Self::Closed => "file closed, not accepting uploads",
            Self::TransitHashRequired => "Transit hash required",
            Self::InvalidId => "ErrInvalidID",
            Self::AgentIdMissing => "required field agent_id is missing",
        })
    }
}

impl ApiError {
    /// An unexpected answer of the store.
    pub(crate) fn store(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Store(Box::new(error))
    }

    /// Whether asking again later may help, since the store cannot be reached now.
    pub(crate) fn is_store_unavailable(&self) -> bool {
        matches!(self, Self::ServiceUnavailable)
    }

    /// The stable name in the body.
    #[cfg(test)]
    pub(crate) fn code(&self) -> &'static str {
        self.status_and_code().1
    }

    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoAuthHeader => (StatusCode::UNAUTHORIZED, "ErrNoAuthHeader"),
            Self::MalformedHeader => (StatusCode::BAD_REQUEST, "ErrMalformedHeader"),
            Self::InvalidToken => (StatusCode::UNAUTHORIZED, "ErrInvalidToken"),
            Self::MalformedToken => (StatusCode::BAD_REQUEST, "ErrMalformedToken"),
            Self::Unauthorized | Self::TokenRefused(_) => (StatusCode::UNAUTHORIZED, "ErrUnauthorized"),
            Self::AgentInactive => (StatusCode::UNAUTHORIZED, "ErrAgentInactive"),
            Self::AgentIdentity => (StatusCode::FORBIDDEN, "ErrAgentIdentity"),
            Self::AgentCorrupted => (StatusCode::BAD_REQUEST, "ErrAgentCorrupted"),
            Self::AgentNotFound => (StatusCode::NOT_FOUND, "AgentNotFound"),
            Self::AgentNotReplaceable => (StatusCode::FORBIDDEN, "AgentNotReplaceable"),
            Self::HeaderMissing(_) | Self::BadRequest(_) | Self::Invalid(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Self::InvalidUserAgent => (StatusCode::BAD_REQUEST, "InvalidUserAgent"),
            Self::UnsupportedVersion => (StatusCode::BAD_REQUEST, "UnsupportedVersion"),
            Self::InvalidApiVersionFormat(_) => (StatusCode::BAD_REQUEST, "ErrInvalidAPIVersionFormat"),
            Self::UnsupportedApiVersion(_) => (StatusCode::BAD_REQUEST, "ErrUnsupportedAPIVersion"),
            Self::PolicyNotFound => (StatusCode::BAD_REQUEST, "ErrPolicyNotFound"),
            Self::PayloadTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "ErrPayloadSizeTooLarge"),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "RequestTimeout"),
            Self::RateLimit { .. } => (StatusCode::TOO_MANY_REQUESTS, "RateLimit"),
            Self::MaxLimit => (StatusCode::TOO_MANY_REQUESTS, "MaxLimit"),
            Self::EnrollDuplicate => (StatusCode::TOO_MANY_REQUESTS, "EnrollDuplicate"),
            Self::AuditReasonConflict => (StatusCode::CONFLICT, "ErrAuditReasonConflict"),
            Self::ArtifactForbidden => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "NotFound"),
            Self::Upload(problem) => (StatusCode::BAD_REQUEST, problem.code()),
            Self::NoFile => (StatusCode::NOT_FOUND, "ErrNoFile"),
            Self::FileForbidden => (StatusCode::FORBIDDEN, "ErrClientFileForbidden"),
            Self::RangeNotSatisfiable { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "ErrRangeNotSatisfiable"),
            Self::TlsRequired => (StatusCode::NOT_IMPLEMENTED, "ErrTLSRequired"),
            Self::ServiceUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Self::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "elastic fail"),
        }
    }

    /// Seconds after which the client should try again, for answers that say so.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimit { retry_after } => Some(*retry_after),
            Self::MaxLimit | Self::EnrollDuplicate => Some(5),
            Self::ServiceUnavailable | Self::Store(_) => Some(10),
            _ => None,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::DiskFull(_) => {
                tracing::warn!(error = %error, "the store cannot answer");
                Self::ServiceUnavailable
            }
            error => Self::store(error),
        }
    }
}

impl From<access::AccessError> for ApiError {
    fn from(error: access::AccessError) -> Self {
        match error {
            access::AccessError::Store(error) => error.into(),
            error => Self::store(error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, error) = self.status_and_code();
        if let Self::Store(source) = &self {
            tracing::error!(error = %source, "the store answered with an error");
        }
        let body = ErrorBody {
            status_code: status.as_u16(),
            error: error.to_owned(),
            message: self.to_string(),
        };
        let text = serde_json::to_vec(&body).expect("an error body can always be written");
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        );
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Self::RangeNotSatisfiable { size } = self
            && let Ok(range) = HeaderValue::try_from(format!("bytes */{size}"))
        {
            headers.insert(http::header::CONTENT_RANGE, range);
            headers.insert(http::header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        }
        response.extensions_mut().insert(ErrorCode(error));
        response
    }
}

/// The code of an error answer, for metrics and the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ErrorCode(pub(crate) &'static str);
