//! What tests of several crates share: the built program as a child process, stock clients, a browser, real engines,
//! waiting for a condition.
//!
//! Only tests depend on this crate. It has no fixed ports: [`free_ports`] asks the kernel.
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

mod browser;
mod installed;
mod kafka;
mod network;
mod node;
mod process;
mod signer;
mod wait;

pub use browser::{Browser, Loaded, User};
pub use installed::{InstalledHost, version_of};
pub use kafka::{KafkaTls, RealKafka};
pub use network::OtherHost;
pub use node::{Engine, RealCluster, RealNode, shared_tools};
pub use process::{Curl, Flotilla, Link, run};
pub use signer::Signer;
pub use wait::eventually;

use std::net::{Ipv4Addr, TcpListener};

/// `N` ports that were free a moment ago.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let held: Vec<TcpListener> = (0..N)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the kernel has a free port"))
        .collect();
    let port = |listener: &TcpListener| listener.local_addr().expect("a bound socket has an address").port();
    held.iter()
        .map(port)
        .collect::<Vec<_>>()
        .try_into()
        .expect("as many ports as sockets")
}

/// Says aloud that a test cannot run here; in CI, where nothing is skipped, it fails instead.
pub fn skip(reason: &str) {
    assert!(
        std::env::var_os("FLOTILLA_NOTHING_SKIPPED").is_none(),
        "may not be skipped here: {reason}"
    );
    eprintln!("SKIPPED: {reason}");
}

/// The folder of that name below `artefacts/`, where tests leave what people look at.
pub fn artefacts(name: &str) -> std::path::PathBuf {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let folder = root
        .expect("this crate lies two folders deep")
        .join("artefacts")
        .join(name);
    std::fs::create_dir_all(&folder).expect("a folder can be made in the project");
    folder
}

/// Whether `program` is in the search path (or in the administrator's folders).
pub fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(program).is_file())
}

/// Rounds of a soak: few by default, more from `FLOTILLA_SOAK_ROUNDS`.
#[expect(clippy::disallowed_methods, reason = "a test asks its caller")]
pub fn soak_rounds(default: usize) -> usize {
    std::env::var("FLOTILLA_SOAK_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}
