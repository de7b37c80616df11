//! The agent watches itself: its own log files and metrics as data streams. Source: agent data reference, section 4.

use serde_json::{Value, json};

use crate::self_metrics;

/// The inputs that `agent.monitoring` asks for; none when it is off.
pub(crate) fn inputs(policy: &Value, log_directory: &str) -> Vec<Value> {
    let Some(monitoring) = policy.pointer("/agent/monitoring") else {
        return Vec::new();
    };
    let on = |key: &str| monitoring.get(key).and_then(Value::as_bool).unwrap_or(true);
    let text = |key: &str| {
        monitoring
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .unwrap_or("default")
    };
    let has_output = policy
        .pointer("/outputs")
        .and_then(|outputs| outputs.get(text("use_output")))
        .is_some();
    if !on("enabled") || !has_output {
        return Vec::new();
    }
    let mut inputs = Vec::new();
    if on("logs") {
        inputs.push(logs(text("use_output"), text("namespace"), log_directory));
    }
    if on("metrics") {
        let period = monitoring
            .get("metrics_period")
            .and_then(Value::as_str)
            .unwrap_or("60s");
        inputs.push(json!({
            "id": "metrics-monitoring-agent",
            "type": self_metrics::INPUT_TYPE,
            "use_output": text("use_output"),
            "data_stream": {"namespace": text("namespace")},
            "period": period,
        }));
    }
    inputs
}

fn logs(output: &str, namespace: &str, log_directory: &str) -> Value {
    json!({
        "id": "filestream-monitoring-agent",
        "name": "filestream-monitoring-agent",
        "type": "filestream",
        "use_output": output,
        "data_stream": {"namespace": namespace},
        "streams": [{
            "id": "filestream-monitoring-agent",
            "type": "filestream",
            "paths": [format!("{log_directory}/elastic-agent-*.ndjson")],
            "data_stream": {"type": "logs", "dataset": "elastic_agent", "namespace": namespace},
            "close": {"on_state_change": {"inactive": "5m"}},
            "parsers": [{"ndjson": {
                "target": "", "message_key": "message", "overwrite_keys": true, "add_error_key": true,
            }}],
            "processors": [{"drop_fields": {"fields": ["ecs.version"], "ignore_missing": true}}],
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_and_metrics_are_watched_unless_switched_off() {
        let count = |monitoring: Value| {
            let policy = json!({"agent": {"monitoring": monitoring}, "outputs": {"default": {}}});
            inputs(&policy, "/logs").len()
        };
        assert_eq!(count(json!({"enabled": true, "logs": true, "metrics": true})), 2);
        assert_eq!(count(json!({"enabled": true, "logs": true, "metrics": false})), 1);
        assert_eq!(count(json!({"enabled": true, "logs": false, "metrics": false})), 0);
        assert_eq!(count(json!({"enabled": false, "logs": true})), 0);
        assert_eq!(count(json!({"enabled": true, "logs": true, "use_output": "gone"})), 0);
        assert!(inputs(&json!({}), "/logs").is_empty());
    }
}
