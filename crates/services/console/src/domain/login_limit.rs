//! Failed log-ins are counted by address and by name; too many, and the next ones are refused unseen for a while.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use clock::SharedClock;
use jiff::{SignedDuration, Timestamp};

const FAILURES: u32 = 10;
const WINDOW: SignedDuration = SignedDuration::from_mins(5);
/// Sources that are remembered; beyond it the oldest windows go.
const SOURCES: usize = 10_000;

/// Counts failures.
#[derive(Debug)]
pub(crate) struct LoginLimit {
    clock: SharedClock,
    failures: Mutex<HashMap<String, (u32, Timestamp)>>,
}

impl LoginLimit {
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            failures: Mutex::new(HashMap::new()),
        }
    }

    /// How long this source has to wait; none when it may try.
    pub(crate) fn wait(&self, address: Option<IpAddr>, name: &str) -> Option<SignedDuration> {
        let failures = self.failures.lock().expect("no holder of this lock can panic");
        let now = self.clock.now();
        let left = |key: String| {
            let (count, since) = failures.get(&key)?;
            let left = WINDOW - now.duration_since(*since);
            (*count >= FAILURES && left > SignedDuration::ZERO).then_some(left)
        };
        keys(address, name).into_iter().filter_map(left).max()
    }

    /// Notes a failure.
    pub(crate) fn failed(&self, address: Option<IpAddr>, name: &str) {
        let mut failures = self.failures.lock().expect("no holder of this lock can panic");
        let now = self.clock.now();
        if failures.len() >= SOURCES {
            failures.retain(|_, (_, since)| now.duration_since(*since) < WINDOW);
        }
        if failures.len() >= SOURCES {
            failures.clear();
        }
        for key in keys(address, name) {
            let entry = failures.entry(key).or_insert((0, now));
            if now.duration_since(entry.1) >= WINDOW {
                *entry = (0, now);
            }
            entry.0 += 1;
        }
    }

    /// Forgets the failures of a name: it logged in.
    pub(crate) fn succeeded(&self, address: Option<IpAddr>, name: &str) {
        let mut failures = self.failures.lock().expect("no holder of this lock can panic");
        for key in keys(address, name) {
            failures.remove(&key);
        }
    }
}

/// A name is limited for each address apart: a stranger must not be able to lock a user out.
fn keys(address: Option<IpAddr>, name: &str) -> Vec<String> {
    let address = address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
    vec![format!("address {address}"), format!("name {address} {name}")]
}

#[cfg(test)]
mod tests {
    use clock::TestClock;

    use super::*;

    #[test]
    fn ten_failures_close_the_door_for_five_minutes() {
        let clock = TestClock::at("2026-01-02T00:00:00Z".parse().unwrap());
        let limit = LoginLimit::new(clock.clone());
        let address = Some("10.0.0.1".parse().unwrap());
        for _ in 0..10 {
            assert_eq!(limit.wait(address, "elastic"), None);
            limit.failed(address, "elastic");
        }
        assert!(limit.wait(address, "elastic").is_some());
        assert!(
            limit.wait(address, "other").is_some(),
            "the address is limited whatever the name"
        );
        assert_eq!(limit.wait(Some("10.0.0.2".parse().unwrap()), "elastic"), None);
        clock.step(SignedDuration::from_mins(5));
        assert_eq!(limit.wait(address, "elastic"), None);
    }
}
