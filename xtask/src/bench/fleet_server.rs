//! `cargo xtask bench fleet-server`.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tls::{ClientTls, LoadOptions, SslSettings};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::agent::{Agent, Target};
use super::process::Up;
use super::row;

/// How long all agents together may take for one phase.
const PHASE: Duration = Duration::from_mins(5);

/// Flags of the swarm.
#[derive(clap::Args)]
pub(crate) struct FleetServerBench {
    /// Agents.
    #[arg(long, default_value_t = 10_000)]
    agents: usize,
    /// Enrolments at the same time.
    #[arg(long, default_value_t = 50)]
    concurrency: usize,
    /// First check-ins at the same time.
    #[arg(long, default_value_t = 200)]
    checkin_concurrency: usize,
    /// Seconds of rest.
    #[arg(long, default_value_t = 60)]
    hold: u64,
    /// A release binary; without it one is built.
    #[arg(long)]
    binary: Option<PathBuf>,
}

impl FleetServerBench {
    /// Enough for each part to run.
    pub(super) fn small(binary: &Path) -> Self {
        Self {
            agents: 300,
            concurrency: 50,
            checkin_concurrency: 100,
            hold: 5,
            binary: Some(binary.to_owned()),
        }
    }
}

pub(super) fn run(bench: &FleetServerBench) -> Result<()> {
    run_and_look(bench, |_| Ok(()))
}

/// `look` gets the server with all its agents when everything is measured.
pub(super) fn run_and_look(bench: &FleetServerBench, look: impl FnOnce(&Up) -> Result<()>) -> Result<()> {
    let binary = match &bench.binary {
        Some(binary) => binary.clone(),
        None => super::release_binary()?,
    };
    let folder = std::env::temp_dir().join(format!("flotilla-bench-{}", std::process::id()));
    let up = started_twice(&binary, &folder.join("data"))?;
    let measured = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?
        .block_on(measure(bench, &up))
        .and_then(|()| look(&up))
        .and_then(|()| up.stop());
    std::fs::remove_dir_all(&folder)?;
    measured
}

/// The first start makes certificates, passwords and the store; the second finds them, as a Fleet Server of the original does.
fn started_twice(binary: &Path, data_dir: &Path) -> Result<Up> {
    let seconds = |up: &Up| format!("{:.2} s", up.started_in.as_secs_f64());
    let first = Up::start(binary, data_dir)?;
    row(
        "first start until ready, all of `up`, certificates made",
        seconds(&first),
    );
    first.stop()?;
    let second = Up::start(binary, data_dir)?;
    row("cold start until ready, all of `up`", seconds(&second));
    Ok(second)
}

async fn measure(bench: &FleetServerBench, up: &Up) -> Result<()> {
    let target = Arc::new(target(up)?);
    idle_latencies(&target).await?;
    let at_start = up.figures()?;

    let mut agents = Vec::with_capacity(bench.agents);
    let mut refused = 0;
    let enrolling = in_parallel(bench.agents, bench.concurrency, |number| {
        let target = Arc::clone(&target);
        async move { Agent::enroll(&target, number).await }
    });
    for (agent, answers) in enrolling.await? {
        agents.push(agent);
        refused += answers;
    }
    let enrolled = up.figures()?;
    let spent = at_start.until(enrolled);
    row(
        "enrolments a second",
        format!("{:.0} ({refused} answers 429)", per(bench.agents, spent.wall)),
    );
    row(
        "server CPU for 1,000 enrolments",
        format!("{:.2} s", per_thousand(spent.cpu, bench.agents)),
    );

    let (news, mut arrived) = mpsc::channel(bench.agents.max(1));
    let mut swarm = JoinSet::new();
    let first = Arc::new(Semaphore::new(bench.checkin_concurrency));
    for (number, agent) in agents.into_iter().enumerate() {
        swarm.spawn(live(
            agent,
            number,
            Arc::clone(&target),
            Arc::clone(&first),
            news.clone(),
        ));
    }
    wait_for(bench.agents, &mut arrived, &mut swarm).await?;
    let checked_in = up.figures()?;
    let spent = enrolled.until(checked_in);
    row(
        "first check-in with policy, keys and ack, server CPU for 1,000",
        format!("{:.2} s", per_thousand(spent.cpu, bench.agents)),
    );

    // What the check-ins left to be written is not rest.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let quiet = up.figures()?;
    tokio::time::sleep(Duration::from_secs(bench.hold)).await;
    let rested = up.figures()?;
    let spent = quiet.until(rested);
    row(
        "held polls at rest",
        format!(
            "{:.2} % of a core, {:.0} KiB/s to disk",
            100.0 * spent.cpu / spent.wall,
            spent.disk as f64 / 1024.0 / spent.wall
        ),
    );
    row(
        "memory for each connected idle agent",
        format!(
            "{:.1} KiB",
            per(rested.rss.saturating_sub(at_start.rss) as usize, bench.agents as f64)
        ),
    );
    row("whole process", format!("{:.0} MB", rested.rss as f64 * 1024.0 / 1e6));

    let changed = Instant::now();
    edit_policy(up)?;
    let times = wait_for(bench.agents, &mut arrived, &mut swarm).await?;
    let after = |time: Option<&Instant>| time.map_or(0.0, |time| time.duration_since(changed).as_secs_f64());
    let spent = rested.until(up.figures()?);
    row(
        "policy to all: first / last agent",
        format!(
            "{:.2} s / {:.2} s, server CPU {:.1} s",
            after(times.iter().min()),
            after(times.iter().max()),
            spent.cpu
        ),
    );
    swarm.shutdown().await;
    Ok(())
}

fn target(up: &Up) -> Result<Target> {
    let url = up.text("/urls/fleet_server")?;
    let authority = url.trim_start_matches("https://").trim_end_matches('/');
    let (host, port) = authority
        .rsplit_once(':')
        .context("the Fleet Server's URL has no port")?;
    let settings = SslSettings::from_value(&json!({"certificate_authorities": [up.text("/ca/path")?]}))?;
    let options = LoadOptions {
        resumption: false,
        ..LoadOptions::named("bench")
    };
    Ok(Target {
        host: host.to_owned(),
        port: port.parse()?,
        tls: ClientTls::load(&settings, options)?,
        token: up.text("/enrollment_token")?.to_owned(),
    })
}

async fn idle_latencies(target: &Arc<Target>) -> Result<()> {
    let start = Instant::now();
    let (mut agent, _) = Agent::enroll(target, usize::MAX >> 1).await?;
    let enrolled = start.elapsed();
    let start = Instant::now();
    let actions = agent.check_in(target, 0).await?;
    let checked_in = start.elapsed();
    let start = Instant::now();
    agent.acknowledge(target, &actions).await?;
    let millis = |duration: Duration| format!("{:.1}", duration.as_secs_f64() * 1000.0);
    let acked = start.elapsed();
    row(
        "idle enrol / first check-in / ack, handshakes included",
        format!("{} / {} / {} ms", millis(enrolled), millis(checked_in), millis(acked)),
    );
    Ok(())
}

/// Checks in for ever; tells when it has acknowledged news.
async fn live(
    mut agent: Agent,
    number: usize,
    target: Arc<Target>,
    first: Arc<Semaphore>,
    news: mpsc::Sender<Instant>,
) -> Result<()> {
    let mut turn = Some(first.acquire_owned().await?);
    loop {
        let actions = agent.check_in(&target, number).await?;
        if actions.is_empty() {
            continue;
        }
        let arrived = Instant::now();
        agent.acknowledge(&target, &actions).await?;
        news.send(arrived).await?;
        turn.take();
    }
}

/// `count` pieces of news; an agent that fails ends the benchmark.
async fn wait_for(
    count: usize,
    arrived: &mut mpsc::Receiver<Instant>,
    swarm: &mut JoinSet<Result<()>>,
) -> Result<Vec<Instant>> {
    let mut times = Vec::with_capacity(count);
    let deadline = tokio::time::Instant::now() + PHASE;
    while times.len() < count {
        tokio::select! {
            time = arrived.recv() => times.push(time.context("the swarm is gone")?),
            Some(ended) = swarm.join_next() => ended?.context("an agent of the swarm failed")?,
            () = tokio::time::sleep_until(deadline) => anyhow::bail!("{} of {count} agents after {PHASE:?}", times.len()),
        }
    }
    Ok(times)
}

async fn in_parallel<T, F>(count: usize, at_once: usize, work: impl Fn(usize) -> F) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let turns = Arc::new(Semaphore::new(at_once));
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let (turns, work) = (Arc::clone(&turns), work(number));
        tasks.spawn(async move {
            let _turn = turns.acquire_owned().await?;
            work.await
        });
    }
    let mut done = Vec::with_capacity(count);
    while let Some(task) = tasks.join_next().await {
        done.push(task??);
    }
    Ok(done)
}

/// A new revision of the policy that the swarm has, as a person would make it. Agents get what is in their policy alone: a new
/// description would reach none.
fn edit_policy(up: &Up) -> Result<()> {
    let url = format!("{}/api/fleet/agent_policies/default-policy", up.text("/urls/console")?);
    let login = format!("{}:{}", up.text("/username")?, up.text("/password")?);
    let features = json!([{"name": "fqdn", "enabled": true}]);
    let body = json!({"name": "Default policy", "namespace": "default", "agent_features": features});
    let output = Command::new("curl")
        .args([
            "-sS",
            "-f",
            "-X",
            "PUT",
            "-o",
            "/dev/null",
            "--cacert",
            up.text("/ca/path")?,
            "-u",
            &login,
        ])
        .args([
            "-H",
            "kbn-xsrf: 1",
            "-H",
            "content-type: application/json",
            "-d",
            &body.to_string(),
            &url,
        ])
        .output()
        .context("cannot start curl")?;
    ensure!(
        output.status.success(),
        "the policy was not edited: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn per(count: usize, of: f64) -> f64 {
    count as f64 / of
}

fn per_thousand(cpu: f64, agents: usize) -> f64 {
    cpu * 1000.0 / agents as f64
}
