//! What is counted, and the page that shows it to Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tls::{CertificateRole, Reloader};
use transport::ListenerCounts;

use crate::server::FleetServer;

/// An endpoint and how its requests ended.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct RequestLabels {
    pub(crate) endpoint: &'static str,
    pub(crate) status: u16,
}

/// Why requests were refused.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct ErrorLabels {
    pub(crate) error: &'static str,
}

/// A kind of call to the store.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct StoreLabels {
    pub(crate) operation: &'static str,
}

/// How a kind of call to the store went.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct CallLabels {
    pub(crate) operation: &'static str,
}

/// How long calls took, by kind.
pub(crate) type CallTimes = Family<CallLabels, Histogram, fn() -> Histogram>;

/// What is shown beside this server's own numbers, by those who hold it.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// The listeners, each with a name.
    pub listeners: Vec<(String, ListenerCounts)>,
    /// The certificates in use.
    pub certificates: Reloader,
}

/// Everything that this server counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) errors: Family<ErrorLabels, Counter>,
    pub(crate) polls_held: Gauge,
    pub(crate) agents_known: Gauge,
    pub(crate) policies_known: Gauge,
    pub(crate) enrolments: Counter,
    pub(crate) policies_sent: Counter,
    pub(crate) actions_sent: Counter,
    pub(crate) acknowledgements: Counter,
    pub(crate) output_keys_made: Counter,
    pub(crate) checkins_written: Counter,
    pub(crate) store_failures: Family<StoreLabels, Counter>,
    pub(crate) flush_seconds: Histogram,
    pub(crate) store_seconds: CallTimes,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("fleet_server");
        macro_rules! register {
            ($metric:expr, $name:literal, $help:literal) => {{
                let metric = $metric;
                registry.register($name, $help, metric.clone());
                metric
            }};
        }
        let flush_seconds = Histogram::new(exponential_buckets(0.001, 4.0, 8));
        registry.register_with_unit(
            "flush",
            "Time to write the check-ins of one interval",
            Unit::Seconds,
            flush_seconds.clone(),
        );
        let call_times: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_25, 4.0, 9));
        let store_seconds = CallTimes::new_with_constructor(call_times);
        registry.register_with_unit(
            "store_call",
            "Time that calls to the store took, waits for changes not counted",
            Unit::Seconds,
            store_seconds.clone(),
        );
        Self {
            requests: register!(
                Family::default(),
                "requests",
                "Answered requests by endpoint and status"
            ),
            errors: register!(Family::default(), "errors", "Refused or failed requests by reason"),
            polls_held: register!(Gauge::default(), "polls_held", "Check-ins that wait for news now"),
            agents_known: register!(Gauge::default(), "agents_known", "Agents that checked in lately"),
            policies_known: register!(
                Gauge::default(),
                "policies_known",
                "Policies with at least one revision"
            ),
            enrolments: register!(Counter::default(), "enrolments", "Agents enrolled"),
            policies_sent: register!(Counter::default(), "policies_sent", "Policies handed to agents"),
            actions_sent: register!(Counter::default(), "actions_sent", "Actions handed to agents"),
            acknowledgements: register!(Counter::default(), "acknowledgements", "Events acknowledged by agents"),
            output_keys_made: register!(Counter::default(), "output_keys_made", "API keys made for outputs"),
            checkins_written: register!(
                Counter::default(),
                "checkins_written",
                "Agent documents updated from check-ins"
            ),
            store_failures: register!(
                Family::default(),
                "store_failures",
                "Calls that the store could not answer"
            ),
            flush_seconds,
            store_seconds,
            registry,
        }
    }

    pub(crate) fn store_failed(&self, operation: &'static str) {
        self.store_failures.get_or_create(&StoreLabels { operation }).inc();
    }

    /// The page: OpenMetrics text.
    fn render(&self, surroundings: &Registry) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, surroundings)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

impl Collector for Surroundings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut open = encoder.encode_descriptor("connections", "Open connections", None, MetricType::Gauge)?;
        for (listener, counts) in &self.listeners {
            let number = i64::try_from(counts.open()).unwrap_or(i64::MAX);
            ConstGauge::new(number).encode(open.encode_family(&[("listener", listener.as_str())])?)?;
        }
        let mut accepted =
            encoder.encode_descriptor("connections_accepted", "Connections taken", None, MetricType::Counter)?;
        for (listener, counts) in &self.listeners {
            ConstCounter::new(counts.accepted()).encode(accepted.encode_family(&[("listener", listener.as_str())])?)?;
        }
        self.encode_handshakes(&mut encoder)?;
        self.encode_certificates(&mut encoder)
    }
}

impl Surroundings {
    fn encode_handshakes(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut done =
            encoder.encode_descriptor("handshakes", "TLS handshakes that went well", None, MetricType::Counter)?;
        for (listener, counts) in &self.listeners {
            let (full, resumed) = counts.handshakes();
            for (kind, number) in [("full", full), ("resumed", resumed)] {
                let labels = [("listener", listener.as_str()), ("kind", kind)];
                ConstCounter::new(number).encode(done.encode_family(&labels)?)?;
            }
        }
        let help = "TLS handshakes that failed, by reason";
        let mut failed = encoder.encode_descriptor("handshake_failures", help, None, MetricType::Counter)?;
        for (listener, counts) in &self.listeners {
            for (reason, number) in counts.failed() {
                let labels = [("listener", listener.as_str()), ("reason", reason.as_str())];
                ConstCounter::new(number).encode(failed.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn encode_certificates(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "End of a certificate's validity, seconds since 1970";
        let mut expiry =
            encoder.encode_descriptor("certificate_not_after", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for status in self.certificates.statuses() {
            for certificate in &status.certificates {
                let role = match certificate.role {
                    CertificateRole::Own => "own",
                    CertificateRole::Authority => "authority",
                };
                let labels = [
                    ("configuration", status.name.as_str()),
                    ("role", role),
                    ("subject", certificate.subject.as_str()),
                    ("serial", certificate.serial.as_str()),
                ];
                ConstGauge::new(certificate.not_after.as_second()).encode(expiry.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// Counts one held poll as long as it lives.
#[derive(Debug)]
pub(crate) struct HeldCount(Gauge);

impl HeldCount {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for HeldCount {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// `/metrics`, to be served where agents cannot reach it.
pub(crate) fn router(server: Arc<FleetServer>, surroundings: Surroundings) -> Router {
    let mut registry = Registry::with_prefix("fleet_server");
    registry.register_collector(Box::new(surroundings));
    Router::new()
        .route("/metrics", get(show))
        .with_state((server, Arc::new(registry)))
}

async fn show(State((server, surroundings)): State<(Arc<FleetServer>, Arc<Registry>)>) -> Response {
    let known = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    server.metrics.agents_known.set(known(server.agents.len()));
    server.metrics.policies_known.set(known(server.policies.len()));
    match server.metrics.render(&surroundings) {
        Ok(text) => (
            [(
                CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
