//! What failed, told whole: what was configured, what was presented, which rule was broken, what to do.

use std::fmt::{self, Write as _};
use std::io;

use certs::{CertificateSummary, describe};
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};
use rustls_pki_types::CertificateDer;
use serde::Serialize;

use crate::error::{SslError, Stage};
use crate::observe::Observation;

/// The whole story of one failure. `Display` is a text of several lines, `Serialize` the fields of `tls check --json`.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Where it failed.
    pub stage: Stage,
    /// The stable class.
    #[serde(rename = "error_class")]
    pub class: String,
    /// The alert that the peer sent, in the words of its library.
    pub peer_alert: Option<String>,
    /// What failed and which rule was broken; one sentence.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// What both sides brought.
    #[serde(flatten)]
    pub evidence: Box<Evidence>,
}

/// What both sides brought to a handshake.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Evidence {
    /// What was configured on this side, line by line.
    pub configured: Vec<String>,
    /// What the peer presented, leaf first.
    pub presented: Vec<CertificateSummary>,
}

/// Which side of the connection explains.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// It connected.
    Client,
    /// It accepted.
    Server,
}

impl Explanation {
    /// A failure of another kind (no connection, a proxy's refusal) in the same form.
    pub fn new(class: &str, message: impl Into<String>) -> Self {
        Self {
            stage: Stage::Handshake,
            class: class.to_owned(),
            peer_alert: None,
            message: message.into(),
            hint: None,
            evidence: Box::default(),
        }
    }

    /// A failure before anything was sent: a setting that cannot be used.
    pub fn at_load(class: &str, message: impl Into<String>) -> Self {
        Self {
            stage: Stage::Load,
            ..Self::new(class, message)
        }
    }

    /// With advice.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What happened and what to do, for places that show one line.
    pub fn in_one_line(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}; {hint}", self.message),
            None => self.message.clone(),
        }
    }

    /// With what this side had configured.
    pub fn with_configured(mut self, configured: Vec<String>) -> Self {
        self.evidence.configured = configured;
        self
    }
}

impl From<&SslError> for Explanation {
    fn from(error: &SslError) -> Self {
        Self {
            stage: Stage::Load,
            class: error.class().to_owned(),
            peer_alert: None,
            message: error.whole_message(),
            hint: error.hint(),
            evidence: Box::default(),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(alert) = &self.peer_alert {
            write!(f, "\n  alert from the peer: {alert}")?;
        }
        for (place, line) in self.evidence.configured.iter().enumerate() {
            write!(
                f,
                "\n  {} {line}",
                if place == 0 { "configured:" } else { "           " }
            )?;
        }
        for (place, certificate) in self.evidence.presented.iter().enumerate() {
            write!(
                f,
                "\n  {} {}",
                if place == 0 { "presented: " } else { "           " },
                in_a_line(place, certificate)
            )?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  what to do: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Explanation {}

fn in_a_line(place: usize, certificate: &CertificateSummary) -> String {
    let mut line = format!(
        "{}. `{}`, issued by `{}`",
        place + 1,
        certificate.subject,
        certificate.issuer
    );
    let names: Vec<String> = certificate
        .sans
        .iter()
        .map(|name| match name {
            certs::SubjectAltName::Dns(name) => format!("DNS:{name}"),
            certs::SubjectAltName::Ip(address) => format!("IP:{address}"),
            certs::SubjectAltName::Email(name) => format!("email:{name}"),
            certs::SubjectAltName::Uri(name) => format!("URI:{name}"),
            certs::SubjectAltName::Other(name) => format!("other:{name}"),
        })
        .collect();
    if !names.is_empty() {
        line.push_str(", names ");
        line.push_str(&names.join(", "));
    }
    // Writing to a text cannot fail.
    let _ignored = write!(
        line,
        ", {}{}, valid {} to {}, SHA-256 {}",
        certificate.key_type,
        if certificate.is_ca { ", CA" } else { "" },
        clock::rfc3339_seconds(certificate.not_before),
        clock::rfc3339_seconds(certificate.not_after),
        certificate.fingerprint
    );
    line
}

/// Explains an error of a handshake or of the first bytes after it. `whom` names the peer in the message.
pub fn explain(error: &io::Error, side: Side, whom: &str, observation: &Observation) -> Explanation {
    let mut explanation = match tls_error(error) {
        Some(tls) => explain_tls(tls, side, whom, observation),
        None => explain_io(error, side, whom, observation),
    };
    explanation
        .hint
        .get_or_insert_with(|| advice(&explanation.class).to_owned());
    explanation
}

/// What to do where the rule itself had no better advice.
fn advice(class: &str) -> &'static str {
    match class {
        "unknown_authority" => {
            "add the CA that issued the certificate to `ssl.certificate_authorities`; at enrolment that is `--certificate-authorities`"
        }
        "expired" => "issue the certificate anew, or check the clock of this machine",
        "not_yet_valid" => "check the clocks of both machines",
        "hostname_mismatch" => "use a name that the certificate has in the URL, or issue it with this name",
        "key_usage" => "issue the certificate with the extended key usage of this role, or with none",
        "path_length" => "issue the certificate from a CA that stands higher",
        "name_constraint" => "issue the certificate for names that its CA may issue for",
        "critical_extension" => "issue the certificate anew without that extension",
        "pin_mismatch" => "compare `ssl.ca_sha256` with the pins that `flotilla tls show FILE` prints",
        "certificate_unreadable" => "look at the certificate with `flotilla tls show FILE`, and issue it anew",
        "client_certificate_missing" => "set `ssl.certificate` and `ssl.key` of the client",
        "connection_failed" => "check host, port and firewalls between",
        _ => "look at the log of the other side, and compare the `ssl` settings of both",
    }
}

/// The TLS error inside an I/O error, as tokio-rustls wraps it.
pub fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Error>())
}

/// As [`explain`], for an error of the TLS library itself.
pub fn explain_tls(error: &Error, side: Side, whom: &str, observation: &Observation) -> Explanation {
    if let (Some(failure), Error::InvalidCertificate(_) | Error::General(_)) = (&observation.failure, error) {
        let mut explanation = Explanation::new(failure.class, format!("TLS with {whom} failed: {}", failure.rule));
        explanation.hint.clone_from(&failure.hint);
        explanation.evidence.presented = summaries(&failure.presented);
        return explanation;
    }
    match error {
        Error::AlertReceived(alert) => explain_alert(*alert, side, whom, observation),
        Error::InvalidCertificate(reason) => explain_certificate(reason, whom),
        Error::PeerIncompatible(reason) => explain_incompatible(reason, side, whom),
        Error::NoCertificatesPresented => Explanation::new(
            "client_certificate_missing",
            format!("{whom} sent no certificate, but one is required"),
        )
        .with_hint(
            "give the client a certificate (`ssl.certificate` and `ssl.key`), or relax `ssl.client_authentication`",
        ),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            let hint = match side {
                Side::Client => "it may be a plain HTTP server, or another service: check port and scheme",
                Side::Server => "the client may use http:// instead of https://",
            };
            Explanation::new("not_tls", format!("{whom} does not speak TLS")).with_hint(hint)
        }
        other => Explanation::new("handshake_failure", format!("TLS with {whom} failed: {other}")),
    }
}

fn summaries(presented: &[CertificateDer<'_>]) -> Vec<CertificateSummary> {
    presented.iter().map(describe).collect()
}

fn explain_certificate(reason: &CertificateError, whom: &str) -> Explanation {
    let class = match reason {
        CertificateError::UnknownIssuer => "unknown_authority",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "not_yet_valid",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "hostname_mismatch",
        CertificateError::UnhandledCriticalExtension => "critical_extension",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => "key_usage",
        CertificateError::BadSignature => {
            return Explanation::new(
                "handshake_failure",
                format!("{whom} did not prove that it holds the key of its certificate, or that key is too weak"),
            )
            .with_hint(
                "RSA keys below 2048 bits cannot be verified; else the peer shows a certificate of another key",
            );
        }
        _ => "certificate_unreadable",
    };
    Explanation::new(class, format!("TLS with {whom} failed: {reason}"))
}

fn explain_incompatible(reason: &PeerIncompatible, side: Side, whom: &str) -> Explanation {
    use PeerIncompatible as P;
    let (class, message) = match reason {
        P::NoCipherSuitesInCommon => ("no_common_cipher", "no cipher suite in common"),
        P::NoKxGroupsInCommon | P::NamedGroupsExtensionRequired => {
            ("no_common_group", "no key exchange group in common")
        }
        P::NoSignatureSchemesInCommon | P::NoCertificateRequestSignatureSchemesInCommon => {
            ("unsupported_key_type", "no signature scheme in common for this key")
        }
        P::ServerDoesNotSupportTls12Or13
        | P::ServerTlsVersionIsDisabledByOurConfig
        | P::SupportedVersionsExtensionRequired
        // From TLS 1.2 on every client sends it; older ones do not.
        | P::SignatureAlgorithmsExtensionRequired
        | P::Tls12NotOffered
        | P::Tls12NotOfferedOrEnabled => ("protocol_version", "no protocol version in common"),
        _ => return Explanation::new("handshake_failure", format!("TLS with {whom} failed: {reason:?}")),
    };
    let setting = match class {
        "no_common_cipher" => "ssl.cipher_suites",
        "no_common_group" => "ssl.curve_types",
        "unsupported_key_type" => "ssl.certificate",
        _ => "ssl.supported_protocols",
    };
    let other = if side == Side::Client { "server" } else { "client" };
    Explanation::new(class, format!("TLS with {whom} failed: {message}"))
        .with_hint(format!("compare `{setting}` of this side with what the {other} offers; TLS 1.2 and 1.3 with AEAD suites are available here"))
}

fn explain_alert(alert: AlertDescription, side: Side, whom: &str, observation: &Observation) -> Explanation {
    use AlertDescription as A;
    let refused_ours = side == Side::Client && observation.client_certificate_requested;
    let (class, message, hint) = match alert {
        A::CertificateRequired => (
            "client_certificate_missing",
            "it requires a client certificate, and none was sent",
            "set `ssl.certificate` and `ssl.key`",
        ),
        A::UnknownCA if side == Side::Client => (
            "client_rejected_unknown_authority",
            "it does not trust the CA of our client certificate",
            "use a certificate of a CA that the server trusts, or add its CA to the server's `ssl.certificate_authorities`; send intermediates along",
        ),
        A::UnknownCA => (
            "handshake_failure",
            "the client does not trust our certificate",
            "give the client the CA of this server (`ssl.certificate_authorities` or `ssl.ca_trusted_fingerprint`)",
        ),
        A::ProtocolVersion => (
            "protocol_version",
            "no protocol version in common",
            "allow TLS 1.2 or 1.3 on both sides (`ssl.supported_protocols`)",
        ),
        A::HandshakeFailure if refused_ours && !observation.client_certificate_offered => (
            "handshake_failure",
            "it broke off after asking for a client certificate, and none is configured",
            "most likely it requires one: set `ssl.certificate` and `ssl.key`",
        ),
        A::HandshakeFailure => (
            "handshake_failure",
            "it found no cipher suite, group or key type in common, or gave no reason",
            "compare `ssl.cipher_suites`, `ssl.curve_types` and `ssl.supported_protocols` of both sides, and the key type of the server",
        ),
        A::CertificateExpired => (
            "expired",
            "it says that our certificate is expired or not yet valid",
            "issue a new one, or check the clocks of both machines",
        ),
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateUnknown
        | A::CertificateRevoked
        | A::AccessDenied => (
            "handshake_failure",
            "it does not accept our certificate",
            "the reason is in the log of the other side",
        ),
        A::UnrecognisedName => (
            "handshake_failure",
            "it does not know this host name",
            "use the name that the server or the proxy before it is set up for",
        ),
        _ => (
            "handshake_failure",
            "it broke off",
            "the reason is in the log of the other side",
        ),
    };
    let mut explanation = Explanation::new(
        class,
        format!("{whom} ended TLS with the alert `{}`: {message}", alert_name(alert)),
    )
    .with_hint(hint);
    explanation.peer_alert = Some(alert_name(alert));
    explanation
}

fn explain_io(error: &io::Error, side: Side, whom: &str, observation: &Observation) -> Explanation {
    use io::ErrorKind as K;
    if let Some(failure) = &observation.failure {
        let reason = Error::InvalidCertificate(CertificateError::BadEncoding);
        tracing::debug!(class = failure.class, "the connection broke before the alert was out");
        return explain_tls(&reason, side, whom, observation);
    }
    match error.kind() {
        K::UnexpectedEof | K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe => {
            let hint = if observation.client_certificate_requested && !observation.client_certificate_offered {
                "it asked for a client certificate and none is configured: set `ssl.certificate` and `ssl.key`"
            } else if observation.client_certificate_requested {
                "it asked for our client certificate and may have refused it: see the log of the server"
            } else {
                "something between may have cut the connection, or the peer does not speak TLS here"
            };
            Explanation::new(
                "handshake_failure",
                format!("{whom} closed the connection in the middle of TLS"),
            )
            .with_hint(hint)
        }
        K::TimedOut => Explanation::new("timeout", format!("{whom} did not finish the TLS handshake in time"))
            .with_hint("check that the port speaks TLS and that no firewall drops packets"),
        _ => Explanation::new(
            "connection_failed",
            format!("the connection with {whom} failed: {error}"),
        ),
    }
}

/// The names that Go's library gives to alerts, which are those of the RFCs in words.
pub fn alert_name(alert: AlertDescription) -> String {
    use AlertDescription as A;
    let name = match alert {
        A::CloseNotify => "close notify",
        A::UnexpectedMessage => "unexpected message",
        A::BadRecordMac => "bad record MAC",
        A::RecordOverflow => "record overflow",
        A::HandshakeFailure => "handshake failure",
        A::BadCertificate => "bad certificate",
        A::UnsupportedCertificate => "unsupported certificate",
        A::CertificateRevoked => "revoked certificate",
        A::CertificateExpired => "expired certificate",
        A::CertificateUnknown => "unknown certificate",
        A::IllegalParameter => "illegal parameter",
        A::UnknownCA => "unknown certificate authority",
        A::AccessDenied => "access denied",
        A::DecodeError => "error decoding message",
        A::DecryptError => "error decrypting message",
        A::ProtocolVersion => "protocol version not supported",
        A::InsufficientSecurity => "insufficient security level",
        A::InternalError => "internal error",
        A::InappropriateFallback => "inappropriate fallback",
        A::UserCanceled => "user canceled",
        A::NoRenegotiation => "no renegotiation",
        A::MissingExtension => "missing extension",
        A::UnsupportedExtension => "unsupported extension",
        A::UnrecognisedName => "unrecognized name",
        A::BadCertificateStatusResponse => "bad certificate status response",
        A::UnknownPSKIdentity => "unknown PSK identity",
        A::CertificateRequired => "certificate required",
        A::NoApplicationProtocol => "no application protocol",
        other => return format!("{other:?}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_says_what_to_do() {
        let observation = Observation::default();
        let errors = [
            Error::InvalidCertificate(CertificateError::UnknownIssuer),
            Error::InvalidCertificate(CertificateError::Expired),
            Error::InvalidCertificate(CertificateError::NotValidYet),
            Error::InvalidCertificate(CertificateError::NotValidForName),
            Error::InvalidCertificate(CertificateError::BadSignature),
            Error::InvalidCertificate(CertificateError::BadEncoding),
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
            Error::PeerIncompatible(PeerIncompatible::SignatureAlgorithmsExtensionRequired),
            Error::PeerIncompatible(PeerIncompatible::NullCompressionRequired),
            Error::NoCertificatesPresented,
            Error::DecryptError,
            Error::General("x".into()),
            Error::AlertReceived(AlertDescription::InternalError),
            Error::AlertReceived(AlertDescription::UnknownCA),
        ];
        for error in errors {
            for side in [Side::Client, Side::Server] {
                let told = format!("{error:?} {side:?}");
                let wrapped = io::Error::new(io::ErrorKind::InvalidData, error.clone());
                let explanation = explain(&wrapped, side, "`peer`", &observation);
                assert!(explanation.hint.is_some_and(|hint| !hint.is_empty()), "{told}");
                assert!(explanation.message.contains("peer"), "{told}");
            }
        }
        for kind in [
            io::ErrorKind::UnexpectedEof,
            io::ErrorKind::TimedOut,
            io::ErrorKind::Other,
        ] {
            let explanation = explain(&kind.into(), Side::Client, "`peer`", &observation);
            assert!(explanation.hint.is_some(), "{kind}");
        }
    }
}
