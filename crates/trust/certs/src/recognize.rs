//! Tells PEM, DER certificates, DER keys and PKCS#12 apart by what they are, never by a file's name.

use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

use crate::der::{self, Reader};
use crate::pem::{PemBlock, parse_pem};
use crate::pkcs12_form::is_ber_bundle;

/// What a file holds.
pub enum Content {
    /// At least one PEM block.
    Pem(Vec<PemBlock>),
    /// One DER certificate.
    Certificate(Vec<u8>),
    /// One DER key, not encrypted.
    Key(PrivateKeyDer<'static>),
    /// One DER `EncryptedPrivateKeyInfo`.
    EncryptedKey(Vec<u8>),
    /// A PKCS#12 bundle.
    Pkcs12(Vec<u8>),
    /// None of these; the text says what it looks like.
    Other(&'static str),
}

/// Recognises the content of a file.
pub fn recognize(bytes: &[u8]) -> Content {
    let blocks = parse_pem(bytes);
    if !blocks.is_empty() {
        return Content::Pem(blocks);
    }
    recognize_der(bytes).unwrap_or_else(|| Content::Other(describe_unknown(bytes)))
}

fn recognize_der(bytes: &[u8]) -> Option<Content> {
    if is_ber_bundle(bytes) {
        return Some(Content::Pkcs12(bytes.to_vec()));
    }
    let outer = Reader::new(bytes).expect(der::SEQUENCE)?;
    let mut fields = Reader::new(outer.content);
    let (first, second, third) = (fields.any()?, fields.any(), fields.any());
    let second_tag = second.map(|element| element.tag);
    match (first.tag, second_tag) {
        (der::INTEGER, Some(der::SEQUENCE)) if first.content == [3] => Some(Content::Pkcs12(outer.whole.to_vec())),
        (der::INTEGER, _) => private_key(outer.whole).map(Content::Key),
        (der::SEQUENCE, Some(der::OCTET_STRING)) => Some(Content::EncryptedKey(outer.whole.to_vec())),
        (der::SEQUENCE, Some(der::BIT_STRING)) => Some(Content::Other("it is a public key")),
        (der::SEQUENCE, Some(der::SEQUENCE)) if third.is_some_and(|element| element.tag == der::BIT_STRING) => {
            Some(Content::Certificate(outer.whole.to_vec()))
        }
        (der::OBJECT_IDENTIFIER, _) => Some(Content::Other("it is PKCS#7 in DER")),
        _ => None,
    }
}

/// A private key from its DER, whichever of the three forms it has.
pub(crate) fn private_key(der_bytes: &[u8]) -> Option<PrivateKeyDer<'static>> {
    let mut fields = Reader::new(der_bytes).sequence()?;
    let version = fields.expect(der::INTEGER)?;
    let bytes = der_bytes.to_vec();
    match (version.content, fields.any()?.tag) {
        ([0 | 1], der::SEQUENCE) => Some(PrivatePkcs8KeyDer::from(bytes).into()),
        ([0 | 1], der::INTEGER) => Some(PrivatePkcs1KeyDer::from(bytes).into()),
        ([1], der::OCTET_STRING) => Some(PrivateSec1KeyDer::from(bytes).into()),
        _ => None,
    }
}

fn describe_unknown(bytes: &[u8]) -> &'static str {
    const JAVA_KEY_STORE: &[u8] = &[0xfe, 0xed, 0xfe, 0xed];
    let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    if bytes.trim_ascii().is_empty() {
        "it is empty"
    } else if bytes.starts_with(JAVA_KEY_STORE) {
        "it is a Java key store (JKS); convert it with `keytool -importkeystore -deststoretype PKCS12`"
    } else if has(b"-----BEGIN ") && !bytes.trim_ascii().contains(&b'\n') {
        "its PEM lost the line breaks; BEGIN and END must stand on lines of their own"
    } else if has(b"-----BEGIN ") {
        "its PEM block is damaged or has no END line"
    } else if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        "it is a UTF-16 text; save it as UTF-8"
    } else if bytes.first() == Some(&der::SEQUENCE) {
        "it is DER of an unknown kind or damaged"
    } else {
        "it has no BEGIN line"
    }
}
