//! The log thread: numbers documents, refuses duplicates, appends and syncs groups, answers.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use store::{Outcome, Rejection, RejectionKind, StoreError, WriteResult, Written};
use tokio::sync::oneshot;

use super::backing::{Backing, io_error};
use super::indexer::{IndexJob, Placed};
use super::room::Room;
use super::wal::{Entry, Position, Wal};
use super::{Pending, Prepared, complete, search};

/// Bulk requests that share one sync, at most.
const LARGEST_GROUP: usize = 64;

/// One bulk request's documents.
pub(crate) struct LogJob {
    pub(crate) documents: Vec<Prepared>,
    pub(crate) reply: oneshot::Sender<Result<Vec<Outcome>, StoreError>>,
}

/// A bulk request with its record, before the sync.
struct Numbered {
    reply: oneshot::Sender<Result<Vec<Outcome>, StoreError>>,
    outcomes: Vec<Outcome>,
    placed: Vec<(Placed, Pending)>,
    payload: BytesMut,
}

pub(crate) struct Logger {
    wal: Arc<Mutex<Wal>>,
    index: SyncSender<IndexJob>,
    room: Arc<Room>,
}

impl Logger {
    pub(crate) fn new(wal: Arc<Mutex<Wal>>, index: SyncSender<IndexJob>) -> Self {
        let room = Arc::default();
        Self { wal, index, room }
    }

    /// Waits until the index thread has room for them.
    fn to_add(&self, position: Position, documents: Vec<Placed>) -> IndexJob {
        let place = self.room.take(documents.len());
        IndexJob::Add {
            position,
            documents,
            place,
        }
    }

    pub(crate) fn run(&mut self, queue: &Receiver<LogJob>) {
        while let Ok(first) = queue.recv() {
            let mut group = vec![Self::number(first)];
            while group.len() < LARGEST_GROUP
                && let Ok(job) = queue.try_recv()
            {
                group.push(Self::number(job));
            }
            self.commit(group);
        }
    }

    fn number(job: LogJob) -> Numbered {
        let mut numbered = Numbered {
            reply: job.reply,
            outcomes: Vec::with_capacity(job.documents.len()),
            placed: Vec::with_capacity(job.documents.len()),
            payload: BytesMut::new(),
        };
        for document in job.documents {
            let outcome = number_one(document, &mut numbered);
            numbered.outcomes.push(outcome);
        }
        numbered
    }

    fn commit(&self, mut group: Vec<Numbered>) {
        let taken = group.iter_mut().map(|one| std::mem::take(&mut one.payload));
        let payloads: Vec<BytesMut> = taken.filter(|payload| !payload.is_empty()).collect();
        let (first, written) = {
            let mut wal = self.wal.lock().unwrap_or_else(PoisonError::into_inner);
            let written = if payloads.is_empty() {
                Ok(())
            } else {
                wal.append(&payloads)
            };
            (
                wal.next() - written.as_ref().map_or(0, |()| payloads.len() as u64),
                written,
            )
        };
        if let Err(error) = written {
            tracing::error!(%error, "the log could not be written; nothing of the group was acknowledged");
            for one in group {
                one.fail(&error);
            }
            return;
        }
        let mut position = first;
        for one in group {
            let has_record = !one.placed.is_empty();
            let documents: Vec<Placed> = one.placed.into_iter().map(|(placed, _)| placed).collect();
            if has_record {
                if self.index.send(self.to_add(position, documents)).is_err() {
                    tracing::error!("the index thread has ended; the log is replayed at the next start");
                }
                position += 1;
            }
            // After the index thread's queue has it, so that a flush that follows the answer includes it.
            // Nobody may be waiting any more: the write counts all the same.
            drop(one.reply.send(Ok(one.outcomes)));
        }
    }
}

impl Numbered {
    fn fail(self, error: &std::io::Error) {
        for (placed, pending) in &self.placed {
            let mut parts = placed.stream.parts();
            parts.pending.retain(|one| one.seq_no != pending.seq_no);
            if let Some(id) = &pending.id {
                parts.pending_ids.remove(id);
            }
        }
        drop(self.reply.send(Err(io_error(error))));
    }
}

fn number_one(document: Prepared, numbered: &mut Numbered) -> Outcome {
    let Prepared {
        stream,
        id,
        source,
        document: mut fields,
    } = document;
    let reject = |kind, reason: String| {
        let id = id.clone().unwrap_or_default();
        Outcome::Rejected(Rejection {
            index: stream.name.clone(),
            id,
            kind,
            reason,
        })
    };
    let mut parts = stream.parts();
    let Some(backing) = parts.backing.last().cloned().filter(|_| !parts.deleted) else {
        return reject(RejectionKind::IndexNotFound, format!("no such index [{}]", stream.name));
    };
    if let Some(id) = &id {
        match is_duplicate(&parts, &backing, id) {
            Ok(false) => {}
            Ok(true) => {
                let reason = format!("[{id}]: version conflict, document already exists (current version [1])");
                return Outcome::Rejected(Rejection {
                    index: backing.row.name.clone(),
                    id: id.clone(),
                    kind: RejectionKind::VersionConflict,
                    reason,
                });
            }
            Err(error) => return reject(RejectionKind::TooBusy, error.to_string()),
        }
    }
    let seq_no = parts.next_seq;
    parts.next_seq += 1;
    complete(&mut fields, seq_no, id.as_deref());
    Entry {
        backing: backing.row.number,
        seq_no,
        id: id.clone(),
        source: source.clone(),
    }
    .encode(&mut numbered.payload);
    let pending = Pending {
        seq_no,
        id: id.clone(),
        backing: backing.clone(),
        source,
    };
    parts.remember(pending.clone());
    drop(parts);
    let written = Written {
        index: backing.row.name.clone(),
        id: id.unwrap_or_else(|| backing.made_id(seq_no)),
        version: 1,
        seq_no,
        result: WriteResult::Created,
    };
    numbered.placed.push((
        Placed {
            stream,
            backing,
            seq_no,
            document: fields,
        },
        pending,
    ));
    Outcome::Done(written)
}

fn is_duplicate(parts: &super::Parts, backing: &Arc<Backing>, id: &str) -> Result<bool, StoreError> {
    if parts.pending_ids.contains_key(id) {
        return Ok(true);
    }
    if let Some(seq_no) = backing.seq_of(id)
        && seq_no < parts.next_seq
    {
        return Ok(true);
    }
    if backing.deleted.load(Ordering::Acquire) {
        return Ok(false);
    }
    search::has_id(backing, id)
}
