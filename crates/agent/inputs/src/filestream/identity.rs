//! What makes a file the same file after it was renamed, copied, truncated or replaced.
//!
//! A file is known by its inode, its birth time and the hash of its first bytes. The hash covers what the file had when
//! it was last looked at, at most the configured length (1,024): so a short file is read at once and is found again by
//! its prefix, and from that length on the hash is the fingerprint that the stock agent writes.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::UNIX_EPOCH;
use std::{fs::Metadata, io, io::Read};

use fs_err as fs;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::lines::Source;
use super::settings::{Compression, FingerprintRange};

/// One inode during its life.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub(super) struct Inode {
    #[serde(rename = "d")]
    pub(super) device: u64,
    #[serde(rename = "i")]
    pub(super) inode: u64,
}

/// What an inode shows without opening the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Look {
    pub(super) inode: Inode,
    /// Nanoseconds since 1970, where the file system keeps it.
    pub(super) born: Option<u64>,
    pub(super) size: u64,
    /// Nanoseconds since 1970.
    pub(super) modified: i128,
}

impl Look {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let born = metadata
            .created()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self {
            inode: Inode {
                device: metadata.dev(),
                inode: metadata.ino(),
            },
            born: born.and_then(|since| u64::try_from(since.as_nanos()).ok()),
            size: metadata.len(),
            modified: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
        }
    }
}

/// The hash of a file's first bytes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Prefix {
    /// How many bytes it covers; zero for nothing known.
    #[serde(rename = "n")]
    pub(super) length: usize,
    /// Lower-case hex SHA-256.
    #[serde(rename = "h")]
    pub(super) hash: String,
}

/// A file's first bytes, up to the fingerprint's length.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Head(pub(super) Vec<u8>);

impl Head {
    /// The hash of everything in it.
    pub(super) fn prefix(&self) -> Prefix {
        Prefix {
            length: self.0.len(),
            hash: hash(&self.0),
        }
    }

    /// Whether a file with this head can be the one that `prefix` was taken of.
    pub(super) fn begins_with(&self, prefix: &Prefix) -> bool {
        self.0
            .get(..prefix.length)
            .is_some_and(|start| prefix.length == 0 || hash(start) == prefix.hash)
    }
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Opens a file the way the stream wants it read.
pub(super) fn open(path: &std::path::Path, compression: Compression) -> io::Result<Source> {
    let file = fs::File::open(path)?;
    let is_gzip = match compression {
        Compression::None => false,
        Compression::Gzip => true,
        Compression::Auto => {
            let mut magic = [0; 2];
            file.file().read_at(&mut magic, 0)? == 2 && magic == [0x1F, 0x8B]
        }
    };
    Ok(if is_gzip {
        Source::gzip(file)
    } else {
        Source::Plain(file)
    })
}

/// Reads a file's head; of a gzip file the head of what is in it. `None` as size: it is not known before its end.
pub(super) fn read_head(
    path: &std::path::Path,
    compression: Compression,
    range: FingerprintRange,
) -> io::Result<(Look, Head, Option<u64>)> {
    let source = open(path, compression)?;
    let mut head = Vec::new();
    let (look, size) = match source {
        Source::Plain(file) => {
            let look = Look::of(&file.metadata()?);
            head.resize(range.length, 0);
            let mut read = 0;
            loop {
                match file.file().read_at(&mut head[read..], range.offset + read as u64)? {
                    0 => break,
                    more => read += more,
                }
            }
            head.truncate(read);
            (look, Some(look.size))
        }
        Source::Gzip { mut decoder, .. } => {
            let look = Look::of(&decoder.get_ref().get_ref().metadata()?);
            let end = range.offset + range.length as u64;
            // A file that is still being compressed ends in the middle: what is there will do.
            if let Err(error) = (&mut *decoder).take(end).read_to_end(&mut head)
                && error.kind() != io::ErrorKind::UnexpectedEof
            {
                return Err(error);
            }
            let skipped = usize::try_from(range.offset).unwrap_or(usize::MAX).min(head.len());
            head.drain(..skipped);
            (look, None)
        }
    };
    Ok((look, Head(head), size))
}

/// Whether two files have the same bytes before the shorter one's end: how a copy of a log is told from another log that
/// only starts the same.
pub(super) fn have_equal_tails(left: &std::path::Path, right: &std::path::Path) -> io::Result<bool> {
    const COMPARED: u64 = 4096;
    let (left, right) = (fs::File::open(left)?, fs::File::open(right)?);
    let end = left.metadata()?.len().min(right.metadata()?.len());
    let start = end.saturating_sub(COMPARED);
    let read = |file: &fs::File| {
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
        file.file().read_exact_at(&mut bytes, start).map(|()| bytes)
    };
    Ok(read(&left)? == read(&right)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_recognises_its_file_while_it_grows() {
        let short = Head(b"hello".to_vec()).prefix();
        assert!(Head(b"hello world".to_vec()).begins_with(&short));
        assert!(!Head(b"help".to_vec()).begins_with(&short));
        assert!(!Head(b"hell".to_vec()).begins_with(&short));
        assert!(Head(Vec::new()).begins_with(&Prefix::default()));
    }

    #[test]
    fn the_whole_length_gives_the_stock_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, vec![b'a'; 3000]).unwrap();
        let (look, head, size) = read_head(
            &path,
            Compression::Auto,
            FingerprintRange {
                offset: 0,
                length: 1024,
            },
        )
        .unwrap();
        assert_eq!((look.size, size), (3000, Some(3000)));
        // printf 'a%.0s' {1..1024} | sha256sum
        assert_eq!(
            head.prefix().hash,
            "2edc986847e209b4016e141a6dc8716d3207350f416969382d431539bf292e4a"
        );
    }
}
