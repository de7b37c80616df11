//! Indices and data streams: create, delete, refresh, mappings, what exists.

use std::sync::Arc;

use access::IndexPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use query::mapping::Mapping;
use serde_json::{Map, Value, json};
use store::NameKind;

use crate::aliases::{self, Aliases};
use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::names::Options;
use crate::params::Params;
use crate::payload::Payload;
use crate::{answer, closing, dated_names, names};

pub(crate) const TUNING: &[&str] = &[
    "allow_no_indices",
    "expand_wildcards",
    "features",
    "flat_settings",
    "force",
    "ignore_unavailable",
    "include_defaults",
    "local",
    "master_timeout",
    "timeout",
    "verbose",
    "wait_for_active_shards",
    "write_index_only",
];

/// `PUT /{index}`.
pub(crate) async fn create(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(TUNING)?;
    let index = dated_names::resolve(&index, api.clock.now())?.into_owned();
    names::check(&index)?;
    caller.needs_index(&index, IndexPrivilege::Create, "indices:admin/create")?;
    let body = payload.json()?.unwrap_or_else(|| json!({}));
    for key in body
        .as_object()
        .ok_or_else(|| ApiError::parsing("the body must be an object"))?
        .keys()
    {
        if !["settings", "mappings", "aliases"].contains(&key.as_str()) {
            let reason = format!("unknown key [{key}] for create index");
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "parse_exception", reason));
        }
    }
    Mapping::parse(body.get("mappings").unwrap_or(&Value::Null))?;
    check_settings(body.get("settings").unwrap_or(&Value::Null))?;
    create_with_aliases(&api, &index, body).await?;
    Ok(answer::json(
        &json!({ "acknowledged": true, "shards_acknowledged": true, "index": index }),
    ))
}

/// Makes an index, and puts it into the aliases of its template and of the call.
pub(crate) async fn create_with_aliases(api: &ElasticsearchApi, index: &str, body: Value) -> Result<(), ApiError> {
    let aliases_of = |body: &Value| {
        body.get("aliases")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    let catalog = api.catalogs.current(&*api.store).await?;
    let template = catalog
        .template_for(index)
        .and_then(|template| template.get("template"));
    let mut wanted = template.map(aliases_of).unwrap_or_default();
    wanted.extend(aliases_of(&body));
    api.store.create_index(index, body).await?;
    for (alias, part) in wanted {
        aliases::put(api, index, &alias, part).await?;
    }
    Ok(())
}

/// `DELETE /{index}`.
pub(crate) async fn delete(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(TUNING)?;
    let options = Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        ..Options::default()
    };
    if index.contains('*') || index == "_all" {
        return Err(ApiError::illegal("Wildcard expressions or all indices are not allowed"));
    }
    let action = "indices:admin/delete";
    let aliases = Aliases::current(&api).await?;
    if let Some(alias) = index.split(',').find(|name| aliases.members(name).is_some()) {
        return Err(ApiError::illegal(format!(
            "The provided expression [{alias}] matches an alias, specify the corresponding concrete indices instead."
        )));
    }
    for name in names::resolve(&api, &caller, &index, IndexPrivilege::DeleteIndex, action, options).await? {
        let known = api.store.names(std::slice::from_ref(&name)).await?;
        if known
            .iter()
            .any(|one| one.name == name && one.kind == NameKind::DataStream)
        {
            return Err(ApiError::illegal(format!(
                "The provided expression [{name}] matches a data stream, specify the corresponding concrete indices instead."
            )));
        }
        api.store.delete_index(&name).await?;
        aliases::forget_index(&api, &name).await?;
        closing::forget(&api, &name).await?;
    }
    Ok(answer::acknowledged())
}

/// `GET|HEAD /{index}`.
pub(crate) async fn get(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(TUNING)?;
    let aliases = Aliases::current(&api).await?;
    let features = features(&params)?;
    let flat = params.flag("flat_settings")?;
    let mut found = Map::new();
    for name in visible(&api, &caller, &index, &params, "indices:admin/get").await? {
        for info in api.store.indices(&concrete(&api, &name).await?).await? {
            let mappings = api.store.mapping(&info.name).await?.unwrap_or_else(|| json!({}));
            let of_index = aliases.of_index(&info.name);
            let settings = shown_settings(&info, aliases.is_closed(&info.name), flat);
            let mappings = crate::mappings::without_empty(mappings);
            let mut about = json!({ "aliases": of_index, "mappings": mappings, "settings": settings });
            keep_features(&mut about, &features);
            if let Some(stream) = info.data_stream {
                about["data_stream"] = json!(stream);
            }
            found.insert(info.name, about);
        }
    }
    Ok(answer::json(&found))
}

/// What of an index is shown: all of it, or what `features` names.
fn features(params: &Params) -> Result<Vec<String>, ApiError> {
    let features = params.list("features").unwrap_or_default();
    match features
        .iter()
        .find(|one| !["aliases", "mappings", "settings"].contains(&one.as_str()))
    {
        Some(unknown) => Err(ApiError::illegal(format!("No feature for name [{unknown}]"))),
        None => Ok(features),
    }
}

/// The others are there and empty, as in the original.
fn keep_features(about: &mut Value, features: &[String]) {
    if let (Value::Object(about), false) = (about, features.is_empty()) {
        about.retain(|key, _| features.contains(key));
        for key in ["aliases", "mappings", "settings"] {
            about.entry(key).or_insert_with(|| json!({}));
        }
    }
}

/// `GET /_settings`.
pub(crate) async fn all_settings(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    settings_of(&api, &caller, "*", "*", params).await
}

/// `GET /{index}/_settings`.
pub(crate) async fn settings(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    settings_of(&api, &caller, &index, "*", params).await
}

/// `GET /{index}/_settings/{names}`.
pub(crate) async fn some_settings(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((index, names)): Path<(String, String)>,
    params: Params,
) -> Result<Response, ApiError> {
    settings_of(&api, &caller, &index, &names, params).await
}

async fn settings_of(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    wanted: &str,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(TUNING)?;
    let flat = params.flag("flat_settings")?;
    let aliases = Aliases::current(api).await?;
    let mut found = Map::new();
    for name in visible(api, caller, expression, &params, "indices:monitor/settings/get").await? {
        for info in api.store.indices(&concrete(api, &name).await?).await? {
            let mut settings = shown_settings(&info, aliases.is_closed(&info.name), false);
            if let Some(Value::Object(map)) = settings.get_mut("index") {
                map.retain(|key, _| {
                    wanted
                        .split(',')
                        .any(|one| names::matches(one, &format!("index.{key}")))
                });
            }
            let settings = if flat { flattened(&settings) } else { settings };
            found.insert(info.name, json!({ "settings": settings }));
        }
    }
    Ok(answer::json(&found))
}

fn shown_settings(info: &store::IndexInfo, closed: bool, flat: bool) -> Value {
    let mut settings = json!({ "index": {
        "uuid": info.uuid, "number_of_shards": "1", "number_of_replicas": "0", "provided_name": info.name,
    } });
    if closed {
        settings["index"]["verified_before_close"] = json!("true");
    }
    if flat { flattened(&settings) } else { settings }
}

/// `index.number_of_shards` rather than one in the other.
fn flattened(settings: &Value) -> Value {
    let index = settings.get("index").and_then(Value::as_object).into_iter().flatten();
    index
        .map(|(key, value)| (format!("index.{key}"), value.clone()))
        .collect::<Map<_, _>>()
        .into()
}

/// `PUT /{index}/_settings`: there is one shard and no replica, whatever is asked for.
pub(crate) async fn put_settings(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(&[TUNING, &["preserve_existing", "reopen"]].concat())?;
    check_settings(&payload.required()?)?;
    let options = Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        ..Options::default()
    };
    let action = "indices:admin/settings/update";
    names::resolve(&api, &caller, &index, IndexPrivilege::Manage, action, options).await?;
    Ok(answer::acknowledged())
}

/// Settings that are taken: they tune what is not tuned here. All others are refused by name.
const SETTINGS: &[&str] = &[
    "analysis",
    "auto_expand_replicas",
    "blocks",
    "codec",
    "creation_date",
    "default_pipeline",
    "final_pipeline",
    "format",
    "hidden",
    "lifecycle",
    "mapping",
    "max_docvalue_fields_search",
    "max_inner_result_window",
    "max_ngram_diff",
    "max_regex_length",
    "max_result_window",
    "max_terms_count",
    "merge",
    "mode",
    "number_of_replicas",
    "number_of_shards",
    "priority",
    "provided_name",
    "query",
    "refresh_interval",
    "routing",
    "search",
    "sort",
    "translog",
    "unassigned",
    "uuid",
    "version",
];

fn check_settings(settings: &Value) -> Result<(), ApiError> {
    let shown = crate::templates::nested_settings(settings.get("settings").unwrap_or(settings));
    let keys = shown
        .get("index")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::keys);
    match keys.into_iter().find(|key| !SETTINGS.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(ApiError::illegal(format!(
            "unknown setting [index.{key}] please check that any required plugins are installed, or check the breaking changes documentation for removed settings"
        ))),
    }
}

/// `GET /_data_stream`.
pub(crate) async fn data_streams(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    streams(&api, &caller, "*", params).await
}

/// `GET /_data_stream/{name}`.
pub(crate) async fn data_stream(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    streams(&api, &caller, &name, params).await
}

async fn streams(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(TUNING)?;
    let action = "indices:admin/data_stream/get";
    let names = names::resolve(
        api,
        caller,
        expression,
        IndexPrivilege::ViewMetadata,
        action,
        Options::default(),
    )
    .await?;
    let mut streams = if names.is_empty() {
        Vec::new()
    } else {
        api.store.data_streams(&names).await?
    };
    if streams.is_empty() && !expression.contains('*') {
        return Err(ApiError::no_such_index(expression));
    }
    streams.sort_by(|left, right| left.name.cmp(&right.name));
    let mut described = Vec::with_capacity(streams.len());
    for stream in streams {
        let mut indices = Vec::new();
        for name in &stream.backing_indices {
            let uuid = api
                .store
                .indices(std::slice::from_ref(name))
                .await?
                .pop()
                .map(|info| info.uuid);
            indices.push(json!({ "index_name": name, "index_uuid": uuid, "prefer_ilm": false, "managed_by": "Data stream lifecycle" }));
        }
        described.push(json!({
            "name": stream.name, "timestamp_field": { "name": "@timestamp" }, "indices": indices,
            "generation": stream.backing_indices.len(), "status": "GREEN", "template": stream.template,
            "lifecycle": crate::lifecycle::shown(&stream), "hidden": stream.name.starts_with('.'), "system": false, "allow_custom_routing": false,
            "replicated": false, "rollover_on_write": false,
        }));
    }
    Ok(answer::json(&json!({ "data_streams": described })))
}

/// `PUT /_data_stream/{name}`: made by its first document as well.
pub(crate) async fn create_data_stream(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(TUNING)?;
    names::check(&name)?;
    caller.needs_index(&name, IndexPrivilege::Create, "indices:admin/data_stream/create")?;
    api.store.create_data_stream(&name).await?;
    Ok(answer::acknowledged())
}

/// `DELETE /_data_stream/{name}`.
pub(crate) async fn delete_data_stream(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(TUNING)?;
    let action = "indices:admin/data_stream/delete";
    let names = names::resolve(
        &api,
        &caller,
        &name,
        IndexPrivilege::DeleteIndex,
        action,
        Options::default(),
    )
    .await?;
    let streams = if names.is_empty() {
        Vec::new()
    } else {
        api.store.data_streams(&names).await?
    };
    if streams.is_empty() && !name.contains('*') {
        return Err(ApiError::no_such_index(&name));
    }
    for stream in streams {
        api.store.delete_index(&stream.name).await?;
    }
    Ok(answer::acknowledged())
}

/// `GET /_resolve/index/{name}`.
pub(crate) async fn resolve_index(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(expression): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(TUNING)?;
    let aliases = Aliases::current(&api).await?;
    let fits = |name: &str| {
        expression
            .split(',')
            .any(|part| part == "_all" || names::matches(part, name))
    };
    let (mut indices, mut streams) = (Vec::new(), Vec::new());
    for name in visible(&api, &caller, &expression, &params, "indices:admin/resolve/index").await? {
        if !fits(&name) {
            continue;
        }
        if let Some(stream) = api.store.data_streams(std::slice::from_ref(&name)).await?.pop() {
            streams.push(json!({
                "name": stream.name, "backing_indices": stream.backing_indices, "timestamp_field": "@timestamp",
            }));
            continue;
        }
        let mut about = json!({ "name": name });
        let names: Vec<String> = aliases.of_index(&name).keys().cloned().collect();
        if !names.is_empty() {
            about["aliases"] = json!(names);
        }
        about["attributes"] = json!(["open"]);
        about["mode"] = json!("standard");
        indices.push(about);
    }
    let found = aliases.all().filter(|(alias, _)| fits(alias));
    let found = found.map(|(alias, members)| {
        let members: Vec<&str> = members.map(|(index, _)| index).collect();
        json!({ "name": alias, "indices": members })
    });
    let found: Vec<Value> = found.collect();
    Ok(answer::json(
        &json!({ "indices": indices, "aliases": found, "data_streams": streams }),
    ))
}

/// `GET /_stats`, `/{index}/_stats`: documents and bytes.
pub(crate) async fn stats(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    index: Option<Path<String>>,
    params: Params,
) -> Result<Response, ApiError> {
    let expression = index.map_or_else(|| "*".to_owned(), |Path(index)| index);
    measured(&api, &caller, &expression, params).await
}

/// `GET /_stats/{metric}`.
pub(crate) async fn stats_of(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(_): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    measured(&api, &caller, "*", params).await
}

/// `GET /{index}/_stats/{metric}`.
pub(crate) async fn stats_in(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((index, _)): Path<(String, String)>,
    params: Params,
) -> Result<Response, ApiError> {
    measured(&api, &caller, &index, params).await
}

async fn measured(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&["level", "metric", "expand_wildcards", "forbid_closed_indices"])?;
    let action = "indices:monitor/stats";
    let names = names::resolve(
        api,
        caller,
        expression,
        IndexPrivilege::Monitor,
        action,
        Options::default(),
    )
    .await?;
    let (mut documents, mut bytes, mut by_index) = (0, 0, Map::new());
    let part = |documents: u64, bytes: u64| {
        json!({
            "docs": { "count": documents, "deleted": 0, "total_size_in_bytes": bytes },
            "store": { "size_in_bytes": bytes, "total_data_set_size_in_bytes": bytes, "reserved_in_bytes": 0 },
        })
    };
    for name in names {
        for info in api.store.indices(&concrete(api, &name).await?).await? {
            documents += info.documents;
            bytes += info.bytes;
            let shown = part(info.documents, info.bytes);
            by_index.insert(
                info.name,
                json!({ "uuid": info.uuid, "health": "green", "status": "open", "primaries": shown, "total": shown }),
            );
        }
    }
    let all = part(documents, bytes);
    Ok(answer::json(&json!({
        "_shards": { "total": by_index.len(), "successful": by_index.len(), "failed": 0 },
        "_all": { "primaries": all, "total": all }, "indices": by_index,
    })))
}

/// What of `expression` the caller may know about; an exact name that is not there is a 404.
pub(crate) async fn visible(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    params: &Params,
    action: &str,
) -> Result<Vec<String>, ApiError> {
    let options = Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        refuse_no_indices: params.boolean("allow_no_indices")? == Some(false),
    };
    names::resolve(api, caller, expression, IndexPrivilege::ViewMetadata, action, options).await
}

/// The indices behind a name: itself, or those of the data stream.
pub(crate) async fn concrete(api: &ElasticsearchApi, name: &str) -> Result<Vec<String>, ApiError> {
    let known = api.store.names(&[name.to_owned()]).await?;
    Ok(known
        .into_iter()
        .filter(|one| one.kind != NameKind::DataStream)
        .map(|one| one.name)
        .collect())
}
