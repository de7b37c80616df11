//! Hosts that have nothing yet: the programs that the Fleet Server hands out, and the one line that joins such a host.

use anyhow::Result;
use certs::PemSource;
use fleet_server::install::Program;
use protocol::JoinString;

use super::authorities::Role;
use super::installation::Installation;
use crate::data_dir::DataDir;

/// Programs for other architectures may lie here, as `flotilla-linux-<architecture>`.
const FOLDER: &str = "programs";
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// This program for hosts like this one, and those of the folder `programs` for others.
pub(super) fn programs(data_dir: &DataDir) -> Vec<Program> {
    let own = std::env::current_exe()
        .ok()
        .and_then(|path| path.try_into().ok())
        .map(|path| Program {
            architecture: std::env::consts::ARCH.to_owned(),
            path,
        });
    let of_folder = ARCHITECTURES.into_iter().filter_map(|architecture| {
        let path = data_dir.join(FOLDER).join(format!("flotilla-linux-{architecture}"));
        path.is_file().then(|| Program {
            architecture: architecture.to_owned(),
            path,
        })
    });
    // What the administrator put there comes first.
    of_folder.chain(own).collect()
}

/// One line for a shell: the server is checked by its keys before anything of it runs.
pub(super) fn command(installation: &Installation, join: &JoinString) -> Result<String> {
    let certificates = match &installation.fleet_server_files {
        Some(files) => vec![files.certificate.clone()],
        None => installation
            .pairs(Role::FleetServer)
            .map(|(certificate, _)| certificate)
            .to_vec(),
    };
    let mut pins = Vec::new();
    for path in certificates {
        let chain = certs::load_certificates(&PemSource::Path(path), "--fleet-server-cert")?;
        pins.extend(chain.first().map(|leaf| format!("sha256//{}", certs::spki_pin(leaf))));
    }
    let url = join.urls.first().map(String::as_str).unwrap_or_default();
    Ok(format!(
        "curl -fsSk --pinnedpubkey '{}' {url}/install | sh -s -- --join {}",
        pins.join(";"),
        join.encode()
    ))
}
