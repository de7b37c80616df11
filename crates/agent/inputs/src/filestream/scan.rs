//! Which files are there now: one pass over the patterns. Blocks; the watch calls it on a blocking thread.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;

use camino::Utf8PathBuf;
use fs_err as fs;

use super::identity::{Head, Inode, Look, read_head};
use super::settings::FileSettings;

/// A file that is there.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) path: Utf8PathBuf,
    pub(super) look: Look,
    /// Its first bytes and the size of its content (`None`: not known); absent when nothing has changed since the last
    /// scan.
    pub(super) content: Option<(Head, Option<u64>)>,
}

/// The outcome of a scan.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    pub(super) files: Vec<Found>,
    /// Files and folders that could not be read.
    pub(super) problems: Vec<io::Error>,
}

/// Looks for files. `known` is what earlier scans saw of inodes that are already tracked: when size and time are as they
/// were, the file is not opened.
pub(super) fn scan(settings: &FileSettings, known: &HashMap<Inode, Look>) -> Scanned {
    let mut paths = BTreeSet::new();
    let mut scanned = Scanned::default();
    for pattern in &settings.paths {
        pattern.expand(&mut paths, &mut scanned.problems);
    }
    let mut seen = HashSet::new();
    for path in paths.into_iter().filter(|path| settings.wants(path)) {
        match look_at(path, settings, known) {
            // Two names of one inode are one file.
            Ok(Some(found)) if seen.insert(found.look.inode) => scanned.files.push(found),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => scanned.problems.push(error),
        }
    }
    scanned
}

fn look_at(path: Utf8PathBuf, settings: &FileSettings, known: &HashMap<Inode, Look>) -> io::Result<Option<Found>> {
    if !settings.symlinks && fs::symlink_metadata(&path)?.is_symlink() {
        return Ok(None);
    }
    let metadata = fs::metadata(&path)?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let look = Look::of(&metadata);
    if known.get(&look.inode) == Some(&look) {
        return Ok(Some(Found {
            path,
            look,
            content: None,
        }));
    }
    let (look, head, size) = read_head(path.as_std_path(), settings.compression, settings.fingerprint)?;
    Ok(Some(Found {
        path,
        look,
        content: Some((head, size)),
    }))
}
