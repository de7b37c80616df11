//! The outer form of PKCS#12 bundles: DER, or BER (indefinite lengths, strings in pieces), as Windows, Firefox and older tools write
//! it; integrity by the usual MAC or by PBMAC1, as OpenSSL writes it on request since 3.4.
//!
//! What is inside is read by [`crate::pkcs12_bags`]. Source: RFC 7292, RFC 9579, X.690.

use std::num::NonZeroU32;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use aws_lc_rs::{hmac, pbkdf2};
use secret::Secret;
use zeroize::Zeroizing;

use crate::der::{self, Element, Reader};
use crate::pkcs12::{KeyPurpose, Pkcs12Error, derive};

/// Real bundles nest about fifteen elements.
const MAX_DEPTH: usize = 40;
/// More rounds than this only keep the processor busy.
const MAX_ROUNDS: u32 = 10_000_000;

const ENCRYPTED_DATA: &str = "1.2.840.113549.1.7.6";
const PBMAC1: &str = "1.2.840.113549.1.5.14";
const PBKDF2: &str = "1.2.840.113549.1.5.12";
const CONSTRUCTED_OCTET_STRING: u8 = 0x24;
const EXPLICIT_0: u8 = 0xa0;
const IMPLICIT_0: u8 = 0x80;

/// The AuthenticatedSafe of a bundle in DER, its integrity checked.
pub(crate) fn checked_safes(bytes: &[u8], password: &Secret) -> Result<Vec<u8>, Pkcs12Error> {
    let damaged = || Pkcs12Error::Damaged("it cannot be taken apart".to_owned());
    let (bundle, mac) = Parts::of(bytes).ok_or_else(damaged)?;
    if let Some(mac) = mac {
        mac.verify(&bundle.content, password)?;
    }
    Ok(bundle.content_in_der)
}

/// Whether BER that no DER reader takes is a bundle.
pub(crate) fn is_ber_bundle(bytes: &[u8]) -> bool {
    bytes.starts_with(&[der::SEQUENCE, 0x80]) && Parts::of(bytes).is_some()
}

/// A bundle, its outer layers in DER.
struct Parts {
    /// What the MAC is about, as it was written.
    content: Vec<u8>,
    /// The same in DER.
    content_in_der: Vec<u8>,
}

impl Parts {
    fn of(bytes: &[u8]) -> Option<(Self, Option<Mac>)> {
        let whole = to_der(bytes)?;
        let mut fields = Reader::new(&whole).sequence()?;
        let version = fields.expect(der::INTEGER)?;
        if version.content != [3] {
            return None;
        }
        let mut info = fields.sequence()?;
        info.expect(der::OBJECT_IDENTIFIER)?;
        let content = Reader::new(info.expect(EXPLICIT_0)?.content).expect(der::OCTET_STRING)?;
        let content = content.content.to_vec();
        let mac = match fields.expect(der::SEQUENCE) {
            Some(mac) => Some(Mac::of(mac)?),
            None => None,
        };
        let parts = Self {
            content_in_der: safes_in_der(&content)?,
            content,
        };
        Some((parts, mac))
    }
}

/// The AuthenticatedSafe, down to the plain bags and the ciphertexts.
fn safes_in_der(content: &[u8]) -> Option<Vec<u8>> {
    let whole = to_der(content)?;
    let mut safes = Reader::new(&whole).sequence()?;
    let mut out = Vec::new();
    while let Some(safe) = safes.expect(der::SEQUENCE) {
        out.push(safe_in_der(safe)?);
    }
    safes.is_empty().then(|| der::element(der::SEQUENCE, &out.concat()))
}

fn safe_in_der(safe: Element<'_>) -> Option<Vec<u8>> {
    let mut fields = Reader::new(safe.content);
    let kind = fields.expect(der::OBJECT_IDENTIFIER)?;
    let value = fields.expect(EXPLICIT_0)?.content;
    let value = if is(kind.whole, ENCRYPTED_DATA) {
        encrypted_in_der(value)?
    } else {
        let bags = Reader::new(value).expect(der::OCTET_STRING)?.content;
        der::element(der::OCTET_STRING, &to_der(bags)?)
    };
    Some(der::sequence(&[kind.whole, &der::element(EXPLICIT_0, &value)]))
}

/// The ciphertext may be a string in pieces.
fn encrypted_in_der(value: &[u8]) -> Option<Vec<u8>> {
    let mut fields = Reader::new(value).sequence()?;
    let version = fields.any()?.whole;
    let mut info = fields.sequence()?;
    let (kind, algorithm) = (info.any()?.whole, info.any()?.whole);
    let ciphertext = info.any()?;
    let ciphertext = match ciphertext.tag {
        EXPLICIT_0 => der::element(IMPLICIT_0, &joined(ciphertext.content)?),
        _ => ciphertext.whole.to_vec(),
    };
    Some(der::sequence(&[
        version,
        &der::sequence(&[kind, algorithm, &ciphertext]),
    ]))
}

/// The one element of `bytes` in DER, as far as lengths and pieces of octet strings go.
fn to_der(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = bytes;
    let element = next_in_der(&mut rest, 0)?;
    rest.is_empty().then_some(element)
}

fn next_in_der(rest: &mut &[u8], depth: usize) -> Option<Vec<u8>> {
    let (&tag, after_tag) = rest.split_first()?;
    if tag & 0x1f == 0x1f || depth > MAX_DEPTH {
        return None;
    }
    let constructed = tag & 0x20 != 0;
    if after_tag.first() == Some(&0x80) {
        *rest = &after_tag[1..];
        let mut children = Vec::new();
        while !rest.starts_with(&[0, 0]) {
            children.extend(next_in_der(rest, depth + 1)?);
        }
        *rest = &rest[2..];
        return constructed.then(|| put_together(tag, &children)).flatten();
    }
    let mut reader = Reader::new(rest);
    let element = reader.any()?;
    *rest = &rest[element.whole.len()..];
    if !constructed {
        return Some(der::element(tag, element.content));
    }
    let (mut inner, mut children) = (element.content, Vec::new());
    while !inner.is_empty() {
        children.extend(next_in_der(&mut inner, depth + 1)?);
    }
    put_together(tag, &children)
}

fn put_together(tag: u8, children: &[u8]) -> Option<Vec<u8>> {
    if tag == CONSTRUCTED_OCTET_STRING {
        return Some(der::element(der::OCTET_STRING, &joined(children)?));
    }
    Some(der::element(tag, children))
}

/// The octets of a run of octet strings.
fn joined(children: &[u8]) -> Option<Vec<u8>> {
    let (mut pieces, mut octets) = (Reader::new(children), Vec::new());
    while !pieces.is_empty() {
        octets.extend_from_slice(pieces.expect(der::OCTET_STRING)?.content);
    }
    Some(octets)
}

fn is(identifier: &[u8], dotted: &str) -> bool {
    der::object_identifier(dotted).as_deref() == Some(identifier)
}

/// `MacData`.
struct Mac {
    /// Object identifier and parameters.
    algorithm: Vec<u8>,
    digest: Vec<u8>,
    salt: Vec<u8>,
    rounds: u32,
}

impl Mac {
    fn of(mac: Element<'_>) -> Option<Self> {
        let mut fields = Reader::new(mac.content);
        let mut info = fields.sequence()?;
        Some(Self {
            algorithm: info.expect(der::SEQUENCE)?.content.to_vec(),
            digest: info.expect(der::OCTET_STRING)?.content.to_vec(),
            salt: fields.expect(der::OCTET_STRING)?.content.to_vec(),
            rounds: match fields.expect(der::INTEGER) {
                None => 1,
                Some(rounds) => number(rounds)?,
            },
        })
    }

    fn is_pbmac1(&self) -> bool {
        Reader::new(&self.algorithm)
            .any()
            .is_some_and(|kind| is(kind.whole, PBMAC1))
    }

    fn verify(&self, content: &[u8], password: &Secret) -> Result<(), Pkcs12Error> {
        let key = if self.is_pbmac1() {
            self.key_of_pbmac1(password)
        } else {
            self.usual_key(password)
        };
        let key =
            key.ok_or_else(|| Pkcs12Error::Unsupported("re-export it with `openssl pkcs12 -export`".to_owned()))?;
        hmac::verify(&key, content, &self.digest).map_err(|_| Pkcs12Error::WrongPassword)
    }

    fn usual_key(&self, password: &Secret) -> Option<hmac::Key> {
        let kind = Reader::new(&self.algorithm).any()?.whole;
        let (digest, algorithm) = if is(kind, "1.3.14.3.2.26") {
            (&SHA1_FOR_LEGACY_USE_ONLY, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY)
        } else if is(kind, "2.16.840.1.101.3.4.2.1") {
            (&SHA256, hmac::HMAC_SHA256)
        } else if is(kind, "2.16.840.1.101.3.4.2.2") {
            (&SHA384, hmac::HMAC_SHA384)
        } else if is(kind, "2.16.840.1.101.3.4.2.3") {
            (&SHA512, hmac::HMAC_SHA512)
        } else {
            return None;
        };
        let affordable = (1..=MAX_ROUNDS).contains(&self.rounds);
        let length = digest.output_len();
        let key = affordable.then(|| derive(digest, password, &self.salt, KeyPurpose::Mac, self.rounds, length))?;
        Some(hmac::Key::new(algorithm, &key))
    }

    /// The salt and rounds of `MacData` itself do not count. Source: RFC 9579.
    fn key_of_pbmac1(&self, password: &Secret) -> Option<hmac::Key> {
        let mut algorithm = Reader::new(&self.algorithm);
        algorithm.any()?;
        let mut parameters = algorithm.sequence()?;
        let (mut derivation, mut mac) = (parameters.sequence()?, parameters.sequence()?);
        if !is(derivation.any()?.whole, PBKDF2) {
            return None;
        }
        let mut settings = derivation.sequence()?;
        let salt = settings.expect(der::OCTET_STRING)?.content;
        let rounds = number(settings.expect(der::INTEGER)?).filter(|rounds| *rounds <= MAX_ROUNDS)?;
        let length = number(settings.expect(der::INTEGER)?).filter(|length| (16..=64).contains(length))?;
        let prf = match settings.sequence() {
            None => pbkdf2::PBKDF2_HMAC_SHA1,
            Some(mut prf) => prf_named(prf.any()?.whole)?,
        };
        let mut key = Zeroizing::new(vec![0; usize::try_from(length).ok()?]);
        let rounds = NonZeroU32::new(rounds)?;
        pbkdf2::derive(prf, rounds, salt, password.expose().as_bytes(), &mut key);
        Some(hmac::Key::new(hmac_named(mac.any()?.whole)?, &key))
    }
}

fn number(element: Element<'_>) -> Option<u32> {
    let positive = element.content.first().is_some_and(|first| first & 0x80 == 0);
    let octets = positive.then_some(element.content)?.iter();
    octets
        .copied()
        .try_fold(0_u32, |value, octet| value.checked_mul(256)?.checked_add(octet.into()))
}

const HMAC_SHA1: &str = "1.2.840.113549.2.7";
const HMAC_SHA256: &str = "1.2.840.113549.2.9";
const HMAC_SHA384: &str = "1.2.840.113549.2.10";
const HMAC_SHA512: &str = "1.2.840.113549.2.11";

fn prf_named(kind: &[u8]) -> Option<pbkdf2::Algorithm> {
    let known = [
        (HMAC_SHA1, pbkdf2::PBKDF2_HMAC_SHA1),
        (HMAC_SHA256, pbkdf2::PBKDF2_HMAC_SHA256),
        (HMAC_SHA384, pbkdf2::PBKDF2_HMAC_SHA384),
        (HMAC_SHA512, pbkdf2::PBKDF2_HMAC_SHA512),
    ];
    known
        .into_iter()
        .find(|(dotted, _)| is(kind, dotted))
        .map(|(_, found)| found)
}

fn hmac_named(kind: &[u8]) -> Option<hmac::Algorithm> {
    let known = [
        (HMAC_SHA1, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        (HMAC_SHA256, hmac::HMAC_SHA256),
        (HMAC_SHA384, hmac::HMAC_SHA384),
        (HMAC_SHA512, hmac::HMAC_SHA512),
    ];
    known
        .into_iter()
        .find(|(dotted, _)| is(kind, dotted))
        .map(|(_, found)| found)
}

#[cfg(test)]
mod tests;
