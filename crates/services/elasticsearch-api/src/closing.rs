//! Closed indices: kept, and neither read nor written until they are opened.

use std::sync::Arc;

use access::IndexPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};
use store::NameKind;

use crate::aliases::Aliases;
use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::catalog::Kind;
use crate::error::ApiError;
use crate::params::Params;
use crate::{answer, names};

const PARAMETERS: &[&str] = &[
    "allow_no_indices",
    "expand_wildcards",
    "ignore_unavailable",
    "master_timeout",
    "timeout",
    "wait_for_active_shards",
];

/// `POST /{index}/_close`.
pub(crate) async fn close(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let open = named(&api, &caller, &index, &params, "indices:admin/close").await?;
    let aliases = Aliases::current(&api).await?;
    let mut closed = Map::new();
    for name in open.into_iter().filter(|name| !aliases.is_closed(name)) {
        api.store.refresh(&name).await?;
        api.catalogs.put(&*api.store, Kind::Closed, &name, &json!({})).await?;
        closed.insert(name, json!({ "closed": true }));
    }
    let some = !closed.is_empty();
    Ok(answer::json(
        &json!({ "acknowledged": true, "shards_acknowledged": some, "indices": closed }),
    ))
}

/// `POST /{index}/_open`.
pub(crate) async fn open(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    for name in named(&api, &caller, &index, &params, "indices:admin/open").await? {
        forget(&api, &name).await?;
    }
    Ok(answer::json(
        &json!({ "acknowledged": true, "shards_acknowledged": true }),
    ))
}

/// The indices that are named; data streams cannot be closed, and many not without their names.
async fn named(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    params: &Params,
    action: &str,
) -> Result<Vec<String>, ApiError> {
    let params = params.clone().only(PARAMETERS)?;
    if expression.contains('*') || expression == "_all" {
        return Err(ApiError::illegal("Wildcard expressions or all indices are not allowed"));
    }
    let options = names::Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        ..names::Options::default()
    };
    let found = names::resolve(api, caller, expression, IndexPrivilege::Manage, action, options).await?;
    let known = api.store.names(&found).await?;
    let stream = known
        .iter()
        .find(|one| one.kind == NameKind::DataStream && found.contains(&one.name));
    match stream {
        Some(stream) => Err(ApiError::illegal(format!(
            "cannot close or open the data stream [{}]; delete it, or let its retention do so",
            stream.name
        ))),
        None => Ok(found),
    }
}

/// An index that is opened or deleted.
pub(crate) async fn forget(api: &ElasticsearchApi, index: &str) -> Result<(), ApiError> {
    if Aliases::current(api).await?.is_closed(index) {
        api.catalogs.delete(&*api.store, Kind::Closed, index).await?;
    }
    Ok(())
}

/// 400 `index_closed_exception`.
pub(crate) fn is_closed(index: &str) -> ApiError {
    let mut error = ApiError::new(StatusCode::BAD_REQUEST, "index_closed_exception", "closed");
    *error.details = Map::from_iter([
        ("index_uuid".to_owned(), Value::from("_na_")),
        ("index".to_owned(), Value::from(index)),
    ]);
    error
}
