//! `_ingest/pipeline`: put, get, delete, simulate. What processors do is `ingest`'s.

use std::sync::Arc;

use access::ClusterPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use ingest::{Document, Pipelines};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::answer;
use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::catalog::Kind;
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::Payload;

const PARAMETERS: &[&str] = &["master_timeout", "timeout"];
/// The name under which a pipeline that is only simulated runs.
const SIMULATED: &str = "_simulate_pipeline";

/// `PUT /_ingest/pipeline/{id}`.
pub(crate) async fn put(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::ManagePipeline, "cluster:admin/ingest/pipeline/put")?;
    let body = payload.required()?;
    Pipelines::default().put(&id, &body).map_err(refused)?;
    api.catalogs.put(&*api.store, Kind::Pipeline, &id, &body).await?;
    Ok(answer::acknowledged())
}

/// `GET /_ingest/pipeline`, `/_ingest/pipeline/{id}`: those that were put. Ours are part of the program.
pub(crate) async fn get(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    id: Option<Path<String>>,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(&["local", "master_timeout", "summary"])?;
    let summary = params.flag("summary")?;
    caller.needs_cluster(ClusterPrivilege::ReadPipeline, "cluster:admin/ingest/pipeline/get")?;
    let pattern = id.map_or_else(|| "*".to_owned(), |Path(id)| id);
    let catalog = api.catalogs.current(&*api.store).await?;
    let found: Map<String, Value> = catalog
        .matching(Kind::Pipeline, &pattern)
        .map(|(id, body)| (id.to_owned(), if summary { json!({}) } else { body.clone() }))
        .collect();
    if found.is_empty() && !pattern.contains('*') {
        return Ok(answer::with_status(http::StatusCode::NOT_FOUND, &json!({})));
    }
    Ok(answer::json(&found))
}

/// `DELETE /_ingest/pipeline/{id}`.
pub(crate) async fn delete(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    caller.needs_cluster(ClusterPrivilege::ManagePipeline, "cluster:admin/ingest/pipeline/delete")?;
    if !api.catalogs.delete(&*api.store, Kind::Pipeline, &id).await? {
        return Err(ApiError::not_found(format!("pipeline [{id}] is missing")));
    }
    Ok(answer::acknowledged())
}

fn refused(error: ingest::PipelineError) -> ApiError {
    parse(error.to_string())
}

fn parse(reason: impl Into<String>) -> ApiError {
    ApiError::new(http::StatusCode::BAD_REQUEST, "parse_exception", reason)
}

/// A document that a pipeline fails on.
pub(crate) fn failed(error: &ingest::IngestError) -> ApiError {
    ApiError::new(http::StatusCode::BAD_REQUEST, error.kind(), error.to_string())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Simulation {
    #[serde(default)]
    pipeline: Option<Value>,
    docs: Vec<SimulatedDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SimulatedDocument {
    #[serde(default, rename = "_index")]
    index: Option<String>,
    #[serde(default, rename = "_id")]
    id: Option<String>,
    #[serde(rename = "_source")]
    source: Map<String, Value>,
}

/// `POST /_ingest/pipeline/_simulate`, `/_ingest/pipeline/{id}/_simulate`.
pub(crate) async fn simulate(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    id: Option<Path<String>>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(&["verbose"])?;
    caller.needs_cluster(ClusterPrivilege::ReadPipeline, "cluster:admin/ingest/pipeline/simulate")?;
    if params.flag("verbose")? {
        return Err(ApiError::illegal(
            "[verbose] is not supported: only the result of the whole pipeline is told",
        ));
    }
    let body: Simulation = payload.parse()?;
    let catalog = api.catalogs.current(&*api.store).await?;
    let mut pipelines = catalog.pipelines().clone();
    let name = match (id, &body.pipeline) {
        (Some(Path(id)), _) => id,
        (None, Some(pipeline)) => {
            pipelines.put(SIMULATED, pipeline).map_err(refused)?;
            SIMULATED.to_owned()
        }
        (None, None) => return Err(parse("[pipeline] required property is missing")),
    };
    if !pipelines.contains(&name) {
        return Err(ApiError::illegal(format!("pipeline [{name}] does not exist")));
    }
    let now = api.clock.now();
    let docs: Vec<_> = body
        .docs
        .into_iter()
        .map(|document| one(&pipelines, &name, document, now))
        .collect();
    Ok(answer::json(&json!({ "docs": docs })))
}

fn one(pipelines: &Pipelines, name: &str, document: SimulatedDocument, now: jiff::Timestamp) -> Value {
    let (index, id) = (document.index.unwrap_or_else(|| "_index".to_owned()), document.id);
    let document = Document {
        index,
        id,
        source: document.source,
    };
    match pipelines.run(name, document, now) {
        Ok(Some(done)) => json!({ "doc": {
            "_index": done.index, "_version": "-3", "_id": done.id.unwrap_or_else(|| "_id".to_owned()),
            "_source": done.source, "_ingest": { "timestamp": now.to_string() },
        }}),
        Ok(None) => Value::Null,
        Err(error) => {
            let error = failed(&error);
            json!({ "error": error.body()["error"] })
        }
    }
}
