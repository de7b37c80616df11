//! Outputs of type `remote_elasticsearch`: the Fleet Server makes the agents' keys in the other cluster.

use serde_json::json;
use testkit::{Flotilla, eventually};

use crate::host::{Host, succeeded};
use crate::{FLOTILLA, SOON, data_arrives, online};

#[test]
fn data_goes_to_another_cluster_with_keys_of_that_cluster() {
    let (near, far) = (
        Flotilla::start(FLOTILLA, &["--no-agent"]),
        Flotilla::start(FLOTILLA, &["--no-agent"]),
    );
    let output = json!({
        "name": "far", "type": "remote_elasticsearch", "hosts": [far.text("/urls/elasticsearch")], "is_default": false,
        "is_default_monitoring": false, "ca_trusted_fingerprint": far.text("/ca/sha256"),
        "service_token": far.text("/service_token"),
    });
    let made = near.console().post("/api/fleet/outputs", &output);
    let output_id = made["item"]["id"]
        .as_str()
        .unwrap_or_else(|| panic!("no output: {made}"));
    let policy = json!({"name": "Default policy", "namespace": "default", "data_output_id": output_id});
    let changed = near.console().put("/api/fleet/agent_policies/default-policy", &policy);
    assert_eq!(changed["item"]["data_output_id"], output_id, "{changed}");
    let agent = Host::new();
    succeeded(&agent.enroll(&[
        format!("--url={}", near.text("/urls/fleet_server")),
        format!("--enrollment-token={}", near.text("/enrollment_token")),
        format!("--certificate-authorities={}", near.text("/ca/path")),
    ]));
    let _agent = agent.start();
    online(&near, 1);
    data_arrives(&far, &agent.agent_id());
    let keys = eventually("the agent's key in the far cluster", SOON, || {
        let keys = far.elasticsearch().get("/_security/api_key");
        (keys["api_keys"]
            .as_array()?
            .iter()
            .any(|key| key["name"] == format!("{}:{output_id}", agent.agent_id())))
        .then_some(keys)
    });
    assert!(keys["api_keys"].is_array());
}
