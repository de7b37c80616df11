//! The agent as a user runs it against a Fleet Server that is not ours and fails in every way: a recording stub in Python,
//! looked for in `FLOTILLA_SHARED_TOOLS`, else in `../shared/tools` beside the workspace.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod actions;
mod enrolment;
mod host;
mod policies;
mod proxy;
mod running;
mod stub;
