//! `flotilla tls check | serve | show` as built, and stock clients against `tls serve`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod check;
mod clients;
mod folder;
mod server;
mod show;

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
