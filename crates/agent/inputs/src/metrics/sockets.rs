//! `system.socket_summary`: one row of `/proc/net/{tcp,tcp6,udp,udp6}` is one socket.

use event::fields::Fields;
use serde_json::json;

use super::{Metricset, Proc, system};

#[derive(Debug)]
pub(super) struct SocketSummary(Proc);

impl SocketSummary {
    pub(super) fn new(proc: &Proc) -> Self {
        Self(proc.clone())
    }
}

/// The states of TCP in the order of their numbers, from 1.
const STATES: [&str; 11] = [
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listening",
    "closing",
];
const CLOSE: usize = 6;
const LISTENING: usize = 9;

/// Sockets in each state.
fn count_states(table: &str, counts: &mut [u64; 11]) {
    for line in table.lines().skip(1) {
        let state = line
            .split_ascii_whitespace()
            .nth(3)
            .and_then(|state| usize::from_str_radix(state, 16).ok());
        if let Some(count) = state.and_then(|state| counts.get_mut(state.checked_sub(1)?)) {
            *count += 1;
        }
    }
}

/// A number of `/proc/net/sockstat`: `sockstat("TCP:", "orphan")`.
fn sockstat(text: &str, protocol: &str, name: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(protocol))
        .unwrap_or_default();
    let mut words = line.split_ascii_whitespace();
    words.find(|word| *word == name);
    words.next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl Metricset for SocketSummary {
    fn name(&self) -> &'static str {
        "socket_summary"
    }

    fn fetch(&mut self) -> Result<Vec<Fields>, String> {
        let mut tcp = [0_u64; 11];
        count_states(&self.0.read("/proc/net/tcp")?, &mut tcp);
        // A kernel without IPv6 has no such files.
        count_states(&self.0.read("/proc/net/tcp6").unwrap_or_default(), &mut tcp);
        let rows = |path: &str| self.0.read(path).map(|table| table.lines().skip(1).count() as u64);
        let udp = rows("/proc/net/udp")? + rows("/proc/net/udp6").unwrap_or(0);
        let sockets = self.0.read("/proc/net/sockstat")?;
        let page = rustix::param::page_size() as u64;
        let count: u64 = tcp.iter().sum();
        let mut all = json!({"count": count, "orphan": sockstat(&sockets, "TCP:", "orphan")});
        for (state, name) in STATES.iter().enumerate().filter(|(state, _)| *state != CLOSE) {
            all[*name] = json!(tcp[state]);
        }
        let summary = json!({
            "all": {"count": count + udp, "listening": tcp[LISTENING]},
            "tcp": {"all": all, "memory": sockstat(&sockets, "TCP:", "mem") * page},
            "udp": {"all": {"count": udp}, "memory": sockstat(&sockets, "UDP:", "mem") * page},
        });
        Ok(vec![system("socket", json!({"summary": summary}))])
    }
}
