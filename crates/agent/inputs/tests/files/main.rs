//! The input over files, through the crate's public face.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its files has failed")]

mod filestream;
mod rig;
mod torture;
