//! `system.memory`.

use event::fields::Fields;
use serde_json::{Value, json};

use super::number::share;
use super::{Metricset, Proc, system};

#[derive(Debug)]
pub(super) struct Memory(Proc);

impl Memory {
    pub(super) fn new(proc: &Proc) -> Self {
        Self(proc.clone())
    }
}

/// A value of `/proc/meminfo` in bytes.
pub(super) fn meminfo(text: &str, name: &str) -> Option<u64> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kilobytes: u64 = rest.trim().trim_end_matches("kB").trim_end().parse().ok()?;
    Some(kilobytes * 1024)
}

/// `{bytes, pct}`; the share is absent when there is no whole.
fn used(bytes: u64, total: u64) -> Value {
    let mut group = json!({"bytes": bytes});
    if let Some(share) = share(bytes, total) {
        group["pct"] = share;
    }
    group
}

impl Metricset for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn fetch(&mut self) -> Result<Vec<Fields>, String> {
        let text = self.0.read("/proc/meminfo")?;
        let value = |name: &str| meminfo(&text, name).unwrap_or(0);
        let total = meminfo(&text, "MemTotal").ok_or("`/proc/meminfo` has no `MemTotal`")?;
        let free = value("MemFree");
        let cached = value("Cached");
        // Kernels before 3.14 do not say what is available.
        let available = meminfo(&text, "MemAvailable").unwrap_or_else(|| free + value("Buffers") + cached);
        let (swap_total, swap_free) = (value("SwapTotal"), value("SwapFree"));
        Ok(vec![system(
            "memory",
            json!({
                "total": total,
                "free": free,
                "cached": cached,
                "used": used(total.saturating_sub(free), total),
                "actual": {"free": available, "used": used(total.saturating_sub(available), total)},
                "swap": {"total": swap_total, "free": swap_free, "used": used(swap_total.saturating_sub(swap_free), swap_total)},
            }),
        )])
    }
}
