use camino::Utf8Path;

use super::*;
use crate::recognize::{Content, recognize};
use crate::{P12Identity, read_p12, write_p12};

const PASSWORD: &str = "Abcd1234!";

/// A bundle in DER with a key and its certificate.
fn bundle() -> Vec<u8> {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["fleet.test".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let chain = [certificate.der().clone()];
    let private = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let identity = P12Identity {
        alias: "fleet",
        key: &private,
        chain: &chain,
        created: jiff::Timestamp::UNIX_EPOCH,
    };
    write_p12(Some(&identity), &[], &Secret::from(PASSWORD)).unwrap()
}

/// The same element with indefinite lengths, and octet strings in pieces.
fn to_ber(bytes: &[u8]) -> Vec<u8> {
    let (mut reader, mut out) = (Reader::new(bytes), Vec::new());
    while let Some(element) = reader.any() {
        if element.tag == der::OCTET_STRING {
            out.extend([CONSTRUCTED_OCTET_STRING, 0x80]);
            for piece in element.content.chunks(100) {
                out.extend(der::element(der::OCTET_STRING, piece));
            }
            out.extend([0, 0]);
        } else if element.tag & 0x20 != 0 {
            out.extend([element.tag, 0x80]);
            out.extend(to_ber(element.content));
            out.extend([0, 0]);
        } else {
            out.extend_from_slice(element.whole);
        }
    }
    out
}

fn check(bytes: &[u8], password: &str, expected: Result<(usize, usize), Pkcs12Error>) {
    let opened = read_p12(bytes, &Secret::from(password));
    assert_eq!(
        opened.map(|found| (found.keys.len(), found.certificates.len())),
        expected
    );
}

/// With the MAC of `make` over a content in BER as well.
fn sealed(make: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (parts, _) = Parts::of(&bundle()).unwrap();
    let content = to_ber(&parts.content);
    let octets = der::element(der::OCTET_STRING, &content);
    let data = der::object_identifier("1.2.840.113549.1.7.1").unwrap();
    let info = der::sequence(&[&data, &der::element(EXPLICIT_0, &octets)]);
    der::sequence(&[&der::unsigned_integer(&[3]), &info, &make(&content)])
}

fn mac_data(algorithm: &[u8], digest: &[u8], salt: &[u8], rounds: u8) -> Vec<u8> {
    let info = der::sequence(&[algorithm, &der::element(der::OCTET_STRING, digest)]);
    let salt = der::element(der::OCTET_STRING, salt);
    der::sequence(&[&info, &salt, &der::unsigned_integer(&[rounds])])
}

fn algorithm(dotted: &str, parameters: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::object_identifier(dotted).unwrap(), parameters])
}

fn pbmac1(content: &[u8]) -> Vec<u8> {
    let salt = [7; 16];
    let mut key = [0; 32];
    let rounds = NonZeroU32::new(1000).unwrap();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, rounds, &salt, PASSWORD.as_bytes(), &mut key);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), content);
    let settings = der::sequence(&[
        &der::element(der::OCTET_STRING, &salt),
        &der::unsigned_integer(&1000_u32.to_be_bytes()),
        &der::unsigned_integer(&[32]),
        &algorithm(HMAC_SHA512, &[5, 0]),
    ]);
    let parameters = der::sequence(&[&algorithm(PBKDF2, &settings), &algorithm(HMAC_SHA256, &[5, 0])]);
    mac_data(&algorithm(PBMAC1, &parameters), tag.as_ref(), b"NOT USED", 1)
}

fn sha512_mac(content: &[u8]) -> Vec<u8> {
    let salt = [9; 8];
    let key = derive(&SHA512, &Secret::from(PASSWORD), &salt, KeyPurpose::Mac, 2, 64);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, &key), content);
    mac_data(&algorithm("2.16.840.1.101.3.4.2.3", &[5, 0]), tag.as_ref(), &salt, 2)
}

#[test]
fn bundles_in_ber_open_with_their_password_only() {
    let ber = to_ber(&bundle());
    assert!(matches!(recognize(&ber), Content::Pkcs12(_)));
    check(&ber, PASSWORD, Ok((1, 1)));
    check(&ber, "wrong", Err(Pkcs12Error::WrongPassword));
    let mut changed = ber;
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    assert!(read_p12(&changed, &Secret::from(PASSWORD)).is_err());
}

#[test]
fn the_content_may_be_ber_too_and_the_mac_of_any_usual_kind() {
    for make in [pbmac1 as fn(&[u8]) -> Vec<u8>, sha512_mac] {
        let bundle = sealed(make);
        check(&bundle, PASSWORD, Ok((1, 1)));
        check(&to_ber(&bundle), PASSWORD, Ok((1, 1)));
        check(&bundle, "wrong", Err(Pkcs12Error::WrongPassword));
    }
}

#[test]
fn openssl_reads_what_this_test_calls_ber() {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(folder.path()).unwrap().join("ber.p12");
    fs_err::write(&path, to_ber(&sealed(sha512_mac))).unwrap();
    let read = std::process::Command::new("openssl")
        .args([
            "pkcs12",
            "-in",
            path.as_str(),
            "-nodes",
            "-passin",
            &format!("pass:{PASSWORD}"),
        ])
        .output();
    let read = read.unwrap();
    let text = String::from_utf8_lossy(&read.stdout);
    assert!(
        text.contains("BEGIN PRIVATE KEY") && text.contains("BEGIN CERTIFICATE"),
        "{read:?}"
    );
}

#[test]
fn nothing_without_an_end_is_read() {
    for bytes in [
        &[0x30, 0x80][..],
        &[0x30, 0x80, 0, 0],
        &[0x30, 0x80, 2, 1, 3],
        &[4, 0x80, 0, 0],
        &[0x24, 0x80, 2, 1, 3, 0, 0],
        &[0x1f, 0x80, 1],
        &[0x30; 200],
        &[0x30, 0x80].repeat(100),
    ] {
        assert!(Parts::of(bytes).is_none() && !is_ber_bundle(bytes), "{bytes:?}");
    }
}
