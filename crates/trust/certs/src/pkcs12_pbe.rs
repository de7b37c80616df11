//! The encryptions that PKCS#12 defines itself: a key derived with SHA-1, then 3DES or RC2. RC4 and single DES are not read.
//!
//! The reader of bundles knows three-key 3DES and RC2 with 40 bits. What is encrypted with the others is opened here, and the bundle
//! handed on with plain content in that place. Source: RFC 7292, appendix C.

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit};
use des::{TdesEde2, TdesEde3};
use rc2::Rc2;
use secret::Secret;
use zeroize::Zeroizing;

use crate::der::{self, Element, Reader};
use crate::key::KeyUnusable;
use crate::pkcs12::{KeyPurpose, Pkcs12Error, derive_sha1};

/// More rounds than this only keep the processor busy.
const MAX_ROUNDS: u32 = 10_000_000;

const DATA: &str = "1.2.840.113549.1.7.1";
const ENCRYPTED_DATA: &str = "1.2.840.113549.1.7.6";
const KEY_BAG: &str = "1.2.840.113549.1.12.10.1.1";
const SHROUDED_KEY_BAG: &str = "1.2.840.113549.1.12.10.1.2";
const EXPLICIT_0: u8 = 0xa0;
const IMPLICIT_0: u8 = 0x80;

/// One of the encryptions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scheme {
    TripleDes,
    TwoKeyTripleDes,
    Rc2With128Bits,
}

impl Scheme {
    const ALL: [(&'static str, Self); 3] = [
        ("1.2.840.113549.1.12.1.3", Self::TripleDes),
        ("1.2.840.113549.1.12.1.4", Self::TwoKeyTripleDes),
        ("1.2.840.113549.1.12.1.5", Self::Rc2With128Bits),
    ];

    /// From the object identifier, whole.
    pub(crate) fn of(identifier: &[u8]) -> Option<Self> {
        let mut known = Self::ALL.iter();
        let found = known.find(|(dotted, _)| is(identifier, dotted));
        found.map(|(_, scheme)| *scheme)
    }

    fn is_known_to_the_reader(self) -> bool {
        self == Self::TripleDes
    }

    /// `parameters` holds salt and rounds.
    pub(crate) fn decrypt(
        self,
        parameters: Reader<'_>,
        data: &[u8],
        passphrase: &Secret,
    ) -> Result<Zeroizing<Vec<u8>>, KeyUnusable> {
        let damaged = || KeyUnusable::Key("its encryption parameters are damaged".to_owned());
        let (salt, rounds) = salt_and_rounds(parameters).ok_or_else(damaged)?;
        let key = |length| derive_sha1(passphrase, salt, KeyPurpose::Encryption, rounds, length);
        let iv = derive_sha1(passphrase, salt, KeyPurpose::Iv, rounds, 8);
        let plain = match self {
            Self::TripleDes => decrypt_cbc::<TdesEde3>(&key(24), &iv, data),
            Self::TwoKeyTripleDes => decrypt_cbc::<TdesEde2>(&key(16), &iv, data),
            Self::Rc2With128Bits => decrypt_cbc::<Rc2>(&key(16), &iv, data),
        };
        plain.ok_or(KeyUnusable::WrongPassphrase)
    }
}

fn salt_and_rounds(mut parameters: Reader<'_>) -> Option<(&[u8], u32)> {
    let salt = parameters.expect(der::OCTET_STRING)?.content;
    let rounds = parameters.expect(der::INTEGER)?.content;
    let rounds = rounds
        .iter()
        .try_fold(0_u32, |value, &octet| value.checked_mul(256)?.checked_add(octet.into()))?;
    (1..=MAX_ROUNDS).contains(&rounds).then_some((salt, rounds))
}

fn decrypt_cbc<C: KeyInit + BlockCipherDecrypt>(key: &[u8], iv: &[u8], data: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = cbc::Decryptor::<C>::new_from_slices(key, iv).ok()?;
    cipher.decrypt_padded_vec::<Pkcs7>(data).ok().map(Zeroizing::new)
}

/// Whether an AuthenticatedSafe in DER names an encryption that the reader of bundles does not know.
pub(crate) fn has_unknown_encryption(safes: &[u8]) -> bool {
    let unknown = Scheme::ALL
        .iter()
        .filter(|(_, scheme)| !scheme.is_known_to_the_reader());
    let mut identifiers = unknown.filter_map(|(dotted, _)| der::object_identifier(dotted));
    identifiers.any(|identifier| safes.windows(identifier.len()).any(|window| window == identifier))
}

/// The AuthenticatedSafe with these encryptions opened.
pub(crate) fn opened(safes: &[u8], password: &Secret) -> Result<Vec<u8>, Pkcs12Error> {
    let mut safes = Reader::new(safes).sequence().ok_or_else(damaged)?;
    let mut out = Vec::new();
    while let Some(safe) = safes.expect(der::SEQUENCE) {
        let bags = match encrypted_bags(safe) {
            Some(encrypted) => Some(encrypted.open(password)?),
            None => plain_bags(safe).map(|bags| Zeroizing::new(bags.to_vec())),
        };
        match bags {
            Some(bags) => out.extend(data_safe(&opened_bags(&bags, password)?)),
            None => out.extend_from_slice(safe.whole),
        }
    }
    Ok(der::element(der::SEQUENCE, &out))
}

fn damaged() -> Pkcs12Error {
    Pkcs12Error::Damaged("its bags cannot be taken apart".to_owned())
}

fn data_safe(bags: &[u8]) -> Vec<u8> {
    let bags = der::element(der::OCTET_STRING, bags);
    der::sequence(&[&oid(DATA), &der::element(EXPLICIT_0, &bags)])
}

/// The bags of a safe that is not encrypted.
fn plain_bags(safe: Element<'_>) -> Option<&[u8]> {
    let mut fields = Reader::new(safe.content);
    let kind = fields.expect(der::OBJECT_IDENTIFIER)?;
    let value = fields.expect(EXPLICIT_0)?;
    let bags = Reader::new(value.content).expect(der::OCTET_STRING)?;
    is(kind.whole, DATA).then_some(bags.content)
}

/// Something encrypted with one of the unknown schemes.
struct Encrypted<'a> {
    scheme: Scheme,
    parameters: Reader<'a>,
    data: &'a [u8],
}

impl<'a> Encrypted<'a> {
    /// `None` for what the reader of bundles opens itself.
    fn of(algorithm: &Element<'a>, data: &'a [u8]) -> Option<Self> {
        let mut fields = Reader::new(algorithm.content);
        let scheme = Scheme::of(fields.expect(der::OBJECT_IDENTIFIER)?.whole)?;
        (!scheme.is_known_to_the_reader()).then_some(Self {
            scheme,
            parameters: fields.sequence()?,
            data,
        })
    }

    fn open(self, password: &Secret) -> Result<Zeroizing<Vec<u8>>, Pkcs12Error> {
        let opened = self.scheme.decrypt(self.parameters, self.data, password);
        opened.map_err(|error| match error {
            KeyUnusable::WrongPassphrase => Pkcs12Error::WrongPassword,
            other => Pkcs12Error::Damaged(other.to_string()),
        })
    }
}

fn encrypted_bags(safe: Element<'_>) -> Option<Encrypted<'_>> {
    let mut fields = Reader::new(safe.content);
    let kind = fields.expect(der::OBJECT_IDENTIFIER)?;
    if !is(kind.whole, ENCRYPTED_DATA) {
        return None;
    }
    let mut data = Reader::new(fields.expect(EXPLICIT_0)?.content).sequence()?;
    data.expect(der::INTEGER)?;
    let mut info = data.sequence()?;
    info.expect(der::OBJECT_IDENTIFIER)?;
    let algorithm = info.expect(der::SEQUENCE)?;
    Encrypted::of(&algorithm, info.expect(IMPLICIT_0)?.content)
}

fn opened_bags(bags: &[u8], password: &Secret) -> Result<Vec<u8>, Pkcs12Error> {
    let mut bags = Reader::new(bags).sequence().ok_or_else(damaged)?;
    let mut out = Vec::new();
    while let Some(bag) = bags.expect(der::SEQUENCE) {
        match encrypted_key(bag) {
            Some((encrypted, attributes)) => {
                let key = encrypted.open(password)?;
                let value = der::element(EXPLICIT_0, &key);
                out.extend(der::sequence(&[&oid(KEY_BAG), &value, attributes]));
            }
            None => out.extend_from_slice(bag.whole),
        }
    }
    Ok(der::element(der::SEQUENCE, &out))
}

/// The key of a bag, and the bag's attributes.
fn encrypted_key(bag: Element<'_>) -> Option<(Encrypted<'_>, &[u8])> {
    let mut fields = Reader::new(bag.content);
    let kind = fields.expect(der::OBJECT_IDENTIFIER)?;
    if !is(kind.whole, SHROUDED_KEY_BAG) {
        return None;
    }
    let mut key = Reader::new(fields.expect(EXPLICIT_0)?.content).sequence()?;
    let algorithm = key.expect(der::SEQUENCE)?;
    let encrypted = Encrypted::of(&algorithm, key.expect(der::OCTET_STRING)?.content)?;
    let attributes = fields.expect(der::SET).map_or(&[][..], |attributes| attributes.whole);
    Some((encrypted, attributes))
}

fn oid(dotted: &str) -> Vec<u8> {
    der::object_identifier(dotted).expect("a constant")
}

fn is(identifier: &[u8], dotted: &str) -> bool {
    der::object_identifier(dotted).as_deref() == Some(identifier)
}
