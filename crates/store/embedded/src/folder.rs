//! The folder: who may use it, and which format it has.

use std::io::{Read, Seek, Write};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use rustix::fs::{FlockOperation, flock};

/// The version that this program writes. A folder of an older version is upgraded step by step when it is opened.
pub(crate) const FORMAT: u32 = STEPS.len() as u32 + 1;

/// Makes of a folder of one version one of the next. A crash leaves the old number, so it has to work on its own half-done work.
type Step = fn(&Utf8Path) -> std::io::Result<()>;

/// The first is for folders of version 1.
const STEPS: &[Step] = &[
    // From 2 on documents of data streams are stored as texts, which older programs cannot read; those of before stay as they are.
    |_| Ok(()),
];

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made, read or written.
    #[error("cannot use the data folder `{path}`; check that it exists, belongs to this user and is not read-only")]
    Folder {
        /// The folder.
        path: Utf8PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("the data folder `{path}` is in use by another process{}; stop it, or choose another folder", owner(*pid))]
    InUse {
        /// The folder.
        path: Utf8PathBuf,
        /// Of the other process, when known.
        pid: Option<u32>,
    },
    /// Written by a newer program.
    #[error(
        "the data folder `{path}` has format {found}, this program knows up to {FORMAT}; use the newer program that wrote it"
    )]
    NewerFormat {
        /// The folder.
        path: Utf8PathBuf,
        /// The version found.
        found: u32,
    },
    /// Not a store's folder.
    #[error("`{path}` is not a store's data folder: {reason}; name an empty folder or an existing store")]
    NotAStore {
        /// The folder.
        path: Utf8PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is damaged beyond the repair that a start does by itself.
    #[error("`{path}` is damaged: {reason}; restore the folder from a backup, or move it away to start empty")]
    Damaged {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

fn owner(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

/// The folder, held by this process until dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: Utf8PathBuf,
    _lock: fs::File,
}

impl Folder {
    /// Makes the folder when it is missing, locks it and checks its format. Makes nothing in a foreign folder.
    pub(crate) fn open(path: &Utf8Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Folder {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(path).map_err(failed)?;
        refuse_foreign(path)?;
        let lock = lock(path)?;
        check_format(path, STEPS)?;
        for sub in ["wal", "streams"] {
            fs::create_dir_all(path.join(sub)).map_err(failed)?;
        }
        sync_directory(path).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }
}

fn refuse_foreign(path: &Utf8Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Folder {
        path: path.to_owned(),
        source,
    };
    if path.join("format").exists() {
        return Ok(());
    }
    let stranger = fs::read_dir(path)
        .map_err(failed)?
        .filter_map(Result::ok)
        .find(|entry| !matches!(entry.file_name().to_str(), Some("lock" | "format.new" | "lost+found")));
    match stranger {
        Some(entry) => Err(OpenError::NotAStore {
            path: path.to_owned(),
            reason: format!(
                "it holds `{}` but no `format` file",
                entry.file_name().to_string_lossy()
            ),
        }),
        None => Ok(()),
    }
}

fn lock(path: &Utf8Path) -> Result<fs::File, OpenError> {
    let failed = |source| OpenError::Folder {
        path: path.to_owned(),
        source,
    };
    let name = path.join("lock");
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&name)
        .map_err(failed)?;
    if flock(file.file(), FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut text = String::new();
        let pid = file
            .file_mut()
            .take(32)
            .read_to_string(&mut text)
            .ok()
            .and_then(|_| text.trim().parse().ok());
        return Err(OpenError::InUse {
            path: path.to_owned(),
            pid,
        });
    }
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    file.write_all(std::process::id().to_string().as_bytes())
        .map_err(failed)?;
    Ok(file)
}

fn check_format(path: &Utf8Path, steps: &[Step]) -> Result<(), OpenError> {
    let newest = steps.len() as u32 + 1;
    let name = path.join("format");
    let failed = |source| OpenError::Folder {
        path: path.to_owned(),
        source,
    };
    if !name.exists() {
        return write_beside(&name, format!("{newest}\n").as_bytes()).map_err(failed);
    }
    let text = fs::read_to_string(&name).map_err(failed)?;
    match text.trim().parse::<u32>() {
        Ok(found) if found > newest => Err(OpenError::NewerFormat {
            path: path.to_owned(),
            found,
        }),
        Ok(found) if found > 0 => {
            for number in found..newest {
                tracing::info!(%path, from = number, to = number + 1, "upgrading the data folder");
                steps[number as usize - 1](path).map_err(failed)?;
                write_beside(&name, format!("{}\n", number + 1).as_bytes()).map_err(failed)?;
            }
            Ok(())
        }
        _ => Err(OpenError::Damaged {
            path: name,
            reason: "it does not hold a version number".to_owned(),
        }),
    }
}

/// Replaces a file so that after a crash it is either the old or the new one.
pub(crate) fn write_beside(path: &Utf8Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = Utf8PathBuf::from(format!("{path}.new"));
    let mut file = fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_directory(path.parent().unwrap_or(path))
}

pub(crate) fn sync_directory(path: &Utf8Path) -> std::io::Result<()> {
    fs::File::open(path)?.sync_all()
}

/// All bytes below a folder.
pub(crate) fn bytes_below(path: &Utf8Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => {
                Utf8PathBuf::from_path_buf(entry.path()).map_or(0, |path| bytes_below(&path))
            }
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_an_older_version_is_upgraded_step_by_step() {
        let guard = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(guard.path()).unwrap();
        let steps: [Step; 2] = [
            |path| fs::write(path.join("made-by-1"), ""),
            |path| fs::rename(path.join("made-by-1"), path.join("made-by-2")),
        ];
        let number = || fs::read_to_string(path.join("format")).unwrap();
        check_format(path, &[]).unwrap();
        assert_eq!(number(), "1\n");
        // One that fails leaves the folder where it was, and the next start goes on from there.
        let failing: [Step; 2] = [steps[0], |_| Err(std::io::Error::other("no room"))];
        check_format(path, &failing).unwrap_err();
        assert_eq!(number(), "2\n");
        check_format(path, &steps).unwrap();
        assert_eq!(number(), "3\n");
        assert!(path.join("made-by-2").exists());
        check_format(path, &steps).unwrap();
        assert!(matches!(
            check_format(path, &steps[..1]),
            Err(OpenError::NewerFormat { found: 3, .. })
        ));
        fs::write(path.join("format"), "0\n").unwrap();
        assert!(matches!(check_format(path, &steps), Err(OpenError::Damaged { .. })));
    }
}
