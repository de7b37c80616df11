//! Index and component templates, life cycle policies.

use std::sync::Arc;

use access::ClusterPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::catalog::{Catalog, Kind};
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::Payload;
use crate::{answer, indices};

const PARAMETERS: &[&str] = &[
    "cause",
    "create",
    "flat_settings",
    "include_defaults",
    "local",
    "master_timeout",
    "timeout",
];

/// `PUT|POST /_index_template/{name}`.
pub(crate) async fn put_index_template(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(PARAMETERS)?;
    caller.needs_cluster(
        ClusterPrivilege::ManageIndexTemplates,
        "indices:admin/index_template/put",
    )?;
    let body = payload.required()?;
    check_keys(
        &body,
        &[
            "index_patterns",
            "template",
            "composed_of",
            "priority",
            "version",
            "_meta",
            "data_stream",
            "allow_auto_create",
            "ignore_missing_component_templates",
            "deprecated",
        ],
        "index_template",
    )?;
    if body.get("index_patterns").is_none() {
        return Err(ApiError::parsing("Required [index_patterns]"));
    }
    let catalog = api.catalogs.current(&*api.store).await?;
    if params.flag("create")? && catalog.get(Kind::IndexTemplate, &name).is_some() {
        return Err(ApiError::illegal(format!("index template [{name}] already exists")));
    }
    let composed = compose(&catalog, &name, &body)?;
    api.store.put_index_template(&name, composed).await?;
    api.catalogs.put(&*api.store, Kind::IndexTemplate, &name, &body).await?;
    Ok(answer::acknowledged())
}

/// The template with what its components say, later ones over earlier ones, its own part last.
fn compose(catalog: &Catalog, name: &str, body: &Value) -> Result<Value, ApiError> {
    let strings = |key: &str| {
        let list = body.get(key).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let may_miss = strings("ignore_missing_component_templates");
    let mut template = json!({});
    for component in strings("composed_of") {
        match catalog.get(Kind::ComponentTemplate, component) {
            Some(found) => merge(&mut template, found.get("template").unwrap_or(&Value::Null)),
            // `name@custom` is for users to add: it may always be missing.
            None if may_miss.contains(&component) || component.ends_with("@custom") => {}
            None => {
                return Err(ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "invalid_index_template_exception",
                    format!(
                        "index_template [{name}] invalid, cause [index template [{name}] specifies component templates [{component}] that do not exist]"
                    ),
                ));
            }
        }
    }
    merge(&mut template, body.get("template").unwrap_or(&Value::Null));
    let mut composed = body.clone();
    composed["template"] = template;
    Ok(composed)
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (into, from) => *into = from.clone(),
    }
}

/// `GET|HEAD /_index_template/{name}`.
pub(crate) async fn index_template(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    name: Option<Path<String>>,
    params: Params,
) -> Result<Response, ApiError> {
    listed(&api, &caller, Kind::IndexTemplate, name, params).await
}

/// `GET|HEAD /_component_template/{name}`.
pub(crate) async fn component_template(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    name: Option<Path<String>>,
    params: Params,
) -> Result<Response, ApiError> {
    listed(&api, &caller, Kind::ComponentTemplate, name, params).await
}

async fn listed(
    api: &ElasticsearchApi,
    caller: &Caller,
    kind: Kind,
    name: Option<Path<String>>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "indices:admin/index_template/get")?;
    let (list, one, words) = match kind {
        Kind::ComponentTemplate => ("component_templates", "component_template", "component template"),
        _ => ("index_templates", "index_template", "index template"),
    };
    let pattern = name.map_or_else(|| "*".to_owned(), |Path(name)| name);
    let catalog = api.catalogs.current(&*api.store).await?;
    let found: Vec<_> = catalog
        .matching(kind, &pattern)
        .map(|(name, body)| json!({ "name": name, one: body }))
        .collect();
    if found.is_empty() && !pattern.contains('*') {
        return Err(ApiError::not_found(format!("{words} matching [{pattern}] not found")));
    }
    Ok(answer::json(&json!({ list: found })))
}

/// `DELETE /_index_template/{name}`.
pub(crate) async fn delete_index_template(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    caller.needs_cluster(
        ClusterPrivilege::ManageIndexTemplates,
        "indices:admin/index_template/delete",
    )?;
    let in_store = api.store.delete_index_template(&name).await?;
    let in_catalog = api.catalogs.delete(&*api.store, Kind::IndexTemplate, &name).await?;
    if !in_store && !in_catalog {
        return Err(ApiError::not_found(format!("index_template [{name}] missing")));
    }
    Ok(answer::acknowledged())
}

/// `PUT|POST /_component_template/{name}`: the index templates made of it are composed again.
pub(crate) async fn put_component_template(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    caller.needs_cluster(
        ClusterPrivilege::ManageIndexTemplates,
        "cluster:admin/component_template/put",
    )?;
    let body = payload.required()?;
    check_keys(
        &body,
        &["template", "version", "_meta", "deprecated"],
        "component_template",
    )?;
    if body.get("template").is_none() {
        return Err(ApiError::parsing("Required [template]"));
    }
    api.catalogs
        .put(&*api.store, Kind::ComponentTemplate, &name, &body)
        .await?;
    let catalog = api.catalogs.current(&*api.store).await?;
    for (template, body) in catalog.matching(Kind::IndexTemplate, "*") {
        let uses = body.get("composed_of").and_then(Value::as_array);
        if uses.is_some_and(|list| list.iter().any(|component| *component == json!(name))) {
            api.store
                .put_index_template(template, compose(&catalog, template, body)?)
                .await?;
        }
    }
    Ok(answer::acknowledged())
}

/// `DELETE /_component_template/{name}`.
pub(crate) async fn delete_component_template(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    caller.needs_cluster(
        ClusterPrivilege::ManageIndexTemplates,
        "cluster:admin/component_template/delete",
    )?;
    if !api.catalogs.delete(&*api.store, Kind::ComponentTemplate, &name).await? {
        return Err(ApiError::not_found(format!("component template [{name}] missing")));
    }
    Ok(answer::acknowledged())
}

/// `PUT /_ilm/policy/{name}`.
pub(crate) async fn put_lifecycle_policy(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::ManageIlm, "cluster:admin/ilm/put")?;
    let body = payload.required()?;
    check_keys(&body, &["policy"], "put_lifecycle_request")?;
    let phases = body.pointer("/policy/phases").and_then(Value::as_object);
    let phases = phases.ok_or_else(|| ApiError::parsing("Required [policy.phases]"))?;
    for phase in phases.keys() {
        if !["hot", "warm", "cold", "frozen", "delete"].contains(&phase.as_str()) {
            return Err(ApiError::illegal(format!("lifecycle does not support phase [{phase}]")));
        }
    }
    api.catalogs
        .put(&*api.store, Kind::LifecyclePolicy, &name, &body)
        .await?;
    Ok(answer::acknowledged())
}

/// `GET /_ilm/policy`, `/_ilm/policy/{name}`.
pub(crate) async fn lifecycle_policy(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    name: Option<Path<String>>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::ReadIlm, "cluster:admin/ilm/get")?;
    let pattern = name.map_or_else(|| "*".to_owned(), |Path(name)| name);
    let catalog = api.catalogs.current(&*api.store).await?;
    let found: Map<String, Value> = catalog
        .matching(Kind::LifecyclePolicy, &pattern)
        .map(|(name, body)| {
            let uses = json!({ "indices": [], "data_streams": [], "composable_templates": [] });
            let policy = body.get("policy").cloned().unwrap_or(Value::Null);
            (
                name.to_owned(),
                json!({ "version": 1, "policy": policy, "in_use_by": uses }),
            )
        })
        .collect();
    if found.is_empty() && !pattern.contains('*') {
        return Err(ApiError::not_found(format!("Lifecycle policy not found: {pattern}")));
    }
    Ok(answer::json(&found))
}

/// `DELETE /_ilm/policy/{name}`.
pub(crate) async fn delete_lifecycle_policy(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::ManageIlm, "cluster:admin/ilm/delete")?;
    if !api.catalogs.delete(&*api.store, Kind::LifecyclePolicy, &name).await? {
        return Err(ApiError::not_found(format!("Lifecycle policy not found: {name}")));
    }
    Ok(answer::acknowledged())
}

/// `GET|HEAD /_template/{name}`: templates of the old kind are not kept.
pub(crate) async fn no_old_template(
    State(_): State<Arc<ElasticsearchApi>>,
    _caller: Caller,
    Path(_): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    Ok(indices::exists(false))
}

fn check_keys(body: &Value, known: &[&str], what: &str) -> Result<(), ApiError> {
    let Some(map) = body.as_object() else {
        return Err(ApiError::parsing(format!("[{what}] must be an object")));
    };
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(ApiError::parsing(format!("[{what}] unknown field [{key}]"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_components_win_and_objects_are_merged() {
        let mut into = json!({"mappings": {"properties": {"a": {"type": "keyword"}, "b": {"type": "long"}}}});
        merge(
            &mut into,
            &json!({"mappings": {"properties": {"b": {"type": "ip"}}}, "settings": {"x": 1}}),
        );
        assert_eq!(into["mappings"]["properties"]["a"]["type"], "keyword");
        assert_eq!(into["mappings"]["properties"]["b"]["type"], "ip");
        assert_eq!(into["settings"]["x"], 1);
    }

    #[test]
    fn a_missing_component_is_named() {
        let body = json!({"index_patterns": ["x"], "composed_of": ["gone", "a@custom"]});
        let error = compose(&Catalog::default(), "t", &body).unwrap_err();
        assert!(error.reason.contains("[gone]"), "{}", error.reason);
    }
}
