//! Hosts, outputs, proxies, download sources, agent policies and package policies -> the policy that an agent gets.
//!
//! Pure: everything comes in through [`PolicyInputs`], the same input gives the same [`FullPolicy`] (but for the random part
//! of an ECDSA signature), nothing is read or written. The objects in [`model`] are the stored documents of the console;
//! keeping, checking and publishing them is left to it. Secrets stay references: Fleet Server fills them in.
//! Source: fleet-api, the full policy and its assembly; packages, package policy to inputs.

pub mod model;

mod compile;
pub use compile::{CompileError, Form, FullPolicy, PolicyInputs, Protection, Sign, compile, output_key};

mod agent;
mod fleet;
mod inputs;
mod outputs;
mod permissions;

pub mod package_policy;
pub mod simplified;
