//! The encryptions inside bundles: PBES2, and those that PKCS#12 defines itself (a key derived with SHA-1, then 3DES or RC2). RC4
//! and single DES are not read.
//!
//! Each sets a bound to the work that a bundle may ask for. Source: RFC 7292, appendix C.

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit};
use des::{TdesEde2, TdesEde3};
use rc2::Rc2;
use secret::Secret;
use zeroize::Zeroizing;

use crate::der::{self, Element, Reader};
use crate::encrypted_key::{PBES2, decrypt_pbes2, scheme_name};
use crate::key::KeyUnusable;
use crate::pkcs12::{KeyPurpose, Pkcs12Error, derive_sha1};

/// More rounds than this only keep the processor busy.
const MAX_ROUNDS: u32 = 10_000_000;

/// One of the encryptions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scheme {
    TripleDes,
    TwoKeyTripleDes,
    Rc2With128Bits,
    Rc2With40Bits,
}

impl Scheme {
    const ALL: [(&'static str, Self); 4] = [
        ("1.2.840.113549.1.12.1.3", Self::TripleDes),
        ("1.2.840.113549.1.12.1.4", Self::TwoKeyTripleDes),
        ("1.2.840.113549.1.12.1.5", Self::Rc2With128Bits),
        ("1.2.840.113549.1.12.1.6", Self::Rc2With40Bits),
    ];

    /// From the object identifier, whole.
    pub(crate) fn of(identifier: &[u8]) -> Option<Self> {
        let mut known = Self::ALL.iter();
        let found = known.find(|(dotted, _)| is(identifier, dotted));
        found.map(|(_, scheme)| *scheme)
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
            Self::Rc2With40Bits => decrypt_cbc::<Rc2>(&key(5), &iv, data),
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

/// Something encrypted.
pub(crate) struct Encrypted<'a> {
    pub(crate) algorithm: Element<'a>,
    pub(crate) data: &'a [u8],
}

impl Encrypted<'_> {
    pub(crate) fn open(self, password: &Secret) -> Result<Zeroizing<Vec<u8>>, Pkcs12Error> {
        let mut fields = Reader::new(self.algorithm.content);
        let identifier = fields.expect(der::OBJECT_IDENTIFIER).ok_or_else(malformed)?;
        let opened = if is(identifier.whole, PBES2) {
            decrypt_pbes2(self.algorithm.whole, self.data, password)
        } else if let Some(scheme) = Scheme::of(identifier.whole) {
            scheme.decrypt(fields.sequence().ok_or_else(malformed)?, self.data, password)
        } else {
            Err(KeyUnusable::Encryption(scheme_name(identifier.content)))
        };
        opened.map_err(|error| match error {
            KeyUnusable::WrongPassphrase => Pkcs12Error::WrongPassword,
            KeyUnusable::Encryption(scheme) => {
                Pkcs12Error::Unsupported(format!("{scheme}; re-export it with `openssl pkcs12 -export`"))
            }
            other => Pkcs12Error::Damaged(other.to_string()),
        })
    }
}

fn malformed() -> Pkcs12Error {
    Pkcs12Error::Damaged("an algorithm in it cannot be read".to_owned())
}

fn is(identifier: &[u8], dotted: &str) -> bool {
    der::object_identifier(dotted).as_deref() == Some(identifier)
}
