//! What events and check-ins say of this host, read from files below `/`.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use camino::{Utf8Path, Utf8PathBuf};
use event::fields::Fields;
use fs_err as fs;
use serde_json::{Value, json};

/// Files of a host are small; more than this of one is not read.
const MAX_FILE: usize = 1 << 20;

/// `host.*` as `add_host_metadata` writes it. `root` is `/`, or the folder where the host's root is mounted.
/// What cannot be read is left out.
pub fn metadata(root: &Utf8Path) -> Fields {
    let name = rustix::system::uname();
    let hostname = name.nodename().to_string_lossy().into_owned();
    let mut host = json!({
        "name": hostname.to_lowercase(),
        "hostname": hostname,
        "architecture": name.machine().to_string_lossy(),
        "containerized": is_containerized(root),
        "ip": addresses(root).iter().map(ToString::to_string).collect::<Vec<_>>(),
        "mac": hardware_addresses(root),
        "os": operating_system(root, &name.release().to_string_lossy()),
    });
    if let Some(id) = machine_id(root) {
        host["id"] = Value::String(id);
    }
    match host {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}

/// The id that the system was given when it was installed.
pub fn machine_id(root: &Utf8Path) -> Option<String> {
    let read = |path: &str| {
        read(&below(root, path))
            .map(|text| text.trim().to_owned())
            .filter(|id| !id.is_empty())
    };
    read("/etc/machine-id").or_else(|| read("/var/lib/dbus/machine-id"))
}

fn below(root: &Utf8Path, path: &str) -> Utf8PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn read(path: &Utf8Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    (text.len() <= MAX_FILE).then_some(text)
}

fn operating_system(root: &Utf8Path, kernel: &str) -> Value {
    let release = read(&below(root, "/etc/os-release")).or_else(|| read(&below(root, "/usr/lib/os-release")));
    let release = release.unwrap_or_default();
    let value = |key: &str| {
        release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|text| text.trim_matches(['"', '\'']))
    };
    let platform = value("ID").unwrap_or("linux");
    let mut system = json!({"type": "linux", "platform": platform, "kernel": kernel});
    if let Some(family) = family(platform, value("ID_LIKE").unwrap_or_default()) {
        system["family"] = json!(family);
    }
    for (field, key) in [
        ("name", "NAME"),
        ("version", "VERSION"),
        ("codename", "VERSION_CODENAME"),
    ] {
        if let Some(text) = value(key) {
            system[field] = json!(text);
        }
    }
    system
}

/// The family that the schema knows a distribution under.
fn family(platform: &str, like: &str) -> Option<&'static str> {
    let known = |name: &str| match name {
        "debian" | "ubuntu" | "raspbian" | "linuxmint" => Some("debian"),
        "rhel" | "redhat" | "fedora" | "centos" | "ol" | "amzn" | "rocky" | "almalinux" | "scientific" => {
            Some("redhat")
        }
        "suse" | "sles" | "opensuse" | "opensuse-leap" | "opensuse-tumbleweed" => Some("suse"),
        "arch" | "manjaro" | "archarm" => Some("arch"),
        "alpine" => Some("alpine"),
        "gentoo" => Some("gentoo"),
        _ => None,
    };
    known(platform).or_else(|| like.split_whitespace().find_map(known))
}

fn is_containerized(root: &Utf8Path) -> bool {
    let cgroups = read(&below(root, "/proc/1/cgroup")).unwrap_or_default();
    let marked = ["docker", "kubepods", "lxc", "containerd", "libpod"]
        .iter()
        .any(|mark| cgroups.contains(mark));
    marked || below(root, "/.dockerenv").exists() || below(root, "/run/.containerenv").exists()
}

/// The addresses of all interfaces, loop-back included, IPv4 first.
pub fn addresses(root: &Utf8Path) -> Vec<IpAddr> {
    let v4 = read(&below(root, "/proc/net/fib_trie")).unwrap_or_default();
    let v6 = read(&below(root, "/proc/net/if_inet6")).unwrap_or_default();
    let mut addresses: Vec<IpAddr> = local_v4(&v4).into_iter().map(IpAddr::V4).collect();
    addresses.extend(v6.lines().filter_map(|line| {
        let bits = u128::from_str_radix(line.split_whitespace().next()?, 16).ok()?;
        Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
    }));
    addresses
}

/// In `fib_trie` a host address is a leaf `|-- a.b.c.d` followed by `/32 host LOCAL`.
fn local_v4(trie: &str) -> BTreeSet<Ipv4Addr> {
    let mut found = BTreeSet::new();
    let mut leaf: Option<Ipv4Addr> = None;
    for line in trie.lines() {
        if let Some(address) = line.trim_start().strip_prefix("|-- ") {
            leaf = address.trim().parse().ok();
        } else if line.contains("/32 host LOCAL") {
            found.extend(leaf);
        }
    }
    found
}

/// The hardware addresses of all interfaces but loop-back: upper case, with hyphens.
pub fn hardware_addresses(root: &Utf8Path) -> Vec<String> {
    let Ok(interfaces) = fs::read_dir(below(root, "/sys/class/net")) else {
        return Vec::new();
    };
    let address = |entry: std::io::Result<fs::DirEntry>| {
        let path = Utf8PathBuf::from_path_buf(entry.ok()?.path()).ok()?;
        let text = read(&path.join("address"))?.trim().to_uppercase().replace(':', "-");
        (!text.is_empty() && text.chars().any(|digit| digit != '0' && digit != '-')).then_some(text)
    };
    interfaces
        .filter_map(address)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixture_tree_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("etc/machine-id", "4f1c2d3e4b5a69788796a5b4c3d2e1f0\n");
        put(
            "etc/os-release",
            "NAME=\"Linux Mint\"\nID=mint\nID_LIKE=\"ubuntu debian\"\nVERSION=\"21 (x)\"\nVERSION_CODENAME=x\n",
        );
        put("proc/1/cgroup", "0::/init.scope\n");
        put(
            "proc/net/fib_trie",
            "Main:\n  +-- 0.0.0.0/0\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.5\n        /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n",
        );
        put(
            "proc/net/if_inet6",
            "fe800000000000000000000000000005 02 40 20 80     eth0\n",
        );
        put("sys/class/net/eth0/address", "02:00:5e:10:00:05\n");
        put("sys/class/net/lo/address", "00:00:00:00:00:00\n");
        let host = metadata(root);
        assert_eq!(host["id"], "4f1c2d3e4b5a69788796a5b4c3d2e1f0");
        assert_eq!(host["ip"], json!(["10.0.0.5", "127.0.0.1", "fe80::5"]));
        assert_eq!(host["mac"], json!(["02-00-5E-10-00-05"]));
        assert_eq!(host["containerized"], false);
        let os = &host["os"];
        assert_eq!(
            (os["family"].as_str(), os["platform"].as_str()),
            (Some("debian"), Some("mint"))
        );
        assert_eq!(os["version"], "21 (x)");
    }

    #[test]
    fn an_empty_tree_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let host = metadata(Utf8Path::from_path(folder.path()).unwrap());
        assert_eq!(host["os"]["type"], "linux");
        assert_eq!(host["ip"], json!([]));
    }
}
