//! Settings of the whole console, and of a space.

use serde_json::json;

use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::changes::{self, Changes};
use crate::domain::documents::{Fields, SETTINGS};
use crate::domain::error::FleetError;

/// Id of the settings document.
pub const ID: &str = "fleet-default-settings";

/// The settings as they were written, with the defaults.
///
/// # Errors
/// The store cannot answer.
pub async fn read(console: &Console) -> Result<Fields, FleetError> {
    let mut fields = console
        .find(&SETTINGS, ID)
        .await?
        .map(|stored| stored.fields)
        .unwrap_or_default();
    fields.insert("id".into(), ID.into());
    fields.entry("prerelease_integrations_enabled").or_insert(false.into());
    fields.entry("has_seen_add_data_notice").or_insert(false.into());
    for key in [
        "secret_storage_requirements_met",
        "output_secret_storage_requirements_met",
        "ssl_secret_storage_requirements_met",
        "action_secret_storage_requirements_met",
    ] {
        fields.insert(key.into(), true.into());
    }
    fields.insert("use_space_awareness_migration_status".into(), "success".into());
    fields.entry("preconfigured_fields").or_insert(json!([]));
    Ok(fields)
}

/// Changes settings; what is absent stays.
///
/// # Errors
/// The store cannot answer.
pub async fn update(console: &Console, actor: &Actor, given: Fields) -> Result<Fields, FleetError> {
    write(console, actor, ID, given).await?;
    read(console).await
}

/// The settings of a space.
///
/// # Errors
/// The store cannot answer.
pub async fn read_space(console: &Console, space: &str) -> Result<Fields, FleetError> {
    let mut fields = console
        .find(&SETTINGS, &space_id(space))
        .await?
        .map(|stored| stored.fields)
        .unwrap_or_default();
    fields.entry("allowed_namespace_prefixes").or_insert(json!([]));
    Ok(fields)
}

/// Changes the settings of a space.
///
/// # Errors
/// A prefix with a `-`.
pub async fn update_space(console: &Console, actor: &Actor, given: Fields) -> Result<Fields, FleetError> {
    let prefixes = given.get("allowed_namespace_prefixes").and_then(|list| list.as_array());
    if prefixes
        .into_iter()
        .flatten()
        .any(|prefix| prefix.as_str().is_some_and(|prefix| prefix.contains('-')))
    {
        return Err(FleetError::invalid(
            "[request body.allowed_namespace_prefixes]: Must not contain -",
        ));
    }
    write(console, actor, &space_id(&actor.space), given).await?;
    read_space(console, &actor.space).await
}

fn space_id(space: &str) -> String {
    format!("space-{space}")
}

async fn write(console: &Console, actor: &Actor, id: &str, given: Fields) -> Result<(), FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let mut changes = Changes::default();
    match console.find(&SETTINGS, id).await? {
        None => changes.create(&SETTINGS, id, given),
        Some(present) => {
            let mut fields = present.fields.clone();
            fields.extend(given);
            changes.replace(&SETTINGS, &present, fields);
        }
    }
    changes::apply(console, actor, changes).await
}
