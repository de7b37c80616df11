//! What a scanner finds on each listener of `flotilla up`: nothing that is known to be weak.

use testkit::Flotilla;

use crate::support::FLOTILLA;

#[test]
fn sslscan_finds_nothing_weak() {
    if !testkit::is_installed("sslscan") {
        return testkit::skip("`sslscan` is not installed");
    }
    let flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    for url in ["/urls/fleet_server", "/urls/elasticsearch", "/urls/console"] {
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
