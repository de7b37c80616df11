//! What this program says it is.

/// The version of the stack whose protocols and behaviour every part speaks; agents up to it may enrol.
pub(crate) const STACK: &str = "9.6.0";
