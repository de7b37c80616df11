//! What is counted, and the page that shows it to Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

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
            registry,
        }
    }

    pub(crate) fn store_failed(&self, operation: &'static str) {
        self.store_failures.get_or_create(&StoreLabels { operation }).inc();
    }

    /// The page: OpenMetrics text.
    fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
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
pub(crate) fn router(server: Arc<FleetServer>) -> Router {
    Router::new().route("/metrics", get(show)).with_state(server)
}

async fn show(State(server): State<Arc<FleetServer>>) -> Response {
    let known = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    server.metrics.agents_known.set(known(server.agents.len()));
    server.metrics.policies_known.set(known(server.policies.len()));
    match server.metrics.render() {
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
