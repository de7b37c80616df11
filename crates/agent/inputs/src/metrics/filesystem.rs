//! `system.filesystem` and `system.fsstat`: the mounts that hold files of their own.

use std::collections::{BTreeMap, HashSet};

use event::fields::Fields;
use serde_json::json;

use super::number::share;
use super::{Metricset, Proc, system};

#[derive(Debug)]
struct Mount {
    device: String,
    point: String,
    kind: String,
    options: String,
}

/// Which mounts are looked at.
#[derive(Debug)]
struct Mounts {
    proc: Proc,
    ignore_types: Vec<String>,
}

impl Mounts {
    fn list(&self) -> Result<Vec<Mount>, String> {
        let path = if self.proc.is_own_root() {
            "/proc/self/mounts"
        } else {
            "/proc/mounts"
        };
        let ignored = self.ignored_types()?;
        let mounts = self.proc.read(path)?;
        let wanted = |mount: &Mount| {
            mount.point.starts_with('/') && !ignored.contains(&mount.kind) && !self.is_bind_mount(mount)
        };
        Ok(shortest_of_each_device(mounts.lines().filter_map(mount).filter(wanted)))
    }

    fn ignored_types(&self) -> Result<HashSet<String>, String> {
        if !self.ignore_types.is_empty() {
            return Ok(self.ignore_types.iter().cloned().collect());
        }
        let text = self.proc.read("/proc/filesystems")?;
        Ok(text
            .lines()
            .filter_map(|line| line.strip_prefix("nodev"))
            .map(|kind| kind.trim().to_owned())
            .collect())
    }

    fn is_bind_mount(&self, mount: &Mount) -> bool {
        mount.device.starts_with('/') && self.proc.path(&mount.device).is_dir()
    }

    fn usage(&self, mount: &Mount) -> Result<Usage, String> {
        let path = self.proc.path(&mount.point);
        let usage = rustix::fs::statvfs(path.as_std_path()).map_err(|error| format!("{path}: {error}"))?;
        let size = usage.f_frsize;
        Ok(Usage {
            total: usage.f_blocks * size,
            free: usage.f_bfree * size,
            available: usage.f_bavail * size,
            files: usage.f_files,
            free_files: usage.f_ffree,
        })
    }
}

struct Usage {
    total: u64,
    free: u64,
    available: u64,
    files: u64,
    free_files: u64,
}

impl Usage {
    fn used(&self) -> u64 {
        self.total.saturating_sub(self.free)
    }
}

fn mount(line: &str) -> Option<Mount> {
    let mut columns = line.split(' ').map(unescaped);
    Some(Mount {
        device: columns.next()?,
        point: columns.next()?,
        kind: columns.next()?,
        options: columns.next()?,
    })
}

/// Spaces and the like are octal escapes in mount tables.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

/// Of several mounts of one device only the one with the shortest mount point stays.
fn shortest_of_each_device(mounts: impl Iterator<Item = Mount>) -> Vec<Mount> {
    let mut by_device: BTreeMap<String, usize> = BTreeMap::new();
    let mut kept: Vec<Mount> = Vec::new();
    for mount in mounts {
        if !mount.device.starts_with('/') {
            kept.push(mount);
            continue;
        }
        match by_device.get(&mount.device) {
            Some(&index) if kept[index].point.len() <= mount.point.len() => {}
            Some(&index) => kept[index] = mount,
            None => {
                by_device.insert(mount.device.clone(), kept.len());
                kept.push(mount);
            }
        }
    }
    kept
}

#[derive(Debug)]
pub(super) struct Filesystem(Mounts);

impl Filesystem {
    pub(super) fn new(proc: &Proc, ignore_types: Vec<String>) -> Self {
        Self(Mounts {
            proc: proc.clone(),
            ignore_types,
        })
    }
}

impl Metricset for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn fetch(&mut self) -> Result<Vec<Fields>, String> {
        let mut events = Vec::new();
        for mount in self.0.list()? {
            // A mount that cannot be asked (stale network mount, no right to look) must not hide the others.
            let Ok(usage) = self.0.usage(&mount) else { continue };
            let used = usage.used();
            let mut group = json!({
                "device_name": mount.device,
                "type": mount.kind,
                "mount_point": mount.point,
                "options": mount.options,
                "total": usage.total,
                "free": usage.free,
                "available": usage.available,
                "files": usage.files,
                "free_files": usage.free_files,
                "used": {"bytes": used},
            });
            if let Some(share) = share(used, used + usage.available) {
                group["used"]["pct"] = share;
            }
            events.push(system("filesystem", group));
        }
        Ok(events)
    }
}

#[derive(Debug)]
pub(super) struct Fsstat(Mounts);

impl Fsstat {
    pub(super) fn new(proc: &Proc, ignore_types: Vec<String>) -> Self {
        Self(Mounts {
            proc: proc.clone(),
            ignore_types,
        })
    }
}

impl Metricset for Fsstat {
    fn name(&self) -> &'static str {
        "fsstat"
    }

    fn fetch(&mut self) -> Result<Vec<Fields>, String> {
        let mounts = self.0.list()?;
        let usages: Vec<Usage> = mounts.iter().filter_map(|mount| self.0.usage(mount).ok()).collect();
        let sum = |part: fn(&Usage) -> u64| usages.iter().map(part).sum::<u64>();
        Ok(vec![system(
            "fsstat",
            json!({
                "count": mounts.len(),
                "total_files": sum(|usage| usage.files),
                "total_size": {"total": sum(|usage| usage.total), "used": sum(Usage::used), "free": sum(|usage| usage.free)},
            }),
        )])
    }
}
