//! The outcome of one connection, for people and for scripts.

use std::fmt;

use certs::{CertificateSummary, describe};
use rustls::CommonState;
use serde::Serialize;
use tls::{Evidence, Explanation, SslError, Stage};

/// The outcome of one connection. Serialises to one JSON object; texts that do not apply are empty.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether it loaded, shook hands, and a byte went each way.
    pub ok: bool,
    /// Where it failed; `handshake` when it did not.
    pub stage: Stage,
    /// The stable class; `none` when it did not fail.
    pub error_class: String,
    /// The alert that the peer sent.
    pub peer_alert: String,
    /// What happened; never empty.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// The protocol that was agreed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The cipher suite that was agreed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher_suite: Option<String>,
    /// What is configured on this side.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configured: Vec<String>,
    /// What the peer presented, leaf first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub presented: Vec<CertificateSummary>,
    /// What should be changed although it works.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The whole story, for people.
    #[serde(skip)]
    story: Option<Explanation>,
}

impl Report {
    /// A connection that works.
    pub(crate) fn success(message: String, session: &CommonState) -> Self {
        let presented = session
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(describe)
            .collect();
        Self {
            ok: true,
            stage: Stage::Handshake,
            error_class: "none".to_owned(),
            peer_alert: String::new(),
            message,
            hint: String::new(),
            protocol: session
                .protocol_version()
                .and_then(|version| version.as_str())
                .map(protocol_name),
            cipher_suite: session
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .map(str::to_owned),
            configured: Vec::new(),
            presented,
            warnings: Vec::new(),
            story: None,
        }
    }

    /// A connection that works without TLS, as configured.
    pub(crate) fn plain(message: &str) -> Self {
        Self {
            ok: true,
            story: None,
            ..Self::from(Explanation::new("none", message))
        }
    }

    /// With what is configured and what should be changed.
    pub(crate) fn with_context(mut self, configured: Vec<String>, warnings: Vec<String>) -> Self {
        self.configured = configured;
        self.warnings = warnings;
        self
    }
}

/// `TLSv1_3` is how the library spells it.
fn protocol_name(name: &str) -> String {
    name.replacen('v', " ", 1).replace('_', ".")
}

impl From<Explanation> for Report {
    fn from(story: Explanation) -> Self {
        Self {
            ok: false,
            stage: story.stage,
            error_class: story.class.clone(),
            peer_alert: story.peer_alert.clone().unwrap_or_default(),
            message: story.message.clone(),
            hint: story.hint.clone().unwrap_or_default(),
            protocol: None,
            cipher_suite: None,
            configured: story.evidence.configured.clone(),
            presented: story.evidence.presented.clone(),
            warnings: Vec::new(),
            story: Some(story),
        }
    }
}

impl From<&SslError> for Report {
    fn from(error: &SslError) -> Self {
        Self::from(Explanation::from(error))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(story) = &self.story {
            write!(f, "failed ({}): {story}", self.error_class)?;
        } else {
            let evidence = Evidence {
                configured: self.configured.clone(),
                presented: self.presented.clone(),
            };
            let story = Explanation {
                evidence: Box::new(evidence),
                ..Explanation::new("none", &self.message)
            };
            write!(f, "ok: {story}")?;
        }
        for warning in &self.warnings {
            write!(f, "\n  warning: {warning}")?;
        }
        Ok(())
    }
}
