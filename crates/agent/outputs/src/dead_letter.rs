//! Events that the other side refused for good, kept for a person to look at: `<dir>/dead-letter.ndjson`, bounded.
//!
//! One line an event: when, for which index, why, and the document itself. When the file passes its bound it becomes
//! `dead-letter.ndjson.1` and a new one starts, so at most twice the bound is on disk.

use std::io::Write;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use serde::Serialize;
use serde_json::value::RawValue;

const FILE: &str = "dead-letter.ndjson";
const MAX_BYTES: u64 = 10 * 1024 * 1024;

/// Where refused events go.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    directory: Utf8PathBuf,
}

/// One refused event.
#[derive(Serialize)]
pub(crate) struct DeadLetter<'a> {
    #[serde(rename = "@timestamp")]
    pub(crate) timestamp: String,
    pub(crate) output: &'a str,
    pub(crate) index: &'a str,
    pub(crate) status: u16,
    pub(crate) reason: &'a str,
    pub(crate) document: &'a RawValue,
}

impl DeadLetters {
    pub(crate) fn new(directory: &Utf8Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// Appends `lines`. Blocking.
    pub(crate) fn append(&self, lines: &[Vec<u8>]) -> std::io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let path = self.directory.join(FILE);
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > MAX_BYTES) {
            fs::rename(&path, self.directory.join(format!("{FILE}.1")))?;
        }
        let mut file = private_append(&path)?;
        for line in lines {
            file.write_all(line)?;
        }
        file.sync_data()
    }
}

/// Opens a file of mode 0600 to append to.
pub(crate) fn private_append(path: &Utf8Path) -> std::io::Result<fs::File> {
    use fs_err::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
