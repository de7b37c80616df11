//! Why something could not be done, in terms of fleets; what status a client gets is decided by the API alone.

use access::AccessError;
use policy::CompileError;
use policy::package_policy::PackagePolicyError;
use query::QueryError;
use store::{Rejection, RejectionKind, StoreError};

/// Why a request could not be done.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// A name that is taken, or a thing that changed meanwhile.
    #[error("{0}")]
    Conflict(String),
    /// Preconfigured and default things, and what the caller may not do.
    #[error("{0}")]
    Forbidden(String),
    /// A value or combination that makes no sense; says what to do.
    #[error("{message}")]
    Invalid {
        /// In words.
        message: String,
        /// The original's error class, where clients look at it.
        class: Option<&'static str>,
    },
    /// Too often.
    #[error("{0}")]
    TooMany(String),
    /// The store cannot answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The identities cannot answer.
    #[error(transparent)]
    Access(AccessError),
    /// The store refused one of our documents.
    #[error("the store refused a document: {0}")]
    Refused(Rejection),
    /// A stored document that cannot be read.
    #[error("document `{id}` in `{index}` cannot be read: {reason}")]
    Unreadable {
        /// Where it is.
        index: String,
        /// Which it is.
        id: String,
        /// Why.
        reason: String,
    },
}

impl FleetError {
    /// A mistake in the request.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid {
            message: message.into(),
            class: None,
        }
    }

    /// An output that cannot be used like this.
    pub fn invalid_output(message: impl Into<String>) -> Self {
        Self::Invalid {
            message: message.into(),
            class: Some("OutputInvalidError"),
        }
    }

    /// The original's text for a stored object that is not there.
    pub fn no_saved_object(kind: &str, id: &str) -> Self {
        Self::NotFound(format!("Saved object [{kind}/{id}] not found"))
    }
}

impl From<Rejection> for FleetError {
    fn from(rejection: Rejection) -> Self {
        match rejection.kind {
            RejectionKind::VersionConflict => Self::Conflict(format!(
                "`{}` was changed by someone else meanwhile; read it again and retry",
                rejection.id
            )),
            RejectionKind::DocumentMissing => Self::NotFound(format!("`{}` not found", rejection.id)),
            _ => Self::Refused(rejection),
        }
    }
}

impl From<AccessError> for FleetError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Store(error) => Self::Store(error),
            AccessError::Invalid(message) => Self::invalid(message),
            AccessError::Forbidden(message) => Self::Forbidden(message),
            AccessError::Conflict(message) => Self::Conflict(message),
            AccessError::NotFound(message) => Self::NotFound(message),
            other => Self::Access(other),
        }
    }
}

impl From<CompileError> for FleetError {
    fn from(error: CompileError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<PackagePolicyError> for FleetError {
    fn from(error: PackagePolicyError) -> Self {
        let message = match &error {
            PackagePolicyError::Template { source, .. } => {
                format!("{error}: {source}").replacen(&format!(": {source}: {source}"), &format!(": {source}"), 1)
            }
            _ => error.to_string(),
        };
        Self::invalid(message)
    }
}

impl From<QueryError> for FleetError {
    fn from(error: QueryError) -> Self {
        Self::invalid(format!("KQLSyntaxError: {error}"))
    }
}

impl From<packages::PackageError> for FleetError {
    fn from(error: packages::PackageError) -> Self {
        Self::invalid(error.to_string())
    }
}
