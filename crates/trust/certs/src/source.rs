//! Where a certificate or key comes from: a file, or text in the setting itself.

use std::fmt;
use std::io::{self, Read};

use camino::{Utf8Path, Utf8PathBuf};
use secret::Secret;
use zeroize::Zeroizing;

use crate::error::{LoadError, Origin};

/// The most that is read of one file. The largest system bundles are a quarter of a megabyte.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// A file, or the text itself. Texts may hold a key, so they never print.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PemSource {
    /// A file that is read at each load.
    Path(Utf8PathBuf),
    /// PEM text in the setting.
    Inline(Secret),
}

impl PemSource {
    /// Tells a path from pasted text as the stock agent does since 9.5: text begins with a dash, has a line break or
    /// five dashes, or is a long run of base64 without anything that paths have.
    /// Source: Elastic's shared TLS library, measured.
    pub fn from_setting(value: &str) -> Self {
        if looks_inline(value) {
            Self::Inline(Secret::from(value))
        } else {
            Self::Path(Utf8PathBuf::from(value))
        }
    }

    /// The path, when it is a file.
    pub fn path(&self) -> Option<&Utf8Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Inline(_) => None,
        }
    }

    /// The bytes, at most 8 MiB of them.
    ///
    /// # Errors
    /// [`LoadError::Read`] and its relatives, all of class `file_unreadable`.
    pub fn read(&self, setting: &str) -> Result<Zeroizing<Vec<u8>>, LoadError> {
        match self {
            Self::Inline(text) => Ok(Zeroizing::new(with_line_breaks(text.expose()))),
            Self::Path(path) => read_file(path, setting),
        }
    }

    pub(crate) fn origin(&self, setting: &str) -> Origin {
        Origin {
            setting: setting.to_owned(),
            path: self.path().map(Utf8Path::to_owned),
        }
    }
}

impl From<Utf8PathBuf> for PemSource {
    fn from(path: Utf8PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<&Utf8Path> for PemSource {
    fn from(path: &Utf8Path) -> Self {
        Self::Path(path.to_owned())
    }
}

/// The path; for text only that it is one.
impl fmt::Display for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{path}"),
            Self::Inline(_) => f.write_str("<inline>"),
        }
    }
}

fn looks_inline(value: &str) -> bool {
    let trimmed = value.trim();
    let lost_its_armour = trimmed.len() >= 44
        && trimmed
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'=');
    trimmed.starts_with('-') || trimmed.contains('\n') || trimmed.contains("-----") || lost_its_armour
}

/// Text that went through JSON or a shell may carry `\n` as two characters, and a real line break at its end at most.
fn with_line_breaks(text: &str) -> Vec<u8> {
    if text.trim_end().contains('\n') {
        text.as_bytes().to_vec()
    } else {
        text.replace("\\r", "").replace("\\n", "\n").into_bytes()
    }
}

fn read_file(path: &Utf8Path, setting: &str) -> Result<Zeroizing<Vec<u8>>, LoadError> {
    if path.as_str().is_empty() {
        return Err(LoadError::EmptyPath {
            setting: setting.to_owned(),
        });
    }
    let failed = |source| LoadError::Read {
        setting: setting.to_owned(),
        path: path.to_owned(),
        source: without_path(source),
    };
    let file = fs_err::File::open(path).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(LoadError::TooLarge {
            setting: setting.to_owned(),
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}

/// What the system said, without the path that `fs_err` adds: our errors name it already.
pub(crate) fn without_path(error: io::Error) -> io::Error {
    let wrapped = error.get_ref().and_then(|wrapper| wrapper.source());
    let code = wrapped
        .and_then(|original| original.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error);
    code.map_or(error, io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_from_paths() {
        let check = |value: &str, inline: bool| {
            assert_eq!(
                matches!(PemSource::from_setting(value), PemSource::Inline(_)),
                inline,
                "{value}"
            );
        };
        check("/etc/certs/ca.crt", false);
        check("ca.crt", false);
        check("", false);
        check("a".repeat(43).as_str(), false);
        check("a".repeat(44).as_str(), true);
        check(&format!("/{}", "a".repeat(60)), false);
        check("  -----BEGIN CERTIFICATE-----\nAA", true);
        check("-----BEGIN nothing", true);
        check("Certificate:\n  Data:", true);
        check("subject=x -----BEGIN CERTIFICATE-----", true);
    }

    #[test]
    fn a_directory_and_an_empty_path_cannot_be_read() {
        for path in ["/", "", "/does/not/exist"] {
            let error = PemSource::Path(path.into()).read("ssl.key").unwrap_err();
            assert_eq!(error.class(), "file_unreadable", "{path}");
        }
    }

    #[test]
    fn text_never_prints() {
        let source = PemSource::from_setting("-----BEGIN PRIVATE KEY-----\nAAAA");
        assert!(!format!("{source:?} {source}").contains("AAAA"));
    }
}
