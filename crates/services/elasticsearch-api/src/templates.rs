//! Index and component templates, and templates of the old kind.

use std::sync::Arc;

use access::ClusterPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use query::mapping::Mapping;
use serde_json::{Map, Value, json};

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::catalog::{Catalog, Kind, patterns_of, priority_of};
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::Payload;
use crate::{answer, lifecycle};

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
        return Err(ApiError::illegal("Required [index_patterns]"));
    }
    let catalog = api.catalogs.current(&*api.store).await?;
    if params.flag("create")? && catalog.get(Kind::IndexTemplate, &name).is_some() {
        return Err(ApiError::illegal(format!("index template [{name}] already exists")));
    }
    refuse_equal(&catalog, &name, &body)?;
    let composed = compose(&catalog, &name, &body)?;
    Mapping::parse(composed.pointer("/template/mappings").unwrap_or(&Value::Null))?;
    api.store.put_index_template(&name, composed).await?;
    api.catalogs.put(&*api.store, Kind::IndexTemplate, &name, &body).await?;
    Ok(answer::acknowledged())
}

/// Two templates of one priority may not fit the same names.
fn refuse_equal(catalog: &Catalog, name: &str, body: &Value) -> Result<(), ApiError> {
    let (priority, patterns) = (priority_of(body), patterns_of(body).collect::<Vec<_>>());
    let equal = |(other, template): &(&str, &Value)| {
        *other != name
            && priority_of(template) == priority
            && patterns_of(template).any(|one| patterns.iter().any(|pattern| overlap(one, pattern)))
    };
    let Some((other, template)) = catalog.matching(Kind::IndexTemplate, "*").find(equal) else {
        return Ok(());
    };
    let theirs = patterns_of(template).collect::<Vec<_>>().join(", ");
    Err(ApiError::illegal(format!(
        "index template [{name}] has index patterns [{}] matching patterns from existing templates [{other}] with patterns ({other} => [{theirs}]) that have the same priority [{priority}], multiple index templates may not match during index creation, please use a different priority",
        patterns.join(", ")
    )))
}

/// The template with what its components say, later ones over earlier ones, its own part last.
pub(crate) fn compose(catalog: &Catalog, name: &str, body: &Value) -> Result<Value, ApiError> {
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
    let policy = lifecycle::policy_of(&json!({ "template": template })).map(str::to_owned);
    if let Some(retention) = policy.and_then(|policy| lifecycle::retention_of(catalog, &policy))
        && template.get("lifecycle").is_none()
    {
        template["lifecycle"] = json!({ "data_retention": retention });
    }
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
        .map(|(name, body)| {
            let mut body = body.clone();
            if let Some(settings) = body.pointer_mut("/template/settings") {
                *settings = nested_settings(settings);
            }
            json!({ "name": name, one: body })
        })
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
        return Err(missing_template(&name));
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
    compose_again(&api, |template| uses_component(template, &name)).await?;
    Ok(answer::acknowledged())
}

/// Whether an index template is composed of that component.
pub(crate) fn uses_component(template: &Value, component: &str) -> bool {
    let uses = template.get("composed_of").and_then(Value::as_array);
    uses.is_some_and(|list| list.iter().any(|one| one == component))
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
    let catalog = api.catalogs.current(&*api.store).await?;
    let users = catalog
        .matching(Kind::IndexTemplate, "*")
        .filter(|(_, body)| uses_component(body, &name));
    let users: Vec<&str> = users.map(|(template, _)| template).collect();
    if !users.is_empty() {
        return Err(ApiError::illegal(format!(
            "component templates [{name}] cannot be removed as they are still in use by index templates [{}]",
            users.join(", ")
        )));
    }
    if !api.catalogs.delete(&*api.store, Kind::ComponentTemplate, &name).await? {
        return Err(ApiError::not_found(format!("component template [{name}] missing")));
    }
    Ok(answer::acknowledged())
}

/// Composes index templates again after something that they are made of has changed.
pub(crate) async fn compose_again(api: &ElasticsearchApi, uses: impl Fn(&Value) -> bool) -> Result<(), ApiError> {
    let catalog = api.catalogs.current(&*api.store).await?;
    for (template, body) in catalog
        .matching(Kind::IndexTemplate, "*")
        .filter(|(_, body)| uses(body))
    {
        let composed = compose(&catalog, template, body)?;
        api.store.put_index_template(template, composed).await?;
    }
    Ok(())
}

/// `POST /_index_template/_simulate_index/{index}`.
pub(crate) async fn simulate_index(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    caller.needs_cluster(
        ClusterPrivilege::ManageIndexTemplates,
        "indices:admin/index_template/simulate_index",
    )?;
    let catalog = api.catalogs.current(&*api.store).await?;
    let Some((name, body)) = catalog.named_template_for(&index) else {
        return Ok(answer::json(&json!({})));
    };
    Ok(answer::json(&simulated(&catalog, name, body)?))
}

/// `POST /_index_template/_simulate`, `/_index_template/_simulate/{name}`.
pub(crate) async fn simulate(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    name: Option<Path<String>>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    caller.needs_cluster(
        ClusterPrivilege::ManageIndexTemplates,
        "indices:admin/index_template/simulate",
    )?;
    let catalog = api.catalogs.current(&*api.store).await?;
    let (name, body) = match (name, payload.json()?) {
        (name, Some(body)) => (name.map_or_else(String::new, |Path(name)| name), body),
        (Some(Path(name)), None) => {
            let body = catalog.get(Kind::IndexTemplate, &name).cloned();
            let missing = || ApiError::illegal(format!("unable to simulate template [{name}] that does not exist"));
            (name.clone(), body.ok_or_else(missing)?)
        }
        (None, None) => return Err(ApiError::validation("request body is required")),
    };
    Ok(answer::json(&simulated(&catalog, &name, &body)?))
}

/// What an index made of the template has, and the templates that it beats.
fn simulated(catalog: &Catalog, name: &str, body: &Value) -> Result<Value, ApiError> {
    let composed = compose(catalog, name, body)?;
    let part = |key: &str| {
        composed
            .pointer(&format!("/template/{key}"))
            .cloned()
            .unwrap_or_else(|| json!({}))
    };
    let patterns: Vec<&str> = patterns_of(body).collect();
    let overlapping = catalog.matching(Kind::IndexTemplate, "*").filter(|(other, template)| {
        *other != name && patterns_of(template).any(|one| patterns.iter().any(|pattern| overlap(one, pattern)))
    });
    let overlapping = overlapping
        .map(|(name, template)| json!({ "name": name, "index_patterns": patterns_of(template).collect::<Vec<_>>() }));
    Ok(json!({
        "template": { "settings": nested_settings(&part("settings")), "mappings": part("mappings"), "aliases": part("aliases") },
        "overlapping": overlapping.collect::<Vec<_>>(),
    }))
}

/// Whether some name can fit both.
fn overlap(one: &str, other: &str) -> bool {
    let stem = |pattern: &str| pattern.split('*').next().unwrap_or_default().to_owned();
    let (one_stem, other_stem) = (stem(one), stem(other));
    one == other || one_stem.starts_with(&other_stem) || other_stem.starts_with(&one_stem)
}

/// Settings below `index`, numbers and flags as texts: how the original shows them.
pub(crate) fn nested_settings(settings: &Value) -> Value {
    let mut index = Map::new();
    for (key, value) in settings.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("index", Value::Object(inner)) => {
                for (key, value) in inner {
                    put_setting(&mut index, key, value);
                }
            }
            (key, value) => put_setting(&mut index, key.strip_prefix("index.").unwrap_or(key), value),
        }
    }
    if index.is_empty() {
        json!({})
    } else {
        json!({ "index": index })
    }
}

fn put_setting(into: &mut Map<String, Value>, key: &str, value: &Value) {
    if let Some((first, rest)) = key.split_once('.') {
        let entry = into.entry(first).or_insert_with(|| json!({}));
        if let Value::Object(inner) = entry {
            put_setting(inner, rest, value);
        }
        return;
    }
    match value {
        Value::Object(inner) => {
            let entry = into.entry(key).or_insert_with(|| json!({}));
            if let Value::Object(target) = entry {
                inner.iter().for_each(|(key, value)| put_setting(target, key, value));
            }
        }
        Value::Number(_) | Value::Bool(_) => {
            into.insert(key.to_owned(), Value::String(value.to_string()));
        }
        other => {
            into.insert(key.to_owned(), other.clone());
        }
    }
}

/// `PUT|POST /_template/{name}`: kept, and used where no index template fits.
pub(crate) async fn put_old_template(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(&["cause", "create", "master_timeout", "order"])?;
    caller.needs_cluster(ClusterPrivilege::ManageIndexTemplates, "indices:admin/template/put")?;
    let body = payload.required()?;
    let known = ["index_patterns", "order", "version", "settings", "mappings", "aliases"];
    check_keys(&body, &known, "template")?;
    if body.get("index_patterns").is_none() {
        return Err(ApiError::validation("index patterns are missing"));
    }
    Mapping::parse(body.get("mappings").unwrap_or(&Value::Null))?;
    let parts = ["settings", "mappings", "aliases"].into_iter();
    let template: Map<String, Value> = parts
        .filter_map(|key| Some((key.to_owned(), body.get(key)?.clone())))
        .collect();
    // Index templates always beat those of the old kind.
    let priority = body.get("order").and_then(Value::as_i64).unwrap_or(0) - i64::from(i32::MAX);
    let whole = json!({ "index_patterns": body["index_patterns"], "priority": priority, "template": template });
    api.store.put_index_template(&old_name(&name), whole).await?;
    api.catalogs
        .put(&*api.store, Kind::LegacyTemplate, &name, &body)
        .await?;
    Ok(answer::acknowledged())
}

fn old_name(name: &str) -> String {
    format!("_template:{name}")
}

/// `GET|HEAD /_template`, `/_template/{name}`.
pub(crate) async fn old_template(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    name: Option<Path<String>>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "indices:admin/template/get")?;
    let pattern = name.map_or_else(|| "*".to_owned(), |Path(name)| name);
    let catalog = api.catalogs.current(&*api.store).await?;
    let found: Map<String, Value> = catalog
        .matching(Kind::LegacyTemplate, &pattern)
        .map(|(name, body)| {
            let part = |key: &str, default: Value| body.get(key).cloned().unwrap_or(default);
            let shown = json!({
                "order": part("order", json!(0)), "index_patterns": patterns_of(body).collect::<Vec<_>>(),
                "settings": nested_settings(&part("settings", json!({}))), "mappings": part("mappings", json!({})),
                "aliases": part("aliases", json!({})),
            });
            (name.to_owned(), shown)
        })
        .collect();
    let status = if found.is_empty() && !pattern.contains('*') {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::OK
    };
    Ok(answer::with_status(status, &found))
}

/// `DELETE /_template/{name}`.
pub(crate) async fn delete_old_template(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::ManageIndexTemplates, "indices:admin/template/delete")?;
    if !api.catalogs.delete(&*api.store, Kind::LegacyTemplate, &name).await? {
        return Err(missing_template(&name));
    }
    api.store.delete_index_template(&old_name(&name)).await?;
    Ok(answer::acknowledged())
}

fn missing_template(name: &str) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "index_template_missing_exception",
        format!("index_template [{name}] missing"),
    )
}

pub(crate) fn check_keys(body: &Value, known: &[&str], what: &str) -> Result<(), ApiError> {
    let Some(map) = body.as_object() else {
        return Err(ApiError::parsing(format!("[{what}] must be an object")));
    };
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "x_content_parse_exception",
            format!("[{what}] unknown field [{key}]"),
        )),
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
