//! Private keys: finding one in a file, decrypting it, and its public half.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
};
use camino::Utf8Path;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use secret::Secret;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::der::{self, Reader};
use crate::encrypted_key::decrypt_pkcs8;
use crate::error::{LoadError, Origin};
use crate::legacy_pem::{decrypt_legacy_pem, is_legacy_encrypted};
use crate::pem::PemBlock;
use crate::pkcs12::{Pkcs12, open_p12};
use crate::recognize::{Content, private_key, recognize};
use crate::source::{PemSource, read_bounded, without_path};

/// How an encrypted key may be opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyOptions<'a> {
    /// The passphrase; an empty one counts as none, save for PKCS#12.
    pub passphrase: Option<&'a Secret>,
    /// The setting that holds the passphrase, for errors.
    pub passphrase_setting: &'a str,
    /// `disable_legacy_pem_support`: refuses `Proc-Type` encryption.
    pub refuse_legacy_pem: bool,
}

/// Why the bytes of a key cannot be used. [`LoadError`] adds where they came from.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyUnusable {
    /// It is encrypted and there is no passphrase.
    #[error("it is encrypted")]
    NeedsPassphrase,
    /// The passphrase does not open it.
    #[error("the passphrase does not open it")]
    WrongPassphrase,
    /// Its encryption is not supported.
    #[error("it is encrypted in a way that is not supported: {0}")]
    Encryption(String),
    /// `Proc-Type` encryption, which is forbidden here.
    #[error("legacy PEM encryption is disabled")]
    LegacyDisabled,
    /// The key itself is damaged or of a kind that is not supported.
    #[error("{0}")]
    Key(String),
}

impl KeyUnusable {
    pub(crate) fn at(self, origin: Origin, options: &KeyOptions<'_>) -> LoadError {
        let passphrase_setting = options.passphrase_setting.to_owned();
        match self {
            Self::NeedsPassphrase => LoadError::KeyNeedsPassphrase {
                origin,
                passphrase_setting,
            },
            Self::WrongPassphrase => LoadError::KeyWrongPassphrase {
                origin,
                passphrase_setting,
            },
            Self::Encryption(scheme) => LoadError::KeyEncryptionUnsupported { origin, scheme },
            Self::LegacyDisabled => LoadError::LegacyEncryptionDisabled { origin },
            Self::Key(reason) => LoadError::UnsupportedKey { origin, reason },
        }
    }
}

/// Loads the first key of a source: PEM, DER or PKCS#12, encrypted or not.
pub fn load_key(
    source: &PemSource,
    setting: &str,
    passphrase: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, LoadError> {
    let options = KeyOptions {
        passphrase,
        passphrase_setting: "the passphrase",
        refuse_legacy_pem: false,
    };
    load_key_with(source, setting, &options).map(|loaded| loaded.key)
}

/// A key, and what should be said about it.
#[derive(Debug)]
pub struct LoadedKey {
    /// The key.
    pub key: PrivateKeyDer<'static>,
    /// Sentences for the log; empty for a key that is stored well.
    pub warnings: Vec<String>,
}

/// As [`load_key`], with all options.
pub fn load_key_with(source: &PemSource, setting: &str, options: &KeyOptions<'_>) -> Result<LoadedKey, LoadError> {
    let bytes = source.read(setting)?;
    key_from_content(recognize(&bytes), source.origin(setting), options, None)
}

/// `wanted` chooses among the keys of a PKCS#12 bundle; the other formats have a first one.
pub(crate) fn key_from_content(
    content: Content,
    origin: Origin,
    options: &KeyOptions<'_>,
    wanted: Option<&PublicKey>,
) -> Result<LoadedKey, LoadError> {
    let plain = |key| LoadedKey {
        key,
        warnings: Vec::new(),
    };
    match content {
        Content::Pem(blocks) => key_from_pem(&blocks, origin, options),
        Content::Key(key) => Ok(plain(key)),
        Content::EncryptedKey(encrypted) => open_pkcs8(&encrypted, options)
            .map(plain)
            .map_err(|e| e.at(origin, options)),
        Content::Pkcs12(bytes) => {
            let bundle = open_p12(&bytes, options).map_err(|error| error.at(origin.clone(), options))?;
            key_from_p12(bundle, wanted)
                .map(plain)
                .ok_or_else(|| no_key(origin, "it is PKCS#12 without a key"))
        }
        Content::Certificate(_) => Err(no_key(origin, "it is one CERTIFICATE in DER")),
        Content::Other(found) => Err(LoadError::NoPem {
            origin,
            found: found.to_owned(),
        }),
    }
}

fn no_key(origin: Origin, found: &str) -> LoadError {
    LoadError::NoKey {
        origin,
        found: found.to_owned(),
    }
}

fn key_from_p12(mut bundle: Pkcs12, wanted: Option<&PublicKey>) -> Option<PrivateKeyDer<'static>> {
    let fits = |key: &PrivateKeyDer<'_>| wanted.is_some() && PublicKey::of_key(key).as_ref() == wanted;
    let position = bundle.keys.iter().position(|entry| fits(&entry.key)).unwrap_or(0);
    (position < bundle.keys.len()).then(|| bundle.keys.swap_remove(position).key)
}

fn key_from_pem(blocks: &[PemBlock], origin: Origin, options: &KeyOptions<'_>) -> Result<LoadedKey, LoadError> {
    let Some(block) = blocks.iter().find(|block| block.is_private_key()) else {
        return Err(LoadError::NoKey {
            origin,
            found: labels(blocks),
        });
    };
    let warnings = if is_legacy_encrypted(block) {
        vec![format!(
            "the key in {origin} has the legacy `Proc-Type` encryption; `openssl pkcs8 -topk8 -v2 aes-256-cbc` writes a better one"
        )]
    } else {
        Vec::new()
    };
    key_from_block(block, options)
        .map(|key| LoadedKey { key, warnings })
        .map_err(|error| error.at(origin, options))
}

pub(crate) fn key_from_block(
    block: &PemBlock,
    options: &KeyOptions<'_>,
) -> Result<PrivateKeyDer<'static>, KeyUnusable> {
    if is_legacy_encrypted(block) {
        if options.refuse_legacy_pem {
            return Err(KeyUnusable::LegacyDisabled);
        }
        let plain = decrypt_legacy_pem(block, passphrase(options)?)?;
        return private_key(&plain).ok_or(KeyUnusable::WrongPassphrase);
    }
    match block.label.as_str() {
        "ENCRYPTED PRIVATE KEY" => open_pkcs8(&block.der, options),
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {
            private_key(&block.der).ok_or_else(|| KeyUnusable::Key(format!("its `{}` block is damaged", block.label)))
        }
        "OPENSSH PRIVATE KEY" => Err(KeyUnusable::Key(
            "it is an OpenSSH key; write it anew with `ssh-keygen -p -m PKCS8 -f FILE`".to_owned(),
        )),
        other => Err(KeyUnusable::Key(format!(
            "`{other}` is not supported; use RSA, ECDSA or Ed25519"
        ))),
    }
}

fn open_pkcs8(encrypted: &[u8], options: &KeyOptions<'_>) -> Result<PrivateKeyDer<'static>, KeyUnusable> {
    let plain = decrypt_pkcs8(encrypted, passphrase(options)?)?;
    private_key(&plain).ok_or(KeyUnusable::WrongPassphrase)
}

fn passphrase<'a>(options: &KeyOptions<'a>) -> Result<&'a Secret, KeyUnusable> {
    options
        .passphrase
        .filter(|passphrase| !passphrase.is_empty())
        .ok_or(KeyUnusable::NeedsPassphrase)
}

pub(crate) fn labels(blocks: &[PemBlock]) -> String {
    let labels: Vec<_> = blocks
        .iter()
        .take(5)
        .map(|block| format!("`{}`", block.label))
        .collect();
    format!(
        "it has {}{}",
        labels.join(", "),
        if blocks.len() > 5 { ", .." } else { "" }
    )
}

/// Reads a passphrase from its file. White space at both ends is dropped, so a final newline does no harm.
///
/// # Errors
/// [`LoadError::PassphraseFile`]; also when the file is not UTF-8 or longer than 64 KiB.
pub fn read_passphrase_file(path: &Utf8Path, setting: &str) -> Result<Secret, LoadError> {
    use std::io::{Error, ErrorKind};
    const MAX_BYTES: u64 = 64 << 10;
    let failed = |source| LoadError::PassphraseFile {
        setting: setting.to_owned(),
        path: path.to_owned(),
        source: without_path(source),
    };
    let bytes = read_bounded(path, MAX_BYTES).map_err(failed)?;
    let text = std::str::from_utf8(&bytes)
        .ok()
        .filter(|_| bytes.len() as u64 <= MAX_BYTES);
    let text = text.ok_or_else(|| {
        failed(Error::new(
            ErrorKind::InvalidData,
            "it is no text, or longer than 64 KiB",
        ))
    })?;
    Ok(Secret::from(text.trim()))
}

/// The public half of a key, in a form that compares.
#[derive(Clone, Eq, PartialEq)]
pub enum PublicKey {
    /// The DER of `RSAPublicKey`.
    Rsa(Vec<u8>),
    /// The curve's object identifier (whole element) and the point.
    Ec {
        /// The curve.
        curve: Vec<u8>,
        /// The point, as in the SubjectPublicKeyInfo.
        point: Vec<u8>,
    },
    /// The 32 octets.
    Ed25519(Vec<u8>),
    /// A kind that is only compared.
    Other {
        /// The algorithm's object identifier (whole element).
        algorithm: Vec<u8>,
        /// The content of the BIT STRING.
        bits: Vec<u8>,
    },
}

const RSA: &str = "1.2.840.113549.1.1.1";
const RSA_PSS: &str = "1.2.840.113549.1.1.10";
const EC: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";
pub(crate) const P224: &str = "1.3.132.0.33";
pub(crate) const P256: &str = "1.2.840.10045.3.1.7";
pub(crate) const P384: &str = "1.3.132.0.34";
pub(crate) const P521: &str = "1.3.132.0.35";

fn is(identifier: &[u8], dotted: &str) -> bool {
    der::object_identifier(dotted).as_deref() == Some(identifier)
}

impl PublicKey {
    /// The public key that a certificate is about; `None` for bytes that are no certificate.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        Self::from_spki(certificate.public_key().raw)
    }

    /// From a SubjectPublicKeyInfo.
    pub fn from_spki(spki: &[u8]) -> Option<Self> {
        let mut fields = Reader::new(spki).sequence()?;
        let mut algorithm = fields.sequence()?;
        let identifier = algorithm.expect(der::OBJECT_IDENTIFIER)?.whole;
        let bits = fields.expect(der::BIT_STRING)?.content.get(1..)?.to_vec();
        Some(if is(identifier, RSA) || is(identifier, RSA_PSS) {
            Self::Rsa(bits)
        } else if is(identifier, EC) {
            Self::Ec {
                curve: algorithm.any()?.whole.to_vec(),
                point: bits,
            }
        } else if is(identifier, ED25519) {
            Self::Ed25519(bits)
        } else {
            Self::Other {
                algorithm: identifier.to_vec(),
                bits,
            }
        })
    }

    /// The public half of a private key; `None` when it cannot be worked out (a curve that is not supported and a key
    /// that does not carry its public point).
    pub fn of_key(key: &PrivateKeyDer<'_>) -> Option<Self> {
        match key {
            PrivateKeyDer::Pkcs1(key) => rsa_public(key.secret_pkcs1_der()),
            PrivateKeyDer::Sec1(key) => ec_public(key.secret_sec1_der(), None),
            PrivateKeyDer::Pkcs8(key) => pkcs8_public(key.secret_pkcs8_der()),
            _ => None,
        }
    }

    /// `RSA 2048`, `ECDSA P-256`, `Ed25519`, ...
    pub fn name(&self) -> String {
        match self {
            Self::Rsa(der) => format!("RSA {}", rsa_bits(der).unwrap_or(0)),
            Self::Ec { curve, .. } => {
                let known = [(P224, "P-224"), (P256, "P-256"), (P384, "P-384"), (P521, "P-521")];
                let name = known
                    .iter()
                    .find(|(dotted, _)| is(curve, dotted))
                    .map_or("unknown curve", |(_, name)| name);
                format!("ECDSA {name}")
            }
            Self::Ed25519(_) => "Ed25519".to_owned(),
            Self::Other { .. } => "unknown".to_owned(),
        }
    }

    /// The size of an RSA key.
    pub fn rsa_bits(&self) -> Option<usize> {
        match self {
            Self::Rsa(der) => rsa_bits(der),
            _ => None,
        }
    }

    /// The SubjectPublicKeyInfo.
    pub fn to_spki(&self) -> Vec<u8> {
        let oid = |dotted| der::object_identifier(dotted).expect("a constant");
        let (algorithm, bits) = match self {
            Self::Rsa(bits) => (der::sequence(&[&oid(RSA), &[5, 0]]), bits),
            Self::Ec { curve, point } => (der::sequence(&[&oid(EC), curve]), point),
            Self::Ed25519(bits) => (der::sequence(&[&oid(ED25519)]), bits),
            Self::Other { algorithm, bits } => (der::sequence(&[algorithm]), bits),
        };
        der::sequence(&[&algorithm, &der::bit_string(bits)])
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({})", self.name())
    }
}

fn rsa_bits(public: &[u8]) -> Option<usize> {
    let modulus = Reader::new(public).sequence()?.expect(der::INTEGER)?.content;
    let significant = &modulus[modulus.iter().take_while(|&&octet| octet == 0).count()..];
    Some(significant.len() * 8 - significant.first()?.leading_zeros() as usize)
}

fn rsa_public(pkcs1: &[u8]) -> Option<PublicKey> {
    let mut fields = Reader::new(pkcs1).sequence()?;
    fields.expect(der::INTEGER)?;
    let (modulus, exponent) = (fields.expect(der::INTEGER)?, fields.expect(der::INTEGER)?);
    Some(PublicKey::Rsa(der::sequence(&[modulus.whole, exponent.whole])))
}

/// `curve` is what PKCS#8 says outside; SEC1 says it inside.
fn ec_public(sec1: &[u8], curve: Option<&[u8]>) -> Option<PublicKey> {
    const CURVE: u8 = 0xa0;
    const POINT: u8 = 0xa1;
    let mut fields = Reader::new(sec1).sequence()?;
    fields.expect(der::INTEGER)?;
    let scalar = fields.expect(der::OCTET_STRING)?.content;
    let inner_curve = fields.expect(CURVE).map(|element| element.content);
    let curve = inner_curve.or(curve)?;
    let point = match fields.expect(POINT) {
        Some(element) => Reader::new(element.content)
            .expect(der::BIT_STRING)?
            .content
            .get(1..)?
            .to_vec(),
        None => point_of(curve, scalar)?,
    };
    Some(PublicKey::Ec {
        curve: curve.to_vec(),
        point,
    })
}

/// Keys without their public point (Java writes them) are completed here.
fn point_of(curve: &[u8], scalar: &[u8]) -> Option<Vec<u8>> {
    let algorithm: &'static EcdsaSigningAlgorithm = if is(curve, P256) {
        &ECDSA_P256_SHA256_ASN1_SIGNING
    } else if is(curve, P384) {
        &ECDSA_P384_SHA384_ASN1_SIGNING
    } else if is(curve, P521) {
        &ECDSA_P521_SHA512_ASN1_SIGNING
    } else {
        return None;
    };
    let version = der::unsigned_integer(&[1]);
    let sec1 = Zeroizing::new(der::sequence(&[
        &version,
        &der::element(der::OCTET_STRING, scalar),
        &der::element(0xa0, curve),
    ]));
    let pair = EcdsaKeyPair::from_private_key_der(algorithm, &sec1).ok()?;
    Some(pair.public_key().as_ref().to_vec())
}

fn pkcs8_public(pkcs8: &[u8]) -> Option<PublicKey> {
    let parts = Pkcs8Parts::read(pkcs8)?;
    if is(parts.algorithm, RSA) || is(parts.algorithm, RSA_PSS) {
        rsa_public(parts.key)
    } else if is(parts.algorithm, EC) {
        ec_public(parts.key, parts.parameters)
    } else if is(parts.algorithm, ED25519) {
        let seed = Reader::new(parts.key).expect(der::OCTET_STRING)?.content;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        Some(PublicKey::Ed25519(pair.public_key().as_ref().to_vec()))
    } else {
        None
    }
}

/// The parts of an unencrypted PKCS#8 key.
pub(crate) struct Pkcs8Parts<'a> {
    pub(crate) algorithm: &'a [u8],
    pub(crate) parameters: Option<&'a [u8]>,
    pub(crate) key: &'a [u8],
}

impl<'a> Pkcs8Parts<'a> {
    pub(crate) fn read(pkcs8: &'a [u8]) -> Option<Self> {
        let mut fields = Reader::new(pkcs8).sequence()?;
        fields.expect(der::INTEGER)?;
        let mut algorithm = fields.sequence()?;
        let identifier = algorithm.expect(der::OBJECT_IDENTIFIER)?.whole;
        let parameters = algorithm.any().map(|element| element.whole);
        let key = fields.expect(der::OCTET_STRING)?.content;
        Some(Self {
            algorithm: identifier,
            parameters,
            key,
        })
    }

    pub(crate) fn is_rsa(&self) -> bool {
        is(self.algorithm, RSA)
    }

    pub(crate) fn is_ec(&self) -> bool {
        is(self.algorithm, EC)
    }
}

/// The key as PKCS#8, whichever form it has; `None` for a SEC1 key that does not name its curve.
pub fn to_pkcs8(key: &PrivateKeyDer<'_>) -> Option<PrivatePkcs8KeyDer<'static>> {
    let oid = |dotted| der::object_identifier(dotted).expect("a constant");
    let (algorithm, inner) = match key {
        PrivateKeyDer::Pkcs8(key) => return Some(PrivatePkcs8KeyDer::from(key.secret_pkcs8_der().to_vec())),
        PrivateKeyDer::Pkcs1(key) => (der::sequence(&[&oid(RSA), &[5, 0]]), key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => {
            let PublicKey::Ec { curve, .. } = ec_public(key.secret_sec1_der(), None)? else {
                return None;
            };
            (der::sequence(&[&oid(EC), &curve]), key.secret_sec1_der())
        }
        _ => return None,
    };
    let inner = Zeroizing::new(der::element(der::OCTET_STRING, inner));
    Some(PrivatePkcs8KeyDer::from(der::sequence(&[
        &der::unsigned_integer(&[0]),
        &algorithm,
        &inner,
    ])))
}
