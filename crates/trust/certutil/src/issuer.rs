//! The CA that the command line names.

use camino::{Utf8Path, Utf8PathBuf};
use certs::{Content, Identity, IdentityNames, LoadError, PemSource, load_identity, read_p12, recognize};
use pki::Authority;
use secret::Secret;

use crate::arguments::Options;
use crate::failure::{Failure, config, usage};
use crate::terminal::Terminal;

/// The CA; `None` with `--self-signed`.
pub(crate) fn load(options: &Options, terminal: &mut dyn Terminal) -> Result<Option<Authority>, Failure> {
    let path = |name| options.value(name).map(Utf8PathBuf::from);
    let identity = match (path("ca"), path("ca-cert"), path("ca-key")) {
        (Some(bundle), _, _) => from_bundle(&bundle, options, terminal)?,
        (None, Some(certificate), Some(key)) => {
            let names = IdentityNames {
                certificate: "--ca-cert",
                key: "--ca-key",
                passphrase: "--ca-pass",
            };
            open(&certificate, &key, names, options, terminal)?.0
        }
        _ if options.has("self-signed") => return Ok(None),
        _ => {
            return Err(usage("no CA is given")
                .with_hint("give `--ca`, or `--ca-cert` with `--ca-key`, or `--self-signed`; `ca` mode makes a CA"));
        }
    };
    Ok(Some(Authority::from_identity(identity)?))
}

/// `--ca`: a PKCS#12 file with one key, or PEM with certificate and key.
fn from_bundle(path: &Utf8Path, options: &Options, terminal: &mut dyn Terminal) -> Result<Identity, Failure> {
    let names = IdentityNames {
        certificate: "--ca",
        key: "--ca",
        passphrase: "--ca-pass",
    };
    let (identity, password) = open(path, path, names, options, terminal).map_err(|failure| {
        let only_a_certificate = failure.message().contains("holds no private key");
        if only_a_certificate {
            failure.with_hint("give the certificate with `--ca-cert` and its key with `--ca-key`")
        } else {
            failure
        }
    })?;
    let bytes = PemSource::from(path).read("--ca")?;
    if let Content::Pkcs12(bundle) = recognize(&bytes) {
        let password = password.unwrap_or_else(|| Secret::from(""));
        let keys = read_p12(&bundle, &password).map_or(1, |bundle| bundle.keys.len());
        if keys != 1 {
            return Err(config(format!("`{path}` holds {keys} keys, but a CA has one")));
        }
    }
    Ok(identity)
}

/// Opens the pair; a password that is needed and not given is asked for once.
fn open(
    certificate: &Utf8Path,
    key: &Utf8Path,
    names: IdentityNames<'_>,
    options: &Options,
    terminal: &mut dyn Terminal,
) -> Result<(Identity, Option<Secret>), Failure> {
    let mut ask = || {
        let answer = terminal.ask_hidden(&format!("Password for the CA ({key}): "));
        answer.ok_or_else(|| {
            usage("the CA's password cannot be asked for: there is no terminal").with_hint("give it with `--ca-pass`")
        })
    };
    let (certificate, key) = (PemSource::from(certificate), PemSource::from(key));
    let load = |password: Option<&Secret>| load_identity(&certificate, Some(&key), password, names);
    let given = match options.value("ca-pass") {
        Some(password) => Some(Secret::from(password)),
        None if options.has("ca-pass") => Some(ask()?),
        None => None,
    };
    match load(given.as_ref()) {
        Err(LoadError::KeyNeedsPassphrase { .. }) if given.is_none() => {
            let password = ask()?;
            let identity = load(Some(&password))?;
            Ok((identity, Some(password)))
        }
        result => Ok((result?, given)),
    }
}
