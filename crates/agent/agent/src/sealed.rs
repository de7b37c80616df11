//! Files that hold an agent's identity: encrypted, checksummed, replaced atomically, the previous generation kept.
//!
//! A sealed file is `FLTS1`, then AES-256-GCM over JSON; the tag is the checksum. Its key is in `vault/`, of mode 0600
//! like everything here: that keeps secrets out of backups of single files and out of sight, not from root.
//! A write makes `<file>.new`, syncs it, moves the good `<file>` to `<file>.previous` and the new one into its place; a
//! crash between any two steps leaves one good generation, and [`SealedFile::load`] finds it.

use std::io::{self, Write};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

const MAGIC: &[u8; 5] = b"FLTS1";
/// A policy with all its files inline stays far below.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Why a sealed file or the vault cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No generation can be read.
    #[error(
        "`{path}` and its previous generation are damaged, or were encrypted with another key than the one in `{vault}`; restore one of them, or enroll this host again"
    )]
    Damaged {
        /// The file.
        path: Utf8PathBuf,
        /// The folder of the key.
        vault: Utf8PathBuf,
    },
    /// The key file holds something else.
    #[error("`{path}` does not hold a key; restore it, or remove it and enroll this host again")]
    Key {
        /// The key file.
        path: Utf8PathBuf,
    },
}

/// The key of an agent's sealed files.
#[derive(Debug)]
pub struct Vault {
    directory: Utf8PathBuf,
    key: RandomizedNonceKey,
    /// Makes keys for other files.
    deriving: hmac::Key,
}

impl Vault {
    /// Opens the vault in `directory`; makes it, with a new key, when there is none.
    pub fn open_or_create(directory: &Utf8Path) -> Result<Self, SealedError> {
        let path = directory.join("key");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create_key(directory, &path)?,
            Err(error) => return Err(error.into()),
        };
        let wrong = || SealedError::Key { path: path.clone() };
        let bytes = hex::decode(text.trim()).map_err(|_| wrong())?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| wrong())?;
        Ok(Self {
            directory: directory.to_owned(),
            key,
            deriving: hmac::Key::new(hmac::HMAC_SHA256, &bytes),
        })
    }

    /// A key of its own for another purpose, the same each time.
    pub fn derived_key(&self, purpose: &str) -> [u8; 32] {
        let tag = hmac::sign(&self.deriving, purpose.as_bytes());
        tag.as_ref().try_into().expect("the tag of this HMAC has 32 octets")
    }

    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, SealedError> {
        let mut sealed = plain.to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(MAGIC), &mut sealed)
            .map_err(|_| io::Error::other("encryption failed"))?;
        Ok([MAGIC.as_slice(), nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = bytes.strip_prefix(MAGIC)?.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let plain = self.key.open_in_place(nonce, Aad::from(MAGIC), &mut sealed).ok()?;
        Some(plain.to_vec())
    }
}

fn create_key(directory: &Utf8Path, path: &Utf8Path) -> Result<String, SealedError> {
    private_directory(directory)?;
    let text = hex::encode(rand::random::<[u8; 32]>());
    write_private(path, text.as_bytes())?;
    Ok(text)
}

/// One encrypted file and its previous generation.
#[derive(Clone, Debug)]
pub struct SealedFile {
    path: Utf8PathBuf,
}

impl SealedFile {
    /// Names the file; nothing is read or written yet.
    pub fn new(path: Utf8PathBuf) -> Self {
        Self { path }
    }

    /// The newest generation that is whole; `None` when the file was never written.
    ///
    /// # Errors
    /// There are files and none of them can be read.
    pub fn load<T: DeserializeOwned>(&self, vault: &Vault) -> Result<Option<T>, SealedError> {
        let mut seen_any = false;
        for path in [self.path.clone(), self.previous()] {
            let bytes = match read_bounded(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            seen_any = true;
            let value = vault.open(&bytes).and_then(|plain| serde_json::from_slice(&plain).ok());
            if value.is_some() {
                return Ok(value);
            }
            tracing::warn!(path = %path, "a state file is damaged; trying its previous generation");
        }
        if seen_any {
            return Err(SealedError::Damaged {
                path: self.path.clone(),
                vault: vault.directory.clone(),
            });
        }
        Ok(None)
    }

    /// Replaces the file; the good generation before it is kept.
    ///
    /// # Errors
    /// The disk is full or the folder is not writable; the file is as before.
    pub fn store<T: Serialize>(&self, vault: &Vault, value: &T) -> Result<(), SealedError> {
        let plain = serde_json::to_vec(value).map_err(io::Error::other)?;
        let beside = Utf8PathBuf::from(format!("{}.new", self.path));
        write_synced(&beside, &vault.seal(&plain)?)?;
        let current_is_good = read_bounded(&self.path).is_ok_and(|bytes| vault.open(&bytes).is_some());
        if current_is_good {
            fs::rename(&self.path, self.previous())?;
        }
        fs::rename(&beside, &self.path)?;
        if !self.previous().exists() {
            // The first generation is its own second copy.
            write_private(&self.previous(), &fs::read(&self.path)?)?;
        }
        sync_parent(&self.path)?;
        Ok(())
    }

    /// Removes the file and its previous generation.
    ///
    /// # Errors
    /// One of them exists and cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        for path in [self.path.clone(), self.previous()] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn previous(&self) -> Utf8PathBuf {
        Utf8PathBuf::from(format!("{}.previous", self.path))
    }
}

/// Makes a folder of mode 0700, parents as they come.
pub(crate) fn private_directory(path: &Utf8Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Writes a file of mode 0600 atomically.
pub(crate) fn write_private(path: &Utf8Path, bytes: &[u8]) -> io::Result<()> {
    let beside = Utf8PathBuf::from(format!("{path}.new"));
    write_synced(&beside, bytes)?;
    fs::rename(&beside, path)?;
    sync_parent(path)
}

fn write_synced(path: &Utf8Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_parent(path: &Utf8Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_str().is_empty() => fs::File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

fn read_bounded(path: &Utf8Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        (folder, path)
    }

    #[test]
    fn what_is_stored_is_loaded_and_cannot_be_read_by_others() {
        use std::os::unix::fs::PermissionsExt;
        let (_guard, path) = folder();
        let vault = Vault::open_or_create(&path.join("vault")).unwrap();
        let file = SealedFile::new(path.join("fleet.enc"));
        assert!(file.load::<String>(&vault).unwrap().is_none());
        file.store(&vault, &"secret-text").unwrap();
        assert_eq!(file.load::<String>(&vault).unwrap().unwrap(), "secret-text");
        let bytes = fs::read(path.join("fleet.enc")).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"secret"));
        fs::write(path.join("fleet.enc"), b"torn").unwrap();
        assert_eq!(
            file.load::<String>(&vault).unwrap().unwrap(),
            "secret-text",
            "the first is kept twice"
        );
        file.store(&vault, &"secret-text").unwrap();
        for name in ["fleet.enc", "fleet.enc.previous", "vault/key"] {
            let mode = fs::metadata(path.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let vault = Vault::open_or_create(&path.join("vault")).unwrap();
        assert_eq!(file.load::<String>(&vault).unwrap().unwrap(), "secret-text");
    }

    #[test]
    fn a_torn_or_changed_file_gives_the_previous_generation() {
        let (_guard, path) = folder();
        let vault = Vault::open_or_create(&path.join("vault")).unwrap();
        let file = SealedFile::new(path.join("fleet.enc"));
        file.store(&vault, &"first").unwrap();
        file.store(&vault, &"second").unwrap();
        let whole = fs::read(path.join("fleet.enc")).unwrap();
        for length in 0..whole.len() {
            fs::write(path.join("fleet.enc"), &whole[..length]).unwrap();
            assert_eq!(
                file.load::<String>(&vault).unwrap().unwrap(),
                "first",
                "cut at {length}"
            );
        }
        for position in 0..whole.len() {
            let mut changed = whole.clone();
            changed[position] ^= 1;
            fs::write(path.join("fleet.enc"), &changed).unwrap();
            assert_eq!(
                file.load::<String>(&vault).unwrap().unwrap(),
                "first",
                "changed at {position}"
            );
        }
        // A damaged generation never replaces the good one.
        file.store(&vault, &"third").unwrap();
        assert_eq!(file.load::<String>(&vault).unwrap().unwrap(), "third");
        fs::write(path.join("fleet.enc"), b"").unwrap();
        assert_eq!(file.load::<String>(&vault).unwrap().unwrap(), "first");
    }

    #[test]
    fn two_damaged_generations_are_an_error_that_names_the_file() {
        let (_guard, path) = folder();
        let vault = Vault::open_or_create(&path.join("vault")).unwrap();
        let file = SealedFile::new(path.join("fleet.enc"));
        fs::write(path.join("fleet.enc"), b"junk").unwrap();
        let error = file.load::<String>(&vault).unwrap_err().to_string();
        assert!(error.contains("fleet.enc") && error.contains("enroll"), "{error}");
    }
}
