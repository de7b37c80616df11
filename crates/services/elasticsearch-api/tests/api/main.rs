//! The API over the embedded store, asked over its router as clients ask.

mod harness;

mod bulk;
mod data_streams;
mod documents;
mod fleet;
mod recorded;
mod searches;
mod security;
mod settings;
