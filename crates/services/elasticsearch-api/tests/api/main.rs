//! The API over the embedded store, asked over its router as clients ask.
#![expect(clippy::unwrap_used, reason = "a server that cannot be made ends its test")]

mod harness;

mod beats;
mod bulk;
mod compatibility;
mod data_streams;
mod documents;
mod fleet;
mod more_searches;
mod recorded;
mod searches;
mod security;
mod settings;
