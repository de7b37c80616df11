//! The thread that puts logged documents into their indices and commits them.
//!
//! A stream that got a document is committed [`COMMIT_AFTER`] later at the latest, so that it is visible within a second;
//! one that nobody looks into, [`COMMIT_UNASKED_AFTER`] later, or when somebody does.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use store::StoreError;
use tantivy::indexer::{
    AddOperation, IndexWriterOptions, LogMergePolicy, MergeCandidate, MergePolicy, NoMergePolicy, SegmentWriter,
    UserOperation,
};
use tantivy::{IndexWriter, SegmentMeta, TantivyDocument};
use tokio::sync::oneshot;

use super::Stream;
use super::backing::{Backing, CommitPoint, index_error};
use super::room::Place;
use super::wal::Position;

/// From the first document to its commit.
const COMMIT_AFTER: Duration = Duration::from_millis(700);
/// The same where nobody looks, for as many documents as wait without a writer.
const COMMIT_UNASKED_AFTER: Duration = Duration::from_mins(5);
/// Documents in one commit. All of them may wait for the writer's thread at the same time: its queue counts batches, not documents.
const COMMIT_DOCUMENTS: usize = 20_000;
/// Documents that are handed to a writer's thread at a time.
const BATCH_DOCUMENTS: usize = 100;
/// So many documents between two commits are worth a writer that stays open.
const WRITER_DOCUMENTS: usize = 1_000;
/// A writer that had no such commit for this long is closed: it holds threads and some 10 MB.
const CLOSE_AFTER: Duration = Duration::from_secs(30);
/// Segments with so many documents in all are merged on the spot.
const SMALL_MERGE: u32 = 20_000;
/// Segments with more documents stay as they are: merging two million documents took over a gigabyte, and eight of these are at most
/// a third of a million.
const MOST_TO_MERGE: usize = 40_000;
/// Memory in which a writer gathers documents before it writes a segment, bytes.
const WRITER_MEMORY: usize = 48 << 20;
/// The same for the few documents of one commit: a table of 32,768 terms. An ordinary writer's has 524,288, all of them set
/// at each commit, which was half of the processor time of a quiet host.
const FEW_MEMORY: usize = 1_000_000;
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
    Add {
        position: Position,
        documents: Vec<Placed>,
        place: Place,
    },
    /// Commit all and answer.
    Flush(oneshot::Sender<Result<(), StoreError>>),
    /// Merge the segments of an index into one, and answer.
    Compact(Arc<Stream>, Arc<Backing>, oneshot::Sender<Result<(), StoreError>>),
    /// Let go of a backing index that is being deleted, and answer.
    Forget(Arc<Backing>, oneshot::Sender<Result<(), StoreError>>),
}

/// Where the documents of an index are until their commit. A host has two dozen streams with a few documents every ten
/// seconds: with a writer for each, memory would be spent on nothing.
enum Pending {
    /// Here, until a writer is opened for the commit alone.
    Here(Vec<TantivyDocument>),
    /// In a writer that stays open.
    Writer(Batches),
}

/// A writer, and the documents that its thread gets next, [`BATCH_DOCUMENTS`] at a time: one by one, it would be woken for each.
struct Batches {
    writer: Box<IndexWriter>,
    next: Vec<UserOperation>,
}

impl Batches {
    fn new(writer: IndexWriter) -> Self {
        Self {
            writer: Box::new(writer),
            next: Vec::new(),
        }
    }

    fn add(&mut self, document: TantivyDocument) -> Result<(), StoreError> {
        self.next.push(UserOperation::Add(document));
        if self.next.len() < BATCH_DOCUMENTS {
            return Ok(());
        }
        self.hand_over()
    }

    fn hand_over(&mut self) -> Result<(), StoreError> {
        self.writer.run(self.next.drain(..)).map_err(index_error)?;
        Ok(())
    }
}

struct Open {
    stream: Arc<Stream>,
    backing: Arc<Backing>,
    pending: Pending,
    /// Added and not committed.
    waiting: usize,
    /// The oldest log record that is not committed.
    oldest: Position,
    next_seq: u64,
    dirty_since: Instant,
    /// When a writer was last worth keeping open.
    last_busy: Instant,
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
        let mut open = Open::new(self.stream.clone(), self.backing.clone(), self.next_seq);
        for document in self.stream.waiting_for(&self.backing, self.next_seq)? {
            open.add(document)?;
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
                Ok(IndexJob::Flush(reply)) => self.flush_for(reply, jobs),
                Ok(other) => self.other(other),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.commit_due();
            self.close_idle();
        }
        drop(self.commit_all());
        for (_, mut open) in self.open.drain() {
            open.close();
        }
    }

    fn next_deadline(&self) -> Duration {
        let now = Instant::now();
        let due = |open: &Open| match open.waiting {
            0 => open.last_busy + CLOSE_AFTER,
            _ => open.due_at(now),
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
            Entry::Vacant(place) => {
                let (stream, backing) = (placed.stream.clone(), placed.backing.clone());
                place.insert(Open::new(stream, backing, placed.seq_no))
            }
        };
        let now = Instant::now();
        if open.waiting == 0 {
            open.dirty_since = now;
            open.oldest = position;
        }
        open.waiting += 1;
        open.next_seq = placed.seq_no + 1;
        open.add(placed.document).inspect_err(|_| self.fail(number))
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
            IndexJob::Add {
                position,
                documents,
                place: _until_they_are_added,
            } => self.add(position, documents),
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
        let open = match self.open.entry(number) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => {
                let next_seq = backing.commit_point()?.next_seq;
                place.insert(Open::new(stream, backing, next_seq))
            }
        };
        if open.waiting > 0 {
            open.commit(self.seen)?;
        }
        let segments = open.backing.index()?.searchable_segment_ids().map_err(index_error)?;
        let writer = &mut open.writer()?.writer;
        writer.merge(&segments).wait().map_err(index_error)?;
        writer.garbage_collect_files().wait().map_err(index_error)?;
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
            .filter(|open| open.waiting >= COMMIT_DOCUMENTS || open.waiting > 0 && now >= open.due_at(now))
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
            .filter(|open| open.waiting == 0 && now >= open.last_busy + CLOSE_AFTER)
            .map(|open| open.backing.row.number)
            .collect();
        for number in idle {
            if let Some(mut open) = self.open.remove(&number) {
                open.close();
            }
        }
    }
}

fn merge_policy() -> LogMergePolicy {
    let mut policy = LogMergePolicy::default();
    policy.set_max_docs_before_merge(MOST_TO_MERGE);
    policy
}

fn open_writer(backing: &Backing) -> Result<IndexWriter, StoreError> {
    let options = IndexWriterOptions::builder()
        .num_worker_threads(1)
        .num_merge_threads(1)
        .memory_budget_per_thread(WRITER_MEMORY)
        .build();
    backing.index()?.writer_with_options(options).map_err(index_error)
}

impl Open {
    fn new(stream: Arc<Stream>, backing: Arc<Backing>, next_seq: u64) -> Self {
        let now = Instant::now();
        Self {
            stream,
            backing,
            pending: Pending::Here(Vec::new()),
            waiting: 0,
            oldest: 0,
            next_seq,
            dirty_since: now,
            last_busy: now,
        }
    }

    /// When what waits is to be committed.
    fn due_at(&self, now: Instant) -> Instant {
        let are_few = matches!(&self.pending, Pending::Here(documents) if documents.len() < WRITER_DOCUMENTS);
        let after = if are_few && !self.stream.is_asked(now) {
            COMMIT_UNASKED_AFTER
        } else {
            COMMIT_AFTER
        };
        self.dirty_since + after
    }

    fn add(&mut self, document: TantivyDocument) -> Result<(), StoreError> {
        match &mut self.pending {
            Pending::Here(documents) if documents.len() < WRITER_DOCUMENTS => {
                documents.push(document);
                Ok(())
            }
            _ => self.writer()?.add(document),
        }
    }

    /// The writer that stays open, with all that is pending in it.
    fn writer(&mut self) -> Result<&mut Batches, StoreError> {
        if let Pending::Here(documents) = &mut self.pending {
            let writer = open_writer(&self.backing)?;
            writer.set_merge_policy(Box::new(merge_policy()));
            let mut batches = Batches::new(writer);
            for document in std::mem::take(documents) {
                batches.add(document)?;
            }
            self.pending = Pending::Writer(batches);
            self.last_busy = Instant::now();
        }
        match &mut self.pending {
            Pending::Writer(batches) => Ok(batches),
            Pending::Here(_) => unreachable!("it was just replaced"),
        }
    }

    fn commit(&mut self, seen: Position) -> Result<(), StoreError> {
        let point = CommitPoint {
            wal: seen,
            next_seq: self.next_seq,
        };
        let payload = serde_json::to_string(&point).expect("two numbers can always be written");
        match &mut self.pending {
            Pending::Writer(batches) => {
                batches.hand_over()?;
                commit(&mut batches.writer, &payload)?;
            }
            Pending::Here(documents) => {
                let documents = std::mem::take(documents);
                if let Some(writer) = commit_few(&self.backing, documents, &payload)? {
                    self.pending = Pending::Writer(Batches::new(writer));
                    self.last_busy = Instant::now();
                }
            }
        }
        self.backing.reload()?;
        if self.waiting >= WRITER_DOCUMENTS {
            self.last_busy = Instant::now();
        }
        self.waiting = 0;
        self.stream.committed(&self.backing, self.next_seq);
        Ok(())
    }

    fn close(&mut self) {
        if let Pending::Writer(batches) = std::mem::replace(&mut self.pending, Pending::Here(Vec::new())) {
            close(*batches.writer);
        }
    }
}

fn commit(writer: &mut IndexWriter, payload: &str) -> Result<(), StoreError> {
    let mut prepared = writer.prepare_commit().map_err(index_error)?;
    prepared.set_payload(payload);
    prepared.commit().map_err(index_error)?;
    Ok(())
}

/// Commits documents with a writer of their own, and merges the segments that such commits have left. The writer comes
/// back when a merge goes on that is too large to wait for.
fn commit_few(
    backing: &Backing,
    documents: Vec<TantivyDocument>,
    payload: &str,
) -> Result<Option<IndexWriter>, StoreError> {
    let mut writer = open_writer(backing)?;
    writer.set_merge_policy(Box::new(NoMergePolicy));
    write_segment(&writer, documents).map_err(index_error)?;
    commit(&mut writer, payload)?;
    // The documents are committed: what fails from here on is no reason to add them again.
    match merge_few(backing, &mut writer) {
        Ok(Merges::Going) => return Ok(Some(writer)),
        Ok(Merges::Done) => {}
        Err(error) => tracing::warn!(%error, "a merge failed; it is repeated later"),
    }
    close(writer);
    Ok(None)
}

/// Writes a segment on this thread, with less memory than the writer's own threads take at least.
fn write_segment(writer: &IndexWriter, documents: Vec<TantivyDocument>) -> tantivy::Result<()> {
    let segment = writer.new_segment();
    let mut segment_writer = SegmentWriter::for_segment(FEW_MEMORY, segment.clone())?;
    for document in documents {
        // The stamp orders additions among deletions, of which there are none.
        segment_writer.add_document(AddOperation { opstamp: 0, document })?;
    }
    let documents = segment_writer.max_doc();
    segment_writer.finalize()?;
    let meta = writer.index().new_segment_meta(segment.id(), documents);
    meta.untrack_temp_docstore();
    writer.add_segment(meta)
}

enum Merges {
    Done,
    Going,
}

fn merge_few(backing: &Backing, writer: &mut IndexWriter) -> Result<Merges, StoreError> {
    let policy = merge_policy();
    let segments = backing.index()?.searchable_segment_metas().map_err(index_error)?;
    let mut merges = Merges::Done;
    for MergeCandidate(ids) in policy.compute_merge_candidates(&segments) {
        let merge = writer.merge(&ids);
        let of_these = segments.iter().filter(|segment| ids.contains(&segment.id()));
        if of_these.map(SegmentMeta::num_docs).sum::<u32>() <= SMALL_MERGE {
            merge.wait().map_err(index_error)?;
        } else {
            merges = Merges::Going;
        }
    }
    writer.set_merge_policy(Box::new(policy));
    Ok(merges)
}

fn close(writer: IndexWriter) {
    if let Err(error) = writer.wait_merging_threads() {
        tracing::warn!(%error, "a merge did not finish; it is repeated later");
    }
}
