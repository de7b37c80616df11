//! Connections that are no HTTP: TCP, with TLS when the output has an `ssl` block.

use std::time::Duration;

use tls::{Alpn, ClientTls, Observation};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Both directions of one connection.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Wire for T {}

/// One server of an output.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HostPort {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl HostPort {
    /// `host`, `host:port`, `[address]:port`.
    pub(crate) fn parse(text: &str, default_port: u16) -> Option<Self> {
        let text = text.trim();
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()?),
            _ => (text, default_port),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        (!host.is_empty()).then_some(Self { host, port })
    }

    /// Connects within `timeout`; the error is a sentence for people.
    pub(crate) async fn connect(&self, tls: Option<&ClientTls>, timeout: Duration) -> Result<Box<dyn Wire>, String> {
        tokio::time::timeout(timeout, self.connect_now(tls))
            .await
            .map_err(|_| "no connection within the timeout".to_owned())?
    }

    async fn connect_now(&self, tls: Option<&ClientTls>) -> Result<Box<dyn Wire>, String> {
        let addresses = transport::addresses_of(&self.host, self.port).await;
        let addresses = addresses.map_err(|error| error.to_string())?;
        let tcp = TcpStream::connect(addresses.as_slice())
            .await
            .map_err(|error| error.to_string())?;
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        let Some(tls) = tls else {
            return Ok(Box::new(tcp));
        };
        let (config, name) = tls
            .prepare(&self.host, Alpn::None)
            .map_err(|explanation| explanation.to_string())?;
        let connector = tokio_rustls::TlsConnector::from(config);
        let explain = |error: std::io::Error| {
            tls.explain(&error, &self.to_string(), &Observation::default())
                .to_string()
        };
        let stream = connector.connect(name, tcp).await.map_err(explain)?;
        Ok(Box::new(stream))
    }
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_a_port() {
        let check = |text: &str, host: &str, port: u16| {
            let host = host.to_owned();
            assert_eq!(HostPort::parse(text, 5044), Some(HostPort { host, port }), "{text}");
        };
        check("logs.example", "logs.example", 5044);
        check("logs.example:5000", "logs.example", 5000);
        check("[::1]:5000", "::1", 5000);
        assert_eq!(HostPort::parse("logs.example:x", 5044), None);
    }
}
