//! From the fingerprint in a join string to the CA itself: look at the chain that the server presents, find the
//! certificate with that fingerprint, and trust exactly it from then on.
//!
//! The look itself trusts nothing and sends nothing; the enrolment that follows verifies in full against the found CA.

use std::time::Duration;

use certs::Fingerprint;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tls::{ClientTls, LoadOptions, SslSettings};
use tokio::net::TcpStream;
use url::Url;

const LOOK_TIMEOUT: Duration = Duration::from_secs(15);

/// Why the CA could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FirstTrustError {
    /// No TCP connection.
    #[error("cannot connect to {host}: {source}")]
    Connect {
        /// Host and port.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// No TLS there.
    #[error("{host} does not speak TLS as expected: {source}")]
    Handshake {
        /// Host and port.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// Took too long.
    #[error("{host} did not answer within {} s", LOOK_TIMEOUT.as_secs())]
    Timeout {
        /// Host and port.
        host: String,
    },
    /// The chain lacks it.
    #[error("none of the certificates that {host} presents has the expected fingerprint {expected}{presented}")]
    NoMatch {
        /// Host and port.
        host: String,
        /// The fingerprint of the join string.
        expected: String,
        /// One line for each presented certificate.
        presented: String,
    },
    /// Not 64 hex digits.
    #[error("`{text}` is not a SHA-256 fingerprint: 64 hexadecimal digits, with or without colons")]
    Fingerprint {
        /// The text.
        text: String,
    },
    /// The TLS client could not be made.
    #[error(transparent)]
    Ssl(#[from] tls::SslError),
}

impl FirstTrustError {
    /// Whether the server may only be starting.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Connect { source, .. } if source.kind() == std::io::ErrorKind::ConnectionRefused)
    }
}

/// The PEM of the certificate in the chain of `url` whose SHA-256 is `fingerprint`.
pub(crate) async fn fetch_ca(url: &Url, fingerprint: &str) -> Result<String, FirstTrustError> {
    let expected: Fingerprint = fingerprint.parse().map_err(|_| FirstTrustError::Fingerprint {
        text: fingerprint.to_owned(),
    })?;
    let host = format!(
        "{}:{}",
        url.host_str().unwrap_or_default(),
        url.port_or_known_default().unwrap_or(8220)
    );
    let looked = tokio::time::timeout(LOOK_TIMEOUT, presented_chain(url, &host)).await;
    let chain = looked.map_err(|_| FirstTrustError::Timeout { host: host.clone() })??;
    match chain
        .iter()
        .find(|certificate| certs::fingerprint(certificate) == expected)
    {
        Some(certificate) => Ok(certs::write_pem_certificates(std::slice::from_ref(certificate))),
        None => Err(FirstTrustError::NoMatch {
            host,
            expected: expected.to_string(),
            presented: list(&chain),
        }),
    }
}

async fn presented_chain(url: &Url, host: &str) -> Result<Vec<CertificateDer<'static>>, FirstTrustError> {
    let settings = SslSettings::from_value(&json!({"verification_mode": "none"}))?;
    let tls = ClientTls::load(&settings, LoadOptions::default())?;
    let connect = |source| FirstTrustError::Connect {
        host: host.to_owned(),
        source,
    };
    let tcp = TcpStream::connect(host).await.map_err(connect)?;
    tcp.set_nodelay(true).map_err(connect)?;
    let name = url
        .host_str()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let name = ServerName::try_from(name).map_err(|error| connect(std::io::Error::other(error)))?;
    let stream = tokio_rustls::TlsConnector::from(tls.config())
        .connect(name, tcp)
        .await
        .map_err(|source| FirstTrustError::Handshake {
            host: host.to_owned(),
            source,
        })?;
    let (_, connection) = stream.get_ref();
    Ok(connection.peer_certificates().unwrap_or_default().to_vec())
}

fn list(chain: &[CertificateDer<'_>]) -> String {
    let line = |certificate: &CertificateDer<'_>| {
        let summary = certs::describe(certificate);
        format!(
            "\n  presented: {} (CA: {}), SHA-256 {}",
            summary.subject,
            if summary.is_ca { "yes" } else { "no" },
            summary.fingerprint
        )
    };
    chain.iter().map(line).collect()
}
