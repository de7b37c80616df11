//! Fleet Server hosts: where agents find Fleet Server, and the TLS material of the legs that meet there.

use policy::model::FleetServerHost;
use serde_json::{Value, json};

use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::agent_policies;
use crate::domain::changes::{self, Changes};
use crate::domain::checks::{self, Report};
use crate::domain::documents::{AGENT_POLICIES, Fields, HOSTS, Stored, flag, text};
use crate::domain::error::FleetError;
use crate::domain::objects::{check_path_or_pem, check_proxies, new_id, now_fields, remove_unset, with_one_default};
use crate::domain::secrets::{self, SecretPaths};
use crate::domain::urls;

/// Id of the host that setup makes.
pub const DEFAULT_ID: &str = "fleet-default-fleet-server-host";

const SECRETS: SecretPaths = &[
    (&["ssl", "key"], &["ssl", "key"]),
    (&["ssl", "es_key"], &["ssl", "es_key"]),
    (&["ssl", "agent_key"], &["ssl", "agent_key"]),
];

/// All hosts, the default first.
pub async fn list(console: &Console) -> Result<Vec<FleetServerHost>, FleetError> {
    let mut hosts: Vec<FleetServerHost> = console.all_as(&HOSTS).await?;
    hosts.sort_by_key(|host| !host.is_default);
    Ok(hosts)
}

/// One host.
pub async fn read(console: &Console, id: &str) -> Result<FleetServerHost, FleetError> {
    console.require(&HOSTS, id).await?.parse(&HOSTS)
}

/// Makes a host. An empty or missing `id` is generated.
///
/// # Errors
/// A URL, path or combination that is not valid; an id or name that is taken.
pub async fn create(console: &Console, actor: &Actor, mut fields: Fields) -> Result<FleetServerHost, FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let id = new_id(console, &HOSTS, &mut fields).await?;
    normalise(&mut fields)?;
    check(console, &fields).await?;
    checks::refuse_errors(&checks::host(console, &fields))?;
    secrets::store_plain(console, &mut fields, None, SECRETS).await?;
    now_fields(console, actor, &mut fields, true);
    let mut changes = Changes::default();
    if flag(&fields, "is_default") {
        with_one_default(console, &HOSTS, &id, "is_default", &mut changes).await?;
        changes.touch_all();
    }
    changes.create(&HOSTS, &id, fields);
    changes::apply(console, actor, changes).await?;
    read(console, &id).await
}

/// Changes a host: what is absent stays, but for `proxy_id`, which is cleared; null removes.
///
/// # Errors
/// As [`create`]; a preconfigured host.
pub async fn update(console: &Console, actor: &Actor, id: &str, given: Fields) -> Result<FleetServerHost, FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let present = editable(console, id).await?;
    let mut fields = merged(&present, given)?;
    check(console, &fields).await?;
    checks::refuse_errors(&checks::host(console, &fields))?;
    let stale = secrets::store_plain(console, &mut fields, Some(&present.fields), SECRETS).await?;
    now_fields(console, actor, &mut fields, false);
    let mut changes = Changes::default();
    if flag(&fields, "is_default") && !flag(&present.fields, "is_default") {
        with_one_default(console, &HOSTS, id, "is_default", &mut changes).await?;
    }
    touch_users(console, &present, flag(&fields, "is_default"), &mut changes).await?;
    changes.replace(&HOSTS, &present, fields);
    changes::apply(console, actor, changes).await?;
    secrets::forget(console, stale).await?;
    read(console, id).await
}

async fn editable(console: &Console, id: &str) -> Result<Stored, FleetError> {
    let present = console.require(&HOSTS, id).await?;
    if flag(&present.fields, "is_preconfigured") {
        return Err(FleetError::Forbidden(format!(
            "Cannot update Fleet Server host {id} preconfigured"
        )));
    }
    Ok(present)
}

/// What is refused in any case.
async fn check(console: &Console, fields: &Fields) -> Result<(), FleetError> {
    secrets::refuse_both(fields, SECRETS)?;
    check_proxies(console, fields, &["proxy_id"]).await
}

/// What a change would meet: problems of the TLS material, and how many policies and agents it touches.
///
/// # Errors
/// A URL, path or combination that is not valid.
pub async fn dry_run(console: &Console, id: Option<&str>, mut given: Fields) -> Result<Report, FleetError> {
    let (fields, is_default) = if let Some(id) = id {
        let present = editable(console, id).await?;
        let was_default = flag(&present.fields, "is_default");
        let fields = merged(&present, given)?;
        let is_default = was_default || flag(&fields, "is_default");
        (fields, is_default)
    } else {
        new_id(console, &HOSTS, &mut given).await?;
        normalise(&mut given)?;
        let is_default = flag(&given, "is_default");
        (given, is_default)
    };
    check(console, &fields).await?;
    let findings = checks::host(console, &fields);
    let policies = agent_policies::users_of(console, "fleet_server_host_id", id, is_default).await?;
    checks::report(console, findings, policies).await
}

/// Removes a host, and from the policies that name it.
///
/// # Errors
/// The default host, a preconfigured one, or one that is not there.
pub async fn delete(console: &Console, actor: &Actor, id: &str) -> Result<(), FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let present = console.require(&HOSTS, id).await?;
    if flag(&present.fields, "is_preconfigured") {
        return Err(FleetError::Forbidden(format!(
            "Preconfigured Fleet Server host {id} cannot be deleted."
        )));
    }
    if flag(&present.fields, "is_default") {
        return Err(FleetError::Forbidden(format!(
            "Default Fleet Server hosts {id} cannot be deleted."
        )));
    }
    let mut changes = Changes::default();
    for policy in console.all(&AGENT_POLICIES).await? {
        if text(&policy.fields, "fleet_server_host_id") == Some(id) {
            let mut fields = policy.fields.clone();
            fields.remove("fleet_server_host_id");
            changes.replace(&AGENT_POLICIES, &policy, fields);
            changes.touch(&policy.id);
        }
    }
    changes.delete(&HOSTS, &present);
    let stale = secrets::ids_in(present.fields.get("secrets"));
    changes::apply(console, actor, changes).await?;
    secrets::forget(console, stale).await
}

async fn touch_users(
    console: &Console,
    present: &Stored,
    is_default: bool,
    changes: &mut Changes,
) -> Result<(), FleetError> {
    if is_default || flag(&present.fields, "is_default") {
        changes.touch_all();
        return Ok(());
    }
    for id in agent_policies::users_of(console, "fleet_server_host_id", Some(&present.id), false).await? {
        changes.touch(id);
    }
    Ok(())
}

fn merged(present: &Stored, given: Fields) -> Result<Fields, FleetError> {
    let mut fields = present.fields.clone();
    if !given.contains_key("proxy_id") {
        fields.remove("proxy_id");
    }
    // A key that now comes as a secret takes the place of the plain one, and the other way round.
    for name in ["key", "es_key", "agent_key"] {
        let has = |fields: &Fields, group: &str| match group {
            "secrets" => fields
                .get("secrets")
                .and_then(|value| value.pointer(&format!("/ssl/{name}")))
                .is_some_and(|v| !v.is_null()),
            _ => fields
                .get("ssl")
                .and_then(|value| value.get(name))
                .is_some_and(|v| v.as_str().is_some_and(|t| !t.is_empty())),
        };
        if has(&given, "secrets") && !has(&given, "ssl") {
            remove_at(&mut fields, &["ssl", name]);
        } else if has(&given, "ssl") && !has(&given, "secrets") {
            remove_at(&mut fields, &["secrets", "ssl", name]);
        }
    }
    for (key, value) in given {
        fields.insert(key, value);
    }
    normalise(&mut fields)?;
    Ok(fields)
}

pub(crate) fn remove_at(fields: &mut Fields, path: &[&str]) {
    match path {
        [] => {}
        [last] => {
            fields.remove(*last);
        }
        [first, rest @ ..] => {
            if let Some(Value::Object(inner)) = fields.get_mut(*first) {
                remove_at(inner, rest);
            }
        }
    }
}

fn normalise(fields: &mut Fields) -> Result<(), FleetError> {
    if let Some(urls) = fields.get("host_urls").and_then(Value::as_array) {
        let normal = urls
            .iter()
            .enumerate()
            .map(|(index, url)| urls::normalised(url.as_str().unwrap_or_default(), &format!("host_urls.{index}")));
        let normal: Vec<String> = normal.collect::<Result<_, _>>()?;
        fields.insert("host_urls".into(), json!(normal));
    }
    remove_unset(fields, &["proxy_id"]);
    for key in ["ssl", "secrets", "is_internal"] {
        if fields.get(key).is_some_and(Value::is_null) {
            fields.remove(key);
        }
    }
    if let Some(settings) = fields.get("ssl").and_then(Value::as_object) {
        check_path_or_pem(settings)?;
    }
    Ok(())
}
