//! The Fleet Server under an agent: fills the seam [`agent::FleetServerComponent`].
//!
//! A unit is the policy's input and output with what the enrolment said laid over and under them; here it becomes the
//! same settings that `flotilla fleet-server` reads, and the same service runs. Elasticsearch being away is told through
//! the unit's health and tried again; the agent goes on meanwhile.

mod unit;

pub(crate) use unit::{internal_ssl, settings_from};

use std::time::Duration;

use agent::{FleetServerComponent, FleetServerUnit};
use anyhow::Result;
use async_trait::async_trait;
use event::{Reporter, UnitState};
use fleet_server::{FleetServer, FleetServerSettings};
use protocol::ServerStatus;
use serde_json::Value;
use tls::Reloader;
use tokio_util::sync::CancellationToken;

use crate::fleet_server_service::{Elasticsearch, Listening, Service};

/// Between two attempts to start: the first wait, which doubles, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How often the server's health is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Where the agent itself reaches its server.
pub(crate) const INTERNAL_HOST: &str = "127.0.0.1";

/// A Fleet Server that an agent runs.
#[derive(Debug)]
pub(crate) struct UnderAgent;

#[async_trait]
impl FleetServerComponent for UnderAgent {
    async fn run(&self, unit: FleetServerUnit, reporter: Reporter, stop: CancellationToken) {
        let mut wait = FIRST_WAIT;
        loop {
            let started = tokio::select! {
                started = start(&unit) => started,
                () = stop.cancelled() => return,
            };
            match started {
                Ok(service) => return serve(service, &reporter, stop).await,
                Err(error) => {
                    tracing::warn!(error = %format!("{error:#}"), "the Fleet Server cannot start; trying again");
                    reporter.report(UnitState::Failed, format!("{error:#}"));
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(LONGEST_WAIT),
            }
        }
    }
}

async fn start(unit: &FleetServerUnit) -> Result<Service> {
    let reloader = Reloader::new();
    let (settings, elasticsearch) = connect(unit, &reloader).await?;
    let listen = &settings.listen;
    let public = Listening::bind(&settings, &listen.host, listen.port, listen.ssl.as_ref()).await?;
    let ssl = listen.ssl.as_ref().map(internal_ssl);
    let internal = Listening::bind(&settings, INTERNAL_HOST, listen.internal_port, ssl.as_ref()).await?;
    tracing::info!(address = %public.address(), internal = %internal.address(), "the Fleet Server listens");
    Service::new(settings, &elasticsearch, vec![public, internal], reloader).await
}

/// The policy's output, completed from the enrolment; when that does not work, the enrolment's alone.
async fn connect(unit: &FleetServerUnit, reloader: &Reloader) -> Result<(FleetServerSettings, Elasticsearch)> {
    let bootstrap = unit.output.get("bootstrap").cloned().unwrap_or_default();
    let completed = unit::completed_output(&unit.output, &bootstrap);
    if completed != bootstrap {
        match try_output(unit, &completed, reloader).await {
            Ok(connected) => return Ok(connected),
            Err(error) => tracing::warn!(
                error = %format!("{error:#}"),
                "Elasticsearch is not reached as the policy says; going by the enrolment"
            ),
        }
    }
    try_output(unit, &bootstrap, reloader).await
}

async fn try_output(
    unit: &FleetServerUnit,
    output: &Value,
    reloader: &Reloader,
) -> Result<(FleetServerSettings, Elasticsearch)> {
    let settings = settings_from(&unit.input, output, &unit.version)?;
    let elasticsearch = Elasticsearch::connect(&settings.output, reloader).await?;
    Ok((settings, elasticsearch))
}

async fn serve(service: Service, reporter: &Reporter, stop: CancellationToken) {
    let server = service.server.clone();
    tokio::select! {
        () = service.run(stop) => {}
        () = tell_health(&server, reporter) => {}
    }
}

async fn tell_health(server: &FleetServer, reporter: &Reporter) {
    loop {
        let (state, message) = match server.status() {
            ServerStatus::Healthy => (UnitState::Healthy, "Running"),
            ServerStatus::Degraded => (UnitState::Degraded, "Running, but Elasticsearch does not answer"),
            ServerStatus::Stopping => (UnitState::Stopping, "Stopping"),
            _ => (UnitState::Starting, "Waiting for policies"),
        };
        let current = reporter.current();
        if (current.state, current.message.as_str()) != (state, message) {
            reporter.report(state, message);
        }
        tokio::time::sleep(LOOK).await;
    }
}
