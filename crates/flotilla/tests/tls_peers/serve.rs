//! `flotilla tls serve`, seen from both sides.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use pki::Usages;

use crate::support::{Place, TlsServe, authority, run};

/// Checks with a client's settings; the classes that client and server tell.
#[track_caller]
fn both(place: &Place, server: &TlsServe, flags: &str) -> (String, String, String) {
    let outcome = place.check(server.address, &format!("-a @ca.crt {flags}"));
    let alert = outcome.line()["peer_alert"].as_str().unwrap().to_owned();
    (outcome.class(), server.class(), alert)
}

#[test]
fn client_authentication_decides_who_is_let_in() {
    let place = Place::new();
    let stranger = authority("Stranger CA");
    place.issue_by(&stranger, "stranger", Usages::Client);
    place.issue("serving", Usages::Server);
    const OURS: &str = "--certificate @client.crt --key @client.key";
    const STRANGER: &str = "--certificate @stranger.crt --key @stranger.key";
    const WRONG_USAGE: &str = "--certificate @serving.crt --key @serving.key";
    for (settings, client, expected) in [
        ("", "", "none"),
        ("", STRANGER, "none"),
        (
            "client_authentication: optional\ncertificate_authorities: [@ca.crt]",
            "",
            "none",
        ),
        (
            "client_authentication: optional\ncertificate_authorities: [@ca.crt]",
            OURS,
            "none",
        ),
        (
            "client_authentication: optional\ncertificate_authorities: [@ca.crt]",
            STRANGER,
            "client_rejected_unknown_authority",
        ),
        ("certificate_authorities: [@ca.crt]", "", "client_certificate_missing"),
        ("certificate_authorities: [@ca.crt]", OURS, "none"),
        (
            "certificate_authorities: [@ca.crt]\nverification_mode: none",
            STRANGER,
            "client_rejected_unknown_authority",
        ),
        ("certificate_authorities: [@ca.crt]", WRONG_USAGE, "handshake_failure"),
    ] {
        let server = place.serve(settings);
        let (seen, told, alert) = both(&place, &server, client);
        assert_eq!(seen, expected, "{settings} {client}");
        assert_eq!(
            told == "none",
            expected == "none",
            "{settings} {client}: the server tells {told}"
        );
        assert_eq!(alert.is_empty(), expected == "none", "{settings} {client}: {alert}");
    }
}

#[test]
fn a_refusal_of_tls_1_3_is_seen_although_the_handshake_looks_complete() {
    let place = Place::new();
    for version in ["TLSv1.3", "TLSv1.2"] {
        let server = place.serve(&format!(
            "certificate_authorities: [@ca.crt]\nclient_authentication: required\nsupported_protocols: [{version}]"
        ));
        let (seen, told, found) = both(&place, &server, "");
        assert_eq!(
            (seen.as_str(), found.as_str()),
            ("client_certificate_missing", "certificate required"),
            "{version}"
        );
        assert_eq!(told, "client_certificate_missing", "{version}");
    }
}

#[test]
fn a_pair_without_usages_serves_both_sides() {
    let place = Place::new();
    place.issue("server", Usages::None);
    let server = place.serve("certificate_authorities: [@ca.crt]");
    let (seen, told, _) = both(&place, &server, "--certificate @server.crt --key @server.key");
    assert_eq!((seen.as_str(), told.as_str()), ("none", "none"));
}

#[test]
fn a_disabled_block_serves_without_tls_and_opens_no_file() {
    let place = Place::new();
    let server = TlsServe::start(&place.settings("serve.yml", "ssl: {enabled: false, certificate: @missing.crt}"));
    let mut socket = TcpStream::connect(server.address).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(server.class(), "none");
    let (seen, told, _) = both(&place, &server, "");
    assert_ne!(seen, "none");
    assert_eq!(told, "handshake_failure");
}

#[test]
fn it_ends_with_status_0_when_asked_to() {
    let place = Place::new();
    let server = place.serve("");
    assert_eq!(server.lines.stop(), Some(0));
}

#[test]
fn what_cannot_be_served_is_one_line_and_status_1() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (text, listen, expected) in [
        ("ssl: {}", "127.0.0.1:0", "certificate_missing"),
        (
            "ssl: {certificate: @server.crt, key: @client.key}",
            "127.0.0.1:0",
            "key_mismatch",
        ),
        (
            "ssl: {certificate: @server.crt, key: @server.key, client_authentication: Required}",
            "127.0.0.1:0",
            "bad_value:client_authentication",
        ),
        (
            "ssl: {certificate: @server.crt, key: @server.key}",
            &taken,
            "cannot_listen",
        ),
    ] {
        let config = place.settings("serve.yml", text);
        let outcome = run(&[
            "tls",
            "serve",
            "--json",
            "--listen",
            listen,
            "--config",
            config.as_str(),
        ]);
        assert_eq!(outcome.class(), expected, "{text}");
        assert_eq!(outcome.line()["stage"], "load", "{text}");
        assert_ne!(outcome.line()["hint"], "", "{text}");
    }
}
