//! Whether an output answers: a real request with its own TLS, proxy and credentials.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use event::{Reporter, UnitState};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::Value;
use tls::{ClientTls, LoadOptions, SslSettings};
use transport::{HttpClient, HttpClientSettings, ProxySettings, RequestError, read_body};

use crate::OutputError;
use crate::backoff::Backoff;
use crate::elasticsearch::connection::{authorized, endpoint, host_of, refusal};
use crate::elasticsearch::settings::{ElasticsearchSettings, ProxyBlock};
use crate::setting::Block;

/// A trial may take this long, each host.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ANSWER: usize = 1024 * 1024;

/// Why an output did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The block cannot be used as it is.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// None of the hosts answered well; one line for each.
    #[error("output `{output}`: {}", reasons.join("; "))]
    Hosts {
        /// The output's name in the policy.
        output: String,
        /// What each host did.
        reasons: Vec<String>,
    },
}

/// Tries the output `name` as its block says: loads its files, connects, authenticates. One host that answers is enough;
/// an overloaded one (429, 503) counts as answering. Of Kafka a connection is tried, signing in included; the other types are only
/// checked for their settings.
///
/// # Errors
/// See [`ProbeError`].
pub async fn probe(name: &str, value: &Value) -> Result<(), ProbeError> {
    let expanded = settings::expand_dotted_keys(value.clone()).map_err(|setting| OutputError::Setting {
        output: name.to_owned(),
        setting,
        wanted: "either a value or a group of settings, not both".to_owned(),
    })?;
    let block = Block { name, value: &expanded };
    match block.text("type")?.unwrap_or_default().as_str() {
        "elasticsearch" | "remote_elasticsearch" => {}
        "logstash" => {
            crate::logstash::LogstashSettings::from_block(&block)?;
            return Ok(());
        }
        "kafka" => {
            let settings = Arc::new(crate::kafka::KafkaSettings::from_block(&block)?);
            let answered = crate::kafka::first_contact(&settings).await;
            return answered.map_err(|reasons| ProbeError::Hosts {
                output: name.to_owned(),
                reasons,
            });
        }
        "file" | "console" => return Ok(()),
        kind => {
            return Err(OutputError::UnknownType {
                output: name.to_owned(),
                kind: kind.to_owned(),
            }
            .into());
        }
    }
    let settings = ElasticsearchSettings::from_block(&block)?;
    let (client, _) = client(name, &settings)?;
    probe_hosts(&client, &settings)
        .await
        .map_err(|reasons| ProbeError::Hosts {
            output: name.to_owned(),
            reasons,
        })
}

async fn probe_hosts(client: &HttpClient, settings: &ElasticsearchSettings) -> Result<(), Vec<String>> {
    let mut reasons = Vec::new();
    for host in &settings.hosts {
        let answered = tokio::time::timeout(PROBE_TIMEOUT, ask(client, settings, host)).await;
        match answered {
            Ok(Ok((status, _))) if answers(status) => return Ok(()),
            Ok(Ok((status, body))) => reasons.push(refusal(&host_of(host), status, &body)),
            Ok(Err(error)) => reasons.push(format!("cannot reach {}: {error}", host_of(host))),
            Err(_) => reasons.push(format!(
                "{} did not answer within {} s",
                host_of(host),
                PROBE_TIMEOUT.as_secs()
            )),
        }
    }
    Err(reasons)
}

/// A key without the `monitor` privilege gets 403 for `GET /` and can still write.
fn answers(status: StatusCode) -> bool {
    status.is_success()
        || matches!(
            status,
            StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        )
}

async fn ask(
    client: &HttpClient,
    settings: &ElasticsearchSettings,
    host: &url::Url,
) -> Result<(StatusCode, Bytes), RequestError> {
    let url = endpoint(host, "");
    let request = authorized(settings, Method::GET, &url)
        .body(Bytes::new())
        .unwrap_or_else(|_| http::Request::new(Bytes::new()));
    let response = client.send(request).await?;
    let status = response.status();
    Ok((status, read_body(response.into_body(), MAX_ANSWER).await?))
}

/// Tells the unit's state before the first event has to.
#[derive(Clone, Debug)]
pub(crate) struct FirstContact {
    pub(crate) settings: ElasticsearchSettings,
    pub(crate) client: HttpClient,
}

impl FirstContact {
    /// Asks until somebody answers, or until events have told the state.
    pub(crate) async fn run(self, reporter: Reporter, healthy: String, mut backoff: Backoff) {
        loop {
            let asked = probe_hosts(&self.client, &self.settings).await;
            if reporter.current().state == UnitState::Healthy {
                return;
            }
            match asked {
                Ok(()) => {
                    reporter.report(UnitState::Healthy, healthy);
                    return;
                }
                Err(reasons) => reporter.report(UnitState::Degraded, reasons.join("; ")),
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }
}

/// The HTTP client of an Elasticsearch output, and what should be said about its settings.
pub(crate) fn client(name: &str, settings: &ElasticsearchSettings) -> Result<(HttpClient, Vec<String>), OutputError> {
    let tls = client_tls(name, &settings.ssl)?;
    let warnings = tls.warnings();
    let client = HttpClientSettings {
        tls,
        proxy: proxy_settings(name, settings.proxy.as_ref())?,
        connect_timeout: CONNECT_TIMEOUT,
        headers: HeaderMap::new(),
        connect_to: None,
    };
    let client = HttpClient::keeping_idle(client, settings.idle_connection_timeout);
    Ok((client, warnings))
}

/// Loads an output's `ssl` block; without one the system's CAs are trusted.
pub(crate) fn client_tls(name: &str, ssl: &Value) -> Result<Arc<ClientTls>, OutputError> {
    let wrong = |source| OutputError::Ssl {
        output: name.to_owned(),
        source,
    };
    let value = if ssl.is_null() {
        serde_json::json!({})
    } else {
        ssl.clone()
    };
    let settings = SslSettings::from_value(&value).map_err(wrong)?;
    ClientTls::load(&settings, LoadOptions::named(format!("outputs.{name}.ssl"))).map_err(wrong)
}

/// `None`: what the environment says.
fn proxy_settings(name: &str, proxy: Option<&ProxyBlock>) -> Result<Option<ProxySettings>, OutputError> {
    let Some(proxy) = proxy else { return Ok(None) };
    if proxy.disable {
        return Ok(Some(ProxySettings::disabled()));
    }
    let Some(url) = proxy.url.clone() else { return Ok(None) };
    let mut headers = HeaderMap::new();
    for (header, value) in &proxy.headers {
        let wrong = || OutputError::Setting {
            output: name.to_owned(),
            setting: "proxy_headers".to_owned(),
            wanted: format!("headers that can be sent; `{header}` cannot"),
        };
        let name = HeaderName::from_bytes(header.as_bytes()).map_err(|_| wrong())?;
        headers.insert(name, HeaderValue::from_str(value).map_err(|_| wrong())?);
    }
    Ok(Some(ProxySettings {
        url,
        headers,
        tls: None,
        disable: proxy.disable,
    }))
}
