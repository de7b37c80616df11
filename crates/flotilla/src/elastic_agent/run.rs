//! `elastic-agent run` and `restart`.

use std::sync::{Arc, Mutex};

use agent::control::{Client, Command};
use agent::{Daemon, DaemonOptions};
use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::arguments::CommonArguments;
use super::{install, log_output, upgrade};
use crate::fleet_server_component::UnderAgent;
use crate::printer;

pub(super) fn run(common: &CommonArguments) -> Result<i32> {
    let set_log_level = log_output::of_daemon(common);
    let options = DaemonOptions {
        paths: common.paths(),
        config_file: common.config.clone(),
        clock: clock::system(),
        build: super::build(),
        set_log_level: Some(set_log_level),
        console: Some(Arc::new(Mutex::new(std::io::stdout()))),
        environment: std::env::vars().collect(),
    };
    let ended = super::block_on(async {
        let stop = CancellationToken::new();
        stop_at_signals(&stop)?;
        upgrade::resume_watchdog(&options.paths);
        install::enroll_delayed(common).await?;
        tell_service_manager(&[sd_notify::NotifyState::Ready]);
        let result = Daemon::run_with_fleet_server(options, Some(Arc::new(UnderAgent)), stop).await;
        tell_service_manager(&[sd_notify::NotifyState::Stopping]);
        if result? == agent::DaemonEnd::Replaced {
            return Ok(None);
        }
        Ok(Some(0))
    })?;
    // Outside the runtime, so that nothing of it is left in the program that takes over.
    match ended {
        Some(status) => Ok(status),
        None => Err(upgrade::hand_over(&common.paths())),
    }
}

pub(super) fn restart(common: &CommonArguments) -> Result<i32> {
    super::block_on(async {
        Client::new(common.paths().socket()).ask(&Command::Restart).await?;
        printer::line("The agent starts over.");
        Ok(0)
    })
}

/// The first SIGINT or SIGTERM stops, a second one ends the process at once.
pub(super) fn stop_at_signals(stop: &CancellationToken) -> Result<()> {
    let listen_for = |kind| signal(kind).context("cannot listen for signals");
    let (mut interrupt, mut terminate) = (
        listen_for(SignalKind::interrupt())?,
        listen_for(SignalKind::terminate())?,
    );
    let mut hangup = listen_for(SignalKind::hangup())?;
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hangup.recv() => {
                tls::reload::poke_all();
                continue
            } }
            if stop.is_cancelled() {
                // 130: ended by an interrupt, as shells say it.
                std::process::exit(130);
            }
            stop.cancel();
        }
    });
    Ok(())
}

fn tell_service_manager(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(error = %error, "no service manager to tell");
    }
}
