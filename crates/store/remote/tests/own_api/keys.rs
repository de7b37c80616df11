//! Native API keys and secrets, asked for with a service token as a Fleet Server does.

use std::sync::Arc;

use access::{AccessError, ApiKeys, AuthenticationError, NewApiKey, Secret};
use remote::{RemoteCredential, RemoteStore};
use serde_json::json;

use crate::server::Server;

fn new_key(name: &str) -> NewApiKey {
    NewApiKey {
        name: name.to_owned(),
        role_descriptors: json!({ "r": { "cluster": ["monitor"], "indices": [{ "names": ["logs-*"], "privileges": ["auto_configure", "create_doc"] }] } }).try_into().unwrap(),
        metadata: json!({ "agent_id": "a-1" }),
        expires: None,
    }
}

/// As a Fleet Server has them.
async fn keys_of_service_account(server: &Server) -> Arc<dyn ApiKeys> {
    let credential = RemoteCredential::ServiceToken(server.service_token.clone());
    RemoteStore::connect(server.settings(credential))
        .await
        .unwrap()
        .api_keys()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_made_read_changed_and_revoked() {
    let server = Server::start().await;
    let keys = keys_of_service_account(&server).await;
    let key = keys.create(new_key("agent-1")).await.unwrap();
    let principal = keys.authenticate(&key.pair()).await.unwrap();
    assert_eq!(
        (principal.api_key_id.as_deref(), principal.username.as_str()),
        (Some(key.id.as_str()), "elastic/fleet-server")
    );
    let info = keys.read(&key.id).await.unwrap().unwrap();
    assert_eq!((info.name.as_str(), info.invalidated), ("agent-1", false));
    assert_eq!(info.metadata["agent_id"], "a-1");
    assert_eq!(info.role_descriptors["r"]["indices"][0]["names"], json!(["logs-*"]));
    let roles = json!({ "r": { "indices": [{ "names": ["metrics-*"], "privileges": ["create_doc"] }] } })
        .try_into()
        .unwrap();
    let ids = [key.id.clone()];
    assert_eq!(keys.update(&ids, &roles).await.unwrap(), ids);
    let info = keys.read(&key.id).await.unwrap().unwrap();
    assert_eq!(info.role_descriptors["r"]["indices"][0]["names"], json!(["metrics-*"]));
    assert_eq!(keys.invalidate(&ids).await.unwrap().invalidated, ids);
    assert_eq!(keys.invalidate(&ids).await.unwrap().previously_invalidated, ids);
    let error = keys.authenticate(&key.pair()).await.unwrap_err();
    assert!(matches!(error, AuthenticationError::Rejected(_)), "{error}");
    assert!(keys.read("no-such-key").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_keys_and_bad_wishes_are_refused() {
    let server = Server::start().await;
    let keys = server.store().await.api_keys();
    for pair in ["no-such-id:secret", "no colon", ""] {
        let error = keys.authenticate(&Secret::from(pair)).await.unwrap_err();
        assert!(matches!(error, AuthenticationError::Rejected(_)), "{pair}: {error}");
    }
    let error = keys.create(new_key("_reserved")).await.unwrap_err();
    assert!(matches!(error, AccessError::Invalid(_)), "{error}");
    let expired = NewApiKey {
        expires: Some(jiff::Timestamp::UNIX_EPOCH),
        ..new_key("late")
    };
    assert!(matches!(
        keys.create(expired).await.unwrap_err(),
        AccessError::Invalid(_)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_kept_and_forgotten() {
    let server = Server::start().await;
    let keys = keys_of_service_account(&server).await;
    let id = keys.put_secret(&Secret::from("id:key")).await.unwrap();
    assert_eq!(keys.secret(&id).await.unwrap(), Some(Secret::from("id:key")));
    assert_eq!(
        server.access.secret(&id).await.unwrap(),
        Some(Secret::from("id:key")),
        "kept by the server itself"
    );
    assert!(keys.delete_secret(&id).await.unwrap());
    assert!(!keys.delete_secret(&id).await.unwrap());
    assert_eq!(keys.secret(&id).await.unwrap(), None);
}
