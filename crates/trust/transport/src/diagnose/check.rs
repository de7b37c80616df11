//! One connection with the settings of a client.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::ProtocolVersion;
use tls::{Alpn, ClientTls, Explanation};
use tokio::io::{AsyncBufRead, AsyncReadExt, AsyncWriteExt};

use crate::connector::{Connector, Handshake, Target};
use crate::diagnose::Report;
use crate::proxies::Proxies;
use crate::proxy::ProxySettings;

/// What to connect to, and how.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    /// A name or an address, IPv6 in brackets; empty: no SNI and no check of names.
    pub host: String,
    /// The port of the URL.
    pub port: u16,
    /// Path and query of the request.
    pub path: String,
    /// Dials this address instead; everything else stays that of the URL.
    pub connect_to: Option<SocketAddr>,
    /// The proxy; `None`: what the environment says, unless `connect_to` says where to dial.
    pub proxy: Option<ProxySettings>,
    /// How long connecting may take, and how long the first byte.
    pub timeout: Duration,
}

/// How long to wait for the server's word on our certificate before the request goes out. A server that refuses says so at
/// once; but when it closes while our request is on its way, the alert may get lost.
const VERDICT: Duration = Duration::from_millis(300);

/// How long to wait for the first byte of an answer. A server that stays silent for longer still speaks TLS.
const FIRST_BYTE: Duration = Duration::from_secs(3);

/// Connects, sends a small request and waits for the first byte, a close or an alert: in TLS 1.3 a server refuses a
/// client certificate only after the handshake looks complete.
pub async fn check(tls: &Arc<ClientTls>, request: &CheckRequest) -> Report {
    let target = Target {
        encrypted: true,
        host: request.host.clone(),
        port: request.port,
    };
    let connector = Connector {
        tls: tls.clone(),
        proxies: Proxies::configured(request.proxy.clone()),
        connect_timeout: request.timeout,
        connect_to: request.connect_to,
    };
    let handshake = connector
        .in_time(&target, connector.handshake(&target, Alpn::Http1))
        .await;
    let report = match handshake {
        Ok(handshake) => exchange(handshake, tls, &target, request).await,
        Err(story) => Report::from(story),
    };
    report.with_context(tls.describe(), tls.warnings())
}

async fn exchange(mut handshake: Handshake, tls: &ClientTls, target: &Target, request: &CheckRequest) -> Report {
    let whom = format!("`{}`", target.authority());
    match ask(&mut handshake, target, request).await {
        Ok(answer) => {
            let session = handshake.stream.get_ref().1;
            Report::success(format!("TLS with {whom} works; {answer}"), session)
        }
        Err(error) => Report::from(tls.explain(&error, &whom, &handshake.observation)),
    }
}

async fn ask(handshake: &mut Handshake, target: &Target, request: &CheckRequest) -> io::Result<&'static str> {
    let tls13 = handshake.stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    if tls13 && handshake.observation.client_certificate_requested {
        wait_for_verdict(handshake).await?;
    }
    let default_port = target.port == 443;
    let host = if default_port {
        target.host.clone()
    } else {
        target.authority()
    };
    let text = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: flotilla-tls-check\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        request.path
    );
    let sent = async {
        handshake.stream.write_all(text.as_bytes()).await?;
        handshake.stream.flush().await
    };
    // When the request cannot be sent, the reason may still wait to be read.
    let sent = sent.await;
    let mut first = [0; 512];
    match tokio::time::timeout(FIRST_BYTE.min(request.timeout), handshake.stream.read(&mut first)).await {
        Ok(Ok(0)) => Ok("the server closed without an answer"),
        Ok(Ok(_)) if first.starts_with(b"HTTP/") => Ok("the server answered over HTTP"),
        Ok(Ok(_)) => Ok("the server answered"),
        Ok(Err(error)) => Err(error),
        Err(_) => sent.map(|()| "the server gave no answer to a small HTTP request yet"),
    }
}

/// Returns once the server sent anything after the handshake (a session ticket is its usual sign of assent), or after a
/// short time.
async fn wait_for_verdict(handshake: &mut Handshake) -> io::Result<()> {
    let before = handshake.received.count();
    let verdict = poll_fn(|context| match Pin::new(&mut handshake.stream).poll_fill_buf(context) {
        Poll::Ready(outcome) => Poll::Ready(outcome.map(drop)),
        Poll::Pending if handshake.received.count() > before => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    });
    tokio::time::timeout(VERDICT, verdict).await.unwrap_or(Ok(()))
}

impl CheckRequest {
    /// From a URL.
    ///
    /// # Errors
    /// It is not an https URL with a host.
    pub fn from_url(url: &str, timeout: Duration) -> Result<Self, Explanation> {
        let wrong = || {
            let message = match without_credentials(url) {
                Some(shown) => format!("`{shown}` is no https URL"),
                None => "the URL is no https URL".to_owned(),
            };
            Explanation::at_load("bad_value:url", message).with_hint("write it as https://HOST:PORT/")
        };
        let uri: http::Uri = url.parse().map_err(|_| wrong())?;
        let target = Target::of(&uri).map_err(|_| wrong())?;
        if !target.encrypted {
            return Err(wrong());
        }
        let path = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        Ok(Self {
            host: target.host,
            port: target.port,
            path,
            connect_to: None,
            proxy: None,
            timeout,
        })
    }
}

/// A wrong URL as it may be shown: not when it may hold a user and password, and never its query.
fn without_credentials(url: &str) -> Option<String> {
    let shown: String = url.split(['?', '#']).next()?.chars().take(200).collect();
    let printable = shown.chars().all(|c| !c.is_control());
    (printable && !shown.is_empty() && !url.contains('@')).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_fails_the_load_and_tells_no_secret() {
        for url in [
            "http://user:geheim@fleet.test/",
            "https://user:geheim@:8220",
            "user:geheim@fleet.test",
            "https://fleet.test:99999/?token=geheim",
            "ftp://fleet.test/?geheim",
            "https://us er:geheim@fleet.test",
            "geheim@",
            "",
            "fleet.test",
            "https://",
        ] {
            let story = CheckRequest::from_url(url, Duration::from_secs(1)).unwrap_err();
            assert_eq!(
                (story.class.as_str(), story.stage),
                ("bad_value:url", tls::Stage::Load),
                "{url}"
            );
            assert!(!story.to_string().contains("geheim"), "{story}");
        }
    }

    #[test]
    fn user_and_password_of_a_url_are_neither_host_nor_path() {
        let request =
            CheckRequest::from_url("https://user:geheim@fleet.test:8220/x?y", Duration::from_secs(1)).unwrap();
        assert_eq!(
            (request.host.as_str(), request.port, request.path.as_str()),
            ("fleet.test", 8220, "/x?y")
        );
    }
}
