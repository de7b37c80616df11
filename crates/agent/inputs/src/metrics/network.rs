//! `system.network`: one event for each interface, and one for the host's traffic since the last fetch.

use event::fields::{Fields, put};
use serde_json::json;

use super::{Metricset, Proc, system};

#[derive(Debug)]
pub(super) struct Network {
    proc: Proc,
    /// Lower-case names; empty for all.
    interfaces: Vec<String>,
    before: Option<Totals>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    in_bytes: u64,
    in_packets: u64,
    out_bytes: u64,
    out_packets: u64,
}

impl Network {
    pub(super) fn new(proc: &Proc, interfaces: Vec<String>) -> Self {
        let interfaces = interfaces.iter().map(|name| name.to_lowercase()).collect();
        Self {
            proc: proc.clone(),
            interfaces,
            before: None,
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.interfaces.is_empty() || self.interfaces.contains(&name.to_lowercase())
    }
}

/// Name and the columns of one line of `/proc/net/dev`.
fn interface(line: &str) -> Option<(&str, Vec<u64>)> {
    let (name, columns) = line.split_once(':')?;
    let columns: Vec<u64> = columns
        .split_ascii_whitespace()
        .map_while(|column| column.parse().ok())
        .collect();
    (columns.len() >= 12).then(|| (name.trim(), columns))
}

impl Metricset for Network {
    fn name(&self) -> &'static str {
        "network"
    }

    fn fetch(&mut self) -> Result<Vec<Fields>, String> {
        let text = self.proc.read("/proc/net/dev")?;
        let mut totals = Totals::default();
        let mut events = Vec::new();
        for (name, columns) in text.lines().filter_map(interface).filter(|(name, _)| self.wants(name)) {
            totals.in_bytes += columns[0];
            totals.in_packets += columns[1];
            totals.out_bytes += columns[8];
            totals.out_packets += columns[9];
            events.push(system(
                "network",
                json!({
                    "name": name,
                    "in": {"bytes": columns[0], "packets": columns[1], "errors": columns[2], "dropped": columns[3]},
                    "out": {"bytes": columns[8], "packets": columns[9], "errors": columns[10], "dropped": columns[11]},
                }),
            ));
        }
        if let Some(before) = self.before.replace(totals) {
            events.push(traffic(&totals, &before)?);
        }
        Ok(events)
    }
}

fn traffic(now: &Totals, before: &Totals) -> Result<Fields, String> {
    let mut fields = Fields::new();
    let traffic = json!({
        "ingress": {"bytes": now.in_bytes.saturating_sub(before.in_bytes), "packets": now.in_packets.saturating_sub(before.in_packets)},
        "egress": {"bytes": now.out_bytes.saturating_sub(before.out_bytes), "packets": now.out_packets.saturating_sub(before.out_packets)},
    });
    put(&mut fields, "host.network", traffic).map_err(|error| error.to_string())?;
    Ok(fields)
}
