//! Infrastructure as code: what a client wrote is what it reads, so that its plans stay empty.
//!
//! Every resource of the Fleet API with every field that a request may have: made, read, written again as it is (which must
//! change nothing and make no revision), changed, cleared, deleted. In the default space and in one of its own.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::{Curl, Flotilla};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");

/// Where the fleet is, and in which space its client works.
struct Client {
    console: Curl,
    prefix: &'static str,
}

impl Client {
    fn path(&self, path: &str) -> String {
        format!("{}/api/fleet/{path}", self.prefix)
    }

    #[track_caller]
    fn item(what: &str, answer: &Value) -> Value {
        let item = answer.get("item").filter(|item| item.is_object());
        item.unwrap_or_else(|| panic!("{what}: {answer}")).clone()
    }

    #[track_caller]
    fn make(&self, path: &str, body: &Value) -> Value {
        Self::item(path, &self.console.post(&self.path(path), body))
    }

    #[track_caller]
    fn change(&self, path: &str, body: &Value) -> Value {
        Self::item(path, &self.console.put(&self.path(path), body))
    }

    #[track_caller]
    fn read(&self, path: &str) -> Value {
        Self::item(path, &self.console.get(&self.path(path)))
    }

    fn status(&self, method: &str, path: &str) -> u16 {
        self.console
            .status(&["-X", method, "-H", "kbn-xsrf: true"], &self.path(path))
    }
}

/// A kind of object: where it is, and what an answer may have that no request had.
struct Resource {
    path: &'static str,
    computed: &'static [&'static str],
}

impl Resource {
    fn of(&self, id: &str) -> String {
        format!("{}/{id}", self.path)
    }

    /// Makes it, reads it, writes each of `steps` in turn, and deletes it. Each time what is read is what was written.
    fn lives(&self, client: &Client, first: &Value, steps: &[Value]) {
        let id = self.is_made(client, first);
        self.is_the_same_again(client, &id, first);
        for step in steps {
            let answer = client.change(&self.of(&id), &written(step, &client.read(&self.of(&id))));
            self.holds(step, &answer);
            assert_eq!(client.read(&self.of(&id)), answer, "{} {step}", self.path);
            self.is_the_same_again(client, &id, step);
        }
        self.is_deleted(client, &id);
    }

    fn is_made(&self, client: &Client, first: &Value) -> String {
        let made = client.make(self.path, first);
        let id = made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        self.holds(first, &made);
        let mut read = client.read(&self.of(&id));
        if made.get("package_policies").is_none() {
            // Policies show their integrations when they are read.
            read.as_object_mut().map(|map| map.shift_remove("package_policies"));
        }
        assert_eq!(read, made, "{}", self.path);
        id
    }

    /// A second application of the same configuration changes nothing.
    fn is_the_same_again(&self, client: &Client, id: &str, wanted: &Value) {
        let before = client.read(&self.of(id));
        let body = written(wanted, &before);
        let after = client.change(&self.of(id), &body);
        let differences = without_times(&before) != without_times(&after);
        assert!(!differences, "{} {body}\nbefore {before}\nafter {after}", self.path);
    }

    fn is_deleted(&self, client: &Client, id: &str) {
        assert_eq!(client.status("DELETE", &self.of(id)), 200, "{}", self.path);
        assert_eq!(client.status("GET", &self.of(id)), 404, "{}", self.path);
        assert_eq!(client.status("DELETE", &self.of(id)), 404, "{}", self.path);
    }

    /// The answer has everything that was wanted, and nothing else but what the server computes.
    #[track_caller]
    fn holds(&self, wanted: &Value, answer: &Value) {
        let mut found = Vec::new();
        differences(wanted, answer, "", &mut found);
        assert!(
            found.is_empty(),
            "{}: {found:#?}\nwanted {wanted}\nread {answer}",
            self.path
        );
        let keys = |value: &Value| -> BTreeSet<String> {
            let map = value.as_object();
            map.into_iter().flat_map(|map| map.keys().cloned()).collect()
        };
        let wanted = keys(wanted);
        let more: Vec<String> = keys(answer)
            .into_iter()
            .filter(|key| !wanted.contains(key) && !self.computed.contains(&key.as_str()))
            .collect();
        assert!(more.is_empty(), "{}: nobody asked for {more:?} in {answer}", self.path);
    }
}

/// What a provider sends for a configuration: it knows its secrets by the references that it has read, and never sends the id.
fn written(wanted: &Value, read: &Value) -> Value {
    let mut body = wanted.clone();
    if let Some(map) = body.as_object_mut() {
        map.shift_remove("id");
    }
    if body.get("secrets").is_some_and(Value::is_object) {
        refer(&mut body["secrets"], &read["secrets"]);
    }
    body
}

fn refer(secrets: &mut Value, read: &Value) {
    match secrets {
        Value::String(_) if read.is_object() => *secrets = read.clone(),
        Value::Object(map) => {
            for (key, value) in map {
                refer(value, &read[key.as_str()]);
            }
        }
        _ => {}
    }
}

fn without_times(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(map) = value.as_object_mut() {
        map.retain(|key, _| key != "updated_at" && key != "version");
    }
    value
}

/// What a plan would show. An empty text and null are the same as nothing; a secret reads as its reference.
fn differences(wanted: &Value, read: &Value, at: &str, found: &mut Vec<String>) {
    let is_unset = |value: &Value| value.is_null() || value == "";
    match wanted {
        Value::Object(map) => {
            for (key, value) in map {
                // Neither reads back: an instruction, and the wish for an id of the server's choice.
                let is_no_field = at.is_empty() && (key == "force" || key == "id" && value == "");
                if !is_no_field {
                    differences(value, &read[key.as_str()], &format!("{at}/{key}"), found);
                }
            }
        }
        Value::String(_) if at.starts_with("/secrets/") => {
            if !read["id"].is_string() {
                found.push(format!("{at}: no reference but {read}"));
            }
        }
        wanted if is_unset(wanted) && is_unset(read) => {}
        wanted if wanted == read => {}
        wanted => found.push(format!("{at}: {wanted} became {read}")),
    }
}

fn merged(base: &Value, changes: Value) -> Value {
    let mut merged = base.clone();
    for (key, value) in changes.as_object().into_iter().flatten() {
        merged[key] = value.clone();
    }
    merged
}

#[test]
fn plans_of_a_client_stay_empty() {
    let flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    for prefix in ["", "/s/lab"] {
        let client = Client {
            console: flotilla.console(),
            prefix,
        };
        proxies(&client);
        let proxy = client.make(
            "proxies",
            &json!({"id": "", "name": "of others", "url": "http://proxy.example:3128"}),
        );
        let proxy = proxy["id"].as_str().unwrap_or_else(|| panic!("{proxy}"));
        hosts(&client, proxy);
        download_sources(&client, proxy);
        elasticsearch_outputs(&client, proxy);
        other_outputs(&client, proxy);
        agent_policies(&client);
        package_policies(&client);
        enrollment_tokens(&client);
        settings(&client);
    }
}

const PROXIES: Resource = Resource {
    path: "proxies",
    computed: &["id", "is_preconfigured"],
};

fn proxies(client: &Client) {
    let all = json!({
        "id": "", "name": "plan", "url": "https://proxy.example:3128", "proxy_headers": {"a": "text", "b": true, "c": 1.5, "d": 7},
        "certificate_authorities": "/etc/ca.pem", "certificate": "/etc/c.pem", "certificate_key": "/etc/k.pem",
    });
    let least =
        json!({"name": "plan 2", "url": "socks5://proxy.example:1080", "certificate": "", "certificate_key": null});
    let steps = [
        json!({"name": "plan", "url": "http://proxy.example:8080", "proxy_headers": {}, "certificate_authorities": "/other.pem"}),
        least.clone(),
    ];
    PROXIES.lives(client, &all, &steps);
    PROXIES.lives(client, &merged(&least, json!({"id": "by-name", "name": "named"})), &[]);
    assert_eq!(client.status("GET", "proxies/by-name"), 404);
}

const HOSTS: Resource = Resource {
    path: "fleet_server_hosts",
    computed: &["id", "is_preconfigured", "is_default"],
};

fn hosts(client: &Client, proxy: &str) {
    let authorities: Vec<String> = (0..10).map(|number| format!("/etc/ca-{number}.pem")).collect();
    let files = json!({
        "certificate_authorities": authorities, "certificate": "/etc/fs.pem", "key": "/etc/fs.key",
        "es_certificate_authorities": authorities, "es_certificate": "/etc/es.pem", "es_key": "/etc/es.key",
        "agent_certificate_authorities": authorities, "agent_certificate": "/etc/agent.pem", "agent_key": "/etc/agent.key",
        "client_auth": "required",
    });
    let urls: Vec<String> = (0..10)
        .map(|number| format!("https://fs-{number}.example:8220"))
        .collect();
    let all = json!({
        "id": "", "name": "plan", "host_urls": urls, "is_default": false, "is_internal": true,
        "proxy_id": proxy, "ssl": files, "secrets": {},
    });
    let base = json!({"name": "plan", "host_urls": ["https://fs.example:443/path"], "is_default": false, "is_internal": false, "proxy_id": proxy});
    let mut without_keys = files.clone();
    for key in ["key", "es_key", "agent_key"] {
        without_keys[key] = Value::Null;
        without_keys.as_object_mut().into_iter().for_each(|map| {
            map.shift_remove(key);
        });
    }
    let secret = json!({"ssl": {"key": "one", "es_key": "two", "agent_key": "three"}});
    let steps = [
        merged(&base, json!({"ssl": without_keys, "secrets": secret})),
        merged(
            &base,
            json!({"ssl": {"certificate": "/only.pem", "client_auth": "optional"}, "secrets": {"ssl": {"key": "four"}}}),
        ),
        merged(&base, json!({"ssl": {"client_auth": "none"}, "secrets": null})),
        merged(&base, json!({"proxy_id": null, "ssl": null, "secrets": null})),
    ];
    HOSTS.lives(client, &all, &steps);
}

const SOURCES: Resource = Resource {
    path: "agent_download_sources",
    computed: &["id", "is_default"],
};

fn download_sources(client: &Client, proxy: &str) {
    let all = json!({
        "id": "", "name": "plan", "host": "https://files.example/downloads/", "is_default": false, "proxy_id": proxy,
        "ssl": {"certificate_authorities": ["/a.pem", "/b.pem"], "certificate": "/c.pem", "key": "/k.pem"},
        "auth": {"username": "u", "password": "p", "headers": [{"key": "a", "value": "b"}]},
        "security_artifacts_url": "https://artifacts.example", "security_artifacts_proxy_id": proxy,
    });
    let base = json!({"name": "plan", "host": "http://files.example", "is_default": false, "proxy_id": null, "ssl": null,
        "security_artifacts_url": "https://other.example", "security_artifacts_proxy_id": ""});
    let steps = [
        merged(
            &base,
            json!({"proxy_id": proxy, "ssl": {"certificate": "/c.pem"}, "auth": {"username": "u"},
            "secrets": {"ssl": {"key": "one"}, "auth": {"password": "two"}}}),
        ),
        merged(
            &base,
            json!({"auth": {"headers": []}, "secrets": {"auth": {"api_key": "three"}}}),
        ),
        merged(&base, json!({"auth": {"api_key": "plain"}, "secrets": null})),
        merged(
            &base,
            json!({"proxy_id": null, "ssl": null, "auth": null, "secrets": null, "security_artifacts_url": null,
            "security_artifacts_proxy_id": null}),
        ),
    ];
    SOURCES.lives(client, &all, &steps);
}

const OUTPUTS: Resource = Resource {
    path: "outputs",
    computed: &["id", "is_default", "is_default_monitoring", "preset"],
};

fn common_of_outputs(proxy: &str) -> Value {
    json!({
        "id": "", "name": "plan", "is_default": false, "is_default_monitoring": false, "is_internal": false, "is_preconfigured": false,
        "allow_edit": ["name", "hosts"], "ca_sha256": "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=",
        "ca_trusted_fingerprint": "ab".repeat(32), "config_yaml": "ssl.renegotiation: never\n", "otel_exporter_config_yaml": "x: 1",
        "proxy_id": proxy,
        "ssl": {"certificate_authorities": ["/a.pem"], "certificate": "/c.pem", "key": "/k.pem", "verification_mode": "strict"},
        "shipper": {"disk_queue_enabled": true, "disk_queue_path": "/q", "disk_queue_max_size": 10, "disk_queue_encryption_enabled": false,
            "disk_queue_compression_enabled": true, "compression_level": 1, "loadbalance": true, "mem_queue_events": 3, "queue_flush_timeout": 2,
            "max_batch_bytes": 1},
    })
}

fn elasticsearch_outputs(client: &Client, proxy: &str) {
    let of_type = json!({"type": "elasticsearch", "hosts": ["https://es.example:9200", "http://es.example:80/path"], "preset": "latency",
        "write_to_logs_streams": true});
    let all = merged(&common_of_outputs(proxy), of_type);
    let base = json!({"name": "plan", "type": "elasticsearch", "hosts": ["https://es.example:443"]});
    let cleared = json!({"ca_sha256": null, "ca_trusted_fingerprint": null, "config_yaml": null, "otel_exporter_config_yaml": null,
        "proxy_id": null, "ssl": null, "shipper": null, "secrets": null, "write_to_logs_streams": null});
    let kept = json!({"allow_edit": [], "is_internal": false, "is_preconfigured": false});
    let base = merged(&base, kept);
    let steps = [
        merged(
            &base,
            merged(
                &cleared,
                json!({"ssl": {"certificate": "/c.pem", "verification_mode": "none"}, "secrets": {"ssl": {"key": "one"}},
            "preset": "custom", "config_yaml": "bulk_max_size: 5"}),
            ),
        ),
        merged(
            &base,
            merged(
                &cleared,
                json!({"config_yaml": "", "proxy_id": "", "ca_sha256": "", "preset": "balanced"}),
            ),
        ),
        merged(&base, cleared),
    ];
    OUTPUTS.lives(client, &all, &steps);
    let of_type = json!({"type": "remote_elasticsearch", "hosts": ["https://far.example:9200"], "preset": "scale", "service_token": "AAEAAW",
        "kibana_url": "https://kibana.example:5601", "kibana_api_key": "key", "sync_integrations": false,
        "sync_uninstalled_integrations": false, "write_to_logs_streams": false});
    let all = merged(&common_of_outputs(proxy), of_type);
    let base = merged(&all, json!({"service_token": null, "kibana_api_key": null}));
    let steps = [merged(
        &base,
        json!({"secrets": {"service_token": "one", "kibana_api_key": "two"}}),
    )];
    OUTPUTS.lives(client, &all, &steps);
}

fn other_outputs(client: &Client, proxy: &str) {
    let of_type = json!({"type": "logstash", "hosts": ["logstash.example:5044", "10.0.0.1:5044"]});
    let all = merged(&common_of_outputs(proxy), of_type);
    let step = merged(
        &all,
        json!({"ssl": {"certificate_authorities": [], "certificate": "/c.pem"}, "secrets": {"ssl": {"key": "one"}}}),
    );
    OUTPUTS.lives(client, &all, &[step]);
    let mut common = common_of_outputs(proxy);
    // A proxy is silently set to none for kafka.
    common["proxy_id"] = Value::Null;
    let kafka = json!({
        "type": "kafka", "hosts": ["k1.example:9092", "k2.example:9092"], "version": "2.6.0", "key": "k", "compression": "gzip",
        "compression_level": 9, "client_id": "me", "auth_type": "user_pass", "username": "u", "password": "p",
        "sasl": {"mechanism": "SCRAM-SHA-512"}, "partition": "hash", "hash": {"hash": "host.name", "random": true},
        "topic": "logs", "headers": [{"key": "a", "value": "b"}, {"key": "c", "value": ""}], "timeout": 1, "broker_timeout": 2, "required_acks": -1,
    });
    let all = merged(&common, kafka);
    let base = json!({"name": "plan", "type": "kafka", "hosts": ["k.example:9093"], "version": "1.0.0", "key": "", "client_id": "Elastic",
        "topic": "t", "headers": [], "timeout": 30, "broker_timeout": 10, "required_acks": 1, "allow_edit": [], "is_internal": false,
        "is_preconfigured": false, "ca_sha256": null, "ca_trusted_fingerprint": null, "config_yaml": null,
        "otel_exporter_config_yaml": null, "proxy_id": null, "shipper": null, "hash": {"hash": "a", "random": false}});
    let steps = [
        merged(
            &base,
            json!({"auth_type": "user_pass", "username": "u", "secrets": {"password": "one"}, "partition": "random",
            "random": {"group_events": 3}, "compression": "gzip", "compression_level": 1, "ssl": {"certificate_authorities": ["/a.pem"]},
            "sasl": {"mechanism": "PLAIN"}}),
        ),
        merged(
            &base,
            json!({"auth_type": "ssl", "secrets": {"ssl": {"key": "two"}}, "partition": "round_robin", "random": {"group_events": 3},
            "round_robin": {"group_events": 4}, "compression": "lz4", "ssl": {"certificate": "/c.pem", "verification_mode": "full"}}),
        ),
        merged(
            &base,
            json!({"auth_type": "none", "connection_type": "plaintext", "secrets": null, "partition": "hash",
            "random": {"group_events": 3}, "round_robin": {"group_events": 4}, "compression": "none", "ssl": null}),
        ),
    ];
    OUTPUTS.lives(client, &all, &steps);
}

const POLICIES: Resource = Resource {
    path: "agent_policies",
    computed: &[
        "id",
        "status",
        "is_managed",
        "is_protected",
        "revision",
        "updated_at",
        "updated_by",
        "agents",
        "unprivileged_agents",
        "schema_version",
        "package_policies",
        "inactivity_timeout",
        "space_ids",
    ],
};

fn all_of_policies(data: &str, host: &str, source: &str) -> Value {
    json!({
        "id": "", "name": "plan", "namespace": "harbour", "description": "of a plan", "is_managed": false, "is_default": false,
        "is_default_fleet_server": false, "has_fleet_server": false, "is_protected": true, "monitoring_enabled": ["logs", "metrics", "traces"],
        "keep_monitoring_alive": true, "inactivity_timeout": 600, "unenroll_timeout": 900, "data_output_id": data,
        "monitoring_output_id": data, "fleet_server_host_id": host, "download_source_id": source,
        "agent_features": [{"name": "fqdn", "enabled": true}, {"name": "other", "enabled": false}], "overrides": {"agent": {"x": {"y": [1]}}},
        "advanced_settings": {"agent_limits_go_max_procs": 2, "agent_download_timeout": "120s", "agent_download_target_directory": "/d",
            "agent_logging_metrics_period": "30s", "agent_logging_level": "debug", "agent_logging_to_files": true,
            "agent_logging_files_rotateeverybytes": 1, "agent_logging_files_keepfiles": 2, "agent_logging_files_interval": "1h",
            "agent_monitoring_runtime_experimental": "otel"},
        "global_data_tags": [{"name": "site", "value": "a"}, {"name": "rack", "value": 7}],
        "monitoring_pprof_enabled": true, "monitoring_http": {"enabled": true, "host": "localhost", "port": 6791, "buffer": {"enabled": false}},
        "monitoring_diagnostics": {"limit": {"interval": "1m", "burst": 1}, "uploader": {"max_retries": 2, "init_dur": "1s", "max_dur": "1m"}},
        "required_versions": [{"version": "9.2.0", "percentage": 50}, {"version": "9.1.0", "percentage": 12.5}],
        "supports_agentless": false, "agentless": {"resources": {"requests": {"memory": "1Gi", "cpu": "1"}}},
    })
}

fn agent_policies(client: &Client) {
    let made = |path: &str, body: &Value| client.make(path, body)["id"].as_str().unwrap_or_default().to_owned();
    let data = made(
        "outputs",
        &json!({"name": "d", "type": "elasticsearch", "hosts": ["https://es.example:9200"]}),
    );
    let host = made(
        "fleet_server_hosts",
        &json!({"name": "h", "host_urls": ["https://fs.example:8220"]}),
    );
    let source = made(
        "agent_download_sources",
        &json!({"name": "s", "host": "https://files.example"}),
    );
    let all = all_of_policies(&data, &host, &source);
    let cleared = json!({
        "name": "plan 2", "namespace": "default", "description": "", "monitoring_enabled": [], "keep_monitoring_alive": null,
        "data_output_id": null, "monitoring_output_id": "", "fleet_server_host_id": null, "download_source_id": "", "agent_features": [],
        "overrides": null, "advanced_settings": null, "global_data_tags": [], "required_versions": null, "supports_agentless": null,
    });
    let step = merged(&all, cleared);
    let id = POLICIES.is_made(client, &all);
    POLICIES.is_the_same_again(client, &id, &all);
    assert_eq!(client.read(&POLICIES.of(&id))["revision"], 1, "nothing has changed");
    let changed = client.change(&POLICIES.of(&id), &written(&step, &all));
    POLICIES.holds(&written(&step, &all), &changed);
    assert_eq!(changed["revision"], 2);
    POLICIES.is_the_same_again(client, &id, &step);
    let deleted = client
        .console
        .post(&client.path("agent_policies/delete"), &json!({"agentPolicyId": id}));
    assert_eq!(deleted["id"], id.as_str(), "{deleted}");
    assert_eq!(client.status("GET", &POLICIES.of(&id)), 404);
    for (path, id) in [
        ("outputs", data),
        ("fleet_server_hosts", host),
        ("agent_download_sources", source),
    ] {
        assert_eq!(client.status("DELETE", &format!("{path}/{id}")), 200, "{path}");
    }
}

const INTEGRATIONS: Resource = Resource {
    path: "package_policies",
    computed: &[
        "id",
        "policy_id",
        "policy_ids",
        "vars",
        "enabled",
        "inputs",
        "revision",
        "created_at",
        "created_by",
        "updated_at",
        "updated_by",
        "spaceIds",
    ],
};

fn package_policies(client: &Client) {
    let policy = client.make(
        "agent_policies",
        &json!({"name": "of integrations", "namespace": "default"}),
    );
    let policy = policy["id"].as_str().unwrap_or_else(|| panic!("{policy}")).to_owned();
    let output = client.make(
        "outputs",
        &json!({"name": "d", "type": "elasticsearch", "hosts": ["https://es.example:9200"]}),
    );
    simplified(client, &policy, &output["id"]);
    legacy(client, &policy);
    client
        .console
        .post(&client.path("agent_policies/delete"), &json!({"agentPolicyId": policy}));
}

fn simplified(client: &Client, policy: &str, output: &Value) {
    let path = "package_policies?format=simplified";
    let inputs = |paths: &Value, dataset: &str| {
        json!({"filestream-filestream": {"enabled": true, "streams": {"filestream.filestream": {
        "enabled": true, "vars": {"paths": paths, "data_stream.dataset": dataset}}}}})
    };
    let first = json!({
        "name": "plan", "description": "of a plan", "namespace": "harbour", "policy_ids": [policy], "output_id": output, "enabled": true,
        "package": {"name": "filestream", "version": newest(client, "filestream")}, "force": false,
        "additional_datastreams_permissions": ["logs-x-*"], "inputs": inputs(&json!(["/srv/*.log", "/srv/b"]), "shop"),
    });
    let made = client.make(path, &first);
    INTEGRATIONS.holds(&first, &made);
    let id = made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let one = format!("package_policies/{id}?format=simplified");
    assert_eq!(client.read(&one), made);
    // Streams and variables that were not named read with the package's defaults: sent back, they say the same.
    let whole = merged(&first, json!({"inputs": made["inputs"]}));
    for body in [&first, &whole] {
        let again = client.change(&one, body);
        let same = |value: &Value| {
            let mut value = without_times(value);
            value["revision"] = Value::Null;
            value
        };
        assert_eq!(same(&again), same(&made), "{body}");
    }
    let step = merged(
        &first,
        json!({"description": "", "namespace": "", "output_id": null, "inputs": inputs(&json!(["/var/log/x"]), "other"),
        "additional_datastreams_permissions": []}),
    );
    let changed = client.change(&one, &step);
    INTEGRATIONS.holds(&step, &changed);
    INTEGRATIONS.is_deleted(client, &id);
}

fn newest(client: &Client, package: &str) -> Value {
    client.read(&format!("epm/packages/{package}"))["version"].clone()
}

fn legacy(client: &Client, policy: &str) {
    let stream = json!({"enabled": true, "data_stream": {"type": "logs", "dataset": "system.syslog"},
        "vars": {"paths": {"type": "text", "value": ["/var/log/messages"]}}});
    let input = json!({"type": "logfile", "policy_template": "system", "enabled": true, "streams": [stream]});
    let first = json!({
        "name": "plan", "description": "", "namespace": "default", "policy_id": policy, "enabled": true, "force": false, "vars": null,
        "package": {"name": "system", "version": newest(client, "system")}, "inputs": [input],
    });
    let made = client.make("package_policies", &first);
    let of_stream = |item: &Value| -> Value {
        let inputs = item["inputs"].as_array().into_iter().flatten();
        let streams = inputs
            .filter(|input| input["type"] == "logfile")
            .filter_map(|input| input["streams"].as_array().cloned());
        let found = streams
            .flatten()
            .find(|one| one["data_stream"]["dataset"] == "system.syslog");
        found.unwrap_or_else(|| panic!("{item}"))
    };
    let mut found = Vec::new();
    differences(&stream, &of_stream(&made), "", &mut found);
    assert!(found.is_empty(), "{found:?}");
    INTEGRATIONS.holds(&merged(&first, json!({"inputs": made["inputs"]})), &made);
    let id = made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    assert_eq!(client.read(&INTEGRATIONS.of(&id)), made);
    // As it was read, it is written: what only answers have is taken and says nothing.
    let mut whole = made.clone();
    for key in ["id", "revision", "created_at", "created_by", "updated_at", "updated_by"] {
        whole.as_object_mut().into_iter().for_each(|map| {
            map.shift_remove(key);
        });
    }
    let again = client.change(&INTEGRATIONS.of(&id), &whole);
    assert_eq!((&again["inputs"], &again["vars"]), (&made["inputs"], &made["vars"]));
    INTEGRATIONS.is_deleted(client, &id);
}

fn enrollment_tokens(client: &Client) {
    let policy = client.make("agent_policies", &json!({"name": "of tokens", "namespace": "default"}));
    let wanted = json!({"name": "plan", "policy_id": policy["id"], "expiration": "30d"});
    let answer = client.console.post(&client.path("enrollment_api_keys"), &wanted);
    assert_eq!(answer["action"], "created", "{answer}");
    let made = Client::item("enrollment_api_keys", &answer);
    let id = made["id"].as_str().unwrap_or_default();
    assert_eq!(made["name"], format!("plan ({id})"));
    assert_eq!((&made["policy_id"], &made["active"]), (&policy["id"], &json!(true)));
    let one = format!("enrollment_api_keys/{id}");
    assert_eq!(client.read(&one), made);
    let list = client.console.get(&client.path(&format!(
        "enrollment_api_keys?kuery=policy_id:%22{}%22",
        policy["id"].as_str().unwrap_or_default()
    )));
    assert_eq!(list["total"], 2, "its own and the policy's first: {list}");
    assert_eq!(client.status("DELETE", &one), 200);
    assert_eq!(client.read(&one)["active"], false);
    let deleted = client.console.post(
        &client.path("agent_policies/delete"),
        &json!({"agentPolicyId": policy["id"]}),
    );
    assert_eq!(deleted["id"], policy["id"]);
}

fn settings(client: &Client) {
    let wanted = json!({"has_seen_add_data_notice": true, "prerelease_integrations_enabled": true,
        "delete_unenrolled_agents": {"enabled": true, "is_preconfigured": false}, "additional_yaml_config": "a: 1",
        "kibana_urls": ["https://kibana.example:5601"], "kibana_ca_sha256": "x"});
    for body in [
        wanted.clone(),
        json!({"delete_unenrolled_agents": {"enabled": false, "is_preconfigured": false}}),
    ] {
        let mut found = Vec::new();
        let answer = client.change("settings", &body);
        differences(&body, &answer, "", &mut found);
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(client.read("settings"), answer);
    }
    let space = client.change(
        "space_settings",
        &json!({"allowed_namespace_prefixes": ["team", "lab"]}),
    );
    assert_eq!(space["allowed_namespace_prefixes"], json!(["team", "lab"]));
    assert_eq!(client.read("space_settings"), space);
    client.change("space_settings", &json!({"allowed_namespace_prefixes": []}));
}
