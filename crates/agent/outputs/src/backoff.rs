//! Waits between attempts: doubling, with equal jitter, so that a fleet does not come back in step.

use std::time::Duration;

/// A wait that doubles from `init` to `max`; each wait is half fixed, half random.
#[derive(Clone, Debug)]
pub struct Backoff {
    init: Duration,
    max: Duration,
    attempt: u32,
}

impl Backoff {
    /// Starts at `init`; never waits longer than `max`.
    pub fn new(init: Duration, max: Duration) -> Self {
        Self {
            init,
            max: max.max(init),
            attempt: 0,
        }
    }

    /// The next wait: between half of and the whole of `init * 2^attempt`, at most `max`.
    pub fn next_wait(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.attempt = self.attempt.saturating_add(1);
        let half = ceiling / 2;
        half + half.mul_f64(rand::random::<f64>())
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    fn ceiling(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.attempt.min(31)).unwrap_or(u32::MAX);
        self.init.saturating_mul(factor).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_equal_jitter_up_to_the_maximum() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        for ceiling in [1_u64, 2, 4, 5, 5] {
            let wait = backoff.next_wait();
            let ceiling = Duration::from_secs(ceiling);
            assert!(
                wait >= ceiling / 2 && wait <= ceiling,
                "{wait:?} is outside {ceiling:?}"
            );
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_secs(1));
    }
}
