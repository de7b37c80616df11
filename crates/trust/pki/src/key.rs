//! Keys that sign: making them, loading them, and their signatures.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use certs::{PublicKey, der, to_pkcs8};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::error::PkiError;
use crate::other_rsa::{self, SmallKey};

/// The kinds of keys that are made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KeyType {
    /// RSA with this many bits, 1024 to 8192; all but 2048, 3072, 4096 and 8192 take long to make.
    Rsa(u32),
    /// ECDSA on P-256.
    #[default]
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// Ed25519.
    Ed25519,
}

/// A private key that can sign certificates and requests.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
    pkcs8: PrivatePkcs8KeyDer<'static>,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    SmallRsa(Box<SmallKey>),
    Ecdsa(Box<EcdsaKeyPair>, &'static str),
    Ed25519(Box<Ed25519KeyPair>),
}

const SHA256_WITH_RSA: &str = "1.2.840.113549.1.1.11";
const ECDSA_WITH_SHA256: &str = "1.2.840.10045.4.3.2";
const ECDSA_WITH_SHA384: &str = "1.2.840.10045.4.3.3";
const ECDSA_WITH_SHA512: &str = "1.2.840.10045.4.3.4";
const ED25519: &str = "1.3.101.112";

impl SigningKey {
    /// A new key. RSA 2048 takes 60 ms on average and 130 ms at times; the others next to nothing.
    pub fn generate(kind: KeyType) -> Result<Self, PkiError> {
        let failed = |_| PkiError::Key {
            reason: "it could not be made".to_owned(),
        };
        let pkcs8 = match kind {
            KeyType::Rsa(bits) => match library_size(bits) {
                Some(size) => {
                    let pair = RsaKeyPair::generate(size).map_err(failed)?;
                    let document = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(failed)?;
                    document.as_ref().to_vec()
                }
                None => other_rsa::generate(bits)?,
            },
            KeyType::EcdsaP256 => generate_ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING)?,
            KeyType::EcdsaP384 => generate_ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING)?,
            KeyType::Ed25519 => Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
                .map_err(failed)?
                .as_ref()
                .to_vec(),
        };
        Self::from_pkcs8(PrivatePkcs8KeyDer::from(pkcs8))
    }

    /// A key that was loaded.
    pub fn from_key(key: &PrivateKeyDer<'_>) -> Result<Self, PkiError> {
        let pkcs8 = to_pkcs8(key).ok_or_else(|| unusable("it does not say which curve it is on"))?;
        Self::from_pkcs8(pkcs8)
    }

    fn from_pkcs8(pkcs8: PrivatePkcs8KeyDer<'static>) -> Result<Self, PkiError> {
        let public =
            PublicKey::of_key(&pkcs8.clone_key().into()).ok_or_else(|| unusable("its kind is not supported"))?;
        let bytes = pkcs8.secret_pkcs8_der();
        let ecdsa = |algorithm, signature| {
            EcdsaKeyPair::from_pkcs8(algorithm, bytes).map(|pair| Pair::Ecdsa(Box::new(pair), signature))
        };
        let pair = match (&public, public.name().as_str()) {
            (PublicKey::Rsa(_), _) if public.rsa_bits().is_some_and(|bits| bits < 2048) => {
                let small =
                    SmallKey::read(&pkcs8).ok_or_else(|| unusable(&format!("{} is too small", public.name())))?;
                Ok(Pair::SmallRsa(Box::new(small)))
            }
            (PublicKey::Rsa(_), _) => RsaKeyPair::from_pkcs8(bytes).map(|pair| Pair::Rsa(Box::new(pair))),
            (PublicKey::Ed25519(_), _) => {
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes).map(|pair| Pair::Ed25519(Box::new(pair)))
            }
            (_, "ECDSA P-256") => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_WITH_SHA256),
            (_, "ECDSA P-384") => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_WITH_SHA384),
            (_, "ECDSA P-521") => ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING, ECDSA_WITH_SHA512),
            (_, name) => return Err(unusable(&format!("{name} is not supported"))),
        };
        let pair = pair.map_err(|rejected| unusable(&format!("{}: {rejected}", public.name())))?;
        Ok(Self { pair, public, pkcs8 })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The key to write or to serve with.
    pub fn to_key(&self) -> PrivateKeyDer<'static> {
        self.pkcs8.clone_key().into()
    }

    /// The AlgorithmIdentifier of this key's signatures.
    pub(crate) fn signature_algorithm(&self) -> Vec<u8> {
        let oid = |dotted| der::object_identifier(dotted).expect("a constant");
        match &self.pair {
            Pair::Rsa(_) | Pair::SmallRsa(_) => der::sequence(&[&oid(SHA256_WITH_RSA), &[5, 0]]),
            Pair::Ecdsa(_, signature) => der::sequence(&[&oid(signature)]),
            Pair::Ed25519(_) => der::sequence(&[&oid(ED25519)]),
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, PkiError> {
        let random = SystemRandom::new();
        let failed = |_| unusable("signing failed");
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            Pair::SmallRsa(key) => key.sign(message).ok_or_else(|| unusable("signing failed")),
            Pair::Ecdsa(pair, _) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }

    /// `content` (a tbsCertificate or the like) with algorithm and signature around it.
    pub(crate) fn sign_element(&self, content: &[u8]) -> Result<Vec<u8>, PkiError> {
        let signature = self.sign(content)?;
        Ok(der::sequence(&[
            content,
            &self.signature_algorithm(),
            &der::bit_string(&signature),
        ]))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.name())
    }
}

fn unusable(reason: &str) -> PkiError {
    PkiError::Key {
        reason: reason.to_owned(),
    }
}

/// The sizes that the cryptographic library makes.
fn library_size(bits: u32) -> Option<KeySize> {
    match bits {
        2048 => Some(KeySize::Rsa2048),
        3072 => Some(KeySize::Rsa3072),
        4096 => Some(KeySize::Rsa4096),
        8192 => Some(KeySize::Rsa8192),
        _ => None,
    }
}

fn generate_ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Result<Vec<u8>, PkiError> {
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new());
    Ok(document
        .map_err(|_| unusable("it could not be made"))?
        .as_ref()
        .to_vec())
}
