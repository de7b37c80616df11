//! Detached OpenPGP signatures of packages.
//!
//! Read are signatures and keys of version 4 with RSA or Ed25519 and SHA-2, which is what GnuPG makes by default; all
//! else is refused by name. Every key of a file that the user named is trusted as it is: to stop trusting one, take it out
//! of the file. Cryptography is aws-lc's; here is only the reading. Source of the formats: RFC 9580 (and RFC 4880).

use std::io::Read;

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature::{
    ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaParameters,
    UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use camino::Utf8Path;

const SIGNATURE: u8 = 2;
const PUBLIC_KEY: u8 = 6;
const PUBLIC_SUBKEY: u8 = 14;
/// OID 1.3.6.1.4.1.11591.15.1.
const ED25519_OID: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];

/// Why a signature does not count.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// Nobody is trusted.
    #[error("no key is known that may sign; name its file with `--pgp-path`, or pass `--skip-verify` to do without")]
    NoKey,
    /// Not what it should be.
    #[error("{0} is damaged")]
    Damaged(&'static str),
    /// A kind that is not read.
    #[error("{0} is not supported; sign with RSA (2048 bits or more) or Ed25519, and SHA-256 or longer")]
    Unsupported(String),
    /// Not made by a known key over these bytes.
    #[error("it was not made by a known key over this file")]
    Wrong,
    /// The file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Keys that may sign.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<Key>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Key {
    /// PKCS#1 DER, and the length of the modulus in bytes.
    Rsa {
        der: Vec<u8>,
        modulus: usize,
    },
    Ed25519(Vec<u8>),
}

impl Keys {
    /// Adds the keys of a file, armoured or not.
    ///
    /// # Errors
    /// It holds none that can be used.
    pub fn add(&mut self, file: &[u8]) -> Result<(), SignatureError> {
        let before = self.0.len();
        for (tag, body) in packets(&dearmoured(file, "the key")?, "the key")? {
            if tag == PUBLIC_KEY || tag == PUBLIC_SUBKEY {
                self.0.extend(key(body)?);
            }
        }
        if self.0.len() == before {
            return Err(SignatureError::Unsupported("every key of the file".to_owned()));
        }
        Ok(())
    }

    /// Whether a known key made `signature` over the file.
    ///
    /// # Errors
    /// It did not; see [`SignatureError`].
    pub fn verify(&self, file: &Utf8Path, signature: &str) -> Result<(), SignatureError> {
        if self.0.is_empty() {
            return Err(SignatureError::NoKey);
        }
        let bytes = dearmoured(signature.as_bytes(), "the signature")?;
        let mut last = SignatureError::Damaged("the signature");
        for (tag, body) in packets(&bytes, "the signature")? {
            if tag != SIGNATURE {
                continue;
            }
            match Signature::read(body).and_then(|signature| self.check(file, &signature)) {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn check(&self, file: &Utf8Path, signature: &Signature<'_>) -> Result<(), SignatureError> {
        let digest = signature.digest(file)?;
        let made = self.0.iter().any(|key| signature.is_made_by(key, &digest));
        if made { Ok(()) } else { Err(SignatureError::Wrong) }
    }
}

struct Signature<'a> {
    algorithm: u8,
    hash: u8,
    /// What is hashed behind the file.
    hashed: &'a [u8],
    /// The signature's numbers.
    numbers: &'a [u8],
}

impl<'a> Signature<'a> {
    fn read(body: &'a [u8]) -> Result<Self, SignatureError> {
        let damaged = || SignatureError::Damaged("the signature");
        let [version, kind, algorithm, hash, ..] = *body else {
            return Err(damaged());
        };
        if version != 4 || kind != 0 {
            return Err(SignatureError::Unsupported(format!(
                "a signature of version {version} and type {kind}"
            )));
        }
        let hashed_end = 6 + usize::from(u16_at(body, 4).ok_or_else(damaged)?);
        let unhashed_end = hashed_end + 2 + usize::from(u16_at(body, hashed_end).ok_or_else(damaged)?);
        Ok(Self {
            algorithm,
            hash,
            hashed: body.get(..hashed_end).ok_or_else(damaged)?,
            // Two bytes of the hash stand before the numbers.
            numbers: body.get(unhashed_end + 2..).ok_or_else(damaged)?,
        })
    }

    fn digest(&self, file: &Utf8Path) -> Result<Digest, SignatureError> {
        let algorithm = match self.hash {
            8 => &digest::SHA256,
            9 => &digest::SHA384,
            10 => &digest::SHA512,
            other => return Err(SignatureError::Unsupported(format!("hash {other} of the signature"))),
        };
        let mut context = digest::Context::new(algorithm);
        let mut file = fs_err::File::open(file)?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => context.update(&buffer[..read]),
            }
        }
        context.update(self.hashed);
        context.update(&[4, 0xff]);
        context.update(&(self.hashed.len() as u32).to_be_bytes());
        Ok(context.finish())
    }

    fn is_made_by(&self, key: &Key, digest: &Digest) -> bool {
        match (key, self.algorithm) {
            (Key::Rsa { der, modulus }, 1 | 3) => {
                let parameters: &'static RsaParameters = match self.hash {
                    8 => &RSA_PKCS1_2048_8192_SHA256,
                    9 => &RSA_PKCS1_2048_8192_SHA384,
                    _ => &RSA_PKCS1_2048_8192_SHA512,
                };
                let Some((number, _)) = mpi(self.numbers) else {
                    return false;
                };
                let Some(signature) = padded(number, *modulus) else {
                    return false;
                };
                UnparsedPublicKey::new(parameters, der)
                    .verify_digest(digest, &signature)
                    .is_ok()
            }
            (Key::Ed25519(key), 22 | 27) => {
                let Some(signature) = self.ed25519() else { return false };
                // OpenPGP signs the hash, not the message.
                UnparsedPublicKey::new(&ED25519, key)
                    .verify(digest.as_ref(), &signature)
                    .is_ok()
            }
            _ => false,
        }
    }

    fn ed25519(&self) -> Option<Vec<u8>> {
        if self.algorithm == 27 {
            return self.numbers.get(..64).map(<[u8]>::to_vec);
        }
        let (r, rest) = mpi(self.numbers)?;
        let (s, _) = mpi(rest)?;
        let mut signature = padded(r, 32)?;
        signature.extend(padded(s, 32)?);
        Some(signature)
    }
}

/// The key of a packet; `None` when it is of a kind that cannot sign here.
fn key(body: &[u8]) -> Result<Option<Key>, SignatureError> {
    let damaged = || SignatureError::Damaged("the key");
    let (Some(4), Some(algorithm), Some(rest)) = (body.first(), body.get(5), body.get(6..)) else {
        return Ok(None);
    };
    match algorithm {
        1 | 3 => {
            let (modulus, rest) = mpi(rest).ok_or_else(damaged)?;
            let (exponent, _) = mpi(rest).ok_or_else(damaged)?;
            let numbers = [der(2, &unsigned(modulus)), der(2, &unsigned(exponent))].concat();
            Ok(Some(Key::Rsa {
                der: der(0x30, &numbers),
                modulus: modulus.len(),
            }))
        }
        22 => {
            let length = usize::from(*rest.first().ok_or_else(damaged)?);
            let oid = rest.get(1..=length).ok_or_else(damaged)?;
            let (point, _) = mpi(&rest[1 + length..]).ok_or_else(damaged)?;
            let is_ed25519 = oid == ED25519_OID && point.len() == 33 && point[0] == 0x40;
            Ok(is_ed25519.then(|| Key::Ed25519(point[1..].to_vec())))
        }
        27 => Ok(Some(Key::Ed25519(rest.get(..32).ok_or_else(damaged)?.to_vec()))),
        _ => Ok(None),
    }
}

/// One DER value.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut value = vec![tag];
    if length < 128 {
        value.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        value.push(0x80 | significant.len() as u8);
        value.extend(significant);
    }
    value.extend(content);
    value
}

/// A number whose first bit is not a sign.
fn unsigned(number: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(number.len() + 1);
    if number.first().is_none_or(|first| first & 0x80 != 0) {
        value.push(0);
    }
    value.extend(number);
    value
}

fn padded(number: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut value = vec![0; length.checked_sub(number.len())?];
    value.extend(number);
    Some(value)
}

/// A number with its length in bits before it, and what follows.
fn mpi(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(u16_at(bytes, 0)?).div_ceil(8);
    let rest = bytes.get(2..)?;
    (length <= rest.len()).then(|| rest.split_at(length))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// The packets of a file: tag and body.
fn packets<'a>(mut bytes: &'a [u8], what: &'static str) -> Result<Vec<(u8, &'a [u8])>, SignatureError> {
    let mut packets = Vec::new();
    while !bytes.is_empty() {
        let (tag, body, rest) = packet(bytes).ok_or(SignatureError::Damaged(what))?;
        packets.push((tag, body));
        bytes = rest;
    }
    Ok(packets)
}

/// One packet and what follows it. Bodies without a length of their own do not occur in keys and signatures.
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let first = *bytes.first()?;
    let number = |range: std::ops::Range<usize>| {
        let octets = bytes.get(range)?;
        Some(octets.iter().fold(0usize, |sum, octet| sum << 8 | usize::from(*octet)))
    };
    let (tag, start, length) = match first >> 6 {
        0b11 => match *bytes.get(1)? {
            short @ 0..192 => (first & 0x3f, 2, usize::from(short)),
            long @ 192..224 => (first & 0x3f, 3, ((usize::from(long) - 192) << 8) + number(2..3)? + 192),
            255 => (first & 0x3f, 6, number(2..6)?),
            _ => return None,
        },
        0b10 => {
            let octets = match first & 3 {
                0 => 1,
                1 => 2,
                2 => 4,
                _ => return None,
            };
            ((first >> 2) & 0xf, 1 + octets, number(1..1 + octets)?)
        }
        _ => return None,
    };
    let body = bytes.get(start..start.checked_add(length)?)?;
    Some((tag, body, &bytes[start + length..]))
}

/// The bytes inside an armour; those of a file without one.
fn dearmoured(file: &[u8], what: &'static str) -> Result<Vec<u8>, SignatureError> {
    if file.first().is_some_and(|first| first & 0x80 != 0) {
        return Ok(file.to_vec());
    }
    let damaged = || SignatureError::Damaged(what);
    let text = std::str::from_utf8(file).map_err(|_| damaged())?;
    let mut lines = text.lines().map(str::trim);
    lines
        .find(|line| line.starts_with("-----BEGIN PGP "))
        .ok_or_else(damaged)?;
    let body: String = lines
        .skip_while(|line| !line.is_empty())
        .skip(1)
        .take_while(|line| !line.starts_with('=') && !line.starts_with("-----"))
        .collect();
    let bytes = STANDARD.decode(body).map_err(|_| damaged())?;
    if bytes.is_empty() { Err(damaged()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;
    use testkit::Signer;

    use super::*;

    fn written(signer: &Signer, name: &str, content: &[u8]) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(signer.file(name, content)).unwrap()
    }

    #[test]
    fn signatures_of_gnupg_are_checked() {
        for algorithm in ["ed25519", "rsa2048"] {
            let Some(signer) = Signer::new(algorithm) else { return };
            let file = written(&signer, "package", b"the package");
            let mut keys = Keys::default();
            assert!(matches!(keys.verify(&file, ""), Err(SignatureError::NoKey)));
            keys.add(&signer.gpg(&["--armor", "--export"])).unwrap();
            for hash in ["SHA256", "SHA384", "SHA512"] {
                let signature = signer.sign(file.as_std_path(), &["--digest-algo", hash]);
                keys.verify(&file, &signature).unwrap();
                let other = written(&signer, "other", b"the package, changed");
                assert!(
                    matches!(keys.verify(&other, &signature), Err(SignatureError::Wrong)),
                    "{algorithm}"
                );
            }
            let mut bare = Keys::default();
            bare.add(&signer.gpg(&["--export"])).unwrap();
            assert_eq!(bare.0, keys.0, "armoured or not");
            let stranger = Signer::new(algorithm).unwrap();
            let foreign = stranger.sign(file.as_std_path(), &[]);
            assert!(matches!(keys.verify(&file, &foreign), Err(SignatureError::Wrong)));
        }
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let Some(signer) = Signer::new("ed25519") else { return };
        let file = written(&signer, "package", b"the package");
        let exported = signer.gpg(&["--export"]);
        let signature = dearmoured(signer.sign(file.as_std_path(), &[]).as_bytes(), "").unwrap();
        let mut keys = Keys::default();
        keys.add(&exported).unwrap();
        for end in 0..exported.len() {
            let _refused_or_not = Keys::default().add(&exported[..end]);
        }
        for position in 0..signature.len() {
            let mut damaged = signature.clone();
            damaged[position] ^= 0x55;
            let armoured = format!(
                "-----BEGIN PGP SIGNATURE-----\n\n{}\n-----END PGP SIGNATURE-----\n",
                STANDARD.encode(&damaged)
            );
            // The unhashed part and the two hash bytes are not covered.
            let _refused_or_not = keys.verify(&file, &armoured);
            let cut = STANDARD.encode(&signature[..position]);
            let armoured = format!("-----BEGIN PGP SIGNATURE-----\n\n{cut}\n-----END PGP SIGNATURE-----\n");
            assert!(keys.verify(&file, &armoured).is_err());
        }
        assert!(keys.verify(&file, "no signature").is_err());
    }
}
