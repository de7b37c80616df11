//! Writes what check-ins changed: one bulk each second, whatever the number of agents.
//!
//! An agent that stays connected is written again from time to time, so that its `last_checkin` stays young: each
//! `checkin_timestamp`, but no more than a hundred agents a second, and at least every two minutes. Whoever reads the
//! documents calls an agent offline after five minutes of silence; so a store that is away for a minute, or a restart,
//! makes nobody look offline.

use std::sync::Arc;
use std::time::Duration;

use protocol::indices;
use store::{Operation, Outcome, Refresh, RejectionKind};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::registry::{AgentEntry, PendingCheckin};
use crate::server::FleetServer;

/// Renewals for each second.
const RENEWALS: u32 = 100;
/// The longest time between renewals of one agent.
const LONGEST_RENEWAL: Duration = Duration::from_mins(2);
/// Documents in one bulk.
const BATCH: usize = 5000;
/// Agents that are neither connected nor changed are forgotten after this long.
const FORGET_AFTER: Duration = Duration::from_mins(10);

/// One agent's write.
struct Change {
    entry: Arc<AgentEntry>,
    pending: Box<PendingCheckin>,
}

/// Writes until `stop`.
pub(crate) async fn write_checkins(server: Arc<FleetServer>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(server.settings.timeouts.checkin_flush.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if stop.run_until_cancelled(ticks.tick()).await.is_none() {
            return;
        }
        write_now(&server).await;
        server.keys.tidy();
    }
}

/// Writes everything that is pending or due.
pub(crate) async fn write_now(server: &FleetServer) {
    let mut changes = collect(server);
    while !changes.is_empty() {
        let rest = changes.split_off(changes.len().min(BATCH));
        if !write_batch(server, changes).await {
            give_back(rest);
            return;
        }
        changes = rest;
    }
}

/// Takes what is to be written out of the registry, and forgets agents that are long gone.
fn collect(server: &FleetServer) -> Vec<Change> {
    let now = Instant::now();
    let present = server.clock.now();
    let renewal = renewal(server);
    let mut changes = Vec::new();
    server.agents.retain(|entry| {
        let mut state = entry.state();
        if let Some(pending) = state.take_changes() {
            changes.push(Change {
                entry: Arc::clone(entry),
                pending,
            });
        } else if state.is_due(now, renewal) {
            let pending = Box::new(PendingCheckin {
                last_checkin: Some(present),
                ..PendingCheckin::default()
            });
            changes.push(Change {
                entry: Arc::clone(entry),
                pending,
            });
        } else if !state.is_held && now.duration_since(state.last_contact) > FORGET_AFTER {
            return false;
        }
        true
    });
    changes
}

/// How long after its last write a connected agent is written again.
pub(crate) fn renewal(server: &FleetServer) -> Duration {
    let connected = u32::try_from(server.connected_agents()).unwrap_or(u32::MAX);
    let paced = Duration::from_secs(u64::from(connected / RENEWALS));
    let shortest = server.settings.timeouts.checkin_timestamp;
    paced.clamp(shortest, LONGEST_RENEWAL.max(shortest))
}

/// Writes; `false` when the store cannot, and then the changes are where they were.
async fn write_batch(server: &FleetServer, changes: Vec<Change>) -> bool {
    let now = server.now_text();
    let operation = |change: &Change| {
        change
            .pending
            .operation(indices::AGENTS, change.entry.id.as_str(), &now)
    };
    let operations: Vec<Operation> = changes.iter().map(operation).collect();
    let started = Instant::now();
    match server.store.bulk(operations, Refresh::Soon).await {
        Ok(outcomes) => {
            server.note_store(true);
            server.metrics.flush_seconds.observe(started.elapsed().as_secs_f64());
            settle(server, changes, outcomes);
            true
        }
        Err(error) => {
            server.note_store(false);
            server.metrics.store_failed("write_checkins");
            tracing::warn!(error = %error, agents = changes.len(), "check-ins could not be written; they are kept");
            give_back(changes);
            false
        }
    }
}

fn settle(server: &FleetServer, changes: Vec<Change>, outcomes: Vec<Outcome>) {
    let now = Instant::now();
    let mut written = 0;
    for (change, outcome) in changes.into_iter().zip(outcomes) {
        match outcome {
            Outcome::Done(done) => {
                written += 1;
                let mut state = change.entry.state();
                state.last_flush = Some(now);
                state.wrote(&done, |record| record.apply(&change.pending));
            }
            Outcome::Rejected(rejection) if rejection.kind == RejectionKind::DocumentMissing => {
                tracing::debug!(agent.id = %change.entry.id, "a deleted agent is not written");
                change.entry.state().last_flush = Some(now);
            }
            Outcome::Rejected(rejection)
                if matches!(rejection.kind, RejectionKind::VersionConflict | RejectionKind::TooBusy) =>
            {
                give_back(vec![change]);
            }
            Outcome::Rejected(rejection) => {
                tracing::error!(agent.id = %change.entry.id, error = %rejection, "a check-in was refused by the store");
                change.entry.state().last_flush = Some(now);
            }
        }
    }
    server.metrics.checkins_written.inc_by(written);
}

fn give_back(changes: Vec<Change>) {
    for Change { entry, pending } in changes {
        entry.give_back(pending);
    }
}
