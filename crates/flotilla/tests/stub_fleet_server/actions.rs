//! Every kind of action: done, or refused with its reason.

use serde_json::{Value, json};

use crate::host::Host;
use crate::stub::{Stub, authority};

#[test]
fn every_action_is_done_or_refused_with_its_reason() {
    let ca = authority();
    let Some(stub) = Stub::start(&ca) else { return };
    let host = Host::of(&stub, &ca);
    stub.publish(&host.policy(&json!({"hosts": [stub.url()]})));
    stub.acknowledged("policy:p:2");
    let done = |action: Value| {
        stub.send(&action);
        let ack = stub.acknowledged(action["id"].as_str().unwrap());
        assert!(ack.get("error").is_none(), "{ack}");
        ack
    };
    let refused = |action: Value, because: &str| {
        stub.send(&action);
        let ack = stub.acknowledged(action["id"].as_str().unwrap());
        assert!(ack["error"].as_str().unwrap_or_default().contains(because), "{ack}");
        ack
    };
    done(json!({"id": "level", "type": "SETTINGS", "data": {"log_level": "debug"}}));
    stub.wait_for("checkin", |record| {
        record["request"]["body"]["local_metadata"]["elastic"]["agent"]["log_level"] == "debug"
    });
    done(json!({"id": "level-back", "type": "SETTINGS", "data": {"log_level": ""}}));
    refused(
        json!({"id": "loud", "type": "SETTINGS", "data": {"log_level": "loud"}}),
        "`loud`",
    );
    done(json!({"id": "reassign", "type": "POLICY_REASSIGN", "data": {"policy_id": "q"}}));
    done(json!({"id": "cancel", "type": "CANCEL", "data": {"target_id": "nothing"}}));
    refused(
        json!({"id": "query", "type": "INPUT_ACTION", "input_type": "osquery", "data": {"query": "select 1"}}),
        "osquery",
    );
    let is_root = rustix::process::geteuid().is_root();
    refused(
        json!({"id": "user", "type": "PRIVILEGE_LEVEL_CHANGE", "data": {"unprivileged": is_root}}),
        "cannot change its own user",
    );
    done(json!({"id": "same-user", "type": "PRIVILEGE_LEVEL_CHANGE", "data": {"unprivileged": !is_root}}));
    done(json!({"id": "diagnostics", "type": "REQUEST_DIAGNOSTICS", "data": null}));
    let uploads = stub.seen("upload");
    let sent = |method: &str| {
        uploads
            .iter()
            .filter(|record| record["request"]["method"] == method)
            .count()
    };
    assert_eq!((sent("POST"), sent("PUT")), (2, 1), "begin, one chunk, end");

    // Not installed: it says so, in every later check-in.
    done(json!({"id": "upgrade", "type": "UPGRADE", "data": {"version": "99.0.0"}}));
    let told = stub.wait_for("checkin", |record| {
        record["request"]["body"]["upgrade_details"].is_object()
    });
    let details = &told["request"]["body"]["upgrade_details"];
    assert_eq!(
        (&details["state"], &details["action_id"]),
        (&json!("UPG_FAILED"), &json!("upgrade"))
    );
    assert_eq!(details["metadata"]["failed_state"], "UPG_REQUESTED");
    let message = details["metadata"]["error_msg"].as_str().unwrap();
    assert!(message.contains("not installed as a service"), "{message}");

    // A kind of a later version: nothing is acknowledged, and nothing breaks.
    stub.send(&json!({"id": "unknown", "type": "SOMETHING_NEW", "data": {}}));
    stub.send(&json!({"id": "tags", "type": "UPDATE_TAGS", "data": {"tags": ["a"]}}));
    done(json!({"id": "after", "type": "POLICY_REASSIGN", "data": {"policy_id": "q"}}));
    for action in ["unknown", "tags"] {
        assert!(stub.acknowledgement(action).is_none(), "{action}");
    }
    assert_eq!(host.is_connected()["FleetState"], 2);
}

#[test]
fn an_agent_moves_to_another_fleet_and_stays_when_it_cannot() {
    let ca = authority();
    let (Some(here), Some(there)) = (Stub::start(&ca), Stub::start(&ca)) else {
        return;
    };
    let host = Host::of(&here, &ca);
    here.publish(&host.policy(&json!({"hosts": [here.url()]})));
    here.acknowledged("policy:p:2");
    here.send(&json!({"id": "nowhere", "type": "MIGRATE", "data": {
        "target_uri": there.url(), "enrollment_token": "d3Jvbmc6a2V5", "settings": {},
    }}));
    let ack = here.acknowledged("nowhere");
    assert!(ack["error"].as_str().unwrap().contains("token is not valid"), "{ack}");
    host.is_connected();
    here.send(&json!({"id": "move", "type": "MIGRATE", "data": {
        "target_uri": there.url(), "enrollment_token": crate::stub::TOKEN, "settings": {},
    }}));
    let ack = here.acknowledged("move");
    assert!(ack.get("error").is_none(), "{ack}");
    let told = here.wait_for("audit", |_| true);
    assert_eq!(told["request"]["body"]["reason"], "migrated");
    // Nothing of the fleet before goes along.
    let first = there.wait_for("checkin", |_| true);
    assert_eq!(first["request"]["body"].get("policy_revision_idx"), None, "{first}");
    let enrolled = there.wait_for("enroll", |record| record["response"]["status"] == 200);
    let status = host.is_connected();
    assert_eq!(status["info"]["id"], enrolled["response"]["body"]["item"]["id"]);
}

#[test]
fn an_unenrolled_agent_says_so_now_and_after_a_restart() {
    let ca = authority();
    let Some(stub) = Stub::start(&ca) else { return };
    let mut host = Host::of(&stub, &ca);
    stub.publish(&host.policy(&json!({"hosts": [stub.url()]})));
    stub.acknowledged("policy:p:2");
    stub.send(&json!({"id": "bye", "type": "UNENROLL", "data": null}));
    stub.acknowledged("bye");
    let says_so = |host: &Host| {
        host.status_becomes("unenrolled", |status| {
            status["FleetMessage"]
                .as_str()
                .unwrap()
                .contains("enroll this host again")
        })
    };
    says_so(&host);
    host.kill();
    let checkins = stub.seen("checkin").len();
    host.start();
    says_so(&host);
    assert!(!host.agent(&["status"]).status.success());
    assert_eq!(stub.seen("checkin").len(), checkins, "it leaves Fleet alone");
}
