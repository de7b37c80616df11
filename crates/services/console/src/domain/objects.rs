//! What hosts, outputs, proxies and download sources have in common.

use serde_json::{Map, Value};

use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::changes::Changes;
use crate::domain::documents::{Collection, Fields, PROXIES, flag, text};
use crate::domain::error::FleetError;

/// The id of a new object: the given one, or a new UUID for none and for the empty text. Its name must be free, too.
pub(crate) async fn new_id(
    console: &Console,
    collection: &Collection,
    fields: &mut Fields,
) -> Result<String, FleetError> {
    let given = fields.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let id = if given.is_empty() {
        uuid::Uuid::new_v4().to_string()
    } else {
        given
    };
    check_id(&id)?;
    if console.find(collection, &id).await?.is_some() {
        let message = format!("Saved object [{}/{id}] conflict", collection.saved_object);
        return Err(FleetError::Conflict(message));
    }
    fields.insert("id".into(), id.clone().into());
    Ok(id)
}

fn check_id(id: &str) -> Result<(), FleetError> {
    let is_path = id.contains(['/', '\\']) || id == "." || id.contains("..");
    if id.chars().count() > 255 || is_path || id.chars().any(char::is_control) {
        return Err(FleetError::invalid(
            "[request body.id]: an id has 1 to 255 characters and no path separators or traversal",
        ));
    }
    Ok(())
}

/// `created_at`, `updated_at` and the like of the stored document; answers leave out what the API does not have.
pub(crate) fn now_fields(console: &Console, actor: &Actor, fields: &mut Fields, is_new: bool) {
    let now = clock::rfc3339_millis(console.clock.now());
    if is_new {
        fields.insert("created_at".into(), now.clone().into());
    }
    fields.insert("updated_at".into(), now.into());
    fields.insert("updated_by".into(), actor.name.clone().into());
}

/// Removes fields that are null or an empty text: unset.
pub(crate) fn remove_unset(fields: &mut Fields, keys: &[&str]) {
    for key in keys {
        let is_unset = fields.get(*key).is_some_and(|value| value.is_null() || value == "");
        if is_unset {
            fields.remove(*key);
        }
    }
}

/// Removes fields that are null.
pub(crate) fn remove_nulls(fields: &mut Fields) {
    let keys: Vec<String> = fields
        .iter()
        .filter(|(_, value)| value.is_null())
        .map(|(key, _)| key.clone())
        .collect();
    for key in keys {
        fields.remove(&key);
    }
}

/// Proxies that are named must be there: a policy with one that is not could not be published.
pub(crate) async fn check_proxies(console: &Console, fields: &Fields, keys: &[&str]) -> Result<(), FleetError> {
    for key in keys {
        if let Some(id) = text(fields, key)
            && console.find(&PROXIES, id).await?.is_none()
        {
            return Err(FleetError::NotFound(format!(
                "[request body.{key}]: Proxy {id} not found"
            )));
        }
    }
    Ok(())
}

/// Clears the flag on the present holder: `id` takes it over.
pub(crate) async fn with_one_default(
    console: &Console,
    collection: &'static Collection,
    id: &str,
    name: &str,
    changes: &mut Changes,
) -> Result<(), FleetError> {
    for other in console.all(collection).await? {
        if other.id != id && flag(&other.fields, name) {
            let mut fields = other.fields.clone();
            fields.insert(name.to_owned(), false.into());
            changes.replace(collection, &other, fields);
        }
    }
    Ok(())
}

/// Texts of TLS settings are a path on the agent's host or a PEM text; a path has no blanks.
pub(crate) fn check_path_or_pem(settings: &Map<String, Value>) -> Result<(), FleetError> {
    for (key, value) in settings {
        let texts = match value {
            Value::String(text) => vec![text.as_str()],
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let is_choice = matches!(key.as_str(), "client_auth" | "verification_mode");
        for text in texts.into_iter().filter(|_| !is_choice) {
            if !is_pem(text) && text.contains(char::is_whitespace) {
                return Err(FleetError::invalid(format!(
                    "[request body.ssl.{key}]: SSL certificate path cannot contain whitespace"
                )));
            }
        }
    }
    Ok(())
}

/// Whether a text of TLS settings is PEM rather than a path.
pub(crate) fn is_pem(text: &str) -> bool {
    text.trim_start().starts_with("-----BEGIN")
}
