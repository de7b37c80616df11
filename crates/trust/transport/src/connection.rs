//! One accepted connection: handshake, then HTTP until it ends.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::HandshakeKind;
use tls::{Observing, ServerTls};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::Peer;
use crate::error::with_sources;
use crate::failures::Cost;
use crate::farewell::Farewell;
use crate::serve::{ServeOptions, Shared};
use crate::unread::Unread;

pub(crate) struct Connection {
    pub(crate) socket: TcpStream,
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
}

impl Connection {
    pub(crate) async fn run(self) {
        let Self {
            socket,
            address,
            shared,
        } = self;
        let _open = shared.options.counts.take();
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, peer = %address, "the connection was gone before it began");
            return;
        }
        match shared.tls.clone() {
            None => {
                let peer = Peer {
                    address,
                    tls: false,
                    certificates: Vec::new(),
                    server_name: None,
                };
                serve_http(socket, peer, shared, false).await;
            }
            Some(tls) => {
                // Boxed, so that the state of a handshake is not kept for the life of the connection.
                let Some((mut stream, peer)) = Box::pin(handshake(socket, address, &tls, &shared)).await else {
                    return;
                };
                drop(tls);
                let is_http1 = stream.stream().get_ref().1.alpn_protocol() == Some(b"http/1.1");
                if says_something(stream.stream(), &shared).await {
                    serve_http(stream, peer, shared, is_http1).await;
                }
            }
        }
    }
}

async fn handshake(
    socket: TcpStream,
    address: SocketAddr,
    tls: &ServerTls,
    shared: &Shared,
) -> Option<(Farewell, Peer)> {
    let attempt = async {
        // A client that says nothing holds no place among the handshakes.
        let mut first = [0];
        if socket.peek(&mut first).await.is_ok() && first[0].is_ascii_uppercase() {
            return Err(socket);
        }
        let permit = shared.handshakes.acquire().await;
        let accept = TlsAcceptor::from(tls.config()).accept(socket);
        let outcome = Observing::new(accept).await;
        drop(permit);
        Ok(outcome)
    };
    let outcome = tokio::select! {
        () = shared.abort.cancelled() => return None,
        () = shared.stop.cancelled() => return None,
        outcome = tokio::time::timeout(shared.options.handshake_timeout, attempt) => outcome,
    };
    match outcome {
        Err(_) => report(shared, address, "timeout", "the TLS handshake took too long"),
        Ok(Err(socket)) => {
            report(shared, address, "not_tls", "the client speaks plain HTTP");
            answer_plain_http(socket).await;
        }
        Ok(Ok((Ok(stream), _))) => return admit(stream, address, tls, shared),
        Ok(Ok((Err(error), observation))) => {
            let explanation = tls.explain(&error, "the client", &observation);
            report(shared, address, &explanation.class, &explanation.message);
        }
    }
    None
}

/// A resumed session brings the client's certificate without verifying it again; the one thing that time changes is
/// looked at here.
fn admit(
    stream: TlsStream<TcpStream>,
    address: SocketAddr,
    tls: &ServerTls,
    shared: &Shared,
) -> Option<(Farewell, Peer)> {
    let mut stream = Farewell::of(stream);
    let session = stream.stream().get_ref().1;
    let certificates = session.peer_certificates().unwrap_or_default().to_vec();
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    if resumed && certificates.first().is_some_and(|leaf| tls.has_expired(leaf)) {
        report(
            shared,
            address,
            "expired",
            "the client resumed a session with a certificate that expired since",
        );
        return None;
    }
    shared.options.counts.shook_hands(resumed);
    let server_name = session.server_name().map(str::to_owned);
    Some((
        stream,
        Peer {
            address,
            tls: true,
            certificates,
            server_name,
        },
    ))
}

/// Waits for the first octet of a request, which stays to be read. What HTTP keeps for a connection, several KiB, is not there
/// before.
async fn says_something(stream: &mut TlsStream<TcpStream>, shared: &Shared) -> bool {
    let first = tokio::time::timeout(shared.options.header_timeout, stream.fill_buf());
    tokio::select! {
        () = shared.abort.cancelled() => false,
        () = shared.stop.cancelled() => false,
        first = first => matches!(first, Ok(Ok([_, ..]))),
    }
}

fn report(shared: &Shared, address: SocketAddr, class: &str, message: &str) {
    shared.options.counts.fail(class);
    if shared.failures.count(address.ip(), Cost::of(class), Instant::now()) {
        tracing::warn!(peer = %address, class, message, "a TLS handshake failed");
    } else {
        tracing::debug!(peer = %address, class, message, "a TLS handshake failed");
    }
}

/// Tells a browser or script that came with `http://` what is wrong.
async fn answer_plain_http(mut socket: TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
        This port speaks HTTPS: use https:// in the URL.\n";
    let written = async {
        socket.write_all(ANSWER).await?;
        socket.shutdown().await
    };
    if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(1), written).await {
        tracing::debug!(%error, "a client that spoke plain HTTP left before the answer");
    }
}

fn serve_http<S>(stream: S, peer: Peer, shared: Arc<Shared>, is_http1: bool) -> Pin<Box<dyn Future<Output = ()> + Send>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    Box::pin(serve_http_to_the_end(stream, peer, shared, is_http1))
}

async fn serve_http_to_the_end<S>(stream: S, peer: Peer, shared: Arc<Shared>, is_http1: bool)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let peer = Arc::new(peer);
    let activity = Arc::new(Activity::default());
    let service = {
        let (shared, peer, activity) = (shared.clone(), peer.clone(), activity.clone());
        service_fn(move |request| answer(shared.clone(), request, peer.clone(), activity.clone().begin()))
    };
    let http = if is_http1 { &shared.http1 } else { &shared.http };
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut closing = false;
    let outcome = loop {
        tokio::select! {
            outcome = connection.as_mut() => break outcome,
            () = shared.abort.cancelled() => return,
            () = shared.stop.cancelled(), if !closing => {}
            () = activity.overdue(shared.options.header_timeout, shared.options.idle_timeout), if !closing => {
                if !activity.began() {
                    // Not one request came: there is nothing to end in good order.
                    return;
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        closing = true;
    };
    if let Err(error) = outcome {
        tracing::debug!(peer = %peer.address, error = %with_sources(error.as_ref()), "a connection broke");
    }
}

/// How HTTP is spoken on every connection of a listener.
pub(crate) fn http_builder(options: &ServeOptions, tasks: &TaskTracker) -> auto::Builder<Tracked> {
    let mut builder = auto::Builder::new(Tracked(tasks.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        // It also runs between two requests, so it cannot be shorter than the time a connection may rest.
        .header_read_timeout(options.idle_timeout.max(options.header_timeout))
        .max_buf_size(options.max_header_bytes.max(8 << 10));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(options.max_header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(256)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

async fn answer(
    shared: Arc<Shared>,
    mut request: Request<Incoming>,
    peer: Arc<Peer>,
    _running: Running,
) -> Result<Response<Body>, Infallible> {
    request.extensions_mut().insert(peer);
    let request = match request.version() {
        Version::HTTP_2 => request.map(|body| Body::new(Unread::of(body, shared.tasks.clone()))),
        _ => request.map(Body::new),
    };
    let mut response = shared.router.clone().call(request).await?;
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().entry(X_CONTENT_TYPE_OPTIONS).or_insert(nosniff);
    Ok(response)
}

/// Requests in progress, and since when there is none.
#[derive(Debug, Default)]
struct Activity {
    running: AtomicUsize,
    begun: AtomicUsize,
    changed: Notify,
}

/// A request in progress.
struct Running(Arc<Activity>);

impl Activity {
    fn begin(self: Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        Running(self)
    }

    fn began(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0
    }

    /// Returns when no request has been in progress for too long.
    async fn overdue(&self, first: Duration, between: Duration) {
        loop {
            let allowed = if self.began() { between } else { first };
            if self.running.load(Ordering::Relaxed) > 0 {
                self.changed.notified().await;
            } else if tokio::time::timeout(allowed, self.changed.notified()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}

/// Tasks of HTTP/2 connections belong to the listener as well.
#[derive(Clone)]
pub(crate) struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
