//! `_cat/*`: tables for people, as text or JSON.

use std::sync::Arc;

use access::{ClusterPrivilege, IndexPrivilege};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header;
use query::Query;
use serde_json::{Map, Value};

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::params::Params;
use crate::{answer, catalog, cluster, names};

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

/// Columns in their order and rows of the same length.
struct Table {
    columns: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

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

async fn indices_of(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(PARAMETERS)?;
    let action = "indices:monitor/stats";
    let allowed = names::resolve(
        api,
        caller,
        expression,
        IndexPrivilege::Monitor,
        action,
        names::Options::default(),
    )
    .await?;
    let exact = params.text("bytes").is_some();
    let mut found = if allowed.is_empty() {
        Vec::new()
    } else {
        api.store.indices(&["*".to_owned(), ".*".to_owned()]).await?
    };
    found.retain(|index| {
        allowed.contains(&index.name)
            || index
                .data_stream
                .as_ref()
                .is_some_and(|stream| allowed.contains(stream))
    });
    found.sort_by(|left, right| left.name.cmp(&right.name));
    found.dedup_by(|left, right| left.name == right.name);
    let rows = found.into_iter().map(|index| {
        let size = if exact {
            index.bytes.to_string()
        } else {
            size(index.bytes)
        };
        vec![
            "green".to_owned(),
            "open".to_owned(),
            index.name,
            index.uuid,
            "1".to_owned(),
            "0".to_owned(),
            index.documents.to_string(),
            "0".to_owned(),
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
    let row = vec![
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
        "100.0%".to_owned(),
    ];
    let columns = &[
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
        "active_shards_percent",
    ];
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
    let row = ["127.0.0.1", "dim", "*"]
        .map(str::to_owned)
        .into_iter()
        .chain([api.settings.node_name.clone(), api.settings.version.clone()]);
    let columns = &["ip", "node.role", "master", "name", "version"];
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

/// `GET /_cat/aliases`: there are none.
pub(crate) async fn aliases(
    State(_): State<Arc<ElasticsearchApi>>,
    _caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(PARAMETERS)?;
    let columns = &[
        "alias",
        "index",
        "filter",
        "routing.index",
        "routing.search",
        "is_write_index",
    ];
    Table {
        columns,
        rows: Vec::new(),
    }
    .answer(&params)
}

/// `GET /_cat/templates`.
pub(crate) async fn templates(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "cluster:monitor/state")?;
    let catalog = api.catalogs.current(&*api.store).await?;
    let rows = catalog.matching(catalog::Kind::IndexTemplate, "*").map(|(name, body)| {
        let text = |key: &str| body.get(key).map(Value::to_string).unwrap_or_default();
        vec![
            name.to_owned(),
            text("index_patterns"),
            text("priority"),
            text("version"),
            text("composed_of"),
        ]
    });
    let columns = &["name", "index_patterns", "order", "version", "composed_of"];
    Table {
        columns,
        rows: rows.collect(),
    }
    .answer(&params)
}

impl Table {
    fn answer(mut self, params: &Params) -> Result<Response, ApiError> {
        if params.flag("help")? {
            return Ok(plain(self.columns.join("\n") + "\n"));
        }
        let shown = self.shown(params)?;
        self.sort(params)?;
        match params.text("format").unwrap_or("text") {
            "json" => Ok(answer::json(&self.as_json(&shown))),
            "text" | "txt" => Ok(plain(self.as_text(&shown, params.flag("v")?))),
            other => Err(ApiError::illegal(format!(
                "[format] [{other}] is not supported; use [text] or [json]"
            ))),
        }
    }

    /// The columns that `h` asks for, by position. Names may hold `*`; unknown ones are left out, as in the original.
    fn shown(&self, params: &Params) -> Result<Vec<usize>, ApiError> {
        let Some(wanted) = params.list("h") else {
            return Ok((0..self.columns.len()).collect());
        };
        let shown: Vec<_> = wanted
            .iter()
            .flat_map(|name| {
                (0..self.columns.len()).filter(move |&at| names::matches(full_name(name), self.columns[at]))
            })
            .collect();
        if shown.is_empty() {
            let known = self.columns.join(",");
            return Err(ApiError::illegal(format!(
                "none of the columns [{}] exists; there are [{known}]",
                wanted.join(",")
            )));
        }
        Ok(shown)
    }

    fn sort(&mut self, params: &Params) -> Result<(), ApiError> {
        for key in params.list("s").unwrap_or_default().iter().rev() {
            let (name, order) = key.split_once(':').unwrap_or((key, "asc"));
            let Some(at) = self.columns.iter().position(|column| *column == full_name(name)) else {
                return Err(ApiError::illegal(format!(
                    "Unable to sort by unknown sort key `{name}`"
                )));
            };
            let number = |row: &Vec<String>| row[at].parse::<u64>().ok();
            self.rows
                .sort_by(|left, right| number(left).cmp(&number(right)).then_with(|| left[at].cmp(&right[at])));
            if order == "desc" {
                self.rows.reverse();
            }
        }
        Ok(())
    }

    fn as_json(&self, shown: &[usize]) -> Value {
        let row = |row: &Vec<String>| {
            let cells = shown
                .iter()
                .map(|&at| (self.columns[at].to_owned(), Value::String(row[at].clone())));
            Value::Object(cells.collect::<Map<_, _>>())
        };
        Value::Array(self.rows.iter().map(row).collect())
    }

    fn as_text(&self, shown: &[usize], with_header: bool) -> String {
        let header: Vec<String> = self.columns.iter().map(|&column| column.to_owned()).collect();
        let rows: Vec<&Vec<String>> = with_header.then_some(&header).into_iter().chain(&self.rows).collect();
        let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = shown.iter().map(|&at| width(at)).collect();
        let mut text = String::new();
        for row in rows {
            let cells: Vec<_> = shown
                .iter()
                .zip(&widths)
                .map(|(&at, width)| format!("{:<width$}", row[at]))
                .collect();
            text.push_str(&cells.join(" "));
            text.push('\n');
        }
        text
    }
}

/// The short names that people type.
fn full_name(name: &str) -> &str {
    match name {
        "i" | "idx" => "index",
        "dc" | "docsCount" => "docs.count",
        "ss" | "storeSize" => "store.size",
        "s" => "status",
        "n" => "name",
        other => other,
    }
}

fn plain(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=UTF-8")], text).into_response()
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

    fn table() -> Table {
        let rows = [["b", "10"], ["a", "9"]];
        let rows = rows
            .iter()
            .map(|row| row.iter().map(|&cell| cell.to_owned()).collect())
            .collect();
        Table {
            columns: &["index", "docs.count"],
            rows,
        }
    }

    fn text(query: &str) -> String {
        let params = Params::parse(query).unwrap();
        let mut table = table();
        let shown = table.shown(&params).unwrap();
        table.sort(&params).unwrap();
        table.as_text(&shown, params.flag("v").unwrap())
    }

    #[test]
    fn columns_are_chosen_and_rows_sorted() {
        assert_eq!(text("v"), "index docs.count\nb     10        \na     9         \n");
        assert_eq!(text("h=dc&s=docs.count:desc"), "10\n9 \n");
        assert_eq!(text("h=index&s=index"), "a\nb\n");
        assert!(table().shown(&Params::parse("h=nonsense").unwrap()).is_err());
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, expected) in [(0, "0b"), (1023, "1023b"), (1536, "1.5kb"), (20 << 20, "20mb")] {
            assert_eq!(size(bytes), expected);
        }
    }
}
