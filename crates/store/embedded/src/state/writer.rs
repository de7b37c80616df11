//! The one thread that writes to the database, with group commit: while one group is synced to disk, the next gathers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use query::mapping::Mapping;
use rusqlite::Connection;
use store::{Operation, Outcome, Rejection, RejectionKind, SeqNo, StoreError};
use tokio::sync::oneshot;

use super::apply::OpenIndex;
use super::{IndexMeta, State, looked_up, mappings, store_error};
use crate::names;

/// Operations that share one transaction, at most.
const LARGEST_GROUP: usize = 1000;
/// While several callers write at the same time, a commit waits so long for what they send: one sync for ten of them costs
/// a fifth of ten syncs. A lone caller does not wait.
const GATHERING: Duration = Duration::from_millis(1);

type BulkReply = oneshot::Sender<Result<Vec<Outcome>, StoreError>>;

enum Job {
    Bulk(Vec<Operation>, BulkReply),
    Admin(Box<dyn FnOnce(&mut Writer) + Send>),
}

/// The queue to the writing thread; the thread ends when the last handle is gone.
#[derive(Clone, Debug)]
pub(crate) struct WriterQueue {
    jobs: Sender<Job>,
}

/// The writing thread's own view.
pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) state: Arc<State>,
    open: HashMap<String, OpenIndex>,
}

impl WriterQueue {
    /// Starts the thread.
    pub(crate) fn start(
        connection: Connection,
        state: Arc<State>,
    ) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (jobs, receiver) = channel();
        let writer = Writer {
            connection,
            state,
            open: HashMap::new(),
        };
        let thread = std::thread::Builder::new()
            .name("state-writer".to_owned())
            .spawn(move || writer.run(&receiver))?;
        Ok((Self { jobs }, thread))
    }

    pub(crate) async fn bulk(&self, operations: Vec<Operation>) -> Result<Vec<Outcome>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job::Bulk(operations, reply)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Runs `work` in a transaction of its own, after what was queued before.
    pub(crate) async fn admin<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.queue_admin(work)?.await.map_err(|_| closed())?
    }

    fn queue_admin<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, StoreError>>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let run = move |writer: &mut Writer| {
            let result = writer.transaction(work);
            // Nobody may be waiting any more: the work is done all the same.
            drop(reply.send(result));
        };
        self.jobs.send(Job::Admin(Box::new(run))).map_err(|_| closed())?;
        Ok(answer)
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        let mut callers = 0;
        while let Ok(first) = jobs.recv() {
            if callers > 1 {
                std::thread::sleep(GATHERING);
            }
            let mut group = Vec::new();
            let mut size = 0;
            let mut next = Some(first);
            let mut admin = None;
            while let Some(job) = next.take() {
                match job {
                    Job::Bulk(operations, reply) => {
                        size += operations.len();
                        group.push((operations, reply));
                    }
                    Job::Admin(work) => admin = Some(work),
                }
                if size < LARGEST_GROUP && admin.is_none() {
                    next = jobs.try_recv().ok();
                }
            }
            callers = group.len();
            self.commit_group(group);
            if let Some(work) = admin {
                work(&mut self);
            }
        }
        if let Err(error) = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::warn!(%error, "the last checkpoint of the state database failed; the next start repeats it");
        }
    }

    fn commit_group(&mut self, group: Vec<(Vec<Operation>, BulkReply)>) {
        if group.is_empty() {
            return;
        }
        let (work, replies): (Vec<Vec<Operation>>, Vec<BulkReply>) = group.into_iter().unzip();
        let result = self.transaction(move |writer| {
            work.iter()
                .map(|operations| writer.apply(operations))
                .collect::<Result<Vec<_>, StoreError>>()
        });
        match result {
            Ok(outcomes) => replies
                .into_iter()
                .zip(outcomes)
                .for_each(|(reply, outcomes)| drop(reply.send(Ok(outcomes)))),
            Err(error) => replies
                .into_iter()
                .for_each(|reply| drop(reply.send(Err(same(&error))))),
        }
    }

    /// Runs `work` in a transaction; what it changed is known to readers and waiters only after the commit.
    fn transaction<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(store_error)?;
        let result = work(self).and_then(|value| {
            self.store_numbers().map_err(store_error)?;
            self.connection.execute_batch("COMMIT").map_err(store_error)?;
            Ok(value)
        });
        match result {
            Ok(value) => {
                self.publish();
                Ok(value)
            }
            Err(error) => {
                // The transaction may be gone already, as after a full disk.
                drop(self.connection.execute_batch("ROLLBACK"));
                self.open.clear();
                Err(error)
            }
        }
    }

    fn store_numbers(&self) -> rusqlite::Result<()> {
        let mut update = self
            .connection
            .prepare_cached("UPDATE indices SET next_seq = ? WHERE number = ?")?;
        for index in self.moved() {
            update.execute((index.next_seq, index.number))?;
            if let (Some(mapping), true) = (&index.mapping, index.mapping_changed) {
                mappings::store(&self.connection, index.number, mapping)?;
            }
        }
        Ok(())
    }

    fn moved(&self) -> impl Iterator<Item = &OpenIndex> {
        self.open
            .values()
            .filter(|index| index.mapping_changed || index.committed != Some(index.next_seq))
    }

    fn publish(&mut self) {
        for index in self.moved() {
            let known = self.state.index(&index.name);
            if (known.is_none() || index.mapping_changed)
                && let Ok(uuid) = known.map_or_else(|| self.uuid_of(index.number), |known| Ok(known.uuid))
            {
                let meta = IndexMeta {
                    number: index.number,
                    uuid,
                    looked_up: looked_up(&index.name),
                    mapping: index.mapping.clone(),
                };
                self.state.insert(&index.name, meta);
            }
            self.state.publish(&index.name, index.next_seq.checked_sub(1));
        }
        for index in self.open.values_mut() {
            index.mapping_changed = false;
            index.committed = Some(index.next_seq);
        }
    }

    fn uuid_of(&self, number: i64) -> rusqlite::Result<String> {
        self.connection
            .query_row("SELECT uuid FROM indices WHERE number = ?", [number], |row| row.get(0))
    }

    fn apply(&mut self, operations: &[Operation]) -> Result<Vec<Outcome>, StoreError> {
        let mut refused: HashSet<&str> = HashSet::new();
        let mut outcomes = Vec::with_capacity(operations.len());
        for operation in operations {
            if !refused.contains(operation.index.as_str())
                && let Err(reason) = self.open_or_create(&operation.index)?
            {
                refused.insert(&operation.index);
                outcomes.push(rejected(operation, reason));
                continue;
            }
            let Some(index) = self.open.get_mut(&operation.index) else {
                outcomes.push(rejected(operation, format!("Invalid index name [{}]", operation.index)));
                continue;
            };
            let id = operation.id.clone().unwrap_or_else(|| new_id(index.next_seq));
            outcomes.push(index.apply(&self.connection, operation, &id).map_err(store_error)?);
        }
        Ok(outcomes)
    }

    /// Opens an index, making it when it is missing. The inner error is the reason why such an index cannot be.
    fn open_or_create(&mut self, name: &str) -> Result<Result<(), String>, StoreError> {
        if self.open.contains_key(name) {
            return Ok(Ok(()));
        }
        let found = self.connection.query_row(
            "SELECT number, next_seq, body FROM indices WHERE name = ?",
            [name],
            |row| {
                Ok(OpenIndex {
                    name: name.to_owned(),
                    number: row.get(0)?,
                    next_seq: row.get(1)?,
                    committed: row.get(1)?,
                    mapping: mappings::of(name, &row.get::<_, String>(2)?),
                    mapping_changed: false,
                })
            },
        );
        match found {
            Ok(index) => {
                self.open.insert(name.to_owned(), index);
                Ok(Ok(()))
            }
            Err(rusqlite::Error::QueryReturnedNoRows) => {
                if let Err(reason) = names::check(name) {
                    return Ok(Err(reason));
                }
                self.create(name, "{}").map(Ok)
            }
            Err(error) => Err(store_error(error)),
        }
    }

    /// Makes an index; its numbers go on where those of a deleted one of the same name ended.
    pub(crate) fn create(&mut self, name: &str, body: &str) -> Result<(), StoreError> {
        self.create_in_database(name, body).map_err(store_error)
    }

    fn create_in_database(&mut self, name: &str, body: &str) -> rusqlite::Result<()> {
        let retired = self
            .connection
            .query_row("SELECT next_seq FROM retired WHERE name = ?", [name], |row| row.get(0));
        let next_seq: u64 = retired.unwrap_or(0);
        let uuid = uuid::Uuid::new_v4().simple().to_string();
        self.connection.execute(
            "INSERT INTO indices (name, uuid, next_seq, body) VALUES (?, ?, ?, ?)",
            (name, &uuid, next_seq, body),
        )?;
        let number = self.connection.last_insert_rowid();
        OpenIndex::create_table(&self.connection, number, name)?;
        let mapping = mappings::of(name, body);
        self.open.insert(
            name.to_owned(),
            OpenIndex {
                name: name.to_owned(),
                number,
                next_seq,
                committed: None,
                // Stored with the first commit: what is kept is complete from the beginning.
                mapping_changed: mapping.is_some(),
                mapping,
            },
        );
        Ok(())
    }

    /// Lays a mapping over that of an index.
    pub(crate) fn merge_mapping(&mut self, name: &str, added: Mapping) -> Result<(), StoreError> {
        if self.state.index(name).is_none() {
            return Err(StoreError::IndexNotFound(name.to_owned()));
        }
        self.open_or_create(name)?.map_err(StoreError::Unsupported)?;
        let Some(index) = self.open.get_mut(name) else {
            return Err(StoreError::IndexNotFound(name.to_owned()));
        };
        if let Some(present) = &index.mapping {
            let mut merged = (**present).clone();
            merged.merge(added)?;
            index.mapping = Some(std::sync::Arc::new(merged));
            index.mapping_changed = true;
        }
        Ok(())
    }

    /// Deletes an index; its next number is kept for one that comes later under the same name.
    pub(crate) fn delete(&mut self, name: &str) -> Result<bool, StoreError> {
        let Some(meta) = self.state.index(name) else {
            return Ok(false);
        };
        self.open.remove(name);
        let number = meta.number;
        self.connection
            .execute_batch(&format!(
                "INSERT OR REPLACE INTO retired SELECT name, next_seq FROM indices WHERE number = {number};
                 DELETE FROM indices WHERE number = {number}; DROP TABLE d{number};"
            ))
            .map_err(store_error)?;
        Ok(true)
    }
}

/// An id that begins with the number of the write: those of one group stand side by side in the table of ids, where random
/// ones would each change a page of their own.
fn new_id(seq_no: SeqNo) -> String {
    let random = uuid::Uuid::new_v4().as_u128() & 0xffff_ffff_ffff_ffff;
    format!("{seq_no:016x}{random:016x}")
}

fn rejected(operation: &Operation, reason: String) -> Outcome {
    Outcome::Rejected(Rejection {
        index: operation.index.clone(),
        id: operation.id.clone().unwrap_or_else(|| new_id(0)),
        kind: RejectionKind::IllegalArgument,
        reason,
    })
}

/// One failure told to several callers.
fn same(error: &StoreError) -> StoreError {
    match error {
        StoreError::DiskFull(text) => StoreError::DiskFull(text.clone()),
        StoreError::Damaged(text) => StoreError::Damaged(text.clone()),
        StoreError::Misfit(error) => StoreError::Misfit(error.clone()),
        other => StoreError::Unavailable(other.to_string()),
    }
}
