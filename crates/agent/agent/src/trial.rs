//! New settings beside the working ones: tried before they are taken, kept on probation, taken back when they fail.

use std::time::{Duration, Instant};

use outputs::Backoff;
use secret::Secret;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::connection::ConnectionSettings;
use crate::fleet_client::FleetClient;
use crate::state::AppliedPolicy;

/// One host's answer is waited for this long. Source: the original's connectivity test.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(15);
/// Check-ins that may fail under new settings before they are taken back.
const FAILURES_ALLOWED: u32 = 1;

/// Makes a client for `settings` and asks each host with the agent's key until one answers.
///
/// # Errors
/// One line for each host, or what is wrong with the settings or the files that they name.
pub(crate) async fn try_connection(
    settings: &ConnectionSettings,
    api_key: &Secret,
    version: &str,
) -> Result<FleetClient, String> {
    let client = FleetClient::new(settings, version).map_err(|error| error.to_string())?;
    let lines = |errors: Vec<crate::fleet_client::FleetError>| {
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    client.test(api_key, TRIAL_TIMEOUT).await.map_err(lines)?;
    Ok(client)
}

/// The settings that a new policy came in place of.
#[derive(Debug)]
pub(crate) struct Probation {
    pub(crate) client: FleetClient,
    pub(crate) policy: Option<AppliedPolicy>,
    pub(crate) failures: u32,
}

impl Probation {
    /// Counts a failed check-in; true when it is time to go back.
    pub(crate) fn failed(&mut self) -> bool {
        self.failures += 1;
        self.failures > FAILURES_ALLOWED
    }
}

/// A policy that was not taken. The server sends it again with each answer; it is tried again with growing waits.
#[derive(Debug)]
pub(crate) struct Refusal {
    hash: [u8; 32],
    pub(crate) message: String,
    backoff: Backoff,
    next_try: Instant,
}

impl Refusal {
    /// Remembers that `policy` was refused with `message`, keeping the pace of `before` if that was the same policy.
    pub(crate) fn of(policy: &Value, message: String, before: Option<Self>) -> Self {
        let hash = hash(policy);
        let mut backoff = match before {
            Some(before) if before.hash == hash => before.backoff,
            _ => Backoff::new(Duration::from_secs(8), Duration::from_mins(5)),
        };
        let next_try = Instant::now() + backoff.next_wait();
        Self {
            hash,
            message,
            backoff,
            next_try,
        }
    }

    /// Whether `policy` is the refused one and it is too early to try it again.
    pub(crate) fn covers(&self, policy: &Value) -> bool {
        self.next_try > Instant::now() && self.hash == hash(policy)
    }

    /// How long until the next try.
    pub(crate) fn wait(&self) -> Duration {
        self.next_try.saturating_duration_since(Instant::now())
    }
}

fn hash(policy: &Value) -> [u8; 32] {
    Sha256::digest(policy.to_string().as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refused_policy_is_not_tried_at_once_but_another_is() {
        let refusal = Refusal::of(&json!({"revision": 2}), "why".to_owned(), None);
        assert!(refusal.covers(&json!({"revision": 2})));
        assert!(!refusal.covers(&json!({"revision": 3})));
        assert!(refusal.wait() <= Duration::from_secs(8) && refusal.wait() > Duration::from_secs(3));
    }
}
