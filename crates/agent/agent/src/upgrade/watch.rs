//! The watchdog over a new version on probation.

use std::io;
use std::time::{Duration, Instant};

use fs_err as fs;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Marker, UpgradeError, homes};
use crate::control::{Client, Command};
use crate::paths::Paths;
use crate::status::{Health, StatusReport};

const LOCK: &str = "watcher.lock";
/// Looks without an answer before it is gone back. Source: the original's watcher.
const MOST_MISSES: u32 = 4;
/// Changes of the process before it is gone back.
const MOST_RESTARTS: u32 = 2;

/// How long the probation is, and how often it is looked.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct WatchTimes {
    /// `agent.upgrade.watcher.grace_period`.
    pub grace: Duration,
    /// `agent.upgrade.watcher.error_check.interval`.
    pub interval: Duration,
}

impl Default for WatchTimes {
    fn default() -> Self {
        Self {
            grace: Duration::from_mins(11),
            interval: Duration::from_secs(30),
        }
    }
}

impl WatchTimes {
    /// From a policy or configuration.
    pub fn of_policy(policy: &Value) -> Self {
        Self::default().under(policy)
    }

    /// What a policy or configuration says, and these times where it says nothing.
    pub(crate) fn under(self, policy: &Value) -> Self {
        let duration = |pointer: &str| settings::parse_duration(policy.pointer(pointer)?.as_str()?);
        Self {
            grace: duration("/agent/upgrade/watcher/grace_period").unwrap_or(self.grace),
            interval: duration("/agent/upgrade/watcher/error_check/interval").unwrap_or(self.interval),
        }
    }
}

/// How a probation ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// There was nothing to watch.
    Nothing,
    /// The new version stays.
    Kept,
    /// It was gone back, for this reason.
    RolledBack(String),
}

/// Watches until the probation is over. `restart` starts the service anew when the agent itself cannot be asked to.
/// One watchdog an installation: another one that comes finds nothing to do.
///
/// # Errors
/// The marker cannot be read when it starts, or the link cannot be turned back.
pub async fn watch(paths: &Paths, restart: impl Fn()) -> Result<Outcome, UpgradeError> {
    let Some(_lock) = lock(paths)? else {
        return Ok(Outcome::Nothing);
    };
    let Some(marker) = Marker::on_probation(paths)? else {
        return Ok(Outcome::Nothing);
    };
    let times = marker.times;
    let started = Instant::now();
    let mut judge = Judge {
        managed: marker.managed,
        ..Judge::default()
    };
    while started.elapsed() < times.grace {
        tokio::time::sleep(times.interval.min(times.grace)).await;
        match Marker::read(paths) {
            Ok(None) => return Ok(Outcome::Nothing),
            Ok(Some(now)) => {
                if let Some(reason) = now.rolled_back {
                    return Ok(Outcome::RolledBack(reason));
                }
            }
            Err(error) => tracing::warn!(%error, "watching on with what the marker said before"),
        }
        let seen = Client::new(paths.socket()).status().await.ok();
        if let Err(reason) = judge.look(seen.as_ref()) {
            return back(paths, marker, reason, &restart).await;
        }
    }
    if let Err(reason) = judge.finish() {
        return back(paths, marker, reason, &restart).await;
    }
    Marker::remove(paths)?;
    homes::remove_others(&paths.data(), &[&marker.home, &marker.previous_home]);
    Ok(Outcome::Kept)
}

async fn back(paths: &Paths, marker: Marker, reason: String, restart: &impl Fn()) -> Result<Outcome, UpgradeError> {
    tracing::error!(reason, "the new version is taken back");
    let previous = marker.previous_home.clone();
    marker.roll_back(paths, &reason)?;
    if Client::new(paths.socket()).ask(&Command::Replace).await.is_err() {
        restart();
    }
    homes::remove_others(&paths.data(), &[&previous]);
    Ok(Outcome::RolledBack(reason))
}

/// The watchdog's lock; `None` when another one has it. It goes with the process, however that ends.
fn lock(paths: &Paths) -> io::Result<Option<fs::File>> {
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(paths.data().join(LOCK))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Judge {
    misses: u32,
    restarts: u32,
    failed: u32,
    process: Option<u32>,
    managed: bool,
    was_connected: bool,
}

impl Judge {
    fn look(&mut self, seen: Option<&StatusReport>) -> Result<(), String> {
        let Some(report) = seen else {
            self.misses += 1;
            return if self.misses > MOST_MISSES {
                Err("the new version does not answer".to_owned())
            } else {
                Ok(())
            };
        };
        self.misses = 0;
        if self
            .process
            .replace(report.info.pid)
            .is_some_and(|pid| pid != report.info.pid)
        {
            self.restarts += 1;
        }
        if self.restarts > MOST_RESTARTS {
            return Err("the new version keeps ending".to_owned());
        }
        self.managed |= report.info.is_managed;
        self.was_connected |= report.fleet_state == Health::Healthy;
        self.failed = if report.state == Health::Failed {
            self.failed + 1
        } else {
            0
        };
        if self.failed > 1 {
            return Err(format!("the new version fails: {}", report.message));
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), String> {
        if self.process.is_none() {
            return Err("the new version never answered".to_owned());
        }
        if self.managed && !self.was_connected {
            return Err("the new version did not check in".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(pid: u32, state: Health, fleet: Health) -> StatusReport {
        let mut report = StatusReport {
            state,
            fleet_state: fleet,
            ..StatusReport::default()
        };
        report.info.pid = pid;
        report.info.is_managed = true;
        report
    }

    /// The looks, and a part of the reason for going back.
    fn check(looks: &[Option<StatusReport>], expected: Option<&str>) {
        let mut judge = Judge::default();
        let verdict = looks
            .iter()
            .try_for_each(|look| judge.look(look.as_ref()))
            .and_then(|()| judge.finish());
        match (verdict, expected) {
            (Ok(()), None) => {}
            (Err(reason), Some(part)) => assert!(reason.contains(part), "{reason}"),
            (verdict, expected) => panic!("{verdict:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_version_that_works_stays_and_any_other_goes() {
        let well = |pid| Some(report(pid, Health::Healthy, Health::Healthy));
        let failing = || Some(report(1, Health::Failed, Health::Healthy));
        let alone = || Some(report(1, Health::Healthy, Health::Degraded));
        check(&[None, well(1), well(1)], None);
        check(&[None, None, None, None, well(1)], None);
        check(&[well(1), None, None, None, None, None], Some("does not answer"));
        check(&[], Some("never answered"));
        check(&[well(1), well(2), well(3)], None);
        check(&[well(1), well(2), well(3), well(4)], Some("keeps ending"));
        check(&[well(1), failing(), well(1)], None);
        check(&[well(1), failing(), failing()], Some("fails"));
        check(&[alone(), alone()], Some("did not check in"));
        check(&[alone(), well(1), alone()], None);
    }

    #[test]
    fn a_managed_agent_that_is_none_any_more_goes() {
        let mut waiting = report(1, Health::Configuring, Health::Stopped);
        waiting.info.is_managed = false;
        let mut judge = Judge {
            managed: true,
            ..Judge::default()
        };
        judge.look(Some(&waiting)).unwrap();
        assert!(judge.finish().unwrap_err().contains("did not check in"));
    }

    #[test]
    fn the_times_are_those_of_the_policy() {
        assert_eq!(WatchTimes::of_policy(&Value::Null), WatchTimes::default());
        let policy = serde_json::json!({"agent": {"upgrade": {"watcher": {"grace_period": "2m", "error_check": {"interval": "5s"}}}}});
        assert_eq!(
            WatchTimes::of_policy(&policy),
            WatchTimes {
                grace: Duration::from_mins(2),
                interval: Duration::from_secs(5)
            }
        );
    }
}
