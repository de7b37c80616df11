//! A bound socket with what it presents and its bounds.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use fleet_server::FleetServerSettings;
use serde_json::Value;
use tls::{LoadOptions, Reloader, ServerTls, SslSettings};
use tokio_util::sync::CancellationToken;
use transport::{Listener, ListenerCounts, ServeOptions, Stopped};

use crate::printer::Hint;

/// A socket that is ours and does not serve yet.
#[derive(Debug)]
pub(crate) struct Listening {
    listener: Listener,
    tls: Option<Arc<ServerTls>>,
    options: ServeOptions,
}

impl Listening {
    /// Loads the certificates of `ssl`, then binds. Without `ssl`, or with `enabled: false` in it: plain HTTP.
    pub(crate) async fn bind(
        settings: &FleetServerSettings,
        host: &str,
        port: u16,
        ssl: Option<&Value>,
    ) -> Result<Self> {
        let tls = ssl.map(load).transpose()?.flatten();
        let address = resolve(host, port).await?;
        Ok(Self {
            listener: Listener::bind(address)?,
            tls,
            options: options(settings),
        })
    }

    /// Where it is, with the port that the kernel chose for port 0.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// What it counts.
    pub(crate) fn counts(&self) -> ListenerCounts {
        self.options.counts.clone()
    }

    /// Whether what goes over it is encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// What should be said about its certificates.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.tls.as_ref().map(|tls| tls.warnings()).unwrap_or_default()
    }

    pub(crate) fn watch(&self, reloader: &Reloader) {
        if let Some(tls) = &self.tls {
            reloader.watch(tls);
        }
    }

    pub(crate) async fn serve(self, router: Router, stop: CancellationToken) {
        let address = self.address();
        let stopped = transport::serve(self.listener, self.tls, router, self.options, stop).await;
        if let Stopped::GraceExceeded { still_running } = stopped {
            tracing::warn!(%address, still_running, "connections were cut: they took longer than the time to stop");
        }
    }
}

fn load(ssl: &Value) -> Result<Option<Arc<ServerTls>>> {
    let settings = SslSettings::from_value(ssl).context("cannot use `server.ssl`")?;
    if !settings.enabled {
        return Ok(None);
    }
    let tls = ServerTls::load(&settings, LoadOptions::named("server.ssl"))
        .map_err(|error| match error.hint() {
            Some(hint) => Hint::error(error.to_string(), hint),
            None => error.into(),
        })
        .context("cannot load the certificates of the Fleet Server (`server.ssl`)")?;
    Ok(Some(tls))
}

async fn resolve(host: &str, port: u16) -> Result<SocketAddr> {
    let mut addresses = transport::addresses_of(host, port)
        .await
        .with_context(|| format!("cannot listen on `{host}`: it is no address of this host"))?;
    // A name with both kinds is reached by every client over IPv4.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses
        .first()
        .copied()
        .with_context(|| format!("cannot listen on `{host}`: it has no address"))
}

fn options(settings: &FleetServerSettings) -> ServeOptions {
    let (defaults, timeouts, limits) = (ServeOptions::default(), &settings.timeouts, &settings.limits);
    ServeOptions {
        header_timeout: timeouts.read_header,
        idle_timeout: timeouts.idle,
        grace: timeouts.drain,
        // 0 means without a limit of its own.
        max_connections: if limits.max_connections == 0 {
            defaults.max_connections
        } else {
            limits.max_connections
        },
        max_header_bytes: limits.max_header_bytes.max(8 << 10),
        ..defaults
    }
}
