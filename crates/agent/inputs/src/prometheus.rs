//! `prometheus/metrics`: the text format of an exporter, fetched over http or https.
//!
//! One event for each set of labels: `prometheus.metrics.<name>` without types, `prometheus.<name>.counter` and
//! `prometheus.<name>.value` with `use_types`.

mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use event::fields::Fields;
use event::{Ack, Documents, UnitState};
use regex::Regex;
use secret::Secret;
use serde_json::{Value, json};
use tls::{ClientTls, LoadOptions, SslSettings};
use tokio::time::MissedTickBehavior;
use transport::{HttpClient, HttpClientSettings, read_body};

use crate::build::{BuildError, StreamConfig};
use crate::config::Config;
use crate::{Input, InputContext};
use text::{Kind, Sample, parse};

/// A stream over exporters.
#[derive(Debug)]
pub(crate) struct Prometheus {
    stream_id: String,
    documents: Arc<Documents>,
    settings: Settings,
    client: HttpClient,
}

#[derive(Debug)]
struct Settings {
    targets: Vec<String>,
    period: Duration,
    timeout: Duration,
    use_types: bool,
    include: Vec<Regex>,
    exclude: Vec<Regex>,
    authorization: Option<Secret>,
}

const DEFAULT_PERIOD: Duration = Duration::from_secs(10);
/// The most that is read of one answer.
const MAX_ANSWER: usize = 64 << 20;

impl Prometheus {
    pub(crate) fn build(mut stream: StreamConfig<'_>) -> Result<Box<dyn Input>, BuildError> {
        let config = Config {
            stream: &stream.id,
            settings: stream.settings,
        };
        let names = config.texts(&["metricsets"])?;
        if let Some(other) = names.iter().find(|name| *name != "collector") {
            return Err(config.error(
                "metricsets",
                format!("metricset `{other}` is not supported; it may be `collector`"),
            ));
        }
        let settings = Settings::read(config)?;
        let tls = client_tls(config)?;
        stream.reloader().watch(&tls);
        let client = HttpClient::new(HttpClientSettings {
            tls,
            proxy: None,
            connect_timeout: settings.timeout,
            headers: http::HeaderMap::new(),
            connect_to: None,
        });
        let own = Fields::from_iter([("service".to_owned(), json!({"type": "prometheus"}))]);
        let documents = Arc::new(stream.documents("metricbeat", own));
        Ok(Box::new(Self {
            stream_id: stream.id,
            documents,
            settings,
            client,
        }))
    }
}

impl Settings {
    fn read(config: Config<'_>) -> Result<Self, BuildError> {
        let path = config.text(&["metrics_path"])?.unwrap_or("/metrics");
        let hosts = config.texts(&["hosts"])?;
        if hosts.is_empty() {
            return Err(config.error("hosts", "it must name at least one host such as `localhost:9090`"));
        }
        let period = config
            .duration_or(&["period"], DEFAULT_PERIOD)?
            .unwrap_or(DEFAULT_PERIOD);
        Ok(Self {
            targets: hosts
                .iter()
                .map(|host| target(host, path, config))
                .collect::<Result<_, _>>()?,
            period,
            timeout: config.duration(&["timeout"])?.unwrap_or(period),
            use_types: config.boolean(&["use_types"], false)?,
            include: config.patterns(&["metrics_filters.include"])?,
            exclude: config.patterns(&["metrics_filters.exclude"])?,
            authorization: authorization(config)?,
        })
    }

    fn wants(&self, name: &str) -> bool {
        let matches = |pattern: &Regex| pattern.is_match(name);
        (self.include.is_empty() || self.include.iter().any(matches)) && !self.exclude.iter().any(matches)
    }
}

fn target(host: &str, path: &str, config: Config<'_>) -> Result<String, BuildError> {
    let url = if host.contains("://") {
        host.to_owned()
    } else {
        format!("http://{host}")
    };
    let has_path = url
        .split_once("://")
        .is_some_and(|(_, rest)| rest.trim_end_matches('/').contains('/'));
    let url = if has_path {
        url
    } else {
        format!("{}/{}", url.trim_end_matches('/'), path.trim_start_matches('/'))
    };
    let valid = url
        .parse::<http::Uri>()
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    if valid {
        Ok(url)
    } else {
        Err(config.error("hosts", format!("`{host}` is not a host or URL")))
    }
}

fn authorization(config: Config<'_>) -> Result<Option<Secret>, BuildError> {
    use base64::Engine as _;
    if let Some(path) = config.text(&["bearer_token_file"])?.filter(|path| !path.is_empty()) {
        let token =
            fs_err::read_to_string(path).map_err(|error| config.error("bearer_token_file", error.to_string()))?;
        return Ok(Some(Secret::from(format!("Bearer {}", token.trim()))));
    }
    let Some(username) = config.text(&["username"])?.filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let password = config.text(&["password"])?.unwrap_or_default();
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    Ok(Some(Secret::from(format!("Basic {pair}"))))
}

fn client_tls(config: Config<'_>) -> Result<Arc<ClientTls>, BuildError> {
    let Some(block) = config.value("ssl") else {
        return Ok(ClientTls::system());
    };
    SslSettings::from_value(block)
        .and_then(|settings| ClientTls::load(&settings, LoadOptions::named(format!("input {}", config.stream))))
        .map_err(|error| config.error("ssl", tls::Explanation::from(&error).in_one_line()))
}

#[async_trait]
impl Input for Prometheus {
    async fn run(self: Box<Self>, context: InputContext) {
        let mut ticks = tokio::time::interval(self.settings.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = context.stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = context.stop.cancelled() => break,
                open = self.fetch_all(&context) => if !open { break },
            }
        }
        context.reporter.report_stream(&self.stream_id, UnitState::Stopped, "");
    }
}

impl Prometheus {
    /// Fetches from every target; `false` when nobody takes events any more.
    async fn fetch_all(&self, context: &InputContext) -> bool {
        let mut problem = None;
        for target in &self.settings.targets {
            let started = Instant::now();
            let fetched = tokio::time::timeout(self.settings.timeout, self.fetch(target)).await;
            let fetched = fetched.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.settings.timeout)));
            let groups = match fetched {
                Ok(samples) => self.group(samples),
                Err(error) => {
                    problem = Some(format!("cannot fetch metrics from `{target}`: {error}"));
                    vec![Fields::from_iter([("error".to_owned(), json!({"message": problem}))])]
                }
            };
            let duration = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let now = context.clock.now();
            let whole = |fields: Fields| {
                self.documents
                    .event(now, self.with_common(fields, target, duration), Ack::none())
            };
            let events: Vec<_> = groups.into_iter().filter_map(whole).collect();
            if !events.is_empty() && context.events.send(events).await.is_err() {
                return false;
            }
        }
        match problem {
            Some(problem) => context
                .reporter
                .report_stream(&self.stream_id, UnitState::Degraded, problem),
            None => context.reporter.report_stream(&self.stream_id, UnitState::Healthy, ""),
        }
        true
    }

    async fn fetch(&self, target: &str) -> Result<Vec<Sample>, String> {
        let mut request =
            http::Request::get(target).header(http::header::ACCEPT, "text/plain;version=0.0.4;q=1,*/*;q=0.1");
        if let Some(authorization) = &self.settings.authorization {
            request = request.header(http::header::AUTHORIZATION, authorization.expose());
        }
        let request = request.body(Bytes::new()).map_err(|error| error.to_string())?;
        let response = self.client.send(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = read_body(response.into_body(), MAX_ANSWER)
            .await
            .map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("the answer has the status {status}"));
        }
        let samples = tokio::task::spawn_blocking(move || parse(&String::from_utf8_lossy(&body))).await;
        samples.map_err(|_| "the answer could not be read".to_owned())
    }

    /// Samples of one set of labels share an event.
    fn group(&self, samples: Vec<Sample>) -> Vec<Fields> {
        let mut groups: BTreeMap<Vec<(String, String)>, Fields> = BTreeMap::new();
        for sample in samples.into_iter().filter(|sample| self.settings.wants(&sample.name)) {
            let Some(value) = serde_json::Number::from_f64(sample.value).map(Value::Number) else {
                continue;
            };
            let group = groups.entry(sample.labels).or_default();
            if !self.settings.use_types {
                group.insert(sample.name, value);
                continue;
            }
            let field = if sample.kind == Kind::Counter {
                "counter"
            } else {
                "value"
            };
            group.insert(sample.name, json!({field: value}));
        }
        let event = |(labels, metrics): (Vec<(String, String)>, Fields)| {
            let labels: Fields = labels
                .into_iter()
                .map(|(name, value)| (name, Value::String(value)))
                .collect();
            let mut prometheus = if self.settings.use_types {
                metrics
            } else {
                Fields::from_iter([("metrics".to_owned(), Value::Object(metrics))])
            };
            prometheus.insert("labels".to_owned(), Value::Object(labels));
            Fields::from_iter([("prometheus".to_owned(), Value::Object(prometheus))])
        };
        groups.into_iter().map(event).collect()
    }

    fn with_common(&self, mut fields: Fields, target: &str, duration: u64) -> Fields {
        let instance = target
            .split_once("://")
            .map_or(target, |(_, rest)| rest.split('/').next().unwrap_or(rest));
        if let Some(labels) = fields
            .get_mut("prometheus")
            .and_then(|prometheus| prometheus.get_mut("labels"))
        {
            labels["instance"] = json!(instance);
            labels["job"] = json!("prometheus");
        }
        let period = u64::try_from(self.settings.period.as_millis()).unwrap_or(u64::MAX);
        fields.insert("metricset".to_owned(), json!({"name": "collector", "period": period}));
        fields.insert("service".to_owned(), json!({"address": target}));
        fields.insert("event".to_owned(), json!({"duration": duration}));
        fields
    }
}

#[cfg(test)]
mod tests;
