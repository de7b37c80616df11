//! Agent policies: what a group of agents does.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use policy::model::{AgentPolicy, PackagePolicy};
use serde_json::{Value, json};

use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::changes::{self, Changes};
use crate::domain::documents::{AGENT_POLICIES, Fields, HOSTS, OUTPUTS, PACKAGE_POLICIES, Stored, flag, text};
use crate::domain::error::FleetError;
use crate::domain::objects::{new_id, now_fields, remove_nulls, remove_unset};
use crate::domain::{agents, enrollment_keys, outputs, package_policies, secrets, spaces, uninstall_tokens};

/// Seconds after which a silent agent is inactive, unless a policy says otherwise: two weeks.
pub const INACTIVITY_TIMEOUT: i64 = 1_209_600;

const REFERENCES: [&str; 4] = [
    "data_output_id",
    "monitoring_output_id",
    "fleet_server_host_id",
    "download_source_id",
];
/// Only asked for in requests, never kept.
const INSTRUCTIONS: [&str; 2] = ["force", "bumpRevision"];

/// All policies, oldest first, without copying them.
pub async fn all(console: &Console) -> Result<Vec<Arc<AgentPolicy>>, FleetError> {
    console.all_shared(&AGENT_POLICIES).await
}

/// All policies, oldest first.
pub async fn list(console: &Console) -> Result<Vec<AgentPolicy>, FleetError> {
    console.all_as(&AGENT_POLICIES).await
}

/// One policy.
pub async fn read(console: &Console, id: &str) -> Result<AgentPolicy, FleetError> {
    console.require(&AGENT_POLICIES, id).await?.parse(&AGENT_POLICIES)
}

/// The integrations of a policy, oldest first.
pub async fn package_policies_of(console: &Console, id: &str) -> Result<Vec<PackagePolicy>, FleetError> {
    let mut all: Vec<Arc<PackagePolicy>> = console.all_shared(&PACKAGE_POLICIES).await?;
    all.retain(|integration| integration.policy_ids.iter().any(|policy| policy == id));
    Ok(all.into_iter().map(Arc::unwrap_or_clone).collect())
}

/// How many agents have the policy; unenrolled ones do not count.
pub async fn agent_count(console: &Console, id: &str) -> Result<u64, FleetError> {
    let tallies = agents::tallies(console).await?;
    Ok(tallies.get(id).map_or(0, |tally| tally.active))
}

/// How many integrations each policy has.
pub async fn integration_counts(console: &Console) -> Result<HashMap<String, usize>, FleetError> {
    let mut counts = HashMap::new();
    for integration in console.all(&PACKAGE_POLICIES).await? {
        let policies = integration.fields.get("policy_ids").and_then(Value::as_array);
        for policy in policies.into_iter().flatten().filter_map(Value::as_str) {
            *counts.entry(policy.to_owned()).or_default() += 1;
        }
    }
    Ok(counts)
}

/// How to make a policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct CreateOptions {
    /// Collects logs and metrics of the host: adds the System integration.
    pub system_monitoring: bool,
}

/// Makes a policy, its first enrollment token and its uninstall token, and publishes it.
///
/// # Errors
/// A name or id that is taken, a namespace or reference that is not valid.
pub async fn create(
    console: &Console,
    actor: &Actor,
    mut fields: Fields,
    options: CreateOptions,
) -> Result<AgentPolicy, FleetError> {
    let id = write_new(console, actor, &mut fields, Publish::Now).await?;
    make_token(console, actor, &id).await?;
    if options.system_monitoring {
        package_policies::create_default(console, actor, "system", &id).await?;
    }
    read(console, &id).await
}

/// When a new policy is published.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Publish {
    Now,
    /// With its first integrations, so that they are part of its first revision.
    Later,
}

async fn write_new(
    console: &Console,
    actor: &Actor,
    fields: &mut Fields,
    publish: Publish,
) -> Result<String, FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let id = new_id(console, &AGENT_POLICIES, fields).await?;
    normalise(fields);
    spaces::settle(fields, &actor.space);
    check(console, fields, &id).await?;
    fields.insert("revision".into(), 0.into());
    fields.insert("status".into(), "active".into());
    fields.insert("schema_version".into(), "1.1.1".into());
    fields.entry("is_managed").or_insert(false.into());
    fields.entry("is_protected").or_insert(false.into());
    fields.entry("inactivity_timeout").or_insert(INACTIVITY_TIMEOUT.into());
    now_fields(console, actor, fields, true);
    let mut changes = Changes::default();
    changes.create(&AGENT_POLICIES, &id, std::mem::take(fields));
    uninstall_tokens::add(console, &id, &mut changes).await?;
    if publish == Publish::Now {
        changes.touch(&id);
    }
    changes::apply(console, actor, changes).await?;
    Ok(id)
}

async fn make_token(console: &Console, actor: &Actor, id: &str) -> Result<(), FleetError> {
    enrollment_keys::create(console, actor, enrollment_keys::NewKey::of_policy(id))
        .await
        .map(drop)
}

/// How to change a policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct UpdateOptions {
    /// A hosted one as well.
    pub force: bool,
    /// A new revision, even when agents would see no difference.
    pub bump_revision: bool,
}

/// Changes a policy: what is absent stays, null removes.
///
/// # Errors
/// As [`create`]; a hosted policy without `force`.
pub async fn update(
    console: &Console,
    actor: &Actor,
    id: &str,
    given: Fields,
    how: UpdateOptions,
) -> Result<AgentPolicy, FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let present = console.require(&AGENT_POLICIES, id).await?;
    refuse_hosted(&present, how.force, "Cannot update hosted agent policy")?;
    let mut fields = present.fields.clone();
    fields.extend(given);
    normalise(&mut fields);
    check(console, &fields, id).await?;
    now_fields(console, actor, &mut fields, false);
    let mut changes = Changes::default();
    changes.replace(&AGENT_POLICIES, &present, fields);
    changes.touch(id);
    if how.bump_revision {
        changes.bump();
    }
    changes::apply(console, actor, changes).await?;
    read(console, id).await
}

/// Copies a policy with its integrations; the copy starts at revision 1.
///
/// # Errors
/// A name that is taken.
pub async fn copy(
    console: &Console,
    actor: &Actor,
    id: &str,
    name: &str,
    description: Option<&str>,
) -> Result<AgentPolicy, FleetError> {
    let source = console.require(&AGENT_POLICIES, id).await?;
    let integrations = package_policies_of(console, id).await?;
    let mut fields = source.fields;
    for key in [
        "id",
        "revision",
        "created_at",
        "updated_at",
        "updated_by",
        "is_default",
        "is_default_fleet_server",
        "is_preconfigured",
        "is_managed",
    ] {
        fields.remove(key);
    }
    fields.insert("name".into(), name.into());
    if let Some(description) = description {
        fields.insert("description".into(), description.into());
    }
    let publish = if integrations.is_empty() {
        Publish::Now
    } else {
        Publish::Later
    };
    let copy = write_new(console, actor, &mut fields, publish).await?;
    make_token(console, actor, &copy).await?;
    package_policies::copy_to(console, actor, &integrations, &copy).await?;
    read(console, &copy).await
}

/// Removes a policy, its integrations and its tokens.
///
/// # Errors
/// Agents that still have it; a hosted policy without `force`.
pub async fn delete(console: &Console, actor: &Actor, id: &str, force: bool) -> Result<AgentPolicy, FleetError> {
    let present = console.require(&AGENT_POLICIES, id).await?;
    refuse_hosted(&present, force, "Cannot delete hosted agent policy")?;
    if agent_count(console, id).await? > 0 {
        return Err(FleetError::invalid(
            "Cannot delete an agent policy that is assigned to any active or inactive agents",
        ));
    }
    for key in enrollment_keys::of_policy(console, id).await? {
        enrollment_keys::revoke(console, actor, &key.id, true).await?;
    }
    let _one_at_a_time = console.changes.lock().await;
    let mut changes = Changes::default();
    let mut stale = Vec::new();
    for integration in console.all(&PACKAGE_POLICIES).await? {
        let policies = integration
            .fields
            .get("policy_ids")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        if !policies.iter().any(|policy| policy == id) {
            continue;
        }
        let rest: Vec<Value> = policies.into_iter().filter(|policy| policy != id).collect();
        if rest.is_empty() {
            let references = integration.fields.get("secret_references").and_then(Value::as_array);
            stale.extend(
                references
                    .into_iter()
                    .flatten()
                    .flat_map(|one| secrets::ids_in(Some(one))),
            );
            changes.delete(&PACKAGE_POLICIES, &integration);
        } else {
            let mut fields = integration.fields.clone();
            fields.insert("policy_ids".into(), rest.into());
            changes.replace(&PACKAGE_POLICIES, &integration, fields);
        }
    }
    uninstall_tokens::remove(console, id, &mut changes).await?;
    changes.delete(&AGENT_POLICIES, &present);
    changes::apply(console, actor, changes).await?;
    crate::domain::publish::withdraw(console, id).await?;
    secrets::forget(console, stale).await?;
    present.parse(&AGENT_POLICIES)
}

/// The policies whose reference `field` is `id`; with `is_default` those without the reference as well.
pub async fn users_of(
    console: &Console,
    field: &str,
    id: Option<&str>,
    is_default: bool,
) -> Result<Vec<String>, FleetError> {
    let uses = |policy: &&Arc<Stored>| match text(&policy.fields, field) {
        Some(named) => Some(named) == id,
        None => is_default,
    };
    let all = console.all(&AGENT_POLICIES).await?;
    Ok(all.iter().filter(uses).map(|policy| policy.id.clone()).collect())
}

/// The policies that have an integration of that package.
pub async fn with_package(console: &Console, package: &str) -> Result<BTreeSet<String>, FleetError> {
    let all: Vec<Arc<PackagePolicy>> = console.all_shared(&PACKAGE_POLICIES).await?;
    let is_of_package = |integration: &&Arc<PackagePolicy>| {
        let reference = integration.package.as_ref();
        reference.is_some_and(|reference| reference.name == package)
    };
    let of_package = all.iter().filter(is_of_package);
    Ok(of_package
        .flat_map(|integration| integration.policy_ids.clone())
        .collect())
}

pub(crate) fn refuse_hosted(policy: &Stored, force: bool, what: &str) -> Result<(), FleetError> {
    if flag(&policy.fields, "is_managed") && !force {
        return Err(FleetError::invalid(format!(
            "{what} {} in Fleet because the agent policy is managed",
            policy.id
        )));
    }
    Ok(())
}

fn normalise(fields: &mut Fields) {
    for key in INSTRUCTIONS {
        fields.remove(key);
    }
    remove_unset(fields, &REFERENCES);
    remove_nulls(fields);
}

async fn check(console: &Console, fields: &Fields, id: &str) -> Result<(), FleetError> {
    let name = text(fields, "name").unwrap_or_default();
    if name.trim().is_empty() {
        return Err(FleetError::invalid(
            "[request body.name]: Agent policy name cannot be an empty string",
        ));
    }
    let spaces = spaces::of_fields(fields);
    for other in console.all(&AGENT_POLICIES).await? {
        if other.id != id && spaces::is_taken(&other.fields, name, &spaces) {
            return Err(FleetError::Conflict(format!(
                "Agent policy '{name}' already exists with id '{}'",
                other.id
            )));
        }
    }
    check_namespace(text(fields, "namespace").unwrap_or_default())?;
    check_tags(fields)?;
    check_required_versions(fields)?;
    let overrides = fields.get("overrides").and_then(Value::as_object);
    if overrides.is_some_and(|overrides| overrides.keys().any(|key| key.starts_with("inputs"))) {
        return Err(FleetError::invalid(
            "[request body.overrides]: inputs overrides is not allowed",
        ));
    }
    check_references(console, fields, id).await
}

/// Lower case, at most 100 bytes, and nothing that an index name cannot have.
///
/// # Errors
/// Which rule it breaks.
pub(crate) fn check_namespace(namespace: &str) -> Result<(), FleetError> {
    let refuse = |why: &str| {
        Err(FleetError::invalid(format!(
            "[request body.namespace]: Namespace {why}"
        )))
    };
    if namespace.is_empty() {
        return refuse("cannot be empty");
    }
    if namespace.chars().any(char::is_uppercase) {
        return refuse("must be lowercase");
    }
    if namespace.len() > 100 {
        return refuse("cannot be more than 100 bytes");
    }
    if namespace.contains(['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',', '#', ':', '-']) {
        return refuse("contains invalid characters");
    }
    Ok(())
}

fn check_tags(fields: &Fields) -> Result<(), FleetError> {
    let tags = fields.get("global_data_tags").and_then(Value::as_array);
    let mut seen = BTreeSet::new();
    for name in tags.into_iter().flatten().filter_map(|tag| tag.get("name")?.as_str()) {
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(FleetError::invalid(
                "[request body.global_data_tags]: tag names cannot be empty or contain spaces",
            ));
        }
        if !seen.insert(name) {
            return Err(FleetError::invalid(format!(
                "[request body.global_data_tags]: duplicate tag name `{name}`"
            )));
        }
    }
    Ok(())
}

fn check_required_versions(fields: &Fields) -> Result<(), FleetError> {
    let wanted = fields.get("required_versions").and_then(Value::as_array);
    let (mut sum, mut seen) = (0.0, BTreeSet::new());
    for one in wanted.into_iter().flatten() {
        let (version, share) = (one["version"].as_str().unwrap_or_default(), one["percentage"].as_f64());
        let refuse = |why: &str| {
            Err(FleetError::invalid(format!(
                "[request body.required_versions]: Policy \"{}\" failed required_versions validation: {why}",
                text(fields, "name").unwrap_or_default()
            )))
        };
        if semver::Version::parse(version).is_err() {
            return refuse(&format!("invalid semver version {version}"));
        }
        if !seen.insert(version) {
            return refuse("duplicate versions not allowed");
        }
        let Some(share) = share.filter(|share| (0.0..=100.0).contains(share)) else {
            return refuse("percentages must be between 0 and 100");
        };
        sum += share;
        if sum > 100.0 {
            return refuse("sum of percentages cannot exceed 100");
        }
    }
    Ok(())
}

async fn check_references(console: &Console, fields: &Fields, id: &str) -> Result<(), FleetError> {
    for key in REFERENCES {
        let Some(reference) = text(fields, key) else { continue };
        let found = match key {
            "fleet_server_host_id" => console.find(&HOSTS, reference).await?,
            "download_source_id" => {
                console
                    .find(&crate::domain::documents::DOWNLOAD_SOURCES, reference)
                    .await?
            }
            _ => console.find(&OUTPUTS, reference).await?,
        };
        let Some(found) = found else {
            return Err(FleetError::NotFound(format!(
                "[request body.{key}]: `{reference}` not found"
            )));
        };
        if key == "data_output_id" {
            check_output(console, fields, id, text(&found.fields, "type").unwrap_or_default()).await?;
        }
    }
    Ok(())
}

async fn check_output(console: &Console, fields: &Fields, id: &str, kind: &str) -> Result<(), FleetError> {
    for package in outputs::PARTICULAR {
        if outputs::suits(package, kind) || !with_package(console, package).await?.contains(id) {
            continue;
        }
        let why = match package {
            "fleet_server" => "Fleet Server needs Elasticsearch".to_owned(),
            other => format!("the integration {other} does not take it"),
        };
        return Err(FleetError::invalid_output(format!(
            "Output of type \"{kind}\" is not usable with policy \"{}\": {why}.",
            text(fields, "name").unwrap_or_default()
        )));
    }
    Ok(())
}

/// What agents of the policy send to: `GET /{id}/outputs`.
///
/// # Errors
/// No such policy.
pub async fn outputs_of(console: &Console, id: &str) -> Result<Value, FleetError> {
    let policy = read(console, id).await?;
    let outputs = outputs::list(console).await?;
    let named = |reference: Option<&String>, default: fn(&policy::model::Output) -> bool| {
        let found = match reference {
            Some(id) => outputs.iter().find(|output| output.id == *id),
            None => outputs.iter().find(|output| default(output)),
        };
        found.map_or(json!({}), |output| json!({"id": output.id, "name": output.name}))
    };
    let mut integrations = Vec::new();
    for integration in package_policies_of(console, id).await? {
        let Some(own) = integration.output_id.as_ref() else {
            continue;
        };
        let name = outputs
            .iter()
            .find(|output| output.id == *own)
            .map(|output| output.name.clone());
        let package = integration.package.map(|package| package.name);
        integrations
            .push(json!({"pkgName": package, "integrationPolicyName": integration.name, "id": own, "name": name}));
    }
    Ok(json!({
        "agentPolicyId": id,
        "monitoring": {"output": named(policy.monitoring_output_id.as_ref(), |output| output.is_default_monitoring)},
        "data": {"output": named(policy.data_output_id.as_ref(), |output| output.is_default), "integrations": integrations},
    }))
}
