//! The HTTP client.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tls::ClientTls;

use crate::connector::{Connector, Target};
use crate::error::{RequestError, with_sources};
use crate::proxies::Proxies;
use crate::proxy::ProxySettings;

/// Any error of a request's body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body.
pub type BoxBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// A body that is in memory already.
pub fn full_body(bytes: impl Into<Bytes>) -> BoxBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// What a client is made from.
#[derive(Clone, Debug)]
pub struct HttpClientSettings {
    /// TLS towards the final host. Each new connection takes its configuration of that moment.
    pub tls: Arc<ClientTls>,
    /// The proxy; `None`: what the environment says ([`crate::EnvironmentProxies`]).
    pub proxy: Option<ProxySettings>,
    /// How long a connection may take, with name, dialling, proxy and handshake.
    pub connect_timeout: Duration,
    /// Sent with every request that does not bring them itself.
    pub headers: HeaderMap,
    /// Dials this address; name, SNI and `Host` stay those of the URL.
    pub connect_to: Option<SocketAddr>,
}

/// An HTTP/1.1 client that keeps connections, verifies, explains and follows reloads. Clones share their connections.
///
/// HTTP/1.1 on purpose: long polls and bulk uploads gain nothing from sharing one connection, and lose its flow control.
#[derive(Clone)]
pub struct HttpClient {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client<Connector, BoxBody>,
    tls: Arc<ClientTls>,
    headers: HeaderMap,
    /// Of plain HTTP a proxy reads the request itself, and its headers stand there.
    proxies: Proxies,
}

/// How long an unused connection is kept unless its owner says otherwise. Shorter than the two minutes after which our listeners close it.
const IDLE: Duration = Duration::from_secs(90);

impl HttpClient {
    /// A client; nothing is connected yet.
    pub fn new(settings: HttpClientSettings) -> Self {
        Self::keeping_idle(settings, Some(IDLE))
    }

    /// The same, with the time for which an unused connection is kept; `None`: until the other side closes it.
    pub fn keeping_idle(settings: HttpClientSettings, idle: Option<Duration>) -> Self {
        let proxies = Proxies::configured(settings.proxy);
        let connector = Connector {
            tls: settings.tls.clone(),
            proxies: proxies.clone(),
            connect_timeout: settings.connect_timeout,
            connect_to: settings.connect_to,
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(idle)
            .build(connector);
        Self {
            inner: Arc::new(Inner {
                client,
                tls: settings.tls,
                headers: settings.headers,
                proxies,
            }),
        }
    }

    /// Sends a request whose body is in memory. The URI must be absolute.
    ///
    /// # Errors
    /// No connection, or a broken one. An answer with an error status is an answer.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<ResponseBody>, RequestError> {
        self.send_body(request.map(full_body)).await
    }

    /// Sends a request with a body of any kind. The time that the whole may take is for the caller to bound.
    ///
    /// # Errors
    /// As [`HttpClient::send`].
    pub async fn send_body(&self, mut request: Request<BoxBody>) -> Result<Response<ResponseBody>, RequestError> {
        // Without user and password, which a URL may hold and an error may not.
        let host = match Target::of(request.uri()) {
            Ok(target) => target.authority(),
            Err(story) => return Err(RequestError::Invalid(story.message)),
        };
        self.add_headers(&mut request);
        match self.inner.client.request(request).await {
            Ok(response) => Ok(response.map(|body| ResponseBody {
                body,
                host,
                tls: self.inner.tls.clone(),
            })),
            Err(error) => Err(RequestError::from_hyper(&error, &host, &self.inner.tls)),
        }
    }

    /// TLS towards the final host.
    pub fn tls(&self) -> &Arc<ClientTls> {
        &self.inner.tls
    }

    fn add_headers(&self, request: &mut Request<BoxBody>) {
        let plain = Target::of(request.uri()).ok().filter(|target| !target.encrypted);
        let proxy = plain.and_then(|target| self.inner.proxies.proxy_for(&target));
        let for_proxy = proxy.map(|proxy| proxy.request_headers()).unwrap_or_default();
        for (name, value) in self.inner.headers.iter().chain(&for_proxy) {
            if !request.headers().contains_key(name) {
                request.headers_mut().append(name, value.clone());
            }
        }
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient")
            .field("tls", &self.inner.tls.describe())
            .finish_non_exhaustive()
    }
}

/// An answer's body, as it comes in.
pub struct ResponseBody {
    body: Incoming,
    host: String,
    tls: Arc<ClientTls>,
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = RequestError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        frame.map(|next| {
            next.map(|frame| frame.map_err(|error| RequestError::from_hyper(&error, &self.host, &self.tls)))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Reads a whole body of at most `limit` octets.
///
/// # Errors
/// [`RequestError::TooLarge`], or what broke the connection.
pub async fn read_body(body: ResponseBody, limit: usize) -> Result<Bytes, RequestError> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => Err(match error.downcast::<RequestError>() {
            Ok(error) => *error,
            Err(error) if error.is::<LengthLimitError>() => RequestError::TooLarge { limit },
            Err(error) => RequestError::Invalid(with_sources(error.as_ref())),
        }),
    }
}
