//! `flotilla tls check`, `serve` and `show`, without their terminal.
//!
//! [`check`] connects with the settings of a client, [`TestServer`] accepts with those of a server, one connection at a time; each
//! connection becomes a [`Report`]. [`show`] tells what is in a file.

mod check;
mod report;
mod show;
mod test_server;

pub use check::{CheckRequest, check};
pub use report::Report;
pub use show::{Item, ItemKind, ShowError, show};
pub use test_server::{Served, TestServer};
