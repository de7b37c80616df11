//! Ingest pipelines: what is done to a document between the request and the store.
//!
//! Pure: no store, no clock (runs take `now`), no I/O. A pipeline is compiled when it is put, so that a mistake is refused
//! then, by name, and not on the first document. [`stamp`] is the last step of every document of a data stream and works
//! on bytes; [`builtin`] holds the pipelines that come with the program.

pub mod builtin;
mod pipeline;
pub mod stamp;

mod condition;
mod config;
mod document;
mod processor;
mod template;

mod date;
mod dissect;
mod grok;

pub use document::Document;
pub use pipeline::{IngestError, PipelineError, Pipelines};
