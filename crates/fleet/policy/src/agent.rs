//! `agent` of a policy: download, monitoring, features, protection and the advanced settings.

use serde_json::{Map, Value, json};

use crate::compile::{CompileError, Form, PolicyInputs, Secrets, is_set, output_key};
use crate::fleet::put_proxy;
use crate::model::AgentPolicy;
use crate::outputs::{Chosen, set};

pub(crate) fn section(
    inputs: &PolicyInputs<'_>,
    chosen: &Chosen<'_>,
    secrets: &mut Secrets,
) -> Result<Map<String, Value>, CompileError> {
    let mut agent = Map::new();
    if let Some(download) = download(inputs, secrets)? {
        agent.insert("download".into(), download.into());
    }
    agent.insert("monitoring".into(), monitoring(inputs.policy, chosen).into());
    let mut features = Map::new();
    for feature in inputs.policy.agent_features.iter().flatten() {
        features.insert(feature.name.clone(), json!({"enabled": feature.enabled}));
    }
    agent.insert("features".into(), features.into());
    if inputs.form == Form::Fleet {
        let protection = json!({
            "enabled": inputs.policy.is_protected,
            "uninstall_token_hash": inputs.protection.uninstall_token_hash,
            "signing_key": inputs.protection.signing_key,
        });
        agent.insert("protection".into(), protection);
    }
    Ok(agent)
}

fn monitoring(policy: &AgentPolicy, chosen: &Chosen<'_>) -> Map<String, Value> {
    let (logs, metrics, traces) = (
        policy.monitors("logs"),
        policy.monitors("metrics"),
        policy.monitors("traces"),
    );
    let any = logs || metrics || traces;
    let http = policy
        .monitoring_http
        .as_ref()
        .filter(|http| http.get("enabled") == Some(&Value::Bool(true)));
    let mut monitoring = Map::new();
    let enabled = any || http.is_some() || policy.keep_monitoring_alive == Some(true);
    monitoring.insert("enabled".into(), enabled.into());
    monitoring.insert("logs".into(), logs.into());
    monitoring.insert("metrics".into(), metrics.into());
    monitoring.insert("traces".into(), traces.into());
    if any {
        monitoring.insert("namespace".into(), policy.namespace.clone().into());
        monitoring.insert("use_output".into(), output_key(chosen.monitoring).into());
    }
    if let Some(enabled) = policy.monitoring_pprof_enabled {
        monitoring.insert("pprof".into(), json!({"enabled": enabled}));
    }
    if let Some(http) = http {
        let mut section = Map::new();
        for key in ["enabled", "host", "port", "buffer"] {
            set(&mut section, key, http.get(key).cloned().unwrap_or_default());
        }
        monitoring.insert("http".into(), section.into());
    }
    if let Some(diagnostics) = &policy.monitoring_diagnostics {
        let mut section = Map::new();
        for key in ["limit", "uploader"] {
            set(&mut section, key, diagnostics.get(key).cloned().unwrap_or_default());
        }
        set(&mut monitoring, "diagnostics", section.into());
    }
    monitoring
}

fn download(inputs: &PolicyInputs<'_>, secrets: &mut Secrets) -> Result<Option<Map<String, Value>>, CompileError> {
    let source = match inputs.policy.download_source_id.as_ref().filter(|id| !id.is_empty()) {
        None => inputs.download_sources.iter().find(|source| source.is_default),
        Some(id) => {
            let found = inputs.download_sources.iter().find(|source| source.id == *id);
            Some(found.ok_or_else(|| inputs.dangling("download source", id))?)
        }
    };
    let Some(source) = source else { return Ok(None) };
    let mut download = Map::new();
    download.insert("sourceURI".into(), source.host.clone().into());
    let mut tls = Map::new();
    for (key, value) in source.ssl.iter().flatten() {
        set(&mut tls, key, value.clone());
    }
    set(&mut download, "ssl", tls.into());
    let mut auth = Map::new();
    for (key, value) in source.auth.iter().flatten() {
        set(&mut auth, key, value.clone());
    }
    set(&mut download, "auth", auth.into());
    if let Some(stored) = source
        .secrets
        .as_ref()
        .filter(|stored| is_set(&Value::Object((*stored).clone())))
    {
        let stored = Value::Object(stored.clone());
        secrets.note(&stored);
        download.insert("secrets".into(), stored);
    }
    if let Some(proxy) = inputs.proxy(source.proxy_id.as_ref())? {
        put_proxy(&mut download, proxy);
    }
    Ok(Some(download))
}

/// Names of the advanced settings and the dotted path that each is set at.
const ADVANCED_SETTINGS: [(&str, &str); 10] = [
    ("agent_limits_go_max_procs", "limits.go_max_procs"),
    ("agent_download_timeout", "download.timeout"),
    ("agent_download_target_directory", "download.target_directory"),
    ("agent_logging_metrics_period", "logging.metrics.period"),
    ("agent_logging_level", "logging.level"),
    ("agent_logging_to_files", "logging.to_files"),
    ("agent_logging_files_rotateeverybytes", "logging.files.rotateeverybytes"),
    ("agent_logging_files_keepfiles", "logging.files.keepfiles"),
    ("agent_logging_files_interval", "logging.files.interval"),
    (
        "agent_monitoring_runtime_experimental",
        "monitoring._runtime_experimental",
    ),
];

pub(crate) fn apply_advanced_settings(full: &mut Map<String, Value>, policy: &AgentPolicy) {
    let Some(settings) = &policy.advanced_settings else {
        return;
    };
    for (name, path) in ADVANCED_SETTINGS {
        let Some(value) = settings.get(name).filter(|value| is_set(value)) else {
            continue;
        };
        let mut place = &mut full["agent"];
        for part in path.split('.') {
            if !place.is_object() {
                *place = json!({});
            }
            place = &mut place[part];
        }
        *place = value.clone();
    }
}
