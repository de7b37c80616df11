//! What is remembered of an agent saves reading, and is never older than the store.

use std::sync::atomic::Ordering;
use std::time::Duration;

use access::ApiKeys;
use serde_json::json;

use crate::support::{Agent, Fleet, online, quick, running};

/// An agent that has checked in, in a server that writes nothing by itself.
async fn checked_in() -> (Fleet, Agent) {
    let mut settings = quick();
    settings.timeouts.checkin_flush = Duration::from_hours(1);
    let fleet = Fleet::start(settings).await;
    fleet.publish_policy("policy-1", 1).await;
    let agent = fleet.enroll(&fleet.enrollment_token("policy-1", json!({})).await).await;
    let first = fleet.checkin(&agent, &online()).await.json();
    assert_eq!(first["actions"][0]["id"], "policy:policy-1:1");
    (fleet, agent)
}

#[tokio::test]
async fn a_document_that_nobody_else_wrote_is_not_read_again() {
    let (fleet, agent) = checked_in().await;
    let read = fleet.store.gets.load(Ordering::SeqCst);
    assert_eq!(fleet.ack(&agent, "policy:policy-1:1").await.status, 200);
    assert_eq!(
        fleet.checkin(&agent, &running("policy-1", 1)).await.json()["ack_token"],
        ""
    );
    assert_eq!(fleet.store.gets.load(Ordering::SeqCst), read);
    assert_eq!(fleet.agent_document(&agent.id).await["policy_revision_idx"], 1);
}

#[tokio::test]
async fn what_others_write_is_noticed_at_once() {
    let (fleet, agent) = checked_in().await;
    assert_eq!(fleet.ack(&agent, "policy:policy-1:1").await.status, 200);
    fleet.publish_policy("policy-2", 1).await;
    let mut document = fleet.agent_document(&agent.id).await;
    document["policy_id"] = json!("policy-2");
    fleet.put(protocol::indices::AGENTS, &agent.id, &document).await;
    let reassigned = fleet.checkin(&agent, &running("policy-1", 1)).await.json();
    assert_eq!(reassigned["actions"][0]["id"], "policy:policy-2:1");
    document["active"] = json!(false);
    fleet.put(protocol::indices::AGENTS, &agent.id, &document).await;
    assert_eq!(fleet.checkin(&agent, &online()).await.error(), "ErrAgentInactive");
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once() {
    let (fleet, agent) = checked_in().await;
    assert_eq!(fleet.checkin(&agent, &running("policy-1", 1)).await.status, 200);
    let id = fleet.agent_document(&agent.id).await["access_api_key_id"].clone();
    let keys: &dyn ApiKeys = &*fleet.access;
    keys.invalidate(&[id.as_str().unwrap().to_owned()]).await.unwrap();
    assert_eq!(fleet.checkin(&agent, &online()).await.error(), "ErrUnauthorized");
    let wrong = Agent {
        key: "aWQ6a2V5".to_owned(),
        ..agent
    };
    assert_eq!(fleet.checkin(&wrong, &online()).await.error(), "ErrUnauthorized");
}
