//! The remote store against our own Elasticsearch API, over real TLS on loopback.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod conformance;
mod connecting;
mod faults;
mod keys;
mod server;
