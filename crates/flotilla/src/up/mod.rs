//! `flotilla up`: everything on one host.
//!
//! The order is: look (nothing is made until the folder is locked and the ports are ours), make what is missing, serve,
//! enrol the local host over the real protocol, say that it is ready, wait for a signal, stop in the reverse order.

mod arguments;
mod authorities;
mod installation;
mod local_agent;
mod services;
pub(crate) mod signals;
mod summary;

pub(crate) use arguments::UpArguments;

use std::time::Duration;

use anyhow::{Context, Result};
use secret::Secret;
use tokio_util::sync::CancellationToken;

use installation::Installation;
use local_agent::LocalAgent;
use services::Services;
use summary::Summary;

use crate::elastic_agent::log_output;

/// How long the agent may take to ship what it has when the process is asked to stop.
const AGENT_GRACE: Duration = Duration::from_secs(5);

/// Runs until SIGINT or SIGTERM.
pub(crate) fn run(arguments: UpArguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(up(arguments))
}

async fn up(arguments: UpArguments) -> Result<()> {
    let stop = CancellationToken::new();
    let hangup = signals::listen(stop.clone())?;
    let installation = Installation::open(&arguments)?;
    let set_log_level = log_output::of_process(local_agent::paths(&installation).log_files());
    let services = Services::start(&installation, hangup).await?;
    let summary = Summary::new(&installation, &services)?;
    let agent = if arguments.no_agent {
        None
    } else {
        match LocalAgent::start(&installation, &services, set_log_level).await {
            Ok(agent) => Some(agent),
            Err(error) => {
                services.stop().await;
                return Err(error.context("cannot enrol this host as an agent"));
            }
        }
    };
    tokio::select! {
        () = services.ready() => summary.print(arguments.json),
        () = stop.cancelled() => {}
    }
    stop.cancelled().await;
    if let Some(agent) = agent {
        agent.stop(AGENT_GRACE).await;
    }
    services.stop().await;
    Ok(())
}

/// 32 random characters of the URL-safe base64 alphabet: 192 bits.
fn random_secret() -> Secret {
    use base64::Engine;
    let bytes: [u8; 24] = rand::random();
    Secret::from(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}
