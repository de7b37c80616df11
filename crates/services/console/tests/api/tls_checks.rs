//! Checks of TLS material before it is saved.

use pki::{Authority, AuthorityRequest, KeyType, LeafRequest, Usages};
use serde_json::{Value, json};

use crate::harness::Fleet;

struct Material {
    authority: Authority,
}

impl Material {
    fn new() -> Self {
        let request = AuthorityRequest {
            key_type: KeyType::EcdsaP256,
            valid_from: Some("2025-12-01T00:00:00Z".parse().unwrap()),
            ..AuthorityRequest::default()
        };
        Self {
            authority: Authority::generate(request).unwrap(),
        }
    }

    /// Certificate and key of a leaf for `name`.
    fn leaf(&self, name: &str, usages: Usages, days: u32) -> (String, String) {
        let request = LeafRequest {
            common_name: name.into(),
            dns: vec![name.into()],
            key_type: KeyType::EcdsaP256,
            usages,
            days,
            valid_from: Some("2025-12-01T00:00:00Z".parse().unwrap()),
            ..LeafRequest::default()
        };
        let identity = self.authority.issue(request).unwrap();
        let key = certs::write_pem_key(&identity.key, certs::KeyFormat::Pkcs8).unwrap();
        (
            certs::write_pem_certificates(&identity.chain[..1]),
            key.expose().to_owned(),
        )
    }
}

async fn report(fleet: &Fleet, path: &str, body: &Value) -> Value {
    fleet.post(&format!("{path}?dry_run=true"), body.clone()).await.item()
}

fn codes(report: &Value, of: &str) -> Vec<String> {
    report[of]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["code"].as_str().unwrap().to_owned())
        .collect()
}

const HOSTS: &str = "/api/fleet/fleet_server_hosts";
const OUTPUTS: &str = "/api/fleet/outputs";

fn host(tls: Value) -> Value {
    json!({"name": "h", "host_urls": ["https://fleet.example:8220"], "ssl": tls, "is_default": true})
}

#[tokio::test]
async fn a_good_host_has_no_findings_and_says_whom_it_touches() {
    let (fleet, material) = (Fleet::start().await, Material::new());
    let (certificate, key) = material.leaf("fleet.example", Usages::Server, 365);
    let body = host(
        json!({"certificate": certificate, "key": key, "agent_certificate_authorities": [material.authority.certificate_pem()]}),
    );
    let agent = json!({"type": "PERMANENT", "active": true, "policy_id": "default-policy", "enrolled_at": "2026-01-02T11:00:00Z"});
    fleet.write(".fleet-agents", "a1", agent).await;
    assert_eq!(
        report(&fleet, HOSTS, &body).await,
        json!({"errors": [], "warnings": [], "policies": 2, "agents": 1})
    );
    let list = fleet.get(HOSTS).await.ok();
    assert_eq!(list["total"], 1, "a dry run saves nothing");
    fleet.post(HOSTS, body).await.item();
}

#[tokio::test]
async fn what_would_cut_agents_off_is_refused() {
    let (fleet, material) = (Fleet::start().await, Material::new());
    let (certificate, key) = material.leaf("fleet.example", Usages::Server, 365);
    let (client, client_key) = material.leaf("agent", Usages::Client, 365);
    let (expired, expired_key) = material.leaf("fleet.example", Usages::Server, 10);
    for (tls, code, words) in [
        (
            json!({"certificate": certificate, "key": client_key}),
            "key_mismatch",
            "ssl.key",
        ),
        (
            json!({"certificate": client, "key": client_key}),
            "key_usage",
            "serverAuth",
        ),
        (
            json!({"certificate": expired, "key": expired_key}),
            "expired",
            "ended on",
        ),
        (
            json!({"agent_certificate": certificate, "agent_key": key}),
            "key_usage",
            "clientAuth",
        ),
    ] {
        let found = report(&fleet, HOSTS, &host(tls.clone())).await;
        assert_eq!(codes(&found, "errors"), [code], "{found}");
        let refused = fleet.post(HOSTS, host(tls)).await.refused(400);
        assert!(refused.contains(words), "{refused}");
        assert!(!refused.contains("PRIVATE KEY"));
    }
    let secret = json!({"name": "h", "host_urls": ["https://fleet.example:8220"], "ssl": {"certificate": certificate}, "secrets": {"ssl": {"key": client_key}}});
    let found = report(&fleet, HOSTS, &secret).await;
    assert_eq!(codes(&found, "errors"), ["key_mismatch"], "{found}");
}

#[tokio::test]
async fn what_may_surprise_is_a_warning() {
    let (fleet, material) = (Fleet::start().await, Material::new());
    let (certificate, key) = material.leaf("other.example", Usages::Server, 40);
    let stranger = Material::new().authority.certificate_pem();
    let tls = json!({"certificate": certificate, "key": key, "agent_certificate_authorities": [stranger], "client_auth": "required"});
    let found = report(&fleet, HOSTS, &host(tls)).await;
    let mut warnings = codes(&found, "warnings");
    warnings.sort();
    // The stranger has the same subject; only its key differs.
    assert_eq!(
        warnings,
        [
            "expires_soon",
            "name_mismatch",
            "no_client_authorities",
            "wrong_issuer_key"
        ],
        "{found}"
    );
    let plain = json!({"name": "h", "host_urls": ["http://fleet.example:8220"]});
    assert_eq!(codes(&report(&fleet, HOSTS, &plain).await, "warnings"), ["plain_http"]);
}

#[tokio::test]
async fn the_fingerprint_of_a_leaf_is_refused_with_the_reason() {
    let (fleet, material) = (Fleet::start().await, Material::new());
    let (certificate, _) = material.leaf("es.example", Usages::Server, 365);
    let parsed = certs::parse_certificates(certificate.as_bytes(), "leaf").unwrap();
    let leaf = certs::fingerprint(&parsed[0]).to_string();
    let output = |fingerprint: &str| {
        json!({"name": "o", "type": "elasticsearch", "hosts": ["https://es.example:9200"],
        "ssl": {"certificate_authorities": [certificate]}, "ca_trusted_fingerprint": fingerprint})
    };
    let refused = fleet.post(OUTPUTS, output(&leaf)).await.refused(400);
    assert!(
        refused.contains("is not a CA") && refused.contains("issuer"),
        "{refused}"
    );
    let of_authority = material.authority.fingerprint().with_colons();
    let found = report(&fleet, OUTPUTS, &output(&of_authority)).await;
    assert_eq!(
        (codes(&found, "errors").len(), codes(&found, "warnings")),
        (0, vec!["not_a_ca".to_owned()])
    );
}

#[tokio::test]
async fn a_key_that_old_defend_does_not_take_is_told_to_those_who_have_it() {
    let (fleet, material) = (Fleet::start().await, Material::new());
    let (certificate, key) = material.leaf("agent", Usages::Client, 365);
    let body = json!({"name": "o", "type": "elasticsearch", "hosts": ["https://es.example:9200"], "is_default": true,
                      "ssl": {"certificate": certificate, "key": key}});
    let endpoint = json!({"id": "d", "name": "d", "namespace": "", "enabled": true, "policy_ids": ["default-policy"], "inputs": [],
                          "package": {"name": "endpoint", "version": "9.0.0", "title": "Elastic Defend"}, "revision": 1});
    fleet.write(".flotilla-package-policies", "d", endpoint).await;
    for (version, expected) in [("9.1.0", vec![]), ("9.0.8", vec!["defend_needs_rsa".to_owned()])] {
        let agent = json!({"type": "PERMANENT", "active": true, "policy_id": "default-policy", "enrolled_at": "2026-01-02T11:00:00Z",
                           "agent": {"id": "a1", "version": version}});
        fleet.write(".fleet-agents", "a1", agent).await;
        assert_eq!(
            codes(&report(&fleet, OUTPUTS, &body).await, "warnings"),
            expected,
            "{version}"
        );
    }
}

#[tokio::test]
async fn proxies_and_download_sources_are_checked_as_well() {
    let (fleet, material) = (Fleet::start().await, Material::new());
    let (certificate, key) = material.leaf("agent", Usages::Client, 365);
    let (_, other_key) = material.leaf("other", Usages::Client, 365);
    let (expired, expired_key) = material.leaf("agent", Usages::Client, 10);
    let proxy = |certificate: &str, key: &str| json!({"id": "p", "name": "p", "url": "http://proxy:1", "certificate": certificate, "certificate_key": key});
    let source = |certificate: &str, key: &str| json!({"id": "s", "name": "s", "host": "https://files.example", "ssl": {"certificate": certificate, "key": key}});
    for (path, body) in [
        ("/api/fleet/proxies", &proxy as &dyn Fn(&str, &str) -> Value),
        ("/api/fleet/agent_download_sources", &source),
    ] {
        for (certificate, key, code) in [
            (&certificate, &other_key, "key_mismatch"),
            (&expired, &expired_key, "expired"),
        ] {
            let found = report(&fleet, path, &body(certificate, key)).await;
            assert_eq!(codes(&found, "errors"), [code], "{path}: {found}");
            let refused = fleet.post(path, body(certificate, key)).await.refused(400);
            assert!(!refused.contains("PRIVATE KEY"), "{refused}");
        }
        let mut good = body(&certificate, &key);
        let id = good["id"].as_str().unwrap().to_owned();
        fleet.post(path, good.clone()).await.item();
        // What a change leaves out counts as it is.
        good.as_object_mut().unwrap().remove("id");
        let one = format!("{path}/{id}?dry_run=true");
        let found = fleet.put(&one, json!({"name": "renamed"})).await.item();
        assert_eq!(codes(&found, "errors").len(), 0, "{found}");
    }
}

#[tokio::test]
async fn a_dry_run_refuses_what_would_be_refused() {
    let fleet = Fleet::start().await;
    for (path, body) in [
        (
            HOSTS,
            json!({"name": "h", "host_urls": ["https://h:1"], "ssl": {"key": "/k"}, "secrets": {"ssl": {"key": "x"}}}),
        ),
        (
            OUTPUTS,
            json!({"name": "o", "type": "logstash", "hosts": ["h:1"], "ssl": {"key": "/k"}, "secrets": {"ssl": {"key": "x"}}}),
        ),
        (
            "/api/fleet/agent_download_sources",
            json!({"name": "s", "host": "https://h", "ssl": {"key": "/k"}, "secrets": {"ssl": {"key": "x"}}}),
        ),
    ] {
        let refused = fleet.post(&format!("{path}?dry_run=true"), body).await.refused(400);
        assert_eq!(refused, "Cannot specify both ssl.key and secrets.ssl.key");
    }
}

#[tokio::test]
async fn a_dry_run_refuses_ids_references_and_defaults_as_the_change_would() {
    let fleet = Fleet::start().await;
    let objects = [
        (
            HOSTS,
            json!({"name": "h", "host_urls": ["https://h:1"]}),
            Some("fleet-default-fleet-server-host"),
        ),
        (
            OUTPUTS,
            json!({"name": "o", "type": "logstash", "hosts": ["h:1"]}),
            Some("fleet-default-output"),
        ),
        (
            "/api/fleet/agent_download_sources",
            json!({"name": "s", "host": "https://h"}),
            Some("fleet-default-download-source"),
        ),
        ("/api/fleet/proxies", json!({"name": "p", "url": "http://p:1"}), None),
    ];
    for (path, body, default) in objects {
        let mut of_an_id = body.clone();
        for (id, status) in [("a/b", 400), ("a\u{f}", 400), ("taken", 409)] {
            of_an_id["id"] = id.into();
            if status == 409 {
                fleet.post(path, of_an_id.clone()).await.item();
            }
            let dry = fleet
                .post(&format!("{path}?dry_run=true"), of_an_id.clone())
                .await
                .refused(status);
            assert_eq!(
                dry,
                fleet.post(path, of_an_id.clone()).await.refused(status),
                "{path} {id:?}"
            );
        }
        let Some(default) = default else { continue };
        let mut through = body;
        through["proxy_id"] = "nowhere".into();
        let dry = fleet.post(&format!("{path}?dry_run=true"), through.clone()).await;
        let status = dry.status.as_u16();
        assert_eq!(
            dry.refused(status),
            fleet.post(path, through).await.refused(status),
            "{path}"
        );
        if path != HOSTS {
            let given = json!({"is_default": false});
            let dry = fleet
                .put(&format!("{path}/{default}?dry_run=true"), given)
                .await
                .refused(403);
            assert!(dry.contains("must stay the default"), "{dry}");
        }
    }
}
