//! Where agents download their next version from.

use policy::model::DownloadSource;
use serde_json::Value;

use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::agent_policies;
use crate::domain::changes::{self, Changes};
use crate::domain::checks::{self, Report};
use crate::domain::documents::{AGENT_POLICIES, DOWNLOAD_SOURCES, Fields, Stored, flag, text};
use crate::domain::error::FleetError;
use crate::domain::objects::{check_path_or_pem, check_proxies, new_id, now_fields, remove_unset, with_one_default};
use crate::domain::secrets::{self, SecretPaths};

/// Id of the source that setup makes.
pub const DEFAULT_ID: &str = "fleet-default-download-source";

const SECRETS: SecretPaths = &[
    (&["ssl", "key"], &["ssl", "key"]),
    (&["auth", "password"], &["auth", "password"]),
    (&["auth", "api_key"], &["auth", "api_key"]),
];
const UNSET: [&str; 6] = [
    "proxy_id",
    "auth",
    "ssl",
    "secrets",
    "security_artifacts_url",
    "security_artifacts_proxy_id",
];

/// All sources, the default first.
pub async fn list(console: &Console) -> Result<Vec<DownloadSource>, FleetError> {
    let mut sources: Vec<DownloadSource> = console.all_as(&DOWNLOAD_SOURCES).await?;
    sources.sort_by_key(|source| !source.is_default);
    Ok(sources)
}

/// One source.
pub async fn read(console: &Console, id: &str) -> Result<DownloadSource, FleetError> {
    console.require(&DOWNLOAD_SOURCES, id).await?.parse(&DOWNLOAD_SOURCES)
}

/// Makes a source.
///
/// # Errors
/// A URL or combination that is not valid, an id that is taken.
pub async fn create(console: &Console, actor: &Actor, mut fields: Fields) -> Result<DownloadSource, FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let id = new_id(console, &DOWNLOAD_SOURCES, &mut fields).await?;
    check(console, &mut fields).await?;
    checks::refuse_errors(&checks::download_source(console, &fields))?;
    secrets::store_plain(console, &mut fields, None, SECRETS).await?;
    now_fields(console, actor, &mut fields, true);
    let mut changes = Changes::default();
    if flag(&fields, "is_default") {
        with_one_default(console, &DOWNLOAD_SOURCES, &id, "is_default", &mut changes).await?;
        changes.touch_all();
    }
    changes.create(&DOWNLOAD_SOURCES, &id, fields);
    changes::apply(console, actor, changes).await?;
    read(console, &id).await
}

/// Changes a source; what is absent stays, null removes.
///
/// # Errors
/// As [`create`]; taking the default away.
pub async fn update(console: &Console, actor: &Actor, id: &str, given: Fields) -> Result<DownloadSource, FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let present = console.require(&DOWNLOAD_SOURCES, id).await?;
    let mut fields = merged(&present, given)?;
    check(console, &mut fields).await?;
    checks::refuse_errors(&checks::download_source(console, &fields))?;
    let stale = secrets::store_plain(console, &mut fields, Some(&present.fields), SECRETS).await?;
    now_fields(console, actor, &mut fields, false);
    let mut changes = Changes::default();
    if flag(&fields, "is_default") && !flag(&present.fields, "is_default") {
        with_one_default(console, &DOWNLOAD_SOURCES, id, "is_default", &mut changes).await?;
    }
    changes.replace(&DOWNLOAD_SOURCES, &present, fields);
    changes.touch_all();
    changes::apply(console, actor, changes).await?;
    secrets::forget(console, stale).await?;
    read(console, id).await
}

/// What a change would meet.
///
/// # Errors
/// A URL or combination that is not valid.
pub async fn dry_run(console: &Console, id: Option<&str>, mut given: Fields) -> Result<Report, FleetError> {
    let mut fields = if let Some(id) = id {
        merged(&console.require(&DOWNLOAD_SOURCES, id).await?, given)?
    } else {
        new_id(console, &DOWNLOAD_SOURCES, &mut given).await?;
        given
    };
    check(console, &mut fields).await?;
    let is_default = flag(&fields, "is_default");
    let policies = agent_policies::users_of(console, "download_source_id", id, is_default).await?;
    checks::report(console, checks::download_source(console, &fields), policies).await
}

/// Removes a source, and from the policies that name it.
///
/// # Errors
/// The default source.
pub async fn delete(console: &Console, actor: &Actor, id: &str) -> Result<(), FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let present = console.require(&DOWNLOAD_SOURCES, id).await?;
    if flag(&present.fields, "is_default") {
        return Err(FleetError::Forbidden(format!(
            "Default Download source {id} cannot be deleted."
        )));
    }
    let mut changes = Changes::default();
    for policy in console.all(&AGENT_POLICIES).await? {
        if text(&policy.fields, "download_source_id") == Some(id) {
            let mut fields = policy.fields.clone();
            fields.remove("download_source_id");
            changes.replace(&AGENT_POLICIES, &policy, fields);
            changes.touch(&policy.id);
        }
    }
    changes.delete(&DOWNLOAD_SOURCES, &present);
    let stale = secrets::ids_in(present.fields.get("secrets"));
    changes::apply(console, actor, changes).await?;
    secrets::forget(console, stale).await
}

/// The source as it would be after a change.
fn merged(present: &Stored, given: Fields) -> Result<Fields, FleetError> {
    let mut fields = present.fields.clone();
    fields.extend(given);
    if flag(&present.fields, "is_default") && !flag(&fields, "is_default") {
        return Err(FleetError::Forbidden(format!(
            "Default download source {} must stay the default; make another one the default instead",
            present.id
        )));
    }
    Ok(fields)
}

/// What is refused in any case.
async fn check(console: &Console, fields: &mut Fields) -> Result<(), FleetError> {
    check_alone(fields)?;
    secrets::refuse_both(fields, SECRETS)?;
    check_proxies(console, fields, &["proxy_id", "security_artifacts_proxy_id"]).await
}

fn check_alone(fields: &mut Fields) -> Result<(), FleetError> {
    let host = text(fields, "host").unwrap_or_default();
    if !url::Url::parse(host).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
        return Err(FleetError::invalid(
            "[request body.host]: the host must be an http or https URL",
        ));
    }
    remove_unset(fields, &UNSET);
    if let Some(settings) = fields.get("ssl").and_then(Value::as_object) {
        check_path_or_pem(settings)?;
    }
    let given = |name: &str| {
        let plain = fields.get("auth").and_then(|auth| auth.get(name));
        let secret = fields
            .get("secrets")
            .and_then(|secrets| secrets.pointer(&format!("/auth/{name}")));
        plain.or(secret).is_some_and(|value| !value.is_null() && value != "")
    };
    if given("api_key") && (given("username") || given("password")) {
        return Err(FleetError::invalid(
            "[request body.auth]: give a user name and password, or an API key, not both",
        ));
    }
    Ok(())
}
