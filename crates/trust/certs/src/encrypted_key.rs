//! Keys encrypted as PKCS#8 (`ENCRYPTED PRIVATE KEY`): PBES2 of every common kind, and PKCS#12's own 3DES scheme.

use pkcs8::der::{Decode, Encode};
use pkcs8::pkcs5;
use pkcs8::pkcs5::pbes2::{self, Kdf};
use secret::Secret;
use zeroize::Zeroizing;

use crate::der::{self, Reader};
use crate::key::KeyUnusable;
use crate::pkcs12_pbe::Scheme;
use crate::write::random;

/// PBKDF2 rounds of the keys that we write.
const ROUNDS: u32 = 100_000;
/// More rounds than this only keep the processor busy.
const MAX_ROUNDS: u32 = 10_000_000;
/// The most memory that a scrypt setting may ask for.
const MAX_SCRYPT_BYTES: u64 = 256 << 20;

pub(crate) const PBES2: &str = "1.2.840.113549.1.5.13";

/// How much work the encryption of a key is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EncryptionCost {
    /// PBKDF2 rounds.
    pub rounds: u32,
}

impl Default for EncryptionCost {
    fn default() -> Self {
        Self { rounds: ROUNDS }
    }
}

/// The PKCS#8 key inside an `EncryptedPrivateKeyInfo`.
///
/// # Errors
/// Wrong passphrase, or a scheme that is not supported.
pub fn decrypt_pkcs8(encrypted: &[u8], passphrase: &Secret) -> Result<Zeroizing<Vec<u8>>, KeyUnusable> {
    let damaged = || KeyUnusable::Key("its encryption parameters are damaged".to_owned());
    let mut outer = Reader::new(encrypted).sequence().ok_or_else(damaged)?;
    let algorithm = outer.expect(der::SEQUENCE).ok_or_else(damaged)?;
    let data = outer.expect(der::OCTET_STRING).ok_or_else(damaged)?.content;
    let mut fields = Reader::new(algorithm.content);
    let scheme = fields.expect(der::OBJECT_IDENTIFIER).ok_or_else(damaged)?;
    let plain = if der::object_identifier(PBES2).as_deref() == Some(scheme.whole) {
        decrypt_pbes2(algorithm.whole, data, passphrase)?
    } else if let Some(Scheme::TripleDes) = Scheme::of(scheme.whole) {
        let parameters = fields.sequence().ok_or_else(damaged)?;
        Scheme::TripleDes.decrypt(parameters, data, passphrase)?
    } else {
        return Err(KeyUnusable::Encryption(scheme_name(scheme.content)));
    };
    // A wrong passphrase passes the padding once in 256 times.
    if crate::recognize::private_key(&plain).is_some() {
        Ok(plain)
    } else {
        Err(KeyUnusable::WrongPassphrase)
    }
}

/// `algorithm` is the whole AlgorithmIdentifier.
pub(crate) fn decrypt_pbes2(
    algorithm: &[u8],
    data: &[u8],
    passphrase: &Secret,
) -> Result<Zeroizing<Vec<u8>>, KeyUnusable> {
    let unsupported = |reason: String| KeyUnusable::Encryption(format!("PBES2: {reason}"));
    let scheme = pkcs5::EncryptionScheme::from_der(algorithm).map_err(|error| unsupported(error.to_string()))?;
    let parameters = scheme.pbes2().ok_or_else(|| unsupported("no parameters".to_owned()))?;
    if !is_affordable(&parameters.kdf) {
        return Err(unsupported(
            "its key derivation has no sensible parameters, or asks for too much work".to_owned(),
        ));
    }
    match parameters.decrypt(passphrase.expose(), data) {
        Ok(plain) => Ok(Zeroizing::new(plain)),
        Err(pkcs5::Error::DecryptFailed) => Err(KeyUnusable::WrongPassphrase),
        Err(error) => Err(unsupported(error.to_string())),
    }
}

fn is_affordable(kdf: &Kdf) -> bool {
    match kdf {
        Kdf::Pbkdf2(pbkdf2) => pbkdf2.iteration_count <= MAX_ROUNDS,
        Kdf::Scrypt(scrypt) => {
            let memory = scrypt
                .cost_parameter
                .saturating_mul(u64::from(scrypt.block_size))
                .saturating_mul(128);
            // The library takes for granted that the cost is a power of two above one.
            let cost = scrypt.cost_parameter;
            cost.is_power_of_two() && cost > 1 && memory <= MAX_SCRYPT_BYTES && scrypt.parallelization <= 16
        }
        _ => false,
    }
}

pub(crate) fn scheme_name(identifier: &[u8]) -> String {
    let known = [
        ("1.2.840.113549.1.5.3", "PBES1 with MD5 and DES"),
        ("1.2.840.113549.1.5.10", "PBES1 with SHA-1 and DES"),
        ("1.2.840.113549.1.12.1.1", "PKCS#12 with RC4-128"),
        ("1.2.840.113549.1.12.1.2", "PKCS#12 with RC4-40"),
        ("1.2.840.113549.1.12.1.4", "PKCS#12 with two-key 3DES"),
        ("1.2.840.113549.1.12.1.5", "PKCS#12 with RC2-128"),
        ("1.2.840.113549.1.12.1.6", "PKCS#12 with RC2-40"),
    ];
    let name = known.iter().find(|(dotted, _)| {
        der::object_identifier(dotted)
            .is_some_and(|whole| Reader::new(&whole).any().map(|e| e.content) == Some(identifier))
    });
    name.map_or_else(
        || format!("scheme with object identifier {}", hex::encode(identifier)),
        |(_, name)| (*name).to_owned(),
    )
}

/// An `EncryptedPrivateKeyInfo`: PBES2, PBKDF2 with HMAC-SHA256, AES-256-CBC.
pub fn encrypt_pkcs8(key: &[u8], passphrase: &Secret, cost: EncryptionCost) -> Vec<u8> {
    let (algorithm, data) = encrypt_pbes2(key, passphrase.expose().as_bytes(), cost.rounds);
    der::sequence(&[&algorithm, &der::element(der::OCTET_STRING, &data)])
}

/// The AlgorithmIdentifier and the encrypted octets.
pub(crate) fn encrypt_pbes2(plain: &[u8], password: &[u8], rounds: u32) -> (Vec<u8>, Vec<u8>) {
    let (mut salt, mut iv) = ([0; 20], [0; 16]);
    random(&mut salt);
    random(&mut iv);
    let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(rounds, &salt, iv)
        .expect("a salt of 20 octets and a positive number of rounds are valid");
    let data = parameters
        .encrypt(password, plain)
        .expect("AES-256-CBC encrypts whatever it is given");
    let algorithm = pkcs5::EncryptionScheme::from(parameters)
        .to_der()
        .expect("valid parameters can be written");
    (algorithm, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encrypted_with_scrypt(cost: u32) -> Vec<u8> {
        let oid = |dotted: &str| der::object_identifier(dotted).unwrap();
        let number = |value: u32| der::unsigned_integer(&value.to_be_bytes());
        let octets = |length: usize| der::element(der::OCTET_STRING, &vec![7; length]);
        let scrypt = der::sequence(&[&octets(8), &number(cost), &number(1), &number(1)]);
        let derivation = der::sequence(&[&oid("1.3.6.1.4.1.11591.4.11"), &scrypt]);
        let cipher = der::sequence(&[&oid("2.16.840.1.101.3.4.1.42"), &octets(16)]);
        let parameters = der::sequence(&[&derivation, &cipher]);
        der::sequence(&[&der::sequence(&[&oid(PBES2), &parameters]), &octets(32)])
    }

    #[test]
    fn only_sensible_costs_are_paid() {
        let open = |cost| decrypt_pkcs8(&encrypted_with_scrypt(cost), &Secret::from("p")).unwrap_err();
        assert_eq!(open(16), KeyUnusable::WrongPassphrase);
        for cost in [0, 1, 3, 1 << 30, u32::MAX] {
            assert!(matches!(open(cost), KeyUnusable::Encryption(_)), "{cost}");
        }
    }
}
