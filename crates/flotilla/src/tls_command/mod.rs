//! `flotilla tls check`, `serve` and `show`: arguments in, lines and an exit status out.
//!
//! What they do is in [`transport::diagnose`].

mod arguments;
mod passphrase;
mod run;
mod settings_file;

pub(crate) use arguments::TlsArguments;
pub(crate) use run::run;
