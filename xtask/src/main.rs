//! Project tasks that need nothing installed: `cargo xtask prepare | test | soak | api | systemd | bench | dist`.
#![expect(clippy::print_stderr, reason = "a task tells what it does")]
#![expect(clippy::disallowed_methods, reason = "tasks run with the developer's environment")]

mod axe;
mod bench;
mod dist;
mod kafka;
mod nodes;
mod prepare;
mod run;
mod systemd;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Tasks of this project")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs what the tests need and this machine lacks (with the system's package manager, as root).
    Prepare,
    /// Prepares, then runs every test; a test that cannot run here says so with its reason.
    Test {
        /// Handed on to `cargo test`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Kills the whole program at work, again and again, and looks for what was acknowledged; tests do a few rounds of it.
    Soak {
        /// How often.
        #[arg(long, default_value_t = 1000)]
        rounds: usize,
    },
    /// Boots a machine with a real systemd, and installs, restarts, kills, upgrades and removes packages and agent there (as root).
    Systemd(systemd::Arguments),
    /// Tries the Fleet API with what its description allows and what it does not; tests do a few cases of it.
    Api {
        /// Cases of each operation.
        #[arg(long, default_value_t = 100)]
        examples: usize,
    },
    /// Makes what users install: archives, a Debian package, the package of download sources.
    Dist(dist::Arguments),
    /// Measures, and prints the rows of the tables in `docs/benchmarks.md`.
    Bench {
        #[command(subcommand)]
        what: bench::Bench,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Api { examples } => {
            prepare::run()?;
            run::api(examples)
        }
        Task::Bench { what } => bench::run(what),
        Task::Dist(arguments) => dist::run(&arguments),
        Task::Prepare => prepare::run(),
        Task::Systemd(arguments) => systemd::run(&arguments),
        Task::Soak { rounds } => run::soak(rounds),
        Task::Test { arguments } => {
            prepare::run()?;
            run::tests(&arguments)
        }
    }
}
