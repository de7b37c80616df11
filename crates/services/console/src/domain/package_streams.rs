//! Data streams that are there when a package is installed anew: they take the new mappings, and those that cannot begin a new
//! index, which is made from the new template.
//!
//! Source: packages, what an installation creates.

use packages::assets::Asset;
use query::mapping::Mapping;
use serde_json::Value;
use store::{NameKind, StoreError};

use super::installed_packages::How;
use crate::Console;
use crate::domain::error::FleetError;

/// Lets the data streams of these index templates follow. `before` are the assets of the version that was installed.
///
/// # Errors
/// The store cannot answer.
pub(super) async fn follow(
    console: &Console,
    templates: &[Asset],
    before: &[Asset],
    how: How,
) -> Result<(), FleetError> {
    for template in templates {
        let former = before
            .iter()
            .find(|asset| asset.kind == template.kind && asset.name == template.name);
        let fits = former.is_none_or(|former| can_stay(former, template));
        for stream in streams_of(console, template).await? {
            follow_one(console, &stream, template, fits, how).await?;
        }
    }
    Ok(())
}

async fn follow_one(console: &Console, stream: &str, template: &Asset, fits: bool, how: How) -> Result<(), FleetError> {
    let mappings = template.body.pointer("/template/mappings").cloned();
    let taken = match mappings.filter(|_| fits) {
        Some(mappings) => console.store.put_mapping(stream, mappings).await,
        None => Err(StoreError::Unsupported(
            "its settings or the types of its fields differ".to_owned(),
        )),
    };
    let reason = match taken {
        // The embedded store reads the mapping of a data stream from its template.
        Ok(()) | Err(StoreError::IndexNotFound(_)) => return Ok(()),
        Err(error @ (StoreError::Unavailable(_) | StoreError::DiskFull(_) | StoreError::Damaged(_))) => {
            return Err(error.into());
        }
        Err(error) => error,
    };
    if how.skip_rollover || how.ignore_misfits {
        tracing::warn!(data_stream = %stream, %reason, "a data stream keeps its index, which the package's new version does not fit");
        return Ok(());
    }
    let (old, new) = console.store.rollover(stream).await?;
    tracing::info!(data_stream = %stream, %old, %new, %reason, "a data stream goes on in a new index");
    Ok(())
}

/// The data streams that are made from a template.
async fn streams_of(console: &Console, template: &Asset) -> Result<Vec<String>, FleetError> {
    let patterns = template.body["index_patterns"].as_array().into_iter().flatten();
    let patterns: Vec<String> = patterns.filter_map(Value::as_str).map(str::to_owned).collect();
    let names = console.store.names(&patterns).await?.into_iter();
    Ok(names
        .filter(|name| name.kind == NameKind::DataStream)
        .map(|name| name.name)
        .collect())
}

/// Whether an index made from the one template can go on under the other.
fn can_stay(former: &Asset, new: &Asset) -> bool {
    let part = |asset: &Asset, name: &str| asset.body.pointer(&format!("/template/{name}")).cloned();
    let settings = |asset: &Asset| {
        let mut settings = part(asset, "settings").unwrap_or_default();
        // Which pipeline is run does not depend on the index where our API runs it; in a cluster it is in the template.
        if let Some(Value::Object(index)) = settings.get_mut("index")
            && new.body.pointer("/template/settings/index/default_pipeline").is_none()
        {
            index.shift_remove("default_pipeline");
        }
        settings
    };
    let is_empty = |value: &Value| value.as_object().is_none_or(serde_json::Map::is_empty);
    let (old_settings, new_settings) = (settings(former), settings(new));
    let same_settings = old_settings["index"] == new_settings["index"]
        || is_empty(&old_settings["index"]) && is_empty(&new_settings["index"]);
    let mapping = |asset: &Asset| part(asset, "mappings").and_then(|mappings| Mapping::parse(&mappings).ok());
    let merges = match (mapping(former), mapping(new)) {
        (Some(mut old), Some(new)) => old.merge(new).is_ok(),
        _ => false,
    };
    same_settings && merges
}
