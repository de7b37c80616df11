//! Failures while an agent runs: none is lost, and `status` says what is wrong within seconds.

use serde_json::json;

use crate::host::Host;
use crate::stub::{Stub, authority, expired_leaf, good_leaf};

#[test]
fn no_failure_of_the_server_costs_an_agent() {
    let ca = authority();
    let Some(mut stub) = Stub::start(&ca) else { return };
    let host = Host::of(&stub, &ca);
    stub.publish(&host.policy(&json!({"hosts": [stub.url()]})));
    let id = host.is_connected()["info"]["id"].clone();
    for busy in [429, 503] {
        stub.fail("checkin", busy, None);
        let status = host.status_becomes("busy", |status| {
            status["FleetMessage"].as_str().unwrap().contains("busy")
        });
        assert_eq!(status["FleetState"], 2, "a busy server is alive");
        stub.heal();
        host.is_connected();
    }
    stub.fail("checkin", 500, None);
    let ill = |part: &'static str| {
        host.status_becomes(part, move |status| {
            let message = status["FleetMessage"].as_str().unwrap();
            status["FleetState"] == 3 && message.contains(part) && message.contains("next attempt in")
        });
        assert!(
            !host.agent(&["status"]).status.success(),
            "the exit status tells it too"
        );
    };
    ill("500");
    stub.heal();
    host.is_connected();
    stub.stop();
    ill("cannot reach Fleet Server");
    stub.start_again(&ca, expired_leaf());
    ill("expired");
    stub.stop();
    stub.start_again(&authority(), good_leaf());
    ill("127.0.0.1");
    stub.stop();
    stub.start_again(&ca, good_leaf());
    let status = host.is_connected();
    assert_eq!(status["info"]["id"], id);
    let from = stub.wait_for("checkin", |record| record["request"]["body"]["status"] == "online");
    assert!(from["request"]["path"].as_str().unwrap().contains(id.as_str().unwrap()));
}

#[test]
fn torn_state_files_do_not_cost_the_enrolment() {
    let ca = authority();
    let Some(stub) = Stub::start(&ca) else { return };
    let mut host = Host::of(&stub, &ca);
    stub.publish(&host.policy(&json!({"hosts": [stub.url()]})));
    let id = host.is_connected()["info"]["id"].clone();
    stub.acknowledged("policy:p:2");
    for name in ["fleet.enc", "data/state.enc", "elastic-agent.yml"] {
        host.kill();
        let path = host.path(name);
        let bytes = fs_err::read(&path).unwrap();
        fs_err::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        fs_err::write(host.path(&format!("{name}.new")), "half a wri").unwrap();
        host.start();
        let status = host.status_becomes(name, |status| status["FleetState"] == 2 && status["state"] == 2);
        assert_eq!(status["info"]["id"], id, "{name}");
    }
    assert_eq!(stub.seen("enroll").len(), 1);
}
