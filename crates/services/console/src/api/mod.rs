//! The Fleet API over HTTP: routes, requests, answers. No logic of its own: parse, call the domain, reply.
//!
//! `request -> space prefix -> limit -> xsrf -> credential -> privilege -> query and body against the table -> domain -> reply`.
//! A handler gets a [`call::Call`], which cannot be made without a checked credential.

mod answers;
mod call;
mod dispatch;
mod error;
mod links;
mod openapi;
mod routes;
mod schema;

mod actions;
mod agent_policies;
mod agents;
mod download_sources;
mod enrollment_keys;
mod fleet_server_hosts;
mod health;
mod join;
mod login;
mod outputs;
mod package_policies;
mod packages;
mod proxies;
mod security;
mod settings;
mod status;
mod uninstall_tokens;
mod uploads;

pub(crate) use dispatch::router;
