//! `system.diskio`: one event for each block device, and one for the host's transfers since the last fetch.

use event::fields::{Fields, put};
use serde_json::json;

use super::{Metricset, Proc, system};

/// A sector of `/proc/diskstats`, whatever the device has.
const SECTOR: u64 = 512;

#[derive(Debug)]
pub(super) struct DiskIo {
    proc: Proc,
    /// Empty for all.
    devices: Vec<String>,
    before: Option<(u64, u64)>,
}

impl DiskIo {
    pub(super) fn new(proc: &Proc, devices: Vec<String>) -> Self {
        Self {
            proc: proc.clone(),
            devices,
            before: None,
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.devices.is_empty() || self.devices.iter().any(|device| device == name)
    }

    /// The serial number from udev's database, which is keyed by the device's numbers.
    fn serial_number(&self, major: &str, minor: &str) -> Option<String> {
        let text = self.proc.read(&format!("/run/udev/data/b{major}:{minor}")).ok()?;
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix("E:")?.strip_prefix(key)?.strip_prefix('='))
        };
        let serial = value("ID_SERIAL_SHORT").or_else(|| value("ID_SERIAL"))?;
        (!serial.is_empty()).then(|| serial.to_owned())
    }
}

impl Metricset for DiskIo {
    fn name(&self) -> &'static str {
        "diskio"
    }

    fn fetch(&mut self) -> Result<Vec<Fields>, String> {
        let text = self.proc.read("/proc/diskstats")?;
        let mut events = Vec::new();
        let mut totals = (0, 0);
        for line in text.lines() {
            let columns: Vec<&str> = line.split_ascii_whitespace().collect();
            let [major, minor, name, counters @ ..] = columns.as_slice() else {
                continue;
            };
            if counters.len() < 11 || !self.wants(name) {
                continue;
            }
            let column = |index: usize| counters[index].parse::<u64>().unwrap_or(0);
            let (read, written) = (column(2) * SECTOR, column(6) * SECTOR);
            totals = (totals.0 + read, totals.1 + written);
            let mut group = json!({
                "name": name,
                "read": {"count": column(0), "bytes": read, "time": column(3)},
                "write": {"count": column(4), "bytes": written, "time": column(7)},
                "io": {"time": column(9), "ops": column(8)},
            });
            if let Some(serial) = self.serial_number(major, minor) {
                group["serial_number"] = json!(serial);
            }
            events.push(system("diskio", group));
        }
        if let Some(before) = self.before.replace(totals) {
            let mut fields = Fields::new();
            let transfers = json!({
                "read": {"bytes": totals.0.saturating_sub(before.0)},
                "write": {"bytes": totals.1.saturating_sub(before.1)},
            });
            put(&mut fields, "host.disk", transfers).map_err(|error| error.to_string())?;
            events.push(fields);
        }
        Ok(events)
    }
}
