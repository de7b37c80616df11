//! `system.process` and `system.process.summary`.
//!
//! Of every process only `/proc/PID/stat` is read; the rest only of those that are reported.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use event::fields::{Fields, merge};
use fs_err as fs;
use jiff::Timestamp;
use regex::Regex;
use serde_json::{Value, json};

use super::memory::meminfo;
use super::number::{ratio, share};
use super::{Metricset, Proc, system};
use crate::build::BuildError;
use crate::config::Config;

/// One tick is ten milliseconds on every Linux that we run on.
const TICK_MS: u64 = 10;

/// What `/proc/PID/stat` says.
#[derive(Clone, Debug, PartialEq)]
struct Stat {
    pid: u64,
    name: String,
    state: char,
    parent: u64,
    group: i64,
    user_ms: u64,
    system_ms: u64,
    threads: u64,
    /// Milliseconds after the start of the machine.
    started_ms: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// The name stands in parentheses and may hold parentheses and spaces itself.
    fn parse(text: &str) -> Option<Self> {
        let (pid, rest) = text.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let columns: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |index: usize| columns.get(index)?.parse::<u64>().ok();
        Some(Self {
            pid: pid.trim().parse().ok()?,
            name: name.to_owned(),
            state: columns.first()?.chars().next()?,
            parent: number(1)?,
            group: columns.get(2)?.parse().ok()?,
            user_ms: number(11)? * TICK_MS,
            system_ms: number(12)? * TICK_MS,
            threads: number(17)?,
            started_ms: number(19)? * TICK_MS,
            virtual_bytes: number(20)?,
            resident_pages: number(21)?,
        })
    }

    fn cpu_ms(&self) -> u64 {
        self.user_ms + self.system_ms
    }

    fn state_name(&self) -> &'static str {
        match self.state {
            'R' => "running",
            'S' => "sleeping",
            'I' => "idle",
            'D' => "disk_sleep",
            'T' | 't' => "stopped",
            'Z' => "zombie",
            'X' | 'x' => "dead",
            'K' => "wakekill",
            'W' => "waking",
            'P' => "parked",
            _ => "unknown",
        }
    }
}

fn pids(proc: &Proc) -> Result<Vec<u64>, String> {
    let entries = fs::read_dir(proc.path("/proc")).map_err(|error| error.to_string())?;
    let mut pids: Vec<u64> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

fn stat(proc: &Proc, pid: u64) -> Option<Stat> {
    Stat::parse(&proc.read(&format!("/proc/{pid}/stat")).ok()?)
}

#[derive(Debug)]
pub(super) struct Summary(Proc);

impl Summary {
    pub(super) fn new(proc: &Proc) -> Self {
        Self(proc.clone())
    }
}

impl Metricset for Summary {
    fn name(&self) -> &'static str {
        "process_summary"
    }

    fn fetch(&mut self) -> Result<Vec<Fields>, String> {
        let pids = pids(&self.0)?;
        let mut counts = HashMap::new();
        for pid in &pids {
            let name = match stat(&self.0, *pid).map(|stat| stat.state) {
                Some('S') => "sleeping",
                Some('R') => "running",
                Some('D' | 'I') => "idle",
                Some('T' | 't') => "stopped",
                Some('Z') => "zombie",
                Some('X' | 'x') => "dead",
                _ => "unknown",
            };
            *counts.entry(name).or_insert(0_u64) += 1;
        }
        let mut summary = json!({"total": pids.len()});
        for name in ["sleeping", "running", "idle", "stopped", "zombie", "dead", "unknown"] {
            summary[name] = json!(counts.get(name).unwrap_or(&0));
        }
        Ok(vec![system("process", json!({"summary": summary}))])
    }
}

/// Milliseconds by pid and start; the start tells a reused pid apart.
type CpuTimes = HashMap<(u64, u64), u64>;

#[derive(Debug)]
pub(super) struct Process {
    proc: Proc,
    names: Vec<Regex>,
    by_cpu: usize,
    by_memory: usize,
    with_ticks: bool,
    environment: Vec<String>,
    /// CPU time of each process at the last fetch, and when that was.
    before: Option<(Instant, CpuTimes)>,
}

/// A process with what is needed to choose.
#[derive(Debug)]
struct Measured {
    stat: Stat,
    /// Of one core.
    cpu: f64,
}

/// What is the same for all processes of one fetch.
struct Host {
    cores: f64,
    memory: u64,
    page: u64,
    booted_ms: i64,
    users: HashMap<u64, String>,
}

impl Process {
    pub(super) fn read(config: Config<'_>, proc: &Proc) -> Result<Self, BuildError> {
        config.warn_without_effect(&["process.cgroups.enabled"]);
        let top = |paths: &[&'static str]| {
            config
                .number(paths, 0)
                .map(|top| usize::try_from(top).unwrap_or(usize::MAX))
        };
        let limited = config.boolean(&["process.include_top_n.enabled"], true)?;
        let (by_cpu, by_memory) = if limited {
            (
                top(&["process.include_top_n.by_cpu"])?,
                top(&["process.include_top_n.by_memory"])?,
            )
        } else {
            (0, 0)
        };
        Ok(Self {
            proc: proc.clone(),
            names: config.patterns(&["processes"])?,
            by_cpu,
            by_memory,
            with_ticks: config.boolean(&["process.include_cpu_ticks"], false)?,
            environment: config.texts(&["process.env.whitelist"])?,
            before: None,
        })
    }

    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|pattern| pattern.is_match(name))
    }

    /// Measures every process that is wanted.
    fn measure(&mut self) -> Result<Vec<Measured>, String> {
        let now = Instant::now();
        let stats: Vec<Stat> = pids(&self.proc)?
            .into_iter()
            .filter_map(|pid| stat(&self.proc, pid))
            .filter(|stat| self.wants(&stat.name))
            .collect();
        let times = stats
            .iter()
            .map(|stat| ((stat.pid, stat.started_ms), stat.cpu_ms()))
            .collect();
        let before = self.before.replace((now, times));
        let cpu = |stat: &Stat| {
            let (then, times) = before.as_ref()?;
            let earlier = times.get(&(stat.pid, stat.started_ms))?;
            let wall = now.duration_since(*then).as_secs_f64() * 1000.0;
            (wall > 0.0).then(|| stat.cpu_ms().saturating_sub(*earlier) as f64 / wall)
        };
        Ok(stats
            .into_iter()
            .map(|stat| Measured {
                cpu: cpu(&stat).unwrap_or(0.0),
                stat,
            })
            .collect())
    }

    /// The union of those with the most CPU and those with the most memory; all when neither is limited.
    fn choose(&self, measured: Vec<Measured>) -> Vec<Measured> {
        if self.by_cpu == 0 && self.by_memory == 0 {
            return measured;
        }
        let mut order: Vec<usize> = (0..measured.len()).collect();
        order.sort_by(|left, right| measured[*right].cpu.total_cmp(&measured[*left].cpu));
        let mut chosen: BTreeSet<usize> = order.iter().copied().take(self.by_cpu).collect();
        order.sort_by_key(|index| std::cmp::Reverse(measured[*index].stat.resident_pages));
        chosen.extend(order.iter().copied().take(self.by_memory));
        measured
            .into_iter()
            .enumerate()
            .filter(|(index, _)| chosen.contains(index))
            .map(|(_, process)| process)
            .collect()
    }

    fn host(&self) -> Result<Host, String> {
        let stat = self.proc.read("/proc/stat")?;
        let booted = stat
            .lines()
            .find_map(|line| line.strip_prefix("btime ")?.trim().parse::<i64>().ok());
        let memory = self.proc.read("/proc/meminfo")?;
        Ok(Host {
            cores: super::cpu::count_cores(&stat).max(1) as f64,
            memory: meminfo(&memory, "MemTotal").unwrap_or(0),
            page: rustix::param::page_size() as u64,
            booted_ms: booted.ok_or("`/proc/stat` has no `btime`")? * 1000,
            users: users(&self.proc.read("/etc/passwd").unwrap_or_default()),
        })
    }

    fn event(&self, process: &Measured, host: &Host) -> Fields {
        let stat = &process.stat;
        let read = |file: &str| {
            self.proc
                .read(&format!("/proc/{}/{file}", stat.pid))
                .unwrap_or_default()
        };
        let link = |file: &str| fs::read_link(self.proc.path(&format!("/proc/{}/{file}", stat.pid))).ok();
        let started = Timestamp::from_millisecond(host.booted_ms.saturating_add(stat.started_ms.cast_signed()));
        let started = started.map(clock::rfc3339_millis).unwrap_or_default();
        let resident = stat.resident_pages * host.page;
        let resident_share = share(resident, host.memory).unwrap_or(json!(0));
        let shared: u64 = read("statm")
            .split_ascii_whitespace()
            .nth(2)
            .and_then(|pages| pages.parse().ok())
            .unwrap_or(0);
        let norm = ratio(process.cpu / host.cores);
        let arguments = arguments(&read("cmdline"));

        let mut common = json!({
            "pid": stat.pid,
            "parent": {"pid": stat.parent},
            "pgid": stat.group,
            "name": stat.name,
            "state": stat.state_name(),
            "cpu": {"pct": norm, "start_time": started},
            "memory": {"pct": resident_share},
        });
        let mut own = json!({
            "state": stat.state_name(),
            "num_threads": stat.threads,
            "cpu": {
                "start_time": started,
                "total": {"value": stat.cpu_ms(), "pct": ratio(process.cpu), "norm": {"pct": norm}},
            },
            "memory": {
                "size": stat.virtual_bytes,
                "share": shared * host.page,
                "rss": {"bytes": resident, "pct": resident_share},
            },
        });
        if !arguments.is_empty() {
            let line = arguments.join(" ");
            own["cmdline"] = json!(line);
            common["command_line"] = json!(line);
            common["args"] = json!(arguments);
        }
        for (name, file) in [("executable", "exe"), ("working_directory", "cwd")] {
            if let Some(path) = link(file) {
                common[name] = json!(path.to_string_lossy());
            }
        }
        if self.with_ticks {
            own["cpu"]["user"] = json!({"ticks": stat.user_ms});
            own["cpu"]["system"] = json!({"ticks": stat.system_ms});
            own["cpu"]["total"]["ticks"] = json!(stat.cpu_ms());
        }
        if let Some(descriptors) = descriptors(&self.proc, stat.pid, &read("limits")) {
            own["fd"] = descriptors;
        }
        if let Some(io) = transfers(&read("io")) {
            own["io"] = io;
        }
        let environment = self.environment(&read("environ"));
        if !environment.is_empty() {
            own["env"] = Value::Object(environment);
        }
        let mut fields = system("process", own);
        merge(&mut fields, Fields::from_iter([("process".to_owned(), common)]));
        if let Some(user) = user_id(&read("status")) {
            let name = host.users.get(&user).cloned().unwrap_or_else(|| user.to_string());
            fields.insert("user".to_owned(), json!({"name": name}));
        }
        fields
    }

    fn environment(&self, text: &str) -> Fields {
        let wanted = |name: &str| {
            self.environment.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == pattern,
            })
        };
        text.split('\0')
            .filter_map(|variable| variable.split_once('='))
            .filter(|(name, _)| wanted(name))
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect()
    }
}

impl Metricset for Process {
    fn name(&self) -> &'static str {
        "process"
    }

    fn fetch(&mut self) -> Result<Vec<Fields>, String> {
        let host = self.host()?;
        let measured = self.measure()?;
        let chosen = self.choose(measured);
        Ok(chosen.iter().map(|process| self.event(process, &host)).collect())
    }
}

/// Open descriptors and their limits; `None` for processes of other users that we may not look into.
fn descriptors(proc: &Proc, pid: u64, limits: &str) -> Option<Value> {
    let open = fs::read_dir(proc.path(&format!("/proc/{pid}/fd"))).ok()?.count();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    // `unlimited` has no number; the largest one that every store can keep stands for it.
    let mut columns = line
        .split_ascii_whitespace()
        .map(|limit| limit.parse::<u64>().unwrap_or(u64::MAX >> 1));
    Some(json!({"open": open, "limit": {"soft": columns.next()?, "hard": columns.next()?}}))
}

fn arguments(cmdline: &str) -> Vec<String> {
    cmdline
        .split('\0')
        .filter(|argument| !argument.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The effective user.
fn user_id(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn users(passwd: &str) -> HashMap<u64, String> {
    passwd
        .lines()
        .filter_map(|line| {
            let mut columns = line.split(':');
            let name = columns.next()?;
            Some((columns.nth(1)?.parse().ok()?, name.to_owned()))
        })
        .collect()
}

/// `/proc/PID/io`, under the names that the documents have.
fn transfers(text: &str) -> Option<Value> {
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse::<u64>().ok())
    };
    Some(json!({
        "read_char": value("rchar")?,
        "write_char": value("wchar")?,
        "read_ops": value("syscr")?,
        "write_ops": value("syscw")?,
        "read_bytes": value("read_bytes")?,
        "write_bytes": value("write_bytes")?,
        "cancelled_write_bytes": value("cancelled_write_bytes")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_parentheses() {
        let text =
            "42 (a) (b c) S 1 42 42 0 -1 4194560 1 2 3 4 50 25 7 8 20 0 3 0 1000 4096000 512 18446744073709551615";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(
            (stat.pid, stat.name.as_str(), stat.state, stat.parent, stat.group),
            (42, "a) (b c", 'S', 1, 42)
        );
        assert_eq!((stat.user_ms, stat.system_ms, stat.threads), (500, 250, 3));
        assert_eq!(
            (stat.started_ms, stat.virtual_bytes, stat.resident_pages),
            (10_000, 4_096_000, 512)
        );
        assert_eq!(Stat::parse("garbage"), None);
    }
}
