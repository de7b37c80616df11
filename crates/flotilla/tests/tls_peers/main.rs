//! Clients, proxies and scanners of others against our listeners, and both sides of `flotilla tls`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod proxies;
mod scanners;
mod serve;
mod stock_clients;

mod support;
