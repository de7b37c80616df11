//! `cargo xtask bench commands`: what people wait for at an agent, and what one that has nothing to do takes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use super::process::{Figures, Up, as_after_a_boot};
use super::{release_binary, row};

/// No step takes longer.
const LIMIT: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(5);

/// Flags of `bench commands`.
#[derive(Args)]
pub(crate) struct CommandsBench {
    /// Runs of each; medians are told
    #[arg(long, default_value_t = 15)]
    runs: usize,
    /// Seconds of rest
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// A release binary; without it one is built
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where the daemon of a program that counts writes, as the compiler's `LLVM_PROFILE_FILE`
    #[arg(skip)]
    counts: Option<PathBuf>,
}

impl CommandsBench {
    /// Enough for each part to run.
    pub(super) fn short(binary: &Path, counts: &Path) -> Self {
        Self {
            runs: 5,
            idle: 30,
            binary: Some(binary.to_owned()),
            counts: Some(counts.to_owned()),
        }
    }
}

/// Prints the rows.
pub(crate) fn run(bench: &CommandsBench) -> Result<()> {
    let binary = match &bench.binary {
        Some(binary) => binary.clone(),
        None => release_binary()?,
    };
    let folder = std::env::temp_dir().join(format!("flotilla-bench-{}", std::process::id()));
    as_after_a_boot(&binary)?;
    let up = Up::start(&binary, &folder.join("data"))?;
    let agent = Agent {
        binary,
        home: folder.join("agent"),
        token: empty_policy(&up)?,
        counts: bench.counts.clone(),
    };
    agent.enroll(&up)?;
    measure(bench, &agent, &up)?;
    up.stop()?;
    Ok(std::fs::remove_dir_all(&folder)?)
}

fn measure(bench: &CommandsBench, agent: &Agent, up: &Up) -> Result<()> {
    let starts = median(bench.runs, || {
        let started = Instant::now();
        let daemon = agent.start()?;
        let taken = started.elapsed();
        Agent::stop(daemon)?;
        Ok(taken)
    })?;
    row(
        "start of the agent until Fleet Server has answered it; the first check-in goes out then",
        milliseconds(starts),
    );
    let daemon = agent.start()?;
    row(
        "`status`",
        milliseconds(median(bench.runs, || agent.timed(&["status"]))?),
    );
    let enrolments = median(bench.runs, || {
        let started = Instant::now();
        agent.enroll(up)?;
        Ok(started.elapsed())
    })?;
    row("`enroll` with a running daemon", milliseconds(enrolments));
    agent.is_connected()?;
    let before = Figures::of(daemon.id())?;
    std::thread::sleep(Duration::from_secs(bench.idle));
    let after = Figures::of(daemon.id())?;
    let spent = before.until(after);
    let megabytes = |kib: u64| format!("{:.1} MB", kib as f64 * 1024.0 / 1e6);
    row(
        "managed, at rest, no inputs: memory",
        format!("{}, of it private {}", megabytes(after.rss), megabytes(after.private)),
    );
    row(
        "the same, of a core",
        format!("{:.2} %", spent.cpu / spent.wall * 100.0),
    );
    Agent::stop(daemon)
}

/// The token of a policy that collects nothing.
fn empty_policy(up: &Up) -> Result<String> {
    let policy = console(
        up,
        "agent_policies",
        r#"{"name":"nothing","namespace":"default","monitoring_enabled":[]}"#,
    )?;
    let id = policy["item"]["id"].as_str().context("the policy has no id")?;
    let key = console(up, "enrollment_api_keys", &format!(r#"{{"policy_id":"{id}"}}"#))?;
    key["item"]["api_key"]
        .as_str()
        .map(str::to_owned)
        .context("the token has no key")
}

fn console(up: &Up, path: &str, body: &str) -> Result<Value> {
    let output = Command::new("curl")
        .args([
            "-sSk",
            "-H",
            "kbn-xsrf: bench",
            "-H",
            "content-type: application/json",
            "-d",
            body,
        ])
        .args(["-u", &format!("elastic:{}", up.text("/password")?)])
        .arg(format!("{}/api/fleet/{path}", up.text("/urls/console")?))
        .output()
        .context("cannot run curl")?;
    serde_json::from_slice(&output.stdout).with_context(|| format!("the console does not answer {path}"))
}

struct Agent {
    binary: PathBuf,
    home: PathBuf,
    token: String,
    counts: Option<PathBuf>,
}

impl Agent {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg("agent")
            .arg(format!("--path.home={}", self.home.display()))
            .args(arguments)
            // One heap, as in the installed agent's unit.
            .env("MALLOC_ARENA_MAX", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn timed(&self, arguments: &[&str]) -> Result<Duration> {
        let started = Instant::now();
        let status = self.command(arguments).status()?;
        ensure!(status.success(), "`{}` failed: {status}", arguments.join(" "));
        Ok(started.elapsed())
    }

    fn enroll(&self, up: &Up) -> Result<()> {
        std::fs::create_dir_all(&self.home)?;
        let url = format!("--url={}", up.text("/urls/fleet_server")?);
        let authority = format!("--certificate-authorities={}", up.text("/ca/path")?);
        let token = format!("--enrollment-token={}", self.token);
        self.timed(&["enroll", "--force", &url, &token, &authority])?;
        Ok(())
    }

    /// Started, and connected.
    fn start(&self) -> Result<Child> {
        let counts = self.counts.iter().map(|counts| ("LLVM_PROFILE_FILE", counts));
        let daemon = self.command(&["run"]).envs(counts).spawn()?;
        self.is_connected()?;
        Ok(daemon)
    }

    fn is_connected(&self) -> Result<()> {
        let started = Instant::now();
        while !self.command(&["status"]).status()?.success() {
            if started.elapsed() > LIMIT {
                bail!("the agent is not connected after {LIMIT:?}");
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn stop(mut daemon: Child) -> Result<()> {
        let stopped = Command::new("kill")
            .args(["-TERM", &daemon.id().to_string()])
            .status()?;
        ensure!(stopped.success(), "the agent cannot be stopped");
        daemon.wait()?;
        Ok(())
    }
}

fn median(runs: usize, mut measure: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    let mut all = Vec::new();
    for _ in 0..runs.max(1) {
        all.push(measure()?);
    }
    all.sort_unstable();
    Ok(all[all.len() / 2])
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}
