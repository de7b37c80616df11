//! Hosts: what the System integration measures, as charts that the server draws.

mod detail;
mod list;
mod measures;

pub(super) use detail::page as host;
pub(super) use list::page as list;
