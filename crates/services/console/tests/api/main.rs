//! The Fleet API over the embedded store, asked over its router as clients ask.

mod harness;

mod access;
mod agents;
mod objects;
mod packages;
mod policies;
mod setup;
mod tls_checks;
