//! Agent policies and package policies, and what is published of them.

use serde_json::{Value, json};

use crate::harness::Fleet;

async fn policy(fleet: &Fleet, name: &str) -> String {
    let body =
        json!({"id": "", "name": name, "namespace": "default", "description": "", "monitoring_enabled": ["logs"]});
    fleet.post("/api/fleet/agent_policies", body).await.item()["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_policy_reads_back_and_has_tokens() {
    let fleet = Fleet::start().await;
    let id = policy(&fleet, "p").await;
    let read = fleet.get(&format!("/api/fleet/agent_policies/{id}")).await.item();
    for (key, expected) in
        json!({"name": "p", "namespace": "default", "description": "", "status": "active", "is_managed": false,
        "is_protected": false, "revision": 1, "updated_by": "elastic", "inactivity_timeout": 1_209_600, "agents": 0,
        "package_policies": [], "monitoring_enabled": ["logs"]})
        .as_object()
        .unwrap()
    {
        assert_eq!(&read[key], expected, "{key}");
    }
    let keys = fleet
        .get(&format!("/api/fleet/enrollment_api_keys?kuery=policy_id:%22{id}%22"))
        .await
        .ok();
    assert!(
        keys["items"][0]["name"].as_str().unwrap().starts_with("Default ("),
        "{keys}"
    );
    let tokens = fleet
        .get(&format!("/api/fleet/uninstall_tokens?policyId={id}"))
        .await
        .ok();
    assert_eq!(tokens["items"][0].get("token"), None);
    let token_id = tokens["items"][0]["id"].as_str().unwrap();
    let token = fleet
        .get(&format!("/api/fleet/uninstall_tokens/{token_id}"))
        .await
        .item();
    assert_eq!(token["token"].as_str().unwrap().len(), 32);
}

#[tokio::test]
async fn a_change_that_agents_see_is_a_new_revision_and_another_is_not() {
    let fleet = Fleet::start().await;
    let id = policy(&fleet, "p").await;
    let path = format!("/api/fleet/agent_policies/{id}");
    let body = json!({"name": "renamed", "namespace": "default", "description": "words"});
    assert_eq!(fleet.put(&path, body).await.item()["revision"], 1);
    let body = json!({"name": "renamed", "namespace": "default", "monitoring_enabled": ["logs", "metrics"]});
    assert_eq!(fleet.put(&path, body).await.item()["revision"], 2);
    let published = fleet.published(&id).await;
    assert_eq!(
        (&published["revision_idx"], &published["data"]["revision"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(published["data"]["agent"]["monitoring"]["metrics"], true);
}

#[tokio::test]
async fn both_forms_of_package_policies_are_taken_and_shown() {
    let fleet = Fleet::start().await;
    let id = policy(&fleet, "p").await;
    let simplified = json!({"name": "logs", "policy_ids": [id], "namespace": "", "package": {"name": "filestream", "version": "1.0.0"},
        "inputs": {"filestream-filestream": {"streams": {"filestream.filestream": {"vars": {"paths": ["/srv/*.log"], "data_stream.dataset": "shop"}}}}}});
    let created = fleet
        .post("/api/fleet/package_policies?format=simplified", simplified)
        .await
        .item();
    let stream = &created["inputs"]["filestream-filestream"]["streams"]["filestream.filestream"];
    assert_eq!(stream["vars"]["paths"], json!(["/srv/*.log"]));
    let legacy = json!({"name": "sys", "description": "", "policy_id": id, "namespace": "default", "enabled": true, "force": false, "vars": null,
        "package": {"name": "system", "version": "1.60.0"},
        "inputs": [{"type": "logfile", "policy_template": "system", "enabled": true, "streams": [
            {"enabled": true, "data_stream": {"type": "logs", "dataset": "system.syslog"}, "vars": {"paths": {"value": ["/var/log/messages"], "type": "text"}}}]}]});
    let created = fleet.post("/api/fleet/package_policies", legacy).await.item();
    let compiled = &created["inputs"][0]["streams"][1]["compiled_stream"];
    assert_eq!(compiled["paths"], json!(["/var/log/messages"]));
    assert_eq!(
        created["inputs"][2]["enabled"], false,
        "inputs that the body leaves out are off"
    );
    let inputs = fleet.published(&id).await["data"]["inputs"].clone();
    let types: Vec<&str> = inputs
        .as_array()
        .unwrap()
        .iter()
        .map(|input| input["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["filestream", "logfile"]);
    assert_eq!(
        inputs[0]["streams"][0]["data_stream"],
        json!({"type": "logs", "dataset": "shop"})
    );
    let shown = fleet.get(&format!("/api/fleet/agent_policies/{id}")).await.item();
    assert!(
        shown["package_policies"]
            .as_array()
            .unwrap()
            .iter()
            .all(Value::is_object)
    );
    let again = fleet
        .post(
            "/api/fleet/package_policies",
            json!({"name": "sys", "package": {"name": "system", "version": ""}, "inputs": []}),
        )
        .await;
    assert!(again.refused(409).contains("already exists"));
}

#[tokio::test]
async fn an_integration_that_cannot_work_is_refused() {
    let fleet = Fleet::start().await;
    let id = policy(&fleet, "p").await;
    let with = |inputs: Value| json!({"name": "logs", "policy_ids": [id], "package": {"name": "filestream", "version": "1.0.0"}, "inputs": inputs});
    for (inputs, expected) in [
        (json!({"nope": {}}), "has no input `nope`"),
        (
            json!({"filestream-filestream": {"streams": {"filestream.filestream": {"vars": {"paths": []}}}}}),
            "Paths is required",
        ),
        (
            json!({"filestream-filestream": {"streams": {"filestream.filestream": {"vars": {"nope": 1}}}}}),
            "no variable `nope`",
        ),
        (
            json!({"filestream-filestream": {"streams": {"filestream.filestream": {"vars": {"parsers": "- ["}}}}}),
            "not valid YAML",
        ),
    ] {
        let message = fleet
            .post("/api/fleet/package_policies", with(inputs))
            .await
            .refused(400);
        assert!(message.contains(expected), "{message}");
    }
    let unknown =
        json!({"name": "x", "policy_ids": [id], "package": {"name": "nope", "version": "1.0.0"}, "inputs": {}});
    assert!(
        fleet
            .post("/api/fleet/package_policies", unknown)
            .await
            .refused(404)
            .contains("nope")
    );
}

#[tokio::test]
async fn secrets_of_integrations_are_references_everywhere() {
    let fleet = Fleet::start().await;
    let id = policy(&fleet, "p").await;
    let body = json!({"name": "prom", "policy_ids": [id], "package": {"name": "prometheus", "version": "1.0.0"}, "inputs": {
        "prometheus-prometheus/metrics": {"streams": {"prometheus.collector": {"vars": {"username": "u", "password": "hunter2"}}}}}});
    let created = fleet.post("/api/fleet/package_policies", body).await.item();
    assert!(!created.to_string().contains("hunter2"), "{created}");
    let reference = created["secret_references"][0]["id"].as_str().unwrap();
    assert_eq!(
        fleet.access.secret(reference).await.unwrap().unwrap().expose(),
        "hunter2"
    );
    let published = fleet.published(&id).await;
    assert_eq!(
        published["data"]["inputs"][0]["streams"][0]["password"],
        format!("$co.elastic.secret{{{reference}}}")
    );
    assert_eq!(published["data"]["secret_references"], json!([{"id": reference}]));
    let id = created["id"].as_str().unwrap();
    fleet.delete(&format!("/api/fleet/package_policies/{id}")).await.ok();
    assert!(fleet.access.secret(reference).await.unwrap().is_none());
}

#[tokio::test]
async fn copies_start_at_revision_one_with_the_same_integrations() {
    let fleet = Fleet::start().await;
    let copy = fleet
        .post("/api/fleet/agent_policies/default-policy/copy", json!({"name": "copy"}))
        .await
        .item();
    let id = copy["id"].as_str().unwrap();
    assert_eq!(copy["revision"], 1);
    assert_eq!(copy["package_policies"][0]["package"]["name"], "system");
    assert_eq!(fleet.published(id).await["data"]["inputs"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_policy_with_agents_stays() {
    let fleet = Fleet::start().await;
    let id = policy(&fleet, "p").await;
    let agent = json!({"type": "PERMANENT", "active": true, "policy_id": id, "enrolled_at": "2026-01-02T11:00:00Z"});
    fleet.write(".fleet-agents", "a1", agent).await;
    let refused = fleet
        .post("/api/fleet/agent_policies/delete", json!({"agentPolicyId": id}))
        .await
        .refused(400);
    assert!(refused.contains("assigned to any active or inactive agents"));
    fleet.delete("/api/fleet/agents/a1").await.ok();
    let deleted = fleet
        .post("/api/fleet/agent_policies/delete", json!({"agentPolicyId": id}))
        .await
        .ok();
    assert_eq!(deleted, json!({"id": id, "name": "p"}));
    assert_eq!(fleet.published(&id).await, Value::Null);
    assert_eq!(
        fleet
            .get(&format!("/api/fleet/enrollment_api_keys?kuery=policy_id:%22{id}%22"))
            .await
            .ok()["total"],
        0
    );
}

#[tokio::test]
async fn the_full_policy_is_signed_for_agents_and_a_file_for_others() {
    let fleet = Fleet::start().await;
    let full = fleet.get("/api/fleet/agent_policies/default-policy/full").await.item();
    assert!(full["signed"]["signature"].as_str().unwrap().len() > 80);
    assert!(full["agent"]["protection"]["signing_key"].as_str().unwrap().len() > 80);
    let file = fleet
        .get("/api/fleet/agent_policies/default-policy/download?standalone=true")
        .await;
    assert_eq!(file.headers["content-type"], "text/x-yaml; charset=utf-8");
    let yaml = file.ok();
    let read = settings::from_yaml_as_written("file", yaml.as_str().unwrap()).unwrap();
    assert_eq!(read["outputs"]["default"]["api_key"], "${API_KEY}");
    assert!(read.get("fleet").is_none() && read.get("signed").is_none());
}

#[tokio::test]
async fn fleet_server_needs_elasticsearch() {
    let fleet = Fleet::start().await;
    fleet
        .post(
            "/api/fleet/outputs",
            json!({"id": "l", "name": "l", "type": "logstash", "hosts": ["l:5044"]}),
        )
        .await
        .item();
    let body = json!({"name": "Fleet Server policy", "namespace": "default", "data_output_id": "l"});
    let answer = fleet.put("/api/fleet/agent_policies/fleet-server-policy", body).await;
    assert_eq!(answer.body["attributes"]["type"], "OutputInvalidError");
    assert!(answer.refused(400).contains("Fleet Server needs Elasticsearch"));
    fleet
        .put("/api/fleet/outputs/l", json!({"is_default": true}))
        .await
        .item();
    let pinned = fleet.get("/api/fleet/agent_policies/fleet-server-policy").await.item();
    assert_eq!(pinned["data_output_id"], "fleet-default-output");
    assert_eq!(
        fleet.published("default-policy").await["data"]["outputs"]["l"]["type"],
        "logstash"
    );
}

#[tokio::test]
async fn lists_filter_sort_and_page() {
    let fleet = Fleet::start().await;
    for name in ["b", "a", "c"] {
        policy(&fleet, name).await;
    }
    let names = |answer: Value| -> Vec<String> {
        answer["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let page = fleet
        .get("/api/fleet/agent_policies?sortField=name&sortOrder=asc&perPage=2&page=2")
        .await
        .ok();
    assert_eq!(
        (names(page.clone()), &page["total"]),
        (vec!["a".to_owned(), "b".to_owned()], &json!(5))
    );
    let found = fleet
        .get("/api/fleet/agent_policies?kuery=ingest-agent-policies.name:%22c%22")
        .await
        .ok();
    assert_eq!(names(found), ["c"]);
    assert!(
        fleet
            .get("/api/fleet/agent_policies?perPage=200&full=true")
            .await
            .refused(400)
            .contains("perPage")
    );
    assert!(
        fleet
            .get("/api/fleet/agent_policies?kuery=name:(")
            .await
            .refused(400)
            .contains("KQL")
    );
}

#[tokio::test]
async fn names_are_free_in_every_space() {
    let fleet = Fleet::start().await;
    let body = json!({"name": "edge", "namespace": "default"});
    let here = fleet.post("/api/fleet/agent_policies", body.clone()).await.item();
    fleet.post("/api/fleet/agent_policies", body.clone()).await.refused(409);
    let there = fleet
        .post("/s/team/api/fleet/agent_policies", body.clone())
        .await
        .item();
    assert_eq!(there["space_ids"], json!(["team"]));
    fleet.post("/s/team/api/fleet/agent_policies", body).await.refused(409);
    let names = async |prefix: &str| -> Vec<String> {
        let answer = fleet
            .get(&format!("{prefix}/api/fleet/agent_policies?kuery=name:edge"))
            .await
            .ok();
        let items = answer["items"].as_array().unwrap().iter();
        items.map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("").await, [here["id"].as_str().unwrap()]);
    assert_eq!(names("/s/team").await, [there["id"].as_str().unwrap()]);
    let path = format!("/api/fleet/agent_policies/{}", there["id"].as_str().unwrap());
    fleet.get(&path).await.refused(404);
    fleet.get(&format!("/s/team{path}")).await.item();
    let integration = |policy: &Value| json!({"name": "logs", "policy_ids": [policy["id"]], "package": {"name": "system", "version": "1.60.0"}, "inputs": {}});
    fleet
        .post("/api/fleet/package_policies", integration(&here))
        .await
        .item();
    fleet
        .post("/api/fleet/package_policies", integration(&here))
        .await
        .refused(409);
    let made = fleet
        .post("/s/team/api/fleet/package_policies", integration(&there))
        .await
        .item();
    assert_eq!(made["spaceIds"], json!(["team"]));
    let path = format!("/api/fleet/package_policies/{}", made["id"].as_str().unwrap());
    fleet.get(&path).await.refused(404);
    fleet.delete(&format!("/s/team{path}")).await.ok();
}

#[tokio::test]
async fn a_revision_can_be_asked_for_and_versions_add_up() {
    let fleet = Fleet::start().await;
    let id = policy(&fleet, "p").await;
    let path = format!("/api/fleet/agent_policies/{id}");
    let body = json!({"name": "p", "namespace": "default", "bumpRevision": true});
    assert_eq!(fleet.put(&path, body).await.item()["revision"], 2);
    assert_eq!(fleet.published(&id).await["revision_idx"], 2);
    let with = |versions: Value| json!({"name": "p", "namespace": "default", "required_versions": versions});
    for (versions, reason) in [
        (json!([{"version": "9.2.0", "percentage": 101}]), "between 0 and 100"),
        (json!([{"version": "nine", "percentage": 1}]), "semver"),
        (
            json!([{"version": "9.2.0", "percentage": 1}, {"version": "9.2.0", "percentage": 1}]),
            "duplicate",
        ),
        (
            json!([{"version": "9.2.0", "percentage": 60}, {"version": "9.1.0", "percentage": 60}]),
            "exceed 100",
        ),
    ] {
        let refused = fleet.put(&path, with(versions)).await.refused(400);
        assert!(refused.contains(reason), "{refused}");
    }
    fleet
        .put(&path, with(json!([{"version": "9.2.0", "percentage": 50}])))
        .await
        .item();
}

#[tokio::test]
async fn a_policy_and_its_integrations_are_made_together_or_not_at_all() {
    let fleet = Fleet::start().await;
    let body = |name: &str, package: &str| {
        json!({"name": name, "namespace": "default", "package_policies": [
            {"name": format!("{name} logs"), "package": {"name": package, "version": "1.60.0"}, "inputs": {}}]})
    };
    let path = "/internal/fleet/agent_and_package_policies";
    let made = fleet.post(path, body("both", "system")).await.item();
    assert_eq!(made["package_policies"][0]["name"], "both logs");
    fleet.post(path, body("neither", "no-such-package")).await.refused(404);
    let left = fleet.get("/api/fleet/agent_policies?kuery=name:neither").await.ok();
    assert_eq!(left["total"], 0);
}

#[tokio::test]
async fn what_belongs_to_other_consoles_is_answered() {
    let fleet = Fleet::start().await;
    let status = fleet.get("/api/fleet/fleet_server_policy_status").await.ok();
    assert_eq!(status["items"][0]["id"], "fleet-server-policy");
    let synced = fleet.get("/api/fleet/remote_synced_integrations/status").await.ok();
    assert_eq!(synced["integrations"], json!([]));
    let of = |id: &str| format!("/api/fleet/remote_synced_integrations/{id}/remote_status");
    fleet.get(&of("none")).await.refused(404);
    fleet.get(&of("fleet-default-output")).await.refused(400);
}

#[tokio::test]
async fn a_copy_has_secrets_of_its_own_and_a_deleted_policy_leaves_none() {
    let fleet = Fleet::start().await;
    let id = policy(&fleet, "p").await;
    let body = json!({"name": "prom", "policy_ids": [id], "package": {"name": "prometheus", "version": "1.0.0"}, "inputs": {
        "prometheus-prometheus/metrics": {"streams": {"prometheus.collector": {"vars": {"username": "u", "password": "hunter2"}}}}}});
    let created = fleet.post("/api/fleet/package_policies", body).await.item();
    let copy = json!({"name": "copy"});
    let copy = fleet
        .post(&format!("/api/fleet/agent_policies/{id}/copy"), copy)
        .await
        .item();
    let of = |integration: &Value| integration["secret_references"][0]["id"].as_str().unwrap().to_owned();
    let (original, copied) = (of(&created), of(&copy["package_policies"][0]));
    assert_ne!(original, copied);
    let delete = json!({"agentPolicyId": id});
    fleet.post("/api/fleet/agent_policies/delete", delete).await.ok();
    assert!(fleet.access.secret(&original).await.unwrap().is_none());
    assert_eq!(fleet.access.secret(&copied).await.unwrap().unwrap().expose(), "hunter2");
}

#[tokio::test]
async fn an_integration_that_an_output_cannot_serve_is_refused_and_nothing_is_left() {
    let fleet = Fleet::start().await;
    let logstash = json!({"id": "l", "name": "l", "type": "logstash", "hosts": ["l:5044"]});
    fleet.post("/api/fleet/outputs", logstash).await.item();
    let body = json!({"name": "fs", "namespace": "default", "has_fleet_server": true, "data_output_id": "l"});
    let answer = fleet.post("/api/fleet/agent_policies", body).await;
    assert_eq!(
        answer.body["attributes"]["type"], "OutputInvalidError",
        "{}",
        answer.body
    );
    assert!(answer.refused(400).contains("fleet_server"));
    let left = fleet.get("/api/fleet/agent_policies?kuery=name:fs").await.ok();
    assert_eq!(left["total"], 0);
}

#[tokio::test]
async fn conditions_of_inputs_and_streams_read_back_and_reach_the_agent() {
    let fleet = Fleet::start().await;
    let id = policy(&fleet, "p").await;
    let stream = json!({"condition": "${host.name} == 'b'", "vars": {"paths": ["/x"]}});
    let body = json!({"name": "c", "policy_ids": [id], "package": {"name": "filestream", "version": ""}, "inputs": {
        "filestream-filestream": {"condition": "${host.name} == 'a'", "streams": {"filestream.filestream": stream}}}});
    let created = fleet
        .post("/api/fleet/package_policies?format=simplified", body)
        .await
        .item();
    let input = &created["inputs"]["filestream-filestream"];
    assert_eq!(input["condition"], "${host.name} == 'a'");
    assert_eq!(
        input["streams"]["filestream.filestream"]["condition"],
        "${host.name} == 'b'"
    );
    let published = fleet.published(&id).await;
    let input = &published["data"]["inputs"][0];
    assert_eq!(
        (&input["condition"], &input["streams"][0]["condition"]),
        (&json!("${host.name} == 'a'"), &json!("${host.name} == 'b'"))
    );
}

/// Words of the paths are ids like any other: what a method does tells them apart.
#[tokio::test]
async fn a_policy_may_be_called_what_a_path_is_called() {
    let fleet = Fleet::start().await;
    for id in ["delete", "_bulk_get", "outputs", "copy"] {
        let path = format!("/api/fleet/agent_policies/{id}");
        assert_eq!(fleet.get(&path).await.status, 404, "{id}");
        let body = json!({"id": id, "name": id, "namespace": "default"});
        let made = fleet.post("/api/fleet/agent_policies", body).await.item();
        assert_eq!(fleet.get(&path).await.item()["name"], made["name"]);
        let body = json!({"name": id, "namespace": "default", "description": "changed"});
        assert_eq!(fleet.put(&path, body).await.item()["description"], "changed");
        let copied = fleet
            .post(&format!("{path}/copy"), json!({"name": format!("copy of {id}")}))
            .await;
        assert_eq!(copied.item()["revision"], 1);
    }
    let wrong = fleet.delete("/api/fleet/agent_policies/delete").await;
    assert_eq!(
        (wrong.status.as_u16(), &wrong.headers["allow"]),
        (405, &"POST".parse().unwrap())
    );
    let gone = fleet
        .post("/api/fleet/agent_policies/delete", json!({"agentPolicyId": "delete"}))
        .await;
    assert_eq!(gone.ok()["id"], "delete");
    assert_eq!(fleet.get("/api/fleet/agent_policies/delete").await.status, 404);
    for (path, body) in [
        (
            "/api/fleet/package_policies/upgrade",
            "Package policy upgrade not found",
        ),
        ("/api/fleet/agents/bulk_upgrade", "Agent bulk_upgrade not found"),
        (
            "/api/fleet/enrollment_api_keys/_bulk_delete",
            "EnrollmentAPIKey _bulk_delete not found",
        ),
    ] {
        let answer = fleet.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(
            answer.body["message"].as_str().unwrap().contains(body),
            "{}",
            answer.body
        );
    }
}

#[tokio::test]
async fn an_integration_that_is_written_as_it_is_makes_no_revision() {
    let fleet = Fleet::start().await;
    let policy = json!({"id": "p", "name": "p", "namespace": "default"});
    fleet.post("/api/fleet/agent_policies", policy).await.ok();
    let body =
        json!({"name": "i", "policy_ids": ["p"], "package": {"name": "system", "version": "1.60.0"}, "inputs": {}});
    let made = fleet.post("/api/fleet/package_policies", body.clone()).await.item();
    let path = format!("/api/fleet/package_policies/{}", made["id"].as_str().unwrap());
    let revision = fleet.get("/api/fleet/agent_policies/p").await.item()["revision"].clone();
    assert_eq!(fleet.put(&path, body.clone()).await.item(), made);
    let said = json!({"name": "i", "policy_ids": ["p"], "package": made["package"], "inputs": made["inputs"]});
    assert_eq!(fleet.put(&path, said).await.item(), made);
    let shown = fleet.get(&format!("{path}?format=simplified")).await.item();
    let said = json!({"name": "i", "policy_ids": ["p"], "package": made["package"], "inputs": shown["inputs"]});
    assert_eq!(fleet.put(&path, said).await.item(), made);
    assert_eq!(
        fleet.get("/api/fleet/agent_policies/p").await.item()["revision"],
        revision
    );
    let changed =
        json!({"name": "i", "policy_ids": ["p"], "package": made["package"], "inputs": {}, "namespace": "other"});
    assert_eq!(fleet.put(&path, changed).await.item()["revision"], 2);
    assert_ne!(
        fleet.get("/api/fleet/agent_policies/p").await.item()["revision"],
        revision
    );
}
