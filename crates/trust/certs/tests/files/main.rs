//! The loader and the writers, through the public API.

mod support;

mod formats;
mod round_trips;
mod writing;
