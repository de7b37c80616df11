//! How long documents are kept and when new indices begin: life cycle policies, retention of data streams, rollover.

use std::sync::Arc;
use std::time::Duration;

use access::{ClusterPrivilege, IndexPrivilege};
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};
use store::{DataStreamInfo, NameKind, StoreError};

use crate::aliases::Aliases;
use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::catalog::{Catalog, Kind};
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::Payload;
use crate::templates::{check_keys, compose_again};
use crate::{aliases, answer, names, retention, time_value};

const PARAMETERS: &[&str] = &["expand_wildcards", "include_defaults", "master_timeout", "timeout"];

/// What each phase may do. Source: Elasticsearch reference, index lifecycle actions.
const ACTIONS: &[&str] = &[
    "allocate",
    "delete",
    "downsample",
    "forcemerge",
    "migrate",
    "readonly",
    "rollover",
    "searchable_snapshot",
    "set_priority",
    "shrink",
    "unfollow",
    "wait_for_snapshot",
];

/// `PUT /_ilm/policy/{name}`: what its delete phase says becomes the retention of the templates that name it.
pub(crate) async fn put_policy(
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
    check_policy(&body)?;
    api.catalogs
        .put(&*api.store, Kind::LifecyclePolicy, &name, &body)
        .await?;
    compose_again(&api, |template| policy_of(template) == Some(name.as_str())).await?;
    Ok(answer::acknowledged())
}

fn check_policy(body: &Value) -> Result<(), ApiError> {
    let phases = body.pointer("/policy/phases").and_then(Value::as_object);
    let phases = phases.ok_or_else(|| ApiError::parsing("Required [policy.phases]"))?;
    for (phase, about) in phases {
        if !["hot", "warm", "cold", "frozen", "delete"].contains(&phase.as_str()) {
            return Err(ApiError::illegal(format!("lifecycle does not support phase [{phase}]")));
        }
        if let Some(age) = about.get("min_age").and_then(Value::as_str) {
            time_value::parse(age, "min_age")?;
        }
        for action in about
            .get("actions")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(Map::keys)
        {
            if !ACTIONS.contains(&action.as_str()) {
                return Err(ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "x_content_parse_exception",
                    format!("[lifecycle_policy] unknown action [{action}] in phase [{phase}]"),
                ));
            }
        }
    }
    Ok(())
}

/// `index.lifecycle.name` of a template.
pub(crate) fn policy_of(template: &Value) -> Option<&str> {
    let settings = template.pointer("/template/settings")?;
    let nested = settings
        .pointer("/index/lifecycle/name")
        .or_else(|| settings.pointer("/lifecycle/name"));
    nested.or_else(|| settings.get("index.lifecycle.name"))?.as_str()
}

/// The age at which a policy deletes.
pub(crate) fn retention_of<'a>(catalog: &'a Catalog, policy: &str) -> Option<&'a str> {
    let delete = catalog
        .get(Kind::LifecyclePolicy, policy)?
        .pointer("/policy/phases/delete")?;
    Some(delete.get("min_age").and_then(Value::as_str).unwrap_or("0ms"))
}

/// `GET /_ilm/policy`, `/_ilm/policy/{name}`.
pub(crate) async fn policies(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    name: Option<Path<String>>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::ReadIlm, "cluster:admin/ilm/get")?;
    let pattern = name.map_or_else(|| "*".to_owned(), |Path(name)| name);
    let catalog = api.catalogs.current(&*api.store).await?;
    let templates: Vec<(&str, &Value)> = catalog.matching(Kind::IndexTemplate, "*").collect();
    let found: Map<String, Value> = catalog
        .matching(Kind::LifecyclePolicy, &pattern)
        .map(|(name, body)| {
            let users = templates
                .iter()
                .filter(|(_, template)| policy_of(template) == Some(name));
            let users: Vec<&str> = users.map(|(template, _)| *template).collect();
            let uses = json!({ "indices": [], "data_streams": [], "composable_templates": users });
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
pub(crate) async fn delete_policy(
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
    compose_again(&api, |template| policy_of(template) == Some(name.as_str())).await?;
    Ok(answer::acknowledged())
}

/// `GET /_ilm/status`.
pub(crate) async fn status(
    State(_): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::ReadIlm, "cluster:admin/ilm/operation_mode/get")?;
    Ok(answer::json(&json!({ "operation_mode": "RUNNING" })))
}

/// `GET /_data_stream/{name}/_lifecycle`.
pub(crate) async fn stream_lifecycle(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    let streams = streams(&api, &caller, &name, IndexPrivilege::ViewMetadata).await?;
    let shown = streams
        .iter()
        .map(|stream| json!({ "name": stream.name, "lifecycle": shown(stream) }));
    let shown: Vec<Value> = shown.collect();
    Ok(answer::json(&json!({ "data_streams": shown, "global_retention": {} })))
}

/// A data stream's life cycle as it is shown.
pub(crate) fn shown(stream: &DataStreamInfo) -> Value {
    match stream.retention.map(time_value::written) {
        None => json!({ "enabled": true }),
        Some(retention) => json!({
            "enabled": true, "data_retention": retention, "effective_retention": retention,
            "retention_determined_by": "data_stream_configuration",
        }),
    }
}

/// `PUT /_data_stream/{name}/_lifecycle`.
pub(crate) async fn put_stream_lifecycle(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    let body = payload.json()?.unwrap_or_else(|| json!({}));
    check_keys(&body, &["data_retention", "enabled", "downsampling"], "lifecycle")?;
    if body.get("downsampling").is_some() {
        return Err(ApiError::illegal("[downsampling] is not supported"));
    }
    let retention = match body.get("data_retention") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(time_value::parse(text, "data_retention")?),
        Some(_) => {
            return Err(ApiError::parsing(
                "[lifecycle] [data_retention] must be a time such as `30d`",
            ));
        }
    };
    for stream in streams(&api, &caller, &name, IndexPrivilege::Manage).await? {
        keep_for(&api, &stream.name, retention).await?;
    }
    Ok(answer::acknowledged())
}

/// In the store, else beside the templates: then [`crate::retention`] sees to it.
async fn keep_for(api: &ElasticsearchApi, stream: &str, retention: Option<Duration>) -> Result<(), ApiError> {
    match (api.store.keep_data_stream_for(stream, retention).await, retention) {
        (Err(StoreError::Unsupported(_)), Some(retention)) => {
            let body = json!({ "data_retention": time_value::written(retention) });
            api.catalogs.put(&*api.store, Kind::Retention, stream, &body).await?;
        }
        (Err(StoreError::Unsupported(_)), None) => {
            api.catalogs.delete(&*api.store, Kind::Retention, stream).await?;
        }
        (done, _) => done?,
    }
    Ok(())
}

/// `DELETE /_data_stream/{name}/_lifecycle`.
pub(crate) async fn delete_stream_lifecycle(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    for stream in streams(&api, &caller, &name, IndexPrivilege::Manage).await? {
        keep_for(&api, &stream.name, None).await?;
    }
    Ok(answer::acknowledged())
}

async fn streams(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    privilege: IndexPrivilege,
) -> Result<Vec<DataStreamInfo>, ApiError> {
    let action = "indices:admin/data_stream/lifecycle";
    let found = names::resolve(api, caller, expression, privilege, action, names::Options::default()).await?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let catalog = api.catalogs.current(&*api.store).await?;
    let mut streams = api.store.data_streams(&found).await?;
    for stream in &mut streams {
        stream.retention = stream.retention.or_else(|| retention::own(&catalog, &stream.name));
    }
    Ok(streams)
}

/// `POST /{target}/_rollover`.
pub(crate) async fn rollover(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(target): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    roll(&api, &caller, &target, None, params, payload).await
}

/// `POST /{target}/_rollover/{new_index}`.
pub(crate) async fn rollover_to(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((target, new)): Path<(String, String)>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    roll(&api, &caller, &target, Some(new), params, payload).await
}

/// What is rolled over.
struct Target {
    /// The index that is written to now.
    old: String,
    new: String,
    is_stream: bool,
}

async fn roll(
    api: &ElasticsearchApi,
    caller: &Caller,
    name: &str,
    new: Option<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(&["dry_run", "lazy", "master_timeout", "timeout", "wait_for_active_shards"])?;
    names::check(name)?;
    caller.needs_index(name, IndexPrivilege::Manage, "indices:admin/rollover")?;
    let body = payload.json()?.unwrap_or_else(|| json!({}));
    check_keys(&body, &["conditions", "settings", "mappings", "aliases"], "rollover")?;
    let target = target_of(api, name, new).await?;
    let conditions = conditions(api, &target.old, body.get("conditions")).await?;
    let met = conditions.is_empty() || conditions.values().any(|met| met == true);
    let dry_run = params.flag("dry_run")?;
    let rolls = met && !dry_run;
    let (mut old, mut new) = (target.old.clone(), target.new.clone());
    if rolls && target.is_stream {
        (old, new) = api.store.rollover(name).await?;
    } else if rolls {
        roll_alias(api, name, &target, &body).await?;
    }
    Ok(answer::json(&json!({
        "acknowledged": rolls, "shards_acknowledged": rolls, "old_index": old, "new_index": new,
        "rolled_over": rolls, "dry_run": dry_run, "lazy": false, "conditions": conditions,
    })))
}

async fn target_of(api: &ElasticsearchApi, name: &str, new: Option<String>) -> Result<Target, ApiError> {
    let aliases = Aliases::current(api).await?;
    if aliases.members(name).is_some() {
        let old = aliases.write_index(name)?;
        let new = new
            .or_else(|| next_name(&old))
            .ok_or_else(|| ApiError::illegal(format!("index name [{old}] does not match pattern '^.*-\\d+$'")))?;
        let is_stream = false;
        return Ok(Target { old, new, is_stream });
    }
    let streams = api.store.data_streams(&[name.to_owned()]).await?;
    let Some(stream) = streams.into_iter().find(|stream| stream.name == name) else {
        let known = api.store.names(&[name.to_owned()]).await?;
        return Err(if known.iter().any(|one| matches!(one.kind, NameKind::Index)) {
            ApiError::illegal("rollover target is a [concrete index] but one of [alias,data_stream] was expected")
        } else {
            ApiError::not_found(format!("rollover target [{name}] does not exist"))
        });
    };
    let old = stream.backing_indices.last().cloned().unwrap_or_default();
    let date = api.clock.now().strftime("%Y.%m.%d").to_string();
    let next = old
        .rsplit_once('-')
        .and_then(|(_, number)| number.parse::<u64>().ok())
        .unwrap_or(0)
        + 1;
    Ok(Target {
        old,
        new: format!(".ds-{name}-{date}-{next:06}"),
        is_stream: true,
    })
}

/// `logs-000001` becomes `logs-000002`.
fn next_name(index: &str) -> Option<String> {
    let (stem, number) = index.rsplit_once('-')?;
    let next = number.parse::<u64>().ok()? + 1;
    Some(format!("{stem}-{next:06}"))
}

async fn roll_alias(api: &ElasticsearchApi, alias: &str, target: &Target, body: &Value) -> Result<(), ApiError> {
    let mut created = Map::new();
    for key in ["settings", "mappings"] {
        if let Some(part) = body.get(key) {
            created.insert(key.to_owned(), part.clone());
        }
    }
    api.store.create_index(&target.new, Value::Object(created)).await?;
    let now = Aliases::current(api).await?;
    let part = now
        .of_index(&target.old)
        .get(alias)
        .cloned()
        .unwrap_or_else(|| json!({}));
    if part.get("is_write_index").is_some() {
        let marked = |flag: bool| {
            let mut part = part.clone();
            part["is_write_index"] = json!(flag);
            part
        };
        aliases::put(api, &target.new, alias, marked(true)).await?;
        return aliases::put(api, &target.old, alias, marked(false)).await;
    }
    aliases::put(api, &target.new, alias, part).await?;
    aliases::remove(api, &target.old, alias).await.map(|_| ())
}

/// Each condition, and whether it is met.
async fn conditions(
    api: &ElasticsearchApi,
    index: &str,
    wanted: Option<&Value>,
) -> Result<Map<String, Value>, ApiError> {
    let mut shown = Map::new();
    let Some(Value::Object(wanted)) = wanted else {
        return Ok(shown);
    };
    let info = api.store.indices(&[index.to_owned()]).await?.into_iter().next();
    let (documents, bytes) = info.as_ref().map_or((0, 0), |info| (info.documents, info.bytes));
    let age = created(index)
        .map(|created| api.clock.now().duration_since(created))
        .unwrap_or_default();
    for (name, value) in wanted {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let wrong = || ApiError::illegal(format!("failed to parse [{name}] with value [{text}]"));
        let met = match name.as_str() {
            "max_docs" | "max_primary_shard_docs" => documents >= text.parse::<u64>().map_err(|_| wrong())?,
            "min_docs" | "min_primary_shard_docs" => documents >= text.parse::<u64>().map_err(|_| wrong())?,
            "max_size" | "max_primary_shard_size" | "min_size" | "min_primary_shard_size" => {
                bytes >= size(&text).ok_or_else(wrong)?
            }
            "max_age" | "min_age" => {
                let wanted = time_value::parse(&text, name)?;
                Duration::try_from(age).unwrap_or_default() >= wanted
            }
            other => {
                return Err(ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "x_content_parse_exception",
                    format!("[rollover_conditions] unknown field [{other}]"),
                ));
            }
        };
        shown.insert(format!("[{name}: {text}]"), json!(met));
    }
    Ok(shown)
}

/// The day in the name of a backing index.
fn created(index: &str) -> Option<jiff::Timestamp> {
    let day = index.strip_prefix(".ds-")?.rsplit('-').nth(1)?;
    let day = jiff::civil::Date::strptime("%Y.%m.%d", day).ok()?;
    day.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|day| day.timestamp())
}

/// `50gb`, `10mb`, `1024b`.
fn size(text: &str) -> Option<u64> {
    let text = text.to_lowercase();
    let units = [("pb", 50), ("tb", 40), ("gb", 30), ("mb", 20), ("kb", 10), ("b", 0)];
    let (number, shift) = units
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))?;
    number.trim().parse::<u64>().ok()?.checked_shl(*shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sizes_are_read() {
        assert_eq!(next_name("roll-000009").as_deref(), Some("roll-000010"));
        assert_eq!(next_name("roll"), None);
        assert_eq!(size("50GB"), Some(50 << 30));
        assert_eq!(size("12"), None);
        assert!(created(".ds-logs-a-default-2026.11.30-000001").is_some());
    }
}
