//! PKCS#12 bundles: reading those of Java, OpenSSL and older tools, and writing what elasticsearch-certutil writes.
//!
//! Reading is divided into the outer form with its MAC ([`crate::pkcs12_form`]), the bags ([`crate::pkcs12_bags`]) and their encryption
//! ([`crate::pkcs12_pbe`]). Writing is here, since the order of the bags, their aliases and the salt lengths
//! are part of what certutil's users may rely on. Source: bundles of JDK 17, taken apart.

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::hmac;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secret::Secret;
use zeroize::Zeroizing;

use crate::der;
use crate::encrypted_key::encrypt_pbes2;
use crate::key::{KeyOptions, KeyUnusable};
use crate::pkcs12_bags::read_safes;
use crate::pkcs12_form::checked_safes;
use crate::write::{P12Identity, random};

/// What a bundle holds, in its order.
#[derive(Debug, Default)]
pub struct Pkcs12 {
    /// The keys.
    pub keys: Vec<Pkcs12Key>,
    /// All certificates: leaves, chains and trusted ones.
    pub certificates: Vec<Pkcs12Certificate>,
}

/// A key of a bundle.
#[derive(Debug)]
pub struct Pkcs12Key {
    /// The friendly name.
    pub alias: Option<String>,
    /// The key, as PKCS#8.
    pub key: PrivateKeyDer<'static>,
}

/// A certificate of a bundle.
#[derive(Debug)]
pub struct Pkcs12Certificate {
    /// The friendly name.
    pub alias: Option<String>,
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Whether it carries Java's mark of a trusted certificate.
    pub trusted: bool,
}

/// Why a bundle cannot be opened.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Pkcs12Error {
    /// The integrity check fails with this password.
    #[error("the password does not open the PKCS#12 bundle")]
    WrongPassword,
    /// Encrypted in a way that is not supported.
    #[error("the PKCS#12 bundle is encrypted in a way that is not supported: {0}")]
    Unsupported(String),
    /// Not a bundle after all.
    #[error("the PKCS#12 bundle is damaged: {0}")]
    Damaged(String),
}

/// Opens a bundle. A blank password is a password.
pub fn read_p12(bytes: &[u8], password: &Secret) -> Result<Pkcs12, Pkcs12Error> {
    read_safes(&checked_safes(bytes, password)?, password)
}

/// Opens a bundle with the passphrase of the settings, or a blank one.
pub(crate) fn open_p12(bytes: &[u8], options: &KeyOptions<'_>) -> Result<Pkcs12, KeyUnusable> {
    let blank = Secret::from("");
    let passphrase = options.passphrase.filter(|passphrase| !passphrase.is_empty());
    let opened = match (
        passphrase.map(|passphrase| read_p12(bytes, passphrase)),
        read_p12(bytes, &blank),
    ) {
        (Some(Ok(bundle)), _) | (_, Ok(bundle)) => return Ok(bundle),
        (Some(Err(error)), _) | (None, Err(error)) => error,
    };
    Err(match opened {
        Pkcs12Error::WrongPassword if passphrase.is_none() => KeyUnusable::NeedsPassphrase,
        Pkcs12Error::WrongPassword => KeyUnusable::WrongPassphrase,
        Pkcs12Error::Unsupported(_) => KeyUnusable::Encryption(opened.to_string()),
        Pkcs12Error::Damaged(_) => KeyUnusable::Key(opened.to_string()),
    })
}

/// Rounds of both key derivations, as JDK 17 has them.
const ROUNDS: u32 = 10_000;
pub(crate) const DATA: &str = "1.2.840.113549.1.7.1";
pub(crate) const ENCRYPTED_DATA: &str = "1.2.840.113549.1.7.6";
pub(crate) const SHROUDED_KEY_BAG: &str = "1.2.840.113549.1.12.10.1.2";
pub(crate) const CERTIFICATE_BAG: &str = "1.2.840.113549.1.12.10.1.3";
pub(crate) const X509_CERTIFICATE: &str = "1.2.840.113549.1.9.22.1";
pub(crate) const FRIENDLY_NAME: &str = "1.2.840.113549.1.9.20";
const LOCAL_KEY_ID: &str = "1.2.840.113549.1.9.21";
pub(crate) const JAVA_TRUSTED: &str = "2.16.840.1.113894.746875.1.1";
pub(crate) const ANY_EXTENDED_KEY_USAGE: &str = "2.5.29.37.0";
const SHA_256: &str = "2.16.840.1.101.3.4.2.1";

/// A bundle with at most one key: key first, then its chain, then the trusted certificates.
pub(crate) fn encode(
    identity: Option<&P12Identity<'_>>,
    pkcs8: Option<&[u8]>,
    trusted: &[(&str, &CertificateDer<'_>)],
    password: &Secret,
) -> Vec<u8> {
    let secret = password.expose().as_bytes();
    let mut safes = Vec::new();
    let mut certificates = Vec::new();
    if let (Some(identity), Some(pkcs8)) = (identity, pkcs8) {
        let key_id = format!("Time {}", identity.created.as_millisecond());
        let (algorithm, data) = encrypt_pbes2(pkcs8, secret, ROUNDS);
        let shrouded = der::sequence(&[&algorithm, &der::element(der::OCTET_STRING, &data)]);
        let key_bag = bag(
            SHROUDED_KEY_BAG,
            &shrouded,
            vec![friendly_name(identity.alias), local_key_id(&key_id)],
        );
        safes.push(content_info(
            DATA,
            &der::element(der::OCTET_STRING, &der::sequence(&[&key_bag])),
        ));
        for (position, certificate) in identity.chain.iter().enumerate() {
            let leaf = vec![friendly_name(identity.alias), local_key_id(&key_id)];
            certificates.push(certificate_bag(
                certificate,
                if position == 0 { leaf } else { Vec::new() },
            ));
        }
    }
    for (alias, certificate) in trusted {
        let mark = attribute(JAVA_TRUSTED, &oid(ANY_EXTENDED_KEY_USAGE));
        certificates.push(certificate_bag(certificate, vec![friendly_name(alias), mark]));
    }
    safes.push(encrypted_safe(&certificates, secret));
    let safes = der::element(der::SEQUENCE, &safes.concat());
    let version = der::unsigned_integer(&[3]);
    let content = content_info(DATA, &der::element(der::OCTET_STRING, &safes));
    der::sequence(&[&version, &content, &mac_data(&safes, password)])
}

fn oid(dotted: &str) -> Vec<u8> {
    der::object_identifier(dotted).expect("a constant")
}

fn content_info(kind: &str, content: &[u8]) -> Vec<u8> {
    der::sequence(&[&oid(kind), &der::element(0xa0, content)])
}

fn bag(kind: &str, value: &[u8], attributes: Vec<Vec<u8>>) -> Vec<u8> {
    let value = der::element(0xa0, value);
    let attributes = if attributes.is_empty() {
        Vec::new()
    } else {
        der::set_of(attributes)
    };
    der::sequence(&[&oid(kind), &value, &attributes])
}

fn certificate_bag(certificate: &CertificateDer<'_>, attributes: Vec<Vec<u8>>) -> Vec<u8> {
    let octets = der::element(0xa0, &der::element(der::OCTET_STRING, certificate));
    bag(
        CERTIFICATE_BAG,
        &der::sequence(&[&oid(X509_CERTIFICATE), &octets]),
        attributes,
    )
}

fn attribute(kind: &str, value: &[u8]) -> Vec<u8> {
    der::sequence(&[&oid(kind), &der::element(der::SET, value)])
}

fn friendly_name(alias: &str) -> Vec<u8> {
    const BMP_STRING: u8 = 0x1e;
    let utf16: Vec<u8> = alias.encode_utf16().flat_map(u16::to_be_bytes).collect();
    attribute(FRIENDLY_NAME, &der::element(BMP_STRING, &utf16))
}

fn local_key_id(id: &str) -> Vec<u8> {
    attribute(LOCAL_KEY_ID, &der::element(der::OCTET_STRING, id.as_bytes()))
}

fn encrypted_safe(bags: &[Vec<u8>], password: &[u8]) -> Vec<u8> {
    let (algorithm, data) = encrypt_pbes2(&der::element(der::SEQUENCE, &bags.concat()), password, ROUNDS);
    let content = der::sequence(&[&oid(DATA), &algorithm, &der::element(0x80, &data)]);
    content_info(
        ENCRYPTED_DATA,
        &der::sequence(&[&der::unsigned_integer(&[0]), &content]),
    )
}

fn mac_data(safes: &[u8], password: &Secret) -> Vec<u8> {
    let mut salt = [0; 20];
    random(&mut salt);
    let key = derive(&SHA256, password, &salt, KeyPurpose::Mac, ROUNDS, 32);
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), safes);
    let algorithm = der::sequence(&[&oid(SHA_256), &[5, 0]]);
    let digest_info = der::sequence(&[&algorithm, &der::element(der::OCTET_STRING, mac.as_ref())]);
    let rounds = der::unsigned_integer(&ROUNDS.to_be_bytes());
    der::sequence(&[&digest_info, &der::element(der::OCTET_STRING, &salt), &rounds])
}

/// What a derived key is for. Source: RFC 7292, appendix B.3.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyPurpose {
    Encryption = 1,
    Iv = 2,
    Mac = 3,
}

/// [`derive`] with SHA-1, for old schemes.
pub(crate) fn derive_sha1(
    password: &Secret,
    salt: &[u8],
    purpose: KeyPurpose,
    rounds: u32,
    length: usize,
) -> Zeroizing<Vec<u8>> {
    derive(&SHA1_FOR_LEGACY_USE_ONLY, password, salt, purpose, rounds, length)
}

/// PKCS#12's own key derivation. Source: RFC 7292, appendix B.2.
pub(crate) fn derive(
    algorithm: &'static Algorithm,
    password: &Secret,
    salt: &[u8],
    purpose: KeyPurpose,
    rounds: u32,
    length: usize,
) -> Zeroizing<Vec<u8>> {
    let block = algorithm.block_len();
    let repeat = |bytes: &[u8]| {
        let whole_blocks = bytes.len().div_ceil(block) * block;
        bytes.iter().copied().cycle().take(whole_blocks).collect::<Vec<u8>>()
    };
    let bmp: Zeroizing<Vec<u8>> = Zeroizing::new(
        password
            .expose()
            .encode_utf16()
            .chain([0])
            .flat_map(u16::to_be_bytes)
            .collect(),
    );
    let mut input = Zeroizing::new([repeat(salt), repeat(&bmp)].concat());
    let mut derived = Zeroizing::new(Vec::with_capacity(length + block));
    loop {
        let mut hash = digest(algorithm, &[&vec![purpose as u8; block][..], &input].concat());
        for _ in 1..rounds {
            hash = digest(algorithm, hash.as_ref());
        }
        derived.extend_from_slice(hash.as_ref());
        if derived.len() >= length {
            derived.truncate(length);
            return derived;
        }
        let addend: Vec<u8> = hash.as_ref().iter().copied().cycle().take(block).collect();
        input.chunks_mut(block).for_each(|block| add_plus_one(block, &addend));
    }
}

/// `block += addend + 1`, big-endian, without the carry out.
fn add_plus_one(block: &mut [u8], addend: &[u8]) {
    let mut carry = 1_u16;
    for (octet, add) in block.iter_mut().zip(addend).rev() {
        let sum = u16::from(*octet) + u16::from(*add) + carry;
        *octet = sum as u8;
        carry = sum >> 8;
    }
}
