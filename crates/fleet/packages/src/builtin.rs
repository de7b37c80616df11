//! Our own definitions, in the binary.
//!
//! Names, variables, stream ids and datasets are those that agents, dashboards and clients of the Fleet API know; the
//! texts and templates are ours. Source: agent-data, packages.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::Package;

/// The packages that need no upload, by name.
pub fn builtin() -> &'static [Package] {
    static PACKAGES: OnceLock<Vec<Package>> = OnceLock::new();
    PACKAGES.get_or_init(read_all)
}

fn read_all() -> Vec<Package> {
    let mut packages: BTreeMap<&str, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for (path, content) in FILES {
        let (package, path) = path
            .split_once('/')
            .expect("every definition stands in its package's folder");
        packages
            .entry(package)
            .or_default()
            .insert(path.to_owned(), content.as_bytes().to_vec());
    }
    let read = |files| Package::from_files(files).expect("our own definitions are valid: a test reads them all");
    packages.into_values().map(read).collect()
}

macro_rules! definitions {
    ($($path:literal,)*) => { &[$(($path, include_str!(concat!("../definitions/", $path)))),*] };
}

/// Every file of `definitions/`; a test compares the list with the folder.
const FILES: &[(&str, &str)] = definitions![
    "elastic_agent/data_stream/apm_server_logs/manifest.yml",
    "elastic_agent/data_stream/apm_server_metrics/manifest.yml",
    "elastic_agent/data_stream/auditbeat_logs/manifest.yml",
    "elastic_agent/data_stream/auditbeat_metrics/manifest.yml",
    "elastic_agent/data_stream/cloud_defend_logs/manifest.yml",
    "elastic_agent/data_stream/cloudbeat_logs/manifest.yml",
    "elastic_agent/data_stream/cloudbeat_metrics/manifest.yml",
    "elastic_agent/data_stream/elastic_agent_logs/manifest.yml",
    "elastic_agent/data_stream/elastic_agent_metrics/manifest.yml",
    "elastic_agent/data_stream/endpoint_security_logs/manifest.yml",
    "elastic_agent/data_stream/endpoint_security_metrics/manifest.yml",
    "elastic_agent/data_stream/filebeat_input_metrics/manifest.yml",
    "elastic_agent/data_stream/filebeat_logs/manifest.yml",
    "elastic_agent/data_stream/filebeat_metrics/manifest.yml",
    "elastic_agent/data_stream/fleet_server_logs/manifest.yml",
    "elastic_agent/data_stream/fleet_server_metrics/manifest.yml",
    "elastic_agent/data_stream/heartbeat_logs/manifest.yml",
    "elastic_agent/data_stream/heartbeat_metrics/manifest.yml",
    "elastic_agent/data_stream/metricbeat_logs/manifest.yml",
    "elastic_agent/data_stream/metricbeat_metrics/manifest.yml",
    "elastic_agent/data_stream/osquerybeat_logs/manifest.yml",
    "elastic_agent/data_stream/osquerybeat_metrics/manifest.yml",
    "elastic_agent/data_stream/packetbeat_logs/manifest.yml",
    "elastic_agent/data_stream/packetbeat_metrics/manifest.yml",
    "elastic_agent/data_stream/pf_elastic_collector_logs/manifest.yml",
    "elastic_agent/data_stream/pf_elastic_symbolizer_logs/manifest.yml",
    "elastic_agent/data_stream/pf_host_agent_logs/manifest.yml",
    "elastic_agent/manifest.yml",
    "filestream/agent/input/input.yml.hbs",
    "filestream/manifest.yml",
    "fleet_server/agent/input/input.yml.hbs",
    "fleet_server/data_stream/agent_status/manifest.yml",
    "fleet_server/data_stream/agent_versions/manifest.yml",
    "fleet_server/data_stream/output_health/manifest.yml",
    "fleet_server/manifest.yml",
    "log/agent/input/input.yml.hbs",
    "log/manifest.yml",
    "prometheus/data_stream/collector/agent/stream/stream.yml.hbs",
    "prometheus/data_stream/collector/manifest.yml",
    "prometheus/manifest.yml",
    "syslog/data_stream/log/agent/stream/tcp.yml.hbs",
    "syslog/data_stream/log/agent/stream/udp.yml.hbs",
    "syslog/data_stream/log/manifest.yml",
    "syslog/manifest.yml",
    "system/data_stream/auth/agent/stream/journald.yml.hbs",
    "system/data_stream/auth/agent/stream/log.yml.hbs",
    "system/data_stream/auth/manifest.yml",
    "system/data_stream/core/agent/stream/stream.yml.hbs",
    "system/data_stream/core/manifest.yml",
    "system/data_stream/cpu/agent/stream/stream.yml.hbs",
    "system/data_stream/cpu/manifest.yml",
    "system/data_stream/diskio/agent/stream/stream.yml.hbs",
    "system/data_stream/diskio/manifest.yml",
    "system/data_stream/filesystem/agent/stream/stream.yml.hbs",
    "system/data_stream/filesystem/manifest.yml",
    "system/data_stream/fsstat/agent/stream/stream.yml.hbs",
    "system/data_stream/fsstat/manifest.yml",
    "system/data_stream/load/agent/stream/stream.yml.hbs",
    "system/data_stream/load/manifest.yml",
    "system/data_stream/memory/agent/stream/stream.yml.hbs",
    "system/data_stream/memory/manifest.yml",
    "system/data_stream/network/agent/stream/stream.yml.hbs",
    "system/data_stream/network/manifest.yml",
    "system/data_stream/process/agent/stream/stream.yml.hbs",
    "system/data_stream/process/manifest.yml",
    "system/data_stream/process_summary/agent/stream/stream.yml.hbs",
    "system/data_stream/process_summary/manifest.yml",
    "system/data_stream/socket_summary/agent/stream/stream.yml.hbs",
    "system/data_stream/socket_summary/manifest.yml",
    "system/data_stream/syslog/agent/stream/journald.yml.hbs",
    "system/data_stream/syslog/agent/stream/log.yml.hbs",
    "system/data_stream/syslog/manifest.yml",
    "system/data_stream/uptime/agent/stream/stream.yml.hbs",
    "system/data_stream/uptime/manifest.yml",
    "system/manifest.yml",
    "tcp/agent/input/input.yml.hbs",
    "tcp/manifest.yml",
    "udp/agent/input/input.yml.hbs",
    "udp/manifest.yml",
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_definition_is_valid_and_in_the_binary() {
        let names: Vec<&str> = builtin().iter().map(|package| package.name.as_str()).collect();
        let expected = [
            "elastic_agent",
            "filestream",
            "fleet_server",
            "log",
            "prometheus",
            "syslog",
            "system",
            "tcp",
            "udp",
        ];
        assert_eq!(names, expected);
        let listed: Vec<&str> = FILES.iter().map(|(path, _)| *path).collect();
        assert_eq!(
            listed,
            files_below(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/definitions")), "")
        );
    }

    fn files_below(folder: &Path, prefix: &str) -> Vec<String> {
        let mut found = Vec::new();
        for entry in folder.read_dir().unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                found.extend(files_below(&entry.path(), &format!("{name}/")));
            } else {
                found.push(name);
            }
        }
        found.sort();
        found
    }
}
