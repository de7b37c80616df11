//! `cargo xtask bench agent`: what the agent needs to ship lines, and when it has nothing to do.
//!
//! The sink is `null_es` of the shared tools (built with Go), which acknowledges and counts; the lines are syslog-like and
//! the same in each run. The agent runs stand-alone, with TLS, gzip 1 and durable offsets, as it does under a policy.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::process::{Figures, Up, as_after_a_boot};
use super::{release_binary, row};

const LOOK: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_mins(10);
const SETTLE: Duration = Duration::from_secs(15);

/// Flags of `bench agent`.
#[derive(clap::Args)]
pub(crate) struct ShipperBench {
    /// Lines; the default makes a file of 201 MB.
    #[arg(long, default_value_t = 1_600_000)]
    lines: u64,
    /// Preset of the output.
    #[arg(long, default_value = "balanced")]
    preset: String,
    /// Seconds of rest, with host metrics and one log file.
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// A release binary; without it one is built.
    #[arg(long)]
    binary: Option<PathBuf>,
}

pub(super) fn run(bench: &ShipperBench) -> Result<()> {
    let binary = match &bench.binary {
        Some(binary) => binary.canonicalize()?,
        None => release_binary()?,
    };
    let folder = std::env::temp_dir().join(format!("flotilla-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let measured = measure(bench, &binary, &folder);
    fs::remove_dir_all(&folder)?;
    measured
}

fn measure(bench: &ShipperBench, binary: &Path, folder: &Path) -> Result<()> {
    make_certificate(binary, folder)?;
    let bytes = write_lines(&folder.join("app.log"), bench.lines)?;
    let sink = Sink::start(folder)?;
    let output = sink.output(folder, &bench.preset);
    let agent = Agent::start(binary, folder, &output, &filestream(folder))?;
    let (figures, stats) = agent.until_shipped(&sink, bench.lines)?;
    let millions = bench.lines as f64 / 1e6;
    let number = |key: &str| stats[key].as_f64().unwrap_or(0.0);
    let seconds = number("seconds_first_to_last");
    row("lines, file", format!("{}, {:.0} MB", bench.lines, bytes as f64 / 1e6));
    row(
        "CPU-seconds per million lines",
        format!("{:.2}", figures.cpu / millions),
    );
    row("lines/s", format!("{:.0}", bench.lines as f64 / seconds.max(0.001)));
    row("peak memory while shipping", megabytes(figures.peak));
    row(
        "requests, text, on the wire",
        format!(
            "{:.0}, {:.0} MB, {:.0} MB",
            number("bulk_requests"),
            number("plain_bytes") / 1e6,
            number("wire_bytes") / 1e6
        ),
    );
    agent.stop()?;
    idle(bench, binary, folder, &output)
}

/// Ships lines and host metrics to an `up` of the same program, which is what most of its users do with it; `look` gets that one when all
/// has arrived.
pub(super) fn ship_to_up(binary: &Path, lines: u64, counts: &Path, look: impl FnOnce(&Up) -> Result<()>) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("flotilla-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    write_lines(&folder.join("app.log"), lines)?;
    let up = Up::start(binary, &folder.join("data"))?;
    let output = format!(
        "type: elasticsearch, hosts: ['{}'], username: elastic, password: '{}', ssl.certificate_authorities: ['{}']",
        up.text("/urls/elasticsearch")?,
        up.text("/password")?,
        up.text("/ca/path")?
    );
    let inputs = format!("{}{}", filestream(&folder), METRICS);
    let agent = Agent::start_counting(binary, &folder, &output, &inputs, Some(counts))?;
    eventually("the lines", || Ok(count(&up)? >= lines))?;
    std::thread::sleep(SETTLE);
    look(&up)?;
    agent.stop()?;
    up.stop()?;
    Ok(fs::remove_dir_all(&folder)?)
}

/// The lines that `up` has.
fn count(up: &Up) -> Result<u64> {
    let output = Command::new("curl")
        .args(["-sSk", "-u", &format!("elastic:{}", up.text("/password")?)])
        .arg(format!("{}/logs-bench-default/_count", up.text("/urls/elasticsearch")?))
        .output()?;
    let answer: Value = serde_json::from_slice(&output.stdout).context("`up` does not answer")?;
    // Before the first line there is no such stream.
    Ok(answer["count"].as_u64().unwrap_or(0))
}

/// Looks until it is so.
fn eventually(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < until, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// A new agent with host metrics each 10 s and one log file that has little in it.
fn idle(bench: &ShipperBench, binary: &Path, folder: &Path, output: &str) -> Result<()> {
    fs::remove_dir_all(folder.join("agent"))?;
    write_lines(&folder.join("app.log"), 10)?;
    let inputs = format!("{}{}", filestream(folder), METRICS);
    as_after_a_boot(binary)?;
    let agent = Agent::start(binary, folder, output, &inputs)?;
    std::thread::sleep(SETTLE);
    let before = agent.figures()?;
    std::thread::sleep(Duration::from_secs(bench.idle));
    let after = agent.figures()?;
    let spent = before.until(after);
    row(
        "idle, host metrics every 10 s, one log file: memory",
        format!("{}, of it private {}", megabytes(after.rss), megabytes(after.private)),
    );
    row("idle: of a core", format!("{:.2} %", spent.cpu / spent.wall * 100.0));
    agent.stop()
}

fn megabytes(kib: u64) -> String {
    format!("{:.1} MB", kib as f64 * 1024.0 / 1e6)
}

fn filestream(folder: &Path) -> String {
    format!(
        "  - {{id: logs, type: filestream, streams: [{{id: s, paths: ['{}'], data_stream: {{dataset: bench}}}}]}}\n",
        folder.join("app.log").display()
    )
}

const METRICS: &str = "  - id: host
    type: system/metrics
    streams:
      - {id: cpu, metricsets: [cpu], data_stream: {dataset: system.cpu}, period: 10s}
      - {id: load, metricsets: [load], data_stream: {dataset: system.load}, period: 10s}
      - {id: memory, metricsets: [memory], data_stream: {dataset: system.memory}, period: 10s}
      - {id: network, metricsets: [network], data_stream: {dataset: system.network}, period: 10s}
      - {id: diskio, metricsets: [diskio], data_stream: {dataset: system.diskio}, period: 10s}
      - {id: process, metricsets: [process], data_stream: {dataset: system.process}, period: 10s}
      - {id: summary, metricsets: [process_summary], data_stream: {dataset: system.process.summary}, period: 10s}
      - {id: sockets, metricsets: [socket_summary], data_stream: {dataset: system.socket_summary}, period: 10s}
      - {id: filesystem, metricsets: [filesystem], data_stream: {dataset: system.filesystem}, period: 1m}
";

/// Lines as sshd and its neighbours write them; the same for each number.
fn write_lines(path: &Path, lines: u64) -> Result<u64> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    for number in 0..lines {
        let (host, process, port) = (number % 97, 1000 + number % 31_000, 1024 + number * 7 % 60_000);
        writeln!(
            file,
            "Jan {:2} {:02}:{:02}:{:02} web-{host:02} sshd[{process}]: Accepted publickey for deploy from 10.{}.{}.{} port {port} ssh2: ED25519 line {number:011}",
            1 + number / 86_400 % 28,
            number / 3600 % 24,
            number / 60 % 60,
            number % 60,
            number % 200,
            number / 7 % 250,
            number / 3 % 250,
        )?;
    }
    file.into_inner()?.sync_all()?;
    Ok(fs::metadata(path)?.len())
}

fn make_certificate(binary: &Path, folder: &Path) -> Result<()> {
    let archive = folder.join("sink.zip");
    succeeds(
        Command::new(binary)
            .args([
                "certutil",
                "cert",
                "--self-signed",
                "--silent",
                "--pem",
                "--name",
                "sink",
            ])
            .args(["--ip", "127.0.0.1", "--out"])
            .arg(&archive),
    )?;
    succeeds(
        Command::new("unzip")
            .args(["-q", "-o"])
            .arg(&archive)
            .arg("-d")
            .arg(folder),
    )
}

/// The counting sink.
struct Sink {
    child: Child,
    url: String,
}

impl Sink {
    fn start(folder: &Path) -> Result<Self> {
        let source = crate::nodes::tools().join("null_es");
        let program = folder.join("null_es");
        succeeds(
            Command::new("go")
                .args(["build", "-o"])
                .arg(&program)
                .arg(".")
                .current_dir(&source)
                .env("GOFLAGS", "-mod=mod"),
        )
        .with_context(|| format!("the sink in {} cannot be built", source.display()))?;
        let port = free_port()?;
        let child = Command::new(&program)
            .arg(format!("-listen=127.0.0.1:{port}"))
            .arg(format!("-cert={}", folder.join("sink/sink.crt").display()))
            .arg(format!("-key={}", folder.join("sink/sink.key").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            child,
            url: format!("https://127.0.0.1:{port}"),
        })
    }

    /// How an agent reaches it, as YAML.
    fn output(&self, folder: &Path, preset: &str) -> String {
        format!(
            "type: elasticsearch, hosts: ['{}'], preset: {preset}, api_key: 'bench:bench', ssl.certificate_authorities: ['{}']",
            self.url,
            folder.join("sink/sink.crt").display(),
        )
    }

    fn stats(&self) -> Result<Value> {
        let output = Command::new("curl")
            .args(["-sS", "-k", "--retry", "5", "--retry-connrefused"])
            .arg(format!("{}/stub/stats", self.url))
            .output()?;
        serde_json::from_slice(&output.stdout).context("the sink does not answer")
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _waited_already = self.child.wait();
    }
}

fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}

/// A stand-alone agent.
struct Agent {
    child: Child,
}

impl Agent {
    fn start(binary: &Path, folder: &Path, output: &str, inputs: &str) -> Result<Self> {
        Self::start_counting(binary, folder, output, inputs, None)
    }

    /// `counts` is where a program that counts writes.
    fn start_counting(binary: &Path, folder: &Path, output: &str, inputs: &str, counts: Option<&Path>) -> Result<Self> {
        let home = folder.join("agent");
        fs::create_dir_all(&home)?;
        let config = format!("outputs:\n  default: {{{output}}}\nagent.monitoring.enabled: false\ninputs:\n{inputs}");
        fs::write(home.join("elastic-agent.yml"), config)?;
        let child = Command::new(binary)
            .args(["agent", "run", "--path.home"])
            .arg(&home)
            // As the installed agent's unit has it.
            .env("MALLOC_ARENA_MAX", "1")
            .envs(counts.map(|counts| ("LLVM_PROFILE_FILE", counts)))
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { child })
    }

    fn figures(&self) -> Result<Figures> {
        Figures::of(self.child.id())
    }

    /// Waits until the sink has counted all; the last figures and the sink's.
    fn until_shipped(&self, sink: &Sink, lines: u64) -> Result<(Figures, Value)> {
        let until = Instant::now() + PATIENCE;
        loop {
            let stats = sink.stats()?;
            let figures = self.figures()?;
            if stats["docs"].as_u64() >= Some(lines) {
                return Ok((figures, stats));
            }
            if Instant::now() > until {
                bail!("not everything arrived: {stats}");
            }
            std::thread::sleep(LOOK);
        }
    }

    fn stop(mut self) -> Result<()> {
        succeeds(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        ensure!(self.child.wait()?.success(), "the agent did not stop cleanly");
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
    }
}

fn succeeds(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
