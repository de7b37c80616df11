//! Agent policies.

use std::collections::HashMap;
use std::sync::Arc;

use policy::Form;
use policy::model::{AgentPolicy, PackagePolicy};
use serde_json::{Value, json};

use super::call::{Call, Reply, answer_of, item, page_of};
use super::error::ApiError;
use super::package_policies::{self as package_policy_answers, Format};
use super::schema::{ANY_INTEGER, Field, ID, Kind, MAP, NAMESPACE, NATURAL, TEXTS, field, flag, text};
use crate::Console;
use crate::domain::agent_policies::{self as domain, CreateOptions, UpdateOptions};
use crate::domain::agents::{self, Tally};
use crate::domain::documents::AGENT_POLICIES;
use crate::domain::error::FleetError;
use crate::domain::page::Page;
use crate::domain::spaces::{self, Places};
use crate::domain::{installed_packages, kuery, package_policies, publish};

const FORMAT: Field = field("format", Kind::Choice(&["simplified", "legacy"]));
pub(super) const FORMAT_QUERY: &[Field] = &[FORMAT];
pub(super) const CREATE_QUERY: &[Field] = &[flag("sys_monitoring"), FORMAT];
pub(super) const LIST_QUERY: &[Field] = &[
    field("page", Kind::Integer { min: 1, max: 10_000 }).default("1"),
    field("perPage", Kind::Integer { min: 0, max: 10_000 }).default("20"),
    text("sortField"),
    field("sortOrder", Kind::Choice(&["asc", "desc"])),
    text("kuery"),
    flag("full"),
    flag("noAgentCount"),
    flag("withAgentCount"),
    flag("showUpgradeable"),
    FORMAT,
];
pub(super) const FULL_QUERY: &[Field] = &[flag("standalone"), flag("kubernetes"), flag("download")];
pub(super) const IDS: &[Field] = &[field("ids", TEXTS).required()];
pub(super) const BULK_GET: &[Field] = &[field("ids", TEXTS).required(), flag("full"), flag("ignoreMissing")];
pub(super) const DELETE: &[Field] = &[text("agentPolicyId").required(), flag("force")];
pub(super) const COPY: &[Field] = &[field("name", Kind::NonEmptyText).required(), text("description")];

const FEATURE: Kind = Kind::Object(&[text("name").required(), flag("enabled").required()]);
const TAG: Kind = Kind::Object(&[
    text("name").required(),
    field("value", Kind::Either(&[Kind::Text, Kind::Number])).required(),
]);
const HTTP_BUFFER: &[Field] = &[flag("enabled").default("false")];
const MONITORING_HTTP: &[Field] = &[
    flag("enabled").default("false"),
    text("host").default("\"localhost\""),
    field("port", Kind::Integer { min: 0, max: 65_353 }).default("6791"),
    field("buffer", Kind::Object(HTTP_BUFFER)),
];
const LIMIT: &[Field] = &[text("interval"), field("burst", ANY_INTEGER)];
const UPLOADER: &[Field] = &[field("max_retries", ANY_INTEGER), text("init_dur"), text("max_dur")];
const DIAGNOSTICS: &[Field] = &[
    field("limit", Kind::Object(LIMIT)),
    field("uploader", Kind::Object(UPLOADER)),
];
const REQUIRED_VERSION: Kind =
    Kind::Object(&[text("version").required(), field("percentage", Kind::Number).required()]);
const ADVANCED: &[Field] = &[
    field("agent_limits_go_max_procs", NATURAL).nullable(),
    text("agent_download_timeout").nullable(),
    text("agent_download_target_directory").nullable(),
    text("agent_logging_metrics_period").nullable(),
    text("agent_logging_level").nullable(),
    flag("agent_logging_to_files").nullable(),
    field("agent_logging_files_rotateeverybytes", NATURAL).nullable(),
    field("agent_logging_files_keepfiles", NATURAL).nullable(),
    text("agent_logging_files_interval").nullable(),
    field("agent_monitoring_runtime_experimental", Kind::Any).nullable(),
    field("agent_internal", Kind::Any).nullable(),
];

macro_rules! body {
    ($($extra:expr),* $(,)?) => {
        &[
            field("name", Kind::NonEmptyText).required(),
            field("namespace", NAMESPACE).required(),
            text("description").nullable(),
            flag("is_managed"),
            flag("is_default"),
            flag("is_default_fleet_server"),
            flag("has_fleet_server"),
            flag("is_protected"),
            field("monitoring_enabled", Kind::List { of: &Kind::Choice(&["logs", "metrics", "traces"]), min: 0, max: 3 }),
            flag("keep_monitoring_alive").nullable(),
            field("unenroll_timeout", NATURAL),
            text("data_output_id").nullable(),
            text("monitoring_output_id").nullable(),
            text("fleet_server_host_id").nullable(),
            text("download_source_id").nullable(),
            field("agent_features", Kind::List { of: &FEATURE, min: 0, max: 100 }),
            field("overrides", MAP).nullable(),
            field("advanced_settings", Kind::Object(ADVANCED)).nullable(),
            field("global_data_tags", Kind::List { of: &TAG, min: 0, max: 1000 }),
            flag("monitoring_pprof_enabled"),
            field("monitoring_http", Kind::Object(MONITORING_HTTP)),
            field("monitoring_diagnostics", Kind::Object(DIAGNOSTICS)),
            field("required_versions", Kind::List { of: &REQUIRED_VERSION, min: 0, max: 100 }).nullable(),
            flag("supports_agentless").nullable(),
            field("agentless", MAP),
            field("space_ids", TEXTS),
            flag("force"),
            $($extra),*
        ]
    };
}

pub(super) const BODY: &[Field] = body![ID, field("inactivity_timeout", NATURAL).default("1209600")];
pub(super) const WITH_INTEGRATIONS: &[Field] = body![
    ID,
    field("inactivity_timeout", NATURAL).default("1209600"),
    field(
        "package_policies",
        Kind::List {
            of: &Kind::Object(package_policy_answers::BODY),
            min: 0,
            max: 1000
        }
    ),
];
pub(super) const UPDATE_BODY: &[Field] = body![text("id"), field("inactivity_timeout", NATURAL), flag("bumpRevision")];

/// What an answer shows beside the policy.
#[derive(Clone, Copy)]
struct Show {
    package_policies: bool,
    agents: bool,
    format: Format,
}

impl Show {
    fn everything(call: &Call) -> Self {
        Self {
            package_policies: true,
            agents: true,
            format: Format::of(call),
        }
    }
}

async fn shown(console: &Console, policy: AgentPolicy, show: Show) -> Result<Value, ApiError> {
    let tallies = if show.agents {
        agents::tallies(console).await?
    } else {
        HashMap::new()
    };
    shown_with(console, policy, show, &tallies).await
}

async fn shown_with(
    console: &Console,
    policy: AgentPolicy,
    show: Show,
    tallies: &HashMap<String, Tally>,
) -> Result<Value, ApiError> {
    let id = policy.id.clone();
    let mut answer = answer_of(policy);
    if show.package_policies {
        let integrations = domain::package_policies_of(console, &id).await?;
        let packages = installed_packages::available(console).await?;
        let places = Places::now(console).await?;
        let one = |integration: &PackagePolicy| {
            let spaces = places.of(&integration.policy_ids);
            package_policy_answers::answer(&packages, integration, show.format, &spaces)
        };
        answer["package_policies"] = integrations.iter().map(one).collect();
    }
    if show.agents {
        let tally = tallies.get(&id).copied().unwrap_or_default();
        answer["agents"] = tally.active.into();
        answer["unprivileged_agents"] = tally.unprivileged.into();
    }
    Ok(answer)
}

pub(super) async fn list(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let counts = call.flag("withAgentCount") && !call.flag("noAgentCount");
    let page = call.page();
    if page.per_page > 100 && (call.flag("full") || counts) {
        return Err(ApiError::BadRequest(
            "perPage should be less or equal to 100 when fetching full policies or agent counts".to_owned(),
        ));
    }
    let query = kuery::parse(call.text("kuery"))?;
    let mut policies: Vec<(AgentPolicy, Value)> = domain::list(&console)
        .await?
        .into_iter()
        .map(|policy| {
            let value = serde_json::to_value(&policy).unwrap_or_default();
            (policy, value)
        })
        .filter(|(policy, _)| spaces::is_in(&spaces::of(policy), &call.space))
        .filter(|(policy, value)| kuery::matches(&query, &policy.id, value))
        .collect();
    let field = call.text("sortField").unwrap_or("updated_at").to_owned();
    policies.sort_by(|(_, one), (_, other)| query::compare_values(&one[&field], &other[&field]));
    if call.text("sortOrder").unwrap_or("desc") == "desc" {
        policies.reverse();
    }
    let page = page.of(policies.into_iter().map(|(policy, _)| policy).collect());
    let show = Show {
        package_policies: call.flag("full"),
        agents: counts,
        format: Format::of(&call),
    };
    let tallies = if show.agents {
        agents::tallies(&console).await?
    } else {
        HashMap::new()
    };
    let mut items = Vec::new();
    for policy in page.items {
        items.push(shown_with(&console, policy, show, &tallies).await?);
    }
    Ok(Reply::Json(page_of(Page {
        items,
        total: page.total,
        request: page.request,
    })))
}

pub(super) async fn bulk_get(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let show = Show {
        package_policies: call.body_flag("full"),
        agents: true,
        format: Format::of(&call),
    };
    let mut items = Vec::new();
    for id in call.body_texts("ids") {
        match visible(&console, &call, &id).await {
            Ok(policy) => items.push(shown(&console, policy, show).await?),
            Err(ApiError::Fleet(FleetError::NotFound(_))) if call.body_flag("ignoreMissing") => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Reply::Json(json!({"items": items})))
}

pub(super) async fn read(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let policy = visible(&console, &call, call.id("agentPolicyId")).await?;
    item(shown(&console, policy, Show::everything(&call)).await?)
}

pub(super) async fn create(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let options = CreateOptions {
        system_monitoring: call.flag("sys_monitoring"),
    };
    let wants_fleet_server = call.body_flag("has_fleet_server");
    let policy = domain::create(&console, &call.actor(), call.body.clone(), options).await?;
    if wants_fleet_server {
        let added = package_policies::create_default(&console, &call.actor(), "fleet_server", &policy.id).await;
        if let Err(error) = added {
            domain::delete(&console, &call.actor(), &policy.id, true).await?;
            return Err(error.into());
        }
    }
    let policy = domain::read(&console, &policy.id).await?;
    item(
        shown(
            &console,
            policy,
            Show {
                package_policies: false,
                agents: true,
                format: Format::of(&call),
            },
        )
        .await?,
    )
}

/// A policy with its first integrations, in one go.
pub(super) async fn create_with_integrations(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let mut body = call.body.clone();
    let integrations = body.remove("package_policies");
    let options = CreateOptions {
        system_monitoring: call.flag("sys_monitoring"),
    };
    let policy = domain::create(&console, &call.actor(), body, options).await?;
    let each = integrations.as_ref().and_then(Value::as_array).into_iter().flatten();
    for integration in each.filter_map(Value::as_object) {
        let mut fields = integration.clone();
        fields.insert("policy_ids".into(), json!([policy.id]));
        fields.remove("policy_id");
        if let Err(error) = package_policies::create(&console, &call.actor(), fields).await {
            // All or nothing: what the caller asked for is one thing.
            domain::delete(&console, &call.actor(), &policy.id, true).await?;
            return Err(error.into());
        }
    }
    let policy = domain::read(&console, &policy.id).await?;
    item(shown(&console, policy, Show::everything(&call)).await?)
}

pub(super) async fn update(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let mut body = call.body.clone();
    body.remove("id");
    let id = call.id("agentPolicyId");
    visible(&console, &call, id).await?;
    let how = UpdateOptions {
        force: call.body_flag("force"),
        bump_revision: call.body_flag("bumpRevision"),
    };
    let policy = domain::update(&console, &call.actor(), id, body, how).await?;
    item(shown(&console, policy, Show::everything(&call)).await?)
}

pub(super) async fn copy(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let name = call.body_text("name").unwrap_or_default();
    visible(&console, &call, call.id("agentPolicyId")).await?;
    let policy = domain::copy(
        &console,
        &call.actor(),
        call.id("agentPolicyId"),
        name,
        call.body_text("description"),
    )
    .await?;
    item(shown(&console, policy, Show::everything(&call)).await?)
}

pub(super) async fn delete(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let id = call.body_text("agentPolicyId").unwrap_or_default();
    visible(&console, &call, id).await?;
    let policy = domain::delete(&console, &call.actor(), id, call.body_flag("force")).await?;
    Ok(Reply::Json(json!({"id": policy.id, "name": policy.name})))
}

fn form(call: &Call) -> Form {
    if call.flag("standalone") || call.flag("kubernetes") {
        Form::Standalone
    } else {
        Form::Fleet
    }
}

pub(super) async fn full(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    visible(&console, &call, call.id("agentPolicyId")).await?;
    let full = publish::full_policy(&console, call.id("agentPolicyId"), form(&call)).await?;
    if call.flag("kubernetes") {
        return Ok(Reply::Json(
            json!({"item": ::settings::to_yaml(&Value::Object(full.0))}),
        ));
    }
    Ok(Reply::Json(json!({"item": full.0})))
}

pub(super) async fn download(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    visible(&console, &call, call.id("agentPolicyId")).await?;
    let full = publish::full_policy(&console, call.id("agentPolicyId"), form(&call)).await?;
    Ok(Reply::File {
        content_type: "text/x-yaml; charset=utf-8",
        file_name: Some("elastic-agent.yml".to_owned()),
        content: ::settings::to_yaml(&Value::Object(full.0)).into_bytes(),
    })
}

pub(super) async fn outputs(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    visible(&console, &call, call.id("agentPolicyId")).await?;
    item(domain::outputs_of(&console, call.id("agentPolicyId")).await?)
}

pub(super) async fn outputs_of_many(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let mut items = Vec::new();
    for id in call.body_texts("ids") {
        visible(&console, &call, &id).await?;
        items.push(domain::outputs_of(&console, &id).await?);
    }
    Ok(Reply::Json(json!({"items": items})))
}

pub(super) async fn versions(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let id = call.id("agentPolicyId");
    visible(&console, &call, id).await?;
    let versions = agents::upgrades_of(&console, id).await?;
    let total: u64 = versions.iter().map(|version| version.agents).sum();
    let current: Vec<Value> = versions
        .into_iter()
        .map(|version| {
            json!({
                "version": version.version, "agents": version.agents, "failedUpgradeAgents": version.failed,
                "failedAgents": version.failed, "inProgressUpgradeAgents": version.in_progress,
            })
        })
        .collect();
    Ok(Reply::Json(json!({"currentVersions": current, "totalAgents": total})))
}

/// The policy, when it is in the space of the request.
async fn visible(console: &Console, call: &Call, id: &str) -> Result<AgentPolicy, ApiError> {
    let policy = domain::read(console, id).await?;
    if spaces::is_in(&spaces::of(&policy), &call.space) {
        return Ok(policy);
    }
    Err(FleetError::no_saved_object(AGENT_POLICIES.saved_object, id).into())
}
