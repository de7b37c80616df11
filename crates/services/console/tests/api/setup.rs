//! What is there from the start.

use serde_json::json;

use crate::harness::Fleet;

#[tokio::test]
async fn setup_publishes_two_policies_with_system_and_monitoring() {
    let fleet = Fleet::start().await;
    let default = fleet.published("default-policy").await;
    assert_eq!(
        default["data"]["outputs"]["default"]["hosts"],
        json!(["https://es.example:9200"])
    );
    assert_eq!(
        default["data"]["outputs"]["default"]["ssl.ca_trusted_fingerprint"],
        "ab".repeat(32)
    );
    assert_eq!(default["data"]["fleet"]["hosts"], json!(["https://fleet.example:8220"]));
    assert_eq!(default["data"]["agent"]["monitoring"]["logs"], true);
    let types: Vec<&str> = default["data"]["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|input| input["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["logfile", "system/metrics"]);
    assert_eq!(default["data"]["revision"], default["revision_idx"]);
    let fleet_server = fleet.published("fleet-server-policy").await;
    let inputs = fleet_server["data"]["inputs"].as_array().unwrap();
    assert!(inputs.iter().any(|input| input["type"] == "fleet-server"));
    assert_eq!(fleet_server["default_fleet_server"], true);
}

#[tokio::test]
async fn a_second_setup_changes_nothing() {
    let fleet = Fleet::start().await;
    let before: Vec<_> = [
        ".fleet-policies",
        ".fleet-enrollment-api-keys",
        ".flotilla-agent-policies",
        ".flotilla-outputs",
    ]
    .into();
    let mut checkpoints = Vec::new();
    for index in &before {
        checkpoints.push(fleet.store.checkpoint(index).await.unwrap());
    }
    let again = fleet.console.setup().await.unwrap();
    assert_eq!(again.enrollment_token, fleet.setup.enrollment_token);
    for (index, checkpoint) in before.iter().zip(checkpoints) {
        assert_eq!(fleet.store.checkpoint(index).await.unwrap(), checkpoint, "{index}");
    }
    let answer = fleet.post("/api/fleet/setup", json!({})).await.ok();
    assert_eq!(answer, json!({"isInitialized": true, "nonFatalErrors": []}));
}

#[tokio::test]
async fn the_enrollment_token_is_a_key_of_its_policy() {
    let fleet = Fleet::start().await;
    let list = fleet
        .get("/api/fleet/enrollment_api_keys?kuery=policy_id:%22default-policy%22")
        .await
        .ok();
    assert_eq!(list["total"], 1, "{list}");
    assert_eq!(list["items"][0]["api_key"], fleet.setup.enrollment_token.expose());
    let id = list["items"][0]["id"].as_str().unwrap();
    let one = fleet.get(&format!("/api/fleet/enrollment_api_keys/{id}")).await.item();
    assert_eq!(one, list["items"][0], "alone it says what it says in the list");
    let credential =
        access::Credential::from_header(&format!("ApiKey {}", fleet.setup.enrollment_token.expose())).unwrap();
    let principal = fleet.access.authenticate(&credential).await.unwrap();
    assert_eq!(principal.metadata["policy_id"], "default-policy");
}

#[tokio::test]
async fn status_tells_more_to_those_who_are_known() {
    let fleet = Fleet::start().await;
    let anonymous = fleet.ask_as(None, http::Method::GET, "/api/status", None).await.ok();
    assert_eq!(anonymous, json!({"status": {"overall": {"level": "available"}}}));
    for path in ["/api/status", "/s/team/api/status"] {
        let known = fleet.get(path).await.ok();
        assert_eq!(known["version"]["number"], "9.2.0");
        assert_eq!(known["version"]["build_flavor"], "traditional");
    }
    let state = fleet.get("/api/fleet/agents/setup").await.ok();
    assert_eq!(state["missing_requirements"], json!(["fleet_server"]));
}
