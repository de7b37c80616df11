//! Agent policies: the list, one policy with its integrations and YAML, and its basic settings.

use askama::Template;
use axum::extract::{Form, Path, Query};
use axum::response::{Html, Redirect};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::frame::Frame;
use super::look::{Moment, figure};
use super::problem::{Problem, show};
use super::session::SignedIn;
use crate::domain::agent_policies::{self, CreateOptions};
use crate::domain::publish;

#[derive(Template)]
#[template(path = "policies.html")]
struct List {
    frame: Frame,
    rows: Vec<Row>,
    may_change: bool,
}

struct Row {
    id: String,
    name: String,
    description: String,
    revision: i64,
    agents: String,
    integrations: usize,
    changed: Moment,
}

#[derive(Template)]
#[template(path = "policy.html")]
struct Page {
    frame: Frame,
    id: String,
    name: String,
    description: String,
    namespace: String,
    revision: i64,
    agents: String,
    agent_count: u64,
    collects_logs: bool,
    collects_metrics: bool,
    integrations: Vec<Integration>,
    yaml: String,
    may_change: bool,
}

struct Integration {
    name: String,
    package: String,
    inputs: String,
}

/// What was done before the page was shown.
#[derive(Deserialize)]
pub(super) struct Done {
    done: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct NewPolicy {
    #[serde(default)]
    csrf_token: String,
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    system_monitoring: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Edit {
    #[serde(default)]
    csrf_token: String,
    name: String,
    #[serde(default)]
    description: String,
    namespace: String,
    #[serde(default)]
    logs: Option<String>,
    #[serde(default)]
    metrics: Option<String>,
}

pub(super) async fn list(reader: SignedIn) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let now = console.clock.now();
    let mut rows = Vec::new();
    for policy in agent_policies::list(console).await? {
        let changed = policy
            .other
            .get("updated_at")
            .and_then(Value::as_str)
            .map(str::to_owned);
        rows.push(Row {
            agents: figure(agent_policies::agent_count(console, &policy.id).await?),
            integrations: agent_policies::package_policies_of(console, &policy.id).await?.len(),
            changed: Moment::parse(now, changed.as_deref()),
            id: policy.id,
            name: policy.name,
            description: policy.description.unwrap_or_default(),
            revision: policy.revision,
        });
    }
    show(&List {
        frame: Frame::new(&reader, "Agent policies", "Agent policies"),
        rows,
        may_change: reader.may_change(),
    })
}

pub(super) async fn create(reader: SignedIn, Form(new): Form<NewPolicy>) -> Result<Redirect, Problem> {
    let actor = reader.who_changes(&new.csrf_token)?;
    let fields = object(json!({
        "name": new.name.trim(), "namespace": "default", "description": new.description, "monitoring_enabled": ["logs", "metrics"],
    }));
    let options = CreateOptions {
        system_monitoring: new.system_monitoring.is_some(),
    };
    let made = agent_policies::create(&reader.console, &actor, fields, options).await?;
    Ok(Redirect::to(&format!("/app/fleet/policies/{}?done=created", made.id)))
}

pub(super) async fn page(
    reader: SignedIn,
    Path(id): Path<String>,
    Query(done): Query<Done>,
) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let policy = agent_policies::read(console, &id).await?;
    let agent_count = agent_policies::agent_count(console, &id).await?;
    let monitoring = policy.monitoring_enabled.clone().unwrap_or_default();
    let toast = match done.done.as_deref() {
        Some("created") => Some("The agent policy was created."),
        Some("saved") => Some("Saved. Agents take the new revision at once."),
        _ => None,
    };
    let full = publish::full_policy(console, &id, ::policy::Form::Fleet).await?;
    let page = Page {
        frame: Frame::new(&reader, "Agent policies", policy.name.as_str()).toast(toast),
        agents: figure(agent_count),
        agent_count,
        collects_logs: monitoring.iter().any(|kind| kind == "logs"),
        collects_metrics: monitoring.iter().any(|kind| kind == "metrics"),
        integrations: agent_policies::package_policies_of(console, &id)
            .await?
            .iter()
            .map(Integration::of)
            .collect(),
        yaml: settings_text(&full),
        may_change: reader.may_change() && !policy.is_managed,
        id: policy.id,
        name: policy.name,
        description: policy.description.unwrap_or_default(),
        namespace: policy.namespace,
        revision: policy.revision,
    };
    show(&page)
}

pub(super) async fn update(
    reader: SignedIn,
    Path(id): Path<String>,
    Form(edit): Form<Edit>,
) -> Result<Redirect, Problem> {
    let actor = reader.who_changes(&edit.csrf_token)?;
    let kinds = [("logs", &edit.logs), ("metrics", &edit.metrics)];
    let monitoring: Vec<&str> = kinds
        .iter()
        .filter(|(_, chosen)| chosen.is_some())
        .map(|(kind, _)| *kind)
        .collect();
    let fields = object(json!({
        "name": edit.name.trim(), "description": edit.description, "namespace": edit.namespace.trim(), "monitoring_enabled": monitoring,
    }));
    agent_policies::update(&reader.console, &actor, &id, fields, false).await?;
    Ok(Redirect::to(&format!("/app/fleet/policies/{id}?done=saved")))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The policy as agents get it, as YAML.
fn settings_text(full: &::policy::FullPolicy) -> String {
    ::settings::to_yaml(&Value::Object(full.0.clone()))
}

impl Integration {
    fn of(integration: &policy::model::PackagePolicy) -> Self {
        let active = integration
            .inputs
            .iter()
            .filter(|input| input.enabled)
            .map(|input| input.kind.clone());
        Self {
            name: integration.name.clone(),
            package: integration
                .package
                .as_ref()
                .map(|package| format!("{} {}", package.name, package.version))
                .unwrap_or_default(),
            inputs: active.collect::<Vec<_>>().join(", "),
        }
    }
}
