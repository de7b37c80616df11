//! From the fingerprint in a join string to the CA itself: look at the chain that the server presents, find the
//! certificate with that fingerprint, and trust exactly it from then on.
//!
//! The look verifies in full, with that fingerprint as its only trust; the enrolment that follows does so against the CA.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use certs::Fingerprint;
use http::{HeaderMap, Request};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use tls::{Alpn, ClientTls, LoadOptions, SslSettings};
use tokio::net::TcpStream;
use transport::{HttpClient, HttpClientSettings};
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
    /// The chain is not trusted, or there is no TLS.
    #[error("the server is not the one that the join string was made for: {story}")]
    Untrusted {
        /// What was expected, what was presented, what to do.
        story: String,
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
    let settings = SslSettings::from_value(&json!({"ca_trusted_fingerprint": expected.to_string()}))?;
    let tls = ClientTls::load(&settings, LoadOptions::named("join"))?;
    let looked = tokio::time::timeout(LOOK_TIMEOUT, presented_chain(&tls, url, &host)).await;
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

async fn presented_chain(
    tls: &Arc<ClientTls>,
    url: &Url,
    host: &str,
) -> Result<Vec<CertificateDer<'static>>, FirstTrustError> {
    let connect = |source| FirstTrustError::Connect {
        host: host.to_owned(),
        source,
    };
    let untrusted = |story: String| FirstTrustError::Untrusted { story };
    let addresses = transport::addresses_of_place(host).await.map_err(connect)?;
    let tcp = TcpStream::connect(addresses.as_slice()).await.map_err(connect)?;
    tcp.set_nodelay(true).map_err(connect)?;
    let name = url.host_str().unwrap_or_default();
    let (config, name) = tls
        .prepare(name, Alpn::Http)
        .map_err(|story| untrusted(story.to_string()))?;
    match tokio_rustls::TlsConnector::from(config).connect(name, tcp).await {
        Ok(stream) => Ok(stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec()),
        Err(error) => Err(untrusted(story(tls, url, &error).await)),
    }
}

/// The same handshake again through the HTTP client, which keeps what was presented and explains.
async fn story(tls: &Arc<ClientTls>, url: &Url, error: &std::io::Error) -> String {
    let client = HttpClient::new(HttpClientSettings {
        tls: Arc::clone(tls),
        proxy: None,
        connect_timeout: LOOK_TIMEOUT,
        headers: HeaderMap::new(),
        connect_to: None,
    });
    let mut request = Request::new(Bytes::new());
    if let Ok(uri) = url.as_str().parse() {
        *request.uri_mut() = uri;
    }
    match client.send(request).await {
        Ok(_) => error.to_string(),
        Err(explained) => explained.to_string(),
    }
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
