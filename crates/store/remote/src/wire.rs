//! Requests to the peer: hosts in turn, retries with back-off, limits, and the product check.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use store::StoreError;
use tokio::sync::Semaphore;
use transport::{HttpClient, HttpClientSettings, RequestError, read_body};

use crate::error::{ConnectError, Failure};
use crate::settings::{RemoteCredential, RemoteSettings};

/// Requests at once, long polls not counted. Source: fleet-server-elasticsearch, client behaviour.
const AT_ONCE: usize = 128;
/// The largest answer that is read: a page of 10,000 documents of 12 KiB.
const LARGEST_ANSWER: usize = 128 * 1024 * 1024;
/// Attempts for one call, the first included. Source: fleet-server-elasticsearch, client behaviour.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers above this are parsed beside the async threads.
const PARSE_ASIDE: usize = 256 * 1024;

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'*')
    .remove(b',');

/// A path segment: an index expression or an id.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// What carries requests.
#[derive(Debug)]
pub(crate) struct Wire {
    client: HttpClient,
    /// Without a slash at the end, the path prefix included.
    hosts: Vec<String>,
    /// The host that answered last.
    current: AtomicUsize,
    authorization: Option<HeaderValue>,
    timeout: Duration,
    at_once: Semaphore,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// With its leading slash and its query.
    pub(crate) path: String,
    pub(crate) body: Option<(Bytes, &'static str)>,
    /// Doing it twice is as doing it once, so that it is sent again when an attempt ended without an answer.
    pub(crate) repeatable: bool,
    /// In place of the store's own credential.
    pub(crate) authorization: Option<HeaderValue>,
    /// A long poll: how long the peer may take before the usual timeout begins.
    pub(crate) poll: Option<Duration>,
    /// The first request of a store: somebody waits to hear what is wrong with the settings.
    pub(crate) is_first: bool,
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        let repeatable = method != Method::POST;
        Self {
            method,
            path: path.into(),
            body: None,
            repeatable,
            authorization: None,
            poll: None,
            is_first: false,
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// A POST that only reads.
    pub(crate) fn ask(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path).repeatable()
    }

    /// See [`Call::is_first`].
    pub(crate) fn first(mut self) -> Self {
        self.is_first = true;
        self
    }

    pub(crate) fn json(mut self, body: &serde_json::Value) -> Self {
        self.body = Some((Bytes::from(body.to_string()), "application/json"));
        self
    }

    pub(crate) fn lines(mut self, body: Bytes) -> Self {
        self.body = Some((body, "application/x-ndjson"));
        self
    }

    pub(crate) fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// An attempt before this one ended without an answer: what was asked may have been done twice.
    pub(crate) repeated: bool,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body of a success; everything else is an error about `asked`.
    pub(crate) async fn ok<T: DeserializeOwned + Send + 'static>(self, asked: &str) -> Result<T, StoreError> {
        if self.is_success() {
            self.parse().await
        } else {
            Err(self.into_error(asked))
        }
    }

    /// The body, whatever the status.
    pub(crate) async fn parse<T: DeserializeOwned + Send + 'static>(self) -> Result<T, StoreError> {
        parse_with(self.body, |body| serde_json::from_slice(body)).await
    }

    pub(crate) fn into_error(self, asked: &str) -> StoreError {
        Failure::of_body(&self.body).into_error(self.status, asked)
    }
}

/// Reads a body: small ones here, large ones beside the async threads.
pub(crate) async fn parse_with<T: Send + 'static>(
    body: Bytes,
    read: impl FnOnce(&Bytes) -> Result<T, serde_json::Error> + Send + 'static,
) -> Result<T, StoreError> {
    let parsed = if body.len() < PARSE_ASIDE {
        read(&body)
    } else {
        tokio::task::spawn_blocking(move || read(&body))
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))?
    };
    parsed.map_err(|error| StoreError::Unavailable(format!("the store's answer cannot be read: {error}")))
}

/// Why an attempt brought no answer.
enum Attempt {
    NoAnswer {
        reason: String,
        certainly_not_done: bool,
        /// Certificates are to blame: the next attempt would end the same way.
        is_about_trust: bool,
    },
}

impl Wire {
    pub(crate) fn new(settings: &RemoteSettings) -> Result<Self, ConnectError> {
        let hosts = hosts(settings)?;
        let mut headers = settings.headers.clone();
        headers.insert("x-elastic-product-origin", HeaderValue::from_static("fleet"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let client = HttpClient::new(HttpClientSettings {
            tls: settings.tls.clone(),
            proxy: settings.proxy.clone(),
            connect_timeout: CONNECT_TIMEOUT.min(settings.timeout),
            headers,
            connect_to: None,
        });
        Ok(Self {
            client,
            hosts,
            current: AtomicUsize::new(0),
            authorization: match &settings.credential {
                RemoteCredential::ClientCertificate => None,
                credential => credential.header(),
            },
            timeout: settings.timeout,
            at_once: Semaphore::new(AT_ONCE),
        })
    }

    /// The hosts, for messages.
    pub(crate) fn hosts(&self) -> String {
        self.hosts
            .iter()
            .map(|host| format!("`{host}`"))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Sends a call until there is an answer worth having: one that is not "try again later", or the last one.
    ///
    /// # Errors
    /// When no attempt brought an answer.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer, StoreError> {
        let mut repeated = false;
        let mut attempt = 1;
        loop {
            let last = attempt >= ATTEMPTS;
            let pause = match self.once(&call).await {
                Ok(mut answer) => {
                    answer.repeated = repeated;
                    if last || !worth_repeating(&answer, call.repeatable) {
                        return Ok(answer);
                    }
                    repeated |= answer.status != 429;
                    tracing::debug!(status = answer.status, path = %call.path, "store asks to try again");
                    retry_after(&answer).unwrap_or_else(|| pause(attempt))
                }
                Err(Attempt::NoAnswer {
                    reason,
                    certainly_not_done,
                    is_about_trust,
                }) => {
                    let hopeless = is_about_trust && call.is_first;
                    if last || hopeless || !(certainly_not_done || call.repeatable) {
                        return Err(StoreError::Unavailable(reason));
                    }
                    repeated |= !certainly_not_done;
                    tracing::debug!(error = %reason, path = %call.path, "store did not answer");
                    pause(attempt)
                }
            };
            attempt += 1;
            tokio::time::sleep(pause).await;
        }
    }

    /// One attempt, and no more.
    async fn once(&self, call: &Call) -> Result<Answer, Attempt> {
        let number = self.current.load(Ordering::Relaxed) % self.hosts.len();
        let host = &self.hosts[number];
        let _permit = match call.poll {
            None => Some(self.at_once.acquire().await),
            Some(_) => None,
        };
        let limit = self.timeout + call.poll.unwrap_or_default();
        let failure = match tokio::time::timeout(limit, self.exchange(host, call)).await {
            Ok(Ok(answer)) => {
                if matches!(answer.status, 502..=504) {
                    self.next_host(number);
                }
                return Ok(answer);
            }
            Ok(Err(error)) => Attempt::NoAnswer {
                certainly_not_done: error.is_connect(),
                is_about_trust: is_about_trust(&error),
                reason: error.to_string(),
            },
            Err(_) => Attempt::NoAnswer {
                certainly_not_done: false,
                is_about_trust: false,
                reason: format!("`{host}` did not answer within {} s", limit.as_secs()),
            },
        };
        self.next_host(number);
        Err(failure)
    }

    async fn exchange(&self, host: &str, call: &Call) -> Result<Answer, RequestError> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{host}{}", call.path));
        if let Some(authorization) = call.authorization.as_ref().or(self.authorization.as_ref()) {
            request = request.header(AUTHORIZATION, authorization);
        }
        let mut body = Bytes::new();
        if let Some((bytes, kind)) = &call.body {
            request = request.header(CONTENT_TYPE, *kind);
            body = bytes.clone();
        }
        let request = request
            .body(body)
            .map_err(|error| RequestError::Invalid(error.to_string()))?;
        let response = self.client.send(request).await?;
        let (parts, body) = response.into_parts();
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: read_body(body, LARGEST_ANSWER).await?,
            repeated: false,
        })
    }

    /// Leaves `failed` for the next host, unless another task did already.
    fn next_host(&self, failed: usize) {
        let next = (failed + 1) % self.hosts.len();
        if self
            .current
            .compare_exchange(failed, next, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
            && self.hosts.len() > 1
        {
            tracing::info!(host = %self.hosts[next], "turning to the next host of the store");
        }
    }
}

/// Whether certificates, versions or names keep the two apart, which no second attempt mends.
fn is_about_trust(error: &RequestError) -> bool {
    const PASSING: [&str; 5] = [
        "timeout",
        "connection_failed",
        "name_not_resolved",
        "proxy_failed",
        "proxy_refused",
    ];
    error
        .explanation()
        .is_some_and(|story| !PASSING.contains(&story.class.as_str()))
}

fn hosts(settings: &RemoteSettings) -> Result<Vec<String>, ConnectError> {
    if settings.hosts.is_empty() {
        return Err(ConnectError::Settings(
            "`hosts` names no store; write https://HOST:9200".to_owned(),
        ));
    }
    let prefix = settings.path.trim_matches('/');
    let with_prefix = |url: &url::Url| {
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(ConnectError::Settings(format!(
                "`{}` in `hosts` is no store; write https://HOST:9200",
                url.host_str().unwrap_or(url.scheme())
            )));
        }
        // A user and password in the URL are no credential here, and must not reach a log.
        let mut plain = url.clone();
        let _never_fails_with_a_host = (plain.set_username(""), plain.set_password(None));
        let base = plain.as_str().trim_end_matches('/');
        Ok(if prefix.is_empty() {
            base.to_owned()
        } else {
            format!("{base}/{prefix}")
        })
    };
    settings.hosts.iter().map(with_prefix).collect()
}

/// Whether another attempt may bring more. 429 and 503 say that nothing was done; 502 and 504 come from something between.
/// Source: fleet-server-elasticsearch, client behaviour.
fn worth_repeating(answer: &Answer, repeatable: bool) -> bool {
    match answer.status {
        429 | 503 => true,
        408 | 425 | 502 | 504 => repeatable,
        _ => false,
    }
}

/// `Retry-After` in seconds, bounded.
fn retry_after(answer: &Answer) -> Option<Duration> {
    let seconds = answer.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

/// Doubles with each attempt, less a random part, so that those who were refused together do not return together.
pub(crate) fn pause(attempt: u32) -> Duration {
    let full = FIRST_PAUSE
        .saturating_mul(1 << attempt.saturating_sub(1).min(10))
        .min(LONGEST_PAUSE);
    full.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_escaped() {
        for (text, expected) in [
            ("logs-*,-x", "logs-*,-x"),
            (".fleet-agents", ".fleet-agents"),
            ("a/b c?d#e%", "a%2Fb%20c%3Fd%23e%25"),
            ("ü", "%C3%BC"),
        ] {
            assert_eq!(segment(text), expected);
        }
    }

    #[test]
    fn pauses_grow_and_end() {
        assert!((100..=200).contains(&pause(1).as_millis()));
        assert!((800..=1600).contains(&pause(4).as_millis()));
        assert!((5_000..=10_000).contains(&pause(40).as_millis()));
    }

    #[test]
    fn what_is_repeated() {
        let answer = |status| Answer {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            repeated: false,
        };
        for (status, repeatable, expected) in [
            (429, false, true),
            (503, false, true),
            (504, false, false),
            (504, true, true),
            (500, true, false),
            (200, true, false),
            (409, true, false),
        ] {
            assert_eq!(worth_repeating(&answer(status), repeatable), expected, "{status}");
        }
    }
}
