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
    /// `root_cause`, when it is not the error itself.
    root: Option<Box<Value>>,
    challenge: bool,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, kind: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self {
            status,
            kind: kind.into(),
            reason: reason.into(),
            details: Box::default(),
            root: None,
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

    /// 400 `parse_exception`: a body is missing.
    pub(crate) fn no_body() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "parse_exception", "request body is required")
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

    /// 400 `invalid_index_name_exception`.
    pub(crate) fn invalid_index(index: &str, wrong: &str) -> Self {
        let mut error = Self::new(
            StatusCode::BAD_REQUEST,
            "invalid_index_name_exception",
            format!("Invalid index name [{index}], {wrong}"),
        );
        error.details.insert("index_uuid".to_owned(), json!("_na_"));
        error.details.insert("index".to_owned(), json!(index));
        error
    }

    /// 400 `action_request_validation_exception`.
    pub(crate) fn validation(what: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "action_request_validation_exception",
            format!("Validation Failed: 1: {what};"),
        )
    }

    /// The refusal as the original tells it when a search has been started: all shards failed, and why.
    pub(crate) fn in_search(self) -> Self {
        const BEFORE: [&str; 4] = [
            "parsing_exception",
            "x_content_parse_exception",
            "index_not_found_exception",
            "action_request_validation_exception",
        ];
        if !matches!(self.status.as_u16(), 400 | 404) || BEFORE.contains(&&*self.kind) {
            return self;
        }
        let cause = Value::Object(self.cause());
        let mut error = Self::new(self.status, "search_phase_execution_exception", "all shards failed");
        *error.details = Map::from_iter([
            ("phase".to_owned(), json!("query")),
            ("grouped".to_owned(), json!(true)),
            (
                "failed_shards".to_owned(),
                json!([{ "shard": 0, "index": null, "reason": cause }]),
            ),
            ("caused_by".to_owned(), cause.clone()),
        ]);
        error.root = Some(Box::new(cause));
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
        let root = self
            .root
            .as_deref()
            .cloned()
            .unwrap_or_else(|| Value::Object(self.cause()));
        error.insert("root_cause".to_owned(), json!([root]));
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
            StoreError::Misfit(error) => error.into(),
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
        let mut told = Self::new(StatusCode::BAD_REQUEST, error.kind, error.message);
        if error.kind == "mapper_parsing_exception" {
            let cause = Value::Object(told.cause());
            told.root = Some(Box::new(cause.clone()));
            told.reason = format!("Failed to parse mapping: {}", told.reason);
            told.details.insert("caused_by".to_owned(), cause);
        }
        told
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let (status, kind) = match rejection.kind {
            RejectionKind::VersionConflict => (StatusCode::CONFLICT, "version_conflict_engine_exception"),
            RejectionKind::DocumentMissing => (StatusCode::NOT_FOUND, "document_missing_exception"),
            RejectionKind::IndexNotFound => return Self::no_such_index(&rejection.index),
            RejectionKind::Malformed => (StatusCode::BAD_REQUEST, "document_parsing_exception"),
            RejectionKind::StrictMapping => (StatusCode::BAD_REQUEST, "strict_dynamic_mapping_exception"),
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
