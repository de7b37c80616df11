//! Searches of documents that somebody kept for all: a name, and what stands in the URL.

use serde_json::json;

use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::changes::{self, Changes};
use crate::domain::documents::{Fields, SAVED_SEARCHES, text};
use crate::domain::error::FleetError;
use crate::domain::objects::now_fields;

/// Longer names would not fit the menu.
const LONGEST_NAME: usize = 100;
/// Longer than any URL that the pages make.
const LONGEST_URL: usize = 8_000;

/// A search with a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedSearch {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The query part of the URL that shows it.
    pub url_query: String,
    /// Who kept it.
    pub kept_by: String,
}

/// All of them, by name.
///
/// # Errors
/// The store cannot answer.
pub async fn list(console: &Console) -> Result<Vec<SavedSearch>, FleetError> {
    let field = |fields: &Fields, key: &str| text(fields, key).unwrap_or_default().to_owned();
    let stored = console.all(&SAVED_SEARCHES).await?;
    let mut all: Vec<SavedSearch> = stored
        .into_iter()
        .map(|stored| SavedSearch {
            name: field(&stored.fields, "name"),
            url_query: field(&stored.fields, "url_query"),
            kept_by: field(&stored.fields, "updated_by"),
            id: stored.id.clone(),
        })
        .collect();
    all.sort_by_cached_key(|search| search.name.to_lowercase());
    Ok(all)
}

/// Keeps a search; one of the same name is replaced.
///
/// # Errors
/// A name that is empty or too long.
pub async fn keep(console: &Console, actor: &Actor, name: &str, url_query: &str) -> Result<(), FleetError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > LONGEST_NAME {
        return Err(FleetError::invalid(format!(
            "A saved search needs a name of 1 to {LONGEST_NAME} characters."
        )));
    }
    if url_query.len() > LONGEST_URL {
        return Err(FleetError::invalid(
            "This search is too long to be saved; use fewer filters.",
        ));
    }
    let _one_at_a_time = console.changes.lock().await;
    let present = console.all(&SAVED_SEARCHES).await?;
    let present = present
        .into_iter()
        .find(|search| text(&search.fields, "name") == Some(name));
    let mut fields = present
        .as_ref()
        .map(|present| present.fields.clone())
        .unwrap_or_default();
    fields.insert("name".into(), json!(name));
    fields.insert("url_query".into(), json!(url_query));
    now_fields(console, actor, &mut fields, present.is_none());
    let mut changes = Changes::default();
    match &present {
        Some(present) => changes.replace(&SAVED_SEARCHES, present, fields),
        None => changes.create(&SAVED_SEARCHES, &uuid::Uuid::new_v4().to_string(), fields),
    }
    changes::apply(console, actor, changes).await
}

/// Forgets a search.
///
/// # Errors
/// There is none of that id.
pub async fn forget(console: &Console, actor: &Actor, id: &str) -> Result<(), FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let present = console.require(&SAVED_SEARCHES, id).await?;
    let mut changes = Changes::default();
    changes.delete(&SAVED_SEARCHES, &present);
    changes::apply(console, actor, changes).await
}
