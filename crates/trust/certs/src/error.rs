//! Why a certificate or key could not be loaded.

use std::fmt;
use std::io;

use camino::Utf8PathBuf;

/// Where something was read: the setting, and the file when it was one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The setting or flag, in the user's words: `ssl.key`, `--elastic-agent-cert`.
    pub setting: String,
    /// The file; `None` for text in the setting itself.
    pub path: Option<Utf8PathBuf>,
}

/// For the middle of a sentence; with `#` for its end.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comma = if f.alternate() { "" } else { "," };
        match &self.path {
            Some(path) => write!(f, "`{path}`, named by `{}`{comma}", self.setting),
            None => write!(f, "the text in `{}`", self.setting),
        }
    }
}

/// Why a certificate or key could not be loaded. [`LoadError::class`] is stable; texts never hold file contents.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be opened or read.
    #[error("cannot read `{path}`, named by `{setting}`")]
    Read {
        /// The setting that names the file.
        setting: String,
        /// The file.
        path: Utf8PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The setting is an empty text.
    #[error("`{setting}` is an empty path")]
    EmptyPath {
        /// The setting.
        setting: String,
    },
    /// Longer than any certificate file can be.
    #[error("`{path}`, named by `{setting}`, is larger than 8 MiB")]
    TooLarge {
        /// The setting that names the file.
        setting: String,
        /// The file.
        path: Utf8PathBuf,
    },
    /// Neither PEM nor DER nor PKCS#12.
    #[error("{origin} holds no PEM block: {found}")]
    NoPem {
        /// Where.
        origin: Origin,
        /// What is there instead.
        found: String,
    },
    /// PEM, but no usable certificate in it.
    #[error("{origin} holds no certificate: {found}")]
    NoCertificate {
        /// Where.
        origin: Origin,
        /// What is there instead.
        found: String,
    },
    /// PEM, but no private key in it.
    #[error("{origin} holds no private key: {found}")]
    NoKey {
        /// Where.
        origin: Origin,
        /// What is there instead.
        found: String,
    },
    /// A CA entry without one usable certificate.
    #[error("{origin} holds no CA certificate: {found}")]
    NotAnAuthority {
        /// Where.
        origin: Origin,
        /// What is there instead.
        found: String,
    },
    /// A key came without its certificate.
    #[error("`{key_setting}` is set, but `{setting}` is not: a key needs its certificate")]
    CertificateMissing {
        /// The setting that is missing.
        setting: String,
        /// The setting that is there.
        key_setting: String,
    },
    /// A certificate came without its key.
    #[error("`{certificate_setting}` is set, but `{setting}` is not: a certificate needs its key")]
    KeyMissing {
        /// The setting that is missing.
        setting: String,
        /// The setting that is there.
        certificate_setting: String,
        /// Whether the certificate's file has a key in it as well.
        key_in_certificate_file: bool,
    },
    /// The key is another one's.
    #[error("the key in {key} does not belong to the first certificate (`{subject}`) in {certificate:#}")]
    KeyMismatch {
        /// Where the certificate is.
        certificate: Box<Origin>,
        /// Where the key is.
        key: Box<Origin>,
        /// The subject of the first certificate.
        subject: String,
        /// The subject of a later certificate that the key does belong to.
        belongs_to: Option<String>,
    },
    /// The key is encrypted and nobody gave a passphrase.
    #[error("the key in {origin} is encrypted and no passphrase is set")]
    KeyNeedsPassphrase {
        /// Where.
        origin: Origin,
        /// The setting that would take the passphrase.
        passphrase_setting: String,
    },
    /// The passphrase does not open the key.
    #[error("the passphrase in `{passphrase_setting}` does not open the key in {origin:#}")]
    KeyWrongPassphrase {
        /// Where.
        origin: Origin,
        /// The setting that holds the passphrase.
        passphrase_setting: String,
    },
    /// Encrypted in a way that is not supported.
    #[error("the key in {origin} is encrypted in a way that is not supported: {scheme}")]
    KeyEncryptionUnsupported {
        /// Where.
        origin: Origin,
        /// The scheme.
        scheme: String,
    },
    /// `Proc-Type` encryption, which the settings forbid.
    #[error(
        "the key in {origin} has the legacy `Proc-Type: 4,ENCRYPTED` encryption, which `disable_legacy_pem_support` forbids"
    )]
    LegacyEncryptionDisabled {
        /// Where.
        origin: Origin,
    },
    /// A key that no part of the program can use.
    #[error("the key in {origin} cannot be used: {reason}")]
    UnsupportedKey {
        /// Where.
        origin: Origin,
        /// Why.
        reason: String,
    },
    /// The file with the passphrase cannot be read.
    #[error("cannot read the passphrase from `{path}`, named by `{setting}`")]
    PassphraseFile {
        /// The setting that names the file.
        setting: String,
        /// The file.
        path: Utf8PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl LoadError {
    /// The stable class, as `tls check --json` shows it.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Read { .. } | Self::EmptyPath { .. } | Self::TooLarge { .. } => "file_unreadable",
            Self::NoPem { .. } => "no_pem",
            Self::NoCertificate { .. } => "no_certificate_block",
            Self::NoKey { .. } => "no_key_block",
            Self::NotAnAuthority { .. } => "ca_not_pem_certificate",
            Self::CertificateMissing { .. } => "certificate_missing",
            Self::KeyMissing { .. } => "key_missing",
            Self::KeyMismatch { .. } => "key_mismatch",
            Self::KeyNeedsPassphrase { .. } => "key_needs_passphrase",
            Self::KeyWrongPassphrase { .. } => "key_wrong_passphrase",
            Self::KeyEncryptionUnsupported { .. } => "key_encryption_unsupported",
            Self::LegacyEncryptionDisabled { .. } => "key_legacy_encryption_disabled",
            Self::UnsupportedKey { .. } => "unsupported_key_type",
            Self::PassphraseFile { .. } => "passphrase_file_unreadable",
        }
    }

    /// What to do about it, in a sentence, when there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } | Self::PassphraseFile { source, .. } => Some(read_hint(source).to_owned()),
            Self::EmptyPath { setting } => Some(format!("give a path, paste PEM, or remove `{setting}`")),
            Self::NoPem { origin, .. } if origin.path.is_none() => {
                Some("paste the whole PEM with its BEGIN and END lines, or give the path of a file".to_owned())
            }
            Self::NoPem { .. } => Some("give a PEM, DER or PKCS#12 file".to_owned()),
            Self::NoCertificate { found, .. } | Self::NotAnAuthority { found, .. } => {
                Some(certificate_hint(found).to_owned())
            }
            Self::NoKey { found, .. } if found.contains("CERTIFICATE") => {
                Some("this is the certificate; the key is usually a file of its own that ends in .key".to_owned())
            }
            Self::NoKey { .. } => Some("give a file with a private key in PEM, DER or PKCS#12".to_owned()),
            Self::KeyMissing {
                setting,
                key_in_certificate_file: true,
                ..
            } => Some(format!(
                "the certificate's file also holds a key: name the same file in `{setting}`"
            )),
            Self::CertificateMissing { setting, .. } | Self::KeyMissing { setting, .. } => {
                Some(format!("set `{setting}`"))
            }
            Self::KeyMismatch {
                belongs_to: Some(subject),
                ..
            } => Some(format!(
                "the key belongs to `{subject}` further down: put that certificate first"
            )),
            Self::KeyMismatch { .. } => Some("use the key that was made together with this certificate".to_owned()),
            Self::KeyNeedsPassphrase { passphrase_setting, .. } => Some(format!("set `{passphrase_setting}`")),
            Self::KeyEncryptionUnsupported { .. } => {
                Some("encrypt it anew: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW".to_owned())
            }
            Self::LegacyEncryptionDisabled { .. } => {
                Some("encrypt it as PKCS#8: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW".to_owned())
            }
            Self::KeyWrongPassphrase { passphrase_setting, .. } => Some(format!(
                "check `{passphrase_setting}`; `flotilla tls show FILE` asks for a passphrase and tries it"
            )),
            Self::TooLarge { .. } => Some("name a file with certificates or a key; those are far smaller".to_owned()),
            Self::UnsupportedKey { .. } => {
                Some("use an RSA key of at least 2048 bits, ECDSA on P-256, P-384 or P-521, or Ed25519".to_owned())
            }
        }
    }
}

fn read_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => "check the spelling; relative paths start at the working folder",
        io::ErrorKind::PermissionDenied => "let the user that runs this program read it",
        io::ErrorKind::IsADirectory => "name a file, not a folder",
        io::ErrorKind::NotADirectory => "a part of the path before the last is a file; check the path",
        io::ErrorKind::InvalidData => "it must hold nothing but the passphrase, as UTF-8 text",
        io::ErrorKind::TimedOut => "name a regular file; a pipe (FIFO) must have somebody who writes to it",
        _ => "check that the file can be read, for instance with `cat`",
    }
}

fn certificate_hint(found: &str) -> &'static str {
    if found.contains("TRUSTED CERTIFICATE") || found.contains("X509 CERTIFICATE") {
        "write it anew as a plain certificate: openssl x509 -in OLD -out NEW"
    } else if found.contains("PKCS7") || found.contains("PKCS#7") {
        "take the certificates out of it: openssl pkcs7 -print_certs -in OLD -out NEW"
    } else if found.contains("PRIVATE KEY") {
        "this is the key; the certificate is usually a file of its own that ends in .crt"
    } else if found.contains("header lines") {
        "remove the lines between the BEGIN line and the base64 text"
    } else {
        "give a file with a certificate in PEM, DER or PKCS#12"
    }
}
