//! `flotilla fleet-server`: a Fleet Server on an Elasticsearch, by the stock configuration file.
//!
//! The order is: read and check everything, bind, connect, serve. SIGHUP
//! looks at all certificate files at once; SIGINT and SIGTERM answer every held poll before the process ends.

mod arguments;
mod configuration;
mod environment;
mod join_line;

pub(crate) use arguments::FleetServerArguments;
pub(crate) use configuration::memory_mib;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use fleet_server::FleetServerSettings;
use serde_json::Value;
use tls::Reloader;
use tokio_util::sync::CancellationToken;

use crate::fleet_server_service::{Elasticsearch, Listening, Service};
use crate::printer;
use crate::up::signals;

/// Runs until SIGINT or SIGTERM.
pub(crate) fn run(arguments: &FleetServerArguments) -> Result<()> {
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let settings = configuration::read(arguments, &environment)?;
    log_to_stderr(&settings.logging);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(serve(arguments, settings))
}

async fn serve(arguments: &FleetServerArguments, settings: FleetServerSettings) -> Result<()> {
    let stop = CancellationToken::new();
    let hangup = signals::listen(stop.clone())?;
    let listen = &settings.listen;
    let listening = Listening::bind(&settings, &listen.host, listen.port, listen.ssl.as_ref()).await?;
    listening.warnings().iter().for_each(printer::warning);
    if !listening.is_encrypted() {
        printer::warning("no `server.ssl`: agents are served over plain HTTP; tokens and keys can be read on the way");
    }
    let reloader = Reloader::new();
    let elasticsearch = Elasticsearch::connect(&settings.output, &reloader).await?;
    let join_line = match &arguments.show_join {
        None => None,
        Some(url) => {
            let (policy, store) = (arguments.join_policy.as_deref(), elasticsearch.store());
            Some(join_line::of(url, policy, settings.listen.ssl.as_ref(), &*store).await?)
        }
    };
    let scheme = if listening.is_encrypted() { "https" } else { "http" };
    let address = listening.address();
    let service = Service::new(settings, &elasticsearch, vec![listening], reloader.clone())
        .await?
        .with_programs(arguments.programs.as_deref());
    printer::line(format!("Fleet Server listens on {scheme}://{address}"));
    if let Some(line) = join_line {
        printer::line(format!("A host that has nothing joins, as root, with:\n\n  {line}\n"));
    }
    tokio::select! {
        () = service.run(stop) => {}
        () = reload_on(&hangup, &reloader) => {}
    }
    Ok(())
}

async fn reload_on(hangup: &tokio::sync::Notify, reloader: &Reloader) {
    loop {
        hangup.notified().await;
        tracing::info!("looking at all certificate files");
        reloader.poke();
    }
}

/// `FLOTILLA_LOG` wins over `logging.level`.
pub(crate) fn log_to_stderr(logging: &Value) {
    let level = match logging.get("level").and_then(Value::as_str) {
        Some("warning") => "warn",
        Some("critical") => "error",
        Some(level @ ("trace" | "debug" | "info" | "warn" | "error")) => level,
        _ => "info",
    };
    // The TLS library warns of each client that sends an address as its server name.
    let filter = tracing_subscriber::EnvFilter::try_from_env("FLOTILLA_LOG").unwrap_or_else(|_| match level {
        "trace" | "debug" => tracing_subscriber::EnvFilter::new(level),
        _ => tracing_subscriber::EnvFilter::new(format!("{level},rustls=error")),
    });
    let _already_set = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .try_init();
}
