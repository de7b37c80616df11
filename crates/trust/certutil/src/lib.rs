//! The certificate tool: the command line, questions, archives and exit statuses of elasticsearch-certutil.
//!
//! [`run`] is the whole program but for the terminal: it reads arguments, asks through a [`Terminal`], writes one output
//! file, and returns the exit status. The crate itself never prints and never reads standard input.
//!
//! One module for each mode (`ca`, `cert`, `csr`, `http`); what they share has modules of its own: [`arguments`] (how
//! the command line is read), `instances` (what is to be made), `issuer` (the CA given on the command line),
//! `passwords`, `archive` (zip files) and `output` (where the result goes). Issuing is `pki`'s work, formats are
//! `certs`'.
//!
//! Texts are our own; names of flags, files and entries, the order of questions and the exit statuses are the original's.

mod ca;
mod cert;
mod csr;
mod http;

mod arguments;
mod instances;
mod issuer;

mod archive;
mod issue;
mod output;
mod passwords;

mod failure;
mod help;
mod terminal;

use std::ffi::OsString;

pub use failure::ExitStatus;
pub use instances::{InstanceError, check_instances_file};
pub use terminal::Terminal;

use arguments::{Invocation, Mode, read};
use failure::{Failure, usage};

/// Runs the tool. `args` are the arguments after the program's name; the status is what the process should exit with.
pub fn run(args: impl IntoIterator<Item = OsString>, terminal: &mut dyn Terminal) -> ExitStatus {
    match try_run(args, terminal) {
        Ok(()) => ExitStatus::OK,
        Err(failure) => {
            terminal.error(&format!("error: {}", failure.message()));
            if let Some(hint) = failure.hint() {
                terminal.error(&format!("hint: {hint}"));
            }
            failure.status()
        }
    }
}

fn try_run(args: impl IntoIterator<Item = OsString>, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let words = args
        .into_iter()
        .map(OsString::into_string)
        .collect::<Result<Vec<_>, _>>();
    let words = words.map_err(|word| usage(format!("`{}` is not UTF-8", word.to_string_lossy())))?;
    match read(&words)? {
        Invocation::Help(mode) => {
            terminal.print(&help::text(mode));
            Ok(())
        }
        Invocation::Run(mode, options) => {
            if !options.has("silent") {
                terminal.print(help::introduction(mode));
            }
            match mode {
                Mode::Ca => ca::run(&options, terminal),
                Mode::Cert => cert::run(&options, terminal),
                Mode::Csr => csr::run(&options, terminal),
                Mode::Http => http::run(&options, terminal),
            }
        }
    }
}
