//! The loop of one connection: take a batch, transmit it, settle what is done, give back what is not.

use std::sync::Arc;

use async_trait::async_trait;
use event::{Ack, Event, Reporter, UnitState};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::counters::Counters;
use crate::queue::{FlushRule, Origin, Queue, Queued};

/// One connection of an output.
#[async_trait]
pub(crate) trait Transmit: Send {
    /// Tries to deliver `batch`. Delivered and dropped events are acknowledged here; the rest is returned.
    async fn transmit(&mut self, batch: Vec<Queued>) -> Transmitted;
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Transmitted {
    /// Acknowledged or dropped for good.
    pub(crate) settled: usize,
    /// To be tried again, in these batches.
    pub(crate) again: Vec<Vec<Queued>>,
    /// What is wrong, when something is.
    pub(crate) trouble: Option<Trouble>,
}

/// Why a batch, or some of it, was not delivered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Trouble {
    /// The other side is alive and asks for less (429, 503, items with 429).
    Busy(String),
    /// No connection, or a refusal of the whole request.
    Refused(String),
    /// Single events were refused for good; the others went through.
    Dropped(String),
}

pub(crate) struct Worker {
    pub(crate) queue: Arc<Queue>,
    pub(crate) rule: FlushRule,
    pub(crate) backoff: Backoff,
    pub(crate) reporter: Reporter,
    pub(crate) counters: Arc<Counters>,
    /// What the output's unit says while all is well.
    pub(crate) healthy: String,
}

impl Worker {
    /// Runs until the queue is closed, or `stop`.
    pub(crate) async fn run(mut self, mut connection: Box<dyn Transmit>, stop: CancellationToken) {
        loop {
            let batch = tokio::select! {
                batch = self.queue.take(self.rule) => batch,
                () = stop.cancelled() => return,
            };
            let Some(batch) = batch else { return };
            // Dropping a batch in flight without acknowledgement makes replayable sources and the disk queue send it
            // again; events that exist only in memory are kept aside for that case.
            let only_here = copies_of_memory_events(&batch);
            let transmitted = tokio::select! {
                transmitted = connection.transmit(batch) => transmitted,
                () = stop.cancelled() => {
                    self.queue.give_back(only_here);
                    return;
                }
            };
            self.settle(&stop, transmitted).await;
        }
    }

    async fn settle(&mut self, stop: &CancellationToken, transmitted: Transmitted) {
        let again: usize = transmitted.again.iter().map(Vec::len).sum();
        Counters::add(&self.counters.retried, again);
        self.queue.settle(transmitted.settled);
        self.report(transmitted.trouble.as_ref());
        let wait = match transmitted.trouble {
            None | Some(Trouble::Dropped(_)) => {
                self.backoff.reset();
                None
            }
            Some(Trouble::Busy(_) | Trouble::Refused(_)) => Some(self.backoff.next_wait()),
        };
        // Given back before the wait, so that a connection to another host can take them.
        for batch in transmitted.again {
            self.queue.give_back(batch);
        }
        if let Some(wait) = wait {
            tokio::select! { () = tokio::time::sleep(wait) => {}, () = stop.cancelled() => {} }
        }
    }

    fn report(&self, trouble: Option<&Trouble>) {
        match trouble {
            None => self.reporter.report(UnitState::Healthy, self.healthy.clone()),
            Some(Trouble::Busy(why) | Trouble::Dropped(why)) => {
                self.reporter.report(UnitState::Degraded, why.clone());
            }
            Some(Trouble::Refused(why)) => {
                tracing::warn!(error = %why, "output cannot deliver");
                self.reporter.report(UnitState::Degraded, why.clone());
            }
        }
    }
}

fn copies_of_memory_events(batch: &[Queued]) -> Vec<Queued> {
    let in_memory = batch.iter().filter(|queued| queued.origin == Origin::Memory);
    let copy = |queued: &Queued| {
        let event = &queued.event;
        let copy = Event {
            stream: Arc::clone(&event.stream),
            body: event.body.clone(),
            id: event.id.clone(),
            ack: Ack::none(),
        };
        Queued::new(copy, Origin::Memory)
    };
    in_memory.map(copy).collect()
}
