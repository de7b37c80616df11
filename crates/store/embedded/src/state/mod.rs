//! Ordinary indices, the catalogue of data streams and templates: one SQLite database.
//!
//! One thread writes ([`writer`]); readers have connections of their own and see what was committed. Each index is a table
//! keyed by `seq`, so a document moves to the end with every write; the next number of each index is kept beside it and
//! never goes back, not even when the index is deleted and made again.

pub(crate) mod apply;
pub(crate) mod catalogue;
pub(crate) mod mappings;
mod projection;
pub(crate) mod search;
pub(crate) mod writer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use query::mapping::Mapping;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use store::{SeqNo, StoreError};
use tokio::sync::watch;

use crate::folder::OpenError;

/// Fields that are columns with an index of their own, by index name: those that servers look documents up by.
const LOOKED_UP: &[(&str, &[&str])] = &[
    (".fleet-agents", &["policy_id", "access_api_key_id", "enrollment_id"]),
    (".fleet-actions", &["action_id", "expiration"]),
    (".fleet-actions-results", &["action_id", "agent_id"]),
    (".fleet-policies", &["policy_id"]),
    (".fleet-enrollment-api-keys", &["api_key_id", "policy_id"]),
    (".fleet-artifacts", &["identifier"]),
];

pub(crate) fn looked_up(index: &str) -> &'static [&'static str] {
    LOOKED_UP
        .iter()
        .find(|(name, _)| *name == index)
        .map_or(&[], |(_, fields)| fields)
}

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS indices (number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, uuid TEXT NOT NULL,
  next_seq INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS retired (name TEXT PRIMARY KEY, next_seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS templates (name TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS retention (stream TEXT PRIMARY KEY, millis INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS streams (name TEXT PRIMARY KEY, template TEXT, generation INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS backing (number INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, name TEXT NOT NULL UNIQUE,
  uuid TEXT NOT NULL, created INTEGER NOT NULL, first_seq INTEGER NOT NULL);
";

/// What readers need to know about an index.
#[derive(Clone, Debug)]
pub(crate) struct IndexMeta {
    pub(crate) number: i64,
    pub(crate) uuid: String,
    pub(crate) looked_up: &'static [&'static str],
    /// The types of its fields; `None` for our own indices, whose documents are what our own types make of them.
    pub(crate) mapping: Option<Arc<Mapping>>,
}

/// The shared side of the database: names, reader connections, checkpoints.
#[derive(Debug)]
pub(crate) struct State {
    path: Utf8PathBuf,
    readers: Mutex<Vec<Connection>>,
    names: RwLock<HashMap<String, IndexMeta>>,
    checkpoints: Mutex<HashMap<String, watch::Sender<Option<SeqNo>>>>,
    pub(crate) projections: projection::Projections,
}

impl State {
    /// Opens or makes the database; returns the writing connection as well.
    pub(crate) fn open(path: &Utf8Path) -> Result<(Self, Connection), OpenError> {
        let damaged = |error: rusqlite::Error| OpenError::Damaged {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let connection = Connection::open(path).map_err(damaged)?;
        prepare_writer(&connection).map_err(damaged)?;
        let state = Self {
            path: path.to_owned(),
            readers: Mutex::default(),
            names: RwLock::default(),
            checkpoints: Mutex::default(),
            projections: projection::Projections::default(),
        };
        state.load(&connection).map_err(damaged)?;
        Ok((state, connection))
    }

    fn load(&self, connection: &Connection) -> rusqlite::Result<()> {
        mappings::complete(connection)?;
        let mut statement = connection.prepare("SELECT name, number, uuid, next_seq, body FROM indices")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            let next_seq: SeqNo = row.get(3)?;
            let meta = IndexMeta {
                number: row.get(1)?,
                uuid: row.get(2)?,
                looked_up: looked_up(&name),
                mapping: mappings::of(&name, &row.get::<_, String>(4)?),
            };
            self.insert(&name, meta);
            self.publish(&name, next_seq.checked_sub(1));
        }
        Ok(())
    }

    pub(crate) fn index(&self, name: &str) -> Option<IndexMeta> {
        self.names
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    pub(crate) fn indices(&self) -> Vec<(String, IndexMeta)> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = names.iter().map(|(name, meta)| (name.clone(), meta.clone())).collect();
        all.sort_by(|left, right| left.0.cmp(&right.0));
        all
    }

    pub(crate) fn insert(&self, name: &str, meta: IndexMeta) {
        self.names
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), meta);
    }

    pub(crate) fn remove(&self, name: &str) {
        if let Some(meta) = self.index(name) {
            self.projections.forget(meta.number);
        }
        self.names.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.publish(name, None);
    }

    /// Makes a new checkpoint known to those who wait.
    pub(crate) fn publish(&self, name: &str, checkpoint: Option<SeqNo>) {
        let mut all = self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(name) {
            Some(sender) => {
                sender.send_replace(checkpoint);
            }
            None => {
                all.insert(name.to_owned(), watch::Sender::new(checkpoint));
            }
        }
    }

    /// Follows the checkpoint of an index, which need not exist yet.
    pub(crate) fn watch(&self, name: &str) -> watch::Receiver<Option<SeqNo>> {
        let mut all = self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(name.to_owned())
            .or_insert_with(|| watch::Sender::new(None))
            .subscribe()
    }

    /// Runs `read` on a reader connection.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let pooled = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match pooled {
            Some(connection) => connection,
            None => self.reader()?,
        };
        let result = read(&connection);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < 4 {
            readers.push(connection);
        }
        result
    }

    /// A reader connection that is not given back, for a point in time.
    pub(crate) fn reader(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(store_error)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(store_error)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    }
}

fn prepare_writer(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -8000)?;
    // A page that several commits changed is copied into the database once for all of them: 16 MiB rather than 4.
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
    connection.set_prepared_statement_cache_capacity(256);
    connection.execute_batch(SCHEMA)
}

/// What an error of the database means to the caller.
pub(crate) fn store_error(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::DiskFull(error.to_string()),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}
