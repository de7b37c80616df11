//! Index templates and pipelines of packages, where the Elasticsearch API looks for them.
//!
//! One document for each in `.flotilla-catalog`: the form is that API's own, and a test of the whole program proves that both
//! sides agree. The API looks at it again every few seconds.

use packages::assets::Asset;
use serde_json::json;
use store::{Operation, Outcome, Refresh, RejectionKind, Source, StoreError};

use crate::Console;
use crate::domain::error::FleetError;

const INDEX: &str = ".flotilla-catalog";

/// Puts these assets, in place of former ones of the same name.
///
/// # Errors
/// The store cannot answer.
pub(crate) async fn put(console: &Console, assets: &[Asset]) -> Result<(), FleetError> {
    if assets.is_empty() {
        return Ok(());
    }
    let keyword = json!({"type": "keyword"});
    let mappings = json!({"dynamic": false, "properties": {"kind": keyword, "name": keyword}});
    match console.store.create_index(INDEX, json!({"mappings": mappings})).await {
        Ok(()) | Err(StoreError::AlreadyExists(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let writes = assets.iter().map(|asset| {
        let (kind, id) = place(asset);
        // As text: nobody's mapping sees its fields.
        let entry = json!({"kind": kind, "name": asset.name, "body": asset.body.to_string()});
        Operation::index(INDEX, id, Source::of(&entry))
    });
    let outcomes = console.store.bulk(writes.collect(), Refresh::WaitFor).await?;
    outcomes
        .into_iter()
        .try_for_each(|outcome| Ok(outcome.written().map(drop)?))
}

/// Removes these assets; those that are gone already do not matter.
///
/// # Errors
/// The store cannot answer.
pub(crate) async fn remove(console: &Console, assets: &[Asset]) -> Result<(), FleetError> {
    if assets.is_empty() {
        return Ok(());
    }
    let deletes = assets.iter().map(|asset| Operation::delete(INDEX, place(asset).1));
    for outcome in console.store.bulk(deletes.collect(), Refresh::WaitFor).await? {
        match outcome {
            Outcome::Rejected(rejection)
                if !matches!(
                    rejection.kind,
                    RejectionKind::IndexNotFound | RejectionKind::DocumentMissing
                ) =>
            {
                return Err(rejection.into());
            }
            _ => {}
        }
    }
    Ok(())
}

fn place(asset: &Asset) -> (&'static str, String) {
    if asset.kind == "index_template" {
        ("index_template", format!("index-template-{}", asset.name))
    } else {
        ("pipeline", format!("pipeline-{}", asset.name))
    }
}
