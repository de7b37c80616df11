//! What is written is read back, and nothing that is read can do harm.

use certs::{
    Fingerprint, IdentityNames, KeyFormat, LegacyCipher, P12Identity, PemSource, PrivateKeyDer, decrypt_legacy_pem,
    describe, encrypt_legacy_pem, fingerprint, load_authorities, load_identity, load_key, parse_certificates,
    parse_pem, read_p12, recognize, to_pkcs8, write_p12, write_pem, write_pem_certificates, write_pem_key,
};
use jiff::Timestamp;
use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};
use secret::Secret;

struct Made {
    certificate: certs::CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

fn make(algorithm: &'static rcgen::SignatureAlgorithm) -> Made {
    let key = KeyPair::generate_for(algorithm).expect("a key");
    let certificate = CertificateParams::new(vec!["a.test".to_owned()])
        .expect("a name")
        .self_signed(&key)
        .expect("signed");
    Made {
        certificate: certificate.der().clone(),
        key: PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS#8"),
    }
}

fn every_kind() -> Vec<Made> {
    vec![
        make(&rcgen::PKCS_ECDSA_P256_SHA256),
        make(&rcgen::PKCS_ECDSA_P384_SHA384),
        make(&rcgen::PKCS_ED25519),
    ]
}

fn pkcs8(key: &PrivateKeyDer<'_>) -> Vec<u8> {
    to_pkcs8(key).expect("it has a PKCS#8 form").secret_pkcs8_der().to_vec()
}

fn inline(text: &str) -> PemSource {
    PemSource::Inline(Secret::from(text))
}

#[test]
fn keys_come_back_from_every_format() {
    let passphrase = Secret::from("Abcd1234!");
    for made in every_kind() {
        let formats = [
            KeyFormat::Pkcs8,
            KeyFormat::Pkcs8Encrypted(&passphrase),
            KeyFormat::Traditional,
            KeyFormat::LegacyEncrypted(&passphrase, LegacyCipher::Aes128),
            KeyFormat::LegacyEncrypted(&passphrase, LegacyCipher::TripleDes),
        ];
        for format in formats {
            let text = write_pem_key(&made.key, format).unwrap();
            let source = PemSource::Inline(text);
            let key = load_key(&source, "key", Some(&passphrase)).unwrap();
            let certificate = inline(&write_pem_certificates(std::slice::from_ref(&made.certificate)));
            let identity = load_identity(&certificate, Some(&source), Some(&passphrase), IdentityNames::SSL).unwrap();
            assert!(identity.key_matches());
            // The traditional form of ECDSA names the curve once more, so only the public halves can be compared.
            assert_eq!(
                certs::PublicKey::of_key(&key),
                certs::PublicKey::of_key(&made.key),
                "{format:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pem_holds_any_bytes(der in proptest::collection::vec(any::<u8>(), 0..400), before in "[a-z \n]{0,40}", after in "[a-z \n]{0,40}") {
        let text = format!("{before}\n{}{after}", write_pem("CERTIFICATE", &der));
        let blocks = parse_pem(text.as_bytes());
        prop_assert_eq!(blocks.len(), 1);
        prop_assert_eq!(&*blocks[0].der, &der);
    }

    #[test]
    fn legacy_encryption_holds_any_bytes(der in proptest::collection::vec(any::<u8>(), 0..400), passphrase in ".{1,20}", cipher in 0_usize..4) {
        let passphrase = Secret::from(passphrase);
        let block = encrypt_legacy_pem("RSA PRIVATE KEY", &der, LegacyCipher::ALL[cipher], &passphrase);
        prop_assert_eq!(&*decrypt_legacy_pem(&block, &passphrase).unwrap(), &der);
    }

    #[test]
    fn fingerprints_are_read_back(octets in any::<[u8; 32]>()) {
        let written = fingerprint(&octets.to_vec().into());
        prop_assert_eq!(written.to_string().parse::<Fingerprint>().unwrap(), written);
        prop_assert_eq!(written.with_colons().parse::<Fingerprint>().unwrap(), written);
    }

    #[test]
    fn any_bytes_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let bytes = bytes.as_slice();
        drop(recognize(bytes));
        drop(parse_certificates(bytes, "test"));
        drop(read_p12(bytes, &Secret::from("")));
        describe(&bytes.to_vec().into());
        if let Ok(text) = std::str::from_utf8(bytes) {
            drop(load_authorities(&inline(text), "test", None));
            drop(text.parse::<Fingerprint>());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn bundles_are_read_back(alias in "[a-z0-9 ]{1,20}", password in "[ -~]{0,20}", kind in 0_usize..3) {
        let (made, ca) = (every_kind().swap_remove(kind), make(&rcgen::PKCS_ECDSA_P256_SHA256));
        let chain = [made.certificate.clone()];
        let entry = P12Identity { alias: &alias, key: &made.key, chain: &chain, created: Timestamp::UNIX_EPOCH };
        let password = Secret::from(password);
        let bytes = write_p12(Some(&entry), &[("ca", &ca.certificate)], &password).unwrap();
        let bundle = read_p12(&bytes, &password).unwrap();
        prop_assert_eq!(bundle.keys.len(), 1);
        prop_assert_eq!(bundle.keys[0].alias.as_deref(), Some(alias.as_str()));
        prop_assert_eq!(pkcs8(&bundle.keys[0].key), pkcs8(&made.key));
        let certificates: Vec<_> = bundle.certificates.iter().map(|entry| (&entry.certificate, entry.trusted)).collect();
        prop_assert_eq!(certificates, vec![(&made.certificate, false), (&ca.certificate, true)]);
        prop_assert!(read_p12(&bytes, &Secret::from("another password")).is_err());
    }

    #[test]
    fn one_wrong_octet_is_harmless(place in any::<prop::sample::Index>(), octet in any::<u8>()) {
        let made = make(&rcgen::PKCS_ECDSA_P256_SHA256);
        let passphrase = Secret::from("p");
        let chain = [made.certificate.clone()];
        let entry = P12Identity { alias: "a", key: &made.key, chain: &chain, created: Timestamp::UNIX_EPOCH };
        let bundle = write_p12(Some(&entry), &[], &passphrase).unwrap();
        let key = write_pem_key(&made.key, KeyFormat::LegacyEncrypted(&passphrase, LegacyCipher::Aes128)).unwrap();
        let encrypted = certs::encrypt_pkcs8(&pkcs8(&made.key), &passphrase, certs::EncryptionCost { rounds: 1 });
        for whole in [bundle, made.certificate.to_vec(), pkcs8(&made.key), key.expose().as_bytes().to_vec(), encrypted] {
            let mut damaged = whole;
            let place = place.index(damaged.len());
            damaged[place] = octet;
            drop(recognize(&damaged));
            drop(read_p12(&damaged, &passphrase));
            drop(parse_certificates(&damaged, "test"));
            drop(certs::decrypt_pkcs8(&damaged, &passphrase));
            describe(&damaged.clone().into());
            drop(load_key(&inline(&String::from_utf8_lossy(&damaged)), "key", Some(&passphrase)));
        }
    }
}
