//! The thread that puts logged documents into their indices and commits them.
//!
//! A stream that got a document is committed [`COMMIT_AFTER`] later at the latest, so that it is visible within a second.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use store::StoreError;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::{IndexWriter, TantivyDocument};
use tokio::sync::oneshot;

use super::Stream;
use super::backing::{Backing, CommitPoint, index_error};
use super::wal::Position;

/// From the first document to its commit.
const COMMIT_AFTER: Duration = Duration::from_millis(700);
/// Documents in one commit.
const COMMIT_DOCUMENTS: usize = 50_000;
/// A writer without work for this long is closed: it holds threads and memory.
const CLOSE_AFTER: Duration = Duration::from_secs(30);
/// Memory in which a writer gathers documents before it writes a segment, bytes.
const WRITER_MEMORY: usize = 48 << 20;
/// After a commit failed (a full disk), the next try comes this much later.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A document on its way into its index.
pub(crate) struct Placed {
    pub(crate) stream: Arc<Stream>,
    pub(crate) backing: Arc<Backing>,
    pub(crate) seq_no: u64,
    pub(crate) document: TantivyDocument,
}

pub(crate) enum IndexJob {
    /// Documents of one log record.
    Add { position: Position, documents: Vec<Placed> },
    /// Commit all and answer.
    Flush(oneshot::Sender<Result<(), StoreError>>),
    /// Merge the segments of an index into one, and answer.
    Compact(Arc<Stream>, Arc<Backing>, oneshot::Sender<Result<(), StoreError>>),
    /// Let go of a backing index that is being deleted, and answer.
    Forget(Arc<Backing>, oneshot::Sender<Result<(), StoreError>>),
}

struct Open {
    stream: Arc<Stream>,
    backing: Arc<Backing>,
    writer: IndexWriter,
    /// Added and not committed.
    waiting: usize,
    /// The oldest log record that is not committed.
    oldest: Position,
    next_seq: u64,
    dirty_since: Instant,
    last_used: Instant,
}

/// A backing index whose writer failed. Its documents are in the log and in the stream's memory.
struct Failed {
    stream: Arc<Stream>,
    backing: Arc<Backing>,
    oldest: Position,
    /// After the last number that this thread was handed.
    next_seq: u64,
    again_at: Instant,
}

impl Failed {
    fn take_over(&self, seen: Position) -> Result<Open, StoreError> {
        let mut open = open_writer(self.stream.clone(), self.backing.clone(), self.next_seq)?;
        for document in self.stream.waiting_for(&self.backing, self.next_seq)? {
            open.writer.add_document(document).map_err(index_error)?;
        }
        open.commit(seen)?;
        Ok(open)
    }
}

/// The indexing thread.
pub(crate) struct Indexer {
    open: HashMap<u32, Open>,
    failed: HashMap<u32, Failed>,
    /// The first record that has not been seen yet.
    seen: Position,
    on_trim: Box<dyn FnMut(Position) + Send>,
}

impl Indexer {
    /// `on_trim` is told up to where the log is no longer needed.
    pub(crate) fn new(seen: Position, on_trim: Box<dyn FnMut(Position) + Send>) -> Self {
        Self {
            open: HashMap::new(),
            failed: HashMap::new(),
            seen,
            on_trim,
        }
    }

    /// Adds what the log held at the start and no index had, and lets it be found.
    pub(crate) fn replay(&mut self, documents: Vec<(Position, Placed)>) {
        for (position, placed) in documents {
            if let Err(error) = self.add_one(position, placed) {
                tracing::error!(%error, "a document could not be replayed; it stays in the log");
            }
        }
        if let Err(error) = self.commit_all() {
            tracing::error!(%error, "what was replayed could not be committed; it is tried again");
        }
    }

    pub(crate) fn run(mut self, jobs: &Receiver<IndexJob>) {
        loop {
            let job = jobs.recv_timeout(self.next_deadline());
            match job {
                Ok(IndexJob::Add { position, documents }) => self.add(position, documents),
                Ok(IndexJob::Flush(reply)) => self.flush_for(reply, jobs),
                Ok(other) => self.other(other),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.commit_due();
            self.close_idle();
        }
        drop(self.commit_all());
        for (_, open) in self.open.drain() {
            if let Err(error) = open.writer.wait_merging_threads() {
                tracing::warn!(%error, "a merge did not finish; it is repeated later");
            }
        }
    }

    fn next_deadline(&self) -> Duration {
        let now = Instant::now();
        let due = |open: &Open| match open.waiting {
            0 => open.last_used + CLOSE_AFTER,
            _ => open.dirty_since + COMMIT_AFTER,
        };
        let again = self.failed.values().map(|failed| failed.again_at);
        let next = self.open.values().map(due).chain(again).min();
        next.map_or(Duration::from_hours(1), |due| due.saturating_duration_since(now))
    }

    fn add(&mut self, position: Position, documents: Vec<Placed>) {
        self.seen = position + 1;
        for placed in documents {
            if placed.backing.deleted.load(std::sync::atomic::Ordering::Acquire) {
                continue;
            }
            if let Err(error) = self.add_one(position, placed) {
                // The log keeps the document; the next start adds it.
                tracing::error!(%error, "a document could not be added to its index; it stays in the log");
            }
        }
    }

    fn add_one(&mut self, position: Position, placed: Placed) -> Result<(), StoreError> {
        let number = placed.backing.row.number;
        if let Some(failed) = self.failed.get_mut(&number) {
            // It is in memory with the others and is added with them.
            failed.next_seq = placed.seq_no + 1;
            return Ok(());
        }
        let open = match self.open.entry(number) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => place.insert(open_writer(
                placed.stream.clone(),
                placed.backing.clone(),
                placed.seq_no,
            )?),
        };
        let now = Instant::now();
        if open.waiting == 0 {
            open.dirty_since = now;
            open.oldest = position;
        }
        open.waiting += 1;
        open.last_used = now;
        open.next_seq = placed.seq_no + 1;
        if let Err(error) = open.writer.add_document(placed.document) {
            self.fail(number);
            return Err(index_error(error));
        }
        Ok(())
    }

    /// A writer that has failed, as on a full disk, is of no use any more: a new one takes over what it held.
    fn fail(&mut self, number: u32) {
        let Some(open) = self.open.remove(&number) else { return };
        let again_at = Instant::now() + RETRY_AFTER;
        let Open {
            stream,
            backing,
            oldest,
            next_seq,
            ..
        } = open;
        self.failed.insert(
            number,
            Failed {
                stream,
                backing,
                oldest,
                next_seq,
                again_at,
            },
        );
    }

    /// Tries failed writers again; with `now`, also those whose time has not come.
    fn retry(&mut self, now: bool) -> Result<(), StoreError> {
        let mut result = Ok(());
        let due = self
            .failed
            .iter()
            .filter(|(_, failed)| now || failed.again_at <= Instant::now());
        for number in due.map(|(number, _)| *number).collect::<Vec<_>>() {
            let Some(mut failed) = self.failed.remove(&number) else {
                continue;
            };
            match failed.take_over(self.seen) {
                Ok(open) => {
                    tracing::info!(index = %open.backing.row.name, "writing to the index works again");
                    self.open.insert(number, open);
                }
                Err(error) => {
                    failed.again_at = Instant::now() + RETRY_AFTER;
                    self.failed.insert(number, failed);
                    result = Err(error);
                }
            }
        }
        result
    }

    fn flush_for(&mut self, first: oneshot::Sender<Result<(), StoreError>>, jobs: &Receiver<IndexJob>) {
        let mut replies = vec![first];
        // Whoever else waits already is served by the same commit; documents in between are taken along.
        while let Ok(job) = jobs.try_recv() {
            match job {
                IndexJob::Add { position, documents } => self.add(position, documents),
                IndexJob::Flush(reply) => replies.push(reply),
                other => self.other(other),
            }
            if replies.len() > 1000 {
                break;
            }
        }
        let result = self.commit_all();
        for reply in replies {
            let result = result
                .as_ref()
                .copied()
                .map_err(|error| StoreError::Unavailable(error.to_string()));
            drop(reply.send(result));
        }
    }

    fn other(&mut self, job: IndexJob) {
        match job {
            IndexJob::Add { position, documents } => self.add(position, documents),
            IndexJob::Flush(reply) => drop(reply.send(self.commit_all())),
            IndexJob::Compact(stream, backing, reply) => drop(reply.send(self.compact(stream, backing))),
            IndexJob::Forget(backing, reply) => {
                self.open.remove(&backing.row.number);
                self.failed.remove(&backing.row.number);
                drop(reply.send(Ok(())));
            }
        }
    }

    fn compact(&mut self, stream: Arc<Stream>, backing: Arc<Backing>) -> Result<(), StoreError> {
        let segments = backing.index()?.searchable_segment_ids().map_err(index_error)?;
        let number = backing.row.number;
        if segments.len() < 2 || backing.deleted.load(std::sync::atomic::Ordering::Acquire) {
            return Ok(());
        }
        if let std::collections::hash_map::Entry::Vacant(e) = self.open.entry(number) {
            let next_seq = backing.commit_point()?.next_seq;
            e.insert(open_writer(stream, backing, next_seq)?);
        }
        let open = self.open.get_mut(&number).expect("it was just opened");
        if open.waiting > 0 {
            open.commit(self.seen)?;
        }
        let segments = open.backing.index()?.searchable_segment_ids().map_err(index_error)?;
        open.writer.merge(&segments).wait().map_err(index_error)?;
        open.writer.garbage_collect_files().wait().map_err(index_error)?;
        open.last_used = Instant::now();
        open.backing.reload()
    }

    fn commit_due(&mut self) {
        if let Err(error) = self.retry(false) {
            tracing::warn!(%error, "an index still cannot be written; it is tried again");
        }
        let now = Instant::now();
        let due: Vec<u32> = self
            .open
            .values()
            .filter(|open| {
                open.waiting >= COMMIT_DOCUMENTS || open.waiting > 0 && now >= open.dirty_since + COMMIT_AFTER
            })
            .map(|open| open.backing.row.number)
            .collect();
        if !due.is_empty() {
            drop(self.commit(&due));
        }
    }

    fn commit_all(&mut self) -> Result<(), StoreError> {
        let again = self.retry(true);
        let due: Vec<u32> = self
            .open
            .values()
            .filter(|open| open.waiting > 0)
            .map(|open| open.backing.row.number)
            .collect();
        self.commit(&due).and(again)
    }

    fn commit(&mut self, due: &[u32]) -> Result<(), StoreError> {
        let mut result = Ok(());
        for number in due {
            let Some(open) = self.open.get_mut(number) else {
                continue;
            };
            if let Err(error) = open.commit(self.seen) {
                if open.backing.deleted.load(std::sync::atomic::Ordering::Acquire) {
                    self.open.remove(number);
                    continue;
                }
                tracing::warn!(index = %open.backing.row.name, %error, "a commit failed; it is tried again");
                self.fail(*number);
                result = Err(error);
            }
        }
        let waiting = self
            .open
            .values()
            .filter(|open| open.waiting > 0)
            .map(|open| open.oldest);
        let needed = waiting.chain(self.failed.values().map(|failed| failed.oldest)).min();
        (self.on_trim)(needed.unwrap_or(self.seen));
        result
    }

    fn close_idle(&mut self) {
        let now = Instant::now();
        let idle: Vec<u32> = self
            .open
            .values()
            .filter(|open| open.waiting == 0 && now >= open.last_used + CLOSE_AFTER)
            .map(|open| open.backing.row.number)
            .collect();
        for number in idle {
            if let Some(open) = self.open.remove(&number)
                && let Err(error) = open.writer.wait_merging_threads()
            {
                tracing::warn!(%error, "a merge did not finish; it is repeated later");
            }
        }
    }
}

fn open_writer(stream: Arc<Stream>, backing: Arc<Backing>, next_seq: u64) -> Result<Open, StoreError> {
    let options = IndexWriterOptions::builder()
        .num_worker_threads(1)
        .num_merge_threads(1)
        .memory_budget_per_thread(WRITER_MEMORY)
        .build();
    let writer: IndexWriter = backing.index()?.writer_with_options(options).map_err(index_error)?;
    writer.set_merge_policy(Box::new(LogMergePolicy::default()));
    let now = Instant::now();
    Ok(Open {
        stream,
        backing,
        writer,
        waiting: 0,
        oldest: 0,
        next_seq,
        dirty_since: now,
        last_used: now,
    })
}

impl Open {
    fn commit(&mut self, seen: Position) -> Result<(), StoreError> {
        let point = CommitPoint {
            wal: seen,
            next_seq: self.next_seq,
        };
        let payload = serde_json::to_string(&point).expect("two numbers can always be written");
        let mut prepared = self.writer.prepare_commit().map_err(index_error)?;
        prepared.set_payload(&payload);
        prepared.commit().map_err(index_error)?;
        self.backing.reload()?;
        self.waiting = 0;
        self.stream.committed(&self.backing, self.next_seq);
        Ok(())
    }
}
