//! Benchmarks that print the rows of the tables in `docs/benchmarks.md`.

mod agent;
mod fleet_server;
mod process;

use anyhow::Result;
use clap::Subcommand;

pub(crate) use fleet_server::FleetServerBench;

/// What can be measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// `flotilla up` under a swarm of agents: enrolments, first check-ins, rest, a policy change.
    FleetServer(FleetServerBench),
}

/// Runs one.
pub(crate) fn run(bench: Bench) -> Result<()> {
    match bench {
        Bench::FleetServer(bench) => fleet_server::run(&bench),
    }
}
