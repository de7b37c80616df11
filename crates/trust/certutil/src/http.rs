//! `http`: a dialogue that makes all that HTTPS of Elasticsearch needs.

use crate::arguments::Options;
use crate::failure::{ExitStatus, Failure};
use crate::terminal::Terminal;

pub(crate) fn run(_: &Options, _: &mut dyn Terminal) -> Result<(), Failure> {
    Err(Failure::new(ExitStatus::OTHER, "http is not there yet"))
}
