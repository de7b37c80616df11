//! The agent against a Fleet Server that does as told.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod enroll;
mod fleet_server;
mod managed;
mod standalone;
mod support;
mod upgrade;
