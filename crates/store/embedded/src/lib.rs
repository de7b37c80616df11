//! Documents in one folder: SQLite for ordinary indices, tantivy behind a write-ahead log for data streams.
//!
//! Folder layout:
//!
//! | path | holds |
//! |---|---|
//! | `lock` | the lock that one process holds, with its pid |
//! | `format` | the format version |
//! | `state.db` | ordinary indices (fleet state), the catalogue of data streams and templates |
//! | `wal/` | acknowledged documents of data streams that are not yet in their index |
//! | `streams/<uuid>/` | one tantivy index for each backing index |
//!
//! How a write flows: an operation on an ordinary index goes through the queue of the one state writer, which commits a
//! group of them in one SQLite transaction and then answers. A document for a data stream is parsed once, in the caller's
//! task, into what tantivy indexes; the log thread gives it its sequence number, appends it, syncs the group and answers;
//! the index thread adds it and commits each stream within a second, with the log position in the commit. A start replays
//! the log from there.
//!
//! Who may read or write what is the business of `access`; what documents mean is the business of the callers.

mod aggregations;
mod folder;
mod maintenance;
mod names;
mod options;
mod point_in_time;
mod results;
mod state;
mod store;
mod streams;

pub use folder::OpenError;
pub use maintenance::{CheckReport, restore};
pub use options::{EmbeddedOptions, Retention, Rollover};
pub use store::EmbeddedStore;
