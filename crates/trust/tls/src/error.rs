//! Why TLS could not be set up from settings.

use std::fmt;

use certs::LoadError;
use serde::Serialize;

/// Where something failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// While settings and files were read.
    Load,
    /// While a connection was made.
    Handshake,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Load => "load",
            Self::Handshake => "handshake",
        })
    }
}

/// Why an `ssl` block cannot be used. [`SslError::class`] is stable.
#[derive(Debug, thiserror::Error)]
pub enum SslError {
    /// A value that is not allowed, has the wrong type, or names only what is not available.
    #[error("`ssl.{key}` {problem}")]
    BadValue {
        /// The key below `ssl`.
        key: String,
        /// What is wrong with it, as the end of a sentence that begins with the key.
        problem: String,
        /// What to write instead.
        hint: Option<String>,
        /// `bad_value:` and the key.
        class: String,
    },
    /// A certificate, key or passphrase file that cannot be used.
    #[error(transparent)]
    Files(#[from] LoadError),
    /// A server has no certificate.
    #[error("`ssl.certificate` and `ssl.key` are not set, but a server needs both")]
    ServerWithoutCertificate,
    /// The library refused what was loaded.
    #[error("the TLS library refuses the settings: {0}")]
    Library(String),
}

impl SslError {
    pub(crate) fn bad_value(key: &str, problem: &str, hint: Option<&str>) -> Self {
        Self::BadValue {
            key: key.to_owned(),
            problem: problem.to_owned(),
            hint: hint.map(str::to_owned),
            class: format!("bad_value:{key}"),
        }
    }

    /// A word that is not one of the allowed ones; it is repeated, so never for secrets.
    pub(crate) fn bad_word(key: &str, word: &str, allowed: &str) -> Self {
        let shown: String = word.chars().take(80).collect();
        Self::bad_value(
            key,
            &format!("is `{shown}`, which is not allowed"),
            Some(&format!("allowed: {allowed}")),
        )
    }

    /// The stable class.
    pub fn class(&self) -> &str {
        match self {
            Self::BadValue { class, .. } => class,
            Self::Files(error) => error.class(),
            Self::ServerWithoutCertificate => "certificate_missing",
            Self::Library(_) => "bad_value:ssl",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::BadValue { hint, .. } => hint.clone(),
            Self::Files(error) => error.hint(),
            Self::ServerWithoutCertificate => Some(
                "set both; `elasticsearch-certutil cert` makes a pair, and `ssl.enabled: false` serves without TLS"
                    .to_owned(),
            ),
            Self::Library(_) => Some("compare the block with the reference of `ssl` settings".to_owned()),
        }
    }

    /// Always [`Stage::Load`].
    pub fn stage(&self) -> Stage {
        Stage::Load
    }

    /// The error with the reasons behind it, in one line.
    pub(crate) fn whole_message(&self) -> String {
        let mut message = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            message = format!("{message}: {error}");
            source = error.source();
        }
        message
    }
}
