//! Requests to Fleet Server: headers, host rotation, and what a failure means.
//!
//! Each request goes to the host that was used least recently; a host that failed is passed over for five minutes unless
//! all have failed. Source of headers and rotation: the recorded requests and the original's documented behaviour.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use protocol::{API_VERSION, API_VERSION_HEADER, ErrorBody, REQUEST_ID_HEADER, STATUS_PATH};
use secret::Secret;
use serde_json::Value;
use tls::{ClientTls, LoadOptions, SslSettings};
use transport::{HttpClient, HttpClientSettings, ProxySettings, RequestError, read_body};
use url::Url;

use crate::connection::ConnectionSettings;
use crate::upgrade::FleetSite;

/// A policy with its files inline stays far below.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// How long a host that failed is passed over.
const PASSED_OVER: Duration = Duration::from_mins(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// The settings of a connection cannot be used: nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// Not an http(s) URL.
    #[error("`{url}` is not a Fleet Server URL; it should look like `https://fleet.example:8220`")]
    Url {
        /// The text.
        url: String,
    },
    /// None at all.
    #[error("no Fleet Server URL is known")]
    NoHosts,
    /// The `ssl` block or a file that it names.
    #[error("the TLS settings of the connection to Fleet Server cannot be used: {0}")]
    Ssl(#[from] tls::SslError),
    /// The proxy's URL; it is not quoted, since it may hold a password.
    #[error("the proxy's URL cannot be used; write it as http://HOST:PORT or https://HOST:PORT")]
    Proxy,
    /// A header's name or value.
    #[error("`{name}` cannot be sent as a header")]
    Header {
        /// Its name.
        name: String,
    },
}

/// A request that was not answered as it should.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// No answer.
    #[error("cannot reach Fleet Server at {host}: {error}")]
    Unreachable {
        /// Scheme, host and port.
        host: String,
        /// Why.
        error: RequestError,
    },
    /// No answer in time.
    #[error("Fleet Server at {host} did not answer within {} s", timeout.as_secs())]
    Timeout {
        /// Scheme, host and port.
        host: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// An answer that is not a success.
    #[error("Fleet Server at {host} answered {status}{}", described(code, message))]
    Refused {
        /// Scheme, host and port.
        host: String,
        /// The HTTP status.
        status: StatusCode,
        /// The error's stable name, such as `ErrUnauthorized`.
        code: String,
        /// The error in words.
        message: String,
    },
    /// A success that cannot be read.
    #[error("Fleet Server at {host} sent an answer that cannot be read: {error}")]
    Unreadable {
        /// Scheme, host and port.
        host: String,
        /// Why.
        error: serde_json::Error,
    },
}

fn described(code: &str, message: &str) -> String {
    match (code.is_empty(), message.is_empty()) {
        (true, true) => String::new(),
        (false, true) => format!(" ({code})"),
        (true, false) => format!(" ({message})"),
        (false, false) => format!(" ({code}: {message})"),
    }
}

impl FleetError {
    /// Whether the same request may well succeed a little later: the server is starting, restarting or busy.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { error, .. } => connection_was_refused(error),
            Self::Timeout { .. } => true,
            Self::Refused { status, .. } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Unreadable { .. } => false,
        }
    }

    /// Whether the server lives and only asks for patience: never a reason to distrust settings.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if matches!(status.as_u16(), 429 | 503))
    }

    /// The status of the answer, if there was one.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The class of the TLS or connection failure, when that is to blame.
    pub fn class(&self) -> Option<&str> {
        match self {
            Self::Unreachable { error, .. } => error.explanation().map(|story| story.class.as_str()),
            _ => None,
        }
    }

    /// The stable name of the refusal.
    pub fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            _ => "",
        }
    }
}

/// No TCP connection, or one that broke without a word of TLS: nothing that says that a setting is wrong.
fn connection_was_refused(error: &RequestError) -> bool {
    match error {
        RequestError::Broken { .. } => true,
        _ => error
            .explanation()
            .is_some_and(|story| matches!(story.class.as_str(), "connection_failed" | "timeout" | "proxy_failed")),
    }
}

/// Talks to the Fleet Servers of one set of settings. Clones share connections and rotation.
#[derive(Clone, Debug)]
pub struct FleetClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: HttpClient,
    hosts: Vec<Url>,
    rotation: Mutex<Vec<HostUse>>,
    headers: HeaderMap,
    settings: ConnectionSettings,
    warnings: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct HostUse {
    used: Option<Instant>,
    failed: Option<Instant>,
}

/// One request.
#[derive(Debug)]
pub struct FleetRequest<'a> {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: &'a str,
    /// What goes behind `ApiKey`; none for requests without credentials.
    pub api_key: Option<&'a Secret>,
    /// The body; JSON unless `headers` say otherwise.
    pub body: Bytes,
    /// Send the body gzipped.
    pub gzip: bool,
    /// Headers of this request only.
    pub headers: Vec<(&'static str, String)>,
    /// How long to wait for the whole answer.
    pub timeout: Duration,
}

impl FleetClient {
    /// Loads the files that the settings name. Nothing is sent.
    pub fn new(settings: &ConnectionSettings, version: &str) -> Result<Self, ConnectionError> {
        let hosts = settings
            .hosts
            .iter()
            .map(|host| fleet_url(host))
            .collect::<Result<Vec<_>, _>>()?;
        if hosts.is_empty() {
            return Err(ConnectionError::NoHosts);
        }
        let ssl = SslSettings::from_value(&Value::Object(settings.ssl.clone()))?;
        let tls = ClientTls::load(&ssl, LoadOptions::named("fleet.ssl"))?;
        let warnings = tls.warnings();
        let http = HttpClient::new(HttpClientSettings {
            tls,
            proxy: proxy(settings)?,
            connect_timeout: CONNECT_TIMEOUT,
            headers: HeaderMap::new(),
            connect_to: None,
        });
        let rotation = Mutex::new(vec![HostUse::default(); hosts.len()]);
        let headers = constant_headers(settings, version)?;
        Ok(Self(Arc::new(Inner {
            http,
            hosts,
            rotation,
            headers,
            settings: settings.clone(),
            warnings,
        })))
    }

    /// The settings that it was made from.
    pub fn settings(&self) -> &ConnectionSettings {
        &self.0.settings
    }

    /// The TLS settings, to follow their files.
    pub fn tls(&self) -> &Arc<ClientTls> {
        self.0.http.tls()
    }

    /// The next host as a source of programs.
    pub(crate) fn site(&self) -> FleetSite {
        FleetSite {
            client: self.0.http.clone(),
            url: self.0.hosts[self.next_host()].as_str().trim_end_matches('/').to_owned(),
        }
    }

    /// What should be said about the settings.
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// Sends a request to the next host and returns the body of a 200.
    pub async fn send(&self, request: FleetRequest<'_>) -> Result<Bytes, FleetError> {
        let host = self.next_host();
        self.send_to(host, request).await
    }

    /// `GET /api/status` with the agent's key at each host until one is alive. A busy one (429, 503) is.
    ///
    /// # Errors
    /// What each host did, when none is alive.
    pub async fn test(&self, api_key: &Secret, timeout: Duration) -> Result<(), Vec<FleetError>> {
        let mut errors = Vec::new();
        for host in 0..self.0.hosts.len() {
            let request = FleetRequest {
                method: Method::GET,
                path: STATUS_PATH,
                api_key: Some(api_key),
                body: Bytes::new(),
                gzip: false,
                headers: Vec::new(),
                timeout,
            };
            match self.send_to(host, request).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_busy() => return Ok(()),
                Err(error) => errors.push(error),
            }
        }
        Err(errors)
    }

    async fn send_to(&self, host: usize, request: FleetRequest<'_>) -> Result<Bytes, FleetError> {
        let name = self.host_name(host);
        let timeout = request.timeout;
        let exchange = self.exchange(host, request);
        let answered = match tokio::time::timeout(timeout, exchange).await {
            Err(_) => Err(FleetError::Timeout { host: name, timeout }),
            Ok(Err(error)) => Err(FleetError::Unreachable { host: name, error }),
            Ok(Ok((StatusCode::OK, body))) => Ok(body),
            Ok(Ok((status, body))) => Err(refused(name, status, &body)),
        };
        let failed = answered.as_ref().is_err_and(|error| error.status().is_none());
        self.note(host, failed);
        answered
    }

    async fn exchange(&self, host: usize, request: FleetRequest<'_>) -> Result<(StatusCode, Bytes), RequestError> {
        let request = self.http_request(host, request);
        let response = self.0.http.send(request).await?;
        let status = response.status();
        Ok((status, read_body(response.into_body(), MAX_ANSWER).await?))
    }

    fn http_request(&self, host: usize, request: FleetRequest<'_>) -> Request<Bytes> {
        let base = &self.0.hosts[host];
        let uri = format!("{}{}?", base.as_str().trim_end_matches('/'), request.path);
        let body = if request.gzip {
            gzip(&request.body)
        } else {
            request.body
        };
        let mut http = Request::new(body);
        *http.method_mut() = request.method;
        *http.uri_mut() = uri.parse().unwrap_or_else(|_| http::Uri::from_static("/"));
        let headers = http.headers_mut();
        headers.clone_from(&self.0.headers);
        if request.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let mut put = |name: HeaderName, value: &str| {
            if let Ok(mut value) = HeaderValue::from_str(value) {
                value.set_sensitive(name == AUTHORIZATION);
                headers.insert(name, value);
            }
        };
        put(
            HeaderName::from_static(REQUEST_ID_HEADER),
            &uuid::Uuid::new_v4().to_string(),
        );
        if let Some(key) = request.api_key {
            put(AUTHORIZATION, &format!("ApiKey {}", key.expose()));
        }
        for (name, value) in &request.headers {
            put(HeaderName::from_static(name), value);
        }
        http
    }

    fn next_host(&self) -> usize {
        let rotation = self.0.rotation.lock().unwrap_or_else(PoisonError::into_inner);
        let bad = |host: &HostUse| host.failed.is_some_and(|at| at.elapsed() < PASSED_OVER);
        // `None` sorts first: a host never used is the least recently used one.
        let by_use = |(_, host): &(usize, &HostUse)| host.used;
        let good = rotation
            .iter()
            .enumerate()
            .filter(|(_, host)| !bad(host))
            .min_by_key(by_use);
        let any = || rotation.iter().enumerate().min_by_key(by_use);
        good.or_else(any).map_or(0, |(number, _)| number)
    }

    fn note(&self, host: usize, failed: bool) {
        let mut rotation = self.0.rotation.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        rotation[host] = HostUse {
            used: Some(now),
            failed: failed.then_some(now),
        };
    }

    fn host_name(&self, host: usize) -> String {
        let url = &self.0.hosts[host];
        let port = url.port_or_known_default().unwrap_or_default();
        format!("{}://{}:{port}", url.scheme(), url.host_str().unwrap_or_default())
    }
}

/// A Fleet Server's URL; the port is 8220 when none is named, the scheme https.
pub(crate) fn fleet_url(text: &str) -> Result<Url, ConnectionError> {
    let wrong = || ConnectionError::Url { url: text.to_owned() };
    let trimmed = text.trim();
    let with_scheme = if trimmed.contains("://") {
        trimmed.to_owned()
    } else {
        format!("https://{trimmed}")
    };
    let mut url = Url::parse(&with_scheme).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong());
    }
    let authority = with_scheme
        .split("://")
        .nth(1)
        .unwrap_or_default()
        .split('/')
        .next()
        .unwrap_or_default();
    let names_port = authority.rsplit(']').next().unwrap_or_default().contains(':');
    if !names_port {
        url.set_port(Some(8220)).map_err(|()| wrong())?;
    }
    Ok(url)
}

/// `None`: what the environment says.
fn proxy(settings: &ConnectionSettings) -> Result<Option<ProxySettings>, ConnectionError> {
    if settings.proxy_disable {
        return Ok(Some(ProxySettings::disabled()));
    }
    let Some(proxy) = &settings.proxy else {
        return Ok(None);
    };
    Ok(Some(ProxySettings {
        headers: header_map(&proxy.headers)?,
        ..ProxySettings::from_url(proxy.url.expose()).map_err(|_| ConnectionError::Proxy)?
    }))
}

fn header_map(headers: &BTreeMap<String, String>) -> Result<HeaderMap, ConnectionError> {
    let header = |(name, value): (&String, &String)| {
        let wrong = || ConnectionError::Header { name: name.clone() };
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        Ok((parsed, HeaderValue::from_str(value).map_err(|_| wrong())?))
    };
    headers.iter().map(header).collect()
}

fn constant_headers(settings: &ConnectionSettings, version: &str) -> Result<HeaderMap, ConnectionError> {
    let mut headers = HeaderMap::new();
    let agent = protocol::user_agent(version);
    let fixed = [
        (USER_AGENT, agent.as_str()),
        (ACCEPT, "application/json"),
        (CONTENT_TYPE, "application/json"),
        (HeaderName::from_static(API_VERSION_HEADER), API_VERSION),
        (HeaderName::from_static("kbn-xsrf"), "1"),
    ];
    for (name, value) in fixed {
        let value = HeaderValue::from_str(value).map_err(|_| ConnectionError::Header { name: name.to_string() })?;
        headers.insert(name, value);
    }
    headers.extend(header_map(&settings.headers)?);
    Ok(headers)
}

fn gzip(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::fast());
    encoder.write_all(body).expect("writing to memory cannot fail");
    encoder.finish().expect("writing to memory cannot fail").into()
}

fn refused(host: String, status: StatusCode, body: &[u8]) -> FleetError {
    let (code, message) = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => (body.error, body.message),
        Err(_) => (
            String::new(),
            String::from_utf8_lossy(body).trim().chars().take(200).collect(),
        ),
    };
    FleetError::Refused {
        host,
        status,
        code,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_get_scheme_and_port() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(fleet_url(text).ok().as_ref().map(Url::as_str), expected, "{text}");
        };
        check("https://fleet.example:8220", Some("https://fleet.example:8220/"));
        check("https://fleet.example", Some("https://fleet.example:8220/"));
        check("https://fleet.example:443/path", Some("https://fleet.example/path"));
        check("fleet.example", Some("https://fleet.example:8220/"));
        check("http://[::1]", Some("http://[::1]:8220/"));
        check("ftp://x", None);
        check("", None);
    }
}
