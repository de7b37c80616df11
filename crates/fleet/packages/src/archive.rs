//! An uploaded zip, or tar with gzip -> [`Package`], within limits that a bomb cannot pass.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use crate::manifest::PackageError;
use crate::model::Package;

/// How much an upload may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Files and folders.
    pub entries: usize,
    /// Bytes of one file, unpacked.
    pub file_bytes: u64,
    /// Bytes of all files, unpacked.
    pub total_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 20_000,
            file_bytes: 64 << 20,
            total_bytes: 256 << 20,
        }
    }
}

/// What every gzip stream begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Reads the package that an archive holds.
///
/// # Errors
/// Neither zip nor tar with gzip, an unsafe path, a limit passed, more than one folder at the top, or files that are not a valid
/// package.
pub fn read(archive: &[u8], limits: Limits) -> Result<Package, PackageError> {
    let (root, files) = if archive.starts_with(&GZIP) {
        unpack_tar(archive, limits)?
    } else {
        unpack_zip(archive, limits)?
    };
    let package = Package::from_files(files)?;
    let expected = format!("{}-{}", package.name, package.version);
    if root != expected {
        return Err(PackageError::WrongRoot { expected, found: root });
    }
    Ok(package)
}

type Files = BTreeMap<String, Vec<u8>>;

fn unpack_zip(zip: &[u8], limits: Limits) -> Result<(String, Files), PackageError> {
    let broken = |error: zip::result::ZipError| PackageError::Archive(error.to_string());
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).map_err(broken)?;
    let mut unpacked = Unpacked::new(limits);
    // Before any entry is looked at: the list of names alone may be what fills the memory.
    unpacked.count(archive.len())?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(broken)?;
        let (name, is_folder) = (entry.name().map_err(broken)?.to_string(), entry.is_dir());
        unpacked.add(&name, is_folder, &mut entry)?;
    }
    unpacked.done()
}

fn unpack_tar(gzip: &[u8], limits: Limits) -> Result<(String, Files), PackageError> {
    let broken = |error: std::io::Error| PackageError::Archive(error.to_string());
    // Names and padding come out of the stream as well as files.
    let stream = flate2::read::MultiGzDecoder::new(gzip).take(limits.total_bytes.saturating_mul(2));
    let mut archive = tar::Archive::new(stream);
    let mut unpacked = Unpacked::new(limits);
    for (index, entry) in archive.entries().map_err(broken)?.enumerate() {
        unpacked.count(index + 1)?;
        let mut entry = entry.map_err(broken)?;
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !kind.is_file() && !kind.is_dir() {
            return Err(PackageError::UnsafePath(name));
        }
        unpacked.add(&name, kind.is_dir(), &mut entry)?;
    }
    unpacked.done()
}

/// What has come out of an archive so far.
struct Unpacked {
    limits: Limits,
    /// Bytes that may still come out.
    left: u64,
    root: Option<String>,
    files: Files,
}

impl Unpacked {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            left: limits.total_bytes,
            root: None,
            files: Files::new(),
        }
    }

    fn count(&self, entries: usize) -> Result<(), PackageError> {
        if entries <= self.limits.entries {
            return Ok(());
        }
        Err(PackageError::TooBig {
            limit: self.limits.entries as u64,
            unit: "entries",
        })
    }

    fn add(&mut self, name: &str, is_folder: bool, content: &mut dyn Read) -> Result<(), PackageError> {
        let path = safe_path(name)?;
        let (folder, rest) = path.split_once('/').unwrap_or((path.as_str(), ""));
        let known = self.root.get_or_insert_with(|| folder.to_owned());
        if known != folder {
            return Err(PackageError::WrongRoot {
                expected: known.clone(),
                found: folder.to_owned(),
            });
        }
        if is_folder || rest.is_empty() {
            return Ok(());
        }
        // The size in the header is the sender's claim; what counts is what comes out.
        let allowed = self.limits.file_bytes.min(self.left);
        let mut bytes = Vec::new();
        content
            .take(allowed + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| PackageError::Archive(error.to_string()))?;
        if bytes.len() as u64 > allowed {
            return Err(PackageError::TooBig {
                limit: self.limits.total_bytes.min(self.limits.file_bytes),
                unit: "bytes unpacked",
            });
        }
        self.left -= bytes.len() as u64;
        self.files.insert(rest.to_owned(), bytes);
        Ok(())
    }

    fn done(self) -> Result<(String, Files), PackageError> {
        let root = self
            .root
            .ok_or_else(|| PackageError::Missing("manifest.yml".to_owned()))?;
        Ok((root, self.files))
    }
}

fn safe_path(name: &str) -> Result<String, PackageError> {
    let trimmed = name.trim_end_matches('/');
    let is_unsafe = |part: &str| part.is_empty() || part == "." || part == "..";
    let refused = trimmed.contains(['\\', '\0', ':']) || trimmed.split('/').any(is_unsafe);
    if refused {
        Err(PackageError::UnsafePath(name.to_owned()))
    } else {
        Ok(trimmed.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const MANIFEST: &str = "name: demo\ntitle: Demo\nversion: 1.0.0\ntype: integration\n";

    fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in entries {
            writer
                .start_file(*name, zip::write::SimpleFileOptions::default())
                .unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn tar_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut writer = tar::Builder::new(compressed);
        for (name, content) in entries {
            let mut header = tar::Header::new_ustar();
            // Written past the check of the writer, which makes no names such as an attacker's.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(content.len() as u64);
            header.set_cksum();
            writer.append(&header, *content).unwrap();
        }
        writer.into_inner().unwrap().finish().unwrap()
    }

    fn check(entries: &[(&str, &[u8])], expected: &str) {
        let limits = Limits {
            entries: 3,
            file_bytes: 10_000,
            total_bytes: 20_000,
        };
        for archive in [zip_of(entries), tar_of(entries)] {
            let answer = match read(&archive, limits) {
                Ok(package) => format!("{} {}", package.name, package.version),
                Err(error) => error.to_string(),
            };
            assert!(answer.contains(expected), "{answer:?} does not say {expected:?}");
        }
    }

    #[test]
    fn a_link_in_a_tar_is_refused() {
        let mut writer = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        writer
            .append_link(&mut header, "demo-1.0.0/manifest.yml", "/etc/passwd")
            .unwrap();
        let archive = writer.into_inner().unwrap().finish().unwrap();
        let error = read(&archive, Limits::default()).unwrap_err().to_string();
        assert!(error.contains("unsafe path"), "{error}");
    }

    #[test]
    fn a_package_is_one_folder_with_a_manifest() {
        let manifest = MANIFEST.as_bytes();
        check(&[("demo-1.0.0/manifest.yml", manifest)], "demo 1.0.0");
        check(
            &[("demo-2.0.0/manifest.yml", manifest)],
            "named `demo-1.0.0`, and has `demo-2.0.0`",
        );
        check(&[("demo-1.0.0/manifest.yml", manifest), ("other/x", b"")], "`other`");
        check(&[("demo-1.0.0/readme.md", b"")], "no `manifest.yml`");
        check(
            &[("demo-1.0.0/manifest.yml", b"name: [")],
            "`manifest.yml` is not valid",
        );
        check(
            &[("demo-1.0.0/manifest.yml", b"name: Demo\ntitle: x\nversion: 1.0.0")],
            "lower case",
        );
    }

    #[test]
    fn what_would_leave_the_folder_or_fill_the_memory_is_refused() {
        let manifest = MANIFEST.as_bytes();
        check(&[("demo-1.0.0/../../etc/passwd", b"x")], "unsafe path");
        check(&[("/etc/passwd", b"x")], "unsafe path");
        check(
            &[("demo-1.0.0/manifest.yml", manifest), ("demo-1.0.0/bomb", &[0; 10_001])],
            "limit of 10000 bytes",
        );
        let many: Vec<(&str, &[u8])> = vec![("a/1", b""), ("a/2", b""), ("a/3", b""), ("a/4", b"")];
        check(&many, "limit of 3 entries");
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        for bytes in [b"no zip at all".as_slice(), &[GZIP[0], GZIP[1], 8, 0, 0, 0, 0, 0]] {
            let error = read(bytes, Limits::default()).unwrap_err().to_string();
            assert!(error.contains("not a readable zip"), "{error}");
        }
    }
}
