//! `_cat/*`: tables for people, as text or JSON.

use std::sync::Arc;

use access::{ClusterPrivilege, IndexPrivilege};
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use query::Query;
use serde_json::{Map, Value};

use crate::aliases::Aliases;
use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::cat_table::{Table, plain};
use crate::error::ApiError;
use crate::indices::concrete;
use crate::params::Params;
use crate::templates::uses_component;
use crate::{catalog, cluster, names};

const PARAMETERS: &[&str] = &[
    "bytes",
    "expand_wildcards",
    "h",
    "health",
    "help",
    "include_unloaded_segments",
    "local",
    "master_timeout",
    "pri",
    "s",
    "time",
    "timeout",
    "ts",
    "v",
];

/// `GET /_cat/indices`.
pub(crate) async fn indices(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    indices_of(&api, &caller, "*,.*", params).await
}

/// `GET /_cat/indices/{index}`.
pub(crate) async fn indices_in(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    indices_of(&api, &caller, &index, params).await
}

/// The indices that an expression stands for, backing indices included, by name.
async fn listed(api: &ElasticsearchApi, caller: &Caller, expression: &str) -> Result<Vec<store::IndexInfo>, ApiError> {
    let action = "indices:monitor/stats";
    let options = names::Options::default();
    let allowed = names::resolve(api, caller, expression, IndexPrivilege::Monitor, action, options).await?;
    let mut wanted = Vec::new();
    for name in &allowed {
        wanted.extend(concrete(api, name).await?);
    }
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = api.store.indices(&wanted).await?;
    found.sort_by(|left, right| left.name.cmp(&right.name));
    found.dedup_by(|left, right| left.name == right.name);
    Ok(found)
}

async fn indices_of(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(PARAMETERS)?;
    let unit = params.text("bytes");
    let found = listed(api, caller, expression).await?;
    let aliases = Aliases::current(api).await?;
    let rows = found.into_iter().map(|index| {
        let closed = aliases.is_closed(&index.name);
        let unless_closed = |text: String| if closed { String::new() } else { text };
        let size = unless_closed(size_in(index.bytes, unit));
        vec![
            "green".to_owned(),
            if closed { "close" } else { "open" }.to_owned(),
            index.name,
            index.uuid,
            "1".to_owned(),
            "0".to_owned(),
            unless_closed(index.documents.to_string()),
            unless_closed("0".to_owned()),
            size.clone(),
            size.clone(),
            size,
        ]
    });
    let columns = &[
        "health",
        "status",
        "index",
        "uuid",
        "pri",
        "rep",
        "docs.count",
        "docs.deleted",
        "store.size",
        "pri.store.size",
        "dataset.size",
    ];
    Table {
        columns,
        rows: rows.collect(),
    }
    .answer(&params)
}

/// `GET /_cat/allocation`: the one node; how full its disk is, the system tells.
pub(crate) async fn allocation(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "cluster:monitor/stats")?;
    let indices = api.store.indices(&["*".to_owned(), ".*".to_owned()]).await?;
    let bytes = indices.iter().map(|index| index.bytes).sum();
    let row = vec![
        indices.len().to_string(),
        size_in(bytes, params.text("bytes")),
        "127.0.0.1".to_owned(),
        "127.0.0.1".to_owned(),
        api.settings.node_name.clone(),
        "dim".to_owned(),
    ];
    Table {
        columns: &["shards", "disk.indices", "host", "ip", "node", "node.role"],
        rows: vec![row],
    }
    .answer(&params)
}

/// `GET /_cat/health`.
pub(crate) async fn health(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "cluster:monitor/health")?;
    let health = cluster::health_of(&api).await?;
    let shards = health["active_shards"].to_string();
    let now = api.clock.now();
    let mut row = vec![
        now.as_second().to_string(),
        now.strftime("%H:%M:%S").to_string(),
        api.settings.cluster_name.clone(),
        "green".to_owned(),
        "1".to_owned(),
        "1".to_owned(),
        shards.clone(),
        shards,
        "0".to_owned(),
        "0".to_owned(),
        "0".to_owned(),
        "0".to_owned(),
        "0".to_owned(),
        "-".to_owned(),
        "100.0%".to_owned(),
    ];
    let columns: &[&str] = &[
        "epoch",
        "timestamp",
        "cluster",
        "status",
        "node.total",
        "node.data",
        "shards",
        "pri",
        "relo",
        "init",
        "unassign",
        "unassign.pri",
        "pending_tasks",
        "max_task_wait_time",
        "active_shards_percent",
    ];
    let without_time = params.boolean("ts")? == Some(false);
    let columns = if without_time { &columns[2..] } else { columns };
    if without_time {
        row.drain(..2);
    }
    Table {
        columns,
        rows: vec![row],
    }
    .answer(&params)
}

/// `GET /_cat/nodes`.
pub(crate) async fn nodes(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "cluster:monitor/nodes/info")?;
    let row = ["127.0.0.1", "-", "-", "-", "-", "-", "-", "dim", "*"]
        .map(str::to_owned)
        .into_iter()
        .chain([api.settings.node_name.clone()]);
    let columns = &[
        "ip",
        "heap.percent",
        "ram.percent",
        "cpu",
        "load_1m",
        "load_5m",
        "load_15m",
        "node.role",
        "master",
        "name",
    ];
    Table {
        columns,
        rows: vec![row.collect()],
    }
    .answer(&params)
}

/// `GET /_cat/count`.
pub(crate) async fn count(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    count_of(&api, &caller, "*", params).await
}

/// `GET /_cat/count/{index}`.
pub(crate) async fn count_in(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    count_of(&api, &caller, &index, params).await
}

async fn count_of(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(PARAMETERS)?;
    let action = "indices:data/read/search";
    let indices = names::resolve(
        api,
        caller,
        expression,
        IndexPrivilege::Read,
        action,
        names::Options::default(),
    )
    .await?;
    let count = if indices.is_empty() {
        0
    } else {
        api.store.count(&indices, &Query::MatchAll).await?
    };
    let now = api.clock.now();
    let row = vec![
        now.as_second().to_string(),
        now.strftime("%H:%M:%S").to_string(),
        count.to_string(),
    ];
    Table {
        columns: &["epoch", "timestamp", "count"],
        rows: vec![row],
    }
    .answer(&params)
}

/// `GET /_cat/aliases`, `/_cat/aliases/{name}`.
pub(crate) async fn aliases(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    name: Option<Path<String>>,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(PARAMETERS)?;
    let patterns = name.map_or_else(|| "*".to_owned(), |Path(name)| name);
    let fits = |alias: &str| patterns.split(',').any(|pattern| names::matches(pattern, alias));
    let found = Aliases::current(&api).await?;
    let mut rows = Vec::new();
    for (alias, members) in found.all().filter(|(alias, _)| fits(alias)) {
        for (index, part) in members {
            if !caller.0.may_index(index, IndexPrivilege::ViewMetadata) {
                continue;
            }
            let text = |key: &str| {
                part.get(key).map_or("-".to_owned(), |value| {
                    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
                })
            };
            let filter = if part.get("filter").is_some() { "*" } else { "-" };
            rows.push(vec![
                alias.to_owned(),
                index.to_owned(),
                filter.to_owned(),
                text("index_routing"),
                text("search_routing"),
                text("is_write_index"),
            ]);
        }
    }
    let columns = &[
        "alias",
        "index",
        "filter",
        "routing.index",
        "routing.search",
        "is_write_index",
    ];
    Table { columns, rows }.answer(&params)
}

/// `[a, b]`: how the original shows lists.
fn list(value: Option<&Value>) -> String {
    let items = value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let items: Vec<&str> = value.and_then(Value::as_str).into_iter().chain(items).collect();
    format!("[{}]", items.join(", "))
}

/// `GET /_cat/templates`, `/_cat/templates/{name}`.
pub(crate) async fn templates(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    name: Option<Path<String>>,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "cluster:monitor/state")?;
    let pattern = name.map_or_else(|| "*".to_owned(), |Path(name)| name);
    let catalog = api.catalogs.current(&*api.store).await?;
    let number = |body: &Value, key: &str| body.get(key).map(Value::to_string).unwrap_or_default();
    let old = catalog
        .matching(catalog::Kind::LegacyTemplate, &pattern)
        .map(|(name, body)| {
            let order = body.get("order").map_or("0".to_owned(), Value::to_string);
            vec![
                name.to_owned(),
                list(body.get("index_patterns")),
                order,
                number(body, "version"),
                String::new(),
            ]
        });
    let new = catalog
        .matching(catalog::Kind::IndexTemplate, &pattern)
        .map(|(name, body)| {
            vec![
                name.to_owned(),
                list(body.get("index_patterns")),
                number(body, "priority"),
                number(body, "version"),
                list(body.get("composed_of")),
            ]
        });
    let columns = &["name", "index_patterns", "order", "version", "composed_of"];
    let rows = old.chain(new).collect();
    Table { columns, rows }.answer(&params)
}

/// `GET /_cat/component_templates`, `/_cat/component_templates/{name}`.
pub(crate) async fn component_templates(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    name: Option<Path<String>>,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "cluster:monitor/state")?;
    let pattern = name.map_or_else(|| "*".to_owned(), |Path(name)| name);
    let catalog = api.catalogs.current(&*api.store).await?;
    let rows = catalog
        .matching(catalog::Kind::ComponentTemplate, &pattern)
        .map(|(name, body)| {
            let count = |pointer: &str| {
                body.pointer(pointer)
                    .and_then(Value::as_object)
                    .map_or(0, Map::len)
                    .to_string()
            };
            let users = catalog
                .matching(catalog::Kind::IndexTemplate, "*")
                .filter(|(_, template)| uses_component(template, name));
            vec![
                name.to_owned(),
                body.get("version").map(Value::to_string).unwrap_or_default(),
                count("/template/aliases"),
                count("/template/mappings/properties"),
                count("/template/settings"),
                count("/_meta"),
                list(Some(&Value::from(users.map(|(name, _)| name).collect::<Vec<_>>()))),
            ]
        });
    let columns = &[
        "name",
        "version",
        "alias_count",
        "mapping_count",
        "settings_count",
        "metadata_count",
        "included_in",
    ];
    let rows = rows.collect();
    Table { columns, rows }.answer(&params)
}

/// `GET /_cat/shards`, `/_cat/shards/{index}`: one for each index.
pub(crate) async fn shards(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    index: Option<Path<String>>,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(PARAMETERS)?;
    let expression = index.map_or_else(|| "*,.*".to_owned(), |Path(index)| index);
    let unit = params.text("bytes");
    let rows = listed(&api, &caller, &expression).await?.into_iter().map(|index| {
        let size = size_in(index.bytes, unit);
        let fixed = ["0", "p", "STARTED"].map(str::to_owned);
        let documents = index.documents.to_string();
        let node = ["127.0.0.1".to_owned(), api.settings.node_name.clone()];
        let start = std::iter::once(index.name).chain(fixed);
        start.chain([documents, size.clone(), size]).chain(node).collect()
    });
    let columns = &[
        "index", "shard", "prirep", "state", "docs", "store", "dataset", "ip", "node",
    ];
    let rows = rows.collect();
    Table { columns, rows }.answer(&params)
}

/// `GET /_cat/master`.
pub(crate) async fn master(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "cluster:monitor/state")?;
    let settings = &api.settings;
    let row = [&settings.cluster_uuid, "127.0.0.1", "127.0.0.1", &settings.node_name].map(str::to_owned);
    let columns = &["id", "host", "ip", "node"];
    let rows = vec![row.to_vec()];
    Table { columns, rows }.answer(&params)
}

/// A table of what there is none of here.
pub(crate) fn empty(columns: &'static [&'static str]) -> MethodRouter<Arc<ElasticsearchApi>> {
    get(
        move |State(_): State<Arc<ElasticsearchApi>>, _caller: Caller, params: Params| async move {
            let params = params.only(PARAMETERS)?;
            let table = Table {
                columns,
                rows: Vec::new(),
            };
            table.answer(&params)
        },
    )
}

/// `GET /_cat`: what there is.
pub(crate) async fn help(
    State(_): State<Arc<ElasticsearchApi>>,
    _caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    const TABLES: &[&str] = &[
        "aliases",
        "component_templates",
        "count",
        "fielddata",
        "health",
        "indices",
        "master",
        "nodeattrs",
        "nodes",
        "pending_tasks",
        "plugins",
        "recovery",
        "repositories",
        "segments",
        "shards",
        "tasks",
        "templates",
        "thread_pool",
    ];
    params.only(PARAMETERS)?;
    let paths: Vec<String> = TABLES.iter().map(|name| format!("/_cat/{name}")).collect();
    Ok(plain(paths.join("\n") + "\n"))
}

/// In whole units of what `bytes` asks for.
fn size_in(bytes: u64, unit: Option<&str>) -> String {
    let shift = match unit {
        None => return size(bytes),
        Some("kb" | "k") => 10,
        Some("mb" | "m") => 20,
        Some("gb" | "g") => 30,
        Some("tb" | "t") => 40,
        Some(_) => 0,
    };
    (bytes >> shift).to_string()
}

/// `1.5kb`, `20mb`: one digit after the point below ten units is what the original shows as well.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("tb", 1 << 40), ("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        None => format!("{bytes}b"),
        Some((name, unit)) => {
            let tenths = bytes * 10 / unit;
            if tenths.is_multiple_of(10) {
                format!("{}{name}", tenths / 10)
            } else {
                format!("{}.{}{name}", tenths / 10, tenths % 10)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, expected) in [(0, "0b"), (1023, "1023b"), (1536, "1.5kb"), (20 << 20, "20mb")] {
            assert_eq!(size(bytes), expected);
        }
    }
}
