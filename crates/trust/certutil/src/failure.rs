//! How the tool ends: the exit statuses of the original, with our texts.

use std::error::Error;
use std::fmt;

use certs::{LoadError, WriteError};
use pki::PkiError;

/// The status of the process. Source: elasticsearch-certutil 9.5, measured; the names are those of BSD's sysexits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ExitStatus(pub i32);

impl ExitStatus {
    /// All went well.
    pub const OK: Self = Self(0);
    /// The command line is wrong.
    pub const USAGE: Self = Self(64);
    /// `http`: a CA file that is not one key or one certificate.
    pub const DATA: Self = Self(65);
    /// Whatever has no status of its own.
    pub const OTHER: Self = Self(70);
    /// The output's folder does not exist and is not wanted.
    pub const CANNOT_CREATE: Self = Self(73);
    /// The output exists, or a file cannot be read or written.
    pub const IO: Self = Self(74);
    /// The instances, a password or the CA are not usable.
    pub const CONFIG: Self = Self(78);

    /// The status as the system takes it.
    pub fn code(self) -> u8 {
        self.0 as u8
    }
}

/// Why the tool gives up.
#[derive(Debug)]
pub(crate) struct Failure {
    status: ExitStatus,
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(status: ExitStatus, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    pub(crate) fn status(&self) -> ExitStatus {
        self.status
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

pub(crate) fn usage(message: impl Into<String>) -> Failure {
    Failure::new(ExitStatus::USAGE, message)
}

pub(crate) fn config(message: impl Into<String>) -> Failure {
    Failure::new(ExitStatus::CONFIG, message)
}

/// An error with its causes on one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let status = match error {
            LoadError::KeyMismatch { .. } => ExitStatus::CONFIG,
            _ => ExitStatus::IO,
        };
        Self {
            status,
            message: with_causes(&error),
            hint: error.hint(),
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        Self::new(ExitStatus::IO, with_causes(&error))
    }
}

impl From<PkiError> for Failure {
    fn from(error: PkiError) -> Self {
        let hint = match &error {
            PkiError::OutlivesIssuer { .. } => Some("give fewer `--days`, or make a new CA".to_owned()),
            _ => None,
        };
        let status = match error {
            PkiError::Days { .. } | PkiError::KeySize { .. } => ExitStatus::OTHER,
            _ => ExitStatus::CONFIG,
        };
        Self {
            status,
            message: with_causes(&error),
            hint,
        }
    }
}
