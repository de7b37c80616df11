//! What a store is opened with.

use std::time::Duration;

use camino::Utf8PathBuf;
use clock::SharedClock;

/// What a store is opened with.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// The folder; made when it is missing.
    pub directory: Utf8PathBuf,
    /// Decides the names of backing indices, rollover and retention.
    pub clock: SharedClock,
    /// When data streams start a new backing index.
    pub rollover: Rollover,
    /// When backing indices are deleted.
    pub retention: Retention,
    /// A data stream into which nobody has looked for this long makes its few documents searchable every five minutes, and
    /// at once when somebody does look. Elasticsearch has the same rule (`index.search.idle.after`).
    pub search_idle_after: Duration,
}

impl EmbeddedOptions {
    /// Defaults for everything but the folder and the clock.
    pub fn new(directory: impl Into<Utf8PathBuf>, clock: SharedClock) -> Self {
        Self {
            directory: directory.into(),
            clock,
            rollover: Rollover::default(),
            retention: Retention::default(),
            search_idle_after: Duration::from_secs(30),
        }
    }
}

/// When a data stream starts a new backing index: at whichever comes first.
#[derive(Clone, Copy, Debug)]
pub struct Rollover {
    /// Age of the present one.
    pub age: Duration,
    /// Bytes of the present one.
    pub bytes: u64,
}

impl Default for Rollover {
    fn default() -> Self {
        Self {
            age: Duration::from_hours(168),
            bytes: 4 << 30,
        }
    }
}

/// When whole backing indices are deleted, oldest first. The one that is written to stays.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Deleted when its newest document is older than this.
    pub age: Option<Duration>,
    /// Deleted while all data streams together are larger than this.
    pub bytes: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            age: Some(Duration::from_hours(720)),
            bytes: None,
        }
    }
}
