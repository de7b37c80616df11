//! The agent against a Fleet Server that does as told.

mod enroll;
mod managed;
mod support;
