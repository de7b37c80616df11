//! Ten times the load that is admitted: what is beyond it costs an answer, and leaves nothing behind.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fleet_server::{Limit, Surroundings};
use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use tokio::task::JoinHandle;
use tower::ServiceExt;

use crate::support::{Agent, Answer, Fleet, enrolment, online, patient};

/// Requests of one endpoint at the same time.
const ADMITTED: usize = 20;
const FLOOD: usize = 10 * ADMITTED;

fn at_once(max: usize) -> Limit {
    Limit {
        interval: Duration::ZERO,
        burst: 0,
        max,
        max_body: 1 << 20,
    }
}

/// A refusal says that it is one for the load, and when to come back.
fn is_told_to_wait(answer: &Answer) -> bool {
    let is_refusal = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status);
    assert!(
        !is_refusal || answer.header("retry-after").is_some_and(|seconds| seconds != "0"),
        "{answer:?}"
    );
    is_refusal
}

async fn metric(fleet: &Fleet, name: &str) -> usize {
    let request = Request::get("/metrics").body(axum::body::Body::empty()).unwrap();
    let page = fleet.server.metrics_router(Surroundings::default());
    let answer = page.oneshot(request).await.unwrap();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

fn polls(fleet: &Arc<Fleet>, agents: &[Agent]) -> Vec<JoinHandle<Answer>> {
    let poll = |agent: &Agent| {
        let (fleet, agent) = (Arc::clone(fleet), agent.clone());
        tokio::spawn(async move { fleet.checkin(&agent, &online()).await })
    };
    agents.iter().map(poll).collect()
}

#[tokio::test]
async fn check_ins_beyond_what_is_admitted_leave_nothing_behind() {
    let mut settings = patient();
    settings.limits.checkin = at_once(ADMITTED);
    // What is written meanwhile would hide what refused requests ask of the store.
    settings.timeouts.checkin_flush = Duration::from_hours(1);
    let fleet = Arc::new(Fleet::start(settings).await);
    let token = fleet.enrollment_token("policy-1", json!({})).await;
    let agents = join_all((0..FLOOD).map(|_| fleet.enroll(&token))).await;
    let held = polls(&fleet, &agents[..ADMITTED]);
    fleet.until(|fleet| fleet.server.connected_agents() == ADMITTED).await;
    let store = |fleet: &Fleet| {
        let counts = [&fleet.store.gets, &fleet.store.bulks];
        counts.map(|count| count.load(Ordering::SeqCst))
    };
    let (known, asked) = (metric(&fleet, "fleet_server_agents_known").await, store(&fleet));
    assert_eq!(known, ADMITTED);
    for round in 0..3 {
        let refused = join_all(polls(&fleet, &agents[ADMITTED..])).await;
        assert!(
            refused.into_iter().all(|answer| is_told_to_wait(&answer.unwrap())),
            "round {round}"
        );
        assert_eq!(fleet.server.connected_agents(), ADMITTED, "round {round}");
        assert_eq!(
            metric(&fleet, "fleet_server_agents_known").await,
            known,
            "round {round}"
        );
        assert_eq!(
            store(&fleet),
            asked,
            "round {round}: refused requests ask nothing of the store"
        );
    }
    // Room that becomes free is used again.
    held.iter().for_each(JoinHandle::abort);
    fleet.until(|fleet| fleet.server.connected_agents() == 0).await;
    let others = polls(&fleet, &agents[ADMITTED..2 * ADMITTED]);
    fleet.until(|fleet| fleet.server.connected_agents() == ADMITTED).await;
    fleet.stop.cancel();
    for answer in join_all(others).await {
        assert_eq!(answer.unwrap().status, 200);
    }
}

#[tokio::test]
async fn enrolments_beyond_the_queue_leave_nothing_behind() {
    let mut settings = patient();
    settings.limits.enroll = at_once(2);
    settings.limits.enroll_queue = ADMITTED - 2;
    settings.limits.enroll_queue_wait = Duration::from_mins(10);
    let fleet = Arc::new(Fleet::start(settings).await);
    let token = fleet.enrollment_token("policy-1", json!({})).await;
    let body = enrolment();
    let mut enrolled = 0;
    for _ in 0..3 {
        let answers = join_all((0..FLOOD).map(|_| fleet.post("/api/fleet/agents/enroll", &token, &body))).await;
        let (refused, admitted): (Vec<Answer>, Vec<Answer>) = answers.into_iter().partition(is_told_to_wait);
        assert!(admitted.iter().all(|answer| answer.status == 200), "{admitted:?}");
        assert!(admitted.len() >= ADMITTED && !refused.is_empty(), "{}", admitted.len());
        enrolled += admitted.len();
    }
    let request = query::SearchRequest::new(protocol::indices::AGENTS).size(0);
    let found = store::Store::search(&*fleet.store, request).await.unwrap();
    assert_eq!(found.total as usize, enrolled, "who was refused has no document");
    assert_eq!(metric(&fleet, "fleet_server_agents_known").await, 0);
}

#[tokio::test]
async fn acknowledgements_beyond_what_is_admitted_are_refused_and_can_be_repeated() {
    let mut settings = patient();
    settings.limits.ack = at_once(1);
    let fleet = Arc::new(Fleet::start(settings).await);
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    fleet
        .act(
            "one",
            &[&agent],
            json!({"type": "SETTINGS", "data": {"log_level": "info"}}),
        )
        .await;
    let answers = join_all((0..10).map(|_| fleet.ack(&agent, "action-one"))).await;
    let (refused, admitted): (Vec<Answer>, Vec<Answer>) = answers.into_iter().partition(is_told_to_wait);
    assert!(!admitted.is_empty() && !refused.is_empty());
    assert!(admitted.iter().all(|answer| answer.status == 200), "{admitted:?}");
    assert_eq!(fleet.ack(&agent, "action-one").await.status, 200);
}
