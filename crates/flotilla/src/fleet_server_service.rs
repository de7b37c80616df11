//! A Fleet Server whose documents are in somebody else's Elasticsearch: what `flotilla fleet-server` and the Fleet Server
//! under an agent share.
//!
//! [`Service::start`] binds before it connects, so that a port in use is told at once; [`Service::run`] serves until it is
//! stopped. Where the settings come from is the business of the two callers.

mod elasticsearch;
pub(crate) mod enrollment_token;
mod listener;
mod remote_outputs;

pub(crate) use elasticsearch::{Elasticsearch, connect as connect_store, written_host};
pub(crate) use listener::Listening;
pub(crate) use remote_outputs::RemoteOutputs;

use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use camino::Utf8Path;
use fleet_server::{FleetServer, FleetServerSettings, Surroundings};
use serde_json::Value;
use tls::Reloader;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bare_host;

/// A Fleet Server with its sockets, not serving yet.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) server: Arc<FleetServer>,
    listeners: Vec<Listening>,
    metrics: Option<Listening>,
    /// What bare hosts get.
    programs: Router,
    reloader: Reloader,
}

impl Service {
    /// Puts a Fleet Server on `elasticsearch`, behind `listeners` (and `http.*` of the settings, for metrics).
    pub(crate) async fn new(
        settings: FleetServerSettings,
        elasticsearch: &Elasticsearch,
        listeners: Vec<Listening>,
        reloader: Reloader,
    ) -> Result<Self> {
        let metrics = metrics_listener(&settings).await?;
        for listener in &listeners {
            listener.watch(&reloader);
        }
        let server = FleetServer::with_remote_keys(
            settings,
            elasticsearch.store(),
            elasticsearch.keys(),
            Some(RemoteOutputs::new(reloader.clone())),
            clock::system(),
        );
        Ok(Self {
            server,
            listeners,
            metrics,
            programs: bare_host::router(None),
            reloader,
        })
    }

    /// Hands out the programs of `folder` as well.
    pub(crate) fn with_programs(self, folder: Option<&Utf8Path>) -> Self {
        Self {
            programs: bare_host::router(folder),
            ..self
        }
    }

    /// Serves until `stop`; then answers what is held, writes what is left and returns.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let surroundings = Surroundings {
            listeners: self
                .listeners
                .iter()
                .map(|listener| (listener.address().to_string(), listener.counts()))
                .collect(),
            certificates: self.reloader.clone(),
        };
        for listener in self.listeners {
            let mut router = self.server.router();
            // The script fetches over https alone.
            if listener.is_encrypted() {
                router = router.merge(self.programs.clone());
            }
            tasks.spawn(listener.serve(router, stop.child_token()));
        }
        if let Some(metrics) = self.metrics {
            tasks.spawn(metrics.serve(self.server.metrics_router(surroundings), stop.child_token()));
        }
        let (reloader, reload_until) = (self.reloader, stop.child_token());
        tasks.spawn(async move { reloader.run(reload_until).await });
        tasks.spawn(self.server.run(stop));
        tasks.close();
        tasks.wait().await;
    }
}

/// `http.enabled`, `http.host`, `http.port`: off, localhost and 5066 unless said. Source: the stock configuration file.
async fn metrics_listener(settings: &FleetServerSettings) -> Result<Option<Listening>> {
    let http = &settings.http;
    if http.get("enabled").and_then(Value::as_bool) != Some(true) {
        return Ok(None);
    }
    let host = http.get("host").and_then(Value::as_str).unwrap_or("localhost");
    let port = match http.get("port") {
        None => 5066,
        Some(port) => port
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .context("`http.port` must be a port number")?,
    };
    let listening = Listening::bind(settings, host, port, None)
        .await
        .context("cannot listen for metrics (`http.host`, `http.port`)")?;
    Ok(Some(listening))
}
