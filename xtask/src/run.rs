//! Runs cargo.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{axe, kafka, nodes};

/// `cargo test` over the whole workspace.
pub(crate) fn tests(arguments: &[String]) -> Result<()> {
    cargo(&["test", "--workspace", "--locked", "--no-fail-fast"], arguments)
}

/// The tests that kill the whole program again and again, so many times.
pub(crate) fn soak(rounds: usize) -> Result<()> {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(program)
        .args([
            "test",
            "--release",
            "--locked",
            "-p",
            "flotilla",
            "--test",
            "fleet_crash",
            "--test",
            "up",
        ])
        .args(["--", "--nocapture", "kill_9"])
        .env("FLOTILLA_SOAK_ROUNDS", rounds.to_string())
        .status()
        .context("cannot start cargo")?;
    ensure!(
        status.success(),
        "something that was acknowledged is lost, or the program did not come back"
    );
    Ok(())
}

fn cargo(fixed: &[&str], more: &[String]) -> Result<()> {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(program)
        .args(fixed)
        .args(more)
        .envs(nodes::variables())
        .envs(axe::variable())
        .envs(kafka::variable())
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "cargo {} failed", fixed.join(" "));
    Ok(())
}
