//! The passphrase that no setting holds: from the variable `FLOTILLA_KEY_PASSPHRASE`, else typed at a terminal.

use std::io::{IsTerminal, stderr, stdin};

use secret::Secret;
use tls::{SslError, SslSettings};

use crate::printer;

/// Loads a block; when its key turns out to be encrypted, again with the passphrase that is there.
pub(super) fn with_passphrase<T>(
    settings: &SslSettings,
    load: impl Fn(&SslSettings) -> Result<T, SslError>,
) -> Result<T, SslError> {
    let error = match load(settings) {
        Err(error) if error.class() == "key_needs_passphrase" => error,
        outcome => return outcome,
    };
    let Some(passphrase) = from_environment().or_else(|| typed("Passphrase of `ssl.key`: ")) else {
        return Err(error);
    };
    load(&SslSettings {
        key_passphrase: Some(passphrase),
        ..settings.clone()
    })
}

/// The variable.
pub(super) fn from_environment() -> Option<Secret> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the binary, and the variable is documented at its commands"
    )]
    let value = std::env::var("FLOTILLA_KEY_PASSPHRASE").ok();
    value.filter(|value| !value.is_empty()).map(Secret::from)
}

/// What is typed; `None` where nobody can type.
pub(super) fn typed(question: &str) -> Option<Secret> {
    if !stdin().is_terminal() || !stderr().is_terminal() {
        return None;
    }
    printer::question(question);
    rpassword::read_password().ok().map(Secret::from)
}
