//! Proxies, and what names them.

use policy::model::Proxy;

use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::agent_policies;
use crate::domain::changes::{self, Changes};
use crate::domain::checks::{self, Report};
use crate::domain::documents::{DOWNLOAD_SOURCES, Fields, HOSTS, OUTPUTS, PROXIES, Stored, flag, text};
use crate::domain::error::FleetError;
use crate::domain::objects::{new_id, now_fields, remove_unset};

/// Absent in a PUT means cleared.
const NULLABLE: [&str; 4] = [
    "proxy_headers",
    "certificate_authorities",
    "certificate",
    "certificate_key",
];

/// Fields that name a proxy.
const REFERENCES: [&str; 2] = ["proxy_id", "security_artifacts_proxy_id"];

/// All proxies.
pub async fn list(console: &Console) -> Result<Vec<Proxy>, FleetError> {
    console.all_as(&PROXIES).await
}

/// One proxy.
pub async fn read(console: &Console, id: &str) -> Result<Proxy, FleetError> {
    console.require(&PROXIES, id).await?.parse(&PROXIES)
}

/// Makes a proxy.
///
/// # Errors
/// A URL that is none, an id that is taken.
pub async fn create(console: &Console, actor: &Actor, mut fields: Fields) -> Result<Proxy, FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let id = new_id(console, &PROXIES, &mut fields).await?;
    check(&mut fields)?;
    checks::refuse_errors(&checks::proxy(console, &fields))?;
    now_fields(console, actor, &mut fields, true);
    let mut changes = Changes::default();
    changes.create(&PROXIES, &id, fields);
    changes::apply(console, actor, changes).await?;
    read(console, &id).await
}

/// Changes a proxy; headers and certificates that are absent are cleared.
///
/// # Errors
/// As [`create`]; a preconfigured proxy.
pub async fn update(console: &Console, actor: &Actor, id: &str, given: Fields) -> Result<Proxy, FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let present = editable(console, id).await?;
    let mut fields = merged(&present, given);
    check(&mut fields)?;
    checks::refuse_errors(&checks::proxy(console, &fields))?;
    now_fields(console, actor, &mut fields, false);
    let mut changes = Changes::default();
    changes.replace(&PROXIES, &present, fields);
    changes.touch_all();
    changes::apply(console, actor, changes).await?;
    read(console, id).await
}

async fn editable(console: &Console, id: &str) -> Result<Stored, FleetError> {
    let present = console.require(&PROXIES, id).await?;
    if flag(&present.fields, "is_preconfigured") {
        return Err(FleetError::Forbidden(format!("Cannot update proxy {id} preconfigured")));
    }
    Ok(present)
}

fn check(fields: &mut Fields) -> Result<(), FleetError> {
    check_url(fields)?;
    remove_unset(fields, &NULLABLE);
    Ok(())
}

/// What a change would meet. Every policy may go through a proxy, over its host, output or download source.
///
/// # Errors
/// A URL that is none.
pub async fn dry_run(console: &Console, id: Option<&str>, mut given: Fields) -> Result<Report, FleetError> {
    let mut fields = if let Some(id) = id {
        merged(&editable(console, id).await?, given)
    } else {
        new_id(console, &PROXIES, &mut given).await?;
        given
    };
    check(&mut fields)?;
    let findings = checks::proxy(console, &fields);
    let Some(id) = id else {
        return checks::report(console, findings, Vec::new()).await;
    };
    let mut policies = Vec::new();
    for (collection, field) in [
        (&HOSTS, "fleet_server_host_id"),
        (&OUTPUTS, "data_output_id"),
        (&OUTPUTS, "monitoring_output_id"),
        (&DOWNLOAD_SOURCES, "download_source_id"),
    ] {
        for user in console.all(collection).await? {
            if text(&user.fields, "proxy_id") == Some(id) {
                let is_default = flag(&user.fields, "is_default");
                policies.extend(agent_policies::users_of(console, field, Some(&user.id), is_default).await?);
            }
        }
    }
    policies.sort();
    policies.dedup();
    checks::report(console, findings, policies).await
}

/// Removes a proxy, and from everything that names it.
///
/// # Errors
/// It, or something that names it, is preconfigured.
pub async fn delete(console: &Console, actor: &Actor, id: &str) -> Result<(), FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let present = console.require(&PROXIES, id).await?;
    if flag(&present.fields, "is_preconfigured") {
        return Err(FleetError::Forbidden(format!("Cannot delete proxy {id} preconfigured")));
    }
    let mut changes = Changes::default();
    for collection in [&HOSTS, &OUTPUTS, &DOWNLOAD_SOURCES] {
        for user in console.all(collection).await? {
            let mut fields = user.fields.clone();
            for key in REFERENCES {
                if text(&user.fields, key) == Some(id) {
                    fields.remove(key);
                }
            }
            if fields == user.fields {
                continue;
            }
            if flag(&user.fields, "is_preconfigured") {
                let message = format!(
                    "Proxy {id} cannot be deleted: the preconfigured {} {} uses it",
                    collection.noun, user.id
                );
                return Err(FleetError::Forbidden(message));
            }
            changes.replace(collection, &user, fields);
            changes.touch_all();
        }
    }
    changes.delete(&PROXIES, &present);
    changes::apply(console, actor, changes).await
}

fn merged(present: &Stored, given: Fields) -> Fields {
    let mut fields = present.fields.clone();
    for key in NULLABLE {
        fields.remove(key);
    }
    fields.extend(given);
    fields
}

fn check_url(fields: &Fields) -> Result<(), FleetError> {
    let given = text(fields, "url").unwrap_or_default();
    let is_proxy_url = url::Url::parse(given)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https" | "socks5") && url.host_str().is_some());
    if is_proxy_url {
        Ok(())
    } else {
        Err(FleetError::invalid("[request body.url]: Invalid URL"))
    }
}
