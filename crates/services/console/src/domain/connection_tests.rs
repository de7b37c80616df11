//! Connections tried from this process: what servers present, and whether a client with the given settings accepts it.
//!
//! The outcome of each is kept in memory, so that pages show what was presented without waiting for a handshake.

use std::sync::Arc;
use std::time::Duration;

use certs::CertificateSummary;
use http::HeaderMap;
use jiff::Timestamp;
use tls::{ClientTls, LoadOptions, SslSettings};
use tokio_util::sync::CancellationToken;
use transport::ProxySettings;
use transport::diagnose::{CheckRequest, Report, check};

use crate::Console;
use crate::domain::connections::{self, Connection};
use crate::domain::error::FleetError;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_mins(5);
/// The listeners of this process are up by then.
const FIRST_AFTER: Duration = Duration::from_secs(1);

/// What came of a test.
#[derive(Clone, Debug)]
pub struct Tested {
    /// When.
    pub at: Timestamp,
    /// How long it took.
    pub milliseconds: u64,
    /// What happened.
    pub report: Report,
}

/// The kept outcome for a connection; connections with the same server and settings share one.
pub fn outcome(console: &Console, connection: &Connection) -> Option<Tested> {
    let kept = console.connection_tests.lock().ok()?;
    kept.get(&key(connection)).cloned()
}

/// Every certificate that a server presented in the kept outcomes.
pub(crate) fn presented(console: &Console) -> Vec<CertificateSummary> {
    let Ok(kept) = console.connection_tests.lock() else {
        return Vec::new();
    };
    kept.values()
        .flat_map(|tested| tested.report.presented.iter().cloned())
        .collect()
}

/// Tries a connection now, and keeps the outcome.
pub async fn test(console: &Console, connection: &Connection) -> Option<Tested> {
    let url = connection.urls.first()?;
    let started = std::time::Instant::now();
    let report = report(console, connection, url).await;
    let tested = Tested {
        at: console.clock.now(),
        milliseconds: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        report,
    };
    if let Ok(mut kept) = console.connection_tests.lock() {
        kept.insert(key(connection), tested.clone());
    }
    Some(tested)
}

async fn report(console: &Console, connection: &Connection, url: &str) -> Report {
    let mut request = match CheckRequest::from_url(url, CONNECT_WITHIN) {
        Ok(request) => request,
        Err(explanation) => return explanation.into(),
    };
    request.proxy = connection.proxy.as_deref().and_then(proxy);
    let block = connection.ssl.clone();
    let options = LoadOptions {
        clock: Arc::clone(&console.clock),
        resumption: false,
        ..LoadOptions::named("connection test")
    };
    let load = move || SslSettings::from_value(&block).and_then(|settings| ClientTls::load(&settings, options));
    match tokio::task::spawn_blocking(load).await {
        Ok(Ok(client)) => check(&client, &request).await,
        Ok(Err(error)) => (&error).into(),
        Err(error) => tls::Explanation::new("internal", error.to_string()).into(),
    }
}

fn proxy(url: &str) -> Option<ProxySettings> {
    Some(ProxySettings {
        url: url.parse().ok()?,
        headers: HeaderMap::new(),
        tls: None,
        disable: false,
    })
}

fn key(connection: &Connection) -> String {
    let url = connection.urls.first().map(String::as_str).unwrap_or_default();
    format!(
        "{url} {} {}",
        connection.ssl,
        connection.proxy.as_deref().unwrap_or_default()
    )
}

/// Tries everything now and then, until `stop`.
pub(crate) async fn run(console: &Console, stop: CancellationToken) {
    let mut wait = FIRST_AFTER;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = EVERY;
        tokio::select! {
            () = stop.cancelled() => return,
            done = round(console) => if let Err(error) = done {
                tracing::warn!(%error, "connections could not be tested; the next round tries again");
            },
        }
    }
}

/// Tries every connection once, those that share an outcome together.
///
/// # Errors
/// The store cannot answer.
pub async fn round(console: &Console) -> Result<(), FleetError> {
    let mut seen = std::collections::BTreeSet::new();
    for connection in connections::all(console).await?.connections {
        if connection.is_encrypted() && seen.insert(key(&connection)) {
            test(console, &connection).await;
        }
    }
    Ok(())
}
