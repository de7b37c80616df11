//! Where an agent's events come from: files, journals, host metrics, listeners.
//!
//! [`build`] turns one rendered input of a policy into its streams, each an [`Input`] that runs until it is stopped,
//! puts batches of events into a bounded channel and reports its health. How far a source has been delivered is kept in
//! the [`Registry`], which only ever moves on acknowledgements. Inputs know nothing of outputs.
//!
//! Threads: each stream is one task; files are read on the runtime's blocking threads, at most two at a time for one
//! stream, and such a read is let go only when its batch is in the channel. So a stream holds at most two batches of
//! about half a mebibyte, however many files it reads.

mod build;
mod config;
mod filestream;
pub mod host;
mod journald;
mod listener;
mod metrics;
mod prometheus;
pub mod registry;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clock::SharedClock;
use event::{EventSender, Reporter};
use tokio_util::sync::CancellationToken;

pub use build::{BuildContext, BuildError, BuiltInput, InputPaths, build, is_supported};
pub use registry::{Registry, RegistryError};

/// A source of events.
#[async_trait]
pub trait Input: fmt::Debug + Send {
    /// Runs until `context.stop` is cancelled. What goes wrong on the way is reported, not returned.
    async fn run(self: Box<Self>, context: InputContext);

    /// How long it may go on after `context.stop` was cancelled, because its settings ask it to finish something.
    fn time_to_finish(&self) -> Duration {
        Duration::ZERO
    }
}

/// What an input gets to run with.
#[derive(Clone, Debug)]
pub struct InputContext {
    /// Where events go; waiting for room is the back-pressure.
    pub events: EventSender,
    /// The unit that the input belongs to; streams report by their ids.
    pub reporter: Reporter,
    /// The time.
    pub clock: SharedClock,
    /// How far each source has been delivered.
    pub registry: Arc<Registry>,
    /// Ends the input.
    pub stop: CancellationToken,
}
