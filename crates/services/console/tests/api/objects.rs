//! Hosts, outputs, proxies and download sources: what is written is what is read.

use serde_json::{Value, json};

use crate::harness::Fleet;

/// Creates, reads back and compares; returns the id.
async fn check(fleet: &Fleet, path: &str, body: Value, expected: Value) -> String {
    let mut created = fleet.post(path, body).await.item();
    let id = created["id"].as_str().unwrap().to_owned();
    assert!(!id.is_empty());
    assert_eq!(fleet.get(&format!("{path}/{id}")).await.item(), created);
    let list = fleet.get(path).await.ok();
    assert!(list["items"].as_array().unwrap().contains(&created), "{list}");
    if expected.get("id").is_none() {
        created.as_object_mut().unwrap().remove("id");
    }
    assert_eq!(created, expected);
    id
}

#[tokio::test]
async fn empty_ids_are_generated_and_empty_references_are_none() {
    let fleet = Fleet::start().await;
    check(
        &fleet,
        "/api/fleet/fleet_server_hosts",
        json!({"id": "", "name": "h", "host_urls": ["https://fs.example/"], "proxy_id": "", "is_default": false}),
        json!({"name": "h", "host_urls": ["https://fs.example:443"], "is_default": false, "is_preconfigured": false}),
    )
    .await;
    check(
        &fleet,
        "/api/fleet/proxies",
        json!({"id": "", "name": "p", "url": "http://proxy:3128", "certificate": "", "certificate_key": "", "certificate_authorities": "", "proxy_headers": {"a": "b"}}),
        json!({"name": "p", "url": "http://proxy:3128", "proxy_headers": {"a": "b"}, "is_preconfigured": false}),
    )
    .await;
    check(
        &fleet,
        "/api/fleet/outputs",
        json!({"id": "", "name": "o", "type": "elasticsearch", "hosts": ["https://es:9200"], "config_yaml": "ssl.verification_mode: none"}),
        json!({"name": "o", "type": "elasticsearch", "hosts": ["https://es:9200"], "is_default": false, "is_default_monitoring": false,
               "config_yaml": "ssl.verification_mode: none", "preset": "balanced"}),
    )
    .await;
    check(
        &fleet,
        "/api/fleet/agent_download_sources",
        json!({"id": "", "name": "s", "host": "https://files.example/"}),
        json!({"name": "s", "host": "https://files.example/", "is_default": false}),
    )
    .await;
}

#[tokio::test]
async fn every_type_of_output_reads_back() {
    let fleet = Fleet::start().await;
    let kafka = json!({
        "name": "k", "type": "kafka", "hosts": ["broker:9092"], "auth_type": "user_pass", "username": "u", "password": "p",
        "topic": "t", "partition": "random", "random": {"group_events": 3}, "headers": [{"key": "a", "value": "b"}],
        "sasl": {"mechanism": "PLAIN"}, "ssl": {"certificate_authorities": ["/ca.pem"], "verification_mode": "full"},
    });
    let mut expected = kafka.clone();
    for (key, value) in json!({"is_default": false, "is_default_monitoring": false, "version": "1.0.0", "client_id": "Elastic",
                               "compression": "gzip", "compression_level": 4, "timeout": 30, "broker_timeout": 10, "required_acks": 1}).as_object().unwrap() {
        expected[key] = value.clone();
    }
    check(&fleet, "/api/fleet/outputs", kafka, expected).await;
    let logstash = json!({"name": "l", "type": "logstash", "hosts": ["logstash:5044"], "ssl": {"certificate": "/c.pem", "key": "/k.pem", "certificate_authorities": ["/ca.pem"]},
                          "is_default": false, "is_default_monitoring": false});
    check(&fleet, "/api/fleet/outputs", logstash.clone(), logstash).await;
    let remote = json!({"name": "r", "type": "remote_elasticsearch", "hosts": ["https://far:9200"], "service_token": "AAEA", "is_default": false,
                        "is_default_monitoring": false, "preset": "latency", "sync_integrations": false});
    check(&fleet, "/api/fleet/outputs", remote.clone(), remote).await;
}

#[tokio::test]
async fn bad_requests_have_the_original_s_words() {
    let fleet = Fleet::start().await;
    for (path, body, status, expected) in [
        (
            "/api/fleet/fleet_server_hosts",
            json!({"name": "h"}),
            400,
            "[request body.host_urls]: expected value of type [array] but got [undefined]",
        ),
        (
            "/api/fleet/fleet_server_hosts",
            json!({"name": "h", "host_urls": ["https://h:1"], "foo": 1}),
            400,
            "[request body.foo]: definition for this key is missing",
        ),
        (
            "/api/fleet/fleet_server_hosts",
            json!({"name": "h", "host_urls": ["h:1"]}),
            400,
            "not a valid URL",
        ),
        (
            "/api/fleet/fleet_server_hosts",
            json!({"name": "h", "host_urls": ["https://h:1"], "ssl": {"certificate": "/a b.pem"}}),
            400,
            "SSL certificate path cannot contain whitespace",
        ),
        (
            "/api/fleet/fleet_server_hosts",
            json!({"name": "h", "host_urls": ["https://h:1"], "ssl": {"key": "/k"}, "secrets": {"ssl": {"key": "x"}}}),
            400,
            "Cannot specify both ssl.key and secrets.ssl.key",
        ),
        (
            "/api/fleet/fleet_server_hosts",
            json!({"id": "a/b", "name": "h", "host_urls": ["https://h:1"]}),
            400,
            "path separators",
        ),
        (
            "/api/fleet/fleet_server_hosts",
            json!({"id": "fleet-default-fleet-server-host", "name": "h", "host_urls": ["https://h:1"]}),
            409,
            "conflict",
        ),
        (
            "/api/fleet/outputs",
            json!({"name": "o", "type": "nope", "hosts": ["https://h:1"]}),
            400,
            "expected value to equal [kafka]",
        ),
        (
            "/api/fleet/outputs",
            json!({"name": "o", "type": "kafka", "hosts": ["h:1"]}),
            400,
            "auth_type",
        ),
        (
            "/api/fleet/outputs",
            json!({"name": "o", "type": "logstash", "hosts": ["https://h:1"]}),
            400,
            "Host address must begin with a domain name or IP address",
        ),
        (
            "/api/fleet/outputs",
            json!({"name": "o", "type": "elasticsearch", "hosts": ["https://h:1"], "preset": "balanced", "config_yaml": "bulk_max_size: 1"}),
            400,
            "preset cannot be balanced",
        ),
        (
            "/api/fleet/outputs",
            json!({"name": "o", "type": "elasticsearch", "hosts": ["https://h:1"], "config_yaml": "a: ["}),
            400,
            "config_yaml",
        ),
        (
            "/api/fleet/outputs",
            json!({"name": "o", "type": "elasticsearch", "hosts": ["https://h:1"], "ca_trusted_fingerprint": "xyz"}),
            400,
            "64 hexadecimal digits",
        ),
        (
            "/api/fleet/proxies",
            json!({"name": "p", "url": "proxy"}),
            400,
            "Invalid URL",
        ),
        (
            "/api/fleet/agent_policies",
            json!({"name": "p", "namespace": "Has-Dash"}),
            400,
            "Namespace must be lowercase",
        ),
        (
            "/api/fleet/agent_policies",
            json!({"name": "Default policy", "namespace": "default"}),
            409,
            "already exists with id 'default-policy'",
        ),
    ] {
        let message = fleet.post(path, body.clone()).await.refused(status);
        assert!(message.contains(expected), "{body}: {message}");
    }
}

#[tokio::test]
async fn missing_things_are_404_in_the_original_s_words() {
    let fleet = Fleet::start().await;
    for (path, expected) in [
        ("/api/fleet/outputs/nope", "Output nope not found"),
        (
            "/api/fleet/fleet_server_hosts/nope",
            "Saved object [fleet-fleet-server-host/nope] not found",
        ),
        ("/api/fleet/enrollment_api_keys/nope", "EnrollmentAPIKey nope not found"),
        (
            "/api/fleet/agent_policies/nope",
            "Saved object [ingest-agent-policies/nope] not found",
        ),
        ("/api/fleet/agents/nope", "Agent nope not found"),
        ("/api/fleet/epm/packages/nope", "package not found"),
        ("/api/fleet/nope", "Not Found"),
    ] {
        assert!(fleet.get(path).await.refused(404).contains(expected), "{path}");
    }
    let message = fleet
        .post("/api/fleet/health_check", json!({"id": "nope"}))
        .await
        .refused(404);
    assert_eq!(message, "The requested host id nope does not exist.");
}

#[tokio::test]
async fn puts_merge_and_null_clears() {
    let fleet = Fleet::start().await;
    fleet
        .post(
            "/api/fleet/proxies",
            json!({"id": "x", "name": "x", "url": "http://proxy:1"}),
        )
        .await
        .item();
    let path = "/api/fleet/fleet_server_hosts/h";
    fleet.post("/api/fleet/fleet_server_hosts", json!({"id": "h", "name": "h", "host_urls": ["https://h:1"], "proxy_id": "x", "ssl": {"certificate": "/c.pem"}})).await.item();
    let after = fleet.put(path, json!({"name": "n", "proxy_id": "x"})).await.item();
    assert_eq!(
        (&after["name"], &after["proxy_id"], &after["ssl"]),
        (&json!("n"), &json!("x"), &json!({"certificate": "/c.pem"}))
    );
    let after = fleet.put(path, json!({"ssl": null})).await.item();
    assert!(after.get("proxy_id").is_none() && after.get("ssl").is_none(), "{after}");
    fleet.post("/api/fleet/outputs", json!({"id": "o", "name": "o", "type": "elasticsearch", "hosts": ["https://h:1"], "proxy_id": "x", "config_yaml": "a: 1"})).await.item();
    let after = fleet.put("/api/fleet/outputs/o", json!({"name": "n"})).await.item();
    assert_eq!(
        (&after["proxy_id"], &after["config_yaml"]),
        (&json!("x"), &json!("a: 1"))
    );
    let after = fleet
        .put("/api/fleet/outputs/o", json!({"config_yaml": null, "proxy_id": null}))
        .await
        .item();
    assert!(
        after.get("proxy_id").is_none() && after.get("config_yaml").is_none(),
        "{after}"
    );
    let after = fleet
        .put("/api/fleet/outputs/o", json!({"type": "logstash", "hosts": ["l:5044"]}))
        .await
        .item();
    assert!(after.get("preset").is_none(), "fields of the former type go: {after}");
}

#[tokio::test]
async fn defaults_move_and_cannot_be_removed() {
    let fleet = Fleet::start().await;
    fleet
        .post(
            "/api/fleet/outputs",
            json!({"id": "o", "name": "o", "type": "elasticsearch", "hosts": ["https://new:9200"], "is_default": true}),
        )
        .await
        .item();
    let old = fleet.get("/api/fleet/outputs/fleet-default-output").await.item();
    assert_eq!(
        (&old["is_default"], &old["is_default_monitoring"]),
        (&json!(false), &json!(true))
    );
    let published = fleet.published("default-policy").await;
    assert_eq!(
        published["data"]["outputs"]["default"]["hosts"],
        json!(["https://new:9200"])
    );
    assert_eq!(
        published["data"]["agent"]["monitoring"]["use_output"],
        "fleet-default-output"
    );
    assert!(
        fleet
            .put("/api/fleet/outputs/o", json!({"is_default": false}))
            .await
            .refused(403)
            .contains("must stay the default")
    );
    assert_eq!(
        fleet.delete("/api/fleet/outputs/o").await.refused(403),
        "Default output o cannot be deleted."
    );
    assert!(
        fleet
            .delete("/api/fleet/outputs/fleet-default-output")
            .await
            .refused(403)
            .contains("Default monitoring output")
    );
    let refused = fleet
        .delete("/api/fleet/fleet_server_hosts/fleet-default-fleet-server-host")
        .await
        .refused(403);
    assert!(refused.contains("cannot be deleted"));
}

#[tokio::test]
async fn secrets_are_stored_apart_kept_by_reference_and_forgotten() {
    let fleet = Fleet::start().await;
    let path = "/api/fleet/outputs/o";
    let body = json!({"id": "o", "name": "o", "type": "elasticsearch", "hosts": ["https://h:1"], "ssl": {"certificate": "/c.pem"}, "secrets": {"ssl": {"key": "KEY ONE"}}});
    let created = fleet.post("/api/fleet/outputs", body).await.item();
    let id = created["secrets"]["ssl"]["key"]["id"].as_str().unwrap().to_owned();
    assert_eq!(fleet.access.secret(&id).await.unwrap().unwrap().expose(), "KEY ONE");
    let kept = fleet
        .put(path, json!({"name": "n", "secrets": {"ssl": {"key": {"id": id}}}}))
        .await
        .item();
    assert_eq!(kept["secrets"]["ssl"]["key"]["id"], id);
    let replaced = fleet
        .put(path, json!({"secrets": {"ssl": {"key": "KEY TWO"}}}))
        .await
        .item();
    let new = replaced["secrets"]["ssl"]["key"]["id"].as_str().unwrap();
    assert_ne!(new, id);
    assert!(fleet.access.secret(&id).await.unwrap().is_none());
    fleet.delete(path).await.ok();
    assert!(fleet.access.secret(new).await.unwrap().is_none());
}

#[tokio::test]
async fn a_deleted_proxy_leaves_those_who_used_it() {
    let fleet = Fleet::start().await;
    fleet
        .post(
            "/api/fleet/proxies",
            json!({"id": "x", "name": "x", "url": "http://proxy:1"}),
        )
        .await
        .item();
    fleet
        .put("/api/fleet/outputs/fleet-default-output", json!({"proxy_id": "x"}))
        .await
        .item();
    assert_eq!(
        fleet.published("default-policy").await["data"]["outputs"]["default"]["proxy_url"],
        "http://proxy:1"
    );
    assert_eq!(fleet.delete("/api/fleet/proxies/x").await.ok(), json!({"id": "x"}));
    assert!(
        fleet.published("default-policy").await["data"]["outputs"]["default"]
            .get("proxy_url")
            .is_none()
    );
    assert!(
        fleet
            .get("/api/fleet/outputs/fleet-default-output")
            .await
            .item()
            .get("proxy_id")
            .is_none()
    );
}

#[tokio::test]
async fn spaces_and_settings_read_back() {
    let fleet = Fleet::start().await;
    let settings = fleet
        .put(
            "/s/team/api/fleet/settings",
            json!({"delete_unenrolled_agents": {"enabled": true, "is_preconfigured": false}}),
        )
        .await
        .item();
    assert_eq!(settings["delete_unenrolled_agents"]["enabled"], true);
    assert_eq!(fleet.get("/api/fleet/settings").await.item(), settings);
    let space = fleet
        .put(
            "/s/team/api/fleet/space_settings",
            json!({"allowed_namespace_prefixes": ["team"]}),
        )
        .await
        .item();
    assert_eq!(space["allowed_namespace_prefixes"], json!(["team"]));
    assert_eq!(
        fleet.get("/api/fleet/space_settings").await.item()["allowed_namespace_prefixes"],
        json!([])
    );
}

#[tokio::test]
async fn a_change_takes_along_what_only_fitted_the_old_value() {
    let fleet = Fleet::start().await;
    let path = "/api/fleet/outputs/k";
    let body = json!({"id": "k", "name": "k", "type": "kafka", "hosts": ["k:9092"], "auth_type": "user_pass", "username": "u",
                      "secrets": {"password": "p"}, "topic": "t"});
    fleet.post("/api/fleet/outputs", body).await.item();
    let body = json!({"name": "k", "type": "kafka", "hosts": ["k:9092"], "auth_type": "ssl", "compression": "snappy",
                      "ssl": {"certificate": "/c.pem", "key": "/k.pem"}});
    let after = fleet.put(path, body).await.item();
    assert_eq!(after["secrets"].get("password"), None, "{after}");
    assert!(
        after.get("username").is_none() && after.get("compression_level").is_none(),
        "{after}"
    );
    let body = json!({"id": "e", "name": "e", "type": "elasticsearch", "hosts": ["https://e:1"]});
    assert_eq!(
        fleet.post("/api/fleet/outputs", body).await.item()["preset"],
        "balanced"
    );
    let after = fleet
        .put("/api/fleet/outputs/e", json!({"config_yaml": "bulk_max_size: 5"}))
        .await
        .item();
    assert_eq!(after["preset"], "custom");
    let refused = fleet.put("/api/fleet/outputs/e", json!({"preset": "balanced"})).await;
    assert!(refused.refused(400).contains("preset cannot be balanced"));
}
