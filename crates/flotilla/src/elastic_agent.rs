//! The command line of `elastic-agent`: the same commands, flags and exit statuses (0 done, 1 anything else).
//!
//! This module turns arguments and environment into the options of `agent`, and prints what comes back.

mod arguments;
mod container;
mod diagnostics;
mod enroll;
mod fleet_server;
mod inspect;
mod install;
mod join;
pub(crate) mod log_output;
mod logs;
mod run;
mod service;
mod status;
mod upgrade;
mod version;

use std::ffi::OsString;
use std::future::Future;

use anyhow::{Context, Result};
use clap::Parser;

use crate::printer;
use arguments::{Arguments, Command};

/// Runs one command. The first argument is the program's name. Without a command it is `run`, as the service calls it.
pub(crate) fn main(arguments: Vec<OsString>) -> i32 {
    let parsed = match Arguments::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            let _broken_pipe = error.print();
            // The stock program knows no other status than 1; help and version are no errors.
            return i32::from(error.use_stderr());
        }
    };
    match dispatch(parsed) {
        Ok(status) => status,
        Err(error) => {
            printer::error(&error);
            1
        }
    }
}

fn dispatch(arguments: Arguments) -> Result<i32> {
    let common = arguments.common;
    match arguments
        .command
        .unwrap_or(Command::Run(arguments::RunArguments::default()))
    {
        Command::Enroll(enroll) => enroll::run(&common, &enroll),
        Command::Install(install) => install::run(&common, &install),
        Command::Uninstall(uninstall) => install::uninstall(&common, &uninstall),
        Command::Privileged(switch) => install::switch_user(&common, &switch, None),
        Command::Unprivileged(switch) => {
            let user = install::user_of(&switch);
            install::switch_user(&common, &switch, Some(user))
        }
        Command::Upgrade(arguments) => upgrade::run(&common, &arguments),
        Command::Watch => upgrade::run_watch(&common),
        Command::Run(_) => run::run(&common),
        Command::Status(status) => status::run(&common, status.output),
        Command::Inspect(inspect) => inspect::run(&common, &inspect),
        Command::Diagnostics(diagnostics) => diagnostics::run(&common, &diagnostics),
        Command::Logs(logs) => logs::run(&common, &logs),
        Command::Restart => run::restart(&common),
        Command::Version(version) => version::run(&common, &version),
        Command::Container => container::run(&common),
    }
}

/// What this program tells Fleet about itself. The version is that of the protocol it speaks.
pub(crate) fn build() -> agent::Build {
    agent::Build {
        version: crate::version::STACK.to_owned(),
        commit: option_env!("FLOTILLA_COMMIT").unwrap_or("unknown").to_owned(),
        time: option_env!("FLOTILLA_BUILD_TIME").unwrap_or_default().to_owned(),
        snapshot: false,
    }
}

/// Runs a future to its end on a small runtime: an agent needs few threads.
fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(future)
}
