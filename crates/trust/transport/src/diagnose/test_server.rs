//! A server for trials: one connection after the other, each told whole.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tls::{Explanation, Observing, ServerTls, Side};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::diagnose::Report;
use crate::{BindError, Listener};

/// How long a handshake may take, and how long the first bytes after it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server for trials.
#[derive(Debug)]
pub struct TestServer {
    listener: Listener,
    /// `None`: `ssl.enabled` is false, so it speaks plain HTTP.
    tls: Option<Arc<ServerTls>>,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Served {
    /// Where it came from.
    pub peer: SocketAddr,
    /// How it went.
    pub report: Report,
}

impl TestServer {
    /// Binds a port; without TLS it serves plain HTTP.
    ///
    /// # Errors
    /// The port cannot be listened on.
    pub fn bind(address: SocketAddr, tls: Option<Arc<ServerTls>>) -> Result<Self, BindError> {
        Ok(Self {
            listener: Listener::bind(address)?,
            tls,
        })
    }

    /// The address in use, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Its TLS.
    pub fn tls(&self) -> Option<&Arc<ServerTls>> {
        self.tls.as_ref()
    }

    /// Serves the next connection that says anything at all; who only opens and closes the port is passed over.
    ///
    /// # Errors
    /// The port cannot be accepted from any more.
    pub async fn serve_one(&self) -> io::Result<Served> {
        loop {
            let (socket, peer) = self.listener.socket.accept().await?;
            socket.set_nodelay(true)?;
            let Some(first) = first_octet(&socket).await else {
                continue;
            };
            let report = match &self.tls {
                Some(tls) => serve(tls, socket).await.with_context(tls.describe(), tls.warnings()),
                None => serve_plain(socket, first).await,
            };
            return Ok(Served { peer, report });
        }
    }
}

const WHOM: &str = "the client";

async fn serve(tls: &ServerTls, socket: TcpStream) -> Report {
    let accept = Observing::new(TlsAcceptor::from(tls.config()).accept(socket));
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    let (outcome, observation) = match tokio::time::timeout(PATIENCE, accept).await {
        Ok(finished) => finished,
        Err(_) => (Err(late()), tls::Observation::default()),
    };
    let mut stream = match outcome {
        Ok(stream) => stream,
        Err(error) => return Report::from(tls.explain(&error, WHOM, &observation)),
    };
    match tokio::time::timeout(PATIENCE, answer(&mut stream)).await {
        Ok(Ok(())) => Report::success(success(&stream), stream.get_ref().1),
        Ok(Err(error)) => Report::from(tls.explain(&error, WHOM, &observation)),
        Err(_) => Report::from(
            Explanation::new("timeout", "the client sent nothing after the handshake")
                .with_hint("send a request, for instance with `flotilla tls check`"),
        ),
    }
}

async fn serve_plain(mut socket: TcpStream, first: Option<u8>) -> Report {
    const TLS_HANDSHAKE: u8 = 0x16;
    if first == Some(TLS_HANDSHAKE) {
        return Report::from(
            Explanation::new(
                "handshake_failure",
                "the client speaks TLS, but `ssl.enabled` is false here",
            )
            .with_hint("use http:// in the client's URL, or remove `ssl.enabled` here"),
        );
    }
    match tokio::time::timeout(PATIENCE, answer(&mut socket)).await {
        Ok(Ok(())) => Report::plain("`ssl.enabled` is false: the client was answered without TLS"),
        Ok(Err(error)) => Report::from(tls::explain(&error, Side::Server, WHOM, &tls::Observation::default())),
        Err(_) => Report::from(
            Explanation::new("timeout", "the client sent nothing")
                .with_hint("send a request, for instance with `curl`"),
        ),
    }
}

fn success(stream: &TlsStream<TcpStream>) -> String {
    match stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()) {
        Some(leaf) => format!("TLS with the client works; it is `{}`", certs::describe(leaf).subject),
        None => "TLS with the client works; it showed no certificate".to_owned(),
    }
}

/// `None`: the client left without a word. `Some(None)`: it is silent, which the handshake's own timeout tells.
async fn first_octet(socket: &TcpStream) -> Option<Option<u8>> {
    let mut first = [0];
    match tokio::time::timeout(PATIENCE, socket.peek(&mut first)).await {
        Ok(Ok(1..)) => Some(Some(first[0])),
        Ok(_) => None,
        Err(_) => Some(None),
    }
}

/// Reads something, answers, and closes in good order.
async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let mut request = [0; 4096];
    if stream.read(&mut request).await? > 0 {
        stream
            .write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n",
            )
            .await?;
        stream.flush().await?;
    }
    // The client may be gone already: it has its answer.
    let _gone = stream.shutdown().await;
    Ok(())
}
