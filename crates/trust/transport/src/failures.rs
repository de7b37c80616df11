//! Failed handshakes, counted for each source, so that one source cannot burn the CPU with them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time that failures are counted over.
const WINDOW: Duration = Duration::from_secs(10);

/// The most sources that are remembered. Beyond it the oldest windows go; a flood from more sources than this is for a
/// firewall.
const MAX_SOURCES: usize = 10_000;

/// Failures told in the log for each source and window; the rest is counted in silence.
const LOGGED: u32 = 5;

/// What a failed handshake cost this side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cost {
    /// Its greeting was read and refused. Scanners come with hundreds of those in a few seconds, one for each old suite.
    Greeting = 1,
    /// Key exchange and signature.
    Signature = 10,
}

impl Cost {
    pub(crate) fn of(class: &str) -> Self {
        match class {
            "protocol_version" | "no_common_cipher" | "no_common_group" => Self::Greeting,
            _ => Self::Signature,
        }
    }
}

#[derive(Debug)]
struct Window {
    since: Instant,
    failures: u32,
    /// Sum of [`Cost`].
    cost: u32,
}

/// Failures in the current window of each source.
#[derive(Debug)]
pub(crate) struct Failures {
    /// In units of [`Cost`].
    limit: u32,
    sources: Mutex<HashMap<IpAddr, Window>>,
}

impl Failures {
    /// `limit` is about whole handshakes; ten times as many greetings come to the same.
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            limit: limit.saturating_mul(Cost::Signature as u32),
            sources: Mutex::default(),
        }
    }

    /// Whether the source failed too often to be listened to before its window is over.
    pub(crate) fn too_many(&self, source: IpAddr, now: Instant) -> bool {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources
            .get(&source)
            .is_some_and(|window| window.cost >= self.limit && now < window.since + WINDOW)
    }

    /// Counts a failure; returns whether it should be told in the log.
    pub(crate) fn count(&self, source: IpAddr, cost: Cost, now: Instant) -> bool {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.len() >= MAX_SOURCES && !sources.contains_key(&source) {
            sources.retain(|_, window| now < window.since + WINDOW);
            if sources.len() >= MAX_SOURCES {
                sources.clear();
            }
        }
        let window = sources.entry(source).or_insert(Window {
            since: now,
            failures: 0,
            cost: 0,
        });
        if now >= window.since + WINDOW {
            *window = Window {
                since: now,
                failures: 0,
                cost: 0,
            };
        }
        window.failures = window.failures.saturating_add(1);
        window.cost = window.cost.saturating_add(cost as u32);
        window.failures <= LOGGED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_shut_out_until_its_window_is_over() {
        let (bad, good) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let failures = Failures::new(3);
        let start = Instant::now();
        for _ in 0..3 {
            assert!(!failures.too_many(bad, start));
            failures.count(bad, Cost::Signature, start);
        }
        assert!(failures.too_many(bad, start));
        assert!(!failures.too_many(good, start));
        assert!(!failures.too_many(bad, start + WINDOW));
        failures.count(bad, Cost::Signature, start + WINDOW);
        assert!(!failures.too_many(bad, start + WINDOW));
    }

    #[test]
    fn greetings_that_are_refused_count_a_tenth() {
        let (scanner, now) = (IpAddr::from([192, 0, 2, 1]), Instant::now());
        let failures = Failures::new(3);
        for _ in 0..29 {
            failures.count(scanner, Cost::of("no_common_cipher"), now);
        }
        assert!(!failures.too_many(scanner, now));
        failures.count(scanner, Cost::of("protocol_version"), now);
        assert!(failures.too_many(scanner, now));
        assert_eq!(Cost::of("unknown_authority"), Cost::Signature);
    }

    #[test]
    fn the_memory_of_sources_is_bounded() {
        let failures = Failures::new(1);
        let now = Instant::now();
        for number in 0..(MAX_SOURCES as u32 + 10) {
            failures.count(IpAddr::from(number.to_be_bytes()), Cost::Signature, now);
        }
        assert!(failures.sources.lock().unwrap().len() <= MAX_SOURCES);
    }
}
