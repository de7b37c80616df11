//! How much of each endpoint is admitted: a token bucket and a number of requests at once.
//!
//! Beyond the rate a request waits in a queue of bounded length and time where the endpoint has one (enrolment), and is
//! refused with 429 and `Retry-After` otherwise. A permit is held until the answer is sent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::error::ApiError;
use crate::settings::Limit;

/// The limiter of one endpoint.
#[derive(Debug)]
pub(crate) struct Limiter {
    bucket: Option<Bucket>,
    concurrent: Option<Arc<Semaphore>>,
    queue: Queue,
}

/// How many requests may wait for a token, and how long.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QueueBounds {
    pub(crate) length: usize,
    pub(crate) wait: Duration,
}

#[derive(Debug)]
struct Queue {
    bounds: QueueBounds,
    waiting: AtomicUsize,
}

/// Tokens come one each `interval`, at most `burst` at a time. Kept as the time at which the next token is free, so that
/// a request can take a token of the future and wait for it: first come, first served.
#[derive(Debug)]
struct Bucket {
    interval: Duration,
    burst: u32,
    next_free: Mutex<Instant>,
}

/// Admission of one request.
#[derive(Debug)]
pub(crate) struct Permit {
    _concurrent: Option<OwnedSemaphorePermit>,
}

impl Limiter {
    pub(crate) fn new(limit: &Limit, queue: QueueBounds) -> Self {
        let bucket = (!limit.interval.is_zero()).then(|| Bucket {
            interval: limit.interval,
            burst: limit.burst.max(1),
            next_free: Mutex::new(Instant::now()),
        });
        let concurrent = (limit.max > 0).then(|| Arc::new(Semaphore::new(limit.max.min(Semaphore::MAX_PERMITS))));
        let queue = Queue {
            bounds: queue,
            waiting: AtomicUsize::new(0),
        };
        Self {
            bucket,
            concurrent,
            queue,
        }
    }

    /// Admits a request, now or after its time in the queue.
    pub(crate) async fn admit(&self) -> Result<Permit, ApiError> {
        let _in_queue = self.queue.enter()?;
        if let Some(bucket) = &self.bucket {
            let wait = bucket.take(Instant::now(), self.queue.bounds.wait)?;
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
        let Some(concurrent) = &self.concurrent else {
            return Ok(Permit { _concurrent: None });
        };
        let permit = match Arc::clone(concurrent).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) if self.queue.bounds.length == 0 => return Err(ApiError::MaxLimit),
            Err(_) => tokio::time::timeout(self.queue.bounds.wait, Arc::clone(concurrent).acquire_owned())
                .await
                .map_err(|_| ApiError::MaxLimit)?
                .map_err(|_| ApiError::MaxLimit)?,
        };
        Ok(Permit {
            _concurrent: Some(permit),
        })
    }
}

impl Queue {
    /// Counts one more that waits, unless the queue is full. Without a queue nothing is counted.
    fn enter(&self) -> Result<Option<InQueue<'_>>, ApiError> {
        if self.bounds.length == 0 {
            return Ok(None);
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.bounds.length {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(ApiError::RateLimit {
                retry_after: self.bounds.wait.as_secs().max(1),
            });
        }
        Ok(Some(InQueue(self)))
    }
}

struct InQueue<'a>(&'a Queue);

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Bucket {
    /// Takes a token and says how long to wait for it; refuses when that is longer than `longest`.
    fn take(&self, now: Instant, longest: Duration) -> Result<Duration, ApiError> {
        let mut next_free = self.next_free.lock().expect("no holder of this lock can panic");
        // A full bucket is `burst` intervals behind the present.
        let full = now.checked_sub(self.interval * (self.burst - 1)).unwrap_or(now);
        let mine = (*next_free).max(full);
        let wait = mine.saturating_duration_since(now);
        if wait > longest {
            return Err(ApiError::RateLimit {
                retry_after: wait.as_secs() + 1,
            });
        }
        *next_free = mine + self.interval;
        Ok(wait)
    }
}

/// Hands out moments at a fixed pace: the policy dispatch when `policy_limit` is set.
#[derive(Debug)]
pub(crate) struct Pacer {
    bucket: Option<Bucket>,
}

impl Pacer {
    pub(crate) fn new(limit: &Limit) -> Self {
        let bucket = (!limit.interval.is_zero()).then(|| Bucket {
            interval: limit.interval,
            burst: limit.burst.max(1),
            next_free: Mutex::new(Instant::now()),
        });
        Self { bucket }
    }

    /// Waits for this caller's moment.
    pub(crate) async fn wait(&self) {
        let Some(bucket) = &self.bucket else { return };
        if let Ok(wait) = bucket.take(Instant::now(), Duration::MAX)
            && !wait.is_zero()
        {
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(interval: u64, burst: u32, max: usize) -> Limit {
        Limit {
            interval: Duration::from_millis(interval),
            burst,
            max,
            max_body: 0,
        }
    }

    fn waits(bucket: &Bucket, now: Instant, longest: u64) -> Option<u64> {
        bucket
            .take(now, Duration::from_millis(longest))
            .ok()
            .map(|wait| wait.as_millis() as u64)
    }

    #[tokio::test]
    async fn a_burst_passes_and_then_one_each_interval() {
        let now = Instant::now();
        let bucket = Bucket {
            interval: Duration::from_millis(100),
            burst: 2,
            next_free: Mutex::new(now),
        };
        let later = now + Duration::from_mins(1);
        assert_eq!(
            [
                waits(&bucket, later, 0),
                waits(&bucket, later, 0),
                waits(&bucket, later, 0)
            ],
            [Some(0), Some(0), None]
        );
        assert_eq!(waits(&bucket, later + Duration::from_millis(100), 0), Some(0));
        assert_eq!(waits(&bucket, later + Duration::from_millis(100), 0), None);
    }

    #[tokio::test]
    async fn those_who_wait_are_served_in_order() {
        let now = Instant::now();
        let bucket = Bucket {
            interval: Duration::from_millis(100),
            burst: 1,
            next_free: Mutex::new(now),
        };
        let found = [1000, 1000, 1000, 250].map(|longest| waits(&bucket, now, longest));
        assert_eq!(found, [Some(0), Some(100), Some(200), None]);
    }

    #[tokio::test]
    async fn a_refusal_says_when_to_come_back() {
        let limiter = Limiter::new(&limit(100_000, 1, 0), QueueBounds::default());
        limiter.admit().await.unwrap();
        let Err(ApiError::RateLimit { retry_after }) = limiter.admit().await else {
            panic!("must be refused")
        };
        assert!((99..=101).contains(&retry_after), "{retry_after}");
    }

    #[tokio::test]
    async fn a_full_queue_refuses() {
        let queue = QueueBounds {
            length: 1,
            wait: Duration::from_hours(1),
        };
        let limiter = Arc::new(Limiter::new(&limit(0, 0, 1), queue));
        let permit = limiter.admit().await.unwrap();
        let waiting = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move { limiter.admit().await.is_ok() }
        });
        while limiter.queue.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(limiter.admit().await, Err(ApiError::RateLimit { .. })));
        drop(permit);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn a_permit_counts_until_it_is_dropped() {
        let limiter = Limiter::new(&limit(0, 0, 1), QueueBounds::default());
        let permit = limiter.admit().await.unwrap();
        assert!(matches!(limiter.admit().await, Err(ApiError::MaxLimit)));
        drop(permit);
        limiter.admit().await.unwrap();
    }
}
