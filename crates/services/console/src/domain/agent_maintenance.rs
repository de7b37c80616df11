//! What happens to agents by itself: those that are silent for longer than their policy's `unenroll_timeout` are unenrolled, and
//! unenrolled ones are removed after a day when the settings say so.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::Console;
use crate::domain::actions::{self, Unenroll, Unfit};
use crate::domain::actor::Actor;
use crate::domain::agents::{self, Agent, Selection};
use crate::domain::error::FleetError;
use crate::domain::{agent_policies, settings};

const EVERY: Duration = Duration::from_mins(1);
const KEEP_UNENROLLED: SignedDuration = SignedDuration::from_hours(24);

/// Runs once a minute until `stop`.
pub(crate) async fn run(console: &Console, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if let Err(error) = round(console).await {
            tracing::warn!(error = %error, "agents could not be looked after; the next round tries again");
        }
    }
}

/// One round. Idempotent.
///
/// # Errors
/// The store cannot answer.
pub async fn round(console: &Console) -> Result<(), FleetError> {
    let actor = Actor::system(&console.access);
    let now = console.clock.now();
    for policy in agent_policies::list(console).await? {
        let Some(timeout) = policy.unenroll_timeout.filter(|seconds| *seconds > 0) else {
            continue;
        };
        let limit = SignedDuration::from_secs(timeout);
        let kuery = format!("policy_id:\"{}\"", policy.id);
        let candidates = agents::select(
            console,
            &Selection::Kuery {
                kuery,
                include_inactive: true,
                upgradeable: false,
            },
        )
        .await?;
        let silent: Vec<Agent> = candidates
            .into_iter()
            .filter(|agent| agent.document.active && is_silent(agent, now, limit))
            .collect();
        if !silent.is_empty() {
            tracing::info!(policy.id = %policy.id, agents = silent.len(), "unenrolling silent agents");
            actions::unenroll(
                console,
                &actor,
                &silent,
                Unenroll {
                    force: true,
                    revoke: true,
                },
                Unfit::Report,
            )
            .await?;
        }
    }
    delete_unenrolled(console, &actor, now).await
}

fn is_silent(agent: &Agent, now: Timestamp, limit: SignedDuration) -> bool {
    let last = agent
        .document
        .last_checkin
        .as_deref()
        .unwrap_or(&agent.document.enrolled_at);
    last.parse::<Timestamp>()
        .is_ok_and(|last| now.duration_since(last) > limit)
}

async fn delete_unenrolled(console: &Console, actor: &Actor, now: Timestamp) -> Result<(), FleetError> {
    let fields = settings::read(console).await?;
    let wanted = fields
        .get("delete_unenrolled_agents")
        .and_then(|setting| setting.get("enabled"))
        .is_some_and(|on| on == true);
    if !wanted {
        return Ok(());
    }
    let kuery = "active:false".to_owned();
    for agent in agents::select(
        console,
        &Selection::Kuery {
            kuery,
            include_inactive: true,
            upgradeable: false,
        },
    )
    .await?
    {
        let gone = agent
            .document
            .unenrolled_at
            .as_deref()
            .and_then(|time| time.parse::<Timestamp>().ok());
        if gone.is_some_and(|gone| now.duration_since(gone) > KEEP_UNENROLLED) {
            agents::delete(console, actor, &agent.id).await?;
        }
    }
    Ok(())
}
