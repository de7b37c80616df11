//! `_mapping`: which fields indices have.

use std::sync::Arc;

use access::IndexPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use query::mapping::Mapping;
use serde_json::{Map, Value, json};

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::indices::{TUNING, concrete, visible};
use crate::params::Params;
use crate::payload::Payload;
use crate::{answer, names};

/// `GET /_mapping`.
pub(crate) async fn get_all(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    shown(&api, &caller, "*", params).await
}

/// `GET /{index}/_mapping`.
pub(crate) async fn get(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    shown(&api, &caller, &index, params).await
}

async fn shown(api: &ElasticsearchApi, caller: &Caller, index: &str, params: Params) -> Result<Response, ApiError> {
    let params = params.only(TUNING)?;
    let mut found = Map::new();
    for name in visible(api, caller, index, &params, "indices:admin/mappings/get").await? {
        for index in concrete(api, &name).await? {
            let mappings = api.store.mapping(&index).await?.unwrap_or_else(|| json!({}));
            found.insert(index, json!({ "mappings": without_empty(mappings) }));
        }
    }
    Ok(answer::json(&found))
}

/// A mapping of no fields is shown as an empty object.
pub(crate) fn without_empty(mut mapping: Value) -> Value {
    if mapping
        .get("properties")
        .and_then(Value::as_object)
        .is_some_and(Map::is_empty)
        && let Some(map) = mapping.as_object_mut()
    {
        map.shift_remove("properties");
    }
    mapping
}

/// `PUT|POST /{index}/_mapping`.
pub(crate) async fn put(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(TUNING)?;
    let body = payload.required()?;
    Mapping::parse(&body)?;
    let options = names::Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        ..names::Options::default()
    };
    let action = "indices:admin/mapping/put";
    for name in names::resolve(&api, &caller, &index, IndexPrivilege::Manage, action, options).await? {
        for index in concrete(&api, &name).await? {
            api.store.put_mapping(&index, body.clone()).await?;
        }
    }
    Ok(answer::acknowledged())
}

/// `GET /{index}/_mapping/field/{fields}`.
pub(crate) async fn fields(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((index, fields)): Path<(String, String)>,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(TUNING)?;
    let patterns: Vec<&str> = fields.split(',').collect();
    let mut found = Map::new();
    for name in visible(&api, &caller, &index, &params, "indices:admin/mappings/fields/get").await? {
        for index in concrete(&api, &name).await? {
            let mapping = api.store.mapping(&index).await?.unwrap_or_else(|| json!({}));
            let mut shown = Map::new();
            collect(&mapping, "", &patterns, &mut shown);
            found.insert(index, json!({ "mappings": shown }));
        }
    }
    Ok(answer::json(&found))
}

fn collect(mapping: &Value, prefix: &str, patterns: &[&str], shown: &mut Map<String, Value>) {
    for group in ["properties", "fields"] {
        for (name, field) in mapping.get(group).and_then(Value::as_object).into_iter().flatten() {
            let full = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            let is_leaf = field
                .get("type")
                .is_some_and(|kind| kind != "object" && kind != "nested");
            if is_leaf && patterns.iter().any(|pattern| names::matches(pattern, &full)) {
                let about = json!({ "full_name": full, "mapping": { name: field } });
                shown.insert(full.clone(), about);
            }
            collect(field, &full, patterns, shown);
        }
    }
}
