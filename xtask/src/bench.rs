//! Benchmarks that print the rows of the tables in `docs/benchmarks.md`.

mod agent;
mod commands;
mod fleet_server;
mod process;
mod shipper;
mod store;
mod training;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use clap::Subcommand;

pub(crate) use commands::CommandsBench;
pub(crate) use fleet_server::FleetServerBench;
pub(crate) use shipper::ShipperBench;
pub(crate) use store::StoreBench;
pub(crate) use training::{Counts, train};

/// What can be measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// `flotilla up` under a swarm of agents: enrolments, first check-ins, rest, a policy change.
    FleetServer(FleetServerBench),
    /// The agent: lines from a file to a sink over TLS, and at rest.
    Agent(ShipperBench),
    /// What people wait for at an agent, and what one that has nothing to do takes.
    Commands(CommandsBench),
    /// The embedded store behind its API, and OpenSearch with the same documents.
    Store(StoreBench),
}

/// Runs one.
pub(crate) fn run(bench: Bench) -> Result<()> {
    if cfg!(debug_assertions) {
        return run_optimised();
    }
    match bench {
        Bench::FleetServer(bench) => fleet_server::run(&bench),
        Bench::Agent(bench) => shipper::run(&bench),
        Bench::Commands(bench) => commands::run(&bench),
        Bench::Store(bench) => store::run(&bench),
    }
}

/// The load comes from this process, and runs on the cores that are measured: built without optimisation it would take most of
/// them.
fn run_optimised() -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(cargo)
        .args(["run", "--release", "--quiet", "--locked", "-p", "xtask", "--"])
        .args(std::env::args_os().skip(1))
        .status()?;
    ensure!(status.success(), "the benchmark ended with {status}");
    Ok(())
}

/// Built as users run it.
fn release_binary() -> Result<PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(cargo)
        .args(["build", "--release", "--locked", "-p", "flotilla"])
        .status()?;
    ensure!(status.success(), "the release build failed");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Ok(target.join("release/flotilla"))
}

/// One row of a table in `docs/benchmarks.md`.
fn row(what: &str, figure: impl std::fmt::Display) {
    eprintln!("| {what} | {figure} |");
}
