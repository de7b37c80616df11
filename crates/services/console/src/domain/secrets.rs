//! Plain values under `secrets` of a request -> references to stored secrets.

use secret::Secret;
use serde_json::{Map, Value, json};

use crate::Console;
use crate::domain::documents::Fields;
use crate::domain::error::FleetError;

/// Paths below `secrets`, each with the plain field that must not be given at the same time.
pub(crate) type SecretPaths = &'static [(&'static [&'static str], &'static [&'static str])];

/// Takes the place of each plain secret in `fields.secrets` by `{id}`; a reference stays, null and empty texts go.
/// Returns the ids that `present` had and `fields` no longer has: to be deleted once the change is written.
///
/// # Errors
/// A secret and its plain field at the same time; the store.
pub(crate) async fn store_plain(
    console: &Console,
    fields: &mut Fields,
    present: Option<&Fields>,
    paths: SecretPaths,
) -> Result<Vec<String>, FleetError> {
    refuse_both(fields, paths)?;
    let before = ids_in(present.and_then(|fields| fields.get("secrets")));
    if let Some(Value::Object(secrets)) = fields.remove("secrets") {
        let stored = Box::pin(stored_values(console, secrets)).await?;
        if !stored.is_empty() {
            fields.insert("secrets".into(), stored.into());
        }
    }
    let after = ids_in(fields.get("secrets"));
    Ok(before.into_iter().filter(|id| !after.contains(id)).collect())
}

/// Refuses a secret and its plain field at the same time.
///
/// # Errors
/// Which of them.
pub(crate) fn refuse_both(fields: &Fields, paths: SecretPaths) -> Result<(), FleetError> {
    let given = |first: Option<&Value>, rest: &[&str]| first.and_then(|first| at(first, rest)).is_some_and(is_given);
    let both = paths.iter().find(|(secret, plain)| {
        let plain_value = plain.split_first().map(|(first, rest)| (fields.get(*first), rest));
        given(fields.get("secrets"), secret) && plain_value.is_some_and(|(first, rest)| given(first, rest))
    });
    match both {
        None => Ok(()),
        Some((secret, plain)) => Err(FleetError::invalid(format!(
            "Cannot specify both {} and secrets.{}",
            plain.join("."),
            secret.join(".")
        ))),
    }
}

async fn stored_values(console: &Console, secrets: Map<String, Value>) -> Result<Map<String, Value>, FleetError> {
    let mut stored = Map::new();
    for (name, value) in secrets {
        match value {
            Value::String(text) if !text.is_empty() => {
                let id = console.access.put_secret(&Secret::from(text)).await?;
                stored.insert(name, json!({"id": id}));
            }
            Value::Object(map) if map.get("id").is_some_and(Value::is_string) => {
                stored.insert(name, json!({"id": map["id"]}));
            }
            Value::Object(map) => {
                let inner = Box::pin(stored_values(console, map)).await?;
                if !inner.is_empty() {
                    stored.insert(name, inner.into());
                }
            }
            _ => {}
        }
    }
    Ok(stored)
}

/// Forgets secrets that nothing refers to any more.
pub(crate) async fn forget(console: &Console, ids: Vec<String>) -> Result<(), FleetError> {
    for id in ids {
        console.access.delete_secret(&id).await?;
    }
    Ok(())
}

/// The ids of all references below `value`.
pub(crate) fn ids_in(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Object(map)) => match map.get("id") {
            Some(Value::String(id)) => vec![id.clone()],
            _ => map.values().flat_map(|value| ids_in(Some(value))).collect(),
        },
        _ => Vec::new(),
    }
}

fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, part| value.get(part))
}

fn is_given(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}
