//! What can be done with a fleet. The API's handlers and the pages call these functions and hold no logic of their own.
//!
//! Every change goes through `changes::apply`: one bulk write with the audit record beside it, then every agent policy that the
//! change touches is compiled again and published when its content differs.

pub mod actor;
pub mod error;

pub mod audit;
pub mod changes;
pub mod documents;

pub mod checks;
pub mod download_sources;
pub mod fleet_server_hosts;
mod issuers;
pub(crate) mod objects;
mod output_types;
pub mod outputs;
pub mod proxies;
mod secrets;
pub mod settings;
pub mod setup;
mod urls;

pub mod agent_policies;
mod catalog;
pub mod installed_packages;
mod package_pipelines;
pub mod package_policies;
mod package_streams;
pub mod publish;
pub(crate) mod signing;
pub mod spaces;
pub mod uninstall_tokens;

pub mod action_status;
pub mod actions;
pub mod agent_maintenance;
pub mod agent_metrics;
pub mod agent_status;
pub mod agents;
pub mod certificates;
pub mod connection_tests;
pub mod connections;
pub mod data_streams;
pub mod enrollment_keys;
pub mod fleet_state;
pub mod incoming_data;
pub mod join;
pub(crate) mod mirror;
pub mod output_health;
pub(crate) mod roster;
pub mod tokens;
pub mod upgrades;
pub mod uploads;

pub mod kuery;
pub(crate) mod login_limit;
pub mod news;
pub mod page;
pub mod saved_searches;
pub mod sessions;
