//! SIGINT and SIGTERM stop, SIGHUP reloads certificates.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Cancels `stop` at the first SIGINT or SIGTERM; a second one ends the process at once. The returned value is notified
/// at each SIGHUP.
pub(crate) fn listen(stop: CancellationToken) -> Result<Arc<Notify>> {
    let listen_for = |kind| signal(kind).context("cannot listen for signals");
    let (mut interrupt, mut terminate) = (
        listen_for(SignalKind::interrupt())?,
        listen_for(SignalKind::terminate())?,
    );
    let mut hangup = listen_for(SignalKind::hangup())?;
    let hung_up = Arc::new(Notify::new());
    let notify = Arc::clone(&hung_up);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => stop_or_exit(&stop),
                _ = terminate.recv() => stop_or_exit(&stop),
                _ = hangup.recv() => {
                    tls::reload::poke_all();
                    notify.notify_waiters();
                }
            }
        }
    });
    Ok(hung_up)
}

fn stop_or_exit(stop: &CancellationToken) {
    if stop.is_cancelled() {
        // 130: ended by an interrupt, as shells say it.
        std::process::exit(130);
    }
    stop.cancel();
}
