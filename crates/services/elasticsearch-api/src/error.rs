//! Errors in Elasticsearch's shape. The one place where a failure becomes a status.

use std::borrow::Cow;

use access::{AccessError, AuthenticationError};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use query::QueryError;
use serde_json::{Map, Value, json};
use store::{Rejection, RejectionKind, StoreError};

/// A refused request or a refused part of one.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// Elasticsearch's error type.
    pub(crate) kind: Cow<'static, str>,
    pub(crate) reason: String,
    /// Further fields of the error object, such as `index`.
    pub(crate) details: Box<Map<String, Value>>,
    challenge: bool,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, kind: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self {
            status,
            kind: kind.into(),
            reason: reason.into(),
            details: Box::default(),
            challenge: false,
        }
    }

    /// 400 `illegal_argument_exception`.
    pub(crate) fn illegal(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "illegal_argument_exception", reason)
    }

    /// 400 `parsing_exception`.
    pub(crate) fn parsing(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "parsing_exception", reason)
    }

    /// 404 `resource_not_found_exception`.
    pub(crate) fn not_found(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "resource_not_found_exception", reason)
    }

    /// 404 `index_not_found_exception`.
    pub(crate) fn no_such_index(index: &str) -> Self {
        let mut error = Self::new(
            StatusCode::NOT_FOUND,
            "index_not_found_exception",
            format!("no such index [{index}]"),
        );
        *error.details = Map::from_iter([
            ("resource.type".to_owned(), json!("index_or_alias")),
            ("resource.id".to_owned(), json!(index)),
            ("index_uuid".to_owned(), json!("_na_")),
            ("index".to_owned(), json!(index)),
        ]);
        error
    }

    /// 403 `security_exception`.
    pub(crate) fn forbidden(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "security_exception", reason)
    }

    /// 401 `security_exception` with the challenges.
    pub(crate) fn unauthenticated(reason: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::UNAUTHORIZED, "security_exception", reason);
        error.challenge = true;
        error
            .details
            .insert("header".to_owned(), json!({ "WWW-Authenticate": CHALLENGES }));
        error
    }

    /// 429 `es_rejected_execution_exception`: the client tries again later.
    pub(crate) fn too_busy(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "es_rejected_execution_exception", reason)
    }

    /// 413: the client splits its batch.
    pub(crate) fn too_large(limit: usize) -> Self {
        let reason = format!("entity content is too long, it must be at most [{limit}] bytes after decompression");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "content_too_long_exception", reason)
    }

    /// The error object: type, reason and details.
    pub(crate) fn cause(&self) -> Map<String, Value> {
        let mut cause = Map::new();
        cause.insert("type".to_owned(), json!(self.kind));
        cause.insert("reason".to_owned(), json!(self.reason));
        cause.extend((*self.details).clone());
        cause
    }

    /// `{"error": .., "status": ..}`.
    pub(crate) fn body(&self) -> Value {
        let mut error = Map::new();
        error.insert("root_cause".to_owned(), json!([self.cause()]));
        error.extend(self.cause());
        json!({ "error": error, "status": self.status.as_u16() })
    }
}

const CHALLENGES: [&str; 3] = [
    r#"Basic realm="security", charset="UTF-8""#,
    r#"Bearer realm="security""#,
    "ApiKey",
];

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::error!(error = %self.reason, error.kind = %self.kind, "request failed");
        } else {
            tracing::debug!(status = self.status.as_u16(), error = %self.reason, "request refused");
        }
        let mut response = (self.status, axum::Json(self.body())).into_response();
        if self.challenge {
            for challenge in CHALLENGES {
                response
                    .headers_mut()
                    .append(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let reason = error.to_string();
        match error {
            StoreError::IndexNotFound(index) => Self::no_such_index(&index),
            StoreError::AlreadyExists(index) => {
                let mut error = Self::new(StatusCode::BAD_REQUEST, "resource_already_exists_exception", reason);
                error.details.insert("index".to_owned(), json!(index));
                error
            }
            StoreError::Unsupported(_) => Self::illegal(reason),
            StoreError::NoSuchPointInTime(_) => {
                Self::new(StatusCode::NOT_FOUND, "search_context_missing_exception", reason)
            }
            StoreError::DiskFull(_) | StoreError::Unavailable(_) => Self::too_busy(reason),
            StoreError::Damaged(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", reason),
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.kind, error.message)
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let (status, kind) = match rejection.kind {
            RejectionKind::VersionConflict => (StatusCode::CONFLICT, "version_conflict_engine_exception"),
            RejectionKind::DocumentMissing => (StatusCode::NOT_FOUND, "document_missing_exception"),
            RejectionKind::IndexNotFound => return Self::no_such_index(&rejection.index),
            RejectionKind::Malformed => (StatusCode::BAD_REQUEST, "document_parsing_exception"),
            RejectionKind::IllegalArgument => (StatusCode::BAD_REQUEST, "illegal_argument_exception"),
            RejectionKind::TooBusy => (StatusCode::TOO_MANY_REQUESTS, "es_rejected_execution_exception"),
        };
        let mut error = Self::new(status, kind, rejection.reason);
        if matches!(
            rejection.kind,
            RejectionKind::VersionConflict | RejectionKind::DocumentMissing
        ) {
            *error.details = Map::from_iter([
                ("index_uuid".to_owned(), json!("_na_")),
                ("shard".to_owned(), json!("0")),
                ("index".to_owned(), json!(rejection.index)),
            ]);
        }
        error
    }
}

impl From<AuthenticationError> for ApiError {
    fn from(error: AuthenticationError) -> Self {
        match error {
            AuthenticationError::Rejected(reason) => {
                tracing::debug!(reason, "authentication refused");
                let mut error = Self::unauthenticated(
                    "unable to authenticate with provided credentials and anonymous access is not allowed for this request",
                );
                error.details.insert(
                    "additional_unsuccessful_credentials".to_owned(),
                    json!(format!("API key: {reason}")),
                );
                error
            }
            AuthenticationError::Unchecked(error) => error.into(),
        }
    }
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        let reason = error.to_string();
        match error {
            AccessError::Store(error) => error.into(),
            AccessError::Refused(rejection) => rejection.into(),
            AccessError::Unreadable { .. } => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", reason),
            AccessError::Role(_) | AccessError::Invalid(_) => Self::illegal(reason),
            AccessError::Forbidden(_) => Self::forbidden(reason),
            AccessError::Conflict(_) => Self::new(StatusCode::CONFLICT, "version_conflict_engine_exception", reason),
            AccessError::NotFound(_) => Self::not_found(reason),
        }
    }
}
