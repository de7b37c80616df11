//! What the whole says about itself: `/`, `_license`, `_xpack`, `_cluster/*`, `_nodes`.

use std::sync::Arc;

use access::ClusterPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};

use crate::answer;
use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::Payload;

/// `GET|HEAD /`.
pub(crate) async fn root(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "cluster:monitor/main")?;
    let settings = &api.settings;
    Ok(answer::json(&json!({
        "name": settings.node_name,
        "cluster_name": settings.cluster_name,
        "cluster_uuid": settings.cluster_uuid,
        "version": {
            "number": settings.version,
            "build_flavor": "default",
            "build_type": "tar",
            "build_hash": env!("CARGO_PKG_VERSION"),
            "build_date": "2026-01-01T00:00:00.000Z",
            "build_snapshot": false,
            "lucene_version": "10.3.0",
            "minimum_wire_compatibility_version": "8.19.0",
            "minimum_index_compatibility_version": "8.0.0",
        },
        "tagline": "You Know, for Search",
    })))
}

/// `GET /_license`: every feature here is free, for ever.
pub(crate) async fn license(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&["accept_enterprise", "local"])?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "cluster:monitor/xpack/license/get")?;
    Ok(answer::json(&json!({ "license": {
        "status": "active", "uid": api.settings.cluster_uuid, "type": "basic",
        "issue_date": "2026-01-01T00:00:00.000Z", "issue_date_in_millis": 1_767_225_600_000_u64,
        "max_nodes": 1000, "max_resource_units": null, "issued_to": api.settings.cluster_name,
        "issuer": "flotilla", "start_date_in_millis": -1,
    }})))
}

/// `GET /_xpack`.
pub(crate) async fn xpack(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&["accept_enterprise", "categories"])?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "cluster:monitor/xpack/info")?;
    let here = json!({ "available": true, "enabled": true });
    let elsewhere = json!({ "available": false, "enabled": false });
    Ok(answer::json(&json!({
        "build": { "hash": env!("CARGO_PKG_VERSION"), "date": "2026-01-01T00:00:00.000Z" },
        "license": { "uid": api.settings.cluster_uuid, "type": "basic", "mode": "basic", "status": "active" },
        "features": {
            "data_streams": here, "ilm": here, "security": here,
            "ml": elsewhere, "monitoring": elsewhere, "transform": elsewhere, "watcher": elsewhere,
        },
        "tagline": "You know, for X",
    })))
}

/// `GET /_cluster/health`, `/_cluster/health/{index}`.
pub(crate) async fn health(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    index: Option<Path<String>>,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(&[
        "expand_wildcards",
        "level",
        "local",
        "master_timeout",
        "timeout",
        "wait_for_active_shards",
        "wait_for_events",
        "wait_for_no_initializing_shards",
        "wait_for_no_relocating_shards",
        "wait_for_nodes",
        "wait_for_status",
    ])?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "cluster:monitor/health")?;
    let (with_indices, with_shards) = match params.text("level") {
        None | Some("cluster") => (false, false),
        Some("indices") => (true, false),
        Some("shards") => (true, true),
        Some(other) => {
            let reason = format!("level parameter must be one of [cluster] or [indices] or [shards] but was [{other}]");
            return Err(ApiError::illegal(reason));
        }
    };
    let patterns: Vec<String> = match &index {
        Some(Path(names)) => names.split(',').map(str::to_owned).collect(),
        None => EVERYTHING.map(str::to_owned).to_vec(),
    };
    let indices = api.store.indices(&patterns).await?;
    let mut health = health_with(&api, indices.len());
    if with_indices {
        let of_one = |info: store::IndexInfo| (info.name, health_of_index(with_shards));
        health["indices"] = Value::Object(indices.into_iter().map(of_one).collect());
    }
    Ok(answer::json(&health))
}

fn health_of_index(with_shards: bool) -> Value {
    let mut health = json!({
        "status": "green", "number_of_shards": 1, "number_of_replicas": 0, "active_primary_shards": 1,
        "active_shards": 1, "relocating_shards": 0, "initializing_shards": 0, "unassigned_shards": 0,
        "unassigned_primary_shards": 0,
    });
    if with_shards {
        health["shards"] = json!({ "0": {
            "status": "green", "primary_active": true, "active_shards": 1, "relocating_shards": 0,
            "initializing_shards": 0, "unassigned_shards": 0, "unassigned_primary_shards": 0,
        } });
    }
    health
}

/// Hidden ones, too.
const EVERYTHING: [&str; 2] = ["*", ".*"];

/// There is one copy of everything and it is here, or the store could not have answered.
pub(crate) async fn health_of(api: &ElasticsearchApi) -> Result<Value, ApiError> {
    let shards = api.store.indices(&EVERYTHING.map(str::to_owned)).await?.len();
    Ok(health_with(api, shards))
}

fn health_with(api: &ElasticsearchApi, shards: usize) -> Value {
    json!({
        "cluster_name": api.settings.cluster_name, "status": "green", "timed_out": false,
        "number_of_nodes": 1, "number_of_data_nodes": 1, "active_primary_shards": shards, "active_shards": shards,
        "relocating_shards": 0, "initializing_shards": 0, "unassigned_shards": 0, "unassigned_primary_shards": 0,
        "delayed_unassigned_shards": 0, "number_of_pending_tasks": 0, "number_of_in_flight_fetch": 0,
        "task_max_waiting_in_queue_millis": 0, "active_shards_percent_as_number": 100.0,
    })
}

/// `GET /_cluster/settings`.
pub(crate) async fn settings(
    State(_): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&["flat_settings", "include_defaults", "master_timeout", "timeout"])?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "cluster:monitor/settings")?;
    Ok(answer::json(&json!({ "persistent": {}, "transient": {} })))
}

/// `GET /_nodes`, `/_nodes/{what}`: this node.
pub(crate) async fn nodes(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    headers: http::HeaderMap,
) -> Result<Response, ApiError> {
    params.only(&["flat_settings", "timeout"])?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "cluster:monitor/nodes/info")?;
    let settings = &api.settings;
    // The address under which the client reached us is the one that works for it.
    let address = headers
        .get(http::header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("127.0.0.1:9200");
    let mut nodes = serde_json::Map::new();
    nodes.insert(
        settings.cluster_uuid.clone(),
        json!({
            "name": settings.node_name, "host": address, "ip": address, "version": settings.version,
            "build_flavor": "default", "roles": ["data", "ingest", "master"],
            "http": { "bound_address": [address], "publish_address": address, "max_content_length_in_bytes": crate::payload::MAX_BODY },
        }),
    );
    Ok(answer::json(&json!({
        "_nodes": { "total": 1, "successful": 1, "failed": 0 },
        "cluster_name": settings.cluster_name,
        "nodes": nodes,
    })))
}

/// `GET /_nodes/{node}/{what}`: there is one node, whatever it is called.
pub(crate) async fn node(
    state: State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((_, what)): Path<(String, String)>,
    params: Params,
    headers: http::HeaderMap,
) -> Result<Response, ApiError> {
    if what == "stats" {
        nodes_stats(state, caller, params).await
    } else {
        nodes(state, caller, params, headers).await
    }
}

/// `PUT /_cluster/settings`: shown again, and without effect: there is one node.
pub(crate) async fn put_settings(
    State(_): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(&["flat_settings", "master_timeout", "timeout"])?;
    caller.needs_cluster(ClusterPrivilege::Manage, "cluster:admin/settings/update")?;
    let body = payload.required()?;
    let part = |key: &str| body.get(key).cloned().unwrap_or_else(|| json!({}));
    Ok(answer::json(
        &json!({ "acknowledged": true, "persistent": part("persistent"), "transient": part("transient") }),
    ))
}

/// `GET /_cluster/stats`.
pub(crate) async fn stats(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&["include_remotes", "timeout"])?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "cluster:monitor/stats")?;
    let indices = api.store.indices(&["*".to_owned(), ".*".to_owned()]).await?;
    let documents: u64 = indices.iter().map(|index| index.documents).sum();
    let bytes: u64 = indices.iter().map(|index| index.bytes).sum();
    Ok(answer::json(&json!({
        "_nodes": { "total": 1, "successful": 1, "failed": 0 },
        "cluster_name": api.settings.cluster_name, "cluster_uuid": api.settings.cluster_uuid,
        "timestamp": api.clock.now().as_millisecond(), "status": "green",
        "indices": {
            "count": indices.len(), "shards": { "total": indices.len(), "primaries": indices.len(), "replication": 0.0 },
            "docs": { "count": documents, "deleted": 0 }, "store": { "size_in_bytes": bytes },
        },
        "nodes": { "count": { "total": 1, "data": 1, "ingest": 1, "master": 1 }, "versions": [api.settings.version] },
    })))
}

/// `GET /_cluster/pending_tasks`.
pub(crate) async fn pending_tasks(
    State(_): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&["local", "master_timeout"])?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "cluster:monitor/task")?;
    Ok(answer::json(&json!({ "tasks": [] })))
}

/// `GET /_nodes/stats`.
pub(crate) async fn nodes_stats(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&["level", "timeout", "types"])?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "cluster:monitor/nodes/stats")?;
    let settings = &api.settings;
    let node = json!({
        "timestamp": api.clock.now().as_millisecond(), "name": settings.node_name, "roles": ["data", "ingest", "master"],
    });
    Ok(answer::json(&json!({
        "_nodes": { "total": 1, "successful": 1, "failed": 0 }, "cluster_name": settings.cluster_name,
        "nodes": { settings.cluster_uuid.as_str(): node },
    })))
}
