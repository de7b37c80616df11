//! What we issue, seen by openssl.

use std::process::Command;

use camino::Utf8PathBuf;
use certs::{KeyFormat, describe, write_pem_certificates, write_pem_key};
use jiff::{SignedDuration, Timestamp};
use pki::{
    Authority, AuthorityRequest, BeyondIssuer, Csr, CsrRequest, DistinguishedName, KeyType, KeyUsage, LeafRequest,
    PkiError, SigningKey, Usages, self_signed,
};

struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn write(&self, name: &str, text: &str) -> Utf8PathBuf {
        let path = Utf8PathBuf::from_path_buf(self.folder.path().join(name)).expect("UTF-8");
        fs_err::write(&path, text).expect("written");
        path
    }
}

#[track_caller]
fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(arguments)
        .output()
        .expect("openssl is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn authority(key_type: KeyType) -> Authority {
    Authority::generate(AuthorityRequest {
        subject_cn: "Test CA".to_owned(),
        key_type,
        ..AuthorityRequest::default()
    })
    .expect("a CA")
}

#[test]
fn openssl_verifies_chains_of_every_kind_of_key() {
    let kinds = [
        KeyType::Rsa(2048),
        KeyType::EcdsaP256,
        KeyType::EcdsaP384,
        KeyType::Ed25519,
    ];
    for (position, &kind) in kinds.iter().enumerate() {
        let root = authority(kind);
        let issuing = root
            .issue_authority(AuthorityRequest {
                subject_cn: "Issuing CA".to_owned(),
                key_type: kinds[(position + 1) % kinds.len()],
                path_length: Some(0),
                ..AuthorityRequest::default()
            })
            .unwrap();
        let leaf = issuing
            .issue(LeafRequest {
                common_name: "fleet-server".to_owned(),
                dns: vec!["fleet.test".to_owned()],
                ips: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
                usages: Usages::Server,
                key_type: kinds[(position + 2) % kinds.len()],
                ..LeafRequest::default()
            })
            .unwrap();
        assert_eq!(leaf.chain.len(), 3);
        assert_eq!(&leaf.chain[2], root.certificate());
        assert!(leaf.key_matches());
        let folder = Folder::new();
        let ca = folder.write("ca.crt", &root.certificate_pem());
        let between = folder.write("between.crt", &write_pem_certificates(&leaf.chain[1..2]));
        let end = folder.write("leaf.crt", &write_pem_certificates(&leaf.chain[..1]));
        openssl(&[
            "verify",
            "-x509_strict",
            "-CAfile",
            ca.as_str(),
            "-untrusted",
            between.as_str(),
            "-purpose",
            "sslserver",
            "-verify_hostname",
            "fleet.test",
            end.as_str(),
        ]);
        let key = folder.write("leaf.key", write_pem_key(&leaf.key, KeyFormat::Pkcs8).unwrap().expose());
        let of_key = openssl(&["pkey", "-in", key.as_str(), "-pubout"]);
        assert_eq!(openssl(&["x509", "-in", end.as_str(), "-noout", "-pubkey"]), of_key);
    }
}

#[test]
fn rsa_keys_of_unusual_sizes_sign_and_are_signed() {
    for bits in [1024, 1536, 2560] {
        let root = authority(KeyType::Rsa(bits));
        let leaf = root
            .issue(LeafRequest {
                key_type: KeyType::Rsa(1024),
                ..LeafRequest::default()
            })
            .unwrap();
        let folder = Folder::new();
        let ca = folder.write("ca.crt", &root.certificate_pem());
        let end = folder.write("leaf.crt", &write_pem_certificates(&leaf.chain[..1]));
        openssl(&["verify", "-auth_level", "0", "-CAfile", ca.as_str(), end.as_str()]);
        let key = folder.write("ca.key", root.key_pem(KeyFormat::Traditional).expose());
        assert!(openssl(&["pkey", "-in", key.as_str(), "-check", "-text"]).contains(&format!("({bits} bit")));
        let again = Authority::from_identity(root.to_identity()).unwrap();
        assert_eq!(again.key().public().name(), format!("RSA {bits}"));
    }
    for bits in [0, 512, 1023, 8193, 16384] {
        assert!(
            matches!(SigningKey::generate(KeyType::Rsa(bits)), Err(PkiError::KeySize { bits: told }) if told == bits),
            "{bits}"
        );
    }
}

#[test]
fn a_leaf_has_the_extensions_that_certutil_gives() {
    let ca = authority(KeyType::EcdsaP256);
    let leaf = ca
        .issue(LeafRequest {
            dn: Some(DistinguishedName::parse("CN=agents,DC=lab,DC=example").unwrap()),
            dns: vec!["a.test".to_owned()],
            ips: vec!["10.0.0.5".parse().unwrap()],
            other_names: vec!["node-1".to_owned()],
            ..LeafRequest::default()
        })
        .unwrap();
    let folder = Folder::new();
    let path = folder.write("leaf.crt", &write_pem_certificates(&leaf.chain[..1]));
    let text = openssl(&["x509", "-in", path.as_str(), "-noout", "-text", "-nameopt", "RFC2253"]);
    for expected in [
        "Subject: CN=agents,DC=lab,DC=example",
        "Issuer: CN=Test CA",
        "X509v3 Basic Constraints: \n                CA:FALSE",
        "IP Address:10.0.0.5, DNS:a.test, othername:",
        "Version: 3",
    ] {
        assert!(text.contains(expected), "{expected} is missing in {text}");
    }
    assert!(!text.contains("Key Usage") && !text.contains("critical"), "{text}");
    let summary = describe(leaf.leaf());
    assert_eq!(summary.authority_key_id, describe(ca.certificate()).subject_key_id);
    assert_eq!(
        summary.not_after.duration_since(summary.not_before),
        SignedDuration::from_hours(365 * 24)
    );
}

#[test]
fn a_name_of_another_issuer_is_copied_as_it_stands() {
    let folder = Folder::new();
    let path = |name: &str| folder.write(name, "");
    let (crt, key) = (path("ca.crt"), path("ca.key"));
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        key.as_str(),
        "-out",
        crt.as_str(),
        "-days",
        "30",
        "-subj",
        "/DC=example/DC=corp/O=Größe+OU=x/CN=Corp CA",
        "-utf8",
    ]);
    let identity =
        certs::load_identity(&crt.clone().into(), Some(&key.into()), None, certs::IdentityNames::SSL).unwrap();
    let ca = Authority::from_identity(identity).unwrap();
    let leaf = ca
        .issue(LeafRequest {
            days: 10,
            ..LeafRequest::default()
        })
        .unwrap();
    let end = folder.write("leaf.crt", &write_pem_certificates(&leaf.chain[..1]));
    openssl(&["verify", "-CAfile", crt.as_str(), end.as_str()]);
}

#[test]
fn requests_go_both_ways() {
    let folder = Folder::new();
    for kind in [
        KeyType::Rsa(2048),
        KeyType::EcdsaP256,
        KeyType::EcdsaP384,
        KeyType::Ed25519,
    ] {
        let key = SigningKey::generate(kind).unwrap();
        let asked = CsrRequest {
            dn: DistinguishedName::common_name("agent-1"),
            dns: vec!["agent-1.test".to_owned()],
            ips: Vec::new(),
            other_names: Vec::new(),
            key_usages: vec![KeyUsage::DigitalSignature],
            usages: Usages::Client,
        };
        let csr = Csr::build(&asked, &key).unwrap();
        let path = folder.write("a.csr", &csr.pem());
        let text = openssl(&["req", "-in", path.as_str(), "-noout", "-verify", "-text"]);
        assert!(
            text.contains("DNS:agent-1.test") && text.contains("Client Authentication"),
            "{text}"
        );
        let parsed = Csr::parse(csr.pem().as_bytes()).unwrap();
        let chain = authority(KeyType::EcdsaP256)
            .issue_for(
                &parsed,
                &LeafRequest {
                    usages: Usages::Client,
                    ..LeafRequest::default()
                },
            )
            .unwrap();
        assert_eq!(describe(&chain[0]).key_type, key.public().name());
    }
    let (csr, key) = (folder.write("o.csr", ""), folder.write("o.key", ""));
    openssl(&[
        "req",
        "-new",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        key.as_str(),
        "-out",
        csr.as_str(),
        "-subj",
        "/CN=o",
    ]);
    let mut bytes = Csr::parse(&fs_err::read(&csr).unwrap()).unwrap().der().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert!(matches!(Csr::parse(&bytes), Err(PkiError::Request { .. })));
    bytes.truncate(100);
    assert!(matches!(Csr::parse(&bytes), Err(PkiError::Request { .. })));
}

#[test]
fn nothing_outlives_its_issuer() {
    let ca = Authority::generate(AuthorityRequest {
        days: 10,
        ..AuthorityRequest::default()
    })
    .unwrap();
    let issue = |days, beyond_issuer| {
        ca.issue(LeafRequest {
            days,
            beyond_issuer,
            ..LeafRequest::default()
        })
    };
    let end = |days, beyond| describe(issue(days, beyond).unwrap().leaf()).not_after;
    assert_eq!(end(100, BeyondIssuer::Shorten), ca.not_after());
    assert!(end(9, BeyondIssuer::Refuse) < ca.not_after());
    assert!(end(10, BeyondIssuer::Refuse) <= ca.not_after());
    assert!(matches!(
        issue(11, BeyondIssuer::Refuse),
        Err(PkiError::OutlivesIssuer { .. })
    ));
    assert!(matches!(
        issue(0, BeyondIssuer::Refuse),
        Err(PkiError::Days { days: 0 })
    ));
}

#[test]
fn what_is_no_authority_does_not_issue() {
    let ca = authority(KeyType::EcdsaP256);
    let leaf = ca.issue(LeafRequest::default()).unwrap();
    assert!(matches!(
        Authority::from_identity(leaf.clone()),
        Err(PkiError::NotAnAuthority { .. })
    ));
    let stranger = certs::Identity::new(ca.chain().to_vec(), leaf.key);
    assert!(matches!(
        Authority::from_identity(stranger),
        Err(PkiError::KeyMismatch { .. })
    ));
    assert!(Authority::from_identity(ca.to_identity()).is_ok());
}

#[test]
fn wrong_requests_are_refused() {
    assert!(matches!(
        SigningKey::generate(KeyType::Rsa(512)),
        Err(PkiError::KeySize { bits: 512 })
    ));
    let request = LeafRequest {
        dns: vec!["müller.test".to_owned()],
        ..LeafRequest::default()
    };
    assert!(matches!(self_signed(request), Err(PkiError::DnsName { .. })));
}

#[test]
fn a_self_signed_leaf_verifies_itself_and_may_start_in_the_past() {
    let valid_from: Timestamp = "2020-01-01T00:00:00.5Z".parse().unwrap();
    let leaf = self_signed(LeafRequest {
        valid_from: Some(valid_from),
        ..LeafRequest::default()
    })
    .unwrap();
    let summary = describe(leaf.leaf());
    assert!(summary.is_self_issued() && !summary.is_ca);
    assert_eq!(summary.not_before.to_string(), "2020-01-01T00:00:00Z");
    let folder = Folder::new();
    let path = folder.write("leaf.crt", &write_pem_certificates(&leaf.chain));
    openssl(&["verify", "-no_check_time", "-CAfile", path.as_str(), path.as_str()]);
}
