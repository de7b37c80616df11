//! What a stock Fleet Server needs beyond the public API.

use serde_json::json;

use crate::harness::Server;

#[tokio::test]
async fn checkpoints_are_waited_for() {
    let server = Server::start().await;
    let fleet = server.fleet.clone();
    let get = |query: &str| {
        let path = format!("/.fleet-actions/_fleet/global_checkpoints{query}");
        let (server, fleet) = (&server, fleet.clone());
        async move { server.call_as(&fleet, "GET", &path, "").await }
    };
    let (status, kind, _) = get("").await.refusal();
    assert_eq!((status, kind.as_str()), (404, "index_not_found_exception"));
    let create = server.call_as(&fleet, "PUT", "/.fleet-actions/_doc/1", r#"{"action_id":"1"}"#);
    let waited = get("?wait_for_advance=true&wait_for_index=true&timeout=10s");
    let (waited, created) = tokio::join!(waited, create);
    assert_eq!(created.status, 201);
    assert_eq!(waited.ok(), json!({ "global_checkpoints": [0], "timed_out": false }));
    assert_eq!(get("").await.ok()["global_checkpoints"], json!([0]));

    let write = server.call_as(&fleet, "PUT", "/.fleet-actions/_doc/2", r#"{"action_id":"2"}"#);
    let (waited, _) = tokio::join!(get("?checkpoints=0&wait_for_advance=true&timeout=10s"), write);
    assert_eq!(waited.ok(), json!({ "global_checkpoints": [1], "timed_out": false }));
    let late = get("?checkpoints=1&wait_for_advance=true&timeout=20ms").await.ok();
    assert_eq!(late, json!({ "global_checkpoints": [1], "timed_out": true }));
    assert_eq!(get("?checkpoints=x").await.status, 400);
}

#[tokio::test]
async fn searches_see_what_the_checkpoint_promises() {
    let server = Server::start().await;
    let fleet = &server.fleet;
    let action = json!({ "action_id": "1", "agents": ["a"], "expiration": "2099-01-01T00:00:00Z" }).to_string();
    server
        .call_as(fleet, "PUT", "/.fleet-actions/_doc/1", action)
        .await
        .ok();
    let body = json!({
        "query": { "bool": { "filter": [{ "range": { "_seq_no": { "gt": -1 } } }, { "range": { "_seq_no": { "lte": 0 } } }, { "range": { "expiration": { "gt": "now" } } }, { "terms": { "agents": ["a"] } }] } },
        "sort": ["_seq_no"], "size": 100, "seq_no_primary_term": true, "_source": { "excludes": ["agents"] },
    });
    let path = "/.fleet-actions/_fleet/_fleet_search?wait_for_checkpoints=0";
    let found = server.call_as(fleet, "POST", path, body.to_string()).await.ok();
    assert_eq!(found["hits"]["total"]["value"], 1, "{found}");
    assert_eq!(found["hits"]["hits"][0]["_seq_no"], 0);
    let lines = format!(
        "{}\n{body}\n",
        json!({ "index": ".fleet-actions", "wait_for_checkpoints": [0] })
    );
    let many = server
        .call_as(fleet, "POST", "/_fleet/_fleet_msearch", lines)
        .await
        .ok();
    let hit = &many["responses"][0]["hits"]["hits"][0];
    assert_eq!(
        hit["_source"],
        json!({ "action_id": "1", "expiration": "2099-01-01T00:00:00Z" })
    );
    let lines = format!(
        "{}\n{body}\n",
        json!({ "index": ".fleet-nothing", "wait_for_checkpoints": [-1] })
    );
    let many = server
        .call_as(fleet, "POST", "/_fleet/_fleet_msearch", lines)
        .await
        .ok();
    assert_eq!(many["responses"][0]["status"], 404);
}

#[tokio::test]
async fn secrets_are_kept_read_and_deleted() {
    let server = Server::start().await;
    let fleet = &server.fleet;
    let id = server
        .call_as(fleet, "POST", "/_fleet/secret", r#"{"value":"id:key"}"#)
        .await
        .ok()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/_fleet/secret/{id}");
    assert_eq!(
        server.call_as(fleet, "GET", &path, "").await.ok(),
        json!({ "id": id, "value": "id:key" })
    );
    let viewer = server.user("ann", &["viewer"]).await;
    assert_eq!(server.call_as(&viewer, "GET", &path, "").await.status, 403);
    assert_eq!(
        server.call_as(fleet, "DELETE", &path, "").await.ok(),
        json!({ "deleted": true })
    );
    assert_eq!(server.call_as(fleet, "GET", &path, "").await.status, 404);
    assert_eq!(server.call_as(fleet, "DELETE", &path, "").await.status, 404);
}
