//! From the inputs' channels into the queue, and over the disk when there is no room.
//!
//! Two lanes, so that a file that waits for room never makes a metric wait: events of replayable sources (files are their
//! own queue) block their source; all others overflow to the disk queue and are acknowledged once they are synced.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use event::document::DataStream;
use event::{Ack, AckTracker, Event, Reporter, Stream, UnitState, acknowledge_all};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::counters::Counters;
use crate::disk_queue::{DiskQueue, Record};
use crate::queue::{Origin, Queue, Queued};

/// Events read back from disk at a time.
const READ_AHEAD: usize = 512;

/// Moves a replayable lane's events into the queue until its senders are gone or `stop`.
pub(crate) async fn replayable(mut events: mpsc::Receiver<Vec<Event>>, queue: Arc<Queue>, stop: CancellationToken) {
    loop {
        let batch = tokio::select! { batch = events.recv() => batch, () = stop.cancelled() => return };
        let Some(batch) = batch else { return };
        tokio::select! { () = queue.push(batch, Origin::Replayable) => {}, () = stop.cancelled() => return }
    }
}

/// The lane with overflow to disk.
#[derive(Clone, Debug)]
pub(crate) struct Spill {
    pub(crate) queue: Arc<Queue>,
    pub(crate) disk: Option<Arc<DiskQueue>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) reporter: Reporter,
    /// Told when the disk queue got records.
    pub(crate) spilled: Arc<Notify>,
}

impl Spill {
    /// Moves the lane's events into the queue or onto the disk until its senders are gone or `stop`.
    pub(crate) async fn run(self, mut events: mpsc::Receiver<Vec<Event>>, stop: CancellationToken) {
        loop {
            let batch = tokio::select! { batch = events.recv() => batch, () = stop.cancelled() => break };
            let Some(batch) = batch else { return };
            self.take(batch, &stop).await;
        }
        // What the inputs had handed over before the stop must not be lost.
        while let Ok(batch) = events.try_recv() {
            self.save(batch).await;
        }
    }

    async fn take(&self, batch: Vec<Event>, stop: &CancellationToken) {
        // Order is kept as well as it can be: behind records on disk nothing overtakes while the queue is full.
        let Err(batch) = self.queue.try_push(batch, Origin::Memory) else {
            return;
        };
        if self.disk.is_some() {
            self.save(batch).await;
        } else {
            tokio::select! { () = self.queue.push(batch, Origin::Memory) => {}, () = stop.cancelled() => {} }
        }
    }

    /// Writes `events` to the disk queue and acknowledges them. Without one, or when it fails, they are lost and counted.
    pub(crate) async fn save(&self, events: Vec<Event>) {
        let count = events.len();
        let Some(disk) = self.disk.clone() else {
            Counters::add(&self.counters.overflow_dropped, count);
            return;
        };
        let records: Vec<Record> = events.iter().map(record).collect();
        let appended = tokio::task::spawn_blocking(move || disk.append(&records)).await;
        match appended {
            Ok(Ok(dropped)) => {
                Counters::add(&self.counters.spilled, count);
                Counters::add(&self.counters.overflow_dropped, dropped as usize);
                if dropped > 0 {
                    tracing::warn!(dropped, "the disk queue is full; events were dropped");
                }
                acknowledge_all(events.into_iter().map(|event| event.ack));
                self.spilled.notify_one();
            }
            Ok(Err(error)) => self.lost(count, &error),
            Err(error) => self.lost(count, &error),
        }
    }

    fn lost(&self, count: usize, error: &dyn std::fmt::Display) {
        Counters::add(&self.counters.overflow_dropped, count);
        tracing::error!(error = %error, dropped = count, "cannot write to the disk queue; events were dropped");
        self.reporter
            .report(UnitState::Degraded, format!("cannot write to the disk queue: {error}"));
    }
}

/// Moves records from the disk queue back into memory whenever there is room.
pub(crate) async fn refill(queue: Arc<Queue>, disk: Arc<DiskQueue>, spilled: Arc<Notify>, stop: CancellationToken) {
    let head = {
        let disk = Arc::clone(&disk);
        AckTracker::new(move |position| {
            if let Err(error) = disk.acknowledge(position) {
                tracing::warn!(error = %error, "cannot store the disk queue's head");
            }
        })
    };
    let mut streams = HashMap::new();
    while !stop.is_cancelled() {
        tokio::select! { () = queue.has_room() => {}, () = stop.cancelled() => return }
        let reader = Arc::clone(&disk);
        let read = tokio::task::spawn_blocking(move || reader.read(READ_AHEAD)).await;
        let records = match read {
            Ok(Ok(records)) => records,
            Ok(Err(error)) => {
                tracing::error!(error = %error, "cannot read the disk queue");
                Vec::new()
            }
            Err(_) => return,
        };
        if records.is_empty() {
            tokio::select! { () = spilled.notified() => {}, () = stop.cancelled() => return }
            continue;
        }
        let events = records
            .into_iter()
            .map(|(number, record)| event(&mut streams, &head, number, record))
            .collect();
        tokio::select! { () = queue.push(events, Origin::Disk) => {}, () = stop.cancelled() => return }
    }
}

/// What must be saved of a queue that was closed: the events that exist nowhere else.
pub(crate) fn only_in_memory(left: Vec<Queued>) -> Vec<Event> {
    left.into_iter()
        .filter(|queued| queued.origin == Origin::Memory)
        .map(|queued| queued.event)
        .collect()
}

fn record(event: &Event) -> Record {
    Record {
        index: event.stream.index.clone(),
        pipeline: event.stream.pipeline.clone(),
        id: event.id.clone(),
        body: event.body.to_vec(),
    }
}

type Streams = HashMap<(String, Option<String>), Arc<Stream>>;

fn event(streams: &mut Streams, head: &AckTracker, number: u64, record: Record) -> Event {
    // A policy names few streams; the bound is for a queue filled by many policies.
    if streams.len() > 1000 {
        streams.clear();
    }
    let stream = streams
        .entry((record.index, record.pipeline))
        .or_insert_with_key(|(index, pipeline)| stream(index, pipeline.as_deref()));
    let ack: Ack = head.issue(number + 1);
    Event {
        stream: Arc::clone(stream),
        body: Bytes::from(record.body),
        id: record.id,
        ack,
    }
}

fn stream(index: &str, pipeline: Option<&str>) -> Arc<Stream> {
    let mut parts = index.splitn(3, '-').map(str::to_owned);
    let mut part = || parts.next().unwrap_or_default();
    let data_stream = DataStream {
        kind: part(),
        dataset: part(),
        namespace: part(),
    };
    Arc::new(Stream {
        id: String::new(),
        input_type: String::new(),
        data_stream,
        index: index.to_owned(),
        pipeline: pipeline.map(str::to_owned),
        prefix: Bytes::new(),
    })
}
