//! Data streams: a write-ahead log in front of tantivy indices.
//!
//! A document goes: caller's task ([`document`] parses) -> log thread ([`Logger`]: number, append, sync, answer) -> index
//! thread ([`indexer`]: add, commit within a second). What was acknowledged and is not committed yet is also held in
//! memory, so that `get` and the check for duplicate ids see it.

pub(crate) mod answers;
pub(crate) mod backing;
mod document;
pub(crate) mod fast_aggregations;
mod indexer;
mod logger;
mod narrowed;
mod room;
pub(crate) mod schema;
pub(crate) mod search;
pub(crate) mod translate;
pub(crate) mod wal;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use camino::Utf8PathBuf;
use query::mapping::Misfit;
use store::{Document, Operation, Outcome, Rejection, RejectionKind, SeqNo, Source, StoreError};
use tantivy::TantivyDocument;
use tokio::sync::{oneshot, watch};

use self::answers::Answers;
use self::backing::Backing;
use self::indexer::{IndexJob, Indexer, Placed};
use self::logger::{LogJob, Logger};
use crate::folder::OpenError;
use crate::state::catalogue::{BackingRow, StreamRow};

/// Log records that may wait for the index thread; more make writers wait.
const INDEX_QUEUE: usize = 64;
/// Bulk requests that may wait for the log thread; more are refused as too busy.
const LOG_QUEUE: usize = 256;

/// A data stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) template: Option<String>,
    pub(crate) parts: Mutex<Parts>,
    checkpoint: watch::Sender<Option<SeqNo>>,
    /// When somebody last looked into it.
    asked: Mutex<Instant>,
    idle_after: Duration,
}

/// What of a stream changes.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) generation: u64,
    /// Oldest first; the last one is written to.
    pub(crate) backing: Vec<Arc<Backing>>,
    next_seq: SeqNo,
    /// Acknowledged and not visible yet, by rising number.
    pending: VecDeque<Pending>,
    /// Ids in `pending` that clients gave.
    pending_ids: HashMap<String, SeqNo>,
    pub(crate) deleted: bool,
}

#[derive(Clone, Debug)]
struct Pending {
    seq_no: SeqNo,
    id: Option<String>,
    backing: Arc<Backing>,
    source: Bytes,
}

impl Stream {
    fn new(row: &StreamRow, backing: Vec<Arc<Backing>>, next_seq: SeqNo, idle_after: Duration) -> Self {
        let parts = Parts {
            generation: row.generation,
            backing,
            next_seq,
            pending: VecDeque::new(),
            pending_ids: HashMap::new(),
            deleted: false,
        };
        Self {
            name: row.name.clone(),
            template: row.template.clone(),
            parts: Mutex::new(parts),
            checkpoint: watch::Sender::new(next_seq.checked_sub(1)),
            asked: Mutex::new(Instant::now()),
            idle_after,
        }
    }

    /// Whether somebody waits for documents or has looked for some lately.
    pub(crate) fn is_asked(&self, now: Instant) -> bool {
        if self.checkpoint.receiver_count() > 0 {
            return true;
        }
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_duration_since(asked) < self.idle_after
    }

    /// Notes that somebody looks into it; `true` when it was left alone until now and has documents that cannot be found.
    pub(crate) fn ask(&self) -> bool {
        let now = Instant::now();
        let was_asked = self.is_asked(now);
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = now;
        !was_asked && !self.parts().pending.is_empty()
    }

    pub(crate) fn parts(&self) -> std::sync::MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_seq(&self) -> SeqNo {
        self.parts().next_seq
    }

    /// From now on documents go to `backing`.
    pub(crate) fn start(&self, backing: Arc<Backing>, generation: u64) {
        let mut parts = self.parts();
        parts.backing.push(backing);
        parts.generation = generation;
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Option<SeqNo>> {
        self.checkpoint.subscribe()
    }

    /// Everything of `backing` before `next_seq` can be searched now.
    fn committed(&self, backing: &Arc<Backing>, next_seq: SeqNo) {
        let checkpoint = {
            let mut parts = self.parts();
            let Parts {
                pending, pending_ids, ..
            } = &mut *parts;
            pending.retain(|one| {
                let done = one.seq_no < next_seq && one.backing.row.number == backing.row.number;
                if done && let Some(id) = &one.id {
                    pending_ids.remove(id);
                }
                !done
            });
            parts
                .pending
                .front()
                .map_or(parts.next_seq, |first| first.seq_no)
                .checked_sub(1)
        };
        self.checkpoint.send_replace(checkpoint);
    }

    /// The documents of `backing` below `next_seq` that are acknowledged and not committed, parsed again.
    fn waiting_for(&self, backing: &Backing, next_seq: SeqNo) -> Result<Vec<TantivyDocument>, StoreError> {
        let parts = self.parts();
        let waiting = parts
            .pending
            .iter()
            .filter(|one| one.seq_no < next_seq && one.backing.row.number == backing.row.number);
        let parse = |one: &Pending| {
            let mut document = document::parse(&one.source).map_err(StoreError::Damaged)?;
            complete(&mut document, one.seq_no, one.id.as_deref());
            Ok(document)
        };
        waiting.map(parse).collect()
    }

    /// The document, committed or not.
    pub(crate) fn get(&self, id: &str) -> Result<Option<Document>, StoreError> {
        let (waiting, backing) = {
            let parts = self.parts();
            let found = parts.pending.iter().find(|one| match &one.id {
                Some(given) => given == id,
                None => one.backing.seq_of(id) == Some(one.seq_no),
            });
            (found.cloned(), parts.backing.clone())
        };
        if let Some(one) = waiting {
            return Ok(Some(Document {
                index: one.backing.row.name.clone(),
                id: id.to_owned(),
                version: 1,
                seq_no: one.seq_no,
                source: Source::from_checked(one.source),
            }));
        }
        for one in backing.iter().rev() {
            if let Some(document) = search::get(one, id)? {
                return Ok(Some(document));
            }
        }
        Ok(None)
    }

    /// Drops what a deleted backing index still had pending.
    pub(crate) fn forget(&self, backing: &Backing) {
        let mut parts = self.parts();
        parts.pending.retain(|one| one.backing.row.number != backing.row.number);
        let ids = parts
            .pending
            .iter()
            .filter_map(|one| one.id.clone().map(|id| (id, one.seq_no)))
            .collect();
        parts.pending_ids = ids;
    }
}

/// A parsed document on its way to the log.
pub(crate) struct Prepared {
    pub(crate) stream: Arc<Stream>,
    pub(crate) id: Option<String>,
    pub(crate) source: Bytes,
    pub(crate) document: TantivyDocument,
}

/// All data streams.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) directory: Utf8PathBuf,
    /// Streams into which nobody looks for this long are committed rarely: a host has two dozen of them, and their commits
    /// are most of what a quiet host would spend.
    idle_after: Duration,
    pub(crate) answers: Answers,
    all: RwLock<BTreeMap<String, Arc<Stream>>>,
    log: Mutex<Option<SyncSender<LogJob>>>,
    index: Mutex<Option<SyncSender<IndexJob>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Streams {
    /// Opens what the catalogue names, replays the log and starts the threads.
    pub(crate) fn open(
        folder: &camino::Utf8Path,
        rows: &[StreamRow],
        backing_rows: Vec<BackingRow>,
        idle_after: Duration,
    ) -> Result<Self, OpenError> {
        let directory = folder.join("streams");
        remove_strangers(&directory, &backing_rows);
        let all = open_streams(&directory, rows, backing_rows, idle_after)?;
        let (index_jobs, index_queue) = sync_channel(INDEX_QUEUE);
        let (log_jobs, log_queue) = sync_channel(LOG_QUEUE);
        let first = furthest_commit(&all)?;
        let mut replay = Replay::new(&all);
        let mut waiting = Vec::new();
        let wal = wal::Wal::open(&folder.join("wal"), first, &mut |position, entry| {
            waiting.extend(replay.place(position, entry)?);
            Ok(())
        })?;
        let wal = Arc::new(Mutex::new(wal));
        let trimmed = wal.clone();
        let next = wal.lock().unwrap_or_else(PoisonError::into_inner).next();
        let mut indexer = Indexer::new(
            next,
            Box::new(move |position| {
                let mut wal = trimmed.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(error) = wal.trim(position) {
                    tracing::warn!(%error, "the log could not be trimmed; it is tried again");
                }
            }),
        );
        let failed = |source| OpenError::Folder {
            path: folder.to_owned(),
            source,
        };
        if !waiting.is_empty() {
            tracing::info!(documents = waiting.len(), "replaying the log of data streams");
            // Before anyone can ask: who was answered before the crash finds the document now.
            indexer.replay(waiting);
        }
        let index_thread = start("stream-index", move || indexer.run(&index_queue)).map_err(failed)?;
        let logger = Logger::new(wal, index_jobs.clone());
        let log_thread = start("stream-log", move || run_logger(logger, &log_queue)).map_err(failed)?;
        Ok(Self {
            directory,
            idle_after,
            answers: Answers::default(),
            all: RwLock::new(all),
            log: Mutex::new(Some(log_jobs)),
            index: Mutex::new(Some(index_jobs)),
            threads: Mutex::new(vec![log_thread, index_thread]),
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Stream>> {
        self.all
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Stream>> {
        self.all
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// The stream and backing index of that name.
    pub(crate) fn backing(&self, name: &str) -> Option<(Arc<Stream>, Arc<Backing>)> {
        self.all().into_iter().find_map(|stream| {
            let found = stream.parts().backing.iter().find(|one| one.row.name == name).cloned();
            found.map(|backing| (stream, backing))
        })
    }

    pub(crate) fn insert(&self, row: &StreamRow, backing: BackingRow) -> Arc<Stream> {
        let first_seq = backing.first_seq;
        let stream = Arc::new(Stream::new(
            row,
            vec![Arc::new(Backing::new(&self.directory, backing))],
            first_seq,
            self.idle_after,
        ));
        self.all
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(row.name.clone(), stream.clone());
        stream
    }

    pub(crate) fn remove(&self, name: &str) -> Option<Arc<Stream>> {
        self.all.write().unwrap_or_else(PoisonError::into_inner).remove(name)
    }

    /// Parses the documents, has them logged, and says what became of each, at its place in `operations`.
    pub(crate) async fn append(&self, operations: Vec<(Arc<Stream>, Operation)>) -> Result<Vec<Outcome>, StoreError> {
        let prepared = tokio::task::spawn_blocking(move || operations.into_iter().map(prepare).collect::<Vec<_>>())
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(prepared.len());
        let mut good = Vec::with_capacity(prepared.len());
        for one in prepared {
            match one {
                Ok(one) => {
                    outcomes.push(None);
                    good.push(one);
                }
                Err(rejection) => outcomes.push(Some(Outcome::Rejected(rejection))),
            }
        }
        let mut written = if good.is_empty() {
            Vec::new()
        } else {
            self.log(good).await?
        }
        .into_iter();
        let missing = || StoreError::Unavailable("the log gave no outcome for a document".to_owned());
        outcomes
            .into_iter()
            .map(|outcome| outcome.or_else(|| written.next()).ok_or_else(missing))
            .collect()
    }

    async fn log(&self, documents: Vec<Prepared>) -> Result<Vec<Outcome>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let sender = self
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(closed)?;
        match sender.try_send(LogJob { documents, reply }) {
            Ok(()) => answer.await.map_err(|_| closed())?,
            Err(std::sync::mpsc::TrySendError::Full(job)) => Ok(job.documents.iter().map(too_busy).collect()),
            Err(std::sync::mpsc::TrySendError::Disconnected(_)) => Err(closed()),
        }
    }

    /// Makes everything that was acknowledged visible.
    pub(crate) async fn flush(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(IndexJob::Flush(reply)).await?;
        answer.await.map_err(|_| closed())?
    }

    /// Takes a backing index out of the index thread's hands, and removes its files.
    pub(crate) async fn drop_backing(&self, stream: &Stream, backing: &Arc<Backing>) -> Result<(), StoreError> {
        backing.deleted.store(true, Ordering::Release);
        let (reply, answer) = oneshot::channel();
        self.send(IndexJob::Forget(backing.clone(), reply)).await?;
        answer.await.map_err(|_| closed())??;
        stream.forget(backing);
        let backing = backing.clone();
        tokio::task::spawn_blocking(move || backing.remove())
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    /// Merges the segments of every index into one.
    pub(crate) async fn compact(&self) -> Result<(), StoreError> {
        let mut backing = Vec::new();
        for stream in self.all() {
            let parts = stream.parts();
            backing.extend(parts.backing.iter().map(|one| (stream.clone(), one.clone())));
        }
        for (stream, one) in backing {
            let (reply, answer) = oneshot::channel();
            self.send(IndexJob::Compact(stream, one, reply)).await?;
            answer.await.map_err(|_| closed())??;
        }
        Ok(())
    }

    async fn send(&self, job: IndexJob) -> Result<(), StoreError> {
        let sender = self
            .index
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(closed)?;
        tokio::task::spawn_blocking(move || sender.send(job))
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))?
            .map_err(|_| closed())
    }

    /// Commits everything and ends the threads.
    pub(crate) fn close(&self) {
        drop(self.log.lock().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.index.lock().unwrap_or_else(PoisonError::into_inner).take());
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the store ended with a panic; the log is replayed at the next start");
            }
        }
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

fn run_logger(mut logger: Logger, queue: &Receiver<LogJob>) {
    logger.run(queue);
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

fn prepare((stream, operation): (Arc<Stream>, Operation)) -> Result<Prepared, Rejection> {
    let reject = |kind, reason: String| Rejection {
        index: operation.index.clone(),
        id: operation.id.clone().unwrap_or_default(),
        kind,
        reason,
    };
    let store::Action::Create(source) = &operation.action else {
        let reason = "only write ops with an op_type of create are allowed in data streams".to_owned();
        return Err(reject(RejectionKind::IllegalArgument, reason));
    };
    if operation.id.as_ref().is_some_and(|id| id.is_empty() || id.len() > 512) {
        return Err(reject(
            RejectionKind::IllegalArgument,
            "the id must have 1 to 512 bytes".to_owned(),
        ));
    }
    let last = stream.parts().backing.last().cloned();
    if let Some(mapping) = last.and_then(|backing| backing.declared()) {
        let id = operation.id.as_deref().unwrap_or_default();
        mapping.admit(id, &source.to_value()).map_err(|misfit| match misfit {
            Misfit::Value(reason) => reject(RejectionKind::Malformed, reason),
            Misfit::Strict(reason) => reject(RejectionKind::StrictMapping, reason),
        })?;
    }
    match document::parse(source.bytes()) {
        Ok(document) => Ok(Prepared {
            stream,
            id: operation.id.clone(),
            source: source.bytes().clone(),
            document,
        }),
        Err(reason) => Err(reject(RejectionKind::Malformed, reason)),
    }
}

fn too_busy(document: &Prepared) -> Outcome {
    Outcome::Rejected(Rejection {
        index: document.stream.name.clone(),
        id: document.id.clone().unwrap_or_default(),
        kind: RejectionKind::TooBusy,
        reason: "the store has more to write than it can take; try again later".to_owned(),
    })
}

fn open_streams(
    directory: &camino::Utf8Path,
    rows: &[StreamRow],
    backing_rows: Vec<BackingRow>,
    idle_after: Duration,
) -> Result<BTreeMap<String, Arc<Stream>>, OpenError> {
    let mut by_stream: HashMap<String, Vec<Arc<Backing>>> = HashMap::new();
    for row in backing_rows {
        by_stream
            .entry(row.stream.clone())
            .or_default()
            .push(Arc::new(Backing::new(directory, row)));
    }
    let mut all = BTreeMap::new();
    for row in rows {
        let backing = by_stream.remove(&row.name).unwrap_or_default();
        let next_seq = match backing.last() {
            Some(last) => {
                let damaged = |error: StoreError| OpenError::Damaged {
                    path: last.directory.clone(),
                    reason: error.to_string(),
                };
                // A new backing index knows only the number at which it was made; its forerunner may have gone on.
                let mut next = 0;
                for one in backing.iter().rev().take(2) {
                    next = next.max(one.commit_point().map_err(damaged)?.next_seq);
                }
                next
            }
            None => 0,
        };
        let stream = Stream::new(row, backing, next_seq, idle_after);
        all.insert(row.name.clone(), Arc::new(stream));
    }
    Ok(all)
}

/// The furthest log position that any index knows of.
fn furthest_commit(all: &BTreeMap<String, Arc<Stream>>) -> Result<u64, OpenError> {
    let mut furthest = 0;
    for stream in all.values() {
        for one in &stream.parts().backing {
            let damaged = |error: StoreError| OpenError::Damaged {
                path: one.directory.clone(),
                reason: error.to_string(),
            };
            furthest = furthest.max(one.commit_point().map_err(damaged)?.wal);
        }
    }
    Ok(furthest)
}

/// Folders that no catalogue row names: made or deleted while the process ended.
fn remove_strangers(directory: &camino::Utf8Path, rows: &[BackingRow]) {
    let Ok(entries) = fs_err::read_dir(directory) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let known = entry
            .file_name()
            .to_str()
            .is_some_and(|name| rows.iter().any(|row| row.uuid == name));
        if !known && let Err(error) = fs_err::remove_dir_all(entry.path()) {
            tracing::warn!(%error, "a left-over folder could not be removed");
        }
    }
}

/// Sorts out which logged documents are not in their index yet.
struct Replay {
    backing: HashMap<u32, (Arc<Stream>, Arc<Backing>, u64)>,
}

impl Replay {
    fn new(all: &BTreeMap<String, Arc<Stream>>) -> Self {
        let mut backing = HashMap::new();
        for stream in all.values() {
            for one in &stream.parts().backing {
                backing.insert(one.row.number, (stream.clone(), one.clone(), u64::MAX));
            }
        }
        Self { backing }
    }

    fn place(&mut self, position: u64, entry: wal::Entry) -> Result<Option<(u64, Placed)>, OpenError> {
        // A backing index that is gone was deleted by retention or by its owner.
        let Some((stream, backing, committed)) = self.backing.get_mut(&entry.backing) else {
            return Ok(None);
        };
        let damaged = |reason: String| OpenError::Damaged {
            path: backing.directory.clone(),
            reason,
        };
        if *committed == u64::MAX {
            *committed = backing
                .commit_point()
                .map_err(|error| damaged(error.to_string()))?
                .next_seq;
        }
        // Not by the position: behind a damaged stretch positions may be higher than they were.
        if entry.seq_no < *committed {
            return Ok(None);
        }
        let mut document = document::parse(&entry.source).map_err(damaged)?;
        complete(&mut document, entry.seq_no, entry.id.as_deref());
        let mut parts = stream.parts();
        parts.next_seq = parts.next_seq.max(entry.seq_no + 1);
        parts.remember(Pending {
            seq_no: entry.seq_no,
            id: entry.id,
            backing: backing.clone(),
            source: entry.source,
        });
        drop(parts);
        let placed = Placed {
            stream: stream.clone(),
            backing: backing.clone(),
            seq_no: entry.seq_no,
            document,
        };
        Ok(Some((position, placed)))
    }
}

impl Parts {
    fn remember(&mut self, pending: Pending) {
        if let Some(id) = &pending.id {
            self.pending_ids.insert(id.clone(), pending.seq_no);
        }
        self.pending.push_back(pending);
    }
}

/// Adds what is known only when a document has its place.
fn complete(document: &mut TantivyDocument, seq_no: SeqNo, id: Option<&str>) {
    document.add_u64(schema::LAYOUT.seq_no, seq_no);
    if let Some(id) = id {
        document.add_text(schema::LAYOUT.id, id);
    }
}
