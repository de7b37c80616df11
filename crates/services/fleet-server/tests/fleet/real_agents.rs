//! What a real Elastic Agent 9.6 sent, in the order in which it lived: enrolment, policy, a failed component, a failed
//! upgrade, diagnostics, unenrolment. Ids and keys are put in place of the recorded ones.

use axum::body::Body;
use http::Request;
use protocol::indices;
use serde_json::{Value, json};

use crate::support::{Answer, Fleet, quick};

/// The recordings come from two enrolments of one host.
const RECORDED_AGENTS: [&str; 2] = [
    "9bb48820-7641-4512-9c03-6c939156ab1d",
    "759f433f-d967-4347-a4dd-762f9e627296",
];

struct Host {
    fleet: Fleet,
    agent_id: String,
    key: String,
}

fn recording(name: &str) -> Value {
    let folder = format!("{}/tests/fixtures/elastic-agent", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs_err::read_to_string(format!("{folder}/{name}.json")).unwrap()).unwrap()
}

impl Host {
    /// Sends a recorded request; `change` is laid over its body.
    async fn send(&self, name: &str, change: Value, replaced: &[(&str, &str)]) -> Answer {
        let recorded = &recording(name)["request"];
        let translate = |text: &str| {
            let text = RECORDED_AGENTS
                .iter()
                .fold(text.to_owned(), |text, recorded| text.replace(recorded, &self.agent_id));
            replaced
                .iter()
                .fold(text, |text, (recorded, ours)| text.replace(recorded, ours))
        };
        let mut request = Request::builder()
            .method(recorded["method"].as_str().unwrap())
            .uri(translate(recorded["path"].as_str().unwrap()));
        let mut is_packed = false;
        for header in recorded["headers"].as_array().unwrap() {
            let (name, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
            match name {
                "Content-Length" | "Host" | "Accept-Encoding" => {}
                "Authorization" => request = request.header(name, format!("ApiKey {}", self.key)),
                _ => request = request.header(name, translate(value)),
            }
            is_packed |= name == "Content-Encoding";
        }
        let mut body = recorded["body"].clone();
        for (key, value) in change.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        let mut bytes = translate(&body.to_string()).into_bytes();
        if is_packed {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut packed, &bytes).unwrap();
            bytes = packed.finish().unwrap();
        }
        let answer = self.fleet.call(request.body(Body::from(bytes)).unwrap()).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        answer
    }
}

#[tokio::test]
async fn a_real_agent_s_life() {
    let fleet = Fleet::start(quick()).await;
    for policy in ["pol-empty", "pol-logs"] {
        fleet.publish_policy(policy, 3).await;
    }
    let key = fleet.enrollment_token("pol-empty", json!({})).await;
    let mut host = Host {
        fleet,
        agent_id: String::new(),
        key,
    };

    let enrolled = host.send("01-enroll", json!({}), &[]).await.json();
    host.agent_id = enrolled["item"]["id"].as_str().unwrap().to_owned();
    host.key = enrolled["item"]["access_api_key"].as_str().unwrap().to_owned();
    assert_eq!(
        enrolled["item"]["local_metadata"]["elastic"]["agent"]["id"],
        json!(host.agent_id)
    );

    let first = host.send("02-checkin-first-gets-policy", json!({}), &[]).await.json();
    assert_eq!(first["actions"][0]["id"], "policy:pol-empty:3");
    host.send(
        "04-ack-policy",
        json!({}),
        &[("policy:pol-empty:1", "policy:pol-empty:3")],
    )
    .await;
    let idle = host
        .send(
            "05-checkin-long-poll-no-actions",
            json!({"policy_revision_idx": 3}),
            &[],
        )
        .await
        .json();
    assert_eq!(idle, json!({"ack_token": "", "action": "checkin"}));

    let own = json!({"agent_policy_id": "pol-empty", "policy_revision_idx": 3});
    host.send("06-checkin-with-failed-component", own.clone(), &[]).await;
    let document = host
        .fleet
        .until_agent(&host.agent_id, |document| document["last_checkin_status"] == "error")
        .await;
    assert_eq!(document["unhealthy_reason"], json!(["input", "output"]));

    upgrade_that_fails(&host, &own).await;
    diagnostics(&host).await;

    let agent = crate::support::Agent {
        id: host.agent_id.clone(),
        key: host.key.clone(),
    };
    let action_id = recording("25-ack-unenroll")["request"]["body"]["events"][0]["action_id"].clone();
    host.fleet
        .act(
            "unenroll",
            &[&agent],
            json!({"type": "UNENROLL", "action_id": action_id}),
        )
        .await;
    host.send("25-ack-unenroll", json!({}), &[]).await;
    assert_eq!(host.fleet.agent_document(&host.agent_id).await["active"], false);
}

async fn upgrade_that_fails(host: &Host, own: &Value) {
    let agent = crate::support::Agent {
        id: host.agent_id.clone(),
        key: host.key.clone(),
    };
    let action = json!({"type": "UPGRADE", "action_id": "act-upg-1", "data": {"version": "9.9.9", "source_uri": "http://127.0.0.1:9/"}});
    host.fleet.act("upgrade", &[&agent], action).await;
    let answer = host.send("14-checkin-gets-upgrade", own.clone(), &[]).await.json();
    assert_eq!(answer["actions"][0]["data"]["version"], "9.9.9");
    host.send("15-ack-upgrade", json!({}), &[]).await;
    let mut acknowledged = own.clone();
    acknowledged["ack_token"] = json!("upgrade");
    host.send("16-checkin-upgrade-details-failed", acknowledged, &[]).await;
    let details = &host.fleet.agent_document(&host.agent_id).await["upgrade_details"];
    assert_eq!(
        (&details["state"], &details["metadata"]["failed_state"]),
        (&json!("UPG_FAILED"), &json!("UPG_REQUESTED"))
    );
}

async fn diagnostics(host: &Host) {
    let agent = crate::support::Agent {
        id: host.agent_id.clone(),
        key: host.key.clone(),
    };
    host.fleet
        .act(
            "diagnostics",
            &[&agent],
            json!({"type": "REQUEST_DIAGNOSTICS", "action_id": "act-diag-1"}),
        )
        .await;
    let begun = host.send("17-diagnostics-upload-start", json!({}), &[]).await.json();
    let upload = begun["upload_id"].as_str().unwrap().to_owned();
    assert_eq!(begun["chunk_size"], 4_194_304);
    let content = vec![7_u8; 59_244];
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &content);
    let request = Request::put(format!("/api/fleet/uploads/{upload}/0?"))
        .header("Authorization", format!("ApiKey {}", host.key))
        .header("X-Chunk-Sha2", hex::encode(hash));
    assert_eq!(
        host.fleet.call(request.body(Body::from(content)).unwrap()).await.status,
        200
    );
    let transit = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, hash.as_ref()));
    let recorded = recording("17-diagnostics-upload-start")["response"]["body"]["upload_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let end = json!({"transithash": {"sha256": transit}});
    host.send("19-diagnostics-upload-finish", end, &[(&recorded, &upload)])
        .await;
    host.send("20-ack-diagnostics", json!({}), &[(&recorded, &upload)])
        .await;
    let result = host
        .fleet
        .document(indices::ACTION_RESULTS, &format!("act-diag-1:{}", host.agent_id))
        .await
        .unwrap();
    assert_eq!(result["data"]["upload_id"], json!(upload));
}
