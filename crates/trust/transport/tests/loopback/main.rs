//! Listeners, clients, proxies and reload over loopback.
#![expect(clippy::unwrap_used, reason = "a test ends with what is wrong")]

mod answered_early;
mod proxies;
mod reload;
mod replacing;
mod serve;
mod unreadable;

mod support;
