//! `system.cpu`, `system.core`, `system.load`, `system.uptime`.

use event::fields::{Fields, merge, put};
use serde_json::{Value, json};

use super::number::{ratio, two_decimals};
use super::{Metricset, Proc, system};

/// The names of the columns of `/proc/stat` that are used, in their order.
const STATES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const IDLE: usize = 3;
const IOWAIT: usize = 4;
/// One tick is ten milliseconds on every Linux that we run on.
const TICK_MS: u64 = 10;

/// The eight counters of one line, in ticks.
type Ticks = [u64; 8];

fn ticks(line: &str) -> Ticks {
    let mut columns = line
        .split_ascii_whitespace()
        .skip(1)
        .map(|column| column.parse().unwrap_or(0));
    std::array::from_fn(|_| columns.next().unwrap_or(0))
}

pub(super) fn count_cores(stat: &str) -> u64 {
    core_lines(stat).count() as u64
}

fn core_lines(stat: &str) -> impl Iterator<Item = (&str, &str)> {
    stat.lines().filter_map(|line| {
        let id = line.strip_prefix("cpu")?.split(' ').next()?;
        (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())).then_some((id, line))
    })
}

/// What was asked for in `cpu.metrics` and `core.metrics`.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    percentages: bool,
    normalized: bool,
    ticks: bool,
}

impl Wanted {
    fn new(names: &[String], default: &[&str]) -> Self {
        let has = |name: &str| {
            if names.is_empty() {
                default.contains(&name)
            } else {
                names.iter().any(|own| own == name)
            }
        };
        Self {
            percentages: has("percentages"),
            normalized: has("normalized_percentages"),
            ticks: has("ticks"),
        }
    }
}

/// Shares of each state since `before`; `None` when no time has passed.
fn shares(now: &Ticks, before: &Ticks) -> Option<[f64; 8]> {
    let deltas: [u64; 8] = std::array::from_fn(|state| now[state].saturating_sub(before[state]));
    let total: u64 = deltas.iter().sum();
    (total > 0).then(|| deltas.map(|delta| delta as f64 / total as f64))
}

fn busy(shares: &[f64; 8]) -> f64 {
    (1.0 - shares[IDLE] - shares[IOWAIT]).max(0.0)
}

/// The group of one state, with what is wanted of it.
fn state(share: f64, cores: f64, wanted: Wanted) -> Value {
    let mut group = json!({});
    if wanted.percentages {
        group["pct"] = ratio(share * cores);
    }
    if wanted.normalized {
        group["norm"] = json!({"pct": ratio(share)});
    }
    group
}

fn measured(now: &Ticks, before: &Ticks, cores: f64, wanted: Wanted) -> Result<Fields, String> {
    let shares = shares(now, before).ok_or("no time has passed since the last measurement")?;
    let mut group = Fields::new();
    for (index, name) in STATES.iter().enumerate() {
        let mut value = state(shares[index], cores, wanted);
        if wanted.ticks {
            value["ticks"] = json!(now[index] * TICK_MS);
        }
        group.insert((*name).to_owned(), value);
    }
    group.insert("total".to_owned(), state(busy(&shares), cores, wanted));
    Ok(group)
}

#[derive(Debug)]
pub(super) struct Cpu {
    proc: Proc,
    wanted: Wanted,
    before: Option<Ticks>,
}

impl Cpu {
    pub(super) fn new(proc: &Proc, metrics: &[String]) -> Self {
        let wanted = Wanted::new(metrics, &["percentages", "normalized_percentages"]);
        Self {
            proc: proc.clone(),
            wanted,
            before: None,
        }
    }
}

impl Metricset for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn fetch(&mut self) -> Result<Vec<Fields>, String> {
        let stat = self.proc.read("/proc/stat")?;
        let line = stat
            .lines()
            .find(|line| line.starts_with("cpu "))
            .ok_or("`/proc/stat` has no line `cpu`")?;
        let cores = count_cores(&stat).max(1);
        let now = ticks(line);
        // The first fetch compares with zero: the average since the start of the machine.
        let before = self.before.unwrap_or_default();
        let mut group = measured(&now, &before, cores as f64, self.wanted)?;
        group.insert("cores".to_owned(), json!(cores));
        let usage = match self.before {
            Some(before) => shares(&now, &before).map_or(0.0, |shares| busy(&shares)),
            None => 0.0,
        };
        self.before = Some(now);
        let mut fields = system("cpu", Value::Object(group));
        put(&mut fields, "host.cpu.usage", ratio(usage)).map_err(|error| error.to_string())?;
        Ok(vec![fields])
    }
}

#[derive(Debug)]
pub(super) struct Core {
    proc: Proc,
    wanted: Wanted,
    before: std::collections::HashMap<String, Ticks>,
}

impl Core {
    pub(super) fn new(proc: &Proc, metrics: &[String]) -> Self {
        let wanted = Wanted {
            normalized: false,
            ..Wanted::new(metrics, &["percentages"])
        };
        Self {
            proc: proc.clone(),
            wanted,
            before: std::collections::HashMap::new(),
        }
    }
}

impl Metricset for Core {
    fn name(&self) -> &'static str {
        "core"
    }

    fn fetch(&mut self) -> Result<Vec<Fields>, String> {
        let stat = self.proc.read("/proc/stat")?;
        let mut events = Vec::new();
        for (id, line) in core_lines(&stat) {
            let now = ticks(line);
            let before = self.before.insert(id.to_owned(), now).unwrap_or_default();
            // A core that was off line all the time has nothing to say.
            let Ok(mut group) = measured(&now, &before, 1.0, self.wanted) else {
                continue;
            };
            let id = id.parse::<u64>().map_or_else(|_| json!(id), |id| json!(id));
            merge(&mut group, Fields::from_iter([("id".to_owned(), id)]));
            events.push(system("core", Value::Object(group)));
        }
        Ok(events)
    }
}

#[derive(Debug)]
pub(super) struct Load(Proc);

impl Load {
    pub(super) fn new(proc: &Proc) -> Self {
        Self(proc.clone())
    }
}

impl Metricset for Load {
    fn name(&self) -> &'static str {
        "load"
    }

    fn fetch(&mut self) -> Result<Vec<Fields>, String> {
        let text = self.0.read("/proc/loadavg")?;
        let cores = self.0.cores()?;
        let mut loads = text
            .split_ascii_whitespace()
            .map(|load| load.parse::<f64>().unwrap_or(0.0));
        let mut group = json!({"cores": cores, "norm": {}});
        for minutes in ["1", "5", "15"] {
            let load = loads.next().ok_or("`/proc/loadavg` has fewer than three numbers")?;
            group[minutes] = two_decimals(load);
            group["norm"][minutes] = ratio(load / cores as f64);
        }
        Ok(vec![system("load", group)])
    }
}

#[derive(Debug)]
pub(super) struct Uptime(Proc);

impl Uptime {
    pub(super) fn new(proc: &Proc) -> Self {
        Self(proc.clone())
    }
}

impl Metricset for Uptime {
    fn name(&self) -> &'static str {
        "uptime"
    }

    fn fetch(&mut self) -> Result<Vec<Fields>, String> {
        let text = self.0.read("/proc/uptime")?;
        let seconds = text
            .split_ascii_whitespace()
            .next()
            .and_then(|seconds| seconds.parse::<f64>().ok());
        let seconds = seconds.ok_or("`/proc/uptime` does not start with a number")?;
        Ok(vec![system(
            "uptime",
            json!({"duration": {"ms": (seconds * 1000.0).round() as u64}}),
        )])
    }
}
