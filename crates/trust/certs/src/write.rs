//! Writing: PEM in each of the usual forms, PKCS#12, and files that are whole or not there.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use secret::Secret;
use zeroize::Zeroizing;

use crate::der;
use crate::encrypted_key::{EncryptionCost, encrypt_pkcs8};
use crate::key::{Pkcs8Parts, to_pkcs8};
use crate::legacy_pem::{LegacyCipher, encrypt_legacy_pem};
use crate::pem::PemBlock;
use crate::pkcs12::encode;
use crate::source::without_path;

/// How a private key is written.
#[derive(Clone, Copy, Debug)]
pub enum KeyFormat<'a> {
    /// `PRIVATE KEY`.
    Pkcs8,
    /// `ENCRYPTED PRIVATE KEY`: PBES2 with AES-256-CBC.
    Pkcs8Encrypted(&'a Secret),
    /// `RSA PRIVATE KEY` or `EC PRIVATE KEY`; Ed25519 has only PKCS#8.
    Traditional,
    /// As `Traditional`, with `DEK-Info`, as elasticsearch-certutil writes it (AES-128-CBC). Ed25519: as
    /// `Pkcs8Encrypted`, since it has no such form.
    LegacyEncrypted(&'a Secret, LegacyCipher),
}

/// Certificates as PEM, one after the other.
pub fn write_pem_certificates(certificates: &[CertificateDer<'_>]) -> String {
    certificates
        .iter()
        .map(|certificate| write_pem("CERTIFICATE", certificate))
        .collect()
}

/// A key as PEM.
///
/// # Errors
/// [`WriteError::Key`] for a SEC1 key that does not name its curve.
pub fn write_pem_key(key: &PrivateKeyDer<'_>, format: KeyFormat<'_>) -> Result<Secret, WriteError> {
    let pkcs8 = to_pkcs8(key).ok_or(WriteError::Key)?;
    let pkcs8 = Zeroizing::new(pkcs8.secret_pkcs8_der().to_vec());
    let encrypted = |passphrase| {
        (
            "ENCRYPTED PRIVATE KEY",
            encrypt_pkcs8(&pkcs8, passphrase, EncryptionCost::default()),
        )
    };
    let (label, der) = match format {
        KeyFormat::Pkcs8 => ("PRIVATE KEY", pkcs8.to_vec()),
        KeyFormat::Pkcs8Encrypted(passphrase) => encrypted(passphrase),
        KeyFormat::Traditional => traditional(&pkcs8).unwrap_or_else(|| ("PRIVATE KEY", pkcs8.to_vec())),
        KeyFormat::LegacyEncrypted(passphrase, cipher) => match traditional(&pkcs8) {
            Some((label, der)) => {
                return Ok(Secret::from(write_block(&encrypt_legacy_pem(
                    label,
                    &Zeroizing::new(der),
                    cipher,
                    passphrase,
                ))));
            }
            None => encrypted(passphrase),
        },
    };
    Ok(Secret::from(write_pem(label, &Zeroizing::new(der))))
}

/// The form from before PKCS#8, for RSA and ECDSA.
fn traditional(pkcs8: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    let parts = Pkcs8Parts::read(pkcs8)?;
    if parts.is_rsa() {
        return Some(("RSA PRIVATE KEY", parts.key.to_vec()));
    }
    if !parts.is_ec() {
        return None;
    }
    // Inside PKCS#8 the curve stands outside; on its own a SEC1 key must name it.
    let mut fields = der::Reader::new(parts.key).sequence()?;
    let (version, scalar) = (fields.expect(der::INTEGER)?, fields.expect(der::OCTET_STRING)?);
    let inner_curve = fields.expect(0xa0).map(|element| element.content);
    let curve = der::element(0xa0, inner_curve.or(parts.parameters)?);
    let point = fields.expect(0xa1).map_or(&[][..], |element| element.whole);
    Some((
        "EC PRIVATE KEY",
        der::sequence(&[version.whole, scalar.whole, &curve, point]),
    ))
}

/// Any DER as PEM: 64 columns, line feeds.
pub fn write_pem(label: &str, der: &[u8]) -> String {
    write_block(&PemBlock {
        label: label.to_owned(),
        headers: Vec::new(),
        der: Zeroizing::new(der.to_vec()),
    })
}

fn write_block(block: &PemBlock) -> String {
    let lines = block.headers.iter().flat_map(|(name, value)| [name, ": ", value, "\n"]);
    let headers: String = lines.collect();
    let blank = if headers.is_empty() { "" } else { "\n" };
    let base64 = Zeroizing::new(STANDARD.encode(&*block.der));
    let lines = base64
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"));
    let body = Zeroizing::new(lines.collect::<Vec<_>>().join("\n"));
    format!(
        "-----BEGIN {0}-----\n{headers}{blank}{1}\n-----END {0}-----\n",
        block.label, *body
    )
}

/// The key entry of a PKCS#12 bundle.
#[derive(Debug)]
pub struct P12Identity<'a> {
    /// The friendly name. Java shows it in lower case; certutil writes it so.
    pub alias: &'a str,
    /// The key.
    pub key: &'a PrivateKeyDer<'a>,
    /// Its certificate and, if wanted, the issuers.
    pub chain: &'a [CertificateDer<'a>],
    /// The time that names the key entry.
    pub created: Timestamp,
}

/// A PKCS#12 bundle as Java 17 writes it: the key with its chain, then certificates that are trusted, each with its
/// alias.
///
/// # Errors
/// [`WriteError::Key`] for a SEC1 key that does not name its curve.
pub fn write_p12(
    identity: Option<&P12Identity<'_>>,
    trusted: &[(&str, &CertificateDer<'_>)],
    password: &Secret,
) -> Result<Vec<u8>, WriteError> {
    let pkcs8 = identity
        .map(|identity| to_pkcs8(identity.key).ok_or(WriteError::Key))
        .transpose()?;
    Ok(encode(
        identity,
        pkcs8.as_ref().map(PrivatePkcs8KeyDer::secret_pkcs8_der),
        trusted,
        password,
    ))
}

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file is there already and must not be replaced.
    #[error("`{path}` exists already")]
    Exists {
        /// The file.
        path: Utf8PathBuf,
    },
    /// The system refused.
    #[error("cannot write `{path}`")]
    Io {
        /// The file.
        path: Utf8PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The key has no PKCS#8 form.
    #[error("the key does not say which curve it is on")]
    Key,
}

/// What may happen to a file that is there already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Existing {
    Replace,
    Keep,
}

/// Writes a file so that it is there whole or not at all, also after a power cut: written beside, synced, renamed.
/// `mode` is exact, whatever the umask says.
pub fn write_file_atomically(path: &Utf8Path, bytes: &[u8], mode: u32) -> Result<(), WriteError> {
    place(path, bytes, mode, Existing::Replace)
}

/// As [`write_file_atomically`], and a file that is there already stays as it is: [`WriteError::Exists`].
pub fn create_file_atomically(path: &Utf8Path, bytes: &[u8], mode: u32) -> Result<(), WriteError> {
    place(path, bytes, mode, Existing::Keep)
}

fn place(path: &Utf8Path, bytes: &[u8], mode: u32, existing: Existing) -> Result<(), WriteError> {
    let mut suffix = [0; 6];
    random(&mut suffix);
    let name = path.file_name().unwrap_or("file");
    let beside = path.with_file_name(format!(".{name}.{}", hex::encode(suffix)));
    let written = write_synced(&beside, bytes, mode).and_then(|()| match existing {
        Existing::Replace => fs_err::rename(&beside, path),
        // A link, unlike a rename, fails when the name is taken.
        Existing::Keep => fs_err::hard_link(&beside, path).and_then(|()| fs_err::remove_file(&beside)),
    });
    if let Err(source) = written {
        // Best effort: the error that matters is the first.
        drop(fs_err::remove_file(&beside));
        return Err(match source.kind() {
            io::ErrorKind::AlreadyExists => WriteError::Exists { path: path.to_owned() },
            _ => WriteError::Io {
                path: path.to_owned(),
                source: without_path(source),
            },
        });
    }
    sync_folder(path).map_err(|source| WriteError::Io {
        path: path.to_owned(),
        source: without_path(source),
    })
}

fn write_synced(path: &Utf8Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use fs_err::os::unix::fs::OpenOptionsExt;
        options.mode(mode);
    }
    let mut file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(path: &Utf8Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_str().is_empty())
        .unwrap_or(Utf8Path::new("."));
    fs_err::File::open(folder)?.sync_all()
}

/// Fills with random octets.
pub(crate) fn random(octets: &mut [u8]) {
    aws_lc_rs::rand::fill(octets).expect("the system's source of random numbers works");
}
