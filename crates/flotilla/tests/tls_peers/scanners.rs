//! What a scanner finds on each listener of `flotilla up`: nothing that is known to be weak.

use serde_json::Value;
use testkit::Flotilla;

use crate::support::FLOTILLA;

/// All but certificates, whose report has numbers that no JSON reader of ours takes, and which openssl's tests look at.
const SCANS: &str = "--sslv2 --sslv3 --tlsv1 --tlsv1_1 --tlsv1_2 --tlsv1_3 --compression --openssl_ccs --fallback --heartbleed --robot \
    --reneg --elliptic_curves --ems --mozilla_config=disable";

const LISTENERS: [&str; 3] = ["/urls/fleet_server", "/urls/elasticsearch", "/urls/console"];

#[test]
fn sslscan_finds_nothing_weak() {
    if !testkit::is_installed("sslscan") {
        return testkit::skip("`sslscan` is not installed");
    }
    let flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    for url in LISTENERS {
        let url = flotilla.text(url);
        let place = url.trim_start_matches("https://");
        let output = testkit::run("sslscan", ["--no-colour", place]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        for (protocol, state) in [
            ("SSLv2", "disabled"),
            ("SSLv3", "disabled"),
            ("TLSv1.0", "disabled"),
            ("TLSv1.1", "disabled"),
            ("TLSv1.2", "enabled"),
            ("TLSv1.3", "enabled"),
        ] {
            let found = said.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.next() == Some(protocol) && words.next() == Some(state)
            });
            assert!(found, "{place}: {protocol} is not {state}: {said}");
        }
        let suites: Vec<&str> = said
            .lines()
            .filter(|line| line.starts_with("Preferred") || line.starts_with("Accepted"))
            .collect();
        assert!(suites.len() >= 5, "{place}: {said}");
        for suite in suites {
            let authenticated = suite.contains("GCM") || suite.contains("CHACHA20");
            let forward_secret = suite.contains("TLSv1.3") || suite.contains("ECDHE-");
            assert!(authenticated && forward_secret, "{place}: {suite}");
        }
        let heartbleed = said.lines().filter(|line| line.contains("vulnerable to heartbleed"));
        assert!(
            heartbleed.clone().count() > 0 && heartbleed.clone().all(|line| line.contains("not ")),
            "{place}: {said}"
        );
        assert!(!said.contains("Compression enabled"), "{place}: {said}");
    }
}

/// Its hundreds of refused greetings must not get a scanner shut out: then it would see nothing, and say so.
#[test]
fn sslyze_sees_everything_and_finds_nothing_weak() {
    if !testkit::is_installed("sslyze") {
        return testkit::skip("`sslyze` is not installed");
    }
    let flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let folder = tempfile::tempdir().unwrap();
    for url in LISTENERS {
        let url = flotilla.text(url);
        let place = url.trim_start_matches("https://");
        let report = folder.path().join("report.json");
        let mut arguments: Vec<&str> = SCANS.split_whitespace().collect();
        arguments.extend(["--json_out", report.to_str().unwrap(), place]);
        testkit::run("sslyze", arguments);
        let report: Value = serde_json::from_str(&fs_err::read_to_string(&report).unwrap()).unwrap();
        let found = &report["server_scan_results"][0]["scan_result"];
        for (name, part) in found.as_object().unwrap() {
            let status = part["status"].as_str().unwrap();
            assert!(
                matches!(status, "COMPLETED" | "NOT_SCHEDULED"),
                "{place} {name}: {part}"
            );
        }
        check_suites(place, found);
        for (pointer, expected) in [
            ("/heartbleed/result/is_vulnerable_to_heartbleed", Value::Bool(false)),
            (
                "/openssl_ccs_injection/result/is_vulnerable_to_ccs_injection",
                Value::Bool(false),
            ),
            ("/tls_compression/result/supports_compression", Value::Bool(false)),
            ("/tls_fallback_scsv/result/supports_fallback_scsv", Value::Bool(true)),
            (
                "/tls_extended_master_secret/result/supports_ems_extension",
                Value::Bool(true),
            ),
            (
                "/session_renegotiation/result/is_vulnerable_to_client_renegotiation_dos",
                Value::Bool(false),
            ),
            (
                "/session_renegotiation/result/supports_secure_renegotiation",
                Value::Bool(true),
            ),
            (
                "/robot/result/robot_result",
                Value::from("NOT_VULNERABLE_RSA_NOT_SUPPORTED"),
            ),
        ] {
            assert_eq!(found.pointer(pointer), Some(&expected), "{place} {pointer}");
        }
        let curves = names(&found["elliptic_curves"]["result"]["supported_curves"], "/name");
        assert!(curves.contains(&"X25519".to_owned()), "{place}: {curves:?}");
    }
}

fn check_suites(place: &str, found: &Value) {
    let suites = |version: &str| {
        let list = &found[format!("{version}_cipher_suites")]["result"]["accepted_cipher_suites"];
        names(list, "/cipher_suite/name")
    };
    for old in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
        assert_eq!(suites(old), Vec::<String>::new(), "{place} {old}");
    }
    let (older, newer) = (suites("tls_1_2"), suites("tls_1_3"));
    assert!(older.len() >= 6 && newer.len() >= 3, "{place}: {older:?} {newer:?}");
    for suite in older {
        let authenticated = suite.contains("GCM") || suite.contains("CHACHA20");
        assert!(suite.starts_with("TLS_ECDHE_") && authenticated, "{place}: {suite}");
    }
}

fn names(list: &Value, pointer: &str) -> Vec<String> {
    let items = list.as_array().unwrap_or_else(|| panic!("no list: {list}")).iter();
    items
        .map(|item| item.pointer(pointer).unwrap().as_str().unwrap().to_owned())
        .collect()
}
