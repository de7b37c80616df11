//! The document that an agent ships, and what is done to it between its source and its output.
//!
//! An [`Event`] is one JSON object as bytes. What is the same for all events of a stream is prepared once, in
//! [`Stream::prefix`]; a source appends what differs. Only streams whose processors look at the event build a JSON tree
//! ([`Documents::document`]). Every event carries an [`Ack`], so that its source learns when it may forget it.
//!
//! The crate also owns what policies say about events: [`processors`], [`condition`]s, [`variables`] and how inputs are
//! rendered with them ([`rendering`]); and the health words that inputs and outputs share ([`unit`]).
//! It opens no file and no socket: sources are in `inputs`, delivery is in `outputs`.

pub mod ack;
pub mod common;
pub mod condition;
pub mod document;
pub mod fields;
pub mod json;
pub mod processors;
pub mod rendering;
pub mod unit;
pub mod variables;

pub use ack::{Ack, AckTracker, acknowledge_all};
pub use common::AgentMetadata;
pub use condition::Condition;
pub use document::{DataStream, Documents, Event, EventSender, Stream};
pub use processors::Processors;
pub use unit::{Reporter, StreamReport, UnitReport, UnitState, UnitType};
pub use variables::Variables;
