//! Certificate requests (PKCS#10): built by whoever holds the key, checked by whoever signs.

use std::net::IpAddr;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use certs::{PublicKey, der, parse_pem, write_pem};

use crate::encode;
use crate::error::PkiError;
use crate::key::SigningKey;
use crate::name::DistinguishedName;
use crate::request::{KeyUsage, Usages};

/// What a request asks for.
#[derive(Clone, Debug)]
pub struct CsrRequest {
    /// The subject.
    pub dn: DistinguishedName,
    /// Host names.
    pub dns: Vec<String>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
    /// `otherName` entries of type common name.
    pub other_names: Vec<String>,
    /// Key usage; empty leaves it to the signer.
    pub key_usages: Vec<KeyUsage>,
    /// Extended key usage.
    pub usages: Usages,
}

/// A certificate request whose signature is known to be right.
#[derive(Clone, Debug)]
pub struct Csr {
    der: Vec<u8>,
    subject: Vec<u8>,
    spki: Vec<u8>,
}

const MAX_BYTES: usize = 64 << 10;
const EXTENSION_REQUEST: &str = "1.2.840.113549.1.9.14";

impl Csr {
    /// Builds and signs a request.
    pub fn build(request: &CsrRequest, key: &SigningKey) -> Result<Self, PkiError> {
        let mut extensions = Vec::new();
        extensions.extend(encode::subject_alt_name(
            &request.ips,
            &request.dns,
            &request.other_names,
        )?);
        extensions.extend(encode::key_usage(&request.key_usages));
        extensions.extend(encode::extended_key_usage(request.usages));
        let (subject, spki) = (request.dn.to_der(), key.public().to_spki());
        let attributes = der::element(0xa0, &extension_request(&extensions));
        let info = der::sequence(&[&der::unsigned_integer(&[0]), &subject, &spki, &attributes]);
        Ok(Self {
            der: key.sign_element(&info)?,
            subject,
            spki,
        })
    }

    /// Reads a request, PEM or DER, and checks its signature: whoever made it has the key.
    pub fn parse(bytes: &[u8]) -> Result<Self, PkiError> {
        let damaged = || PkiError::Request {
            reason: "it is neither PEM nor DER of a request".to_owned(),
        };
        if bytes.len() > MAX_BYTES {
            return Err(PkiError::Request {
                reason: "it is longer than 64 KiB".to_owned(),
            });
        }
        let block = parse_pem(bytes)
            .into_iter()
            .find(|block| block.label.ends_with("CERTIFICATE REQUEST"));
        let request = block.as_ref().map_or(bytes, |block| &block.der);
        let (csr, signed) = Self::take_apart(request).ok_or_else(damaged)?;
        signed.verify(&csr.spki)?;
        Ok(csr)
    }

    fn take_apart(request: &[u8]) -> Option<(Self, Signed<'_>)> {
        let mut outer = der::Reader::new(request);
        let whole = outer.expect(der::SEQUENCE)?;
        if !outer.is_empty() {
            return None;
        }
        let mut fields = der::Reader::new(whole.content);
        let info = fields.expect(der::SEQUENCE)?;
        let algorithm = fields.sequence()?.expect(der::OBJECT_IDENTIFIER)?.whole;
        let signature = fields.expect(der::BIT_STRING)?.content.get(1..)?;
        let mut inner = der::Reader::new(info.content);
        inner.expect(der::INTEGER)?;
        let subject = inner.expect(der::SEQUENCE)?.whole.to_vec();
        let spki = inner.expect(der::SEQUENCE)?.whole.to_vec();
        Some((
            Self {
                der: request.to_vec(),
                subject,
                spki,
            },
            Signed {
                content: info.whole,
                algorithm,
                signature,
            },
        ))
    }

    /// The request.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The request as PEM.
    pub fn pem(&self) -> String {
        write_pem("CERTIFICATE REQUEST", &self.der)
    }

    /// The SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The subject's DER, as asked for.
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// The public key.
    pub fn public_key(&self) -> Option<PublicKey> {
        PublicKey::from_spki(&self.spki)
    }
}

fn extension_request(extensions: &[Vec<u8>]) -> Vec<u8> {
    if extensions.is_empty() {
        return Vec::new();
    }
    let kind = der::object_identifier(EXTENSION_REQUEST).expect("a constant");
    let values = der::element(der::SET, &der::element(der::SEQUENCE, &extensions.concat()));
    der::sequence(&[&kind, &values])
}

struct Signed<'a> {
    content: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl Signed<'_> {
    fn verify(&self, spki: &[u8]) -> Result<(), PkiError> {
        let refuse = |reason: &str| PkiError::Request {
            reason: reason.to_owned(),
        };
        let public = PublicKey::from_spki(spki).ok_or_else(|| refuse("its key cannot be read"))?;
        let algorithm = self
            .algorithm(&public)
            .ok_or_else(|| refuse("its signature algorithm is not supported"))?;
        let bits = match &public {
            PublicKey::Rsa(bits) | PublicKey::Ed25519(bits) => bits,
            PublicKey::Ec { point, .. } => point,
            PublicKey::Other { .. } => return Err(refuse("its kind of key is not supported")),
        };
        let verified = UnparsedPublicKey::new(algorithm, bits).verify(self.content, self.signature);
        verified.map_err(|_| refuse("its signature is wrong"))
    }

    fn algorithm(&self, public: &PublicKey) -> Option<&'static dyn VerificationAlgorithm> {
        let known: [(&str, &str, &'static dyn VerificationAlgorithm); 10] = [
            ("RSA", "1.2.840.113549.1.1.11", &signature::RSA_PKCS1_2048_8192_SHA256),
            ("RSA", "1.2.840.113549.1.1.12", &signature::RSA_PKCS1_2048_8192_SHA384),
            ("RSA", "1.2.840.113549.1.1.13", &signature::RSA_PKCS1_2048_8192_SHA512),
            ("ECDSA P-256", "1.2.840.10045.4.3.2", &signature::ECDSA_P256_SHA256_ASN1),
            ("ECDSA P-256", "1.2.840.10045.4.3.3", &signature::ECDSA_P256_SHA384_ASN1),
            ("ECDSA P-384", "1.2.840.10045.4.3.2", &signature::ECDSA_P384_SHA256_ASN1),
            ("ECDSA P-384", "1.2.840.10045.4.3.3", &signature::ECDSA_P384_SHA384_ASN1),
            ("ECDSA P-521", "1.2.840.10045.4.3.2", &signature::ECDSA_P521_SHA256_ASN1),
            ("ECDSA P-521", "1.2.840.10045.4.3.4", &signature::ECDSA_P521_SHA512_ASN1),
            ("Ed25519", "1.3.101.112", &signature::ED25519),
        ];
        let name = public.name();
        known
            .into_iter()
            .find(|(kind, dotted, _)| {
                name.starts_with(kind) && der::object_identifier(dotted).as_deref() == Some(self.algorithm)
            })
            .map(|(_, _, algorithm)| algorithm)
    }
}
