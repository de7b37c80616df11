//! Time that tests can set.
//!
//! Everything that looks at the time takes a [`SharedClock`]; only the binary makes a [`SystemClock`].
//! Monotonic waiting (timeouts, intervals) stays with the runtime.

use std::fmt;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};

/// A source of the current time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The current time, UTC.
    fn now(&self) -> Timestamp;
}

/// The clock as it is handed around.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A [`SystemClock`] to hand around.
pub fn system() -> SharedClock {
    Arc::new(SystemClock)
}

/// A clock that stands still until it is told otherwise.
#[derive(Debug)]
pub struct TestClock {
    now: Mutex<Timestamp>,
}

impl TestClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self { now: Mutex::new(now) })
    }

    /// Moves the clock; a negative `step` turns it back.
    pub fn step(&self, step: SignedDuration) {
        let mut now = self.now.lock().expect("no holder of this lock can panic");
        *now = now.saturating_add(step).expect("a signed duration is a valid step");
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().expect("no holder of this lock can panic")
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-01-02T03:04:05.678Z`, as `@timestamp` is written.
pub fn rfc3339_millis(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// RFC 3339 in UTC with whole seconds: `2026-01-02T03:04:05Z`, as Fleet Server writes its documents.
pub fn rfc3339_seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_clock_moves_only_when_told() {
        let clock = TestClock::at("2026-01-02T03:04:05.678Z".parse().unwrap());
        assert_eq!(rfc3339_millis(clock.now()), "2026-01-02T03:04:05.678Z");
        clock.step(SignedDuration::from_secs(-5));
        assert_eq!(rfc3339_seconds(clock.now()), "2026-01-02T03:04:00Z");
    }
}
