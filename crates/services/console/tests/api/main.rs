//! The Fleet API over the embedded store, asked over its router as clients ask.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

mod harness;

mod access;
mod agents;
mod objects;
mod packages;
mod pages;
mod policies;
mod setup;
mod tls_checks;
