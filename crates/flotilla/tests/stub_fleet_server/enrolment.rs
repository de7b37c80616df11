//! What is wrong is said at once, and what passes by itself is waited for.

use std::process::Output;

use pki::LeafRequest;
use testkit::free_ports;

use crate::host::{Host, said};
use crate::stub::{Stub, authority, expired_leaf, good_leaf};

/// What is said of an enrolment that failed, and of which nothing is stored.
fn refusal(host: &Host, output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", said(output));
    assert!(!host.path("fleet.enc").exists(), "nothing is stored");
    said(output)
}

#[test]
fn each_failure_is_explained_at_once() {
    let ca = authority();
    let (Some(good), Some(other_name), Some(expired)) = (
        Stub::start(&ca),
        Stub::start_with(
            &ca,
            LeafRequest {
                dns: vec!["fleet.example".to_owned()],
                ips: vec![],
                ..good_leaf()
            },
        ),
        Stub::start_with(&ca, expired_leaf()),
    ) else {
        return;
    };
    let host = Host::new();
    let check = |stub: &Stub, ca: &pki::Authority, more: &[&str], expected: &[&str]| {
        let said = refusal(&host, &host.enroll(&stub.url(), ca, more));
        for part in expected {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
    };
    check(
        &good,
        &authority(),
        &[],
        &["--certificate-authorities", "does not lead to a trusted certificate"],
    );
    check(&other_name, &ca, &[], &["fleet.example", "127.0.0.1", "--url"]);
    check(&expired, &ca, &[], &["expired"]);
    let [closed] = free_ports();
    let proxy = format!("http://127.0.0.1:{closed}");
    let dead_proxy = ["--proxy-url", proxy.as_str(), "--enroll-timeout=1s"];
    check(&good, &ca, &dead_proxy, &["gave up", "proxy", &closed.to_string()]);
    let said = refusal(&host, &host.enroll_with("d3Jvbmc6a2V5", &good.url(), &ca, &[]));
    assert!(said.contains("401") && said.contains("token is not valid"), "{said}");
    good.fail("enroll", 404, None);
    check(&good, &ca, &[], &["404", "no Fleet Server at this URL"]);
    let nowhere = format!("https://127.0.0.1:{closed}");
    let said = refusal(&host, &host.enroll(&nowhere, &ca, &["--enroll-timeout=1s"]));
    assert!(said.contains("gave up") && said.contains(&closed.to_string()), "{said}");
}

#[test]
fn a_busy_server_is_waited_for_and_the_id_is_kept_the_second_time() {
    let ca = authority();
    let Some(stub) = Stub::start(&ca) else { return };
    stub.fail("enroll", 429, Some(1));
    let host = Host::new();
    let enrolled = host.enroll(&stub.url(), &ca, &[]);
    assert!(enrolled.status.success(), "{}", said(&enrolled));
    let id_of = |record: &serde_json::Value| record["response"]["body"]["item"]["id"].as_str().map(str::to_owned);
    let first = stub.seen("enroll").iter().find_map(id_of).unwrap();
    let again = host.enroll(&stub.url(), &ca, &[]);
    assert!(again.status.success(), "{}", said(&again));
    let requests = stub.seen("enroll");
    let last = requests.last().unwrap();
    assert_eq!(last["request"]["body"]["id"], first.as_str(), "no ghost of this host");
    assert_eq!(id_of(last).unwrap(), first);
}
