//! The folder that holds everything: certificates, secrets, the store, the local agent.

use std::fs::File;
use std::io::{Read, Seek, Write};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{FlockOperation, flock};
use secret::Secret;
use serde::{Deserialize, Serialize};

use crate::printer::Hint;

const LOCK_FILE: &str = "flotilla.lock";
const IDENTITY_FILE: &str = "flotilla.json";
const FORMAT: u32 = 1;

/// An open data folder; nobody else has it while this value lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: Utf8PathBuf,
    _lock: File,
}

/// What names this installation, made once.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct InstallationIdentity {
    format: u32,
    /// The UUID that the Elasticsearch API shows.
    pub(crate) cluster_uuid: String,
}

impl DataDir {
    /// `/var/lib/flotilla` for root, else `~/.local/share/flotilla` (or below `XDG_DATA_HOME`).
    pub(crate) fn default_path() -> Result<Utf8PathBuf> {
        if rustix::process::geteuid().is_root() {
            return Ok("/var/lib/flotilla".into());
        }
        let from_environment = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let base = from_environment("XDG_DATA_HOME")
            .map(std::path::PathBuf::from)
            .or_else(|| from_environment("HOME").map(|home| std::path::PathBuf::from(home).join(".local/share")))
            .ok_or_else(|| {
                Hint::error(
                    "there is no home folder to keep data in",
                    "name a folder with `--data-dir`",
                )
            })?;
        let base = Utf8PathBuf::from_path_buf(base)
            .map_err(|path| anyhow::anyhow!("the path `{}` is not UTF-8", path.display()))?;
        Ok(base.join("flotilla"))
    }

    /// Makes the folder when it is missing (mode 0700) and locks it.
    pub(crate) fn open(root: &Utf8Path) -> Result<Self> {
        create_private(root).map_err(|error| {
            Hint::error(
                format!("cannot use the data folder `{root}`: {error}"),
                "choose a folder that you may write to with `--data-dir`",
            )
        })?;
        let path = root.join(LOCK_FILE);
        let file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| {
                Hint::error(
                    format!("cannot write to the data folder `{root}`: {error}"),
                    "choose a folder that you may write to with `--data-dir`",
                )
            })?;
        let mut lock: File = file.into();
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let _unreadable = lock.read_to_string(&mut holder);
            return Err(Hint::error(
                format!(
                    "the data folder `{root}` is in use by another flotilla (process {})",
                    holder.trim()
                ),
                "stop that process, or give this one a folder of its own with `--data-dir`",
            ));
        }
        lock.set_len(0)?;
        lock.rewind()?;
        write!(lock, "{}", std::process::id())?;
        let opened = Self {
            root: root.to_owned(),
            _lock: lock,
        };
        opened.identity()?;
        Ok(opened)
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Utf8Path {
        &self.root
    }

    /// A path inside.
    pub(crate) fn join(&self, relative: &str) -> Utf8PathBuf {
        self.root.join(relative)
    }

    /// Reads the installation's identity, making it at the first start.
    pub(crate) fn identity(&self) -> Result<InstallationIdentity> {
        let path = self.join(IDENTITY_FILE);
        if !path.exists() {
            let identity = InstallationIdentity {
                format: FORMAT,
                cluster_uuid: uuid::Uuid::new_v4().to_string(),
            };
            let text = serde_json::to_vec_pretty(&identity)?;
            certs::write_file_atomically(&path, &text, 0o600)?;
            return Ok(identity);
        }
        let text = fs_err::read(&path)?;
        let damaged = || format!("the data folder is damaged: `{path}` cannot be read");
        let identity: InstallationIdentity = serde_json::from_slice(&text).with_context(damaged)?;
        if identity.format != FORMAT {
            return Err(Hint::error(
                format!(
                    "the data folder `{}` has format {}, this program knows {FORMAT}",
                    self.root, identity.format
                ),
                "use the version of flotilla that wrote it, or a newer one",
            ));
        }
        Ok(identity)
    }

    /// The secret kept in `secrets/NAME` (mode 0600); made by `make` when it is not there yet.
    pub(crate) fn secret(&self, name: &str, make: impl FnOnce() -> Secret) -> Result<Secret> {
        if let Some(kept) = self.kept_secret(name)? {
            return Ok(kept);
        }
        let made = make();
        self.keep_secret(name, &made)?;
        Ok(made)
    }

    /// The secret kept in `secrets/NAME`, if there is one.
    pub(crate) fn kept_secret(&self, name: &str) -> Result<Option<Secret>> {
        let path = self.secret_path(name);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs_err::read_to_string(&path)?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(Hint::error(
                format!("the data folder is damaged: `{path}` is empty"),
                "restore it from a backup",
            ));
        }
        Ok(Some(Secret::from(text)))
    }

    /// Writes `secrets/NAME`.
    pub(crate) fn keep_secret(&self, name: &str, secret: &Secret) -> Result<()> {
        create_private(&self.join("secrets"))?;
        let text = format!("{}\n", secret.expose());
        certs::write_file_atomically(&self.secret_path(name), text.as_bytes(), 0o600)?;
        Ok(())
    }

    /// Where the secret `name` is kept.
    pub(crate) fn secret_path(&self, name: &str) -> Utf8PathBuf {
        self.join("secrets").join(name)
    }
}

/// Makes a folder and its parents; the last one with mode 0700.
pub(crate) fn create_private(path: &Utf8Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs_err::create_dir_all(parent)?;
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.mode(0o700);
    match builder.create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary() -> (tempfile::TempDir, Utf8PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("data")).unwrap();
        (folder, path)
    }

    #[test]
    fn a_second_process_is_refused_and_told_who_has_it() {
        let (_folder, path) = temporary();
        let first = DataDir::open(&path).unwrap();
        let refused = DataDir::open(&path).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("process {}", std::process::id())),
            "{refused}"
        );
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn identity_and_secrets_stay() {
        let (_folder, path) = temporary();
        let first = DataDir::open(&path).unwrap();
        let uuid = first.identity().unwrap().cluster_uuid;
        let kept = first.secret("elastic-password", || Secret::from("one")).unwrap();
        drop(first);
        let second = DataDir::open(&path).unwrap();
        assert_eq!(second.identity().unwrap().cluster_uuid, uuid);
        assert_eq!(second.secret("elastic-password", || Secret::from("two")).unwrap(), kept);
    }

    #[test]
    fn a_damaged_identity_is_named() {
        let (_folder, path) = temporary();
        drop(DataDir::open(&path).unwrap());
        fs_err::write(path.join(IDENTITY_FILE), "{").unwrap();
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains("damaged") && error.contains(IDENTITY_FILE), "{error}");
    }
}
