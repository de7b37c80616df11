//! Outputs: where agents send events.

use policy::model::Output;
use serde_json::{Value, json};

use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::agent_policies;
use crate::domain::changes::{self, Changes};
use crate::domain::checks::{self, Report};
use crate::domain::documents::{AGENT_POLICIES, Fields, OUTPUTS, PACKAGE_POLICIES, Stored, flag, text};
use crate::domain::error::FleetError;
use crate::domain::objects::{check_path_or_pem, check_proxies, new_id, now_fields, remove_nulls, remove_unset};
use crate::domain::output_types;
use crate::domain::secrets::{self, SecretPaths};

/// Id of the output that setup makes.
pub const DEFAULT_ID: &str = "fleet-default-output";

const SECRETS: SecretPaths = &[
    (&["ssl", "key"], &["ssl", "key"]),
    (&["password"], &["password"]),
    (&["service_token"], &["service_token"]),
    (&["kibana_api_key"], &["kibana_api_key"]),
];

/// All outputs, the default first.
pub async fn list(console: &Console) -> Result<Vec<Output>, FleetError> {
    let mut outputs: Vec<Output> = console.all_as(&OUTPUTS).await?;
    outputs.sort_by_key(|output| !output.is_default);
    Ok(outputs)
}

/// One output.
pub async fn read(console: &Console, id: &str) -> Result<Output, FleetError> {
    let found = console.find(&OUTPUTS, id).await?;
    found
        .ok_or_else(|| FleetError::NotFound(format!("Output {id} not found")))?
        .parse(&OUTPUTS)
}

/// Makes an output.
///
/// # Errors
/// A value or combination that its type does not take, an id that is taken.
pub async fn create(console: &Console, actor: &Actor, mut fields: Fields) -> Result<Output, FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let id = new_id(console, &OUTPUTS, &mut fields).await?;
    normalise(&mut fields)?;
    output_types::set_defaults(&mut fields)?;
    check(console, &fields).await?;
    checks::refuse_errors(&checks::output(console, &fields))?;
    secrets::store_plain(console, &mut fields, None, SECRETS).await?;
    now_fields(console, actor, &mut fields, true);
    let mut changes = Changes::default();
    take_defaults(console, &id, &fields, None, &mut changes).await?;
    changes.create(&OUTPUTS, &id, fields);
    changes::apply(console, actor, changes).await?;
    read(console, &id).await
}

/// Changes an output: what is absent stays, null removes; another type clears the fields of the former one.
///
/// # Errors
/// As [`create`]; taking a default away, a preconfigured output, a type that its policies cannot use.
pub async fn update(console: &Console, actor: &Actor, id: &str, given: Fields) -> Result<Output, FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let present = require(console, id).await?;
    let mut fields = changed(console, &present, given).await?;
    checks::refuse_errors(&checks::output(console, &fields))?;
    let stale = secrets::store_plain(console, &mut fields, Some(&present.fields), SECRETS).await?;
    now_fields(console, actor, &mut fields, false);
    let mut changes = Changes::default();
    take_defaults(console, id, &fields, Some(&present), &mut changes).await?;
    touch_users(console, &present, &mut changes).await?;
    changes.replace(&OUTPUTS, &present, fields);
    changes::apply(console, actor, changes).await?;
    secrets::forget(console, stale).await?;
    read(console, id).await
}

/// The output as it would be after a change.
async fn changed(console: &Console, present: &Stored, given: Fields) -> Result<Fields, FleetError> {
    check_editable(present, &given)?;
    let fields = merged(present, given)?;
    for (name, words) in [
        ("is_default", "default"),
        ("is_default_monitoring", "default monitoring"),
    ] {
        if flag(&present.fields, name) && !flag(&fields, name) {
            let message = format!(
                "Output {} must stay the {words} one; make another output the {words} one instead",
                present.id
            );
            return Err(FleetError::Forbidden(message));
        }
    }
    check_type_of_users(console, present, &fields).await?;
    check(console, &fields).await?;
    Ok(fields)
}

/// What is refused in any case.
async fn check(console: &Console, fields: &Fields) -> Result<(), FleetError> {
    output_types::check(fields)?;
    secrets::refuse_both(fields, SECRETS)?;
    check_proxies(console, fields, &["proxy_id"]).await
}

/// What a change would meet.
///
/// # Errors
/// A value or combination that is not valid.
pub async fn dry_run(console: &Console, id: Option<&str>, mut given: Fields) -> Result<Report, FleetError> {
    let (fields, is_default) = if let Some(id) = id {
        let present = require(console, id).await?;
        let is_default = flag(&present.fields, "is_default") || flag(&given, "is_default");
        (changed(console, &present, given).await?, is_default)
    } else {
        new_id(console, &OUTPUTS, &mut given).await?;
        normalise(&mut given)?;
        output_types::set_defaults(&mut given)?;
        check(console, &given).await?;
        let is_default = flag(&given, "is_default");
        (given, is_default)
    };
    let findings = checks::output(console, &fields);
    let policies = users(console, id, is_default).await?;
    checks::report(console, findings, policies).await
}

/// Removes an output, and from the policies that name it.
///
/// # Errors
/// A default output, a preconfigured one, or one that is not there.
pub async fn delete(console: &Console, actor: &Actor, id: &str) -> Result<(), FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let present = require(console, id).await?;
    if flag(&present.fields, "is_preconfigured") {
        return Err(FleetError::Forbidden(format!(
            "Preconfigured output {id} cannot be deleted."
        )));
    }
    if flag(&present.fields, "is_default") {
        return Err(FleetError::Forbidden(format!("Default output {id} cannot be deleted.")));
    }
    if flag(&present.fields, "is_default_monitoring") {
        return Err(FleetError::Forbidden(format!(
            "Default monitoring output {id} cannot be deleted."
        )));
    }
    let mut changes = Changes::default();
    for policy in console.all(&AGENT_POLICIES).await? {
        let mut fields = policy.fields.clone();
        for name in ["data_output_id", "monitoring_output_id"] {
            if text(&fields, name) == Some(id) {
                fields.remove(name);
            }
        }
        if fields != policy.fields {
            changes.replace(&AGENT_POLICIES, &policy, fields);
            changes.touch(&policy.id);
        }
    }
    for integration in console.all(&PACKAGE_POLICIES).await? {
        if text(&integration.fields, "output_id") == Some(id) {
            let mut fields = integration.fields.clone();
            fields.remove("output_id");
            changes.replace(&PACKAGE_POLICIES, &integration, fields);
            policies_of(&integration).for_each(|id| changes.touch(id));
        }
    }
    changes.delete(&OUTPUTS, &present);
    let stale = secrets::ids_in(present.fields.get("secrets"));
    changes::apply(console, actor, changes).await?;
    secrets::forget(console, stale).await
}

async fn require(console: &Console, id: &str) -> Result<Stored, FleetError> {
    let found = console.find(&OUTPUTS, id).await?;
    found.ok_or_else(|| FleetError::NotFound(format!("Output {id} not found")))
}

fn policies_of(integration: &Stored) -> impl Iterator<Item = String> {
    let ids = integration.fields.get("policy_ids").and_then(Value::as_array);
    ids.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned)
}

/// The agent policies that use the output: by name, through an integration, or because it is the default.
async fn users(console: &Console, id: Option<&str>, is_default: bool) -> Result<Vec<String>, FleetError> {
    let mut users = agent_policies::users_of(console, "data_output_id", id, is_default).await?;
    users.extend(agent_policies::users_of(console, "monitoring_output_id", id, is_default).await?);
    if let Some(id) = id {
        for integration in console.all(&PACKAGE_POLICIES).await? {
            if text(&integration.fields, "output_id") == Some(id) {
                users.extend(policies_of(&integration));
            }
        }
    }
    users.sort();
    users.dedup();
    Ok(users)
}

async fn touch_users(console: &Console, present: &Stored, changes: &mut Changes) -> Result<(), FleetError> {
    if flag(&present.fields, "is_default") || flag(&present.fields, "is_default_monitoring") {
        changes.touch_all();
        return Ok(());
    }
    users(console, Some(&present.id), false)
        .await?
        .into_iter()
        .for_each(|id| changes.touch(id));
    Ok(())
}

fn check_editable(present: &Stored, given: &Fields) -> Result<(), FleetError> {
    if !flag(&present.fields, "is_preconfigured") {
        return Ok(());
    }
    let allowed: Vec<&str> = match present.fields.get("allow_edit").and_then(Value::as_array) {
        Some(list) => list.iter().filter_map(Value::as_str).collect(),
        None => Vec::new(),
    };
    let changed = given.iter().find(|(key, value)| {
        !allowed.contains(&key.as_str()) && present.fields.get(*key).unwrap_or(&Value::Null) != *value
    });
    match changed {
        None => Ok(()),
        Some((key, _)) => Err(FleetError::Forbidden(format!(
            "Preconfigured output {} {key} cannot be updated outside of the configuration file.",
            present.id
        ))),
    }
}

fn merged(present: &Stored, given: Fields) -> Result<Fields, FleetError> {
    let mut fields = present.fields.clone();
    let kind = text(&given, "type").map(str::to_owned);
    let same_kind = kind.as_deref().is_none_or(|kind| text(&fields, "type") == Some(kind));
    if !same_kind {
        output_types::clear_type_fields(&mut fields);
    } else if kind.is_some() {
        output_types::clear_absent(&mut fields, &given);
    }
    if given
        .get("ssl")
        .is_some_and(|settings| settings.get("key").is_some_and(|key| key != "" && !key.is_null()))
    {
        crate::domain::fleet_server_hosts::remove_at(&mut fields, &["secrets", "ssl", "key"]);
    }
    let brings_key = given
        .get("secrets")
        .and_then(|secrets| secrets.pointer("/ssl/key"))
        .is_some_and(|key| !key.is_null());
    if brings_key && !given.contains_key("ssl") {
        crate::domain::fleet_server_hosts::remove_at(&mut fields, &["ssl", "key"]);
    }
    fields.extend(given.clone());
    normalise(&mut fields)?;
    if same_kind {
        output_types::settle(&mut fields, &given)?;
    } else {
        output_types::set_defaults(&mut fields)?;
    }
    Ok(fields)
}

fn normalise(fields: &mut Fields) -> Result<(), FleetError> {
    output_types::normalise_hosts(fields)?;
    remove_unset(fields, &["proxy_id", "ca_sha256", "ca_trusted_fingerprint"]);
    remove_nulls(fields);
    if text(fields, "type") == Some("kafka") {
        fields.remove("proxy_id");
    }
    if let Some(settings) = fields.get("ssl").and_then(Value::as_object) {
        check_path_or_pem(settings)?;
    }
    Ok(())
}

/// At most one output is the default, and one the default for monitoring. When the new default is no Elasticsearch, policies
/// with Fleet Server are pinned to the old one: Fleet Server needs Elasticsearch.
async fn take_defaults(
    console: &Console,
    id: &str,
    fields: &Fields,
    present: Option<&Stored>,
    changes: &mut Changes,
) -> Result<(), FleetError> {
    let gains = |name: &str| flag(fields, name) && !present.is_some_and(|present| flag(&present.fields, name));
    let (becomes_default, becomes_monitoring) = (gains("is_default"), gains("is_default_monitoring"));
    if !becomes_default && !becomes_monitoring {
        return Ok(());
    }
    changes.touch_all();
    for other in console.all(&OUTPUTS).await? {
        if other.id == id {
            continue;
        }
        let mut cleared = other.fields.clone();
        if becomes_default && flag(&other.fields, "is_default") {
            cleared.insert("is_default".into(), false.into());
            if text(fields, "type") != Some("elasticsearch") && text(&other.fields, "type") == Some("elasticsearch") {
                pin_fleet_server_policies(console, &other.id, changes).await?;
            }
        }
        if becomes_monitoring && flag(&other.fields, "is_default_monitoring") {
            cleared.insert("is_default_monitoring".into(), false.into());
        }
        changes.replace(&OUTPUTS, &other, cleared);
    }
    Ok(())
}

async fn pin_fleet_server_policies(console: &Console, output: &str, changes: &mut Changes) -> Result<(), FleetError> {
    let with_fleet_server = agent_policies::with_package(console, "fleet_server").await?;
    for policy in console.all(&AGENT_POLICIES).await? {
        if with_fleet_server.contains(&policy.id) && text(&policy.fields, "data_output_id").is_none() {
            let mut fields = policy.fields.clone();
            fields.insert("data_output_id".into(), json!(output));
            changes.replace(&AGENT_POLICIES, &policy, fields);
        }
    }
    Ok(())
}

/// Packages that do not work with every type of output.
pub(crate) const PARTICULAR: [&str; 3] = ["fleet_server", "synthetics", "apm"];

/// Whether a package works with a type of output.
pub(crate) fn suits(package: &str, kind: &str) -> bool {
    match package {
        "fleet_server" | "synthetics" => kind == "elasticsearch",
        "apm" => kind != "logstash",
        _ => true,
    }
}

async fn check_type_of_users(console: &Console, present: &Stored, fields: &Fields) -> Result<(), FleetError> {
    let kind = text(fields, "type").unwrap_or_default();
    if kind == "elasticsearch" || text(&present.fields, "type") == Some(kind) {
        return Ok(());
    }
    let users = users(console, Some(&present.id), flag(&present.fields, "is_default")).await?;
    for package in PARTICULAR.into_iter().filter(|package| !suits(package, kind)) {
        let with_package = agent_policies::with_package(console, package).await?;
        if let Some(policy) = users.iter().find(|id| with_package.contains(*id)) {
            return Err(FleetError::invalid_output(format!(
                "Output {} cannot be updated to type {kind}: policy {policy} has the integration {package}, which needs Elasticsearch",
                present.id
            )));
        }
    }
    Ok(())
}
