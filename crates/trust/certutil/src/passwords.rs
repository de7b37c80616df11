//! Passwords: given, asked for, and checked.

use secret::Secret;

use crate::arguments::Options;
use crate::failure::{ExitStatus, Failure, config, usage};
use crate::terminal::Terminal;

/// OpenSSL before 1.1.0 cannot open files with a longer one.
const SAFE_LENGTH: usize = 50;

/// What a password protects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protects {
    /// A PKCS#12 file: ASCII, may be blank, and there is always one.
    Pkcs12,
    /// A PEM key: only when `--pass` is given, never blank.
    PemKey,
}

/// The password for one output file; `None` leaves a PEM key as it is.
pub(crate) fn for_output(
    options: &Options,
    protects: Protects,
    file: &str,
    terminal: &mut dyn Terminal,
) -> Result<Option<Secret>, Failure> {
    if let Some(given) = options.value("pass") {
        let password = Secret::from(given);
        check(&password, protects)?;
        if is_long(&password) {
            terminal.error(&long_warning());
        }
        return Ok(Some(password));
    }
    if protects == Protects::PemKey && !options.has("pass") {
        return Ok(None);
    }
    loop {
        let Some(password) = terminal.ask_hidden(&format!("Password for {file}: ")) else {
            return Err(no_terminal(file));
        };
        check(&password, protects)?;
        if is_long(&password) {
            terminal.error(&long_warning());
            if !confirm(terminal, "Use it all the same?", true) {
                continue;
            }
        }
        return Ok(Some(password));
    }
}

fn no_terminal(file: &str) -> Failure {
    usage(format!(
        "the password for {file} cannot be asked for: there is no terminal"
    ))
    .with_hint("give it with `--pass`")
}

pub(crate) fn is_long(password: &Secret) -> bool {
    password.expose().chars().count() > SAFE_LENGTH
}

pub(crate) fn long_warning() -> String {
    format!("warning: the password is longer than {SAFE_LENGTH} characters; OpenSSL before 1.1.0 cannot open the file")
}

pub(crate) fn check(password: &Secret, protects: Protects) -> Result<(), Failure> {
    match protects {
        Protects::Pkcs12 if !password.expose().is_ascii() => Err(config("a PKCS#12 password must be plain ASCII")),
        Protects::PemKey if password.is_empty() => Err(Failure::new(
            ExitStatus::OTHER,
            "a PEM key cannot be encrypted with an empty password",
        )),
        _ => Ok(()),
    }
}

/// A yes-or-no question; no answer and an empty one are the default.
pub(crate) fn confirm(terminal: &mut dyn Terminal, question: &str, default: bool) -> bool {
    let choice = if default { "[Y/n]" } else { "[y/N]" };
    loop {
        let Some(answer) = terminal.ask(&format!("{question} {choice} ")) else {
            return default;
        };
        match answer.trim().to_ascii_lowercase().as_str() {
            "" => return default,
            "y" | "yes" => return true,
            "n" | "no" => return false,
            other => terminal.error(&format!("`{other}` is neither yes nor no")),
        }
    }
}
