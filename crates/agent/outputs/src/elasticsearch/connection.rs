//! One connection of an Elasticsearch output: sends a batch, reads the answer, sorts the events.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use event::acknowledge_all;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{Method, Request, StatusCode};
use transport::{HttpClient, read_body};
use url::Url;

use super::answer::{self, Outcome};
use super::bulk;
use super::settings::ElasticsearchSettings;
use crate::counters::Counters;
use crate::dead_letter::{DeadLetters, Refused};
use crate::queue::Queued;
use crate::workers::{Transmit, Transmitted, Trouble};

/// No bulk answer is larger: 1,600 items with long reasons stay far below.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
const FILTER_PATH: &str = "errors,items.*.error,items.*.status,items.*.failure_store";

/// What all connections of one output share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: ElasticsearchSettings,
    pub(crate) client: HttpClient,
    pub(crate) counters: Arc<Counters>,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) user_agent: String,
    /// Without load balancing: the host that all connections use now.
    pub(crate) current_host: AtomicUsize,
}

/// A connection. With load balancing it stays with its own host.
pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    pub(crate) host: usize,
}

#[async_trait]
impl Transmit for Connection {
    async fn transmit(&mut self, batch: Vec<Queued>) -> Transmitted {
        let host = self.host();
        let level = self.shared.settings.compression_level;
        let encoding = tokio::task::spawn_blocking(move || {
            let body = bulk::encode(&batch, level);
            (batch, body)
        });
        // The events go down with a panic of the encoder; their sources will send them again.
        let Ok((batch, body)) = encoding.await else {
            return Transmitted::default();
        };
        match self.shared.request(host, body).await {
            Ok(Reply::Answer(answer)) => self.sort(batch, &answer).await,
            Ok(Reply::TooLarge) => self.split(batch).await,
            Err(trouble) => {
                Counters::add(&self.shared.counters.failed_requests, 1);
                self.leave_host(host);
                Transmitted {
                    settled: 0,
                    again: vec![batch],
                    trouble: Some(trouble),
                }
            }
        }
    }
}

enum Reply {
    Answer(Bytes),
    /// 413.
    TooLarge,
}

impl Connection {
    fn host(&self) -> usize {
        if self.shared.settings.load_balance {
            self.host
        } else {
            self.shared.current_host.load(Ordering::Relaxed) % self.shared.settings.hosts.len()
        }
    }

    /// After a failure all connections without load balancing go to the next host; the first that failed decides.
    fn leave_host(&self, failed: usize) {
        let next = (failed + 1) % self.shared.settings.hosts.len();
        let swapped = self
            .shared
            .current_host
            .compare_exchange(failed, next, Ordering::Relaxed, Ordering::Relaxed);
        tracing::debug!(moved = swapped.is_ok(), "output request failed");
    }

    async fn sort(&self, batch: Vec<Queued>, body: &[u8]) -> Transmitted {
        let counters = &self.shared.counters;
        Counters::add(&counters.batches, 1);
        let outcomes = match answer::read(body, batch.len()) {
            Ok(None) => {
                let settled = batch.len();
                Counters::add(&counters.acknowledged, settled);
                acknowledge_all(batch.into_iter().map(|queued| queued.event.ack));
                return Transmitted {
                    settled,
                    ..Transmitted::default()
                };
            }
            Ok(Some(outcomes)) => outcomes,
            Err(error) => {
                let trouble = Some(Trouble::Refused(format!("the output sent no usable answer: {error}")));
                return Transmitted {
                    settled: 0,
                    again: vec![batch],
                    trouble,
                };
            }
        };
        let mut delivered = Vec::with_capacity(batch.len());
        let mut again = Vec::new();
        let mut refused = Vec::new();
        let mut busy = None;
        for (queued, outcome) in batch.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Delivered => delivered.push(queued.event.ack),
                Outcome::Duplicate => {
                    Counters::add(&counters.duplicates, 1);
                    delivered.push(queued.event.ack);
                }
                Outcome::Again { status, reason } => {
                    busy.get_or_insert_with(|| format!("the output asks to try again (status {status}, {reason})"));
                    again.push(queued);
                }
                Outcome::Refused { status, reason } => refused.push(Refused { queued, status, reason }),
            }
        }
        let settled = delivered.len() + refused.len();
        Counters::add(&counters.acknowledged, delivered.len());
        acknowledge_all(delivered);
        let dropped = self.shared.dead_letters.bury(refused).await;
        let trouble = busy.map(Trouble::Busy).or(dropped.map(Trouble::Dropped));
        let again = if again.is_empty() { Vec::new() } else { vec![again] };
        Transmitted {
            settled,
            again,
            trouble,
        }
    }

    /// 413: two halves are tried; one event that is too large alone is dropped.
    async fn split(&self, mut batch: Vec<Queued>) -> Transmitted {
        if batch.len() > 1 {
            let second = batch.split_off(batch.len() / 2);
            return Transmitted {
                settled: 0,
                again: vec![batch, second],
                trouble: None,
            };
        }
        let settled = batch.len();
        let reason = "the event is larger than the output accepts".to_owned();
        let refused = batch.into_iter().map(|queued| Refused {
            queued,
            status: 413,
            reason: reason.clone(),
        });
        let dropped = self.shared.dead_letters.bury(refused.collect()).await;
        Transmitted {
            settled,
            again: Vec::new(),
            trouble: dropped.map(Trouble::Dropped),
        }
    }
}

impl Shared {
    async fn request(&self, host: usize, body: bulk::BulkBody) -> Result<Reply, Trouble> {
        let url = &self.settings.hosts[host];
        let wire_bytes = body.bytes.len();
        let request = self.bulk_request(url, body).map_err(Trouble::Refused)?;
        let exchange = async {
            let response = self.client.send(request).await?;
            let status = response.status();
            let retry_limit = if status == StatusCode::OK {
                MAX_ANSWER
            } else {
                64 * 1024
            };
            let body = read_body(response.into_body(), retry_limit).await?;
            Ok::<_, transport::RequestError>((status, body))
        };
        let answered = tokio::time::timeout(self.settings.timeout, exchange).await;
        let host = host_of(url);
        let (status, body) = match answered {
            Err(_) => {
                let seconds = self.settings.timeout.as_secs();
                return Err(Trouble::Refused(format!("{host} did not answer within {seconds} s")));
            }
            Ok(Err(error)) => return Err(Trouble::Refused(format!("cannot reach {host}: {error}"))),
            Ok(Ok(answer)) => answer,
        };
        Counters::add(&self.counters.bytes_written, wire_bytes);
        match status {
            StatusCode::OK => Ok(Reply::Answer(body)),
            StatusCode::PAYLOAD_TOO_LARGE => Ok(Reply::TooLarge),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Err(Trouble::Busy(format!("{host} is busy (status {})", status.as_u16())))
            }
            status => Err(Trouble::Refused(refusal(&host, status, &body))),
        }
    }

    fn bulk_request(&self, host: &Url, body: bulk::BulkBody) -> Result<Request<Bytes>, String> {
        let mut url = endpoint(host, "_bulk");
        url.query_pairs_mut()
            .append_pair("filter_path", FILTER_PATH)
            .extend_pairs(&self.settings.parameters);
        let mut request = authorized(&self.settings, Method::POST, &url)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, &self.user_agent)
            .header("X-Elastic-Product-Origin", "beats")
            .header("X-Elastic-Uncompressed-Request-Length", body.uncompressed);
        if body.gzip {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        request
            .body(Bytes::from(body.bytes))
            .map_err(|error| format!("cannot make the request: {error}"))
    }
}

/// A request with the output's credential and headers.
pub(crate) fn authorized(settings: &ElasticsearchSettings, method: Method, url: &Url) -> http::request::Builder {
    let mut request = Request::builder().method(method).uri(url.as_str());
    if let Some(authorization) = &settings.authorization {
        request = request.header(AUTHORIZATION, authorization.expose());
    }
    for (name, value) in &settings.headers {
        request = request.header(name, value);
    }
    request
}

/// `path` under the host's own path.
pub(crate) fn endpoint(host: &Url, path: &str) -> Url {
    let mut url = host.clone();
    let base = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}/{path}"));
    url
}

/// Scheme, host and port of a URL: what may stand in a message.
pub(crate) fn host_of(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}://{}:{port}", url.scheme(), url.host_str().unwrap_or_default())
}

/// What a status that is neither success nor overload means, and what to do.
pub(crate) fn refusal(host: &str, status: StatusCode, body: &[u8]) -> String {
    let hint = match status.as_u16() {
        401 => "; the output's credentials are not accepted: check its `api_key` or `username` and `password`",
        403 => "; the output's credentials lack the privilege to write: check the key's permissions",
        404 => "; there is no `_bulk` here: check the output's `hosts` and `path`",
        _ => "",
    };
    let reason = serde_json::from_slice::<serde_json::Value>(body).ok().and_then(|body| {
        let error = body.get("error")?;
        let text = error
            .get("reason")
            .and_then(serde_json::Value::as_str)
            .or(error.as_str())?;
        Some(format!(" ({})", text.chars().take(300).collect::<String>()))
    });
    format!(
        "{host} answered {}{}{hint}",
        status.as_u16(),
        reason.unwrap_or_default()
    )
}
