//! CONNECT proxies.
//!
//! TLS runs end to end through the tunnel, so the proxy sees neither the request nor a client certificate; and the name that is
//! verified is that of the final host, never the proxy's.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::PROXY_AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;
use tls::{ClientTls, Explanation};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

use crate::stream::BoxedStream;

/// How to reach hosts through a proxy.
#[derive(Clone)]
pub struct ProxySettings {
    /// `http://host:3128` or `https://host:3129`; a user and password in it become basic authentication.
    pub url: Url,
    /// Sent to the proxy, and only to it.
    pub headers: HeaderMap,
    /// TLS towards an https proxy; `None` takes that of the final host, as one `ssl` block serves both in the original.
    pub tls: Option<Arc<ClientTls>>,
    /// Reach everything directly all the same.
    pub disable: bool,
}

/// URL and headers may hold a password.
impl std::fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxySettings")
            .field("url", &self.name())
            .field("disable", &self.disable)
            .finish_non_exhaustive()
    }
}

/// The most octets of an answer to CONNECT.
const MAX_ANSWER: usize = 16 << 10;

impl ProxySettings {
    /// No proxy, whatever the environment says: `proxy_disable` without a `proxy_url`.
    pub fn disabled() -> Self {
        Self {
            url: Url::parse("http://none.invalid").expect("a constant that is a URL"),
            headers: HeaderMap::new(),
            tls: None,
            disable: true,
        }
    }

    /// Reads a setting. The error does not repeat the text, which may hold a password.
    ///
    /// # Errors
    /// It is no http or https URL with a host.
    pub fn from_url(text: &str) -> Result<Self, Explanation> {
        let url = Url::parse(text).ok().filter(Url::has_host);
        let proxy = url.map(|url| Self {
            url,
            disable: false,
            ..Self::disabled()
        });
        match proxy.filter(|proxy| proxy.address().is_ok()) {
            Some(proxy) => Ok(proxy),
            None => Err(
                Explanation::at_load("bad_value:proxy_url", "the proxy URL is no http or https URL with a host")
                    .with_hint("write it as http://HOST:PORT or https://HOST:PORT; escape `@`, `:` and `/` in user and password as %40, %3A and %2F"),
            ),
        }
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Host and port to dial. The default ports are those of the scheme, as in Go.
    pub(crate) fn address(&self) -> Result<(String, u16), Explanation> {
        let known = matches!(self.url.scheme(), "http" | "https");
        match (known, self.url.host_str(), self.url.port_or_known_default()) {
            (true, Some(host), Some(port)) => Ok((host.to_owned(), port)),
            _ => Err(Explanation::at_load(
                "bad_value:proxy_url",
                format!("`{}` is no proxy that can be used", self.name()),
            )
            .with_hint("write it as http://HOST:PORT or https://HOST:PORT")),
        }
    }

    /// The URL without user and password, for messages.
    pub(crate) fn name(&self) -> String {
        format!(
            "{}://{}{}",
            self.url.scheme(),
            self.url.host_str().unwrap_or_default(),
            self.url.port().map(|port| format!(":{port}")).unwrap_or_default()
        )
    }

    /// The configured headers, with authentication from the URL when the headers bring none.
    pub(crate) fn request_headers(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        if !self.url.username().is_empty() && !headers.contains_key(PROXY_AUTHORIZATION) {
            let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
            let pair = format!(
                "{}:{}",
                decode(self.url.username()),
                decode(self.url.password().unwrap_or_default())
            );
            if let Ok(mut value) = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))) {
                value.set_sensitive(true);
                headers.insert(PROXY_AUTHORIZATION, value);
            }
        }
        headers
    }

    /// Asks the proxy on `stream` for a tunnel to `authority` (`host:port`).
    pub(crate) async fn open_tunnel(&self, stream: &mut BoxedStream, authority: &str) -> Result<(), Explanation> {
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
        for (name, value) in &self.request_headers() {
            request.extend_from_slice(name.as_str().as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        let exchange = async {
            stream.write_all(&request).await?;
            stream.flush().await?;
            read_answer(stream).await
        };
        let answer = exchange.await.map_err(|error| {
            Explanation::new(
                "proxy_failed",
                format!("the proxy `{}` broke off: {error}", self.name()),
            )
            .with_hint("check that it is an HTTP proxy, and whether it wants http:// or https://")
        })?;
        self.judge(&answer, authority)
    }

    fn judge(&self, answer: &[u8], authority: &str) -> Result<(), Explanation> {
        let line = answer
            .split(|&octet| octet == b'\r' || octet == b'\n')
            .next()
            .unwrap_or_default();
        let line: String = String::from_utf8_lossy(line)
            .chars()
            .filter(|c| !c.is_control())
            .take(200)
            .collect();
        let status = line
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|code| code.parse::<u16>().ok());
        let proxy = self.name();
        match status {
            Some(200..=299) => Ok(()),
            // Tinyproxy answers 401 to a wrong password.
            Some(401 | 407) => Err(Explanation::new(
                "proxy_authentication_required",
                format!("the proxy `{proxy}` wants authentication (`{line}`)"),
            )
            .with_hint("put user and password into the proxy URL, or set a Proxy-Authorization header")),
            Some(403) => Err(Explanation::new(
                "proxy_refused",
                format!("the proxy `{proxy}` does not allow a tunnel to `{authority}` (`{line}`)"),
            )
            .with_hint("let the proxy allow CONNECT to this host and port")),
            Some(_) => Err(Explanation::new(
                "proxy_refused",
                format!("the proxy `{proxy}` could not open a tunnel to `{authority}` (`{line}`)"),
            )
            .with_hint("check that the proxy resolves and reaches that host")),
            None => Err(
                Explanation::new("proxy_failed", format!("`{proxy}` does not answer like an HTTP proxy"))
                    .with_hint("check host, port and scheme of the proxy URL"),
            ),
        }
    }
}

/// Reads up to the empty line and not a byte further: what follows belongs to the tunnel.
async fn read_answer(stream: &mut BoxedStream) -> std::io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") && !answer.ends_with(b"\n\n") {
        if answer.len() >= MAX_ANSWER {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "its answer has no end",
            ));
        }
        answer.push(stream.read_u8().await?);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(url: &str) -> ProxySettings {
        ProxySettings {
            url: url.parse().unwrap(),
            headers: HeaderMap::new(),
            tls: None,
            disable: false,
        }
    }

    #[test]
    fn user_and_password_of_the_url_become_basic_authentication() {
        let proxy = proxy("http://us%40er:p%3Aw@proxy.test:3128");
        assert_eq!(
            proxy.request_headers()[PROXY_AUTHORIZATION],
            format!("Basic {}", STANDARD.encode("us@er:p:w"))
        );
        assert_eq!(proxy.name(), "http://proxy.test:3128");
        assert!(!format!("{proxy:?}").contains("p%3Aw"));
    }

    #[test]
    fn answers_are_judged() {
        for (answer, expected) in [
            (&b"HTTP/1.1 200 Connection established\r\n\r\n"[..], "none"),
            (b"HTTP/1.0 200\r\n\r\n", "none"),
            (
                b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
                "proxy_authentication_required",
            ),
            (b"HTTP/1.0 401 Unauthorized\r\n\r\n", "proxy_authentication_required"),
            (b"HTTP/1.1 403 Forbidden\r\n\r\n", "proxy_refused"),
            (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "proxy_refused"),
            (b"SSH-2.0-x\r\n\r\n", "proxy_failed"),
            (b"", "proxy_failed"),
        ] {
            let class = proxy("http://p:1")
                .judge(answer, "a:1")
                .map_or_else(|error| error.class, |()| "none".to_owned());
            assert_eq!(class, expected, "{}", String::from_utf8_lossy(answer));
        }
    }

    #[test]
    fn a_wrong_setting_is_not_repeated() {
        for text in [
            "",
            "geheim",
            "http://user:geheim@",
            "socks5://user:geheim@p:1080",
            "http://user:gehe/im@p",
        ] {
            let story = ProxySettings::from_url(text).unwrap_err();
            assert_eq!(
                (story.class.as_str(), story.stage),
                ("bad_value:proxy_url", tls::Stage::Load),
                "{text}"
            );
            assert!(!story.to_string().contains("gehe"), "{story}");
        }
        assert_eq!(
            ProxySettings::from_url("https://u:p@proxy:3129").unwrap().name(),
            "https://proxy:3129"
        );
    }

    #[test]
    fn only_http_proxies_can_be_used() {
        assert_eq!(proxy("http://p").address().unwrap(), ("p".to_owned(), 80));
        assert_eq!(proxy("https://p").address().unwrap(), ("p".to_owned(), 443));
        assert_eq!(
            proxy("socks5://p:1080").address().unwrap_err().class,
            "bad_value:proxy_url"
        );
    }
}
