//! The health of a unit (one input or one output), in the words of the check-in.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

/// What a unit is doing. The names on the wire are upper case.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum UnitState {
    /// It has been asked for and does not run yet.
    Starting,
    /// It is taking over its settings.
    Configuring,
    /// It does its work.
    Healthy,
    /// It works, but not as it should.
    Degraded,
    /// It does not work.
    Failed,
    /// It has been asked to stop.
    Stopping,
    /// It runs no more.
    Stopped,
}

impl UnitState {
    /// The name as it stands in check-ins.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "STARTING",
            Self::Configuring => "CONFIGURING",
            Self::Healthy => "HEALTHY",
            Self::Degraded => "DEGRADED",
            Self::Failed => "FAILED",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
        }
    }
}

impl fmt::Display for UnitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which side of the component a unit is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitType {
    /// Makes events.
    Input,
    /// Delivers events.
    Output,
}

/// The state of one stream inside an input.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StreamReport {
    /// What the stream is doing.
    pub status: UnitState,
    /// Why, when it is not healthy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// What a unit says of itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct UnitReport {
    /// The unit's id: `<component>-<input id>` for inputs, `<component>` for outputs.
    pub id: String,
    /// Which side of the component it is.
    #[serde(rename = "type")]
    pub unit_type: UnitType,
    /// What it is doing.
    #[serde(rename = "status")]
    pub state: UnitState,
    /// Why, for people.
    pub message: String,
    /// Its streams by their ids; only inputs have them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub streams: BTreeMap<String, StreamReport>,
}

/// Gives a stream's counters at this moment, as an object of numbers.
pub type Counted = Arc<dyn Fn() -> Value + Send + Sync>;

/// The handle with which a unit reports; clones report for the same unit.
#[derive(Clone)]
pub struct Reporter {
    report: Arc<watch::Sender<UnitReport>>,
    counted: Arc<Mutex<BTreeMap<String, Counted>>>,
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reporter").field(&self.report).finish()
    }
}

impl Reporter {
    /// A reporter that starts in `STARTING`.
    pub fn new(id: impl Into<String>, unit_type: UnitType) -> Self {
        let report = UnitReport {
            id: id.into(),
            unit_type,
            state: UnitState::Starting,
            message: "Starting".to_owned(),
            streams: BTreeMap::new(),
        };
        Self {
            report: Arc::new(watch::Sender::new(report)),
            counted: Arc::default(),
        }
    }

    /// Lets a stream's counters be read by whoever watches the agent.
    pub fn count_stream(&self, stream_id: &str, counted: Counted) {
        let mut all = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(stream_id.to_owned(), counted);
    }

    /// The counters of the streams that count, by stream.
    pub fn counters(&self) -> BTreeMap<String, Value> {
        let all = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .map(|(stream, counted)| (stream.clone(), counted()))
            .collect()
    }

    /// Says what the unit as a whole is doing. Watchers wake only on a change.
    pub fn report(&self, state: UnitState, message: impl Into<String>) {
        let message = message.into();
        self.report.send_if_modified(|report| {
            let changed = report.state != state || report.message != message;
            report.state = state;
            report.message = message;
            changed
        });
    }

    /// Says what one stream is doing; the unit follows its worst stream: `DEGRADED` while any stream is not healthy.
    pub fn report_stream(&self, stream_id: &str, state: UnitState, error: impl Into<String>) {
        let new = StreamReport {
            status: state,
            error: error.into(),
        };
        self.report.send_if_modified(|report| {
            if report.streams.get(stream_id) == Some(&new) {
                return false;
            }
            report.streams.insert(stream_id.to_owned(), new);
            follow_streams(report);
            true
        });
    }

    /// Forgets a stream that is no longer part of the unit.
    pub fn remove_stream(&self, stream_id: &str) {
        self.report.send_if_modified(|report| {
            let removed = report.streams.remove(stream_id).is_some();
            if removed {
                follow_streams(report);
            }
            removed
        });
    }

    /// What was reported last.
    pub fn current(&self) -> UnitReport {
        self.report.borrow().clone()
    }

    /// Follows the reports.
    pub fn subscribe(&self) -> watch::Receiver<UnitReport> {
        self.report.subscribe()
    }
}

fn follow_streams(report: &mut UnitReport) {
    let ill = |report: &StreamReport| matches!(report.status, UnitState::Degraded | UnitState::Failed);
    let (state, message) = match report.streams.iter().find(|(_, stream)| ill(stream)) {
        Some((id, stream)) => (UnitState::Degraded, format!("stream `{id}`: {}", stream.error)),
        None if report
            .streams
            .values()
            .all(|stream| stream.status == UnitState::Healthy) =>
        {
            (UnitState::Healthy, "Healthy".to_owned())
        }
        None => return,
    };
    report.state = state;
    report.message = message;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_follows_its_worst_stream() {
        let reporter = Reporter::new("filestream-default-a", UnitType::Input);
        let mut watch = reporter.subscribe();
        reporter.report_stream("a", UnitState::Healthy, "");
        assert_eq!(reporter.current().state, UnitState::Healthy);
        reporter.report_stream("b", UnitState::Failed, "no such file");
        let report = watch.borrow_and_update().clone();
        assert_eq!(
            (report.state, report.message.as_str()),
            (UnitState::Degraded, "stream `b`: no such file")
        );
        reporter.report_stream("b", UnitState::Failed, "no such file");
        assert!(!watch.has_changed().unwrap());
        reporter.remove_stream("b");
        assert_eq!(reporter.current().state, UnitState::Healthy);
    }

    #[test]
    fn a_report_is_written_as_the_check_in_has_it() {
        let reporter = Reporter::new("x-default", UnitType::Output);
        reporter.report(UnitState::Failed, "input not supported");
        let json = serde_json::to_value(reporter.current()).unwrap();
        let expected = serde_json::json!(
            {"id": "x-default", "type": "output", "status": "FAILED", "message": "input not supported"});
        assert_eq!(json, expected);
    }
}
