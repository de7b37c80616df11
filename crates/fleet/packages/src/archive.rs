//! An uploaded zip -> [`Package`], within limits that a zip bomb cannot pass.

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

/// Reads the package that a zip holds.
///
/// # Errors
/// Not a zip, an unsafe path, a limit passed, more than one folder at the top, or files that are not a valid package.
pub fn read(zip: &[u8], limits: Limits) -> Result<Package, PackageError> {
    let (root, files) = unpack(zip, limits)?;
    let package = Package::from_files(files)?;
    let expected = format!("{}-{}", package.name, package.version);
    if root != expected {
        return Err(PackageError::WrongRoot { expected, found: root });
    }
    Ok(package)
}

type Unpacked = (String, BTreeMap<String, Vec<u8>>);

fn unpack(zip: &[u8], limits: Limits) -> Result<Unpacked, PackageError> {
    let broken = |error: zip::result::ZipError| PackageError::Archive(error.to_string());
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).map_err(broken)?;
    if archive.len() > limits.entries {
        return Err(PackageError::TooBig {
            limit: limits.entries as u64,
            unit: "entries",
        });
    }
    let mut root: Option<String> = None;
    let mut files = BTreeMap::new();
    let mut left = limits.total_bytes;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(broken)?;
        let name = entry.name().map_err(broken)?;
        let path = safe_path(&name)?;
        let (folder, rest) = path.split_once('/').unwrap_or((path.as_str(), ""));
        let known = root.get_or_insert_with(|| folder.to_owned());
        if known != folder {
            return Err(PackageError::WrongRoot {
                expected: known.clone(),
                found: folder.to_owned(),
            });
        }
        if entry.is_dir() || rest.is_empty() {
            continue;
        }
        // The size in the header is the sender's claim; what counts is what comes out.
        let allowed = limits.file_bytes.min(left);
        let mut content = Vec::new();
        let mut bounded = (&mut entry).take(allowed + 1);
        bounded
            .read_to_end(&mut content)
            .map_err(|error| PackageError::Archive(error.to_string()))?;
        if content.len() as u64 > allowed {
            return Err(PackageError::TooBig {
                limit: limits.total_bytes.min(limits.file_bytes),
                unit: "bytes unpacked",
            });
        }
        left -= content.len() as u64;
        files.insert(rest.to_owned(), content);
    }
    let root = root.ok_or_else(|| PackageError::Missing("manifest.yml".to_owned()))?;
    Ok((root, files))
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

    fn check(entries: &[(&str, &[u8])], expected: &str) {
        let limits = Limits {
            entries: 3,
            file_bytes: 10_000,
            total_bytes: 20_000,
        };
        let answer = match read(&zip_of(entries), limits) {
            Ok(package) => format!("{} {}", package.name, package.version),
            Err(error) => error.to_string(),
        };
        assert!(answer.contains(expected), "{answer:?} does not say {expected:?}");
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
    fn what_is_not_a_zip_is_refused() {
        let error = read(b"no zip at all", Limits::default()).unwrap_err().to_string();
        assert!(error.contains("not a readable zip"), "{error}");
    }
}
