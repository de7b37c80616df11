//! Full policies, field by field, as snapshots.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::sync::Arc;

use packages::Package;
use policy::model::{AgentPolicy, DownloadSource, FleetServerHost, Output, PackagePolicy, Proxy};
use policy::{Form, PolicyInputs, Protection, Sign, package_policy, simplified};
use serde_json::{Value, json};

struct Fleet {
    policy: Value,
    package_policies: Vec<PackagePolicy>,
    outputs: Value,
    hosts: Value,
    proxies: Value,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            policy: json!({"id": "p1", "name": "P1", "namespace": "default", "revision": 3,
                           "monitoring_enabled": ["logs", "metrics"], "is_protected": false}),
            package_policies: Vec::new(),
            outputs: json!([{"id": "fleet-default-output", "name": "default", "type": "elasticsearch",
                             "hosts": ["https://es:9200"], "is_default": true, "is_default_monitoring": true,
                             "preset": "balanced", "ca_trusted_fingerprint": "ab12"}]),
            hosts: json!([{"id": "h1", "name": "default", "host_urls": ["https://fs:8220"], "is_default": true}]),
            proxies: json!([]),
        }
    }
}

struct FixedSigner;

impl Sign for FixedSigner {
    fn sign(&self, data: &[u8]) -> Vec<u8> {
        vec![data.len().to_le_bytes()[0]]
    }
}

fn installed() -> Vec<Arc<Package>> {
    packages::builtin().iter().cloned().map(Arc::new).collect()
}

fn package(name: &str) -> Arc<Package> {
    installed().into_iter().find(|package| package.name == name).unwrap()
}

fn integration(name: &str, id: &str, inputs: Option<Value>) -> PackagePolicy {
    let package = package(name);
    let mut policy = PackagePolicy {
        id: id.to_owned(),
        name: format!("{name}-1"),
        enabled: true,
        revision: 1,
        policy_ids: vec!["p1".to_owned()],
        package: Some(package_policy::reference_to(&package)),
        inputs: package_policy::default_inputs(&package),
        ..PackagePolicy::default()
    };
    if let Some(inputs) = inputs {
        (policy.inputs, policy.vars) = simplified::read(&package, inputs.as_object().unwrap(), None).unwrap();
    }
    package_policy::check(&package, &policy).unwrap();
    package_policy::render(&package, &mut policy).unwrap();
    policy
}

fn compile_as(fleet: &Fleet, form: Form) -> Value {
    let policy: AgentPolicy = serde_json::from_value(fleet.policy.clone()).unwrap();
    let outputs: Vec<Output> = serde_json::from_value(fleet.outputs.clone()).unwrap();
    let hosts: Vec<FleetServerHost> = serde_json::from_value(fleet.hosts.clone()).unwrap();
    let proxies: Vec<Proxy> = serde_json::from_value(fleet.proxies.clone()).unwrap();
    let sources: Vec<DownloadSource> = serde_json::from_value(
        json!([{"id": "s", "name": "s", "host": "https://files:8221/downloads/", "is_default": true}]),
    )
    .unwrap();
    let package_policies: Vec<Arc<PackagePolicy>> = fleet.package_policies.iter().cloned().map(Arc::new).collect();
    let protection = Protection {
        uninstall_token_hash: "aGFzaA==".into(),
        signing_key: "a2V5".into(),
    };
    let full = policy::compile(&PolicyInputs {
        policy: &policy,
        package_policies: &package_policies,
        outputs: &outputs,
        hosts: &hosts,
        proxies: &proxies,
        download_sources: &sources,
        packages: &installed(),
        protection: &protection,
        signer: Some(&FixedSigner),
        form,
    });
    Value::Object(full.unwrap().0)
}

fn compile(fleet: &Fleet) -> Value {
    compile_as(fleet, Form::Fleet)
}

#[test]
fn the_default_policy_with_system() {
    let fleet = Fleet {
        package_policies: vec![integration("system", "sys-1", None)],
        ..Fleet::default()
    };
    insta::assert_json_snapshot!("default_policy", compile(&fleet));
}

#[test]
fn standalone_has_no_fleet_parts_and_a_place_for_the_key() {
    let full = compile_as(&Fleet::default(), Form::Standalone);
    assert_eq!(full["outputs"]["default"]["api_key"], "${API_KEY}");
    for absent in ["fleet", "signed"] {
        assert!(full.get(absent).is_none(), "{absent}");
    }
    assert!(full["agent"].get("protection").is_none());
}

#[test]
fn every_tls_field_of_a_host_lands_on_its_leg() {
    let fleet = Fleet {
        hosts: json!([{"id": "h1", "name": "h", "host_urls": ["https://fs:8220"], "is_default": true,
            "ssl": {"certificate_authorities": ["/agents-ca.pem"], "certificate": "/fs.pem", "key": "/fs.key",
                    "es_certificate_authorities": ["/es-ca.pem"], "es_certificate": "/es.pem", "es_key": "/es.key",
                    "agent_certificate_authorities": ["/fs-ca.pem"], "agent_certificate": "/agent.pem",
                    "agent_key": "/agent.key", "client_auth": "required"}}]),
        package_policies: vec![integration("fleet_server", "fs-1", None)],
        ..Fleet::default()
    };
    let full = compile(&fleet);
    assert_eq!(
        full["fleet"]["ssl"],
        json!({"certificate_authorities": ["/fs-ca.pem"], "certificate": "/agent.pem", "key": "/agent.key"})
    );
    assert_eq!(
        full["outputs"]["fleetserver-output-h1"],
        json!({"type": "elasticsearch",
        "ssl": {"certificate_authorities": ["/es-ca.pem"], "certificate": "/es.pem", "key": "/es.key"}})
    );
    assert_eq!(full["output_permissions"]["fleetserver-output-h1"], json!({}));
    let first = full["outputs"].as_object().unwrap().keys().next().unwrap();
    assert_eq!(first, "fleetserver-output-h1");
    let input = &full["inputs"][0];
    assert_eq!(
        input["ssl"],
        json!({"certificate_authorities": ["/agents-ca.pem"], "certificate": "/fs.pem",
        "key": "/fs.key", "client_authentication": "required"})
    );
    assert_eq!(input["use_output"], "fleetserver-output-h1");
    assert_eq!(input["server"], json!({"port": 8220, "host": "0.0.0.0"}));
    assert!(input.get("streams").is_none());
}

#[test]
fn stored_keys_of_a_host_are_references_and_listed() {
    let fleet = Fleet {
        hosts: json!([{"id": "h1", "name": "h", "host_urls": ["https://fs:8220"], "is_default": true,
            "ssl": {"certificate": "/fs.pem"},
            "secrets": {"ssl": {"key": {"id": "s-key"}, "es_key": {"id": "s-es"}, "agent_key": {"id": "s-agent"}}}}]),
        package_policies: vec![integration("fleet_server", "fs-1", None)],
        ..Fleet::default()
    };
    let full = compile(&fleet);
    assert_eq!(full["fleet"]["secrets"], json!({"ssl": {"key": {"id": "s-agent"}}}));
    assert_eq!(
        full["outputs"]["fleetserver-output-h1"]["secrets"],
        json!({"ssl": {"key": {"id": "s-es"}}})
    );
    assert_eq!(full["inputs"][0]["secrets"], json!({"ssl": {"key": {"id": "s-key"}}}));
    assert_eq!(
        full["secret_references"],
        json!([{"id": "s-es"}, {"id": "s-key"}, {"id": "s-agent"}])
    );
}

#[test]
fn the_yaml_of_an_output_wins_inside_ssl_and_the_proxy_is_merged() {
    let fleet = Fleet {
        outputs: json!([{"id": "o1", "name": "o", "type": "elasticsearch", "hosts": ["https://es:9200"],
            "is_default": true, "is_default_monitoring": true, "proxy_id": "x",
            "config_yaml": "hosts: [ignored]\nbulk_max_size: 7\nssl.certificate_authorities: [/yaml-ca.pem]\nssl:\n  verification_mode: none\n",
            "ssl": {"certificate_authorities": ["/ui-ca.pem"], "certificate": "/ui.pem", "verification_mode": "full"}}]),
        proxies: json!([{"id": "x", "name": "x", "url": "http://proxy:3128", "proxy_headers": {"a": "b"},
                         "certificate_authorities": "/proxy-ca.pem", "certificate": "/proxy.pem"}]),
        ..Fleet::default()
    };
    assert_eq!(
        compile(&fleet)["outputs"]["default"],
        json!({
            "bulk_max_size": 7, "type": "elasticsearch", "hosts": ["https://es:9200"],
            "ssl": {"certificate_authorities": ["/yaml-ca.pem", "/proxy-ca.pem"], "certificate": "/proxy.pem",
                    "verification_mode": "none"},
            "proxy_url": "http://proxy:3128", "proxy_headers": {"a": "b"},
        })
    );
}

#[test]
fn a_proxy_s_certificates_replace_those_for_fleet_server() {
    let fleet = Fleet {
        hosts: json!([{"id": "h1", "name": "h", "host_urls": ["https://fs:8220"], "is_default": true, "proxy_id": "x",
                       "ssl": {"agent_certificate_authorities": ["/fs-ca.pem"]}}]),
        proxies: json!([{"id": "x", "name": "x", "url": "https://proxy:3129", "certificate_authorities": "/proxy-ca.pem"}]),
        ..Fleet::default()
    };
    assert_eq!(
        compile(&fleet)["fleet"],
        json!({
            "hosts": ["https://fs:8220"], "proxy_url": "https://proxy:3129",
            "ssl": {"renegotiation": "never", "verification_mode": "", "certificate_authorities": ["/proxy-ca.pem"]},
        })
    );
}

#[test]
fn an_integration_s_own_output_gets_its_permissions_and_only_those() {
    let mut logs = integration(
        "filestream",
        "fs-1",
        Some(json!({"filestream-filestream": {"streams": {
        "filestream.filestream": {"vars": {"paths": ["/srv/*.log"], "data_stream.dataset": "shop"}}}}})),
    );
    logs.output_id = Some("second".into());
    logs.namespace = "prod".into();
    let mut fleet = Fleet {
        package_policies: vec![integration("system", "sys-1", None), logs],
        ..Fleet::default()
    };
    fleet
        .outputs
        .as_array_mut()
        .unwrap()
        .push(json!({"id": "second", "name": "second", "type": "remote_elasticsearch",
        "hosts": ["https://other:9200"], "service_token": "t"}));
    let full = compile(&fleet);
    assert_eq!(
        full["output_permissions"]["second"],
        json!({
            "_elastic_agent_checks": {"cluster": ["monitor"]},
            "fs-1": {"indices": [{"names": ["logs-shop-prod"], "privileges": ["auto_configure", "create_doc"]}]},
        })
    );
    assert!(full["output_permissions"]["default"].get("fs-1").is_none());
    let input = full["inputs"].as_array().unwrap().last().unwrap();
    assert_eq!(input["use_output"], "second");
    assert_eq!(input["data_stream"], json!({"namespace": "prod"}));
    assert_eq!(
        input["streams"][0]["data_stream"],
        json!({"type": "logs", "dataset": "shop"})
    );
    assert_eq!(full["outputs"]["second"]["service_token"], "t");
}

#[test]
fn tags_settings_features_and_overrides_are_applied() {
    let mut fleet = Fleet {
        package_policies: vec![integration("system", "sys-1", None)],
        ..Fleet::default()
    };
    fleet.policy = json!({"id": "p1", "name": "P1", "namespace": "default", "revision": 3, "monitoring_enabled": [],
        "agent_features": [{"name": "fqdn", "enabled": true}], "global_data_tags": [{"name": "team", "value": "a"}],
        "advanced_settings": {"agent_logging_level": "debug", "agent_limits_go_max_procs": 2},
        "overrides": {"agent": {"logging": {"metrics": {"enabled": false}}}}, "space_ids": ["default"]});
    let full = compile(&fleet);
    assert_eq!(full["agent"]["features"], json!({"fqdn": {"enabled": true}}));
    assert_eq!(
        full["agent"]["logging"],
        json!({"level": "debug", "metrics": {"enabled": false}})
    );
    assert_eq!(full["agent"]["limits"], json!({"go_max_procs": 2}));
    assert_eq!(
        full["agent"]["monitoring"],
        json!({"enabled": false, "logs": false, "metrics": false, "traces": false})
    );
    assert_eq!(
        full["inputs"][0]["processors"],
        json!([{"add_fields": {"target": "", "fields": {"team": "a"}}}])
    );
    assert_eq!(full["namespaces"], json!(["default"]));
    assert_eq!(
        full["output_permissions"]["default"]["_elastic_agent_monitoring"],
        json!({"indices": []})
    );
}

#[test]
fn kafka_keeps_its_own_fields() {
    let fleet = Fleet {
        outputs: json!([{"id": "k", "name": "k", "type": "kafka", "hosts": ["broker:9092"], "is_default": true,
            "is_default_monitoring": true, "version": "2.6.0", "auth_type": "user_pass", "username": "u",
            "secrets": {"password": {"id": "s"}}, "sasl": {"mechanism": "SCRAM-SHA-512"}, "compression": "gzip",
            "compression_level": 4, "partition": "random", "random": {"group_events": 5}, "topic": "t", "timeout": 30,
            "headers": [{"key": "", "value": ""}, {"key": "a", "value": "b"}], "required_acks": 1}]),
        ..Fleet::default()
    };
    let full = compile(&fleet);
    assert_eq!(
        full["outputs"]["k"],
        json!({"type": "kafka", "hosts": ["broker:9092"], "secrets": {"password": {"id": "s"}},
        "version": "2.6.0", "compression": "gzip", "compression_level": 4, "topic": "t", "timeout": 30, "required_acks": 1,
        "username": "u", "sasl": {"mechanism": "SCRAM-SHA-512"}, "partition": {"random": {"group_events": 5}},
        "headers": [{"key": "a", "value": "b"}]})
    );
    assert_eq!(full["output_permissions"], json!({}));
}

#[test]
fn missing_variables_are_named_with_their_place() {
    let package = package("system");
    let mut policy = integration("system", "sys-1", None);
    let auth = &mut policy.inputs[0].streams[0];
    auth.vars.as_mut().unwrap()["paths"] = json!({"type": "text", "value": []});
    let error = package_policy::check(&package, &policy).unwrap_err().to_string();
    assert!(
        error.contains("inputs.logfile.streams.system.auth.vars.paths: Paths is required"),
        "{error}"
    );
}
