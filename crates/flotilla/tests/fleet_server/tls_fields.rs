//! Each TLS field that is saved is found in the policy that an agent gets from the Fleet Server, keys as text.

use serde_json::{Value, json};
use testkit::Flotilla;

use crate::FLOTILLA;
use crate::files::Files;

#[test]
fn every_tls_field_that_is_saved_reaches_an_agent() {
    let flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let files = Files::make();
    files.issue("to-elasticsearch", "fleet-ca/ca", &[]);
    files.issue("of-agents", "agent-ca/ca", &[]);
    let pem = |name: &str| fs_err::read_to_string(files.path(name)).unwrap();
    let pair = |name: &str| (pem(&format!("{name}/{name}.crt")), pem(&format!("{name}/{name}.key")));
    let (fleet_ca, agent_ca) = (pem("fleet-ca/ca.crt"), pem("agent-ca/ca.crt"));
    let (server, server_key) = pair("fleet-server");
    let (to_elasticsearch, to_elasticsearch_key) = pair("to-elasticsearch");
    let (of_agents, of_agents_key) = pair("of-agents");

    let made = |path: &str, body: Value| -> String {
        let answer = flotilla.console().post(path, &body);
        let id = answer["item"]["id"].as_str();
        id.unwrap_or_else(|| panic!("{path}: {answer}")).to_owned()
    };
    let host = made(
        "/api/fleet/fleet_server_hosts",
        json!({
            "name": "all", "host_urls": ["https://localhost:18220"],
            "ssl": {
                "certificate_authorities": [agent_ca], "certificate": server, "client_auth": "required",
                "es_certificate_authorities": [fleet_ca], "es_certificate": to_elasticsearch,
                "agent_certificate_authorities": [fleet_ca], "agent_certificate": of_agents,
            },
            "secrets": {"ssl": {"key": server_key, "es_key": to_elasticsearch_key, "agent_key": of_agents_key}},
        }),
    );
    let output = made(
        "/api/fleet/outputs",
        json!({
            "name": "all", "type": "elasticsearch", "hosts": ["https://localhost:19200"],
            "ssl": {"certificate_authorities": [fleet_ca], "certificate": of_agents, "verification_mode": "certificate"},
            "secrets": {"ssl": {"key": of_agents_key}},
        }),
    );
    let source = made(
        "/api/fleet/agent_download_sources",
        json!({
            "name": "all", "host": "https://localhost:18080/",
            "ssl": {"certificate_authorities": [fleet_ca], "certificate": of_agents}, "secrets": {"ssl": {"key": of_agents_key}},
        }),
    );
    let policy = made(
        "/api/fleet/agent_policies",
        json!({
            "name": "all", "namespace": "default", "has_fleet_server": true, "fleet_server_host_id": host,
            "data_output_id": output, "monitoring_output_id": output, "download_source_id": source,
        }),
    );
    let got = policy_of_an_agent(&flotilla, &policy);

    let server_side = got["inputs"]
        .as_array()
        .and_then(|inputs| inputs.iter().find(|input| input["type"] == "fleet-server"))
        .unwrap_or_else(|| panic!("no Fleet Server in {got}"));
    let own_output = format!("fleetserver-output-{host}");
    assert_eq!(server_side["use_output"], own_output.as_str());
    let check = |place: &Value, what: &str, expected: Value| {
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&place[field], value, "{what}.{field}");
        }
    };
    check(
        &server_side["ssl"],
        "fleet-server.ssl",
        json!({"certificate_authorities": [agent_ca], "certificate": server, "key": server_key, "client_authentication": "required"}),
    );
    check(
        &got["outputs"][&own_output]["ssl"],
        "fleetserver-output.ssl",
        json!({"certificate_authorities": [fleet_ca], "certificate": to_elasticsearch, "key": to_elasticsearch_key}),
    );
    check(
        &got["fleet"]["ssl"],
        "fleet.ssl",
        json!({"certificate_authorities": [fleet_ca], "certificate": of_agents, "key": of_agents_key}),
    );
    check(
        &got["outputs"][&output]["ssl"],
        "output.ssl",
        json!({"certificate_authorities": [fleet_ca], "certificate": of_agents, "key": of_agents_key, "verification_mode": "certificate"}),
    );
    check(
        &got["agent"]["download"]["ssl"],
        "download.ssl",
        json!({"certificate_authorities": [fleet_ca], "certificate": of_agents, "key": of_agents_key}),
    );
}

/// What an agent that enrols into the policy gets with its first check-in.
pub(crate) fn policy_of_an_agent(flotilla: &Flotilla, policy: &str) -> Value {
    let keys = flotilla.console().get(&format!(
        "/api/fleet/enrollment_api_keys?kuery=policy_id:%22{policy}%22"
    ));
    let token = keys["items"][0]["api_key"].as_str().unwrap_or_else(|| panic!("{keys}"));
    let local =
        json!({"elastic": {"agent": {"id": "tls-fields", "version": "9.6.0"}}, "host": {"hostname": "tls-fields"}});
    let body = json!({"type": "PERMANENT", "metadata": {"user_provided": {}, "local": local}});
    let enrolled = sent(flotilla, token, "/api/fleet/agents/enroll", &body);
    let item = &enrolled["item"];
    let (id, key) = (item["id"].as_str(), item["access_api_key"].as_str());
    let (Some(id), Some(key)) = (id, key) else {
        panic!("not enrolled: {enrolled}")
    };
    let body = json!({"status": "online", "message": "", "ack_token": "", "local_metadata": local});
    let answer = sent(flotilla, key, &format!("/api/fleet/agents/{id}/checkin"), &body);
    let action = &answer["actions"][0];
    assert_eq!(action["type"], "POLICY_CHANGE", "{answer}");
    action["data"]["policy"].clone()
}

fn sent(flotilla: &Flotilla, key: &str, path: &str, body: &Value) -> Value {
    let (authorization, body) = (format!("Authorization: ApiKey {key}"), body.to_string());
    let headers = [
        "Content-Type: application/json",
        "User-Agent: elastic agent 9.6.0",
        &authorization,
    ];
    let mut options = vec!["-X", "POST", "-d", &body];
    for header in &headers {
        options.extend(["-H", header]);
    }
    flotilla.fleet_server().json(&options, path)
}
