//! What a remote store is made from.

use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use clock::SharedClock;
use http::HeaderValue;
use secret::Secret;
use tls::ClientTls;
use transport::{HeaderMap, ProxySettings};
use url::Url;

/// Where the store is and who asks.
#[derive(Clone, Debug)]
pub struct RemoteSettings {
    /// `https://host:9200`; the next one is tried when one does not answer.
    pub hosts: Vec<Url>,
    /// Put before each path, such as `/elasticsearch` behind a reverse proxy; empty for none.
    pub path: String,
    /// How the hosts are verified, and the client certificate.
    pub tls: Arc<ClientTls>,
    /// Who asks.
    pub credential: RemoteCredential,
    /// The proxy, when there is one.
    pub proxy: Option<ProxySettings>,
    /// Sent with each request.
    pub headers: HeaderMap,
    /// How long one attempt may take; long polls have their own time.
    pub timeout: Duration,
    /// For what needs the time of day.
    pub clock: SharedClock,
}

/// How the peer knows who asks.
#[derive(Clone, Debug)]
pub enum RemoteCredential {
    /// `Bearer`: a service token, as that of `elastic/fleet-server`.
    ServiceToken(Secret),
    /// `id:key`.
    ApiKey(Secret),
    /// A user.
    Basic {
        /// Their name.
        username: String,
        /// Their password.
        password: Secret,
    },
    /// The client certificate of [`RemoteSettings::tls`] says it.
    ClientCertificate,
}

impl RemoteCredential {
    /// The value of `Authorization`; `None` when the certificate speaks.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let text = match self {
            Self::ServiceToken(token) => format!("Bearer {}", token.expose()),
            Self::ApiKey(pair) => api_key_header(pair),
            Self::Basic { username, password } => {
                let pair = format!("{username}:{}", password.expose());
                format!("Basic {}", BASE64_STANDARD.encode(pair))
            }
            Self::ClientCertificate => return None,
        };
        Some(sensitive(&text))
    }

    /// Whether the API keys that it may see are its own only.
    pub(crate) fn owns_its_keys(&self) -> bool {
        matches!(self, Self::ServiceToken(_) | Self::ApiKey(_))
    }
}

pub(crate) fn api_key_header(pair: &Secret) -> String {
    format!("ApiKey {}", BASE64_STANDARD.encode(pair.expose()))
}

/// A header value that never shows; a text that cannot be a header becomes an empty one, which no peer accepts.
pub(crate) fn sensitive(text: &str) -> HeaderValue {
    let mut value = HeaderValue::try_from(text.trim()).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}
