//! NIST's Public Key Interoperability Test Suite: its paths, dates, names and constraints.
//!
//! Left out are its DSA keys, revocation and policies, which nobody here evaluates. Every invalid path is refused. So are a
//! few kinds of valid ones, on the safe side: limits on distinguished names (Go refuses those as well), on mailboxes and on
//! URIs; distinguished names that differ in case, white space or encoding (they are compared octet by octet, as in Go); an
//! authority with a path length that renewed its key by a certificate for itself; unique identifiers; dates before 1970.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::*;
use crate::values::negotiation;

const SUITE: &str = include_str!("fixtures/pkits.txt");
/// 30 November 2026, within the validity of the suite.
const NOW: u64 = 1_796_000_000;

struct Test<'a> {
    name: &'a str,
    class: &'a str,
    path: Vec<&'a str>,
}

fn tests() -> Vec<Test<'static>> {
    let lines = SUITE.lines().filter(|line| !line.starts_with('#'));
    let test = |line: &'static str| {
        let [name, class, path] = line.split(" | ").collect::<Vec<_>>().try_into().ok()?;
        let path = path.split(' ').collect();
        Some(Test { name, class, path })
    };
    lines.filter_map(test).collect()
}

fn certificates() -> BTreeMap<&'static str, CertificateDer<'static>> {
    let lines = SUITE.lines().filter(|line| !line.starts_with('#'));
    let lines = lines.filter_map(|line| line.split_once(" = "));
    lines
        .map(|(name, text)| (name, CertificateDer::from(STANDARD.decode(text).unwrap())))
        .collect()
}

/// The class of the broken rule, or `none`, when a server presents the path without its root.
fn of_server(root: &CertificateDer<'static>, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> String {
    let negotiation = negotiation(&crate::SslSettings::default(), &mut Vec::new()).unwrap();
    let verifier = ServerVerifier {
        mode: VerificationMode::Certificate,
        anchors: Arc::new(Anchors::new([root.clone()])),
        fingerprint: None,
        learned: Learned::default(),
        pins: Vec::new(),
        algorithms: negotiation.provider.signature_verification_algorithms,
        check_names: true,
    };
    let name = ServerName::try_from("fleet.test").unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW));
    told(verifier.verify(leaf, others, &name, now))
}

/// As [`of_server`], for a client.
fn of_client(root: &CertificateDer<'static>, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> String {
    let negotiation = negotiation(&crate::SslSettings::default(), &mut Vec::new()).unwrap();
    let verifier = ClientVerifier {
        demand: ClientAuthentication::Required,
        anchors: Arc::new(Anchors::new([root.clone()])),
        hints: Vec::new(),
        pins: Vec::new(),
        algorithms: negotiation.provider.signature_verification_algorithms,
    };
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW));
    told(verifier.verify(leaf, others, now))
}

/// The class, and the rule for whoever looks for the reason.
fn told(outcome: Result<(), Broken>) -> String {
    outcome.map_or_else(
        |broken| format!("{}: {}", broken.class, broken.rule),
        |()| "none".to_owned(),
    )
}

#[test]
fn every_path_of_the_suite_is_judged() {
    let (tests, certificates) = (tests(), certificates());
    assert_eq!((tests.len(), certificates.len()), (88, 148));
    let mut wrong = Vec::new();
    for test in tests {
        let path: Vec<_> = test.path.iter().map(|name| certificates[name].clone()).collect();
        let [root, issuers @ .., leaf] = &path[..] else {
            panic!("{}", test.name)
        };
        let top_down: Vec<_> = issuers.to_vec();
        let bottom_up: Vec<_> = issuers.iter().rev().cloned().collect();
        for found in [
            of_server(root, leaf, &bottom_up),
            of_server(root, leaf, &top_down),
            of_client(root, leaf, &bottom_up),
        ] {
            if found.split(':').next() != Some(test.class) {
                wrong.push(format!("{}: {found} instead of {}", test.name, test.class));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
