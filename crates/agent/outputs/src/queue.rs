//! The memory queue between inputs and connections.
//!
//! A batch leaves when `min_events` wait or the oldest has waited for the flush timeout. Events taken stay counted until
//! they are settled, so that the bound covers everything between source and acknowledgement. A full queue never drops:
//! replayable sources wait for room, all others overflow to the disk queue (see `intake`).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use event::Event;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Where an event waits when it cannot be delivered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// Its source gives it again after a restart (a file): nothing to save.
    Replayable,
    /// Only in memory: saved to disk when the output stops without delivering it.
    Memory,
    /// In the disk queue already.
    Disk,
}

/// An event in the queue.
#[derive(Debug)]
pub struct Queued {
    /// The event.
    pub event: Event,
    /// What happens to it when it cannot be delivered.
    pub origin: Origin,
    since: Instant,
}

impl Queued {
    /// An event that starts to wait now.
    pub fn new(event: Event, origin: Origin) -> Self {
        Self {
            event,
            origin,
            since: Instant::now(),
        }
    }
}

/// When a batch leaves.
#[derive(Clone, Copy, Debug)]
pub struct FlushRule {
    /// Leaves at once with this many events.
    pub min_events: usize,
    /// Holds at most this many.
    pub max_events: usize,
    /// Leaves with fewer when the oldest has waited this long.
    pub timeout: Duration,
}

/// In the first seconds of an output batches leave early, so that a new agent's data is seen at once.
const EAGER_PERIOD: Duration = Duration::from_secs(10);
const EAGER_TIMEOUT: Duration = Duration::from_secs(1);

/// The queue. See the module.
#[derive(Debug)]
pub struct Queue {
    capacity: usize,
    made: Instant,
    inner: Mutex<Inner>,
    arrived: Notify,
    settled: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Queued>,
    retries: VecDeque<Vec<Queued>>,
    in_flight: usize,
    draining: bool,
    closed: bool,
}

impl Inner {
    fn held(&self) -> usize {
        self.waiting.len() + self.in_flight
    }
}

impl Queue {
    /// A queue that holds about `capacity` events, those in flight included.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            made: Instant::now(),
            inner: Mutex::default(),
            arrived: Notify::new(),
            settled: Notify::new(),
        }
    }

    /// Adds `events` as soon as there is room. The last batch may go over the bound, so that a batch larger than the
    /// queue gets through.
    pub async fn push(&self, events: Vec<Event>, origin: Origin) {
        let mut events = events;
        while let Err(back) = self.try_push(events, origin) {
            events = back;
            self.has_room().await;
        }
    }

    /// Adds `events` when there is room now, else gives them back.
    ///
    /// # Errors
    /// The events, unchanged.
    pub fn try_push(&self, events: Vec<Event>, origin: Origin) -> Result<(), Vec<Event>> {
        let mut inner = self.lock();
        if inner.held() >= self.capacity {
            return Err(events);
        }
        inner
            .waiting
            .extend(events.into_iter().map(|event| Queued::new(event, origin)));
        drop(inner);
        self.arrived.notify_waiters();
        Ok(())
    }

    /// Waits until an event fits in.
    pub async fn has_room(&self) {
        self.wait_until(|inner| inner.held() < self.capacity).await;
    }

    /// Waits until nothing waits and nothing is in flight.
    pub async fn is_settled(&self) {
        self.wait_until(|inner| inner.held() == 0).await;
    }

    /// The next batch; `None` once the queue is closed.
    pub async fn take(&self, rule: FlushRule) -> Option<Vec<Queued>> {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            let due = match self.take_now(rule) {
                Taken::Batch(batch) => return Some(batch),
                Taken::Closed => return None,
                Taken::Due(due) => due,
            };
            match due {
                Some(due) => {
                    tokio::select! { () = arrived => {}, () = tokio::time::sleep_until(due) => {} }
                }
                None => arrived.await,
            }
        }
    }

    /// Counts `count` events of taken batches as done.
    pub fn settle(&self, count: usize) {
        if count == 0 {
            return;
        }
        let mut inner = self.lock();
        inner.in_flight = inner.in_flight.saturating_sub(count);
        drop(inner);
        self.settled.notify_waiters();
    }

    /// Gives taken events back for another try; they leave before all others.
    pub fn give_back(&self, batch: Vec<Queued>) {
        if batch.is_empty() {
            return;
        }
        self.lock().retries.push_back(batch);
        self.arrived.notify_waiters();
    }

    /// From now on batches leave without waiting to fill up.
    pub fn drain(&self) {
        self.lock().draining = true;
        self.arrived.notify_waiters();
    }

    /// Takers get nothing any more; returns what still waits.
    pub fn close(&self) -> Vec<Queued> {
        let mut inner = self.lock();
        inner.closed = true;
        let mut left: Vec<_> = inner.retries.drain(..).flatten().collect();
        left.extend(inner.waiting.drain(..));
        drop(inner);
        self.arrived.notify_waiters();
        left
    }

    /// Events that wait or are in flight.
    pub fn len(&self) -> usize {
        self.lock().held()
    }

    /// Whether nothing waits or is in flight.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take_now(&self, rule: FlushRule) -> Taken {
        let mut inner = self.lock();
        if inner.closed {
            return Taken::Closed;
        }
        if let Some(batch) = inner.retries.pop_front() {
            return Taken::Batch(batch);
        }
        let Some(oldest) = inner.waiting.front() else {
            return Taken::Due(None);
        };
        let eager = oldest.since < self.made + EAGER_PERIOD;
        let due = oldest.since
            + if eager {
                rule.timeout.min(EAGER_TIMEOUT)
            } else {
                rule.timeout
            };
        let leaves = inner.draining || inner.waiting.len() >= rule.min_events || due <= Instant::now();
        if !leaves {
            return Taken::Due(Some(due));
        }
        let count = inner.waiting.len().min(rule.max_events.max(1));
        let batch: Vec<_> = inner.waiting.drain(..count).collect();
        inner.in_flight += batch.len();
        Taken::Batch(batch)
    }

    async fn wait_until(&self, reached: impl Fn(&Inner) -> bool) {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if reached(&self.lock()) {
                return;
            }
            settled.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change under the lock is whole, so a holder's panic leaves nothing half-done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Taken {
    Batch(Vec<Queued>),
    /// Nothing yet; look again at this time, or when something arrives.
    Due(Option<Instant>),
    Closed,
}
