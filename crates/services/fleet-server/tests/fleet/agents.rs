//! The life of agents: enrolment, policies, actions, unenrolment, side by side and again and again.

use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;

use crate::support::{AGENT, Agent, Fleet, enrolment, online, patient, quick, running};
use access::ApiKeys;
use axum::body::Body;
use fleet_server::Surroundings;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use protocol::indices;
use query::SearchRequest;
use serde_json::{Value, json};
use store::Store;
use transport::ListenerCounts;

#[tokio::test]
async fn an_agent_enrols_gets_its_policy_and_acknowledges_it() {
    let fleet = Fleet::start(quick()).await;
    fleet.publish_policy("policy-1", 1).await;
    let token = fleet.enrollment_token("policy-1", json!({})).await;
    let agent = fleet.enroll(&token).await;
    let answer = fleet.checkin(&agent, &online()).await;
    let action = &answer.json()["actions"][0];
    assert_eq!(
        (&action["id"], &action["type"]),
        (&json!("policy:policy-1:1"), &json!("POLICY_CHANGE")),
        "{answer:?}"
    );
    let pair = action["data"]["policy"]["outputs"]["default"]["api_key"]
        .as_str()
        .unwrap();
    fleet
        .access
        .authenticate(&access::Credential::ApiKey(pair.into()))
        .await
        .expect("the output's key works");
    assert_eq!(
        fleet.ack(&agent, "policy:policy-1:1").await.json(),
        json!({"action": "acks", "items": [{"status": 200, "message": "OK"}]})
    );
    let document = fleet.agent_document(&agent.id).await;
    assert_eq!(
        (&document["policy_revision_idx"], &document["tags"]),
        (&json!(1), &json!(["linux", "web"]))
    );
    let idle = fleet.checkin(&agent, &running("policy-1", 1)).await;
    assert_eq!(idle.json(), json!({"ack_token": "", "action": "checkin"}));
    let document = fleet
        .until_agent(&agent.id, |document| document["agent_policy_id"] == "policy-1")
        .await;
    assert_eq!(document["last_checkin_status"], "online");
    fleet.stop().await;
}

#[tokio::test]
async fn enrolments_side_by_side_make_as_many_agents() {
    let fleet = Fleet::start(quick()).await;
    let token = fleet.enrollment_token("policy-1", json!({})).await;
    let agents = join_all((0..40).map(|_| fleet.enroll(&token))).await;
    let ids: HashSet<_> = agents.iter().map(|agent| agent.id.as_str()).collect();
    assert_eq!(ids.len(), 40);
    let mut uses = SearchRequest::new(indices::ENROLLMENT_USES);
    uses.size = 100;
    fleet.store.refresh(indices::ENROLLMENT_USES).await.unwrap();
    let used: HashSet<_> = fleet
        .store
        .search(uses)
        .await
        .unwrap()
        .hits
        .into_iter()
        .map(|hit| hit.document.source.to_value()["agent_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(used.len(), 40, "each use is recorded");
}

#[tokio::test]
async fn a_policy_change_reaches_every_held_poll_and_nobody_else() {
    let fleet = Arc::new(Fleet::start(patient()).await);
    for policy in ["policy-1", "other"] {
        fleet.publish_policy(policy, 1).await;
    }
    let token = fleet.enrollment_token("policy-1", json!({})).await;
    let other_token = fleet.enrollment_token("other", json!({})).await;
    let mut agents = join_all((0..20).map(|_| fleet.enroll(&token))).await;
    agents.push(fleet.enroll(&other_token).await);
    let body = online();
    join_all(agents.iter().map(|agent| fleet.checkin(agent, &body))).await;
    let polls: Vec<_> = agents
        .into_iter()
        .enumerate()
        .map(|(place, agent)| {
            let fleet = Arc::clone(&fleet);
            let policy = if place < 20 { "policy-1" } else { "other" };
            tokio::spawn(async move { fleet.checkin(&agent, &running(policy, 1)).await.json() })
        })
        .collect();
    fleet.until(|fleet| fleet.server.connected_agents() == 21).await;
    fleet.publish_policy("policy-1", 2).await;
    fleet.until(|fleet| fleet.server.connected_agents() == 1).await;
    fleet.stop.cancel();
    let answers: Vec<Value> = join_all(polls).await.into_iter().map(Result::unwrap).collect();
    assert!(
        answers[..20]
            .iter()
            .all(|answer| answer["actions"][0]["id"] == "policy:policy-1:2"),
        "{answers:?}"
    );
    assert_eq!(
        answers[20],
        json!({"ack_token": "", "action": "checkin"}),
        "the stop ended it"
    );
}

#[tokio::test]
async fn stopping_answers_every_held_poll() {
    let fleet = Arc::new(Fleet::start(patient()).await);
    let token = fleet.enrollment_token("policy-1", json!({})).await;
    let agents = join_all((0..10).map(|_| fleet.enroll(&token))).await;
    let polls: Vec<_> = agents
        .into_iter()
        .map(|agent| {
            let fleet = Arc::clone(&fleet);
            tokio::spawn(async move { fleet.checkin(&agent, &online()).await })
        })
        .collect();
    fleet.until(|fleet| fleet.server.connected_agents() == 10).await;
    fleet.stop.cancel();
    for answer in join_all(polls).await {
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status, answer.json()),
            (StatusCode::OK, json!({"ack_token": "", "action": "checkin"}))
        );
    }
    let status = fleet
        .call(Request::get("/api/status").body(Body::empty()).unwrap())
        .await;
    assert_eq!(
        (status.status, &status.json()["status"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("STOPPING"))
    );
}

#[tokio::test]
async fn actions_end_polls_and_are_delivered_once() {
    let fleet = Arc::new(Fleet::start(patient()).await);
    let token = fleet.enrollment_token("policy-1", json!({})).await;
    let (agent, bystander) = (fleet.enroll(&token).await, fleet.enroll(&token).await);
    let poll = {
        let (fleet, agent) = (Arc::clone(&fleet), agent.clone());
        tokio::spawn(async move { fleet.checkin(&agent, &online()).await.json() })
    };
    fleet.until(|fleet| fleet.server.connected_agents() == 1).await;
    fleet
        .act(
            "doc-1",
            &[&agent],
            json!({"type": "SETTINGS", "data": {"log_level": "debug", "x": 1}}),
        )
        .await;
    let answer = poll.await.unwrap();
    assert_eq!(
        (&answer["ack_token"], &answer["actions"][0]["data"]),
        (&json!("doc-1"), &json!({"log_level": "debug"}))
    );

    fleet
        .act("doc-2", &[&agent, &bystander], json!({"type": "UNENROLL"}))
        .await;
    fleet.act("doc-3", &[&agent], json!({"type": "UPDATE_TAGS"})).await;
    let mut body = online();
    body["ack_token"] = json!("doc-1");
    let answer = fleet.checkin(&agent, &body).await.json();
    assert_eq!(
        (&answer["ack_token"], answer["actions"].as_array().unwrap().len()),
        (&json!("doc-2"), 1),
        "{answer}"
    );
    let answer = fleet.checkin(&bystander, &online()).await.json();
    assert_eq!(answer["actions"][0]["agent_id"], json!(bystander.id));
}

#[tokio::test]
async fn an_action_without_expiration_or_after_it_is_not_delivered() {
    let fleet = Fleet::start(quick()).await;
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    fleet
        .act("never", &[&agent], json!({"type": "SETTINGS", "expiration": null}))
        .await;
    fleet
        .act(
            "old",
            &[&agent],
            json!({"type": "SETTINGS", "expiration": "2026-11-22T01:31:22.000Z"}),
        )
        .await;
    assert_eq!(
        fleet.checkin(&agent, &online()).await.json(),
        json!({"ack_token": "", "action": "checkin"})
    );
}

#[tokio::test]
async fn acknowledging_twice_is_the_same_as_once() {
    let fleet = Fleet::start(quick()).await;
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    fleet
        .act(
            "doc-1",
            &[&agent],
            json!({"type": "UPGRADE", "data": {"version": "9.6.1"}}),
        )
        .await;
    for _ in 0..2 {
        assert_eq!(fleet.ack(&agent, "action-doc-1").await.status, 200);
    }
    let result = fleet
        .document(indices::ACTION_RESULTS, &format!("action-doc-1:{}", agent.id))
        .await
        .unwrap();
    assert_eq!(result["agent_id"], json!(agent.id));
    assert_eq!(
        fleet.agent_document(&agent.id).await["upgraded_at"],
        "2026-11-22T01:31:23Z"
    );
    let answers = join_all((0..8).map(|_| fleet.ack(&agent, "action-doc-1"))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
}

/// Agents acknowledge an upgrade when they take it; what they say of it later is replaced by the next one.
#[tokio::test]
async fn an_upgrade_that_failed_later_stays_known() {
    let fleet = Fleet::start(quick()).await;
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    let version = json!({"type": "UPGRADE", "data": {"version": "9.6.1"}});
    for id in ["first", "second", "third"] {
        fleet.act(id, &[&agent], version.clone()).await;
        assert_eq!(fleet.ack(&agent, &format!("action-{id}")).await.status, 200);
    }
    let upgraded_at = fleet.agent_document(&agent.id).await["upgraded_at"].clone();
    let says = async |details: Value| {
        let mut report = online();
        report["upgrade_details"] = details;
        report["ack_token"] = json!("third");
        assert_eq!(fleet.checkin(&agent, &report).await.status, 200);
    };
    let failed = json!({"failed_state": "UPG_DOWNLOADING", "error_msg": "no such file"});
    let details = |action: &str, state: &str, metadata: &Value| json!({"target_version": "9.6.1", "action_id": action, "state": state, "metadata": metadata});
    says(details("action-first", "UPG_FAILED", &failed)).await;
    says(details("action-second", "UPG_ROLLBACK", &Value::Null)).await;
    says(details("action-third", "UPG_WATCHING", &Value::Null)).await;
    let outcome = async |action: &str, part: &str| {
        let id = format!("{action}:{}{part}", agent.id);
        fleet.document(indices::ACTION_RESULTS, &id).await
    };
    let first = outcome("action-first", ":outcome").await.unwrap();
    assert_eq!(
        (&first["error"], &first["agent_id"], &first["action_id"]),
        (&json!("no such file"), &json!(agent.id), &json!("action-first"))
    );
    let second = outcome("action-second", ":outcome").await.unwrap();
    assert!(second["error"].as_str().unwrap().contains("probation"), "{second}");
    assert!(outcome("action-third", ":outcome").await.is_none());
    let acknowledged = outcome("action-first", "").await.unwrap();
    assert!(acknowledged["error"].is_null(), "the acknowledgement is left alone");
    says(details("action-first", "UPG_FAILED", &failed)).await;
    says(Value::Null).await;
    let document = fleet.agent_document(&agent.id).await;
    assert_eq!(
        (&document["upgrade_details"], &document["upgraded_at"]),
        (&Value::Null, &upgraded_at),
        "nothing was upgraded"
    );
}

#[tokio::test]
async fn the_largest_item_is_the_status_of_an_acknowledgement() {
    let fleet = Fleet::start(quick()).await;
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    fleet.act("doc-1", &[&agent], json!({"type": "SETTINGS"})).await;
    let events = json!({"events": [
        {"action_id": "action-doc-1"}, {"action_id": "no-such-action"}, {"action_id": "action-doc-1", "agent_id": "other"}
    ]});
    let answer = fleet
        .post(&format!("/api/fleet/agents/{}/acks", agent.id), &agent.key, &events)
        .await;
    let expected = json!({"action": "acks", "errors": true, "items": [
        {"status": 200, "message": "OK"}, {"status": 404, "message": "Not Found"}, {"status": 400, "message": "Bad Request"}
    ]});
    assert_eq!((answer.status, answer.json()), (StatusCode::NOT_FOUND, expected));
}

#[tokio::test]
async fn an_unenrolled_agent_has_no_key_left() {
    let fleet = Fleet::start(quick()).await;
    fleet.publish_policy("policy-1", 1).await;
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    let policy = fleet.checkin(&agent, &online()).await.json();
    let pair = policy["actions"][0]["data"]["policy"]["outputs"]["default"]["api_key"]
        .as_str()
        .unwrap()
        .to_owned();
    fleet.act("doc-1", &[&agent], json!({"type": "UNENROLL"})).await;
    assert_eq!(fleet.ack(&agent, "action-doc-1").await.status, 200);
    let document = fleet.agent_document(&agent.id).await;
    assert_eq!(
        (&document["active"], &document["unenrolled_at"]),
        (&json!(false), &json!("2026-11-22T01:31:23Z"))
    );
    assert!(
        fleet
            .access
            .authenticate(&access::Credential::ApiKey(pair.as_str().into()))
            .await
            .is_err()
    );
    let answer = fleet.checkin(&agent, &online()).await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (StatusCode::UNAUTHORIZED, "ErrUnauthorized")
    );
}

#[tokio::test]
async fn changed_permissions_widen_the_key_and_the_acknowledgement_narrows_it() {
    let fleet = Fleet::start(quick()).await;
    fleet.publish_policy("policy-1", 1).await;
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    fleet.checkin(&agent, &online()).await;
    fleet.ack(&agent, "policy:policy-1:1").await;
    let key = |document: &Value| {
        document["outputs"]["default"]["api_key_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = key(&fleet.agent_document(&agent.id).await);
    let wider = json!({"default": {"_elastic_agent_checks": {"cluster": ["monitor"]}, "logs": {"indices": [{"names": ["logs-x-y"], "privileges": ["create_doc"]}]}}});
    fleet.publish("policy-1", 2, json!({"output_permissions": wider})).await;
    let answer = fleet.checkin(&agent, &running("policy-1", 1)).await.json();
    assert_eq!(answer["actions"][0]["id"], "policy:policy-1:2", "{answer}");
    let keys: &dyn ApiKeys = &*fleet.access;
    let roles = async || {
        keys.read(&first)
            .await
            .unwrap()
            .unwrap()
            .role_descriptors
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        roles().await,
        ["_elastic_agent_checks", "_elastic_agent_checks-0-rdstale", "logs"]
    );
    fleet.checkin(&agent, &running("policy-1", 2)).await;
    assert_eq!(roles().await, ["_elastic_agent_checks", "logs"]);
    assert_eq!(
        key(&fleet.agent_document(&agent.id).await),
        first,
        "it is still the same key"
    );
}

#[tokio::test]
async fn an_output_that_is_gone_loses_its_key_after_the_acknowledgement() {
    let fleet = Fleet::start(quick()).await;
    let two = json!({
        "outputs": {"default": {"type": "elasticsearch"}, "second": {"type": "elasticsearch"}},
        "output_permissions": {"default": {}, "second": {}}
    });
    fleet.publish("policy-1", 1, two).await;
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    fleet.checkin(&agent, &online()).await;
    fleet.ack(&agent, "policy:policy-1:1").await;
    let second = fleet.agent_document(&agent.id).await["outputs"]["second"]["api_key_id"]
        .as_str()
        .unwrap()
        .to_owned();
    fleet.publish_policy("policy-1", 2).await;
    fleet.checkin(&agent, &running("policy-1", 1)).await;
    let keys: &dyn ApiKeys = &*fleet.access;
    assert!(
        !keys.read(&second).await.unwrap().unwrap().invalidated,
        "the agent may still use it"
    );
    fleet.ack(&agent, "policy:policy-1:2").await;
    assert!(keys.read(&second).await.unwrap().unwrap().invalidated);
    assert_eq!(
        fleet.agent_document(&agent.id).await["outputs"]
            .as_object()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_reassigned_agent_gets_its_new_policy() {
    let fleet = Fleet::start(quick()).await;
    fleet.publish_policy("policy-1", 5).await;
    fleet.publish_policy("policy-2", 1).await;
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    fleet.checkin(&agent, &online()).await;
    let change = json!({"policy_id": "policy-2", "policy_revision_idx": null});
    let write = store::Operation::merge(indices::AGENTS, agent.id.as_str(), change.as_object().unwrap().clone());
    fleet.store.bulk(vec![write], store::Refresh::WaitFor).await.unwrap();
    let answer = fleet.checkin(&agent, &running("policy-1", 5)).await.json();
    assert_eq!(answer["actions"][0]["id"], "policy:policy-2:1");
}

#[tokio::test]
async fn a_newer_check_in_ends_the_older_one() {
    let fleet = Arc::new(Fleet::start(patient()).await);
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    let poll = |agent: Agent| {
        let fleet = Arc::clone(&fleet);
        tokio::spawn(async move { fleet.checkin(&agent, &online()).await.json() })
    };
    let first = poll(agent.clone());
    fleet.until(|fleet| fleet.server.connected_agents() == 1).await;
    let second = poll(agent.clone());
    assert_eq!(first.await.unwrap(), json!({"ack_token": "", "action": "checkin"}));
    fleet.act("doc-1", &[&agent], json!({"type": "SETTINGS"})).await;
    assert_eq!(second.await.unwrap()["ack_token"], "doc-1");
}

#[tokio::test]
async fn what_an_agent_reports_is_in_its_document() {
    let fleet = Fleet::start(quick()).await;
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    let components = json!([{"id": "log-default", "type": "log", "status": "FAILED", "message": "m", "units": [{"id": "u", "type": "input", "status": "FAILED", "message": "m"}]}]);
    let body = json!({
        "status": "error", "message": "trouble", "components": components, "local_metadata": {"host": {"hostname": "new"}},
        "upgrade": {"rollbacks": [{"version": "9.5.0", "valid_until": "2026-12-01T00:00:00Z"}]}
    });
    fleet.checkin(&agent, &body).await;
    let document = fleet
        .until_agent(&agent.id, |document| document["last_checkin_status"] == "error")
        .await;
    assert_eq!(document["unhealthy_reason"], json!(["input"]));
    assert_eq!(
        (&document["components"], &document["last_checkin_message"]),
        (&components, &json!("trouble"))
    );
    assert_eq!(document["local_metadata"]["host"]["hostname"], "new");
    assert_eq!(document["upgrade"]["rollbacks"][0]["version"], "9.5.0");
    assert_eq!(document["last_checkin"], "2026-11-22T01:31:23Z");
}

#[tokio::test]
async fn an_uninstalled_agent_that_comes_back_is_no_longer_marked() {
    let fleet = Fleet::start(quick()).await;
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    let path = format!("/api/fleet/agents/{}/audit/unenroll", agent.id);
    let last_words = json!({"reason": "uninstall", "timestamp": "2026-11-22T01:32:39.000Z"});
    assert_eq!(fleet.post(&path, &agent.key, &last_words).await.status, 200);
    assert_eq!(
        fleet.agent_document(&agent.id).await["audit_unenrolled_reason"],
        "uninstall"
    );
    fleet.checkin(&agent, &online()).await;
    fleet
        .until_agent(&agent.id, |document| document.get("audit_unenrolled_reason").is_none())
        .await;
    let wrong = fleet
        .post(
            &path,
            &agent.key,
            &json!({"reason": "bored", "timestamp": "2026-11-22T01:32:39Z"}),
        )
        .await;
    assert_eq!(
        (wrong.status, wrong.error().as_str()),
        (StatusCode::BAD_REQUEST, "BadRequest")
    );
}

#[tokio::test]
async fn bodies_of_check_ins_are_packed_both_ways() {
    let fleet = Fleet::start(quick()).await;
    let inputs: Vec<_> = (0..200)
        .map(|n| json!({"id": format!("input-{n}"), "type": "filestream"}))
        .collect();
    fleet.publish("policy-1", 1, json!({"inputs": inputs})).await;
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, online().to_string().as_bytes()).unwrap();
    let request = Request::post(format!("/api/fleet/agents/{}/checkin", agent.id))
        .header("User-Agent", AGENT)
        .header("Authorization", format!("ApiKey {}", agent.key))
        .header("Content-Encoding", "gzip")
        .header("Accept-Encoding", "gzip");
    let answer = fleet
        .call(request.body(Body::from(packed.finish().unwrap())).unwrap())
        .await;
    assert_eq!(
        (answer.status, answer.header("content-encoding")),
        (StatusCode::OK, Some("gzip"))
    );
    let mut text = String::new();
    flate2::read::GzDecoder::new(&answer.body[..])
        .read_to_string(&mut text)
        .unwrap();
    assert!(answer.body.len() * 4 < text.len());
    let policy: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(policy["actions"][0]["data"]["policy"]["inputs"], json!(inputs));
}

#[tokio::test]
async fn tokens_are_bounded_in_time_number_and_place() {
    let fleet = Fleet::start(quick()).await;
    let refused = async |bounds: Value, reason: &str| {
        let token = fleet.enrollment_token("policy-1", bounds).await;
        let answer = fleet.post("/api/fleet/agents/enroll", &token, &enrolment()).await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (StatusCode::UNAUTHORIZED, "ErrUnauthorized")
        );
        assert!(
            answer.json()["message"].as_str().unwrap().contains(reason),
            "{answer:?}"
        );
    };
    refused(json!({"expire_at": "2026-11-22T01:31:23Z"}), "expired").await;
    refused(json!({"allowed_addresses": ["10.0.0.0/8"]}), "address").await;
    refused(json!({"active": false}), "not active").await;
    refused(json!({"use_limit": 0}), "as often").await;
    let token = fleet.enrollment_token("policy-1", json!({"use_limit": 3})).await;
    let body = enrolment();
    let answers = join_all((0..8).map(|_| fleet.post("/api/fleet/agents/enroll", &token, &body))).await;
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 200).count(),
        3,
        "{answers:?}"
    );
}

#[tokio::test]
async fn every_route_refuses_whoever_is_not_the_agent() {
    let fleet = Fleet::start(quick()).await;
    let token = fleet.enrollment_token("policy-1", json!({})).await;
    let (agent, stranger) = (fleet.enroll(&token).await, fleet.enroll(&token).await);
    let id = &agent.id;
    let sha = "0".repeat(64);
    let routes = [
        ("POST", format!("/api/fleet/agents/{id}/checkin")),
        ("POST", format!("/api/fleet/agents/{id}/acks")),
        ("POST", format!("/api/fleet/agents/{id}/audit/unenroll")),
        ("GET", format!("/api/fleet/artifacts/list/{sha}")),
        ("POST", "/api/fleet/uploads".to_owned()),
        ("PUT", "/api/fleet/uploads/u/0".to_owned()),
        ("POST", "/api/fleet/uploads/u".to_owned()),
        ("GET", "/api/fleet/file/f".to_owned()),
        ("POST", "/api/fleet/agents/enroll".to_owned()),
    ];
    for (method, path) in &routes {
        let request = |header: Option<&str>| {
            let mut request = Request::builder()
                .method(*method)
                .uri(path)
                .header("User-Agent", AGENT)
                .header("X-Chunk-SHA2", "00");
            if let Some(header) = header {
                request = request.header("Authorization", header);
            }
            request.body(Body::from(json!({"agent_id": id}).to_string())).unwrap()
        };
        let status = async |header: Option<&str>| fleet.call(request(header)).await.status.as_u16();
        assert_eq!(status(None).await, 401, "{path} without a key");
        assert_eq!(
            status(Some("ApiKey eDp5")).await,
            401,
            "{path} with a key that does not exist"
        );
        assert_eq!(status(Some("Basic eDp5")).await, 400, "{path} with another scheme");
        let foreign = status(Some(&format!("ApiKey {}", stranger.key))).await;
        let names_the_agent = path.contains(id.as_str());
        assert!(
            if names_the_agent {
                foreign == 403
            } else {
                (400..500).contains(&foreign)
            },
            "{path} with a foreign key: {foreign}"
        );
    }
}

#[tokio::test]
async fn metrics_are_shown() {
    let fleet = Fleet::start(quick()).await;
    fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    let surroundings = Surroundings {
        listeners: vec![("[::]:8220".to_owned(), ListenerCounts::default())],
        ..Surroundings::default()
    };
    let response = tower::ServiceExt::oneshot(
        fleet.server.metrics_router(surroundings),
        Request::get("/metrics").body(Body::empty()).unwrap(),
    )
    .await
    .unwrap();
    let text = http_body_util::BodyExt::collect(response.into_body())
        .await
        .unwrap()
        .to_bytes();
    let text = String::from_utf8(text.to_vec()).unwrap();
    for line in [
        "fleet_server_enrolments_total 1",
        "fleet_server_requests_total{endpoint=\"enroll\",status=\"200\"} 1",
        "fleet_server_polls_held 0",
        "fleet_server_connections{listener=\"[::]:8220\"} 0",
        "fleet_server_handshakes_total{listener=\"[::]:8220\",kind=\"resumed\"} 0",
        "fleet_server_store_call_seconds_count{operation=\"bulk\"} ",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}
