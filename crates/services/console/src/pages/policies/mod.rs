//! Agent policies: the list, and one policy with its integrations, settings, YAML and history.

mod difference;
mod integration;
mod settings;

pub(super) use integration::{
    add as add_integration, create as create_integration, delete as delete_integration, edit as edit_integration,
    update as update_integration,
};

use std::sync::Arc;

use ::policy::model::AgentPolicy;
use askama::Template;
use axum::extract::{Form, Path, Query};
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use self::difference::Difference;
use super::form::{self, GroupView, Notes, Submission, Values};
use super::frame::Frame;
use super::look::{Moment, Paging, figure, url_part};
use super::order::{Column, Head, Order};
use super::problem::{Problem, show};
use super::question::{self, Question};
use super::session::SignedIn;
use crate::domain::agent_policies::{self, CreateOptions, UpdateOptions};
use crate::domain::documents::AGENT_POLICIES;
use crate::domain::error::FleetError;
use crate::domain::page::PageRequest;
use crate::domain::{agents, installed_packages, outputs, publish};

/// Policies of a page.
const PER_PAGE: usize = 50;
/// Revisions that the history shows.
const MOST_REVISIONS: usize = 50;

/// Columns of the list; that of the actions is not among them.
const COLUMNS: &[Column] = &[
    Column::rising("Name", "name", ""),
    Column::falling("Last updated on", "updated", "p3"),
    Column::falling("Agents", "agents", "right"),
    Column::falling("Integrations", "integrations", "right p2"),
];

#[derive(Template)]
#[template(path = "policies.html")]
struct List {
    frame: Frame,
    query: String,
    sort: String,
    heads: Vec<Head>,
    rows: Vec<Row>,
    paging: Paging,
    may_change: bool,
}

struct Row {
    id: String,
    name: String,
    description: String,
    revision: i64,
    agents: String,
    unprivileged: u64,
    is_managed: bool,
    integrations: usize,
    changed: Moment,
}

#[derive(Template)]
#[template(path = "policy.html")]
struct Page {
    frame: Frame,
    tab: Tab,
    id: String,
    name: String,
    description: String,
    revision: i64,
    agents: String,
    agent_count: u64,
    integrations: Vec<Integration>,
    packages: Vec<(String, String)>,
    groups: Vec<GroupView>,
    wrong: Vec<String>,
    /// The settings are what was sent, and differ from what is saved.
    sent: bool,
    yaml: String,
    history: Vec<Revision>,
    /// The revision whose YAML is shown, when it is not the newest.
    shown: Option<i64>,
    /// What the shown revision changed in the one before.
    changes: Option<Changes>,
    may_change: bool,
}

struct Changes {
    from: i64,
    to: i64,
    differences: Vec<Difference>,
}

/// A part of a policy's page.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Tab {
    #[default]
    Integrations,
    Settings,
    Yaml,
    History,
}

/// What the browser calls the page.
fn title_of(policy: &str, wanted: &Wanted) -> String {
    match (wanted.tab, wanted.revision) {
        (Tab::Integrations, _) => policy.to_owned(),
        (Tab::Settings, _) => format!("Settings of {policy}"),
        (Tab::Yaml, _) => format!("{policy} as YAML"),
        (Tab::History, None) => format!("History of {policy}"),
        (Tab::History, Some(revision)) => format!("Revision {revision} of {policy}"),
    }
}

struct Integration {
    id: String,
    name: String,
    package: String,
    inputs: String,
    namespace: String,
    /// Its own output; none when it has the policy's.
    output: Option<String>,
}

/// A revision that was published.
struct Revision {
    number: i64,
    published: Moment,
}

/// What stands in the URL.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    /// A part of a name or description, in the list.
    q: String,
    /// Of the list.
    sort: Order,
    /// Of the list, from 1.
    page: usize,
    done: Option<String>,
    tab: Tab,
    revision: Option<i64>,
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

pub(super) async fn list(reader: SignedIn, Query(wanted): Query<Wanted>) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let now = console.clock.now();
    let tallies = agents::tallies(console).await?;
    let integrations = agent_policies::integration_counts(console).await?;
    let looked_for = wanted.q.trim().to_lowercase();
    let mut policies = agent_policies::all(console).await?;
    policies.retain(|policy| {
        let description = policy.description.as_deref().unwrap_or_default();
        [policy.name.as_str(), description]
            .iter()
            .any(|text| text.to_lowercase().contains(&looked_for))
    });
    let order = &wanted.sort;
    match order.key() {
        "name" => order.sort(&mut policies, |policy| policy.name.to_lowercase()),
        "updated" => order.sort(&mut policies, |policy| updated_at(policy).map(str::to_owned)),
        "agents" => order.sort(&mut policies, |policy| {
            tallies.get(&policy.id).map_or(0, |tally| tally.active)
        }),
        "integrations" => order.sort(&mut policies, |policy| {
            integrations.get(&policy.id).copied().unwrap_or_default()
        }),
        _ => {}
    }
    let request = PageRequest {
        page: wanted.page.max(1),
        per_page: PER_PAGE,
    };
    let page = request.of(policies);
    let row = |policy: &Arc<AgentPolicy>| {
        let tally = tallies.get(&policy.id).copied().unwrap_or_default();
        Row {
            agents: figure(tally.active),
            unprivileged: tally.unprivileged,
            is_managed: policy.is_managed,
            integrations: integrations.get(&policy.id).copied().unwrap_or_default(),
            changed: Moment::parse(now, updated_at(policy)),
            id: policy.id.clone(),
            name: policy.name.clone(),
            description: policy.description.clone().unwrap_or_default(),
            revision: policy.revision,
        }
    };
    let sorted = order.written(COLUMNS);
    let url = |sort: &str, number: usize| {
        format!(
            "/app/fleet/policies?q={}&sort={sort}&page={number}",
            url_part(&wanted.q)
        )
    };
    show(&List {
        frame: Frame::new(&reader, "Agent policies", "Agent policies")
            .toast((wanted.done.as_deref() == Some("deleted")).then_some("The agent policy was deleted.")),
        paging: Paging::of(&page, |number| url(sorted, number)),
        heads: order.heads(COLUMNS, |sort| url(sort, 1)),
        sort: sorted.to_owned(),
        rows: page.items.iter().map(row).collect(),
        may_change: reader.may_change(),
        query: wanted.q.clone(),
    })
}

fn updated_at(policy: &AgentPolicy) -> Option<&str> {
    policy.other.get("updated_at").and_then(Value::as_str)
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
    Query(wanted): Query<Wanted>,
) -> Result<Html<String>, Problem> {
    let stored = reader.console.require(&AGENT_POLICIES, &id).await?;
    let values = settings::values(&stored.fields);
    let toast = match wanted.done.as_deref() {
        Some("created") => Some("The agent policy was created."),
        Some("saved") => Some("Saved. Agents take the new revision at once."),
        Some("copied") => Some("This is the copy."),
        Some("added") => Some("The integration was added."),
        Some("removed") => Some("The integration was removed."),
        _ => None,
    };
    render(&reader, &id, &wanted, &values, &Notes::default(), toast).await
}

async fn render(
    reader: &SignedIn,
    id: &str,
    wanted: &Wanted,
    values: &Values,
    notes: &Notes,
    toast: Option<&str>,
) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let policy = agent_policies::read(console, id).await?;
    let agent_count = agent_policies::agent_count(console, id).await?;
    let history = history(console, id).await?;
    let groups = settings::groups(console).await?;
    let shown = wanted.revision.filter(|revision| *revision != policy.revision);
    let yaml = match history.iter().find(|(number, _, _)| Some(*number) == shown) {
        Some((_, _, data)) => ::settings::to_yaml(data),
        None => settings_text(&publish::full_policy(console, id, ::policy::Form::Fleet).await?),
    };
    let now = console.clock.now();
    let available = installed_packages::available(console).await?;
    let outputs = outputs::list(console).await?;
    let page = Page {
        frame: Frame::new(reader, "Agent policies", title_of(&policy.name, wanted)).toast(toast),
        tab: wanted.tab,
        agents: figure(agent_count),
        agent_count,
        integrations: agent_policies::package_policies_of(console, id)
            .await?
            .iter()
            .map(|integration| Integration::of(integration, &outputs))
            .collect(),
        packages: available
            .iter()
            .map(|package| (package.name.clone(), package.title.clone()))
            .collect(),
        groups: form::groups(&groups, values, notes, now),
        sent: !notes.wrong.is_empty(),
        wrong: notes
            .wrong
            .iter()
            .filter(|(field, _)| field.is_empty())
            .map(|(_, text)| text.clone())
            .collect(),
        yaml,
        changes: wanted.revision.and_then(|revision| Changes::of(revision, &history)),
        history: history
            .into_iter()
            .map(|(number, published, _)| Revision {
                number,
                published: Moment::parse(now, Some(&published)),
            })
            .collect(),
        shown,
        may_change: reader.may_change() && !policy.is_managed,
        id: policy.id,
        name: policy.name,
        description: policy.description.unwrap_or_default(),
        revision: policy.revision,
    };
    show(&page)
}

impl Changes {
    /// None when the revision is not there, or none is before it.
    fn of(revision: i64, history: &[(i64, String, Value)]) -> Option<Self> {
        let position = history.iter().position(|(number, ..)| *number == revision)?;
        let (_, _, after) = &history[position];
        let (from, _, before) = history.get(position + 1)?;
        Some(Self {
            from: *from,
            to: revision,
            differences: difference::between(before, after),
        })
    }
}

/// The newest revisions, with when they were published and what they say.
async fn history(console: &crate::Console, id: &str) -> Result<Vec<(i64, String, Value)>, FleetError> {
    let request = query::SearchRequest::new(protocol::indices::POLICIES)
        .query(query::Query::term("policy_id", id))
        .size(MOST_REVISIONS)
        .sort_by("revision_idx", query::SortOrder::Descending);
    let found = match console.store.search(request).await {
        Ok(found) => found,
        Err(store::StoreError::IndexNotFound(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let revision = |hit: store::Hit| {
        let document = hit.document.source.to_value();
        let number = document["revision_idx"].as_i64().unwrap_or_default();
        let published = document["@timestamp"].as_str().unwrap_or_default().to_owned();
        (number, published, document["data"].clone())
    };
    Ok(found.hits.into_iter().map(revision).collect())
}

/// The settings of a policy, as sent.
pub(super) async fn update(
    reader: SignedIn,
    Path(id): Path<String>,
    submission: Submission,
) -> Result<Response, Problem> {
    let values = submission.values;
    let actor = reader.who_changes(values.one("csrf_token"))?;
    let stored = reader.console.require(&AGENT_POLICIES, &id).await?;
    let groups = settings::groups(&reader.console).await?;
    let mut notes = Notes {
        wrong: form::problems(&groups, &values),
        warnings: Vec::new(),
    };
    if notes.wrong.is_empty() {
        let fields = settings::fields(&groups, &values, &stored.fields);
        match agent_policies::update(&reader.console, &actor, &id, fields, UpdateOptions::default()).await {
            Ok(_) => {
                return Ok(Redirect::to(&format!("/app/fleet/policies/{id}?tab=settings&done=saved")).into_response());
            }
            Err(error) => notes.wrong.push(form::problem_of(error)?),
        }
    }
    let wanted = Wanted {
        tab: Tab::Settings,
        ..Wanted::default()
    };
    Ok(render(&reader, &id, &wanted, &values, &notes, None)
        .await?
        .into_response())
}

pub(super) async fn copy(
    reader: SignedIn,
    Path(id): Path<String>,
    submission: Submission,
) -> Result<Redirect, Problem> {
    let actor = reader.who_changes(submission.values.one("csrf_token"))?;
    let copy = agent_policies::copy(&reader.console, &actor, &id, submission.values.one("name"), None).await?;
    Ok(Redirect::to(&format!("/app/fleet/policies/{}?done=copied", copy.id)))
}

pub(super) async fn delete(
    reader: SignedIn,
    Path(id): Path<String>,
    submission: Submission,
) -> Result<Response, Problem> {
    let actor = reader.who_changes(submission.values.one("csrf_token"))?;
    if question::comes_first(&submission.values) {
        let policy = agent_policies::read(&reader.console, &id).await?;
        let path = format!("/app/fleet/policies/{}", url_part(&id));
        return Question {
            section: "Agent policies",
            title: format!("Delete {}?", policy.name),
            effect: "Its integrations and its enrollment tokens go with it. No agent may have it.".to_owned(),
            verb: "Delete policy".to_owned(),
            action: format!("{path}/delete"),
            back: format!("{path}?tab=settings"),
        }
        .ask(&reader);
    }
    agent_policies::delete(&reader.console, &actor, &id, false).await?;
    Ok(Redirect::to("/app/fleet/policies?done=deleted").into_response())
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
    fn of(integration: &policy::model::PackagePolicy, outputs: &[policy::model::Output]) -> Self {
        let output = integration.output_id.as_ref().map(|id| {
            let known = outputs.iter().find(|output| output.id == *id);
            known.map_or_else(|| id.clone(), |output| output.name.clone())
        });
        let active = integration
            .inputs
            .iter()
            .filter(|input| input.enabled)
            .map(|input| input.kind.clone());
        Self {
            id: integration.id.clone(),
            output,
            namespace: integration.namespace.clone(),
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
