//! Files as openssl, Java and people make them, against what the loader says of each.

use crate::support::{Files, has_keytool, openssl, output_of};
use camino::Utf8Path;
use certs::{
    IdentityNames, KeyOptions, LoadError, PemSource, describe, fingerprint, load_authorities, load_certificates,
    load_identity, load_identity_with, load_key, not_an_authority, read_passphrase_file, spki_pin,
};
use secret::Secret;

const PASSPHRASE: &str = "Abcd1234!";

fn source(files: &Files, name: &str) -> PemSource {
    PemSource::Path(files.path(name))
}

fn class<T>(result: Result<T, LoadError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) => {
            let texts = format!("{error} {:?} {error:?}", error.hint());
            assert!(
                !texts.contains(PASSPHRASE) && !texts.contains("MII"),
                "a secret shows: {texts}"
            );
            error.class()
        }
    }
}

#[test]
fn keys_of_every_form_belong_to_their_certificates() {
    let files = Files::with_identities();
    let check = |certificate: &str, key: &str, passphrase: Option<&str>, expected: &str| {
        let passphrase = passphrase.map(Secret::from);
        let (certificate, key) = (source(&files, certificate), source(&files, key));
        let loaded = load_identity(&certificate, Some(&key), passphrase.as_ref(), IdentityNames::SSL);
        assert_eq!(class(loaded), expected, "{certificate} {key}");
    };
    for (certificate, key) in [
        ("rsa.crt", "rsa.key"),
        ("rsa.crt", "rsa_pkcs1.key"),
        ("rsa.crt", "rsa_crlf.key"),
        ("rsa.crt", "rsa.der"),
        ("rsa.crt", "rsa_pkcs1.der"),
        ("rsa.crt", "two.key"),
        ("ec.crt", "ec.key"),
        ("ec.crt", "ec_sec1.key"),
        ("ec.crt", "ec_params.key"),
        ("ec.crt", "ec_no_point.key"),
        ("p384.crt", "p384.key"),
        ("p521.crt", "p521.key"),
        ("ed.crt", "ed.key"),
        ("combo.pem", "combo.pem"),
        ("combo_reversed.pem", "combo_reversed.pem"),
        ("rsa.crt", "rsa_bag.key"),
    ] {
        check(certificate, key, None, "ok");
        check(certificate, key, Some("unused"), "ok");
    }
    for key in [
        "k8_aes256.key",
        "k8_aes192.key",
        "k8_aes128.key",
        "k8_3des.key",
        "k8_sha1.key",
        "k8_sha512.key",
        "k8_scrypt.key",
        "k8_pbe_3des.key",
        "kl_aes128.key",
        "kl_aes192.key",
        "kl_aes256.key",
        "kl_3des.key",
        "k8_aes256.der",
    ] {
        check("rsa.crt", key, Some(PASSPHRASE), "ok");
        check("rsa.crt", key, Some("wrong"), "key_wrong_passphrase");
        check("rsa.crt", key, Some(""), "key_needs_passphrase");
        check("rsa.crt", key, None, "key_needs_passphrase");
    }
    check("ec.crt", "k8_ec.key", Some(PASSPHRASE), "ok");
    check("ec.crt", "kl_ec.key", Some(PASSPHRASE), "ok");
    check("ed.crt", "k8_ed.key", Some(PASSPHRASE), "ok");
    check("p521.crt", "k8_p521.key", Some(PASSPHRASE), "ok");
    check("combo_encrypted.pem", "combo_encrypted.pem", Some(PASSPHRASE), "ok");
    check("rsa.crt", "k8_space.key", Some(" Abcd1234! "), "ok");
    check("rsa.crt", "k8_space.key", Some(PASSPHRASE), "key_wrong_passphrase");
    for (certificate, key, expected) in [
        ("rsa.crt", "other.key", "key_mismatch"),
        ("rsa.crt", "two_reversed.key", "key_mismatch"),
        ("rsa.crt", "ec.key", "key_mismatch"),
        ("chain_reversed.crt", "leaf.key", "key_mismatch"),
        ("rsa.crt", "public.key", "no_key_block"),
        ("rsa.crt", "rsa.crt", "no_key_block"),
        ("rsa.crt", "garbage.pem", "no_pem"),
        ("rsa.crt", "empty.pem", "no_pem"),
        ("rsa.crt", "none.key", "file_unreadable"),
        ("none.crt", "rsa.key", "file_unreadable"),
        ("rsa.key", "rsa.key", "no_certificate_block"),
        ("trusted.crt", "rsa.key", "no_certificate_block"),
        ("truncated.crt", "rsa.key", "no_pem"),
    ] {
        check(certificate, key, None, expected);
    }
    check("rsa.crt", "kl_des.key", Some(PASSPHRASE), "key_encryption_unsupported");
}

#[test]
fn legacy_encryption_is_warned_of_and_may_be_refused() {
    let files = Files::with_identities();
    let passphrase = Secret::from(PASSPHRASE);
    let load = |key: &str, refuse_legacy_pem| {
        let options = KeyOptions {
            passphrase: Some(&passphrase),
            passphrase_setting: "ssl.key_passphrase",
            refuse_legacy_pem,
        };
        load_identity_with(
            &source(&files, "rsa.crt"),
            Some(&source(&files, key)),
            &options,
            IdentityNames::SSL,
        )
    };
    assert_eq!(load("kl_aes128.key", false).unwrap().warnings.len(), 1);
    assert!(load("k8_aes256.key", true).unwrap().warnings.is_empty());
    assert_eq!(class(load("kl_aes128.key", true)), "key_legacy_encryption_disabled");
}

#[test]
fn passphrases_from_files_lose_white_space_at_both_ends_only() {
    let files = Files::with_identities();
    let opens = |content: &[u8]| {
        files.write("pass.txt", content);
        let passphrase = read_passphrase_file(&files.path("pass.txt"), "ssl.key_passphrase_path").unwrap();
        let (certificate, key) = (source(&files, "rsa.crt"), source(&files, "k8_aes256.key"));
        class(load_identity(
            &certificate,
            Some(&key),
            Some(&passphrase),
            IdentityNames::SSL,
        ))
    };
    for content in ["Abcd1234!", "Abcd1234!\n", "Abcd1234!\r\n", "  Abcd1234! "] {
        assert_eq!(opens(content.as_bytes()), "ok", "{content:?}");
    }
    assert_eq!(opens(b"Abcd1234!\nsecond\n"), "key_wrong_passphrase");
    assert_eq!(opens("\u{feff}Abcd1234!".as_bytes()), "key_wrong_passphrase");
    assert_eq!(opens(b"\n"), "key_needs_passphrase");
    let missing = read_passphrase_file(Utf8Path::new("/none"), "ssl.key_passphrase_path");
    assert_eq!(class(missing), "passphrase_file_unreadable");
}

#[test]
fn certificates_are_found_whatever_is_around_them() {
    let files = Files::with_identities();
    let expected = load_certificates(&source(&files, "rsa.crt"), "ssl.certificate").unwrap();
    for name in [
        "text.crt",
        "crlf.crt",
        "bom.crt",
        "indented.crt",
        "trailing.crt",
        "one_line.crt",
        "no_end_of_line.crt",
        "rsa.der.crt",
        "combo.pem",
        "header.crt",
        "bag.crt",
    ] {
        let found = load_certificates(&source(&files, name), "ssl.certificate").unwrap();
        assert_eq!(found, expected, "{name}");
    }
    let text = fs_err::read_to_string(files.path("rsa.crt")).unwrap();
    for inline in [text.clone(), format!("\n\n{text}"), text.replace('\n', "\\n")] {
        let source = PemSource::from_setting(&inline);
        assert!(source.path().is_none());
        assert_eq!(load_certificates(&source, "ssl.certificate").unwrap(), expected);
    }
    let lost_armour: String = text
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect::<String>()
        .replace('/', "+");
    assert_eq!(
        class(load_certificates(
            &PemSource::from_setting(&lost_armour),
            "ssl.certificate"
        )),
        "no_pem"
    );
}

#[test]
fn authorities_are_all_that_can_be_read() {
    let files = Files::with_identities();
    let check = |name: &str, expected: Result<usize, &str>| {
        let loaded = load_authorities(&source(&files, name), "ssl.certificate_authorities", None);
        let loaded = loaded
            .map(|certificates| certificates.len())
            .map_err(|error| error.class());
        assert_eq!(loaded, expected, "{name}");
    };
    for name in [
        "root.crt",
        "ca_text.crt",
        "ca_bad_first.crt",
        "ca_with_key.pem",
        "ca.der",
        "ca_indented.crt",
    ] {
        check(name, Ok(1));
    }
    check("ca_two.crt", Ok(2));
    check("ca_bom_two.crt", Ok(2));
    for name in [
        "ca_header.crt",
        "ca_trusted.crt",
        "ca.p7b",
        "ca_x509.crt",
        "rsa.key",
        "empty.pem",
        "garbage.pem",
        "bundle.p12",
    ] {
        check(name, Err("ca_not_pem_certificate"));
    }
    check("none.crt", Err("file_unreadable"));
    check("", Err("file_unreadable"));
}

#[test]
fn chains_are_put_in_order_after_the_leaf() {
    let files = Files::with_identities();
    let load = |name: &str| {
        load_identity(
            &source(&files, name),
            Some(&source(&files, "leaf.key")),
            None,
            IdentityNames::SSL,
        )
        .unwrap()
        .chain
    };
    let expected = load("chain.crt");
    assert_eq!(expected.len(), 3);
    assert_eq!(load("chain_shuffled.crt"), expected);
    let Err(LoadError::KeyMismatch { belongs_to, .. }) = load_identity(
        &source(&files, "chain_reversed.crt"),
        Some(&source(&files, "leaf.key")),
        None,
        IdentityNames::SSL,
    ) else {
        panic!("an issuer first is refused")
    };
    assert_eq!(belongs_to.as_deref(), Some("CN=leaf"));
}

#[test]
fn one_half_alone_is_explained() {
    let files = Files::with_identities();
    let load = |name: &str| load_identity(&source(&files, name), None, None, IdentityNames::SSL).unwrap_err();
    assert_eq!(load("rsa.crt").class(), "key_missing");
    let error = load("combo.pem");
    assert_eq!(error.class(), "key_missing");
    assert!(error.hint().unwrap().contains("name the same file in `ssl.key`"));
    let leaf = &load_certificates(&source(&files, "leaf.crt"), "x").unwrap()[0];
    assert!(not_an_authority(leaf).unwrap().contains("-clcerts"));
    assert_eq!(
        not_an_authority(&load_certificates(&source(&files, "root.crt"), "x").unwrap()[0]),
        None
    );
}

#[test]
fn bundles_of_every_age_open() {
    let files = Files::with_identities();
    let passphrase = Secret::from(PASSPHRASE);
    let blank = Secret::from("");
    for (name, passphrase) in [
        ("bundle.p12", Some(&passphrase)),
        ("legacy.p12", Some(&passphrase)),
        ("3des.p12", Some(&passphrase)),
        ("two_key_3des.p12", Some(&passphrase)),
        ("rc2_128.p12", Some(&passphrase)),
        ("rc2_no_mac.p12", Some(&passphrase)),
        ("blank.p12", None),
        ("blank.p12", Some(&blank)),
        ("blank.p12", Some(&passphrase)),
    ] {
        let identity = load_identity(&source(&files, name), None, passphrase, IdentityNames::SSL).unwrap();
        assert_eq!(describe(identity.leaf()).subject, "CN=leaf", "{name}");
        assert_eq!(identity.chain.len(), 3, "{name}");
        assert!(identity.key_matches());
        assert!(load_key(&source(&files, name), "ssl.key", passphrase).is_ok());
        let authorities = load_authorities(&source(&files, name), "ca", passphrase).unwrap();
        assert_eq!(authorities.len(), 2, "{name}");
        assert!(
            authorities
                .iter()
                .all(|certificate| not_an_authority(certificate).is_none())
        );
    }
    for name in ["bundle.p12", "rc2_128.p12", "two_key_3des.p12", "rc2_no_mac.p12"] {
        let open = |passphrase| {
            class(load_identity(
                &source(&files, name),
                None,
                passphrase,
                IdentityNames::SSL,
            ))
        };
        assert_eq!(open(None), "key_needs_passphrase", "{name}");
        assert_eq!(open(Some(&Secret::from("wrong"))), "key_wrong_passphrase", "{name}");
    }
    let damaged = fs_err::read(files.path("bundle.p12")).unwrap();
    files.write("damaged.p12", &damaged[..damaged.len() / 2]);
    assert_ne!(
        class(load_identity(
            &source(&files, "damaged.p12"),
            None,
            Some(&passphrase),
            IdentityNames::SSL
        )),
        "ok"
    );
}

#[test]
fn bundles_of_java_open() {
    if !has_keytool() {
        return;
    }
    let files = Files::new();
    let path = files.path("java.p12");
    for kind in [
        &["-keyalg", "RSA", "-keysize", "2048"][..],
        &["-keyalg", "EC", "-groupname", "secp256r1"],
        &["-keyalg", "Ed25519"],
    ] {
        let common = [
            "-genkeypair",
            "-alias",
            "Node",
            "-dname",
            "CN=java",
            "-keystore",
            path.as_str(),
            "-storepass",
            "changeit",
        ];
        output_of(
            "keytool",
            &[&common[..], &["-storetype", "PKCS12", "-validity", "10"], kind].concat(),
        );
        let password = Secret::from("changeit");
        let identity = load_identity(
            &PemSource::Path(path.clone()),
            None,
            Some(&password),
            IdentityNames::SSL,
        )
        .unwrap();
        assert_eq!(describe(identity.leaf()).subject, "CN=java");
        fs_err::remove_file(&path).unwrap();
    }
}

#[test]
fn fingerprints_and_pins_are_those_of_openssl() {
    let files = Files::with_identities();
    let path = files.path("rsa.crt");
    let certificate = &load_certificates(&PemSource::Path(path.clone()), "x").unwrap()[0];
    let printed = openssl(&["x509", "-in", path.as_str(), "-noout", "-fingerprint", "-sha256"]);
    assert_eq!(
        printed.trim().split_once('=').unwrap().1,
        fingerprint(certificate).with_colons()
    );
    let shell = format!(
        "openssl x509 -in {path} -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary | base64"
    );
    assert_eq!(output_of("sh", &["-c", &shell]).trim(), spki_pin(certificate));
}
