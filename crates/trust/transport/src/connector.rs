//! From a URL to a connection: resolve, dial, tunnel, handshake.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tls::{Alpn, ClientTls, Explanation, Observation, Observing};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;

use crate::names::addresses_of;
use crate::proxies::Proxies;
use crate::proxy::ProxySettings;
use crate::stream::{BoxedStream, ClientStream, Counting, Received};

/// Makes connections for one client.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    pub(crate) tls: Arc<ClientTls>,
    pub(crate) proxies: Proxies,
    pub(crate) connect_timeout: Duration,
    pub(crate) connect_to: Option<SocketAddr>,
}

/// Where a URL leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    pub(crate) encrypted: bool,
    /// As in the URL: IPv6 in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Target {
    pub(crate) fn of(uri: &Uri) -> Result<Self, Explanation> {
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad_url(uri)),
        };
        let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
            return Err(bad_url(uri));
        };
        let port = match uri.port_u16() {
            Some(0) => return Err(bad_url(uri)),
            Some(port) => port,
            None if names_port(uri) => return Err(bad_url(uri)),
            None if encrypted => 443,
            None => 80,
        };
        Ok(Self {
            encrypted,
            host: host.to_owned(),
            port,
        })
    }

    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Whether something stands behind the colon; what is no port number is not seen as one by the parser.
fn names_port(uri: &Uri) -> bool {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let rest = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    rest.split_once(':').is_some_and(|(_, port)| !port.is_empty())
}

/// The URL is not repeated: it may hold a password.
fn bad_url(uri: &Uri) -> Explanation {
    let scheme = uri.scheme_str().unwrap_or_default();
    Explanation::at_load(
        "bad_value:url",
        format!("a URL that begins with `{scheme}:` and has this host and port cannot be connected to"),
    )
    .with_hint("write it as https://HOST:PORT/")
}

/// An encrypted connection and what was noted while it was made.
pub(crate) struct Handshake {
    pub(crate) stream: TlsStream<BoxedStream>,
    pub(crate) observation: Observation,
    pub(crate) received: Received,
}

impl Connector {
    /// Dials, tunnels and shakes hands, within the timeout as a whole.
    async fn connect(&self, uri: &Uri) -> Result<ClientStream, Explanation> {
        let target = Target::of(uri)?;
        let through_proxy = !target.encrypted && self.proxy_for(&target).is_some();
        let attempt = async {
            if !target.encrypted {
                return self.reach(&target).await;
            }
            let handshake = self.handshake(&target, Alpn::Http1).await?;
            Ok(Box::new(handshake.stream) as BoxedStream)
        };
        let io = self.in_time(&target, attempt).await?;
        Ok(ClientStream {
            io: TokioIo::new(io),
            through_proxy,
        })
    }

    pub(crate) async fn in_time<T>(
        &self,
        target: &Target,
        attempt: impl Future<Output = Result<T, Explanation>>,
    ) -> Result<T, Explanation> {
        tokio::time::timeout(self.connect_timeout, attempt)
            .await
            .unwrap_or_else(|_| {
                Err(Explanation::new(
                    "timeout",
                    format!(
                        "no connection with `{}` within {} s",
                        target.authority(),
                        self.connect_timeout.as_secs_f32()
                    ),
                )
                .with_hint("check host, port and firewalls between; a server that speaks no TLS may also stay silent"))
            })
    }

    /// A verified TLS connection with the target, through the proxy if there is one.
    pub(crate) async fn handshake(&self, target: &Target, alpn: Alpn) -> Result<Handshake, Explanation> {
        let stream = self.reach(target).await?;
        encrypt(
            &self.tls,
            stream,
            &target.host,
            &format!("`{}`", target.authority()),
            alpn,
        )
        .await
    }

    /// Whoever says where to dial means it: only a configured proxy stands before that address.
    fn proxy_for(&self, target: &Target) -> Option<&Arc<ProxySettings>> {
        match &self.proxies {
            Proxies::Environment(_) if self.connect_to.is_some() => None,
            proxies => proxies.proxy_for(target),
        }
    }

    /// A stream whose other end is the target; of plain HTTP through a proxy, the proxy.
    async fn reach(&self, target: &Target) -> Result<BoxedStream, Explanation> {
        let Some(proxy) = self.proxy_for(target) else {
            return match self.connect_to {
                Some(address) => dial_one(address, &target.authority()).await,
                None => dial(&target.host, target.port, self.connect_timeout).await,
            };
        };
        let (host, port) = proxy.address()?;
        let mut stream = dial(&host, port, self.connect_timeout)
            .await
            .map_err(|story| Explanation {
                message: format!("the proxy cannot be reached: {}", story.message),
                ..story
            })?;
        if proxy.is_encrypted() {
            let tls = proxy.tls.as_ref().unwrap_or(&self.tls);
            let whom = format!("the proxy `{}`", proxy.name());
            stream = Box::new(encrypt(tls, stream, &host, &whom, Alpn::Http1).await?.stream);
        }
        if target.encrypted {
            let authority = self
                .connect_to
                .map_or_else(|| target.authority(), |address| address.to_string());
            proxy.open_tunnel(&mut stream, &authority).await?;
        }
        Ok(stream)
    }
}

async fn encrypt(
    tls: &ClientTls,
    stream: BoxedStream,
    host: &str,
    whom: &str,
    alpn: Alpn,
) -> Result<Handshake, Explanation> {
    let (config, name) = tls.prepare(host, alpn)?;
    let received = Received::default();
    let stream: BoxedStream = Box::new(Counting {
        stream,
        received: received.clone(),
    });
    let (outcome, observation) = Observing::new(TlsConnector::from(config).connect(name, stream)).await;
    match outcome {
        Ok(stream) => Ok(Handshake {
            stream,
            observation,
            received,
        }),
        Err(error) => Err(tls.explain(&error, whom, &observation)),
    }
}

/// Tries the addresses of a name one after the other, each for its share of the time that is left.
async fn dial(host: &str, port: u16, within: Duration) -> Result<BoxedStream, Explanation> {
    let deadline = Instant::now() + within;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = match addresses_of(bare, port).await {
        Ok(addresses) => addresses,
        Err(error) => {
            return Err(Explanation::new(
                "name_not_resolved",
                format!("the name `{host}` cannot be resolved: {error}"),
            )
            .with_hint("check the spelling and the DNS settings of this machine"));
        }
    };
    let whom = format!("{host}:{port}");
    let mut last = Explanation::new("name_not_resolved", format!("the name `{host}` has no address"));
    for (place, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - place).unwrap_or(1);
        match tokio::time::timeout(share, dial_one(*address, &whom)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(story)) => last = story,
            Err(_) => {
                last = Explanation::new("timeout", format!("`{address}` (`{whom}`) does not answer"))
                    .with_hint("check host, port and firewalls between");
            }
        }
    }
    Err(last)
}

async fn dial_one(address: SocketAddr, whom: &str) -> Result<BoxedStream, Explanation> {
    let connected = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok::<_, std::io::Error>(stream)
    };
    match connected.await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => {
            let hint = match error.kind() {
                std::io::ErrorKind::ConnectionRefused => {
                    "nothing listens there: check the port, and that the server runs"
                }
                std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::HostUnreachable => {
                    "there is no route: check address and network"
                }
                _ => "check host, port and firewalls between",
            };
            Err(Explanation::new(
                "connection_failed",
                format!("cannot connect to `{whom}` at {address}: {error}"),
            )
            .with_hint(hint))
        }
    }
}

impl Service<Uri> for Connector {
    type Response = ClientStream;
    type Error = Explanation;
    type Future = Pin<Box<dyn Future<Output = Result<ClientStream, Explanation>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Explanation>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(&uri).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lead_to_targets() {
        for (url, expected) in [
            ("https://fleet.test/", Some((true, "fleet.test", 443))),
            ("https://[::1]:8220/x", Some((true, "[::1]", 8220))),
            ("http://127.0.0.1", Some((false, "127.0.0.1", 80))),
            ("https://a:/", Some((true, "a", 443))),
            ("https://user:pass@a", Some((true, "a", 443))),
            ("https://a:99999/", None),
            ("https://a:0/", None),
            ("https://user:pass@[::1]:x/", None),
            ("ftp://a/", None),
            ("/path", None),
        ] {
            let found = url.parse().ok().and_then(|uri| Target::of(&uri).ok());
            let expected = expected.map(|(encrypted, host, port)| Target {
                encrypted,
                host: host.to_owned(),
                port,
            });
            assert_eq!(found, expected, "{url}");
        }
    }
}
