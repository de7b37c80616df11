//! Packages: what an integration asks of its user, and how its answers become the streams of an agent policy.
//!
//! A [`Package`] is read from the files of the package format, whether they come from this crate's own `definitions/`
//! ([`builtin`]) or from an uploaded zip ([`archive::read`]). [`compile`] renders a template with the variables of a
//! package policy. Which package policies exist, and what they add up to, is left to `policy`; where packages are kept, to
//! the console.

mod model;
pub use model::{DataStream, InputDefinition, Package, PolicyTemplate, StreamDefinition, Var};

mod manifest;
pub use manifest::PackageError;

mod builtin;
pub use builtin::builtin;

pub mod archive;
pub mod assets;
pub mod categories;
pub mod compile;
mod template;
