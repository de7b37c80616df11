//! The measured process: started, asked for its figures, stopped. Linux only: figures come from `/proc`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Of a second; the kernel's unit of CPU times in `/proc`.
const TICKS: f64 = 100.0;

/// Makes the next process of a program find it as it is after a boot: read from disk page by page. What has just been written or copied lies
/// in memory in large pieces, and newer kernels map such a piece whole where one page of it is used.
pub(super) fn as_after_a_boot(program: &Path) -> Result<()> {
    let status = Command::new("dd")
        .arg(format!("if={}", program.display()))
        .args(["iflag=nocache", "count=0", "status=none"])
        .status()
        .context("cannot run dd")?;
    ensure!(status.success(), "dd cannot read {}", program.display());
    Ok(())
}

/// A running `flotilla up --no-agent`.
pub(super) struct Up {
    child: Child,
    /// Its ready line.
    pub(super) ready: Value,
    /// From start to the ready line.
    pub(super) started_in: Duration,
}

/// Figures of a process at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    at: Instant,
    /// Seconds.
    pub(super) cpu: f64,
    /// KiB.
    pub(super) rss: u64,
    /// KiB of it that are the process's own: the rest are pages of the program's file, which the kernel maps as it sees fit.
    pub(super) private: u64,
    /// KiB, the most so far.
    pub(super) peak: u64,
    /// Octets handed to disks since the start.
    written_bytes: u64,
}

/// What happened between two moments.
pub(super) struct Spent {
    pub(super) wall: f64,
    /// Seconds.
    pub(super) cpu: f64,
    /// Octets that went to disks.
    pub(super) disk: u64,
}

impl Up {
    pub(super) fn start(binary: &Path, data_dir: &Path) -> Result<Self> {
        let started = Instant::now();
        let mut child = Command::new(binary)
            .args(["up", "--no-agent", "--json", "--bind=127.0.0.1", "--host=localhost"])
            .args(["--fleet-server-port=0", "--elasticsearch-port=0", "--console-port=0"])
            .arg("--data-dir")
            .arg(data_dir)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let ready = serde_json::from_str(&line).with_context(|| format!("`flotilla up` is not ready: {line:?}"))?;
        Ok(Self {
            child,
            ready,
            started_in: started.elapsed(),
        })
    }

    pub(super) fn text(&self, pointer: &str) -> Result<&str> {
        let value = self.ready.pointer(pointer).and_then(Value::as_str);
        value.with_context(|| format!("the ready line has no {pointer}"))
    }

    pub(super) fn figures(&self) -> Result<Figures> {
        Figures::of(self.child.id())
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`; returns when it is gone.
    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub(super) fn stop(mut self) -> Result<()> {
        let status = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()?;
        ensure!(status.success(), "cannot stop `flotilla up`");
        ensure!(self.child.wait()?.success(), "`flotilla up` did not stop cleanly");
        Ok(())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
    }
}

impl Figures {
    /// Of a running process.
    pub(super) fn of(process: u32) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{process}/{file}");
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let stat = read("stat")?;
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
        // Behind the name: field 14 is utime and 15 stime, counted from 1 over the whole line.
        let ticks = |index: usize| {
            fields
                .get(index)
                .and_then(|text| text.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        let status = read("status")?;
        Ok(Self {
            at: Instant::now(),
            cpu: (ticks(11) + ticks(12)) / TICKS,
            rss: number(&status, "VmRSS:"),
            private: number(&status, "RssAnon:"),
            peak: number(&status, "VmHWM:"),
            written_bytes: number(&read("io")?, "write_bytes:"),
        })
    }

    pub(super) fn until(self, later: Self) -> Spent {
        Spent {
            wall: later.at.duration_since(self.at).as_secs_f64(),
            cpu: later.cpu - self.cpu,
            disk: later.written_bytes.saturating_sub(self.written_bytes),
        }
    }
}

fn number(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}
