//! Package policies: integrations of agent policies.

use std::collections::HashMap;
use std::sync::Arc;

use packages::Package;
use policy::model::{Output, PackagePolicy, PackageReference};
use policy::{package_policy, simplified};
use secret::Secret;
use serde_json::{Map, Value, json};

use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::agent_policies::{self, check_namespace};
use crate::domain::changes::{self, Changes};
use crate::domain::documents::{AGENT_POLICIES, Fields, OUTPUTS, PACKAGE_POLICIES, parse};
use crate::domain::error::FleetError;
use crate::domain::objects::{new_id, now_fields};
use crate::domain::{installed_packages, outputs, secrets, spaces};

/// All package policies, oldest first, without copying them.
pub async fn all(console: &Console) -> Result<Vec<Arc<PackagePolicy>>, FleetError> {
    console.all_shared(&PACKAGE_POLICIES).await
}

/// All package policies, oldest first.
pub async fn list(console: &Console) -> Result<Vec<PackagePolicy>, FleetError> {
    console.all_as(&PACKAGE_POLICIES).await
}

/// One package policy.
///
/// # Errors
/// None of that id.
pub async fn read(console: &Console, id: &str) -> Result<PackagePolicy, FleetError> {
    let found = console.find(&PACKAGE_POLICIES, id).await?;
    let found = found.ok_or_else(|| FleetError::NotFound(format!("Package policy {id} not found")))?;
    found.parse(&PACKAGE_POLICIES)
}

/// Makes a package policy from either form of the body, installs its package if needed, and publishes the agent policies.
///
/// # Errors
/// A name that is taken, an unknown package, input or variable, a variable without its value, a template that does not render.
pub async fn create(console: &Console, actor: &Actor, body: Fields) -> Result<PackagePolicy, FleetError> {
    installed_packages::ensure(console, actor, &package_of(&body)?).await?;
    let _one_at_a_time = console.changes.lock().await;
    let mut changes = Changes::default();
    let id = add(console, actor, body, &mut changes).await?;
    changes::apply(console, actor, changes).await?;
    read(console, &id).await
}

/// Adds a new package policy, whose package is installed, to the changes.
async fn add(console: &Console, actor: &Actor, mut body: Fields, changes: &mut Changes) -> Result<String, FleetError> {
    let package = installed_packages::named(console, &package_of(&body)?).await?;
    let id = new_id(console, &PACKAGE_POLICIES, &mut body).await?;
    let mut policy = from_body(&package, body, &id)?;
    check(console, &policy).await?;
    finish(console, &package, &mut policy).await?;
    policy.revision = 1;
    let mut fields = into_fields(&policy);
    now_fields(console, actor, &mut fields, true);
    fields.insert("created_by".into(), actor.name.clone().into());
    policy.policy_ids.iter().for_each(|id| changes.touch(id));
    changes.create(&PACKAGE_POLICIES, &id, fields);
    Ok(id)
}

/// Adds the integration `package` with all its defaults to a policy, named `{package}-{n}`.
///
/// # Errors
/// As [`create`].
pub async fn create_default(
    console: &Console,
    actor: &Actor,
    package: &str,
    policy_id: &str,
) -> Result<PackagePolicy, FleetError> {
    let name = free_name(console, package).await?;
    let version = installed_packages::newest(console, package).await?.version.clone();
    let body = json!({"name": name, "namespace": "", "policy_ids": [policy_id],
                      "package": {"name": package, "version": version}, "inputs": {}});
    create(console, actor, as_fields(body)).await
}

pub(crate) async fn free_name(console: &Console, package: &str) -> Result<String, FleetError> {
    let names: Vec<String> = all(console).await?.iter().map(|policy| policy.name.clone()).collect();
    // One more name than there are: one of them is free.
    let free = (1..=names.len() + 1)
        .map(|number| format!("{package}-{number}"))
        .find(|name| !names.contains(name));
    Ok(free.unwrap_or_else(|| package.to_owned()))
}

/// Copies integrations to another agent policy, all in one revision of it.
///
/// # Errors
/// As [`create`].
pub async fn copy_to(
    console: &Console,
    actor: &Actor,
    integrations: &[PackagePolicy],
    policy_id: &str,
) -> Result<(), FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let mut changes = Changes::default();
    for integration in integrations {
        let mut body = into_fields(integration);
        give_own_secrets(console, integration, &mut body).await?;
        for key in ["id", "revision", "created_at", "created_by", "updated_at", "updated_by"] {
            body.remove(key);
        }
        let name = format!("{} (copy {})", integration.name, uuid::Uuid::new_v4().simple());
        body.insert("name".into(), name.into());
        body.insert("policy_ids".into(), json!([policy_id]));
        add(console, actor, body, &mut changes).await?;
    }
    changes::apply(console, actor, changes).await
}

/// A copy has secrets of its own: those of the original go with it.
async fn give_own_secrets(console: &Console, integration: &PackagePolicy, body: &mut Fields) -> Result<(), FleetError> {
    let mut copies = HashMap::new();
    for id in package_policy::secret_ids(integration) {
        if let Some(secret) = console.access.secret(&id).await? {
            let copy = console.access.put_secret(&secret).await?;
            copies.insert(id, copy);
        }
    }
    for key in ["vars", "inputs"] {
        if let Some(value) = body.get_mut(key).filter(|_| !copies.is_empty()) {
            rename_secrets(value, &copies);
        }
    }
    Ok(())
}

fn rename_secrets(value: &mut Value, copies: &HashMap<String, String>) {
    match value {
        Value::Object(map) if map.get("isSecretRef").is_some_and(|is| *is == true) => {
            let many = map.get_mut("ids").and_then(Value::as_array_mut);
            for id in many.into_iter().flatten() {
                rename_secret(id, copies);
            }
            if let Some(id) = map.get_mut("id") {
                rename_secret(id, copies);
            }
        }
        Value::Object(map) => map.values_mut().for_each(|inner| rename_secrets(inner, copies)),
        Value::Array(list) => list.iter_mut().for_each(|inner| rename_secrets(inner, copies)),
        _ => {}
    }
}

fn rename_secret(id: &mut Value, copies: &HashMap<String, String>) {
    if let Some(copy) = id.as_str().and_then(|id| copies.get(id)) {
        *id = copy.as_str().into();
    }
}

/// Replaces a package policy with the given body; what the body leaves out of the whole stays.
///
/// # Errors
/// As [`create`]; none of that id.
pub async fn update(console: &Console, actor: &Actor, id: &str, mut body: Fields) -> Result<PackagePolicy, FleetError> {
    let present = read(console, id).await?;
    let reference = match body.get("package") {
        Some(_) => package_of(&body)?,
        None => present.package.clone().unwrap_or_default(),
    };
    let package = installed_packages::ensure(console, actor, &reference).await?;
    let _one_at_a_time = console.changes.lock().await;
    let stored = console.require(&PACKAGE_POLICIES, id).await?;
    for key in [
        "name",
        "description",
        "namespace",
        "policy_ids",
        "output_id",
        "enabled",
        "inputs",
        "vars",
        "package",
        "overrides",
        "additional_datastreams_permissions",
    ] {
        let given = body.contains_key(key) || key == "policy_ids" && body.contains_key("policy_id");
        if let Some(value) = stored.fields.get(key).filter(|_| !given) {
            body.insert(key.to_owned(), value.clone());
        }
    }
    let mut policy = from_body(&package, body, id)?;
    check(console, &policy).await?;
    let before = package_policy::secret_ids(&present);
    finish(console, &package, &mut policy).await?;
    let after = package_policy::secret_ids(&policy);
    policy.revision = present.revision;
    if content_of(&policy) == content_of(&present) {
        return Ok(present);
    }
    policy.revision += 1;
    let mut fields = into_fields(&policy);
    for key in ["created_at", "created_by"] {
        if let Some(value) = stored.fields.get(key) {
            fields.insert(key.to_owned(), value.clone());
        }
    }
    now_fields(console, actor, &mut fields, false);
    let mut changes = Changes::default();
    present
        .policy_ids
        .iter()
        .chain(&policy.policy_ids)
        .for_each(|id| changes.touch(id));
    changes.replace(&PACKAGE_POLICIES, &stored, fields);
    changes::apply(console, actor, changes).await?;
    secrets::forget(console, before.into_iter().filter(|id| !after.contains(id)).collect()).await?;
    read(console, id).await
}

/// Removes a package policy.
///
/// # Errors
/// None of that id; one of a hosted policy without `force`.
pub async fn delete(console: &Console, actor: &Actor, id: &str, force: bool) -> Result<PackagePolicy, FleetError> {
    let policy = read(console, id).await?;
    let _one_at_a_time = console.changes.lock().await;
    for policy_id in &policy.policy_ids {
        if let Some(agent_policy) = console.find(&AGENT_POLICIES, policy_id).await? {
            agent_policies::refuse_hosted(
                &agent_policy,
                force,
                "Cannot remove integrations of hosted agent policy",
            )?;
        }
    }
    let stored = console.require(&PACKAGE_POLICIES, id).await?;
    let mut changes = Changes::default();
    policy.policy_ids.iter().for_each(|id| changes.touch(id));
    changes.delete(&PACKAGE_POLICIES, &stored);
    changes::apply(console, actor, changes).await?;
    secrets::forget(console, package_policy::secret_ids(&policy)).await?;
    Ok(policy)
}

/// The package policy as it would be with the newest version of its package; nothing is written.
///
/// # Errors
/// A template or variable of the newer version that does not fit.
pub async fn upgraded(console: &Console, id: &str, version: Option<&str>) -> Result<PackagePolicy, FleetError> {
    let mut policy = read(console, id).await?;
    let name = policy
        .package
        .as_ref()
        .map(|package| package.name.clone())
        .unwrap_or_default();
    let package = installed_packages::of_version(console, &name, version).await?;
    // What the newer version no longer has goes; what it adds comes with its defaults.
    let known = package_policy::default_inputs(&package);
    policy.inputs.retain(|input| {
        known
            .iter()
            .any(|candidate| candidate.kind == input.kind && candidate.policy_template == input.policy_template)
    });
    for input in &mut policy.inputs {
        let streams = known
            .iter()
            .filter(|candidate| candidate.kind == input.kind)
            .flat_map(|candidate| &candidate.streams);
        let datasets: Vec<&str> = streams.map(|stream| stream.data_stream.dataset.as_str()).collect();
        input
            .streams
            .retain(|stream| datasets.contains(&stream.data_stream.dataset.as_str()));
    }
    package_policy::complete(&package, &mut policy)?;
    package_policy::check(&package, &policy)?;
    package_policy::render(&package, &mut policy)?;
    Ok(policy)
}

/// Moves a package policy to the newest version of its package.
///
/// # Errors
/// As [`upgraded`].
pub async fn upgrade(console: &Console, actor: &Actor, id: &str) -> Result<PackagePolicy, FleetError> {
    let upgraded = upgraded(console, id, None).await?;
    update(console, actor, id, into_fields(&upgraded)).await
}

fn package_of(body: &Fields) -> Result<PackageReference, FleetError> {
    let package = body.get("package").filter(|package| !package.is_null());
    let package = package.ok_or_else(|| {
        FleetError::invalid("[request body.package]: expected value of type [object] but got [undefined]")
    })?;
    let reference: PackageReference = serde_json::from_value(package.clone())
        .map_err(|error| FleetError::invalid(format!("[request body.package]: {error}")))?;
    Ok(reference)
}

fn from_body(package: &Package, mut body: Fields, id: &str) -> Result<PackagePolicy, FleetError> {
    body.remove("force");
    body.insert("id".into(), id.into());
    let single = body
        .remove("policy_id")
        .and_then(|value| value.as_str().map(str::to_owned));
    if !body.get("policy_ids").is_some_and(Value::is_array) {
        let ids: Vec<String> = single.into_iter().filter(|id| !id.is_empty()).collect();
        body.insert("policy_ids".into(), json!(ids));
    }
    let nulls: Vec<String> = body
        .iter()
        .filter(|(_, value)| value.is_null())
        .map(|(key, _)| key.clone())
        .collect();
    for key in &nulls {
        body.remove(key);
    }
    if body.get("output_id").is_some_and(|id| id == "") {
        body.remove("output_id");
    }
    match body.get("inputs") {
        Some(Value::Object(_)) => from_simplified(package, body, id),
        _ => from_legacy(package, body, id),
    }
}

fn from_simplified(package: &Package, mut body: Fields, id: &str) -> Result<PackagePolicy, FleetError> {
    let inputs = as_fields(body.remove("inputs").unwrap_or_default());
    let vars = body.remove("vars").map(as_fields);
    let (inputs, vars) = simplified::read(package, &inputs, vars.as_ref())?;
    body.remove("package");
    let mut policy: PackagePolicy = parse(&PACKAGE_POLICIES, id, body)?;
    policy.package = Some(package_policy::reference_to(package));
    policy.inputs = inputs;
    policy.vars = vars;
    Ok(policy)
}

fn from_legacy(package: &Package, mut body: Fields, id: &str) -> Result<PackagePolicy, FleetError> {
    if !body.contains_key("inputs") {
        body.insert("inputs".into(), json!([]));
    }
    let mut policy: PackagePolicy = serde_json::from_value(Value::Object(body))
        .map_err(|error| FleetError::invalid(format!("[request body]: package policy `{id}` is not valid: {error}")))?;
    package_policy::complete(package, &mut policy)?;
    Ok(policy)
}

async fn check(console: &Console, policy: &PackagePolicy) -> Result<(), FleetError> {
    if policy.name.trim().is_empty() {
        return Err(FleetError::invalid("[request body.name]: Name cannot be empty"));
    }
    if !policy.namespace.is_empty() {
        check_namespace(&policy.namespace)?;
    }
    let places = spaces::Places::now(console).await?;
    let own = places.of(&policy.policy_ids);
    let others = all(console).await?;
    let taken = others.iter().any(|other| {
        other.id != policy.id && other.name == policy.name && spaces::meet(&own, &places.of(&other.policy_ids))
    });
    if taken {
        let message = format!(
            "An integration policy with the name {} already exists. Please rename it or choose a different name.",
            policy.name
        );
        return Err(FleetError::Conflict(message));
    }
    for id in &policy.policy_ids {
        if console.find(&AGENT_POLICIES, id).await?.is_none() {
            return Err(FleetError::NotFound(format!("Agent policy {id} not found")));
        }
    }
    match &policy.output_id {
        Some(output) if console.find(&OUTPUTS, output).await?.is_none() => {
            Err(FleetError::NotFound(format!("Output {output} not found")))
        }
        _ => check_output(console, policy).await,
    }
}

/// Some packages need an output of a type: of their own, of each policy, or the default one.
async fn check_output(console: &Console, policy: &PackagePolicy) -> Result<(), FleetError> {
    let Some(package) = policy.package.as_ref() else {
        return Ok(());
    };
    for output in outputs_used(console, policy).await? {
        if !outputs::suits(&package.name, &output.kind) {
            return Err(FleetError::invalid_output(format!(
                "Output \"{}\" of type \"{}\" is not usable with package \"{}\".",
                output.name, output.kind, package.name
            )));
        }
    }
    Ok(())
}

async fn outputs_used(console: &Console, policy: &PackagePolicy) -> Result<Vec<Output>, FleetError> {
    let all = outputs::list(console).await?;
    let default = all.iter().find(|output| output.is_default);
    let named = |id: &String| all.iter().find(|output| output.id == *id);
    if let Some(own) = policy.output_id.as_ref().and_then(named) {
        return Ok(vec![own.clone()]);
    }
    let mut used = Vec::new();
    for id in &policy.policy_ids {
        let agent_policy = agent_policies::read(console, id).await?;
        let output = agent_policy.data_output_id.as_ref().and_then(named).or(default);
        used.extend(output.cloned());
    }
    Ok(used)
}

/// Checks the variables, stores secrets apart, and renders.
async fn finish(console: &Console, package: &Package, policy: &mut PackagePolicy) -> Result<(), FleetError> {
    package_policy::check(package, policy)?;
    for value in package_policy::secret_values(package, policy) {
        match value {
            Value::Array(items) => {
                let mut ids = Vec::new();
                for item in items.iter().filter_map(Value::as_str) {
                    ids.push(console.access.put_secret(&Secret::from(item)).await?);
                }
                *value = json!({"isSecretRef": true, "ids": ids});
            }
            Value::Object(_) => {}
            other => {
                let text = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
                if !text.is_empty() {
                    *other = json!({"isSecretRef": true, "id": console.access.put_secret(&Secret::from(text)).await?});
                }
            }
        }
    }
    policy.secret_references = package_policy::secret_ids(policy)
        .iter()
        .map(|id| json!({"id": id}))
        .collect();
    Ok(package_policy::render(package, policy)?)
}

/// What somebody said: without who said it, and when.
fn content_of(policy: &PackagePolicy) -> Fields {
    let mut fields = into_fields(policy);
    fields.retain(|key, _| !["created_at", "created_by", "updated_at", "updated_by"].contains(&key.as_str()));
    fields
}

pub(crate) fn into_fields(policy: &PackagePolicy) -> Fields {
    as_fields(serde_json::to_value(policy).unwrap_or_default())
}

fn as_fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
