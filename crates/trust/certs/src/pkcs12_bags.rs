//! What is inside a bundle: safes, encrypted or not, and in them bags with keys and certificates. Source: RFC 7292, section 4.
//!
//! Bags of other kinds (CRLs, secrets) are passed over, and so are attributes but for the name and Java's mark of trust.

use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use secret::Secret;

use crate::certificate::is_certificate;
use crate::der::{self, Element, Reader};
use crate::key::Pkcs8Parts;
use crate::pkcs12::{
    ANY_EXTENDED_KEY_USAGE, CERTIFICATE_BAG, DATA, ENCRYPTED_DATA, FRIENDLY_NAME, JAVA_TRUSTED, Pkcs12,
    Pkcs12Certificate, Pkcs12Error, Pkcs12Key, SHROUDED_KEY_BAG, X509_CERTIFICATE,
};
use crate::pkcs12_pbe::Encrypted;

const KEY_BAG: &str = "1.2.840.113549.1.12.10.1.1";
const NESTED_BAGS: &str = "1.2.840.113549.1.12.10.1.6";
/// Nobody nests bags; the format allows it.
const MAX_DEPTH: usize = 4;

const EXPLICIT_0: u8 = 0xa0;
const IMPLICIT_0: u8 = 0x80;
const BMP_STRING: u8 = 0x1e;

/// Reads an AuthenticatedSafe in DER.
pub(crate) fn read_safes(safes: &[u8], password: &Secret) -> Result<Pkcs12, Pkcs12Error> {
    let mut safes = Reader::new(safes).sequence().ok_or_else(damaged)?;
    let mut contents = Contents {
        password,
        found: Pkcs12::default(),
    };
    while let Some(safe) = safes.expect(der::SEQUENCE) {
        contents.safe(safe)?;
    }
    Ok(contents.found)
}

struct Contents<'a> {
    password: &'a Secret,
    found: Pkcs12,
}

impl Contents<'_> {
    fn safe(&mut self, safe: Element<'_>) -> Result<(), Pkcs12Error> {
        let mut fields = Reader::new(safe.content);
        let kind = fields.expect(der::OBJECT_IDENTIFIER).ok_or_else(damaged)?;
        let value = fields.expect(EXPLICIT_0).ok_or_else(damaged)?.content;
        if is(kind.whole, DATA) {
            let bags = Reader::new(value).expect(der::OCTET_STRING).ok_or_else(damaged)?;
            self.bags(bags.content, 0)
        } else if is(kind.whole, ENCRYPTED_DATA) {
            let bags = encrypted_bags(value).ok_or_else(damaged)?.open(self.password)?;
            if Reader::new(&bags).sequence().is_none() {
                // The padding fits a wrong password once in 256 times.
                return Err(Pkcs12Error::WrongPassword);
            }
            self.bags(&bags, 0)
        } else {
            Err(Pkcs12Error::Unsupported(
                "encrypted for the holder of a key; re-export it with `openssl pkcs12 -export`".to_owned(),
            ))
        }
    }

    fn bags(&mut self, bags: &[u8], depth: usize) -> Result<(), Pkcs12Error> {
        let mut bags = Reader::new(bags).sequence().ok_or_else(damaged)?;
        while let Some(bag) = bags.expect(der::SEQUENCE) {
            self.bag(bag, depth)?;
        }
        Ok(())
    }

    fn bag(&mut self, bag: Element<'_>, depth: usize) -> Result<(), Pkcs12Error> {
        let mut fields = Reader::new(bag.content);
        let kind = fields.expect(der::OBJECT_IDENTIFIER).ok_or_else(damaged)?.whole;
        let value = fields.expect(EXPLICIT_0).ok_or_else(damaged)?.content;
        let attributes = Attributes::of(fields.expect(der::SET));
        if is(kind, KEY_BAG) {
            self.key(value, attributes).ok_or_else(damaged)
        } else if is(kind, SHROUDED_KEY_BAG) {
            let key = encrypted_key(value).ok_or_else(damaged)?.open(self.password)?;
            self.key(&key, attributes).ok_or(Pkcs12Error::WrongPassword)
        } else if is(kind, CERTIFICATE_BAG) {
            self.certificate(value, attributes).ok_or_else(damaged)
        } else if is(kind, NESTED_BAGS) && depth < MAX_DEPTH {
            self.bags(value, depth + 1)
        } else {
            Ok(())
        }
    }

    fn key(&mut self, pkcs8: &[u8], attributes: Attributes) -> Option<()> {
        Pkcs8Parts::read(pkcs8)?;
        self.found.keys.push(Pkcs12Key {
            alias: attributes.name,
            key: PrivatePkcs8KeyDer::from(pkcs8.to_vec()).into(),
        });
        Some(())
    }

    fn certificate(&mut self, value: &[u8], attributes: Attributes) -> Option<()> {
        let mut fields = Reader::new(value).sequence()?;
        let kind = fields.expect(der::OBJECT_IDENTIFIER)?;
        if !is(kind.whole, X509_CERTIFICATE) {
            return Some(());
        }
        let octets = Reader::new(fields.expect(EXPLICIT_0)?.content).expect(der::OCTET_STRING)?;
        is_certificate(octets.content).then_some(())?;
        self.found.certificates.push(Pkcs12Certificate {
            alias: attributes.name,
            certificate: CertificateDer::from(octets.content.to_vec()),
            trusted: attributes.trusted,
        });
        Some(())
    }
}

#[derive(Default)]
struct Attributes {
    name: Option<String>,
    trusted: bool,
}

impl Attributes {
    /// What cannot be read says nothing.
    fn of(set: Option<Element<'_>>) -> Self {
        let mut found = Self::default();
        let mut attributes = Reader::new(set.map_or(&[], |set| set.content));
        while let Some(attribute) = attributes.expect(der::SEQUENCE) {
            let mut fields = Reader::new(attribute.content);
            let (Some(kind), Some(values)) = (fields.expect(der::OBJECT_IDENTIFIER), fields.expect(der::SET)) else {
                continue;
            };
            let Some(value) = Reader::new(values.content).any() else {
                continue;
            };
            if is(kind.whole, FRIENDLY_NAME) && value.tag == BMP_STRING {
                found.name = utf16(value.content);
            } else if is(kind.whole, JAVA_TRUSTED) {
                found.trusted = is(value.whole, ANY_EXTENDED_KEY_USAGE);
            }
        }
        found
    }
}

fn utf16(octets: &[u8]) -> Option<String> {
    let units: Vec<u16> = octets
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .collect();
    String::from_utf16(&units).ok()
}

fn encrypted_bags(value: &[u8]) -> Option<Encrypted<'_>> {
    let mut data = Reader::new(value).sequence()?;
    data.expect(der::INTEGER)?;
    let mut info = data.sequence()?;
    info.expect(der::OBJECT_IDENTIFIER)?;
    Some(Encrypted {
        algorithm: info.expect(der::SEQUENCE)?,
        data: info.expect(IMPLICIT_0)?.content,
    })
}

fn encrypted_key(value: &[u8]) -> Option<Encrypted<'_>> {
    let mut key = Reader::new(value).sequence()?;
    Some(Encrypted {
        algorithm: key.expect(der::SEQUENCE)?,
        data: key.expect(der::OCTET_STRING)?.content,
    })
}

fn damaged() -> Pkcs12Error {
    Pkcs12Error::Damaged("its bags cannot be taken apart".to_owned())
}

fn is(identifier: &[u8], dotted: &str) -> bool {
    der::object_identifier(dotted).as_deref() == Some(identifier)
}
