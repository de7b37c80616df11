//! Packages: listed, read, uploaded.

use std::io::{Cursor, Write};

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use crate::harness::{Answer, Fleet, PASSWORD, basic};

fn zip_of(version: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, content) in files {
        writer
            .start_file(
                format!("demo-{version}/{path}"),
                zip::write::SimpleFileOptions::default(),
            )
            .unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

const STREAM: &str = "title: Demo\ntype: logs\nstreams:\n- input: logfile\n  title: t\n  vars:\n  - {name: paths, type: text, multi: true, required: true, default: [/demo.log]}\n";
const TEMPLATE: &str = "paths:\n{{#each paths as |path|}}\n- {{path}}\n{{/each}}\n";

fn demo(version: &str) -> Vec<u8> {
    let manifest = format!(
        "name: demo\ntitle: Demo\nversion: {version}\ntype: integration\npolicy_templates:\n- name: demo\n  title: Demo\n  inputs:\n  - {{type: logfile, title: Logs}}\n"
    );
    zip_of(
        version,
        &[
            ("manifest.yml", manifest.as_str()),
            ("data_stream/log/manifest.yml", STREAM),
            ("data_stream/log/agent/stream/stream.yml.hbs", TEMPLATE),
        ],
    )
}

async fn upload(fleet: &Fleet, zip: Vec<u8>) -> Answer {
    upload_as(fleet, "application/zip", zip).await
}

async fn upload_as(fleet: &Fleet, content_type: &str, archive: Vec<u8>) -> Answer {
    upload_to(fleet, "/api/fleet/epm/packages", content_type, archive).await
}

async fn upload_to(fleet: &Fleet, path: &str, content_type: &str, archive: Vec<u8>) -> Answer {
    let request = Request::post(path)
        .header("authorization", basic("elastic", PASSWORD))
        .header("kbn-xsrf", "1")
        .header("content-type", content_type);
    fleet.send(request.body(Body::from(archive)).unwrap()).await
}

fn input_named<'a>(published: &'a Value, name: &str) -> &'a Value {
    let inputs = published["data"]["inputs"].as_array().unwrap();
    inputs.iter().find(|input| input["name"] == name).unwrap()
}

#[tokio::test]
async fn our_own_packages_need_no_registry() {
    let fleet = Fleet::start().await;
    let list = fleet.get("/api/fleet/epm/packages").await.ok();
    let status = |name: &str| {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|item| item["name"] == name)
            .unwrap()["status"]
            .clone()
    };
    assert_eq!(
        (status("system"), status("prometheus")),
        (json!("installed"), json!("not_installed"))
    );
    let read = fleet.get("/api/fleet/epm/packages/system").await.item();
    assert_eq!(read["policy_templates"][0]["inputs"][0]["type"], "logfile");
    assert_eq!(read["data_streams"][0]["streams"][0]["vars"][0]["name"], "paths");
    let installed = fleet
        .post("/api/fleet/epm/packages/prometheus", json!({"force": true}))
        .await
        .ok();
    assert_eq!(installed["_meta"]["name"], "prometheus");
    assert_eq!(
        fleet.get("/api/fleet/epm/packages/prometheus").await.item()["status"],
        "installed"
    );
    assert!(
        fleet
            .delete("/api/fleet/epm/packages/system/1.60.0")
            .await
            .refused(400)
            .contains("in use")
    );
    fleet.delete("/api/fleet/epm/packages/prometheus/1.20.0").await.ok();
    assert_eq!(
        fleet
            .delete("/api/fleet/epm/packages/prometheus/1.20.0")
            .await
            .refused(400),
        "prometheus is not installed"
    );
    let templates = fleet
        .get("/api/fleet/epm/templates/system/1.60.0/inputs?format=json")
        .await
        .ok();
    assert_eq!(
        templates["inputs"][0]["streams"][0]["paths"],
        json!(["/var/log/auth.log*", "/var/log/secure*"])
    );
}

#[tokio::test]
async fn an_uploaded_package_can_be_used_and_upgraded() {
    let fleet = Fleet::start().await;
    assert_eq!(
        upload(&fleet, demo("1.0.0")).await.ok()["_meta"]["install_source"],
        "upload"
    );
    let body = json!({"name": "d", "policy_ids": ["default-policy"], "package": {"name": "demo", "version": "1.0.0"}, "inputs": {}});
    let created = fleet.post("/api/fleet/package_policies", body).await.item();
    let published = fleet.published("default-policy").await;
    let input = input_named(&published, "d");
    assert_eq!(input["streams"][0]["paths"], json!(["/demo.log"]));
    upload(&fleet, demo("1.1.0")).await.ok();
    let ids = json!({"packagePolicyIds": [created["id"]]});
    let dry = fleet
        .post("/api/fleet/package_policies/upgrade/dryrun", ids.clone())
        .await
        .ok();
    assert_eq!(
        (&dry[0]["hasErrors"], &dry[0]["diff"][1]["package"]["version"]),
        (&json!(false), &json!("1.1.0"))
    );
    let inputs = &dry[0]["agent_diff"][0];
    assert_eq!(
        (&inputs[0]["name"], &inputs[0]["streams"][0]["paths"]),
        (&json!("d"), &json!(["/demo.log"]))
    );
    assert_eq!(
        fleet.post("/api/fleet/package_policies/upgrade", ids).await.ok()[0]["success"],
        true
    );
    let published = fleet.published("default-policy").await;
    let input = input_named(&published, "d");
    assert_eq!(input["meta"]["package"]["version"], "1.1.0");
}

fn manifest_of(version: &str, more: &str) -> String {
    format!("name: demo\ntitle: Demo\nversion: {version}\ntype: integration\n{more}")
}

#[tokio::test]
async fn categories_know_those_above_them_and_templates_count_when_they_are_asked_for() {
    let fleet = Fleet::start().await;
    let template = |name: &str, category: &str| {
        format!("- {{name: {name}, title: t, categories: [{category}], inputs: [{{type: logfile, title: Logs}}]}}\n")
    };
    let more = format!(
        "categories: [auditd, of_ours]\npolicy_templates:\n{}{}",
        template("one", "iam"),
        template("two", "crm")
    );
    let zip = zip_of("1.0.0", &[("manifest.yml", &manifest_of("1.0.0", &more))]);
    upload(&fleet, zip).await.ok();
    let categories = async |query: &str| {
        let list = fleet.get(&format!("/api/fleet/epm/categories{query}")).await.ok();
        move |id: &str| {
            let items = list["items"].as_array().unwrap();
            items.iter().find(|item| item["id"] == id).cloned().unwrap_or_default()
        }
    };
    let plain = categories("").await;
    let security = plain("security")["count"].as_u64().unwrap();
    assert_eq!(
        plain("auditd"),
        json!({"id": "auditd", "title": "AuditD", "count": 1, "parent_id": "security", "parent_title": "Security"})
    );
    assert_eq!(
        plain("of_ours"),
        json!({"id": "of_ours", "title": "Of Ours", "count": 1})
    );
    assert_eq!(plain("crm"), Value::Null);
    let with_templates = categories("?include_policy_templates=true").await;
    let counts = ["auditd", "iam", "crm"].map(|id| with_templates(id)["count"].clone());
    assert_eq!(counts, [json!(3), json!(1), json!(1)]);
    assert!(with_templates("security")["count"].as_u64().unwrap() >= security + 2);
    for category in ["auditd", "security", "crm"] {
        let list = fleet
            .get(&format!("/api/fleet/epm/packages?category={category}"))
            .await
            .ok();
        assert!(
            list["items"]
                .as_array()
                .unwrap()
                .iter()
                .any(|item| item["name"] == "demo"),
            "{category}"
        );
    }
    let list = fleet.get("/api/fleet/epm/packages?category=datastore").await.ok();
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn installed_packages_are_listed_in_pages_with_what_they_write_to() {
    let fleet = Fleet::start().await;
    upload(&fleet, demo("1.0.0")).await.ok();
    let names = |body: &Value| -> Vec<String> {
        let items = body["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = fleet.get("/api/fleet/epm/packages/installed?perPage=2").await.ok();
    assert_eq!(
        (names(&first), &first["total"]),
        (vec!["demo".to_owned(), "elastic_agent".to_owned()], &json!(4))
    );
    assert_eq!(first["items"][0]["dataStreams"][0]["name"], "logs-demo.log-*");
    assert_eq!(first["searchAfter"], json!(["elastic_agent"]));
    let after = "%5B%22elastic_agent%22%5D";
    let second = fleet
        .get(&format!("/api/fleet/epm/packages/installed?searchAfter={after}"))
        .await
        .ok();
    assert_eq!(names(&second), ["fleet_server", "system"]);
    let metrics = fleet
        .get("/api/fleet/epm/packages/installed?nameQuery=demo&dataStreamType=metrics")
        .await
        .ok();
    assert_eq!(metrics["items"][0]["dataStreams"], json!([]));
    let active = "/api/fleet/epm/packages/installed?nameQuery=demo&showOnlyActiveDataStreams=true";
    assert_eq!(fleet.get(active).await.ok()["items"][0]["dataStreams"], json!([]));
    write_to(&fleet, "logs-demo.log-default").await;
    let streams = fleet.get(active).await.ok()["items"][0]["dataStreams"].clone();
    assert_eq!(streams[0]["name"], "logs-demo.log-*");
    fleet
        .get("/api/fleet/epm/packages/installed?searchAfter=demo")
        .await
        .refused(400);
}

async fn write_to(fleet: &Fleet, stream: &str) {
    let event = json!({"@timestamp": "2026-01-02T11:59:00Z", "host": {"name": "a"}, "load": 1});
    let operation = store::Operation::append(stream, store::Source::of(&event));
    let outcomes = fleet
        .store
        .bulk(vec![operation], store::Refresh::WaitFor)
        .await
        .unwrap();
    for outcome in outcomes {
        outcome.written().unwrap();
    }
}

fn series(version: &str, fields: &str) -> Vec<u8> {
    let stream = "title: Load\ntype: metrics\nelasticsearch: {index_mode: time_series}\n";
    let files = [
        ("manifest.yml", &*manifest_of(version, "")),
        ("data_stream/load/manifest.yml", stream),
        ("data_stream/load/fields/fields.yml", fields),
    ];
    zip_of(version, &files)
}

#[tokio::test]
async fn data_streams_follow_a_new_version_and_roll_over_when_they_cannot() {
    let fleet = Fleet::start().await;
    const STREAM: &str = "metrics-demo.load-default";
    const FIELDS: &str = "- {name: host.name, dimension: true}\n- {name: load, type: long, metric_type: gauge}\n";
    let indices = async || {
        let indices = fleet.store.indices(&[STREAM.to_owned()]).await.unwrap();
        indices.len()
    };
    upload(&fleet, series("1.0.0", FIELDS)).await.ok();
    let kept = fleet
        .store
        .get(".flotilla-catalog", "index-template-metrics-demo.load")
        .await
        .unwrap()
        .unwrap();
    let body: Value = serde_json::from_str(kept.source.to_value()["body"].as_str().unwrap()).unwrap();
    let template = &body["template"];
    assert_eq!(template["settings"]["index"]["mode"], "time_series");
    assert_eq!(
        template["mappings"]["properties"]["load"]["time_series_metric"],
        "gauge"
    );
    write_to(&fleet, STREAM).await;
    // A field more fits.
    upload(&fleet, series("1.1.0", &format!("{FIELDS}- {{name: more}}\n")))
        .await
        .ok();
    assert_eq!(indices().await, 1);
    // Another type does not.
    upload(&fleet, series("1.2.0", &FIELDS.replace("long", "keyword")))
        .await
        .ok();
    assert_eq!(indices().await, 2);
    let path = "/api/fleet/epm/packages?skipDataStreamRollover=true";
    upload_to(&fleet, path, "application/zip", series("1.3.0", FIELDS))
        .await
        .ok();
    assert_eq!(indices().await, 2);
    // The same again begins none either: the template is what it was.
    fleet
        .post("/api/fleet/epm/packages/demo/1.3.0", json!({"force": true}))
        .await
        .ok();
    assert_eq!(indices().await, 2);
    write_to(&fleet, STREAM).await;
}

#[tokio::test]
async fn policies_follow_a_package_that_keeps_them_up_to_date() {
    let fleet = Fleet::start().await;
    upload(&fleet, demo("1.0.0")).await.ok();
    let body = json!({"name": "d", "policy_ids": ["default-policy"], "package": {"name": "demo", "version": "1.0.0"}, "inputs": {}});
    fleet.post("/api/fleet/package_policies", body).await.item();
    let version = async || {
        let published = fleet.published("default-policy").await;
        input_named(&published, "d")["meta"]["package"]["version"].clone()
    };
    let package = "/api/fleet/epm/packages/demo";
    assert_eq!(fleet.get(package).await.item()["keepPoliciesUpToDate"], false);
    upload(&fleet, demo("1.1.0")).await.ok();
    assert_eq!(version().await, "1.0.0");
    let on = json!({"keepPoliciesUpToDate": true});
    fleet.put(&format!("{package}/1.1.0"), on).await.item();
    upload(&fleet, demo("1.2.0")).await.ok();
    assert_eq!(version().await, "1.2.0");
    assert_eq!(
        fleet.get(package).await.item()["keepPoliciesUpToDate"],
        true,
        "it stays set"
    );
    assert_eq!(
        fleet.get("/api/fleet/epm/packages/system").await.item()["keepPoliciesUpToDate"],
        true
    );
}

/// Neither the package nor its archive nor anything that it brings is there.
async fn nothing_is_left(fleet: &Fleet) {
    fleet.get("/api/fleet/epm/packages/demo").await.refused(404);
    for (index, id) in [
        (".flotilla-packages", "demo"),
        (".flotilla-package-archives", "demo-1.0.0"),
        (".flotilla-catalog", "index-template-logs-demo.log"),
    ] {
        let found = fleet.store.get(index, id).await;
        let is_gone = matches!(found, Ok(None) | Err(store::StoreError::IndexNotFound(_)));
        assert!(is_gone, "{index} has {id}");
    }
}

#[tokio::test]
async fn a_bad_upload_is_refused_with_its_reason_and_leaves_nothing() {
    let fleet = Fleet::start().await;
    let manifest = "name: demo\ntitle: t\nversion: 1.0.0\n";
    let bomb = "0".repeat((64 << 20) + 1);
    for (zip, reason) in [
        (b"no zip".to_vec(), "not a readable zip"),
        (
            zip_of("1.0.0", &[("manifest.yml", "name: demo\nversion: 1.0.0\n")]),
            "`title` is missing",
        ),
        (
            zip_of(
                "1.0.0",
                &[("manifest.yml", manifest), ("data_stream/log/manifest.yml", "title: [")],
            ),
            "data_stream/log/manifest.yml",
        ),
        (
            zip_of(
                "1.0.0",
                &[
                    ("manifest.yml", manifest),
                    ("data_stream/log/manifest.yml", STREAM),
                    ("data_stream/log/agent/stream/stream.yml.hbs", TEMPLATE),
                    (
                        "data_stream/log/elasticsearch/ingest_pipeline/default.yml",
                        "processors: [",
                    ),
                ],
            ),
            "ingest_pipeline/default.yml",
        ),
        (
            zip_of("1.0.0", &[("manifest.yml", manifest), ("../../etc/cron.d/demo", "x")]),
            "unsafe path: `demo-1.0.0/../../etc/cron.d/demo`",
        ),
        (
            zip_of("1.0.0", &[("manifest.yml", manifest), ("docs/bomb", &bomb)]),
            "exceeds the limit of 67108864 bytes unpacked",
        ),
    ] {
        let message = upload(&fleet, zip).await.refused(400);
        assert!(message.contains(reason), "{message:?} does not say {reason:?}");
        nothing_is_left(&fleet).await;
    }
    upload(&fleet, demo("1.0.0")).await.ok();
}

#[tokio::test]
async fn an_upload_is_an_archive_and_nothing_else() {
    let fleet = Fleet::start().await;
    let refused = upload_as(&fleet, "application/json", demo("1.0.0")).await.refused(415);
    assert!(refused.contains("application/zip"), "{refused}");
    upload_as(&fleet, "application/octet-stream", demo("1.0.0")).await.ok();
}

#[tokio::test]
async fn a_processor_that_is_not_there_is_left_out_and_the_rest_works() {
    let fleet = Fleet::start().await;
    let manifest = "name: demo\ntitle: Demo\nversion: 1.0.0\n";
    let pipeline = "processors:\n- geoip: {field: source.ip}\n- set: {field: a, value: b}\n";
    let zip = zip_of(
        "1.0.0",
        &[
            ("manifest.yml", manifest),
            ("data_stream/log/manifest.yml", STREAM),
            ("data_stream/log/agent/stream/stream.yml.hbs", TEMPLATE),
            ("data_stream/log/elasticsearch/ingest_pipeline/default.yml", pipeline),
        ],
    );
    upload(&fleet, zip).await.ok();
    let read = fleet.get("/api/fleet/epm/packages/demo").await.item();
    let left_out = read["installationInfo"]["left_out"].to_string();
    assert!(
        left_out.contains("logs-demo.log-1.0.0") && left_out.contains("geoip"),
        "{read}"
    );
    let kept = fleet
        .store
        .get(".flotilla-catalog", "pipeline-logs-demo.log-1.0.0")
        .await
        .unwrap()
        .unwrap();
    let body: Value = serde_json::from_str(kept.source.to_value()["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["processors"][0], json!({"set": {"field": "a", "value": "b"}}));
}

#[tokio::test]
async fn a_package_is_removed_with_all_that_it_brought() {
    let fleet = Fleet::start().await;
    upload(&fleet, demo("1.0.0")).await.ok();
    let body = json!({"name": "d", "policy_ids": ["default-policy"], "package": {"name": "demo", "version": "1.0.0"}, "inputs": {}});
    fleet.post("/api/fleet/package_policies", body).await.item();
    let list = fleet
        .get("/api/fleet/epm/packages?withPackagePoliciesCount=true")
        .await
        .ok();
    let item = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["name"] == "demo")
        .unwrap();
    assert_eq!(item["packagePoliciesInfo"], json!({"count": 1}));
    let path = "/api/fleet/epm/packages/demo/1.0.0";
    assert!(fleet.delete(path).await.refused(400).contains("in use"));
    let removed = fleet.delete(&format!("{path}?force=true")).await.ok();
    assert_eq!(
        removed["items"],
        json!([{"id": "logs-demo.log", "type": "index_template"}])
    );
    nothing_is_left(&fleet).await;
    let published = fleet.published("default-policy").await;
    let inputs = published["data"]["inputs"].as_array().unwrap();
    assert!(inputs.iter().all(|input| input["name"] != "d"));
    assert_eq!(fleet.delete(path).await.refused(400), "demo is not installed");
}
