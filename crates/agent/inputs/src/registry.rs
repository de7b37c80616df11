//! How far each source has been delivered, kept through crashes.
//!
//! A folder with one checkpoint and one file of operations that follow it. Every line is `<crc32> <json>`; each stands
//! for itself, so a torn or damaged line costs that line only, and an older offset (events are sent again, none is
//! lost). A thread of its own writes what changed, several times a second while something changes, and syncs it; when
//! the operations have grown, it writes a new checkpoint beside the old one and renames it.
//!
//! Nothing is written before it was acknowledged: [`Entry::advance`] is what acknowledgement callbacks call.

mod file;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use camino::Utf8Path;
use serde_json::Value;
use tracing::{error, warn};

use file::{Operation, RegistryFiles};

/// How long changes are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(200);
/// How long to wait after a failed write.
const RETRY: Duration = Duration::from_secs(2);

/// Why the registry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The folder cannot be made, read or written.
    #[error("cannot use the registry folder `{directory}`; check that the agent may write to it")]
    Io {
        /// The folder.
        directory: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// The positions of all sources of one agent.
pub struct Registry {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    last_problem: Mutex<Option<String>>,
}

struct State {
    entries: HashMap<Key, Arc<Entry>>,
    changed: Vec<Arc<Entry>>,
    stopping: bool,
    /// Counts the rounds of writing, so that `flush` can wait for one that started after it.
    asked: u64,
    written: u64,
}

/// A source: the stream that reads it and an id of its own.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    stream: String,
    id: String,
}

/// One source's place in the registry.
pub struct Entry {
    key: Key,
    position: AtomicU64,
    meta: Mutex<Value>,
    meta_changed: AtomicBool,
    queued: AtomicBool,
    removed: AtomicBool,
    registry: std::sync::Weak<Shared>,
}

impl Registry {
    /// Opens or makes the registry in `directory`. Damaged lines are left out with a warning.
    pub fn open(directory: &Utf8Path) -> Result<Arc<Self>, RegistryError> {
        let fail = |source| RegistryError::Io {
            directory: directory.to_string(),
            source,
        };
        let (files, operations) = RegistryFiles::open(directory).map_err(fail)?;
        let shared = Arc::new_cyclic(|weak| Shared {
            state: Mutex::new(State::replay(operations, weak)),
            wake: Condvar::new(),
            last_problem: Mutex::default(),
        });
        let for_writer = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("registry".to_owned())
            .spawn(move || for_writer.write_changes(files));
        Ok(Arc::new(Self {
            shared,
            writer: Mutex::new(Some(writer.map_err(fail)?)),
        }))
    }

    /// The sources that are known of a stream.
    pub fn entries(&self, stream: &str) -> Vec<Arc<Entry>> {
        self.shared
            .lock()
            .entries
            .values()
            .filter(|entry| entry.key.stream == stream)
            .cloned()
            .collect()
    }

    /// A new source at `position`; an old one of the same id is replaced.
    pub fn insert(&self, stream: &str, id: &str, position: u64, meta: Value) -> Arc<Entry> {
        let key = Key {
            stream: stream.to_owned(),
            id: id.to_owned(),
        };
        let entry = Arc::new(Entry::new(key.clone(), position, meta, Arc::downgrade(&self.shared)));
        entry.meta_changed.store(true, Ordering::Relaxed);
        self.shared.lock().entries.insert(key, Arc::clone(&entry));
        entry.queue();
        entry
    }

    /// Writes what has changed until now and returns when it is on disk, or `false` when it could not be written.
    /// Blocks: call it from a blocking thread.
    pub fn flush(&self) -> bool {
        let mut state = self.shared.lock();
        state.asked += 1;
        let wanted = state.asked;
        self.shared.wake.notify_all();
        while state.written < wanted && !state.stopping {
            state = self.shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        self.last_problem().is_none()
    }

    /// Why the last write failed, while it is not made good.
    pub fn last_problem(&self) -> Option<String> {
        self.shared
            .last_problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.wake.notify_all();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            error!("the registry's writer ended badly");
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("entries", &self.shared.lock().entries.len())
            .finish_non_exhaustive()
    }
}

impl State {
    fn replay(operations: Vec<Operation>, registry: &std::sync::Weak<Shared>) -> Self {
        let mut entries: HashMap<Key, Arc<Entry>> = HashMap::new();
        for operation in operations {
            let key = Key {
                stream: operation.stream,
                id: operation.id,
            };
            if operation.removed {
                entries.remove(&key);
                continue;
            }
            if let Some(known) = entries.get(&key) {
                known.position.store(operation.position, Ordering::Relaxed);
                if let Some(meta) = operation.meta {
                    *known.meta() = meta;
                }
                continue;
            }
            // Without its first line nothing is known of the source but its offset.
            let Some(meta) = operation.meta else { continue };
            let entry = Entry::new(key.clone(), operation.position, meta, std::sync::Weak::clone(registry));
            entries.insert(key, Arc::new(entry));
        }
        Self {
            entries,
            changed: Vec::new(),
            stopping: false,
            asked: 0,
            written: 0,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer's thread.
    fn write_changes(&self, mut files: RegistryFiles) {
        loop {
            let stopping = self.wait_for_changes();
            let (changed, asked) = {
                let mut state = self.lock();
                (std::mem::take(&mut state.changed), state.asked)
            };
            let written = self.write_round(&mut files, &changed);
            let mut state = self.lock();
            if let Err(problem) = &written {
                warn!(error = %problem, "cannot write the registry; will try again");
                state.changed.extend(changed);
            }
            state.written = asked;
            drop(state);
            *self.last_problem.lock().unwrap_or_else(PoisonError::into_inner) =
                written.as_ref().err().map(ToString::to_string);
            self.wake.notify_all();
            if stopping {
                return;
            }
            if written.is_err() {
                self.pause(RETRY);
            }
        }
    }

    /// Waits for the first change, then a moment for more. `true` when this is the last round.
    fn wait_for_changes(&self) -> bool {
        let mut state = self.lock();
        while state.changed.is_empty() && !state.stopping && state.asked == state.written {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let urgent = state.stopping || state.asked != state.written;
        drop(state);
        if !urgent {
            self.pause(GATHER);
        }
        self.lock().stopping
    }

    /// Sleeps, unless a stop or a flush comes.
    fn pause(&self, duration: Duration) {
        let state = self.lock();
        let quiet = |state: &mut State| !state.stopping && state.asked == state.written;
        drop(
            self.wake
                .wait_timeout_while(state, duration, quiet)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    fn write_round(&self, files: &mut RegistryFiles, changed: &[Arc<Entry>]) -> io::Result<()> {
        let operations: Vec<Operation> = changed.iter().map(|entry| entry.operation()).collect();
        files.append(&operations)?;
        if files.is_grown() {
            let entries: Vec<Arc<Entry>> = self.lock().entries.values().cloned().collect();
            let operations: Vec<Operation> = entries.iter().map(|entry| entry.whole()).collect();
            files.checkpoint(&operations)?;
        }
        Ok(())
    }
}

impl Entry {
    fn new(key: Key, position: u64, meta: Value, registry: std::sync::Weak<Shared>) -> Self {
        Self {
            key,
            position: AtomicU64::new(position),
            meta: Mutex::new(meta),
            meta_changed: AtomicBool::new(false),
            queued: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            registry,
        }
    }

    /// The source's own id.
    pub fn id(&self) -> &str {
        &self.key.id
    }

    /// Up to where everything has been acknowledged.
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    /// What is known of the source besides its position.
    pub fn meta(&self) -> MutexGuard<'_, Value> {
        self.meta.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything up to `position` has been acknowledged. It is written soon.
    pub fn advance(&self, position: u64) {
        self.position.store(position, Ordering::Release);
        self.queue();
    }

    /// Replaces what is known of the source.
    pub fn set_meta(&self, meta: Value) {
        *self.meta() = meta;
        self.meta_changed.store(true, Ordering::Release);
        self.queue();
    }

    /// Replaces position and meta together.
    pub fn advance_with(&self, position: u64, meta: Value) {
        self.position.store(position, Ordering::Release);
        self.set_meta(meta);
    }

    /// Forgets the source.
    pub fn remove(&self) {
        self.removed.store(true, Ordering::Release);
        if let Some(registry) = self.registry.upgrade() {
            registry.lock().entries.remove(&self.key);
        }
        self.queue();
    }

    fn queue(&self) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(registry) = self.registry.upgrade() else {
            return;
        };
        let mut state = registry.lock();
        let changed = match state.entries.get(&self.key) {
            Some(entry) if std::ptr::eq(entry.as_ref(), self) => Arc::clone(entry),
            // A newer source has taken the place of this one.
            Some(_) => return,
            None => Arc::new(self.gone()),
        };
        state.changed.push(changed);
        registry.wake.notify_all();
    }

    fn gone(&self) -> Self {
        let entry = Self::new(self.key.clone(), 0, Value::Null, std::sync::Weak::new());
        entry.removed.store(true, Ordering::Relaxed);
        entry
    }

    /// What must be written now.
    fn operation(&self) -> Operation {
        // Cleared before reading: a change in between queues the entry again.
        self.queued.store(false, Ordering::Release);
        if self.meta_changed.swap(false, Ordering::AcqRel) {
            return self.whole();
        }
        Operation {
            meta: None,
            ..self.without_meta()
        }
    }

    fn whole(&self) -> Operation {
        Operation {
            meta: Some(self.meta().clone()),
            ..self.without_meta()
        }
    }

    fn without_meta(&self) -> Operation {
        Operation {
            stream: self.key.stream.clone(),
            id: self.key.id.clone(),
            position: self.position(),
            meta: None,
            removed: self.removed.load(Ordering::Acquire),
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key)
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
