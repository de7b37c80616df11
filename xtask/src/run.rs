//! Runs cargo.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{axe, kafka, nodes};

/// `cargo test` over the whole workspace.
///
/// Hundreds of these tests watch whole programs on a machine that others use too. What fails is therefore run a second time,
/// alone; what passes then is named as unsteady, so that it gets mended, and does not stop a change that it has nothing to do with.
pub(crate) fn tests(arguments: &[String]) -> Result<()> {
    let all = ["test", "--workspace", "--locked", "--no-fail-fast"];
    let (status, told) = cargo(&all, arguments)?;
    if status.success() {
        return Ok(());
    }
    let failed: BTreeSet<&str> = told.iter().filter_map(|line| failed_target(line)).collect();
    ensure!(!failed.is_empty(), "cargo {} failed", all.join(" "));
    for target in &failed {
        eprintln!("== once more, alone: {target}");
        let alone: Vec<&str> = all.into_iter().chain(target.split(' ')).collect();
        let (status, _) = cargo(&alone, &[])?;
        ensure!(status.success(), "{target} failed twice");
    }
    eprintln!("UNSTEADY, passed only when run alone: {failed:?}");
    Ok(())
}

/// The target that a line of cargo's closing list names: "    `-p flotilla --test up`". It is run as one of the workspace,
/// whose features are those of everything that has been built.
fn failed_target(line: &str) -> Option<&str> {
    let package = line.strip_prefix("    `-p ")?.strip_suffix('`')?;
    package.split_once(' ').map(|(_, target)| target)
}

/// Where the tests with rounds are, and parts of their names.
const SOAKS: &[(&str, &[&str])] = &[
    ("up", &["survives_kill_9"]),
    ("fleet_crash", &["survives_kill_9"]),
    ("fleet_server", &["nothing_that_was_answered_is_lost"]),
    ("agent_torture", &["every_line_arrives"]),
    ("upgrade", &["kills_in_the_midst_of_an_upgrade"]),
];

/// The tests that kill the whole program again and again, so many times.
pub(crate) fn soak(rounds: usize) -> Result<()> {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(program)
        .args(["test", "--release", "--locked", "-p", "flotilla"])
        .args(SOAKS.iter().flat_map(|(target, _)| ["--test", target]))
        .args(["--", "--nocapture"])
        .args(SOAKS.iter().flat_map(|(_, tests)| *tests))
        .env("FLOTILLA_SOAK_ROUNDS", rounds.to_string())
        .status()
        .context("cannot start cargo")?;
    ensure!(
        status.success(),
        "something that was acknowledged is lost, or the program did not come back"
    );
    Ok(())
}

/// The Fleet API against its own description, with so many cases of each operation.
pub(crate) fn api(examples: usize) -> Result<()> {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(program)
        .args([
            "test",
            "--locked",
            "-p",
            "flotilla",
            "--test",
            "openapi",
            "--",
            "--nocapture",
        ])
        .env("FLOTILLA_API_EXAMPLES", examples.to_string())
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "the API is not what its description says");
    Ok(())
}

/// Runs cargo with what the tests ask for in its environment; also gives the lines it wrote to stderr.
fn cargo(fixed: &[&str], more: &[String]) -> Result<(ExitStatus, Vec<String>)> {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut child = Command::new(program)
        .args(fixed)
        .args(more)
        .envs(nodes::variables())
        .envs(axe::variable())
        .envs(kafka::variable())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let stderr = child.stderr.take().context("cargo's stderr is piped")?;
    let mut told = Vec::new();
    for line in BufReader::new(stderr).lines() {
        let line = line.context("cargo's words cannot be read")?;
        eprintln!("{line}");
        told.push(line);
    }
    Ok((child.wait()?, told))
}

#[cfg(test)]
mod tests {
    use super::failed_target;

    #[test]
    fn failed_targets_are_found_in_what_cargo_says() {
        assert_eq!(failed_target("    `-p flotilla --test up`"), Some("--test up"));
        assert_eq!(failed_target("error: 1 target failed:"), None);
        assert_eq!(failed_target("    `cargo test`"), None);
    }
}
