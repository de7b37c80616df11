//! The UUID that all processes on one cluster show: made by the first, read by the others.

use anyhow::{Context, Result};
use serde_json::json;
use store::{Operation, Refresh, Source, Store, StoreError};

const INDEX: &str = ".flotilla-installation";
const ID: &str = "identity";

#[derive(serde::Deserialize, serde::Serialize)]
struct Identity {
    cluster_uuid: String,
}

/// The identity that `store` keeps.
pub(super) async fn of(store: &dyn Store) -> Result<String> {
    let body = json!({ "mappings": { "dynamic": false, "properties": {} } });
    match store.create_index(INDEX, body).await {
        Ok(()) | Err(StoreError::AlreadyExists(_)) => {}
        Err(error) => return Err(error).context("cannot create the index of the installation's identity"),
    }
    let fresh = Identity {
        cluster_uuid: uuid::Uuid::new_v4().to_string(),
    };
    // Refused when it is there already, which is as good.
    let create = Operation::create(INDEX, ID, Source::of(&fresh));
    store.bulk(vec![create], Refresh::Soon).await?;
    let kept = store
        .get(INDEX, ID)
        .await?
        .context("the cluster did not keep the installation's identity")?;
    Ok(kept.source.parse::<Identity>()?.cluster_uuid)
}
