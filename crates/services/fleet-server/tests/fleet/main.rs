//! The server as agents see it: its router over a store in a folder.

mod support;

mod agents;
mod faults;
mod traces;
