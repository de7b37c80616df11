//! What a client gets when a request cannot be done. The one place where errors become status codes.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use store::StoreError;

use crate::domain::error::FleetError;
use crate::domain::sessions::LoginError;

/// A refused request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// No credential, or one that does not hold.
    #[error("{0}")]
    Unauthorized(String),
    /// The body, query or a header is not what the route takes.
    #[error("{0}")]
    BadRequest(String),
    /// The body is of a kind that the route does not take.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// The body is larger than the route takes.
    #[error("{0}")]
    TooLarge(String),
    /// No such route.
    #[error("Not Found")]
    NoRoute,
    /// The path is one, the method is not.
    #[error("Method Not Allowed: {allow} would be")]
    WrongMethod { allow: String },
    /// The caller may not.
    #[error("{0}")]
    Forbidden(String),
    /// What the domain says.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// What the check of a credential says.
    #[error(transparent)]
    Login(LoginError),
}

impl From<LoginError> for ApiError {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Rejected => Self::Unauthorized(error.to_string()),
            LoginError::Unchecked(error) => Self::Fleet(error),
            LoginError::TooMany { .. } => Self::Login(error),
        }
    }
}

impl ApiError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Login(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Fleet(error) => match error {
                FleetError::NotFound(_) => StatusCode::NOT_FOUND,
                FleetError::Conflict(_) => StatusCode::CONFLICT,
                FleetError::Forbidden(_) => StatusCode::FORBIDDEN,
                FleetError::Invalid { .. } => StatusCode::BAD_REQUEST,
                FleetError::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
                FleetError::Store(StoreError::Unavailable(_) | StoreError::DiskFull(_)) => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
                FleetError::Store(_)
                | FleetError::Access(_)
                | FleetError::Refused(_)
                | FleetError::Unreadable { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }

    /// What the client sees; what is our own fault is told to the log only.
    fn message(&self, status: StatusCode) -> String {
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            return "An internal server error occurred. Check the server's log for details.".to_owned();
        }
        self.to_string()
    }

    fn class(&self) -> Option<&'static str> {
        match self {
            Self::Fleet(FleetError::Invalid { class, .. }) => *class,
            _ => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::error!(error = %self, source = ?std::error::Error::source(&self), "request failed");
        }
        let mut body = json!({
            "statusCode": status.as_u16(),
            "error": status.canonical_reason().unwrap_or("Error"),
            "message": self.message(status),
        });
        if let Some(class) = self.class() {
            body["attributes"] = json!({"type": class});
        }
        let mut response = (status, axum::Json::<Value>(body)).into_response();
        if let Self::WrongMethod { allow } = &self
            && let Ok(allow) = HeaderValue::from_str(allow)
        {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"flotilla\", charset=\"UTF-8\""),
            );
        }
        response
    }
}
