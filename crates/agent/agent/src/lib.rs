//! The agent: joins a fleet, checks in, takes policies, runs inputs and outputs, and tells how it is.
//!
//! [`enroll()`] makes this host a member and stores the [`state::Enrollment`]; [`Daemon::run`] is the running agent;
//! [`control::Client`] asks a running one. Nothing here is global to the process: several agents can run in one.
//! New settings never replace working ones before they were seen to work (`trial`).
//!
//! The agent shares wire types with Fleet Server (`protocol`) and no code: an agent of another version must still work.
//! It leaves events to `event`, sources to `inputs`, delivery to `outputs`, TLS to `tls` and `transport`; it prints
//! nothing and reads no environment.

mod daemon;
mod enroll;
pub mod state;

mod actions;
mod managed;
mod standalone;
mod trial;
pub mod upgrade;
mod upgrading;

pub mod connection;
pub mod control;
pub mod fleet_client;
pub mod status;

mod context;
mod diagnostics;
mod first_trust;
mod fleet_server_component;
mod host;
mod local_endpoint;
pub mod logs;
mod model;
mod monitoring;
mod paths;
mod redact;
pub mod sealed;
mod self_metrics;
mod units;

pub use context::SetLogLevel;
pub use daemon::{Daemon, DaemonEnd, DaemonError, DaemonOptions};
pub use enroll::{Build, EnrollError, EnrollOptions, Enrolled, enroll, tell_uninstalled, token_hash};
pub use first_trust::FirstTrustError;
pub use fleet_server_component::{FleetServerComponent, FleetServerUnit};
pub use paths::Paths;
pub use redact::redact;
pub use standalone::{ConfigError, read_config};
pub use state::is_enrolled;
