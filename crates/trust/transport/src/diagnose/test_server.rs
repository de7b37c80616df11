//! A server for trials: one connection after the other, each told whole.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tls::{Explanation, Observing, ServerTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
    tls: Arc<ServerTls>,
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
    /// Binds a port.
    ///
    /// # Errors
    /// The port cannot be listened on.
    pub fn bind(address: SocketAddr, tls: Arc<ServerTls>) -> Result<Self, BindError> {
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
    pub fn tls(&self) -> &Arc<ServerTls> {
        &self.tls
    }

    /// Serves the next connection that says anything at all; who only opens and closes the port is passed over.
    ///
    /// # Errors
    /// The port cannot be accepted from any more.
    pub async fn serve_one(&self) -> io::Result<Served> {
        loop {
            let (socket, peer) = self.listener.socket.accept().await?;
            socket.set_nodelay(true)?;
            if says_something(&socket).await {
                let report = self
                    .serve(socket)
                    .await
                    .with_context(self.tls.describe(), self.tls.warnings());
                return Ok(Served { peer, report });
            }
        }
    }

    async fn serve(&self, socket: TcpStream) -> Report {
        const WHOM: &str = "the client";
        let accept = Observing::new(TlsAcceptor::from(self.tls.config()).accept(socket));
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        let (outcome, observation) = match tokio::time::timeout(PATIENCE, accept).await {
            Ok(finished) => finished,
            Err(_) => (Err(late()), tls::Observation::default()),
        };
        let mut stream = match outcome {
            Ok(stream) => stream,
            Err(error) => return Report::from(self.tls.explain(&error, WHOM, &observation)),
        };
        match tokio::time::timeout(PATIENCE, answer(&mut stream)).await {
            Ok(Ok(())) => Report::success(success(&stream), stream.get_ref().1),
            Ok(Err(error)) => Report::from(self.tls.explain(&error, WHOM, &observation)),
            Err(_) => Report::from(
                Explanation::new("timeout", "the client sent nothing after the handshake")
                    .with_hint("send a request, for instance with `flotilla tls check`"),
            ),
        }
    }
}

fn success(stream: &TlsStream<TcpStream>) -> String {
    match stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()) {
        Some(leaf) => format!("TLS with the client works; it is `{}`", certs::describe(leaf).subject),
        None => "TLS with the client works; it showed no certificate".to_owned(),
    }
}

async fn says_something(socket: &TcpStream) -> bool {
    let mut first = [0];
    match tokio::time::timeout(PATIENCE, socket.peek(&mut first)).await {
        Ok(outcome) => outcome.is_ok_and(|count| count > 0),
        // The handshake's own timeout tells about silence.
        Err(_) => true,
    }
}

/// Reads something, answers, and closes in good order.
async fn answer(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
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
