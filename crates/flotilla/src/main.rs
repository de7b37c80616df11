//! One binary: certificates, Fleet Server, agent, store, Elasticsearch API and console.
//!
//! This crate turns arguments into settings and wires the parts together; behaviour lives in the crates below. The name
//! that the program is started under decides whose command line it speaks: `flotilla`, `elastic-agent` or
//! `elasticsearch-certutil`.

mod cli;
mod printer;
mod version;

mod certutil_command;
mod cluster_command;
mod elastic_agent;
mod fleet_command;
mod fleet_server_command;
mod fleet_server_component;
mod fleet_server_service;
mod search_command;
mod store_command;
mod tls_command;
mod up;

mod bare_host;
mod connection;
mod data_dir;
mod heaps;
mod host_names;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use transport::{EnvironmentProxies, ProxyVariableError};

/// A static program's own: its C library gives all threads one lock, and several threads are slower than one.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    heaps::limit(&arguments);
    for error in environment_proxies() {
        printer::warning(error);
    }
    let name = arguments
        .first()
        .and_then(|program| Path::new(program).file_name())
        .unwrap_or_default();
    match name.to_str() {
        Some("elastic-agent") => cli::exit_code(elastic_agent::main(arguments)),
        Some("elasticsearch-certutil") => certutil_command::run(arguments.into_iter().skip(1)),
        _ => cli::run(arguments),
    }
}

/// Hands `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` to all clients that are made from here on.
#[expect(
    clippy::disallowed_methods,
    reason = "only the binary reads the environment, and this is it"
)]
fn environment_proxies() -> Vec<ProxyVariableError> {
    let (proxies, errors) = EnvironmentProxies::read(|name| std::env::var(name).ok());
    proxies.install();
    errors
}
