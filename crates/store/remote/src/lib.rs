//! Documents in an Elasticsearch, an OpenSearch or another Flotilla, over HTTP.
//!
//! [`RemoteStore`] speaks the part of the HTTP API that all of them have. What the peer is, and what it lacks (`_fleet/*`,
//! API keys, data stream calls), is found out once, in [`RemoteStore::connect`], and done another way from then on:
//! checkpoints from shard statistics, update scripts by compare-and-set, secrets and keys as documents of our own.
//!
//! A request's path: the trait's method -> `search`, `bulk`, .. (which body, what the answer means) -> `wire` (hosts, retries,
//! limits, the product check) -> `transport::HttpClient`. One store is for any number of tasks; it keeps no documents, only
//! names that it has seen.
//!
//! Deliberately absent: a cluster of our own, sniffing of nodes, scrolls, scripts.

mod error;
mod settings;
mod store;

mod peer;
mod wire;

mod bulk;
mod conditional;
mod document;
mod item;
mod scripted;
mod terms;

mod dsl;
mod point_in_time;
mod search;

mod checkpoint;
mod data_streams;
mod indices;
mod mappings;
mod ready;
mod templates;

mod account_token;
mod api_keys;
mod identities;

pub use error::ConnectError;
pub use settings::{RemoteCredential, RemoteSettings};
pub use store::RemoteStore;
