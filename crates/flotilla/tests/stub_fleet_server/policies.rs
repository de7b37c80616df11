//! No change of policy strands an agent.

use serde_json::{Value, json};
use testkit::free_ports;

use crate::host::Host;
use crate::proxy::Proxy;
use crate::stub::{Stub, authority, good_leaf};

fn revision(record: &Value) -> i64 {
    record["request"]["body"]["policy_revision_idx"].as_i64().unwrap_or(0)
}

#[test]
fn hosts_and_proxies_that_do_not_work_are_refused_and_taken_back_when_they_fail_later() {
    let ca = authority();
    let (Some(stub), Some(trap)) = (Stub::start(&ca), Stub::start(&ca)) else {
        return;
    };
    let host = Host::of(&stub, &ca);
    stub.publish(&host.policy(&json!({"hosts": [stub.url()]})));
    stub.acknowledged("policy:p:2");
    let [closed] = free_ports();
    let nowhere = format!("https://127.0.0.1:{closed}");
    let refused = |what: &str, block: Value, because: &str| {
        stub.publish(&host.policy(&block));
        let status = host.status_becomes(what, |status| {
            let message = status["message"].as_str().unwrap();
            message.starts_with("running policy p revision 2; policy:p:")
                && message.contains(because)
                && status["FleetState"] == 2
        });
        assert_eq!(status["state"], 4, "{what}");
    };
    refused("a closed port", json!({"hosts": [nowhere]}), &closed.to_string());
    refused(
        "a dead proxy",
        json!({"hosts": [stub.url()], "proxy_url": format!("http://127.0.0.1:{closed}")}),
        "proxy",
    );
    let other = authority().certificate_pem();
    refused(
        "a wrong CA alone",
        json!({"hosts": [stub.url()], "ssl": {"certificate_authorities": [other]}}),
        "its connection to Fleet does not work",
    );
    refused(
        "files that this host lacks",
        json!({"hosts": [stub.url()], "ssl": {"certificate": "/no/such.crt", "key": "/no/such.key"}}),
        "/no/such.crt",
    );

    // It is alive and refuses every check-in: found out only once it is used.
    trap.fail("checkin", 403, None);
    refused(
        "a trap",
        json!({"hosts": [trap.url()]}),
        "check-ins failed with its connection settings",
    );
    assert_eq!(trap.seen("checkin").len(), 2, "taken back at the second failure");
    stub.wait_for("checkin", |record| {
        let body = &record["request"]["body"];
        let message = body["message"].as_str().unwrap_or_default();
        body["status"] == "error" && message.contains("check-ins failed with its connection settings")
    });

    stub.publish(&host.policy(&json!({"hosts": [stub.url()]})));
    host.status_becomes("well again", |status| status["state"] == 2 && status["FleetState"] == 2);
    assert_eq!(stub.seen("enroll").len(), 1);
}

#[test]
fn a_ca_is_rotated_by_policy_alone() {
    let (old, new) = (authority(), authority());
    let Some(mut stub) = Stub::start(&old) else { return };
    let host = Host::of(&stub, &old);
    let trust = |authorities: Value| {
        host.policy(&json!({"hosts": [stub.url()], "ssl": {"certificate_authorities": authorities}}))
    };
    let both = trust(json!([old.certificate_pem(), new.certificate_pem()]));
    let only_new = trust(json!([new.certificate_pem()]));
    stub.publish(&both);
    stub.acknowledged("policy:p:2");
    stub.stop();
    stub.start_again(&new, good_leaf());
    host.is_connected();
    stub.publish(&only_new);
    stub.wait_for("checkin", |record| revision(record) >= 2);
    let status = host.is_connected();
    assert_eq!(status["state"], 2);
}

#[test]
fn a_proxy_comes_and_goes_by_policy() {
    let ca = authority();
    let Some(stub) = Stub::start(&ca) else { return };
    let host = Host::of(&stub, &ca);
    let proxy = Proxy::start();
    stub.publish(&host.policy(&json!({
        "hosts": [stub.url()], "proxy_url": proxy.url(), "proxy_headers": {"x-tested-by": "flotilla"},
    })));
    stub.wait_for("checkin", |record| revision(record) == 2);
    let heads = proxy.heads();
    assert!(
        heads
            .iter()
            .all(|head| head.to_lowercase().contains("x-tested-by: flotilla"))
            && !heads.is_empty(),
        "{heads:?}"
    );
    stub.publish(&host.policy(&json!({"hosts": [stub.url()]})));
    stub.wait_for("checkin", |record| revision(record) == 3);
    proxy.stop();
    let seen = stub.seen("checkin").len();
    testkit::eventually("check-ins without the proxy", crate::stub::SOON, || {
        (stub.seen("checkin").len() > seen + 2).then_some(())
    });
    assert_eq!(host.is_connected()["state"], 2);
}
