//! `system/metrics`: what the host is doing, read from `/proc` and the file systems.
//!
//! Names, types, units and formulas: reference on agent data, 2.1 and 2.2. Every metricset reads below a configurable
//! root (`system.hostfs`). One that cannot read its source sends an event with `error.message` and the stream is degraded.

mod cpu;
mod disk;
mod filesystem;
mod memory;
mod network;
mod number;
mod process;
mod sockets;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use event::fields::Fields;
use event::{Ack, Documents, UnitState};
use serde_json::json;
use tokio::time::MissedTickBehavior;

use crate::build::{BuildError, StreamConfig};
use crate::config::Config;
use crate::{Input, InputContext};

/// One kind of measurement.
trait Metricset: fmt::Debug + Send {
    /// `cpu`, `process_summary` ..
    fn name(&self) -> &'static str;

    /// Measures now: the fields of each event. Blocks.
    fn fetch(&mut self) -> Result<Vec<Fields>, String>;
}

/// A stream of metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    stream_id: String,
    documents: Arc<Documents>,
    period: Duration,
    metricsets: Vec<Box<dyn Metricset>>,
}

const DEFAULT_PERIOD: Duration = Duration::from_secs(10);

impl Metrics {
    pub(crate) fn build(mut stream: StreamConfig<'_>) -> Result<Box<dyn Input>, BuildError> {
        let config = Config {
            stream: &stream.id,
            settings: stream.settings,
        };
        let outer = Config {
            stream: &stream.input_id,
            settings: stream.input,
        };
        let root = config
            .text(&["system.hostfs", "hostfs"])?
            .or(outer.text(&["system.hostfs", "hostfs"])?);
        let proc = Proc::below(root.filter(|root| !root.is_empty()).unwrap_or("/"));
        let period = config
            .duration_or(&["period"], DEFAULT_PERIOD)?
            .unwrap_or(DEFAULT_PERIOD);
        let names = config.texts(&["metricsets"])?;
        if names.is_empty() {
            return Err(config.error("metricsets", "it must name at least one metricset"));
        }
        let metricsets = names
            .iter()
            .map(|name| metricset(name, config, &proc))
            .collect::<Result<Vec<_>, BuildError>>()?;
        let own = Fields::from_iter([("service".to_owned(), json!({"type": "system"}))]);
        let documents = Arc::new(stream.documents("metricbeat", own));
        Ok(Box::new(Self {
            stream_id: stream.id,
            documents,
            period,
            metricsets,
        }))
    }
}

fn metricset(name: &str, config: Config<'_>, proc: &Proc) -> Result<Box<dyn Metricset>, BuildError> {
    Ok(match name {
        "cpu" => Box::new(cpu::Cpu::new(proc, &config.texts(&["cpu.metrics"])?)),
        "core" => Box::new(cpu::Core::new(proc, &config.texts(&["core.metrics"])?)),
        "load" => Box::new(cpu::Load::new(proc)),
        "uptime" => Box::new(cpu::Uptime::new(proc)),
        "memory" => Box::new(memory::Memory::new(proc)),
        "network" => Box::new(network::Network::new(
            proc,
            config.texts(&["network.interfaces", "interfaces"])?,
        )),
        "diskio" => Box::new(disk::DiskIo::new(proc, config.texts(&["diskio.include_devices"])?)),
        "filesystem" => Box::new(filesystem::Filesystem::new(
            proc,
            config.texts(&["filesystem.ignore_types"])?,
        )),
        "fsstat" => Box::new(filesystem::Fsstat::new(
            proc,
            config.texts(&["filesystem.ignore_types"])?,
        )),
        "process" => Box::new(process::Process::read(config, proc)?),
        "process_summary" => Box::new(process::Summary::new(proc)),
        "socket_summary" => Box::new(sockets::SocketSummary::new(proc)),
        other => return Err(config.error("metricsets", format!("metricset `{other}` is not supported"))),
    })
}

#[async_trait]
impl Input for Metrics {
    async fn run(self: Box<Self>, context: InputContext) {
        let Self {
            stream_id,
            documents,
            period,
            mut metricsets,
        } = *self;
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = context.stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            let now = context.clock.now();
            let measured = tokio::task::spawn_blocking(move || {
                let fetched: Vec<Fetched> = metricsets
                    .iter_mut()
                    .map(|metricset| fetch(metricset.as_mut(), period))
                    .collect();
                (metricsets, fetched)
            });
            let Ok((returned, fetched)) = measured.await else {
                context
                    .reporter
                    .report_stream(&stream_id, UnitState::Failed, "a measuring thread ended badly");
                return;
            };
            metricsets = returned;
            match fetched.iter().find_map(|fetched| fetched.problem.as_deref()) {
                Some(problem) => context.reporter.report_stream(&stream_id, UnitState::Degraded, problem),
                None => context.reporter.report_stream(&stream_id, UnitState::Healthy, ""),
            }
            let all = fetched.into_iter().flat_map(|fetched| fetched.events);
            let events: Vec<_> = all
                .filter_map(|fields| documents.event(now, fields, Ack::none()))
                .collect();
            if events.is_empty() {
                continue;
            }
            tokio::select! {
                () = context.stop.cancelled() => break,
                sent = context.events.send(events) => if sent.is_err() { break },
            }
        }
        context.reporter.report_stream(&stream_id, UnitState::Stopped, "");
    }
}

struct Fetched {
    events: Vec<Fields>,
    problem: Option<String>,
}

/// Measures and adds what all events of a metricset have.
fn fetch(metricset: &mut dyn Metricset, period: Duration) -> Fetched {
    let started = Instant::now();
    let fetched = metricset.fetch();
    let duration = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let period = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
    let (mut events, problem) = match fetched {
        Ok(events) => (events, None),
        Err(problem) => {
            let problem = format!("error fetching metricset {}: {problem}", metricset.name());
            (
                vec![Fields::from_iter([("error".to_owned(), json!({"message": problem}))])],
                Some(problem),
            )
        }
    };
    for event in &mut events {
        event.insert(
            "metricset".to_owned(),
            json!({"name": metricset.name(), "period": period}),
        );
        event.insert("event".to_owned(), json!({"duration": duration}));
    }
    Fetched { events, problem }
}

/// Where the host's `/proc`, `/sys` and mounts are.
#[derive(Clone, Debug)]
struct Proc {
    root: Utf8PathBuf,
}

/// More of one file below `/proc` is not read.
const MAX_FILE: u64 = 64 << 20;

impl Proc {
    fn below(root: &str) -> Self {
        Self {
            root: Utf8PathBuf::from(root),
        }
    }

    fn path(&self, path: &str) -> Utf8PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Whether this is the host that we run on ourselves.
    fn is_own_root(&self) -> bool {
        self.root == "/"
    }

    fn read(&self, path: &str) -> Result<String, String> {
        read_text(&self.path(path)).map_err(|error| error.to_string())
    }

    /// Cores that are on line: the lines `cpuN` of `/proc/stat`.
    fn cores(&self) -> Result<u64, String> {
        let stat = self.read("/proc/stat")?;
        Ok(cpu::count_cores(&stat).max(1))
    }
}

fn read_text(path: &Utf8Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    fs_err::File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `system.<group>` with `value` in it.
fn system(group: &str, value: serde_json::Value) -> Fields {
    Fields::from_iter([("system".to_owned(), json!({group: value}))])
}

#[cfg(test)]
mod tests;
