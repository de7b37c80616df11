//! Who one is and what one may, over HTTP.

use serde_json::{Value, json};

use crate::harness::{PASSWORD, Server, basic};

#[tokio::test]
async fn without_a_right_credential_nothing_is_answered() {
    let server = Server::start().await;
    let none = server.send("GET", "/", &[], "").await;
    assert_eq!(none.status, 401);
    let challenges: Vec<_> = none
        .headers
        .get_all("www-authenticate")
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    assert_eq!(
        challenges,
        [
            r#"Basic realm="security", charset="UTF-8""#,
            r#"Bearer realm="security""#,
            "ApiKey"
        ]
    );
    assert!(
        none.refusal()
            .2
            .contains("missing authentication credentials for REST request [/]")
    );
    for wrong in [
        basic("elastic", "wrong password"),
        basic("nobody", PASSWORD),
        "Bearer AAEAAWZvbw".to_owned(),
        "ApiKey eDp5".to_owned(),
        "Digest x".to_owned(),
    ] {
        assert_eq!(server.call_as(&wrong, "GET", "/", "").await.status, 401, "{wrong}");
    }
}

#[tokio::test]
async fn everyone_learns_who_they_are() {
    let server = Server::start().await;
    let me = server.call("GET", "/_security/_authenticate", "").await.ok();
    assert_eq!(
        (&me["username"], &me["roles"]),
        (&json!("elastic"), &json!(["superuser"]))
    );
    assert_eq!(
        (&me["authentication_type"], &me["authentication_realm"]["type"]),
        (&json!("realm"), &json!("reserved"))
    );
    let fleet = server
        .call_as(&server.fleet, "GET", "/_security/_authenticate", "")
        .await
        .ok();
    assert_eq!(
        (&fleet["username"], &fleet["token"]["name"]),
        (&json!("elastic/fleet-server"), &json!("test"))
    );
    let key = server.agent_key(json!({}), json!({ "agent_id": "a" })).await;
    let agent = server.call_as(&key, "GET", "/_security/_authenticate", "").await.ok();
    assert_eq!(
        (&agent["authentication_type"], &agent["metadata"]["agent_id"]),
        (&json!("api_key"), &json!("a"))
    );
}

#[tokio::test]
async fn a_keys_life() {
    let server = Server::start().await;
    let body = json!({ "name": "shipper", "role_descriptors": { "w": { "indices": [{ "names": ["logs-*"], "privileges": ["create_doc", "auto_configure"] }] } }, "metadata": { "m": 1 }, "expiration": "1d" });
    let made = server.call("POST", "/_security/api_key", body.to_string()).await.ok();
    let id = made["id"].as_str().unwrap().to_owned();
    assert!(made["expiration"].is_u64());
    let header = format!("ApiKey {}", made["encoded"].as_str().unwrap());
    let line = "{\"create\":{\"_index\":\"logs-x-default\"}}\n{\"@timestamp\":\"2026-01-02T03:04:05Z\"}\n";
    assert_eq!(
        server.call_as(&header, "POST", "/_bulk", line).await.ok()["errors"],
        false
    );
    assert_eq!(server.call_as(&header, "GET", "/", "").await.status, 403);

    let shown = server
        .call("GET", &format!("/_security/api_key?id={id}"), "")
        .await
        .ok();
    let key = &shown["api_keys"][0];
    assert_eq!(
        (&key["name"], &key["invalidated"], &key["metadata"]),
        (&json!("shipper"), &json!(false), &json!({ "m": 1 }))
    );
    assert!(!shown.to_string().contains(made["api_key"].as_str().unwrap()));
    assert_eq!(
        server.call("GET", "/_security/api_key?name=ship*", "").await.ok()["api_keys"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(server.call("GET", "/_security/api_key?id=none", "").await.status, 404);

    let update = json!({ "ids": [id, "none"], "role_descriptors": { "w": { "cluster": ["monitor"] } } });
    let updated = server
        .call("POST", "/_security/api_key/_bulk_update", update.to_string())
        .await
        .ok();
    assert_eq!(
        (&updated["updated"], &updated["errors"]["count"]),
        (&json!([id]), &json!(1))
    );
    assert_eq!(server.call_as(&header, "GET", "/", "").await.status, 200);

    let gone = server
        .call("DELETE", "/_security/api_key", json!({ "ids": [id] }).to_string())
        .await
        .ok();
    assert_eq!(gone["invalidated_api_keys"], json!([id]));
    let refused = server.call_as(&header, "GET", "/", "").await;
    assert_eq!(refused.status, 401);
    assert!(
        refused.text().contains(&format!("api key [{id}] has been invalidated")),
        "{}",
        refused.text()
    );
    let again = server
        .call("DELETE", "/_security/api_key", json!({ "ids": [id] }).to_string())
        .await
        .ok();
    assert_eq!(again["previously_invalidated_api_keys"], json!([id]));
}

#[tokio::test]
async fn one_sees_and_revokes_only_what_one_made() {
    let server = Server::start().await;
    let role = json!({ "cluster": ["manage_own_api_key"] });
    server.call("PUT", "/_security/role/owner", role.to_string()).await.ok();
    let (ann, ben) = (
        server.user("ann", &["owner"]).await,
        server.user("ben", &["owner"]).await,
    );
    let made = server
        .call_as(&ann, "PUT", "/_security/api_key", r#"{"name":"a"}"#)
        .await
        .ok();
    let id = made["id"].as_str().unwrap();
    assert_eq!(
        server
            .call_as(&ann, "GET", &format!("/_security/api_key?id={id}&owner=true"), "")
            .await
            .status,
        200
    );
    assert_eq!(
        server
            .call_as(&ben, "GET", &format!("/_security/api_key?id={id}"), "")
            .await
            .status,
        404
    );
    let body = json!({ "ids": [id] }).to_string();
    assert_eq!(
        server.call_as(&ben, "DELETE", "/_security/api_key", body).await.status,
        403
    );
    let body = json!({ "ids": [id], "owner": true }).to_string();
    let nothing = server
        .call_as(&ben, "DELETE", "/_security/api_key", body.clone())
        .await
        .ok();
    assert_eq!(nothing["invalidated_api_keys"], json!([]));
    assert_eq!(
        server.call_as(&ann, "DELETE", "/_security/api_key", body).await.ok()["invalidated_api_keys"],
        json!([id])
    );
}

#[tokio::test]
async fn a_key_never_exceeds_its_maker() {
    let server = Server::start().await;
    let everything = json!({ "r": { "cluster": ["all"], "indices": [{ "names": ["*"], "privileges": ["all"] }] } });
    let key = server.agent_key(everything, json!({})).await;
    assert_eq!(server.call_as(&key, "GET", "/", "").await.status, 200);
    assert_eq!(server.call_as(&key, "PUT", "/mine/_doc/1", "{}").await.status, 403);
    assert_eq!(server.call_as(&key, "PUT", "/.fleet-x/_doc/1", "{}").await.status, 201);
    assert_eq!(server.call_as(&key, "GET", "/_security/user", "").await.status, 403);
    let derived = json!({ "name": "d", "role_descriptors": { "r": { "cluster": ["monitor"] } } });
    assert_eq!(
        server
            .call_as(&key, "PUT", "/_security/api_key", derived.to_string())
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn users_and_roles() {
    let server = Server::start().await;
    let role = json!({ "cluster": ["monitor"], "indices": [{ "names": ["logs-*"], "privileges": ["read"] }] });
    assert_eq!(
        server.call("PUT", "/_security/role/logs", role.to_string()).await.ok(),
        json!({ "role": { "created": true } })
    );
    let user = json!({ "password": "first password", "roles": ["logs"], "full_name": "Ann" });
    assert_eq!(
        server.call("PUT", "/_security/user/ann", user.to_string()).await.ok(),
        json!({ "created": true })
    );
    let first = basic("ann", "first password");
    assert_eq!(server.call_as(&first, "GET", "/", "").await.status, 200);
    let change = r#"{"password":"second password"}"#;
    assert_eq!(
        server
            .call_as(&first, "PUT", "/_security/user/_password", change)
            .await
            .status,
        200
    );
    assert_eq!(server.call_as(&first, "GET", "/", "").await.status, 401);
    let second = basic("ann", "second password");
    assert_eq!(
        server
            .call_as(&second, "PUT", "/_security/user/elastic/_password", change)
            .await
            .status,
        403
    );

    let stronger = json!({ "cluster": [], "indices": [] });
    server
        .call("PUT", "/_security/role/logs", stronger.to_string())
        .await
        .ok();
    assert_eq!(
        server.call_as(&second, "GET", "/", "").await.status,
        403,
        "a changed role holds at once"
    );
    server.call("PUT", "/_security/user/ann/_disable", "").await.ok();
    assert_eq!(server.call_as(&second, "GET", "/", "").await.status, 401);
    assert_eq!(
        server.call("GET", "/_security/user/ann", "").await.ok()["ann"]["enabled"],
        false
    );
    assert_eq!(
        server.call("DELETE", "/_security/user/ann", "").await.ok(),
        json!({ "found": true })
    );
    assert_eq!(server.call("GET", "/_security/user/ann", "").await.status, 404);
    assert_eq!(server.call("PUT", "/_security/role/superuser", "{}").await.status, 400);
    let bad = json!({ "cluster": ["fly"] }).to_string();
    assert!(
        server
            .call("PUT", "/_security/role/x", bad)
            .await
            .refusal()
            .2
            .contains("[fly]")
    );
    assert_eq!(
        server.call("DELETE", "/_security/role/logs", "").await.ok(),
        json!({ "found": true })
    );
    let short = r#"{"password":"12345","roles":[]}"#;
    assert_eq!(server.call("PUT", "/_security/user/x", short).await.status, 400);
}

#[tokio::test]
async fn service_tokens_work_until_they_are_deleted() {
    let server = Server::start().await;
    let path = "/_security/service/elastic/fleet-server/credential/token/t1";
    let made = server.call("POST", path, "").await.ok();
    let header = format!("Bearer {}", made["token"]["value"].as_str().unwrap());
    assert_eq!(server.call_as(&header, "GET", "/", "").await.status, 200);
    assert_eq!(server.call("POST", path, "").await.status, 409);
    let listed = server
        .call("GET", "/_security/service/elastic/fleet-server/credential", "")
        .await
        .ok();
    assert_eq!(listed["tokens"], json!({ "test": {}, "t1": {} }));
    server.call("DELETE", path, "").await.ok();
    assert_eq!(server.call_as(&header, "GET", "/", "").await.status, 401);
    assert_eq!(
        server
            .call("POST", "/_security/service/elastic/kibana/credential/token/x", "")
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn questions_about_privileges_are_answered() {
    let server = Server::start().await;
    let viewer = server.user("ann", &["viewer"]).await;
    let question = json!({
        "cluster": ["monitor"], "index": [{ "names": ["logs-x"], "privileges": ["read", "write"] }],
    });
    let answer = server
        .call_as(&viewer, "POST", "/_security/user/_has_privileges", question.to_string())
        .await
        .ok();
    assert_eq!(answer["has_all_requested"], false);
    assert_eq!(answer["index"]["logs-x"], json!({ "read": true, "write": false }));
    let all: Value = server
        .call("POST", "/_security/user/_has_privileges", question.to_string())
        .await
        .ok();
    assert_eq!(all["has_all_requested"], true);
}

#[tokio::test]
async fn privileges_are_told() {
    let server = Server::start().await;
    let all = server.call("GET", "/_security/privilege/_builtin", "").await.ok();
    assert!(all["index"].as_array().unwrap().contains(&json!("create_doc")), "{all}");
    assert!(
        all["cluster"]
            .as_array()
            .unwrap()
            .contains(&json!("manage_own_api_key")),
        "{all}"
    );
    let own = server.call("GET", "/_security/user/_privileges", "").await.ok();
    assert_eq!(own["cluster"], json!(["all"]));
    assert_eq!(own["indices"][0]["names"], json!(["*"]));
    assert_eq!(server.call("GET", "/_security/privilege", "").await.ok(), json!({}));
    assert_eq!(server.call("GET", "/_security/role_mapping", "").await.ok(), json!({}));
    let reader = server.user("reader", &["viewer"]).await;
    assert_eq!(
        server
            .call_as(&reader, "GET", "/_security/privilege/_builtin", "")
            .await
            .status,
        403
    );
    assert_eq!(
        server
            .call_as(&reader, "GET", "/_security/user/_privileges", "")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn what_is_remembered_can_be_forgotten() {
    let server = Server::start().await;
    for path in [
        "/_security/role/x/_clear_cache",
        "/_security/realm/native/_clear_cache",
        "/_security/api_key/x/_clear_cache",
    ] {
        let answer = server.call("POST", path, "").await.ok();
        assert_eq!(
            answer["_nodes"],
            json!({"total": 1, "successful": 1, "failed": 0}),
            "{path}"
        );
    }
    let reader = server.user("reader", &["viewer"]).await;
    assert_eq!(
        server
            .call_as(&reader, "POST", "/_security/role/x/_clear_cache", "")
            .await
            .status,
        403
    );
}
