//! `flotilla tls check | serve | show` as built. Clients of others are in `tls_peers`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod check;
mod folder;
mod prompts;
mod server;
mod show;

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
