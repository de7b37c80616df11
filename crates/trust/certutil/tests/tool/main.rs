//! The tool as its users see it: a command line, a terminal, files.

mod compare;
mod support;

mod http;
mod modes;
mod peer;
mod stock;
