//! `agent.monitoring.http`: health and counters over plain HTTP on this host, for whoever watches it without Fleet.
//!
//! `/liveness` and `/readiness` answer from what was last published; `/stats` (JSON) and `/metrics` (Prometheus text) ask
//! the daemon. Nothing can be changed over it, and nothing secret is in it. It is off unless a policy or the local file
//! switches it on. Source of paths and defaults: agent policy reference, `agent.monitoring.http`.

mod prometheus;

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use transport::{Listener, ServeOptions};

use crate::control::{Asked, Command};
use crate::status::{Health, StatusReport};

const HOST: &str = "localhost";
const PORT: u16 = 6791;
/// The daemon answers between two steps; one that does not is hung.
const PATIENCE: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(1);

/// Where it listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    host: String,
    port: u16,
}

impl Place {
    /// Of a policy or a local file; `None`: it is off.
    pub(crate) fn of(policy: &Value) -> Option<Self> {
        let block = policy.pointer("/agent/monitoring/http")?;
        let on = block.get("enabled").and_then(Value::as_bool).unwrap_or(false);
        let port = block.get("port").and_then(Value::as_u64);
        on.then(|| Self {
            host: block.get("host").and_then(Value::as_str).unwrap_or(HOST).to_owned(),
            port: port.and_then(|port| port.try_into().ok()).unwrap_or(PORT),
        })
    }
}

/// What requests are answered from.
#[derive(Clone, Debug)]
struct Sources {
    daemon: mpsc::Sender<Asked>,
    status: watch::Receiver<StatusReport>,
}

/// Serves where `wanted` says, and moves when that changes, until `stop`.
pub(crate) async fn run(
    mut wanted: watch::Receiver<Option<Place>>,
    daemon: mpsc::Sender<Asked>,
    status: watch::Receiver<StatusReport>,
    stop: CancellationToken,
) {
    let router = router(Sources { daemon, status });
    loop {
        let place = wanted.borrow_and_update().clone();
        let here = stop.child_token();
        let serving = async {
            match place {
                Some(place) => serve(&place, router.clone(), here.clone()).await,
                None => here.cancelled().await,
            }
        };
        let moved = async {
            if wanted.changed().await.is_err() {
                stop.cancelled().await;
            }
            here.cancel();
        };
        tokio::join!(serving, async {
            tokio::select! { () = moved => {}, () = here.cancelled() => {} }
        });
        if stop.is_cancelled() {
            return;
        }
    }
}

/// Until `stop`, also when it cannot listen: that is told, and the agent does without.
async fn serve(place: &Place, router: Router, stop: CancellationToken) {
    let listener = match listen(place).await {
        Ok(listener) => listener,
        Err(reason) => {
            tracing::warn!(
                host = place.host,
                port = place.port,
                reason,
                "no local endpoint (agent.monitoring.http)"
            );
            return stop.cancelled().await;
        }
    };
    tracing::info!(address = %listener.local_addr(), "local endpoint for health and metrics");
    let options = ServeOptions {
        grace: GRACE,
        ..ServeOptions::default()
    };
    let _stopped = transport::serve(listener, None, router, options, stop).await;
}

async fn listen(place: &Place) -> Result<Listener, String> {
    let found = transport::addresses_of(&place.host, place.port).await;
    let mut addresses = found.map_err(|error| error.to_string())?;
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let address = addresses.first().ok_or("the host has no address")?;
    Listener::bind(*address).map_err(|error| error.to_string())
}

fn router(sources: Sources) -> Router {
    Router::new()
        .route("/liveness", get(liveness))
        .route("/readiness", get(readiness))
        .route("/stats", get(stats))
        .route("/metrics", get(metrics))
        .with_state(sources)
}

#[derive(Deserialize)]
struct Liveness {
    /// From which state on it counts as dead.
    failon: Option<String>,
}

/// 200 while alive; 500 from the state that `failon` names on.
async fn liveness(State(sources): State<Sources>, Query(query): Query<Liveness>) -> Response {
    let report = sources.status.borrow().clone();
    let worst = [report.state, report.fleet_state];
    let dead = match query.failon.as_deref() {
        None | Some("" | "heartbeat") => false,
        Some("failed") => worst.contains(&Health::Failed),
        Some("degraded") => worst.contains(&Health::Failed) || worst.contains(&Health::Degraded),
        Some(_) => return (StatusCode::BAD_REQUEST, "failon is degraded, failed or heartbeat\n").into_response(),
    };
    let status = if dead {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::OK
    };
    let body = json!({
        "id": report.info.id, "state": report.state.as_str(), "message": report.message,
        "fleet_state": report.fleet_state.as_str(), "fleet_message": report.fleet_message,
    });
    (status, Json(body)).into_response()
}

/// 200 once the agent runs its policy, else 503.
async fn readiness(State(sources): State<Sources>) -> StatusCode {
    match sources.status.borrow().state {
        Health::Starting | Health::Configuring => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    }
}

async fn stats(State(sources): State<Sources>) -> Response {
    match sources.ask().await {
        Some(facts) => Json(facts).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn metrics(State(sources): State<Sources>) -> Response {
    let Some(facts) = sources.ask().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let content_type = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, prometheus::text(&facts)).into_response()
}

impl Sources {
    async fn ask(&self) -> Option<Value> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Stats;
        let exchange = async {
            self.daemon.send(Asked { command, answer }).await.ok()?;
            answered.await.ok()?.ok()
        };
        tokio::time::timeout(PATIENCE, exchange).await.ok()?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_off_unless_it_is_switched_on() {
        let of = |http: Value| Place::of(&json!({"agent": {"monitoring": {"http": http}}}));
        assert_eq!(Place::of(&json!({})), None);
        assert_eq!(of(json!({"port": 1})), None);
        let place = |host: &str, port: u16| {
            Some(Place {
                host: host.to_owned(),
                port,
            })
        };
        assert_eq!(of(json!({"enabled": true})), place("localhost", 6791));
        assert_eq!(of(json!({"enabled": true, "host": "::1", "port": 0})), place("::1", 0));
    }
}
