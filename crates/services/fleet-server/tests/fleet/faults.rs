//! What happens when the store is away, and under more load than is admitted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::support::{Fleet, enrolment, online, patient, quick, running};
use axum::body::Body;
use fleet_server::Limit;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use serde_json::json;

#[tokio::test]
async fn polls_outlast_a_store_that_is_away() {
    let fleet = Arc::new(Fleet::start(patient()).await);
    fleet.publish_policy("policy-1", 1).await;
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    fleet.checkin(&agent, &online()).await;
    let poll = {
        let (fleet, agent) = (Arc::clone(&fleet), agent.clone());
        tokio::spawn(async move { fleet.checkin(&agent, &running("policy-1", 1)).await.json() })
    };
    fleet.until(|fleet| fleet.server.connected_agents() == 1).await;
    fleet.store.take_away();
    assert_eq!(
        fleet.server.status(),
        protocol::ServerStatus::Healthy,
        "it is patient at first"
    );
    let refused = fleet.post("/api/fleet/agents/enroll", "eDp5", &enrolment()).await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, Some("10"))
    );
    fleet.store.bring_back();
    fleet.publish_policy("policy-1", 2).await;
    assert_eq!(poll.await.unwrap()["actions"][0]["id"], "policy:policy-1:2");
}

#[tokio::test]
async fn a_known_agent_may_wait_while_the_store_is_away_and_nothing_is_lost() {
    let fleet = Arc::new(Fleet::start(patient()).await);
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    let poll = |status: &'static str| {
        let (fleet, agent) = (Arc::clone(&fleet), agent.clone());
        tokio::spawn(async move { fleet.checkin(&agent, &json!({"status": status})).await })
    };
    let first = poll("online");
    fleet.until(|fleet| fleet.server.connected_agents() == 1).await;
    fleet.store.take_away();
    let second = poll("degraded");
    assert_eq!(first.await.unwrap().status, 200);
    fleet.until(|fleet| fleet.server.connected_agents() == 1).await;
    fleet.store.bring_back();
    fleet
        .until_agent(&agent.id, |document| document["last_checkin_status"] == "degraded")
        .await;
    fleet.stop.cancel();
    assert_eq!(second.await.unwrap().status, 200);
}

#[tokio::test]
async fn many_check_ins_are_few_writes() {
    let mut settings = patient();
    settings.timeouts.checkin_flush = Duration::from_hours(1);
    let fleet = Arc::new(Fleet::start(settings).await);
    let token = fleet.enrollment_token("policy-1", json!({})).await;
    let agents = join_all((0..50).map(|_| fleet.enroll(&token))).await;
    let before = fleet.store.bulks.load(Ordering::SeqCst);
    let polls: Vec<_> = agents
        .iter()
        .cloned()
        .map(|agent| {
            let fleet = Arc::clone(&fleet);
            tokio::spawn(async move { fleet.checkin(&agent, &online()).await.status })
        })
        .collect();
    fleet.until(|fleet| fleet.server.connected_agents() == 50).await;
    assert_eq!(
        fleet.store.bulks.load(Ordering::SeqCst),
        before,
        "a check-in writes nothing itself"
    );
    fleet.stop.cancel();
    assert!(join_all(polls).await.into_iter().all(|status| status.unwrap() == 200));
    for agent in &agents {
        fleet
            .until_agent(&agent.id, |document| document["last_checkin_status"] == "online")
            .await;
    }
    assert_eq!(
        fleet.store.bulks.load(Ordering::SeqCst),
        before + 1,
        "all are written at once"
    );
}

#[tokio::test]
async fn enrolments_beyond_the_rate_wait_and_those_beyond_the_queue_are_refused() {
    let mut settings = quick();
    settings.limits.enroll = Limit {
        interval: Duration::from_millis(20),
        burst: 1,
        max: 10,
        max_body: 1 << 19,
    };
    settings.limits.enroll_queue = 10;
    let fleet = Fleet::start(settings).await;
    let token = fleet.enrollment_token("policy-1", json!({})).await;
    let started = tokio::time::Instant::now();
    join_all((0..10).map(|_| fleet.enroll(&token))).await;
    assert!(
        started.elapsed() >= Duration::from_millis(180),
        "they were admitted one by one"
    );
    let body = enrolment();
    let answers = join_all((0..40).map(|_| fleet.post("/api/fleet/agents/enroll", &token, &body))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(!refused.is_empty() && refused.len() <= 30);
    for answer in refused {
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (StatusCode::TOO_MANY_REQUESTS, "RateLimit")
        );
        assert!(answer.header("retry-after").is_some());
    }
}

#[tokio::test]
async fn oversized_bodies_and_bombs_cost_one_request_each() {
    let mut settings = quick();
    settings.limits.checkin.max_body = 10_000;
    let fleet = Fleet::start(settings).await;
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    let large = fleet.checkin(&agent, &json!({"status": "x".repeat(20_000)})).await;
    assert_eq!(
        (large.status, large.error().as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, "ErrPayloadSizeTooLarge")
    );
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut bomb, &vec![b' '; 5_000_000]).unwrap();
    let request = Request::post(format!("/api/fleet/agents/{}/checkin", agent.id))
        .header("User-Agent", crate::support::AGENT)
        .header("Authorization", format!("ApiKey {}", agent.key))
        .header("Content-Encoding", "gzip");
    let answer = fleet
        .call(request.body(Body::from(bomb.finish().unwrap())).unwrap())
        .await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(fleet.checkin(&agent, &online()).await.status, 200);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_poll_behind() {
    let fleet = Arc::new(Fleet::start(patient()).await);
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    let poll = {
        let (fleet, agent) = (Arc::clone(&fleet), agent.clone());
        tokio::spawn(async move { fleet.checkin(&agent, &online()).await })
    };
    fleet.until(|fleet| fleet.server.connected_agents() == 1).await;
    poll.abort();
    fleet.until(|fleet| fleet.server.connected_agents() == 0).await;
}

#[tokio::test]
async fn two_servers_on_one_store_see_each_other_s_policies() {
    let fleet = Arc::new(Fleet::start(patient()).await);
    let keys: Arc<dyn access::ApiKeys> = fleet.access.clone();
    let second = fleet_server::FleetServer::new(patient(), fleet.store.clone(), keys, fleet.clock.clone());
    let stop = fleet.stop.child_token();
    let running_second = tokio::spawn(Arc::clone(&second).run(stop));
    fleet
        .until(|_| second.status() == protocol::ServerStatus::Healthy)
        .await;
    fleet.publish_policy("policy-1", 1).await;
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    let path = format!("/api/fleet/agents/{}/checkin", agent.id);
    let router = second.router();
    let ask = async |body| {
        let request = crate::support::request("POST", &path, &agent.key, &body);
        let response = tower::ServiceExt::oneshot(router.clone(), request).await.unwrap();
        let bytes = http_body_util::BodyExt::collect(response.into_body())
            .await
            .unwrap()
            .to_bytes();
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()
    };
    assert_eq!(ask(online()).await["actions"][0]["id"], "policy:policy-1:1");
    fleet.publish_policy("policy-1", 2).await;
    assert_eq!(
        ask(running("policy-1", 1)).await["actions"][0]["id"],
        "policy:policy-1:2"
    );
    fleet.stop.cancel();
    running_second.await.unwrap();
}
