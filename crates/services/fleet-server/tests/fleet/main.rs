//! The server as agents see it: its router over a store in a folder.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

mod agents;
mod faults;
mod openapi;
mod overload;
mod real_agents;
mod remembered;
mod robustness;
mod simulation;
mod traces;
