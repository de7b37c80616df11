//! What an agent tells Fleet about its host. Source: the recorded enrolments and check-ins.

use std::collections::BTreeSet;

use fs_err as fs;
use serde_json::{Value, json};

/// A host's facts, read once at start.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// The kernel's host name.
    pub(crate) hostname: String,
    /// `/etc/machine-id`, or empty.
    pub(crate) machine_id: String,
    /// `x86_64`, `aarch64`.
    pub(crate) architecture: String,
    kernel: String,
    memory_bytes: u64,
    os: OsRelease,
    addresses: Vec<String>,
    macs: Vec<String>,
}

/// What the agent says of itself.
#[derive(Clone, Debug)]
pub(crate) struct AgentFacts<'a> {
    /// The agent's id.
    pub(crate) id: &'a str,
    /// Its version.
    pub(crate) version: &'a str,
    /// A build between releases.
    pub(crate) snapshot: bool,
    /// Commit and time of the build.
    pub(crate) build: &'a str,
    /// Installed as a service, so that it could be upgraded.
    pub(crate) upgradeable: bool,
    /// Its log level now.
    pub(crate) log_level: &'a str,
    /// Whether the process is not root.
    pub(crate) unprivileged: bool,
}

#[derive(Clone, Debug, Default)]
struct OsRelease {
    id: String,
    family: String,
    name: String,
    version: String,
    codename: String,
}

impl Host {
    /// Reads the facts. What this host does not tell stays empty.
    pub(crate) fn read() -> Self {
        let uname = rustix::system::uname();
        let text = |value: &std::ffi::CStr| value.to_string_lossy().into_owned();
        let (addresses, macs) = network();
        Self {
            hostname: text(uname.nodename()),
            machine_id: fs::read_to_string("/etc/machine-id")
                .map(|id| id.trim().to_owned())
                .unwrap_or_default(),
            architecture: text(uname.machine()),
            kernel: text(uname.release()),
            memory_bytes: total_memory().unwrap_or_default(),
            os: fs::read_to_string("/etc/os-release")
                .map(|text| os_release(&text))
                .unwrap_or_default(),
            addresses,
            macs,
        }
    }

    /// `local_metadata` of enrolments and check-ins.
    pub(crate) fn metadata(&self, agent: &AgentFacts<'_>) -> Value {
        let full = format!("{} {}({})", self.os.name, self.os.codename, self.os.version);
        json!({
            "elastic": {"agent": {
                "id": agent.id,
                "version": agent.version,
                "snapshot": agent.snapshot,
                "build.original": agent.build,
                "upgradeable": agent.upgradeable,
                "log_level": agent.log_level,
                "complete": false,
                "unprivileged": agent.unprivileged,
                "fips": false,
            }},
            "host": {
                "architecture": self.architecture,
                "hostname": self.hostname,
                "name": self.hostname.to_lowercase(),
                "id": self.machine_id,
                "ip": self.addresses,
                "mac": self.macs,
                "memory": self.memory_bytes,
            },
            "os": {
                "family": self.os.family,
                "kernel": self.kernel,
                "platform": self.os.id,
                "version": self.os.version,
                "name": self.os.name,
                "full": full,
            },
        })
    }

    /// The operating system's id (`debian`), family and version, for the `host` provider.
    pub(crate) fn os(&self) -> (&str, &str, &str) {
        (&self.os.id, &self.os.family, &self.os.version)
    }

    /// Addresses without their prefix lengths.
    pub(crate) fn ips(&self) -> Vec<String> {
        self.addresses
            .iter()
            .map(|address| address.split('/').next().unwrap_or_default().to_owned())
            .collect()
    }

    /// Hardware addresses.
    pub(crate) fn macs(&self) -> &[String] {
        &self.macs
    }
}

fn total_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

fn os_release(text: &str) -> OsRelease {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
    };
    let id = value("ID");
    let like = value("ID_LIKE");
    OsRelease {
        family: family(&id, &like),
        name: value("NAME"),
        version: value("VERSION"),
        codename: value("VERSION_CODENAME"),
        id,
    }
}

/// The family in the original's words.
fn family(id: &str, like: &str) -> String {
    let words: Vec<&str> = std::iter::once(id).chain(like.split_whitespace()).collect();
    let is = |names: &[&str]| words.iter().any(|word| names.contains(word));
    let family = if is(&["debian", "ubuntu", "linuxmint"]) {
        "debian"
    } else if is(&["rhel", "fedora", "centos", "amzn", "rocky", "almalinux", "ol"]) {
        "redhat"
    } else if is(&["suse", "sles", "opensuse"]) || id.starts_with("opensuse") {
        "suse"
    } else if is(&["arch", "archarm"]) {
        "arch"
    } else if is(&["alpine"]) {
        "alpine"
    } else {
        ""
    };
    family.to_owned()
}

/// Addresses with prefix lengths and hardware addresses of all interfaces.
fn network() -> (Vec<String>, Vec<String>) {
    let mut macs = Vec::new();
    for entry in fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
        let mac = fs::read_to_string(entry.path().join("address")).unwrap_or_default();
        let mac = mac.trim();
        if !mac.is_empty() && mac.bytes().any(|byte| byte != b'0' && byte != b':') {
            macs.push(mac.to_owned());
        }
    }
    macs.sort();
    let mut addresses = ipv4_addresses();
    addresses.extend(ipv6_addresses());
    (addresses, macs)
}

/// Local addresses of the routing table's dump, with the longest on-link prefix that holds them.
fn ipv4_addresses() -> Vec<String> {
    let trie = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    local_addresses(&trie)
        .into_iter()
        .map(|address| format!("{address}/{}", prefix_length(&routes, address)))
        .collect()
}

/// The addresses of interfaces. A local route to a whole network (`127.0.0.0/8`) is none.
fn local_addresses(trie: &str) -> BTreeSet<std::net::Ipv4Addr> {
    let mut seen = BTreeSet::new();
    let mut last = None;
    for line in trie.lines() {
        if let Some(address) = line.trim().strip_prefix("|-- ") {
            last = address.parse::<std::net::Ipv4Addr>().ok();
        } else if line.trim() == "/32 host LOCAL"
            && let Some(address) = last
        {
            seen.insert(address);
        }
    }
    seen
}

fn prefix_length(routes: &str, address: std::net::Ipv4Addr) -> u32 {
    if address.is_loopback() {
        return 8;
    }
    let number = |text: &str| u32::from_str_radix(text, 16).map(u32::swap_bytes).ok();
    let on_link = routes.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (destination, gateway, mask) = (
            number(fields.get(1)?)?,
            number(fields.get(2)?)?,
            number(fields.get(7)?)?,
        );
        (gateway == 0 && mask != 0 && u32::from(address) & mask == destination).then(|| mask.count_ones())
    });
    on_link.max().unwrap_or(32)
}

fn ipv6_addresses() -> Vec<String> {
    let text = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let address = |line: &str| {
        let mut fields = line.split_whitespace();
        let bits = u128::from_str_radix(fields.next()?, 16).ok()?;
        let prefix = u32::from_str_radix(fields.nth(1)?, 16).ok()?;
        Some(format!("{}/{prefix}", std::net::Ipv6Addr::from(bits)))
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_is_read_with_its_family() {
        let os =
            os_release("ID=rocky\nID_LIKE=\"rhel centos fedora\"\nNAME=\"Rocky Linux\"\nVERSION=\"9.4 (Blue Onyx)\"\n");
        assert_eq!(
            (os.id.as_str(), os.family.as_str(), os.version.as_str()),
            ("rocky", "redhat", "9.4 (Blue Onyx)")
        );
        assert_eq!(family("debian", ""), "debian");
        assert_eq!(family("plan9", ""), "");
    }

    #[test]
    fn only_addresses_of_interfaces_are_told() {
        let trie = "Local:\n  +-- 127.0.0.0/8 2 0 2\n     +-- 127.0.0.0/31 1 0 0\n        |-- 127.0.0.0\n           /8 host LOCAL\n        |-- 127.0.0.1\n           /32 host LOCAL\n     |-- 127.255.255.255\n        /32 link BROADCAST\n  |-- 192.0.2.2\n     /32 host LOCAL\n";
        let told: Vec<String> = local_addresses(trie).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["127.0.0.1", "192.0.2.2"]);
    }

    #[test]
    fn prefix_lengths_come_from_on_link_routes() {
        let routes = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
            eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0\n\
            eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";
        assert_eq!(prefix_length(routes, "192.0.2.2".parse().unwrap()), 24);
        assert_eq!(prefix_length(routes, "198.51.100.1".parse().unwrap()), 32);
        assert_eq!(prefix_length(routes, "127.0.0.1".parse().unwrap()), 8);
    }

    #[test]
    fn the_metadata_has_the_recorded_shape() {
        let facts = AgentFacts {
            id: "a",
            version: "9.6.0",
            snapshot: false,
            build: "b",
            upgradeable: false,
            log_level: "info",
            unprivileged: true,
        };
        let metadata = Host::read().metadata(&facts);
        assert_eq!(metadata["elastic"]["agent"]["id"], "a");
        for pointer in ["/host/hostname", "/host/architecture", "/os/kernel", "/os/full"] {
            assert!(metadata.pointer(pointer).unwrap().is_string(), "{pointer}");
        }
        assert!(metadata["host"]["ip"].is_array() && metadata["host"]["memory"].as_u64().unwrap() > 0);
    }
}
