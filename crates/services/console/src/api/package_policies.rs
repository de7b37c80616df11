//! Package policies, in both forms.

use std::sync::Arc;

use packages::Package;
use policy::model::PackagePolicy;
use policy::simplified;
use serde_json::{Value, json};

use super::call::{Call, Reply, item, page_of};
use super::error::ApiError;
use super::schema::{Field, Kind, MAP, TEXTS, field, flag, text};
use crate::Console;
use crate::domain::error::FleetError;
use crate::domain::page::Page;
use crate::domain::spaces::{self, Places};
use crate::domain::{agents, installed_packages, kuery, package_policies as domain, publish};

const FORMAT: Field = field("format", Kind::Choice(&["simplified", "legacy"]));
pub(super) const FORMAT_QUERY: &[Field] = &[FORMAT];
pub(super) const LIST_QUERY: &[Field] = &[
    field("page", Kind::Integer { min: 1, max: 10_000 }).default("1"),
    field("perPage", Kind::Integer { min: 0, max: 10_000 }).default("20"),
    text("sortField"),
    field("sortOrder", Kind::Choice(&["asc", "desc"])),
    text("kuery"),
    flag("withAgentCount"),
    flag("showUpgradeable"),
    FORMAT,
];
pub(super) const DELETE_QUERY: &[Field] = &[flag("force")];
pub(super) const BULK_GET: &[Field] = &[field("ids", TEXTS).required(), flag("ignoreMissing")];
pub(super) const BULK_DELETE: &[Field] = &[field("packagePolicyIds", TEXTS).required(), flag("force")];
pub(super) const UPGRADE: &[Field] = &[field("packagePolicyIds", TEXTS).required()];
pub(super) const UPGRADE_DRY_RUN: &[Field] = &[field("packagePolicyIds", TEXTS).required(), text("packageVersion")];

const PACKAGE: &[Field] = &[
    text("name").required(),
    text("version").required(),
    text("title"),
    field("experimental_data_stream_features", Kind::Any),
    flag("requires_root"),
    field("fips_compatible", Kind::Any),
];
const TARGET: &[Field] = &[
    text("dataset").required(),
    text("type").required(),
    field("elasticsearch", MAP),
];
const STREAM: Kind = Kind::Object(&[
    text("id"),
    flag("enabled").required(),
    flag("keep_enabled"),
    field("data_stream", Kind::Object(TARGET)).required(),
    text("release"),
    field("vars", MAP).nullable(),
    field("config", MAP).nullable(),
    text("condition"),
    text("migrate_from"),
    field("var_group_selections", Kind::Any),
    field("compiled_stream", Kind::Any),
]);
const INPUT: Kind = Kind::Object(&[
    text("id"),
    text("name"),
    text("type").required(),
    text("policy_template"),
    flag("enabled").required(),
    flag("keep_enabled"),
    field("vars", MAP).nullable(),
    field("config", MAP).nullable(),
    text("condition"),
    field(
        "streams",
        Kind::List {
            of: &STREAM,
            min: 0,
            max: 1000,
        },
    ),
    text("migrate_from"),
    flag("deprecated"),
    field("var_group_selections", Kind::Any),
    field("compiled_input", Kind::Any),
]);
const SIMPLE_STREAM: Kind = Kind::Object(&[
    flag("enabled"),
    field("vars", MAP).nullable(),
    text("condition"),
    field("var_group_selections", Kind::Any),
]);
const SIMPLE_INPUT: Kind = Kind::Object(&[
    flag("enabled"),
    field("vars", MAP).nullable(),
    field("streams", Kind::Map(&SIMPLE_STREAM)),
    text("condition"),
    field("var_group_selections", Kind::Any),
]);
const INPUTS: Kind = Kind::Either(&[
    Kind::List {
        of: &INPUT,
        min: 0,
        max: 1000,
    },
    Kind::Map(&SIMPLE_INPUT),
]);

macro_rules! body {
    ($name:expr, $package:expr) => {
        &[
            text("id"),
            $name,
            text("description").nullable(),
            text("namespace"),
            text("policy_id").nullable(),
            field("policy_ids", TEXTS),
            text("output_id").nullable(),
            text("cloud_connector_id").nullable(),
            flag("enabled"),
            flag("is_managed"),
            $package,
            field("inputs", INPUTS),
            field("vars", MAP).nullable(),
            flag("force"),
            field("overrides", MAP).nullable(),
            flag("supports_agentless").nullable(),
            flag("supports_cloud_connector").nullable(),
            field("additional_datastreams_permissions", TEXTS).nullable(),
            field("secret_references", Kind::Any),
            field("elasticsearch", Kind::Any),
            field("spaceIds", TEXTS),
            text("version"),
            field("global_data_tags", Kind::Any),
            field("var_group_selections", Kind::Any),
        ]
    };
}

pub(super) const BODY: &[Field] = body!(
    field("name", Kind::NonEmptyText).required(),
    field("package", Kind::Object(PACKAGE)).required()
);
pub(super) const UPDATE_BODY: &[Field] = body!(
    field("name", Kind::NonEmptyText),
    field("package", Kind::Object(PACKAGE))
);

/// Which form an answer has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    Legacy,
    Simplified,
}

impl Format {
    pub(super) fn of(call: &Call) -> Self {
        if call.text("format") == Some("simplified") {
            Self::Simplified
        } else {
            Self::Legacy
        }
    }
}

/// A package policy as the API shows it.
pub(super) fn answer(packages: &[Arc<Package>], policy: &PackagePolicy, format: Format, spaces: &[&str]) -> Value {
    let mut answer = serde_json::to_value(policy).expect("our own types can always be written");
    answer["policy_id"] = policy.policy_ids.first().map_or(Value::Null, |id| id.as_str().into());
    answer["spaceIds"] = json!(spaces);
    if format == Format::Simplified {
        let package = policy
            .package
            .as_ref()
            .and_then(|reference| packages.iter().find(|package| package.name == reference.name));
        answer["inputs"] = simplified::write_inputs(package.map(Arc::as_ref), &policy.inputs);
        if let Some(vars) = &policy.vars {
            answer["vars"] = simplified::write_vars(vars);
        }
    }
    answer
}

async fn shown(console: &Console, policy: &PackagePolicy, call: &Call) -> Result<Value, ApiError> {
    let places = Places::now(console).await?;
    let packages = installed_packages::available(console).await?;
    let spaces = places.of(&policy.policy_ids);
    Ok(answer(&packages, policy, Format::of(call), &spaces))
}

/// The package policy, when it is in the space of the request.
async fn visible(console: &Console, call: &Call, id: &str) -> Result<PackagePolicy, FleetError> {
    let policy = domain::read(console, id).await?;
    let places = Places::now(console).await?;
    if spaces::is_in(&places.of(&policy.policy_ids), &call.space) {
        return Ok(policy);
    }
    Err(FleetError::NotFound(format!("Package policy {id} not found")))
}

/// Whether a newer version of its package is there.
fn is_upgradeable(packages: &[Arc<Package>], policy: &PackagePolicy) -> bool {
    let Some(used) = &policy.package else { return false };
    let present = semver::Version::parse(&used.version).ok();
    let newest = packages.iter().filter(|package| package.name == used.name);
    newest
        .filter_map(|package| semver::Version::parse(&package.version).ok())
        .any(|newest| present.as_ref().is_some_and(|present| newest > *present))
}

pub(super) async fn list(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let query = kuery::parse(call.text("kuery"))?;
    let packages = installed_packages::available(&console).await?;
    let places = Places::now(&console).await?;
    let mut policies: Vec<(Arc<PackagePolicy>, Value)> = Vec::new();
    for policy in domain::all(&console).await? {
        let spaces = places.of(&policy.policy_ids);
        if !spaces::is_in(&spaces, &call.space) || call.flag("showUpgradeable") && !is_upgradeable(&packages, &policy) {
            continue;
        }
        let value = answer(&packages, &policy, Format::Legacy, &spaces);
        if kuery::matches(&query, &policy.id, &value) {
            policies.push((policy, value));
        }
    }
    let field = call.text("sortField").unwrap_or("updated_at").to_owned();
    policies.sort_by(|(_, one), (_, other)| query::compare_values(&one[&field], &other[&field]));
    if call.text("sortOrder").unwrap_or("desc") == "desc" {
        policies.reverse();
    }
    let page = call.page().of(policies);
    let tallies = agents::tallies(&console).await?;
    let mut items = Vec::new();
    for (policy, _) in &page.items {
        let mut item = answer(&packages, policy, Format::of(&call), &places.of(&policy.policy_ids));
        if call.flag("withAgentCount") {
            let agents = policy.policy_ids.iter().filter_map(|id| tallies.get(id));
            item["agents"] = agents.map(|tally| tally.active).sum::<u64>().into();
        }
        items.push(item);
    }
    Ok(Reply::Json(page_of(Page {
        items,
        total: page.total,
        request: page.request,
    })))
}

pub(super) async fn bulk_get(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let mut items = Vec::new();
    for id in call.body_texts("ids") {
        match visible(&console, &call, &id).await {
            Ok(policy) => items.push(shown(&console, &policy, &call).await?),
            Err(FleetError::NotFound(_)) if call.body_flag("ignoreMissing") => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Reply::Json(json!({"items": items})))
}

pub(super) async fn read(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let policy = visible(&console, &call, call.id("packagePolicyId")).await?;
    item(shown(&console, &policy, &call).await?)
}

/// The agent policies that a body names must be in the space of the request.
async fn check_reach(console: &Console, call: &Call) -> Result<(), FleetError> {
    let elsewhere = spaces::policies_outside(console, &call.space).await?;
    let single = call.body_text("policy_id").map(str::to_owned);
    let mut named = call.body_texts("policy_ids").into_iter().chain(single);
    match named.find(|id| elsewhere.contains(id)) {
        Some(id) => Err(FleetError::NotFound(format!("Agent policy {id} not found"))),
        None => Ok(()),
    }
}

pub(super) async fn create(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    check_reach(&console, &call).await?;
    let policy = domain::create(&console, &call.actor(), call.body.clone()).await?;
    item(shown(&console, &policy, &call).await?)
}

pub(super) async fn update(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    visible(&console, &call, call.id("packagePolicyId")).await?;
    check_reach(&console, &call).await?;
    let policy = domain::update(&console, &call.actor(), call.id("packagePolicyId"), call.body.clone()).await?;
    item(shown(&console, &policy, &call).await?)
}

pub(super) async fn delete(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    visible(&console, &call, call.id("packagePolicyId")).await?;
    let policy = domain::delete(&console, &call.actor(), call.id("packagePolicyId"), call.flag("force")).await?;
    Ok(Reply::Json(json!({"id": policy.id})))
}

pub(super) async fn bulk_delete(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let mut results = Vec::new();
    for id in call.body_texts("packagePolicyIds") {
        let deleted = match visible(&console, &call, &id).await {
            Ok(_) => domain::delete(&console, &call.actor(), &id, call.body_flag("force")).await,
            Err(error) => Err(error),
        };
        results.push(match deleted {
            Ok(policy) => json!({
                "id": id, "success": true, "name": policy.name, "policy_ids": policy.policy_ids, "policy_id": policy.policy_ids.first(),
                "package": policy.package, "output_id": policy.output_id,
            }),
            Err(error) => failure(json!({"id": id, "success": false}), &error),
        });
    }
    Ok(Reply::Json(Value::Array(results)))
}

pub(super) async fn upgrade(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let mut results = Vec::new();
    for id in call.body_texts("packagePolicyIds") {
        let upgraded = match visible(&console, &call, &id).await {
            Ok(_) => domain::upgrade(&console, &call.actor(), &id).await,
            Err(error) => Err(error),
        };
        results.push(match upgraded {
            Ok(policy) => json!({"id": id, "name": policy.name, "success": true}),
            Err(error) => failure(json!({"id": id, "name": null, "success": false}), &error),
        });
    }
    Ok(Reply::Json(Value::Array(results)))
}

pub(super) async fn upgrade_dry_run(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let packages = installed_packages::available(&console).await?;
    let places = Places::now(&console).await?;
    let mut results = Vec::new();
    for id in call.body_texts("packagePolicyIds") {
        let present = visible(&console, &call, &id).await;
        let upgraded = domain::upgraded(&console, &id, call.body_text("packageVersion")).await;
        results.push(match (present, upgraded) {
            (Ok(present), Ok(upgraded)) => {
                let spaces = places.of(&present.policy_ids);
                let shown = |policy: &PackagePolicy| answer(&packages, policy, Format::Legacy, &spaces);
                let inputs = publish::inputs_of(&console, &upgraded).await?;
                json!({"name": present.name, "hasErrors": false, "diff": [shown(&present), shown(&upgraded)], "agent_diff": [inputs]})
            }
            (Err(error), _) | (_, Err(error)) => failure(json!({"hasErrors": true}), &error),
        });
    }
    Ok(Reply::Json(Value::Array(results)))
}

fn failure(mut result: Value, error: &FleetError) -> Value {
    let status = match error {
        FleetError::NotFound(_) => 404,
        FleetError::Conflict(_) => 409,
        FleetError::Forbidden(_) => 403,
        _ => 400,
    };
    result["statusCode"] = status.into();
    result["body"] = json!({"message": error.to_string()});
    result
}
