//! The settings of an agent policy as a form.

use serde_json::{Value, json};

use super::super::form::{self, Choice, Group, Kind, Spec, Values};
use crate::Console;
use crate::domain::documents::Fields;
use crate::domain::error::FleetError;
use crate::domain::{download_sources, fleet_server_hosts, outputs};

/// What agents can collect about themselves; each is a switch of its own in the form and a word in `monitoring_enabled`.
const MONITORING: [(&str, &str); 3] = [
    ("logs", "Collect agent logs"),
    ("metrics", "Collect agent metrics"),
    ("traces", "Collect agent traces"),
];

pub(super) async fn groups(console: &Console) -> Result<Vec<Group>, FleetError> {
    let outputs: Vec<Choice> = outputs::list(console)
        .await?
        .into_iter()
        .map(|output| Choice::new(output.id, output.name))
        .collect();
    let hosts = fleet_server_hosts::list(console)
        .await?
        .into_iter()
        .map(|host| Choice::new(host.id, host.name))
        .collect();
    let sources = download_sources::list(console)
        .await?
        .into_iter()
        .map(|source| Choice::new(source.id, source.name))
        .collect();
    let select = |path: &str, label: &str, choices: Vec<Choice>, help: &str| {
        let all = std::iter::once(Choice::new("", "The default")).chain(choices).collect();
        Spec::new(path, label, Kind::Select(all)).help(help).optional()
    };
    let monitoring = MONITORING
        .iter()
        .map(|(kind, label)| Spec::new(format!("monitor.{kind}"), *label, Kind::Switch));
    Ok(vec![
        Group::new(
            "",
            vec![
                Spec::new("name", "Name", Kind::Text),
                Spec::new("namespace", "Default namespace", Kind::Text)
                    .help("The last part of the data streams' names."),
                Spec::new("description", "Description", Kind::Text).optional(),
            ],
        ),
        Group::new(
            "Where agents connect",
            vec![
                select("fleet_server_host_id", "Fleet Server", hosts, "Where agents check in."),
                select(
                    "data_output_id",
                    "Output for integrations",
                    outputs.clone(),
                    "Where agents send what integrations collect.",
                ),
                select(
                    "monitoring_output_id",
                    "Output for agent monitoring",
                    outputs,
                    "Where agents send their own logs and metrics.",
                ),
                select(
                    "download_source_id",
                    "Agent binary download",
                    sources,
                    "Where agents fetch upgrades.",
                ),
            ],
        ),
        Group::new(
            "Agent monitoring",
            monitoring
                .chain([
                    Spec::new("keep_monitoring_alive", "Keep monitoring alive", Kind::Switch)
                        .help("The monitoring endpoint stays, even when nothing is collected."),
                ])
                .collect(),
        ),
        Group::new(
            "Agents",
            vec![
                Spec::new("fqdn", "Host names are fully qualified", Kind::Switch)
                    .help("web-1.example.org in place of web-1, in every document."),
                Spec::new("is_protected", "Agent tamper protection", Kind::Switch)
                    .help("Uninstalling an agent then needs the uninstall token."),
                Spec::new("inactivity_timeout", "Inactivity timeout", Kind::Number)
                    .help("Seconds of silence after which an agent counts as inactive.")
                    .optional(),
                Spec::new("unenroll_timeout", "Unenrollment timeout", Kind::Number)
                    .help("Seconds of silence after which an agent is unenrolled and its keys are revoked.")
                    .optional(),
                Spec::new("global_data_tags", "Custom fields", Kind::PairList("name"))
                    .help("name: value, one a line; added to each document.")
                    .optional(),
            ],
        ),
        Group::new(
            "Advanced settings",
            vec![
                Spec::new(
                    "advanced_settings.agent_logging_level",
                    "Agent logging level",
                    Kind::Select(
                        ["", "info", "debug", "warning", "error"]
                            .map(|level| {
                                Choice::new(level, if level.is_empty() { "As the agent is set" } else { level })
                            })
                            .to_vec(),
                    ),
                )
                .optional(),
                Spec::new(
                    "advanced_settings.agent_limits_go_max_procs",
                    "Limit CPU usage",
                    Kind::Number,
                )
                .help("Cores that an agent may use; 0 for all.")
                .optional(),
                Spec::new(
                    "advanced_settings.agent_download_timeout",
                    "Agent binary download timeout",
                    Kind::Text,
                )
                .help("Such as 2h.")
                .optional(),
                Spec::new(
                    "advanced_settings.agent_download_target_directory",
                    "Agent binary target directory",
                    Kind::Text,
                )
                .optional(),
                Spec::new(
                    "monitoring_http.enabled",
                    "Serve the agent's state over HTTP on its host",
                    Kind::Switch,
                ),
                Spec::new("monitoring_http.host", "HTTP host", Kind::Text).optional(),
                Spec::new("monitoring_http.port", "HTTP port", Kind::Number).optional(),
            ],
        )
        .folded(),
    ])
}

/// What stands in the form for a policy.
pub(super) fn values(policy: &Fields) -> Values {
    let mut values = Values::of_object(policy);
    for (kind, _) in MONITORING {
        if values.all("monitoring_enabled").contains(&kind) {
            values.set(&format!("monitor.{kind}"), vec!["on".to_owned()]);
        }
    }
    let features = policy.get("agent_features").and_then(Value::as_array);
    let is_fqdn = |feature: &Value| feature["name"] == "fqdn" && feature["enabled"] == true;
    if features.is_some_and(|features| features.iter().any(is_fqdn)) {
        values.set("fqdn", vec!["on".to_owned()]);
    }
    values
}

/// The policy's fields from the form.
pub(super) fn fields(groups: &[Group], values: &Values, present: &Fields) -> Fields {
    let mut fields = form::object(groups, values, Some(present));
    fields.remove("monitor");
    fields.remove("fqdn");
    let monitoring: Vec<&str> = MONITORING
        .iter()
        .map(|(kind, _)| *kind)
        .filter(|kind| values.is_on(&format!("monitor.{kind}")))
        .collect();
    fields.insert("monitoring_enabled".into(), json!(monitoring));
    let mut features = present
        .get("agent_features")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    features.retain(|feature| feature["name"] != "fqdn");
    if values.is_on("fqdn") {
        features.push(json!({"name": "fqdn", "enabled": true}));
    }
    fields.insert("agent_features".into(), json!(features));
    fields
}
