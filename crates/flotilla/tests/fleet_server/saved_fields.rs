//! Everything else that is saved, beside TLS, is found in the policy that an agent gets from the Fleet Server, secrets as text.

use serde_json::{Value, json};
use testkit::Flotilla;

use crate::FLOTILLA;
use crate::tls_fields::policy_of_an_agent;

/// What is saved, and under which id.
struct Saved<'a> {
    flotilla: &'a Flotilla,
}

impl Saved<'_> {
    fn make(&self, path: &str, body: &Value) -> String {
        let answer = self.flotilla.console().post(&format!("/api/fleet/{path}"), body);
        let id = answer["item"]["id"].as_str();
        id.unwrap_or_else(|| panic!("{path}: {answer}")).to_owned()
    }

    fn proxies(&self) -> (String, String) {
        let plain = json!({"name": "plain", "url": "http://proxy:3128", "proxy_headers": {"X-A": "1", "X-B": true}});
        let tls = json!({
            "name": "tls", "url": "https://proxy:3129", "certificate_authorities": "/etc/proxy-ca.crt",
            "certificate": "/etc/proxy.crt", "certificate_key": "/etc/proxy.key",
        });
        (self.make("proxies", &plain), self.make("proxies", &tls))
    }

    fn outputs(&self, proxy: &str) -> [String; 3] {
        let elasticsearch = json!({
            "name": "e", "type": "elasticsearch", "hosts": ["https://localhost:19200", "https://localhost"], "proxy_id": proxy,
            "config_yaml": "ssl:\n  verification_mode: none\nbulk_max_size: 77\ncustom.setting: x\n",
            "ca_sha256": "a".repeat(44), "ca_trusted_fingerprint": "ab".repeat(32), "write_to_logs_streams": true,
            "ssl": {"certificate_authorities": ["/etc/ca.crt"], "verification_mode": "full"},
        });
        let logstash = json!({
            "name": "l", "type": "logstash", "hosts": ["l:5044"], "ssl": {"certificate": "/etc/l.crt", "certificate_authorities": ["/etc/l-ca.crt"]},
            "secrets": {"ssl": {"key": "of logstash"}},
        });
        let kafka = json!({
            "name": "k", "type": "kafka", "hosts": ["k:9092"], "auth_type": "user_pass", "username": "u", "secrets": {"password": "of kafka"},
            "sasl": {"mechanism": "SCRAM-SHA-256"}, "version": "2.6.0", "key": "k", "client_id": "me", "compression": "gzip",
            "compression_level": 5, "partition": "round_robin", "round_robin": {"group_events": 3}, "topic": "t", "timeout": 31,
            "headers": [{"key": "a", "value": "b"}], "broker_timeout": 11, "required_acks": -1,
        });
        [elasticsearch, logstash, kafka].map(|body| self.make("outputs", &body))
    }

    fn integration(&self, policy: &str, body: &Value) -> String {
        let mut whole = json!({"policy_ids": [policy], "package": {"name": "log", "version": "2.5.0"}});
        for (key, value) in body.as_object().into_iter().flatten() {
            whole[key] = value.clone();
        }
        self.make("package_policies", &whole)
    }
}

fn policy(host: &str, data: &str, monitoring: &str, source: &str) -> Value {
    json!({
        "name": "all", "namespace": "team", "fleet_server_host_id": host, "data_output_id": data, "monitoring_output_id": monitoring,
        "download_source_id": source, "is_protected": true, "monitoring_enabled": ["logs", "traces"], "keep_monitoring_alive": true,
        "monitoring_pprof_enabled": true, "monitoring_http": {"enabled": true, "host": "127.0.0.1", "port": 6792, "buffer": {"enabled": true}},
        "monitoring_diagnostics": {"limit": {"interval": "1m", "burst": 2}, "uploader": {"max_retries": 3, "init_dur": "2s", "max_dur": "3m"}},
        "agent_features": [{"name": "fqdn", "enabled": true}], "global_data_tags": [{"name": "site", "value": "north"}, {"name": "n", "value": 3}],
        "overrides": {"agent": {"custom": 1}},
        "advanced_settings": {
            "agent_limits_go_max_procs": 2, "agent_download_timeout": "1h", "agent_download_target_directory": "/tmp",
            "agent_logging_metrics_period": "30s", "agent_logging_level": "debug", "agent_logging_to_files": true,
            "agent_logging_files_rotateeverybytes": 1000, "agent_logging_files_keepfiles": 3, "agent_logging_files_interval": "24h",
        },
    })
}

#[test]
fn every_other_field_that_is_saved_reaches_an_agent() {
    let flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let saved = Saved { flotilla: &flotilla };
    let (plain, tls) = saved.proxies();
    let host = json!({"name": "h", "host_urls": ["https://localhost:18220", "https://localhost"], "proxy_id": plain});
    let host = saved.make("fleet_server_hosts", &host);
    let [data, monitoring, kafka] = saved.outputs(&tls);
    let source = json!({
        "name": "s", "host": "https://files:8080/", "proxy_id": plain, "auth": {"username": "u", "headers": [{"key": "h", "value": "v"}]},
        "secrets": {"auth": {"password": "of files"}},
    });
    let source = saved.make("agent_download_sources", &source);
    let policy = saved.make("agent_policies", &policy(&host, &data, &monitoring, &source));
    let stream = json!({"vars": {"paths": ["/var/log/own.log"], "tags": ["own"], "data_stream.dataset": "own"}});
    let inputs = json!({"logs-logfile": {"condition": "${host.name} == 'a'", "streams": {"log.logs": stream}}});
    saved.integration(&policy, &json!({"name": "inherits", "output_id": kafka, "inputs": {}}));
    saved.integration(&policy, &json!({"name": "own", "namespace": "own", "inputs": inputs}));
    let got = policy_of_an_agent(&flotilla, &policy);

    let to = |output: &str| got["outputs"][output].clone();
    let input = |name: &str| {
        let mut inputs = got["inputs"].as_array().into_iter().flatten();
        let found = inputs.find(|input| input["name"] == name);
        found.cloned().unwrap_or_default()
    };
    let proxy = json!({"proxy_url": "http://proxy:3128", "proxy_headers": {"X-A": "1", "X-B": true}});
    for (what, place, expected) in [
        ("fleet", &got["fleet"], proxy.clone()),
        (
            "fleet",
            &got["fleet"],
            json!({"hosts": ["https://localhost:18220", "https://localhost:443"]}),
        ),
        (
            "elasticsearch",
            &to(&data),
            json!({
                "hosts": ["https://localhost:19200", "https://localhost:443"], "bulk_max_size": 77, "custom.setting": "x", "preset": "custom",
                "ca_sha256": "a".repeat(44), "ssl.ca_trusted_fingerprint": "ab".repeat(32), "proxy_url": "https://proxy:3129",
                "ssl": {"verification_mode": "none", "certificate_authorities": ["/etc/ca.crt", "/etc/proxy-ca.crt"],
                        "certificate": "/etc/proxy.crt", "key": "/etc/proxy.key"},
            }),
        ),
        (
            "logstash",
            &to(&monitoring),
            json!({
                "type": "logstash", "hosts": ["l:5044"],
                "ssl": {"certificate_authorities": ["/etc/l-ca.crt"], "certificate": "/etc/l.crt", "key": "of logstash"},
            }),
        ),
        (
            "kafka",
            &to(&kafka),
            json!({
                "type": "kafka", "hosts": ["k:9092"], "username": "u", "password": "of kafka", "sasl": {"mechanism": "SCRAM-SHA-256"},
                "version": "2.6.0", "key": "k", "client_id": "me", "compression": "gzip", "compression_level": 5, "topic": "t",
                "partition": {"round_robin": {"group_events": 3}}, "headers": [{"key": "a", "value": "b"}], "timeout": 31, "broker_timeout": 11,
                "required_acks": -1,
            }),
        ),
        ("download", &got["agent"]["download"], proxy),
        (
            "download",
            &got["agent"]["download"],
            json!({
                "sourceURI": "https://files:8080/", "timeout": "1h", "target_directory": "/tmp",
                "auth": {"username": "u", "headers": [{"key": "h", "value": "v"}], "password": "of files"},
            }),
        ),
        (
            "monitoring",
            &got["agent"]["monitoring"],
            json!({
                "enabled": true, "logs": true, "metrics": false, "traces": true, "namespace": "team", "use_output": monitoring,
                "pprof": {"enabled": true}, "http": {"enabled": true, "host": "127.0.0.1", "port": 6792, "buffer": {"enabled": true}},
                "diagnostics": {"limit": {"interval": "1m", "burst": 2}, "uploader": {"max_retries": 3, "init_dur": "2s", "max_dur": "3m"}},
            }),
        ),
        (
            "agent",
            &got["agent"],
            json!({
                "features": {"fqdn": {"enabled": true}}, "limits": {"go_max_procs": 2}, "custom": 1,
                "logging": {"metrics": {"period": "30s"}, "level": "debug", "to_files": true,
                            "files": {"rotateeverybytes": 1000, "keepfiles": 3, "interval": "24h"}},
            }),
        ),
        ("protection", &got["agent"]["protection"], json!({"enabled": true})),
        (
            "inherits",
            &input("inherits"),
            json!({
                "use_output": kafka, "data_stream": {"namespace": "team"},
                "processors": [{"add_fields": {"target": "", "fields": {"site": "north", "n": 3}}}],
            }),
        ),
        (
            "own",
            &input("own"),
            json!({"use_output": data, "data_stream": {"namespace": "own"}, "condition": "${host.name} == 'a'"}),
        ),
        (
            "stream",
            &input("own")["streams"][0],
            json!({
                "paths": ["/var/log/own.log"], "tags": ["own"], "data_stream": {"type": "logs", "dataset": "own"},
            }),
        ),
    ] {
        for (field, value) in expected.as_object().into_iter().flatten() {
            assert_eq!(&place[field], value, "{what}.{field}");
        }
    }
    assert!(
        got["signed"]["signature"].is_string() && !to(&data)["api_key"].is_null(),
        "{got}"
    );
    let permissions = got["output_permissions"][&data].to_string();
    assert!(
        permissions.contains("logs-own-own") && permissions.contains("logs.*"),
        "{permissions}"
    );
}
