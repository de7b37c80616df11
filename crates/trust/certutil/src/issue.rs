//! What `ca`, `cert` and `csr` share: the kind of keys, how they are written, and work on all cores.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use certs::{KeyFormat, LegacyCipher, PrivateKeyDer, write_pem_key};
use pki::KeyType;
use secret::Secret;

use crate::arguments::Options;
use crate::failure::{Failure, usage};
use crate::terminal::Terminal;

/// Days of a certificate without `--days`.
pub(crate) const DEFAULT_DAYS: u32 = 3 * 365;

/// The key that `--key-type` and `--keysize` ask for.
pub(crate) fn key_type(options: &Options) -> Result<KeyType, Failure> {
    let bits = options.number("keysize", 2048)?;
    let kind = options.value("key-type").unwrap_or("rsa");
    if kind != "rsa" && options.has("keysize") {
        return Err(usage("`--keysize` is for RSA keys"));
    }
    match kind {
        "rsa" => Ok(KeyType::Rsa(bits)),
        "ecdsa" => Ok(KeyType::EcdsaP256),
        "ed25519" => Ok(KeyType::Ed25519),
        other => Err(usage(format!("`{other}` is not a key type")).with_hint("use rsa, ecdsa or ed25519")),
    }
}

/// What users of other keys than RSA should know.
pub(crate) fn note_on_keys(kind: KeyType, terminal: &mut dyn Terminal) {
    match kind {
        KeyType::Rsa(_) => {}
        KeyType::Ed25519 => {
            terminal.print("note: not every client takes Ed25519 certificates; browsers do not");
        }
        _ => terminal.print("note: Elastic Defend takes ECDSA certificates only from agents of version 9.1 or later"),
    }
}

/// How PEM keys are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PemKeys {
    Traditional,
    Pkcs8,
}

impl PemKeys {
    pub(crate) fn from_options(options: &Options) -> Result<Self, Failure> {
        match options.value("key-format") {
            None | Some("traditional") => Ok(Self::Traditional),
            Some("pkcs8") => Ok(Self::Pkcs8),
            Some(other) => Err(usage(format!("`{other}` is not a key format")).with_hint("use traditional or pkcs8")),
        }
    }

    /// The key as PEM, encrypted when there is a password: as the original does, or as PKCS#8.
    pub(crate) fn write(self, key: &PrivateKeyDer<'_>, password: Option<&Secret>) -> Result<Secret, Failure> {
        let format = match (self, password) {
            (Self::Traditional, None) => KeyFormat::Traditional,
            (Self::Traditional, Some(password)) => KeyFormat::LegacyEncrypted(password, LegacyCipher::Aes128),
            (Self::Pkcs8, None) => KeyFormat::Pkcs8,
            (Self::Pkcs8, Some(password)) => KeyFormat::Pkcs8Encrypted(password),
        };
        Ok(write_pem_key(key, format)?)
    }
}

/// Works on all items, on every core, and returns the results in the order of the items; the first failure ends it.
pub(crate) fn on_all_cores<I: Sync, T: Send>(
    items: &[I],
    terminal: &mut dyn Terminal,
    work: impl Fn(&I) -> Result<T, Failure> + Sync,
) -> Result<Vec<T>, Failure> {
    let cores = thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let next = AtomicUsize::new(0);
    let (sender, finished) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..cores {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let position = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(position) else { break };
                    // Nobody listens any more after a failure.
                    if sender.send((position, work(item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        gather(finished, items.len(), terminal)
    })
}

fn gather<T>(
    finished: mpsc::Receiver<(usize, Result<T, Failure>)>,
    total: usize,
    terminal: &mut dyn Terminal,
) -> Result<Vec<T>, Failure> {
    let mut results = Vec::with_capacity(total);
    for (position, result) in finished {
        results.push((position, result?));
        if total > 1 {
            terminal.progress(results.len(), total);
        }
    }
    results.sort_by_key(|(position, _)| *position);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}
