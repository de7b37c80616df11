//! Agents, as Fleet Server leaves their documents, and the actions for them.

use serde_json::{Value, json};

use crate::harness::Fleet;

async fn agent(fleet: &Fleet, id: &str, changes: Value) {
    let mut document = json!({
        "type": "PERMANENT", "active": true, "policy_id": "default-policy", "enrolled_at": "2026-01-02T11:00:00Z",
        "last_checkin": "2026-01-02T11:59:50Z", "last_checkin_status": "online", "policy_revision_idx": 1, "tags": ["prod"],
        "agent": {"id": id, "version": "9.2.0"}, "access_api_key_id": "k",
        "local_metadata": {"host": {"hostname": format!("host-{id}")}, "elastic": {"agent": {"version": "9.1.0", "upgradeable": true, "log_level": "info"}}},
    });
    for (key, value) in changes.as_object().unwrap() {
        document[key] = value.clone();
    }
    fleet.write(".fleet-agents", id, document).await;
}

async fn three_agents() -> Fleet {
    let fleet = Fleet::start().await;
    agent(&fleet, "a1", json!({})).await;
    agent(
        &fleet,
        "a2",
        json!({"last_checkin": "2026-01-02T11:00:00Z", "tags": ["test"]}),
    )
    .await;
    agent(&fleet, "a3", json!({"active": false, "policy_id": "other"})).await;
    fleet
}

async fn ids(fleet: &Fleet, query: &str) -> Vec<String> {
    let answer = fleet
        .get(&format!("/api/fleet/agents?sortField=agent.id&sortOrder=asc{query}"))
        .await
        .ok();
    answer["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn an_agent_shows_what_clients_read() {
    let fleet = three_agents().await;
    let read = fleet.get("/api/fleet/agents/a1").await.item();
    assert_eq!(
        (&read["status"], &read["policy_revision"], &read["agent"]["version"]),
        (&json!("online"), &json!(1), &json!("9.2.0"))
    );
    assert_eq!(read["local_metadata"]["host"]["hostname"], "host-a1");
    assert!(read.get("policy_revision_idx").is_none() && read.get("replace_token").is_none());
}

#[tokio::test]
async fn lists_are_filtered_by_fields_and_by_status() {
    let fleet = three_agents().await;
    assert_eq!(ids(&fleet, "").await, ["a1", "a2"]);
    assert_eq!(ids(&fleet, "&showInactive=true").await, ["a1", "a2", "a3"]);
    assert_eq!(ids(&fleet, "&kuery=status:offline").await, ["a2"]);
    assert_eq!(
        ids(&fleet, "&kuery=fleet-agents.status:online%20or%20status:offline").await,
        ["a1", "a2"]
    );
    assert_eq!(
        ids(&fleet, "&kuery=tags:prod%20and%20policy_id:%22default-policy%22").await,
        ["a1"]
    );
    assert_eq!(
        ids(&fleet, "&kuery=local_metadata.host.hostname.keyword:host-a2").await,
        ["a2"]
    );
    assert_eq!(ids(&fleet, "&kuery=not%20status:online").await, ["a2"]);
    assert!(
        fleet
            .get("/api/fleet/agents?kuery=nope:1")
            .await
            .refused(400)
            .contains("nope")
    );
    assert!(
        fleet
            .get("/api/fleet/agents?page=600&perPage=20")
            .await
            .refused(400)
            .contains("10000")
    );
}

#[tokio::test]
async fn deep_pages_go_by_search_after() {
    let fleet = three_agents().await;
    let first = fleet
        .get("/api/fleet/agents?perPage=1&sortField=agent.id&sortOrder=asc")
        .await
        .ok();
    let after: String =
        url::form_urlencoded::byte_serialize(first["nextSearchAfter"].as_str().unwrap().as_bytes()).collect();
    assert_eq!(ids(&fleet, &format!("&perPage=1&searchAfter={after}")).await, ["a2"]);
}

#[tokio::test]
async fn the_summary_counts_every_agent_once() {
    let fleet = three_agents().await;
    let results = fleet.get("/api/fleet/agent_status").await.ok()["results"].clone();
    for (key, expected) in [
        ("online", 1),
        ("offline", 1),
        ("unenrolled", 1),
        ("all", 3),
        ("active", 2),
        ("inactive", 0),
    ] {
        assert_eq!(results[key], expected, "{key}: {results}");
    }
    let of_policy = fleet.get("/api/fleet/agent_status?policyId=other").await.ok();
    assert_eq!(of_policy["results"]["all"], 1);
}

#[tokio::test]
async fn actions_reach_fleet_server_with_an_expiration() {
    let fleet = three_agents().await;
    fleet.post("/api/fleet/agents/a1/unenroll", json!({})).await.ok();
    let action = newest_action(&fleet).await;
    assert_eq!(
        (&action["type"], &action["agents"]),
        (&json!("UNENROLL"), &json!(["a1"]))
    );
    assert_eq!(action["expiration"], "2026-02-01T12:00:00.000Z");
    assert!(action["signed"]["signature"].is_string());
    assert_eq!(fleet.get("/api/fleet/agents/a1").await.item()["status"], "unenrolling");
    fleet.clock.step(jiff::SignedDuration::from_secs(1));
    fleet
        .post(
            "/api/fleet/agents/a2/actions",
            json!({"action": {"type": "SETTINGS", "data": {"log_level": "debug"}}}),
        )
        .await
        .item();
    assert_eq!(newest_action(&fleet).await["data"], json!({"log_level": "debug"}));
}

async fn newest_action(fleet: &Fleet) -> Value {
    let request = query::SearchRequest::new(".fleet-actions")
        .size(1)
        .sort_by("@timestamp", query::SortOrder::Descending);
    fleet.store.search(request).await.unwrap().hits[0]
        .document
        .source
        .to_value()
}

#[tokio::test]
async fn revoking_ends_an_agent_at_once() {
    let fleet = three_agents().await;
    fleet
        .post("/api/fleet/agents/a1/unenroll", json!({"revoke": true}))
        .await
        .ok();
    assert_eq!(fleet.get("/api/fleet/agents/a1").await.item()["status"], "unenrolled");
}

#[tokio::test]
async fn bulk_actions_take_ids_and_kql() {
    let fleet = three_agents().await;
    let other = fleet
        .post(
            "/api/fleet/agent_policies",
            json!({"id": "p2", "name": "p2", "namespace": "default"}),
        )
        .await
        .item();
    let body = json!({"agents": "tags:prod or tags:test", "policy_id": other["id"]});
    let answer = fleet.post("/api/fleet/agents/bulk_reassign", body).await.ok();
    assert!(answer["actionId"].is_string());
    assert_eq!(fleet.get("/api/fleet/agents/a2").await.item()["policy_id"], "p2");
    let body = json!({"agents": ["a1", "a2"], "tagsToAdd": ["new"], "tagsToRemove": ["prod"]});
    fleet.post("/api/fleet/agents/bulk_update_agent_tags", body).await.ok();
    assert_eq!(fleet.get("/api/fleet/agents/a1").await.item()["tags"], json!(["new"]));
    assert_eq!(
        fleet.get("/api/fleet/agents/tags").await.ok(),
        json!({"items": ["new", "test"]})
    );
    let status = fleet.get("/api/fleet/agents/action_status").await.ok();
    let tags = status["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["type"] == "UPDATE_TAGS")
        .unwrap();
    assert_eq!((&tags["status"], &tags["nbAgentsAck"]), (&json!("COMPLETE"), &json!(2)));
}

#[tokio::test]
async fn upgrades_are_checked_first() {
    let fleet = three_agents().await;
    let refused = fleet
        .post("/api/fleet/agents/a1/upgrade", json!({"version": "99.0.0"}))
        .await
        .refused(400);
    assert!(refused.contains("newer than the console"));
    assert!(
        fleet
            .post("/api/fleet/agents/a1/upgrade", json!({"version": "9.1.0"}))
            .await
            .refused(400)
            .contains("already running")
    );
    assert!(
        fleet
            .post("/api/fleet/agents/a1/upgrade", json!({"version": "x"}))
            .await
            .refused(400)
            .contains("semantic version")
    );
    fleet
        .post("/api/fleet/agents/a1/upgrade", json!({"version": "9.2.0"}))
        .await
        .ok();
    assert_eq!(newest_action(&fleet).await["data"], json!({"version": "9.2.0"}));
    assert_eq!(fleet.get("/api/fleet/agents/a1").await.item()["status"], "updating");
}

#[tokio::test]
async fn an_upgrade_that_failed_after_its_acknowledgement_has_failed() {
    let fleet = three_agents().await;
    let body = json!({"agents": ["a1", "a2"], "version": "9.2.0"});
    let answer = fleet.post("/api/fleet/agents/bulk_upgrade", body).await.ok();
    let id = answer["actionId"].as_str().unwrap();
    let result = async |name: &str, agent: &str, error: Value| {
        let kind = name.is_empty().then_some(Value::Null);
        let document = json!({"@timestamp": "2026-01-02T12:00:01Z", "action_id": id, "agent_id": agent, "error": error,
            "action_input_type": kind.unwrap_or_else(|| json!("upgrade_outcome"))});
        fleet
            .write(".fleet-actions-results", &format!("{id}:{agent}{name}"), document)
            .await;
    };
    result("", "a1", Value::Null).await;
    result(":outcome", "a1", json!("no such file")).await;
    let status = fleet.get("/api/fleet/agents/action_status").await.ok()["items"][0].clone();
    assert_eq!(
        (&status["status"], &status["nbAgentsAck"], &status["nbAgentsFailed"]),
        (&json!("IN_PROGRESS"), &json!(1), &json!(1)),
        "an outcome is no acknowledgement"
    );
    result("", "a2", Value::Null).await;
    let status = fleet.get("/api/fleet/agents/action_status").await.ok()["items"][0].clone();
    assert_eq!(
        (
            &status["status"],
            &status["nbAgentsAck"],
            &status["latestErrors"][0]["error"]
        ),
        (&json!("FAILED"), &json!(2), &json!("no such file"))
    );
}

#[tokio::test]
async fn an_acknowledged_action_is_complete() {
    let fleet = three_agents().await;
    let answer = fleet
        .post(
            "/api/fleet/agents/a1/request_diagnostics",
            json!({"additional_metrics": ["CPU"]}),
        )
        .await
        .ok();
    let id = answer["actionId"].as_str().unwrap();
    let state = |answer: Value| answer["items"][0]["status"].clone();
    assert_eq!(
        state(fleet.get("/api/fleet/agents/action_status").await.ok()),
        "IN_PROGRESS"
    );
    assert_eq!(
        fleet.get("/api/fleet/agents/a1/uploads").await.ok()["items"][0]["status"],
        "AWAITING_UPLOAD"
    );
    let result =
        json!({"@timestamp": "2026-01-02T12:00:01Z", "action_id": id, "agent_id": "a1", "error": "no space left"});
    fleet.write(".fleet-actions-results", &format!("{id}:a1"), result).await;
    let failed = fleet.get("/api/fleet/agents/action_status").await.ok();
    assert_eq!(
        (state(failed.clone()), &failed["items"][0]["latestErrors"][0]["error"]),
        (json!("FAILED"), &json!("no space left"))
    );
    assert_eq!(
        fleet.get("/api/fleet/agents/a1/uploads").await.ok()["items"][0]["status"],
        "FAILED"
    );
}

#[tokio::test]
async fn silent_agents_are_unenrolled_when_their_policy_says_so() {
    let fleet = three_agents().await;
    let body = json!({"name": "Default policy", "namespace": "default", "unenroll_timeout": 1800});
    fleet.put("/api/fleet/agent_policies/default-policy", body).await.item();
    fleet_console::domain::agent_maintenance::round(&fleet.console)
        .await
        .unwrap();
    assert_eq!(fleet.get("/api/fleet/agents/a1").await.item()["status"], "online");
    assert_eq!(fleet.get("/api/fleet/agents/a2").await.item()["status"], "unenrolled");
}

#[tokio::test]
async fn a_file_of_an_agent_is_listed_read_and_removed_under_the_id_that_fleet_server_gave_it() {
    let fleet = three_agents().await;
    let asked = fleet
        .post("/api/fleet/agents/a1/request_diagnostics", json!({}))
        .await
        .ok();
    let action = asked["actionId"].as_str().unwrap();
    let id = format!("{action}.a1");
    let meta = json!({"action_id": action, "agent_id": "a1", "src": "agent", "upload_id": "u1",
                      "file": {"name": "diagnostics.zip", "Status": "READY", "size": 6, "ChunkSize": 3}});
    fleet.write(".fleet-fileds-fromhost-meta-agent", &id, meta).await;
    for (number, data, last) in [(0, "YWJj", false), (1, "ZGVm", true)] {
        let chunk = json!({"bid": id, "data": data, "last": last, "size": 3});
        let chunk_id = format!("{id}.{number}");
        fleet.write(".fleet-fileds-fromhost-data-agent", &chunk_id, chunk).await;
    }
    let list = fleet.get("/api/fleet/agents/a1/uploads").await.ok();
    let item = &list["items"][0];
    assert_eq!(
        (&item["id"], &item["status"], &item["name"]),
        (&json!(id), &json!("READY"), &json!("diagnostics.zip"))
    );
    let file = fleet.get(item["filePath"].as_str().unwrap()).await;
    assert_eq!(
        file.headers["content-disposition"],
        "attachment; filename=\"diagnostics.zip\""
    );
    assert_eq!(file.ok(), "abcdef");
    let path = format!("/api/fleet/agents/files/{id}");
    assert_eq!(fleet.delete(&path).await.ok(), json!({"id": id, "deleted": true}));
    assert_eq!(
        fleet.get("/api/fleet/agents/a1/uploads").await.ok()["items"][0]["status"],
        "DELETED"
    );
    fleet.get(&format!("{path}/diagnostics.zip")).await.refused(404);
}

#[tokio::test]
async fn agents_come_with_what_they_use_when_asked() {
    let fleet = three_agents().await;
    for (time, cpu) in [("2026-01-02T11:58:00.000Z", 1000), ("2026-01-02T11:59:00.000Z", 4000)] {
        let document = json!({"@timestamp": time, "elastic_agent": {"id": "a1", "process": "elastic-agent"},
            "data_stream": {"type": "metrics", "dataset": "elastic_agent.elastic_agent", "namespace": "default"},
            "system": {"process": {"memory": {"size": 1000}, "cpu": {"total": {"value": cpu}}}}});
        let operation = store::Operation {
            index: "metrics-elastic_agent.elastic_agent-default".into(),
            id: None,
            require_data_stream: false,
            action: store::Action::Create(store::Source::of(&document)),
        };
        for outcome in fleet
            .store
            .bulk(vec![operation], store::Refresh::WaitFor)
            .await
            .unwrap()
        {
            outcome.written().unwrap();
        }
    }
    let metrics = json!({"cpu_avg": 0.05, "memory_size_byte_avg": 1000.0});
    let read = |path: &'static str| fleet.get(path);
    assert_eq!(
        read("/api/fleet/agents/a1?withMetrics=true").await.item()["metrics"],
        metrics
    );
    let list = read("/api/fleet/agents?withMetrics=true&kuery=agent.id:a2").await.ok();
    assert_eq!(list["items"][0].get("metrics"), None);
    assert_eq!(read("/api/fleet/agents/a1").await.item().get("metrics"), None);
}

#[tokio::test]
async fn a_point_in_time_goes_along_from_page_to_page() {
    let fleet = three_agents().await;
    let first = fleet
        .get("/api/fleet/agents?perPage=1&openPit=true&pitKeepAlive=1m&showInactive=true")
        .await
        .ok();
    let pit = first["pit"].as_str().unwrap();
    let after = first["nextSearchAfter"].as_str().unwrap();
    let encoded: String = url::form_urlencoded::byte_serialize(after.as_bytes()).collect();
    let second = fleet
        .get(&format!(
            "/api/fleet/agents?perPage=1&showInactive=true&pitId={pit}&searchAfter={encoded}"
        ))
        .await
        .ok();
    assert_eq!(second["pit"], pit);
    assert_ne!(second["items"][0]["id"], first["items"][0]["id"]);
    let refused = fleet.get("/api/fleet/agents?pitId=nope").await.refused(400);
    assert!(refused.contains("openPit"), "{refused}");
}

#[tokio::test]
async fn joining_a_cluster_or_a_host_is_a_text() {
    let fleet = Fleet::start().await;
    let path = "/api/fleet/kubernetes?fleetServer=https://f:8220&enrolToken=dG9rZW4=";
    let yaml = fleet.get(path).await.ok()["item"].as_str().unwrap().to_owned();
    assert!(
        yaml.contains("value: \"https://f:8220\"") && yaml.contains("value: \"dG9rZW4=\""),
        "{yaml}"
    );
    let file = fleet.get("/api/fleet/kubernetes/download").await;
    assert_eq!(file.headers["content-type"], "text/plain; charset=utf-8");
    let own = file.ok();
    let own = own.as_str().unwrap();
    assert!(
        own.contains("https://fleet.example:8220"),
        "without a URL the default host's: {own}"
    );
    assert!(own.contains("kind: DaemonSet") && own.contains("kind: ClusterRoleBinding"));
    let script = fleet.get("/api/fleet/install/linux?enrollmentToken=it's").await.ok();
    assert!(
        script.as_str().unwrap().contains(r"--enrollment-token='it'\''s'"),
        "{script}"
    );
    assert!(
        fleet
            .get("/api/fleet/install/amiga")
            .await
            .refused(400)
            .contains("linux")
    );
}

#[tokio::test]
async fn a_token_for_another_fleet_is_one_of_its_own_account() {
    let fleet = Fleet::start().await;
    let made = fleet
        .post("/api/fleet/service_tokens", json!({"remote": true}))
        .await
        .ok();
    let bearer = format!("Bearer {}", made["value"].as_str().unwrap());
    let credential = ::access::Credential::from_header(&bearer).unwrap();
    let principal = fleet.access.authenticate(&credential).await.unwrap();
    assert_eq!(principal.username, "elastic/fleet-server-remote");
}

#[tokio::test]
async fn whoever_can_be_upgraded_is_listed_and_counted() {
    let fleet = Fleet::start().await;
    for (id, version) in [("old", "9.1.0"), ("new", "9.2.0"), ("odd", "none")] {
        agent(&fleet, id, json!({"agent": {"id": id, "version": version}})).await;
    }
    assert_eq!(ids(&fleet, "&showUpgradeable=true").await, ["old"]);
    let policy = fleet.get("/api/fleet/agent_policies/default-policy").await.item();
    assert_eq!(
        (&policy["agents"], &policy["unprivileged_agents"]),
        (&json!(3), &json!(0))
    );
    agent(
        &fleet,
        "stuck",
        json!({"agent": {"id": "stuck", "version": "9.1.0"},
        "upgrade_details": {"target_version": "9.2.0", "action_id": "a", "state": "UPG_FAILED"},
        "local_metadata": {"elastic": {"agent": {"unprivileged": true}}}}),
    )
    .await;
    let path = "/api/fleet/agent_policies/default-policy";
    assert_eq!(fleet.get(path).await.item()["unprivileged_agents"], 1);
    let versions = fleet.get(&format!("{path}/auto_upgrade_agents_status")).await.ok();
    assert_eq!(versions["totalAgents"], 4);
    let newest = versions["currentVersions"].as_array().unwrap().iter();
    let newest = newest.clone().find(|one| one["version"] == "9.2.0").unwrap();
    assert_eq!(
        (&newest["agents"], &newest["failedUpgradeAgents"]),
        (&json!(1), &json!(1))
    );
}

#[tokio::test]
async fn of_many_agents_those_who_cannot_are_told_apart() {
    let fleet = three_agents().await;
    let current = json!({"elastic": {"agent": {"version": "9.2.0", "upgradeable": true}}});
    agent(&fleet, "a2", json!({"local_metadata": current})).await;
    let body = json!({"agents": ["a1", "a2"], "version": "9.2.0"});
    fleet.post("/api/fleet/agents/bulk_upgrade", body).await.ok();
    let action = newest_action(&fleet).await;
    assert_eq!(action["agents"], json!(["a1"]));
    let status = fleet.get("/api/fleet/agents/action_status").await.ok()["items"][0].clone();
    assert_eq!(
        (
            &status["nbAgentsActionCreated"],
            &status["nbAgentsFailed"],
            &status["status"]
        ),
        (&json!(2), &json!(1), &json!("IN_PROGRESS"))
    );
    let reason = status["latestErrors"][0]["error"].as_str().unwrap();
    assert!(reason.contains("already running"), "{reason}");
    let again = json!({"version": "9.2.0"});
    let refused = fleet
        .post("/api/fleet/agents/a1/upgrade", again.clone())
        .await
        .refused(400);
    assert!(refused.contains("already being upgraded"), "{refused}");
    let upgraded = json!({"upgraded_at": "2026-01-02T11:55:00Z", "upgrade_started_at": "2026-01-02T11:54:00Z"});
    agent(&fleet, "a1", upgraded).await;
    fleet.post("/api/fleet/agents/a1/upgrade", again).await.refused(429);
    let now = json!({"version": "9.2.0", "skipRateLimitCheck": true});
    fleet.post("/api/fleet/agents/a1/upgrade", now).await.ok();
    let body = json!({"agents": ["a1"], "version": "9.2.0", "start_time": "tomorrow"});
    let refused = fleet.post("/api/fleet/agents/bulk_upgrade", body).await.refused(400);
    assert!(refused.contains("start_time"), "{refused}");
}

#[tokio::test]
async fn actions_are_found_by_their_day_and_revisions_are_among_them() {
    let fleet = three_agents().await;
    fleet
        .post("/api/fleet/agents/a1/request_diagnostics", json!({}))
        .await
        .ok();
    let body = json!({"name": "Default policy", "namespace": "other"});
    fleet.put("/api/fleet/agent_policies/default-policy", body).await.item();
    let kinds = async |query: &str| -> Vec<String> {
        let answer = fleet
            .get(&format!("/api/fleet/agents/action_status?{query}"))
            .await
            .ok();
        let items = answer["items"].as_array().unwrap().iter();
        let mut kinds: Vec<String> = items.map(|item| item["type"].as_str().unwrap().to_owned()).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    };
    assert_eq!(kinds("").await, ["POLICY_CHANGE", "REQUEST_DIAGNOSTICS"]);
    assert_eq!(kinds("date=2026-01-02").await, ["POLICY_CHANGE", "REQUEST_DIAGNOSTICS"]);
    assert!(kinds("date=2026-01-01").await.is_empty());
    assert_eq!(kinds("latest=1000").await, ["POLICY_CHANGE", "REQUEST_DIAGNOSTICS"]);
    fleet.clock.step(jiff::SignedDuration::from_mins(1));
    assert!(kinds("latest=1000").await.is_empty());
    let answer = fleet.get("/api/fleet/agents/action_status").await.ok();
    let revision = answer["items"].as_array().unwrap().iter();
    let revision = revision.clone().find(|item| item["type"] == "POLICY_CHANGE").unwrap();
    assert_eq!(
        (
            &revision["policyId"],
            &revision["nbAgentsActionCreated"],
            &revision["nbAgentsAck"],
            &revision["status"]
        ),
        (&json!("default-policy"), &json!(2), &json!(0), &json!("IN_PROGRESS"))
    );
    fleet
        .get("/api/fleet/agents/action_status?date=yesterday")
        .await
        .refused(400);
}

#[tokio::test]
async fn agents_and_tokens_are_seen_in_the_space_of_their_policy_alone() {
    let fleet = three_agents().await;
    let body = json!({"id": "of-team", "name": "of team", "namespace": "default"});
    fleet.post("/s/team/api/fleet/agent_policies", body).await.item();
    agent(&fleet, "t1", json!({"policy_id": "of-team"})).await;
    fleet.get("/api/fleet/agents/t1").await.refused(404);
    assert_eq!(fleet.get("/s/team/api/fleet/agents/t1").await.item()["id"], "t1");
    fleet.get("/s/team/api/fleet/agents/a1").await.refused(404);
    let body = json!({"agents": "active:true", "tagsToAdd": ["ours"]});
    fleet
        .post("/s/team/api/fleet/agents/bulk_update_agent_tags", body)
        .await
        .ok();
    assert_eq!(fleet.get("/api/fleet/agents/a1").await.item()["tags"], json!(["prod"]));
    assert_eq!(
        fleet.get("/s/team/api/fleet/agents/t1").await.item()["tags"],
        json!(["ours", "prod"])
    );
    let theirs = fleet.get("/s/team/api/fleet/enrollment_api_keys").await.ok();
    assert_eq!(
        (&theirs["total"], &theirs["items"][0]["policy_id"]),
        (&json!(1), &json!("of-team"))
    );
    let key = theirs["items"][0]["id"].as_str().unwrap();
    fleet
        .get(&format!("/api/fleet/enrollment_api_keys/{key}"))
        .await
        .refused(404);
    fleet
        .delete(&format!("/api/fleet/enrollment_api_keys/{key}"))
        .await
        .refused(404);
    let ours = fleet.get("/api/fleet/enrollment_api_keys").await.ok();
    assert!(
        ours["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|item| item["policy_id"] != "of-team")
    );
    let wanted = json!({"policy_id": "of-team"});
    fleet.post("/api/fleet/enrollment_api_keys", wanted).await.refused(404);
    let tokens = fleet.get("/s/team/api/fleet/uninstall_tokens").await.ok();
    assert_eq!(
        (&tokens["total"], &tokens["items"][0]["namespaces"]),
        (&json!(1), &json!(["team"]))
    );
    let token = tokens["items"][0]["id"].as_str().unwrap();
    fleet
        .get(&format!("/api/fleet/uninstall_tokens/{token}"))
        .await
        .refused(404);
}
