//! Where a certificate or key comes from: a file, or text in the setting itself.

use std::fmt;
use std::io::{self, Read};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
    trimmed.starts_with('-') || trimmed.contains('\n') || trimmed.contains("-----") || lost_its_armour(trimmed)
}

/// The body of a PEM block alone, perhaps cut off. Most hold a slash and would else be taken for a path, which errors repeat.
fn lost_its_armour(text: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    if text.len() < 44 || !text.bytes().all(is_base64) {
        return false;
    }
    !text.contains('/') || begins_a_sequence(text)
}

/// Whether a base64 text is the beginning of one DER sequence, which certificates and keys are and paths are not.
fn begins_a_sequence(text: &str) -> bool {
    let header: Option<Vec<u8>> = text.get(..8).and_then(|start| STANDARD.decode(start).ok());
    let octets = text.trim_end_matches('=').len() * 3 / 4;
    let declared = match header.as_deref() {
        Some([0x30, 0x82, high, low, ..]) => 4 + usize::from(u16::from_be_bytes([*high, *low])),
        Some([0x30, 0x81, length, ..]) => 3 + usize::from(*length),
        Some([0x30, length @ ..=0x7f, ..]) => 2 + usize::from(*length),
        _ => return false,
    };
    octets <= declared
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
    let bytes = read_bounded(path, MAX_FILE_BYTES).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(LoadError::TooLarge {
            setting: setting.to_owned(),
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}

/// The content of a file, one octet more than `most` at most.
///
/// A pipe is read as well, as shells hand over what a command prints (`<(command)`), but is not waited for without end:
/// nobody may ever write to it.
pub(crate) fn read_bounded(path: &Utf8Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let kind = fs_err::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if kind.is_file() {
        return read_to_end(path, most);
    }
    let (sender, finished) = mpsc::channel();
    let path = path.to_owned();
    // It stays behind when nobody writes: an open that waits cannot be called off.
    let reading = thread::Builder::new().name("pipe".to_owned());
    reading.spawn(move || drop(sender.send(read_to_end(&path, most))))?;
    finished.recv_timeout(PIPE_PATIENCE).unwrap_or_else(|_| {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "it is no regular file, and nothing came from it within 5 s",
        ))
    })
}

/// How long something that is no regular file may take.
const PIPE_PATIENCE: Duration = Duration::from_secs(5);

fn read_to_end(path: &Utf8Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    fs_err::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether the path leads to something that can be read again and again. A pipe gives what it holds once.
pub fn can_be_read_again(path: &Utf8Path) -> bool {
    fs_err::metadata(path).is_ok_and(|found| found.is_file())
}

/// What the system said, without the path that `fs_err` adds: our errors name it already. The number of the error is in its
/// text only.
pub(crate) fn without_path(error: io::Error) -> io::Error {
    let text = error.to_string();
    let number = text
        .rsplit_once("(os error ")
        .and_then(|(_, rest)| rest.strip_suffix(')')?.parse().ok());
    number.map_or(error, io::Error::from_raw_os_error)
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
        // The beginnings of keys: PKCS#8 with RSA, EC and Ed25519, and SEC1.
        check(
            &format!("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw/{}", "a".repeat(1580)),
            true,
        );
        check("MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg/a+bcdef", true);
        check("MC4CAQAwBQYDK2VwBCIEIGxNqQG/0q8Zb1Pn0P3rT7lWkqJfD8Ck7b0h/0Lh1M8V", true);
        check("MHcCAQEEIE/9NVsjdZ4LyoxQiSa7kpgkkpxkY8n7uyfBI9S+O6C3oAoGCCqGSM49", true);
        check("MyCertificates/production/fleet/server/certificate", false);
        check("MAIN/certificates/production/fleet/server/certificate", false);
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
    fn the_path_is_told_once() {
        let error = PemSource::Path("/does/not/exist".into()).read("ssl.key").unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "No such file or directory (os error 2)");
    }

    #[test]
    fn text_never_prints() {
        let source = PemSource::from_setting("-----BEGIN PRIVATE KEY-----\nAAAA");
        assert!(!format!("{source:?} {source}").contains("AAAA"));
    }
}
