//! The input over files, through the crate's public face.

mod filestream;
mod rig;
mod torture;
