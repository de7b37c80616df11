//! The console: the Fleet API and the pages on 5601.
//!
//! [`domain`] holds what can be done with agents, policies, hosts, outputs and tokens, as functions over the store and the
//! identities; [`api`] is one table of routes that parse a request, call one of them and write the answer; the pages call the
//! same functions. All state is documents: the `.fleet-*` ones that Fleet Server shares, and `.flotilla-*` of our own.
//! The agent protocol, the Elasticsearch API and TLS on the socket are left to others.

pub mod domain;

mod api;
mod console;
mod pages;
pub use console::{Console, ConsoleSettings, SetupSummary, SigningAuthority};
