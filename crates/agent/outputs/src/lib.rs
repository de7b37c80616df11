//! The ways an agent ships its events: queue, bulk requests, and the other outputs.
//!
//! An output owns everything between an input's events and their acknowledgement: the memory queue, the disk queue for
//! events whose source cannot give them twice, the requests and their retries, the dead-letter file. It leaves to others
//! where events come from (`inputs`), what they hold (`event`) and which output an input uses (`agent`).
//!
//! Data flows `OutputHandle::{replayable, events}` -> [`queue::Queue`] (overflow -> `disk_queue`) -> workers -> answer -> `Ack`.

mod backoff;
mod build;
pub mod counters;
mod dead_letter;
pub mod disk_queue;
pub mod elasticsearch;
mod file;
mod format_string;
mod intake;
mod kafka;
mod logstash;
mod metadata;
mod probe;
pub mod queue;
mod queue_cipher;
mod setting;
mod wire;
mod workers;

pub use backoff::Backoff;
pub use build::{OutputContext, OutputError, OutputHandle, StopOutcome, asks_for_encryption, build};
pub use counters::{Counters, CountersSnapshot};
pub use probe::{ProbeError, probe};
pub use queue_cipher::QueueCipher;
