//! Why a request failed.

use std::error::Error;
use std::io;

use tls::{ClientTls, Explanation, Observation};

/// Why a request failed. `Display` tells the story.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No connection: name, network, proxy or TLS.
    #[error("{0}")]
    Connect(#[source] Box<Explanation>),
    /// No connection in time.
    #[error("{0}")]
    ConnectTimeout(#[source] Box<Explanation>),
    /// The connection broke with an alert or error of TLS, such as a client certificate that was refused.
    #[error("{0}")]
    Tls(#[source] Box<Explanation>),
    /// The connection broke, or the answer is not HTTP.
    #[error("the request to `{host}` failed: {message}")]
    Broken {
        /// Whom the request went to.
        host: String,
        /// What happened, with its reasons.
        message: String,
    },
    /// The answer's body is larger than it may be.
    #[error("the answer is larger than the allowed {limit} bytes")]
    TooLarge {
        /// The most that is read.
        limit: usize,
    },
    /// The request itself makes no sense.
    #[error("the request cannot be sent: {0}")]
    Invalid(String),
}

impl RequestError {
    /// Whether there was no connection at all, so that the request was certainly not processed.
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::ConnectTimeout(_))
    }

    /// Whether it took too long.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::ConnectTimeout(_))
    }

    /// The whole story, when the connection or TLS is to blame.
    pub fn explanation(&self) -> Option<&Explanation> {
        match self {
            Self::Connect(story) | Self::ConnectTimeout(story) | Self::Tls(story) => Some(story),
            Self::Broken { .. } | Self::TooLarge { .. } | Self::Invalid(_) => None,
        }
    }

    pub(crate) fn connect(story: Explanation) -> Self {
        if story.class == "timeout" {
            Self::ConnectTimeout(Box::new(story))
        } else {
            Self::Connect(Box::new(story))
        }
    }

    /// From whatever hyper reports, for a request to `host`.
    pub(crate) fn from_hyper(error: &(dyn Error + 'static), host: &str, tls: &ClientTls) -> Self {
        let mut link = Some(error);
        while let Some(inner) = link {
            if let Some(story) = inner.downcast_ref::<Explanation>() {
                return Self::connect(story.clone());
            }
            if let Some(failed) = inner.downcast_ref::<io::Error>()
                && tls::tls_error(failed).is_some()
            {
                return Self::Tls(Box::new(tls.explain(
                    failed,
                    &format!("`{host}`"),
                    &Observation::default(),
                )));
            }
            link = inner.source();
        }
        Self::Broken {
            host: host.to_owned(),
            message: with_sources(error),
        }
    }
}

pub(crate) fn with_sources(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
