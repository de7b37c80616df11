//! The Fleet Server: what agents talk to on 8220.
//!
//! It owns the agent protocol: enrolment, check-ins that are held until there is news, acknowledgements, uploads,
//! artifacts. State is the `.fleet-*` documents in a [`store::Store`]; API keys and secrets come from
//! [`access::ApiKeys`]. Sockets, TLS and configuration of the process are left to the binary and to `transport`.
//!
//! How data flows: `router` admits a request and hands it to one module for each endpoint. A check-in notes its changes in
//! the `registry` (memory), from where `flush` writes them once a second, and then waits for `policy_board` and
//! `action_board`, which `monitor` fills from the store's change feed. Nothing holds a lock across agents.

mod server;
pub use server::FleetServer;

mod settings;
pub use settings::{
    CacheSettings, Compression, FleetServerSettings, GcSettings, Limit, Limits, ListenSettings, OutputSettings,
    Pbkdf2Settings, PgpSettings, SettingsProblem, SettingsWarning, StaticPolicyToken, Timeouts,
};

mod router;

mod auth;
mod body;
mod error;
mod limit;
mod peer;
mod user_agent;

mod enroll;
mod enrollment_token;
mod host_description;
mod replace_token;

mod checkin;
mod checkin_change;
mod poll;
mod registry;
mod upgrade_details;

mod monitor;
mod policy_board;
mod policy_secrets;
mod policy_text;
mod shared_gzip;

mod output_keys;
mod role_changes;
pub use output_keys::{RemoteKeys, RemoteKeysError};

mod acks;
mod action_board;
mod audit;

/// The program for bare hosts, and the script that joins them.
pub mod install;

mod artifacts;
mod files;
mod pgp;
mod status;
mod uploads;

mod agent_record;
mod flush;
mod garbage;
mod index_setup;
mod json_text;
mod metrics;
pub use metrics::Surroundings;
mod timed_store;

pub use index_setup::create_indices;
