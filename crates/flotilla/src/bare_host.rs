//! Hosts that have nothing yet: the programs that a Fleet Server hands out, and the one line that joins such a host.

use axum::Router;
use camino::Utf8Path;
use fleet_server::install::Program;
use protocol::JoinString;
use rustls::pki_types::CertificateDer;

const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// The routes `/install..`: this program for hosts like this one, and those of `folder` for others, where they lie as
/// `flotilla-linux-<architecture>`.
pub(crate) fn router(folder: Option<&Utf8Path>) -> Router {
    fleet_server::install::router(programs(folder))
}

fn programs(folder: Option<&Utf8Path>) -> Vec<Program> {
    let own = std::env::current_exe()
        .ok()
        .and_then(|path| path.try_into().ok())
        .map(|path| Program {
            architecture: std::env::consts::ARCH.to_owned(),
            path,
        });
    let of_folder = ARCHITECTURES.into_iter().filter_map(|architecture| {
        let path = folder?.join(format!("flotilla-linux-{architecture}"));
        path.is_file().then(|| Program {
            architecture: architecture.to_owned(),
            path,
        })
    });
    // What the administrator put there comes first.
    of_folder.chain(own).collect()
}

/// One line for a shell: the server is checked by the keys of its certificates before anything of it runs.
pub(crate) fn command(leaves: &[CertificateDer<'_>], join: &JoinString) -> String {
    let pins: Vec<String> = leaves.iter().map(certs::spki_pin).collect();
    join.install_command(&pins)
}
