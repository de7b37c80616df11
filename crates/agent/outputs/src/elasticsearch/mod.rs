//! The `elasticsearch` output: `_bulk` requests over HTTP(S).
//!
//! [`bulk`] writes the request's body, [`answer`] reads what became of each event, [`connection`] holds them together.
//! Source of the rules: the output's reference and captured requests.

pub(crate) mod answer;
pub(crate) mod bulk;
pub(crate) mod connection;
pub(crate) mod settings;
