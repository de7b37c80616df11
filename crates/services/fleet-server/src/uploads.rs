//! Uploads: begin, chunks in any order, complete. The file's description and its chunks are documents of the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use protocol::{
    UPLOAD_CHUNK_SIZE, UploadBeginResponse, UploadCompleteRequest, UploadCompleteResponse, UploadStatus, indices,
};
use query::{Query, SearchRequest, SourceFilter};
use serde_json::{Map, Value, json};
use store::{Operation, Outcome, Refresh, RejectionKind, Source};

use crate::body;
use crate::error::{ApiError, UploadProblem};
use crate::server::FleetServer;

/// How long an upload may take.
const TIME: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);
/// The largest file: as many chunks as one search returns.
const LARGEST: u64 = 10_000 * UPLOAD_CHUNK_SIZE;
/// Uploads kept in memory; beyond it the store is asked.
const MOST_KEPT: usize = 1000;
/// Sources that may upload.
const SOURCES: [&str; 2] = ["agent", "endpoint"];

/// Uploads in progress.
#[derive(Debug, Default)]
pub(crate) struct Uploads(Mutex<HashMap<String, Upload>>);

/// One upload.
#[derive(Clone, Debug)]
struct Upload {
    /// `<action id>.<agent id>`: `_id` of the description, `bid` of the chunks.
    document_id: String,
    /// The concrete index of the description.
    index: String,
    agent_id: String,
    source: String,
    size: u64,
    chunk_size: u64,
    status: UploadStatus,
    started: Timestamp,
}

/// One chunk, as far as its end is concerned.
struct Chunk {
    index: String,
    id: String,
    number: u64,
    sha256: String,
    last: bool,
    size: u64,
}

pub(crate) async fn begin(State(server): State<Arc<FleetServer>>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let key = server.authenticate(&parts.headers).await?;
    let limit = server.settings.limits.upload_start.max_body;
    let body = body::read(&parts.headers, body, limit, server.settings.timeouts.read).await?;
    let Value::Object(document) = body::decode("upload begin", &body)? else {
        return Err(ApiError::Upload(UploadProblem::BodyRequired));
    };
    let upload = describe(&server, &document)?;
    let namespaces = owner(&server, &key.id, &upload.agent_id).await?;
    let upload_id = uuid::Uuid::new_v4().to_string();
    let document = with_our_fields(document, &upload, &upload_id, namespaces);
    let create = Operation::create(
        upload.index.as_str(),
        upload.document_id.as_str(),
        Source::from_map(&document),
    );
    match server.store.bulk(vec![create], Refresh::WaitFor).await?.pop() {
        Some(Outcome::Rejected(rejection)) if rejection.kind == RejectionKind::VersionConflict => {
            return Err(ApiError::BadRequest(
                "this action's file is being uploaded already, or was".to_owned(),
            ));
        }
        Some(Outcome::Rejected(rejection)) => return Err(ApiError::store(rejection)),
        _ => {}
    }
    server.uploads.put(&upload_id, upload);
    Ok(axum::Json(UploadBeginResponse {
        chunk_size: UPLOAD_CHUNK_SIZE,
        upload_id,
    })
    .into_response())
}

/// Reads the required fields. Source: Fleet protocol, uploads.
fn describe(server: &FleetServer, document: &Map<String, Value>) -> Result<Upload, ApiError> {
    let problem = |problem| Err(ApiError::Upload(problem));
    let Some(file) = document.get("file").and_then(Value::as_object) else {
        return problem(UploadProblem::BodyRequired);
    };
    let text =
        |map: &Map<String, Value>, key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let size = match file.get("size") {
        None | Some(Value::Null) => return problem(UploadProblem::SizeRequired),
        Some(size) => size
            .as_u64()
            .filter(|size| *size > 0)
            .ok_or(ApiError::Upload(UploadProblem::InvalidSize))?,
    };
    if size > LARGEST {
        return problem(UploadProblem::TooLarge);
    }
    for (field, value) in [
        ("file.name", text(file, "name")),
        ("file.mime_type", text(file, "mime_type")),
        ("action_id", text(document, "action_id")),
        ("src", text(document, "src")),
    ] {
        if value.is_empty() {
            return problem(UploadProblem::FieldRequired(field));
        }
    }
    let (agent_id, source) = (text(document, "agent_id"), text(document, "src"));
    if agent_id.is_empty() {
        return problem(UploadProblem::AgentIdMissing);
    }
    if !SOURCES.contains(&source.as_str()) {
        return Err(ApiError::BadRequest(
            "src must be one of `agent`, `endpoint`".to_owned(),
        ));
    }
    Ok(Upload {
        document_id: format!("{}.{agent_id}", text(document, "action_id")),
        index: indices::files_from_host_meta(&source),
        agent_id,
        source,
        size,
        chunk_size: UPLOAD_CHUNK_SIZE,
        status: UploadStatus::AwaitingUpload,
        started: server.clock.now(),
    })
}

fn with_our_fields(
    mut document: Map<String, Value>,
    upload: &Upload,
    upload_id: &str,
    namespaces: Vec<String>,
) -> Map<String, Value> {
    if let Some(Value::Object(file)) = document.get_mut("file") {
        file.insert("ChunkSize".into(), upload.chunk_size.into());
        file.insert("Status".into(), upload.status.as_str().into());
    }
    let started = upload.started.as_millisecond();
    document.insert("@timestamp".into(), started.into());
    document.insert("upload_start".into(), started.into());
    document.insert("upload_id".into(), upload_id.into());
    if !namespaces.is_empty() {
        document.insert("namespaces".into(), json!(namespaces));
    }
    document
}

/// Checks that the agent's key asks, and returns the agent's spaces.
async fn owner(server: &FleetServer, key_id: &str, agent_id: &str) -> Result<Vec<String>, ApiError> {
    let document = server
        .store
        .get(indices::AGENTS, agent_id)
        .await?
        .ok_or(ApiError::AgentIdentity)?;
    let (record, _) = crate::agent_record::AgentRecord::read(&document.source)?;
    if record.access_api_key_id.as_str() != key_id {
        return Err(ApiError::AgentIdentity);
    }
    if record.active {
        Ok(record.namespaces)
    } else {
        Err(ApiError::AgentInactive)
    }
}

pub(crate) async fn chunk(
    State(server): State<Arc<FleetServer>>,
    Path((upload_id, number)): Path<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let expected = header(&parts.headers, "x-chunk-sha2").ok_or(ApiError::HeaderMissing("X-Chunk-SHA2"))?;
    let key = server.authenticate(&parts.headers).await?;
    let number: u64 = number
        .parse()
        .map_err(|_| ApiError::Upload(UploadProblem::InvalidChunkNumber))?;
    let upload = server.upload(&upload_id).await?;
    owner(&server, &key.id, &upload.agent_id).await?;
    check_open(&server, &upload)?;
    let chunks = upload.size.div_ceil(upload.chunk_size);
    if number >= chunks {
        return Err(ApiError::Upload(UploadProblem::InvalidChunkNumber));
    }
    let limit = usize::try_from(upload.chunk_size).unwrap_or(usize::MAX);
    let body = body::read(&parts.headers, body, limit, server.settings.timeouts.write).await?;
    let id = format!("{}.{number}", upload.document_id);
    let now = server.clock.now().as_millisecond();
    let bid = upload.document_id.clone();
    let last = number + 1 == chunks;
    let document = tokio::task::spawn_blocking(move || {
        let found = hex::encode(digest::digest(&digest::SHA256, &body));
        (found == expected.to_ascii_lowercase()).then(|| {
            Source::of(&json!({
                "@timestamp": now, "last": last, "bid": bid, "sha2": found, "size": body.len(),
                "data": STANDARD.encode(&body)
            }))
        })
    });
    let document = document
        .await
        .map_err(ApiError::store)?
        .ok_or(ApiError::Upload(UploadProblem::HashMismatch))?;
    let mut writes = vec![Operation::index(
        indices::files_from_host_data(&upload.source),
        id,
        document,
    )];
    if upload.status == UploadStatus::AwaitingUpload {
        let status = json!({"file": {"Status": UploadStatus::Uploading.as_str()}});
        let change = status.as_object().cloned().unwrap_or_default();
        writes.push(Operation::merge(
            upload.index.as_str(),
            upload.document_id.as_str(),
            change,
        ));
    }
    for outcome in server.store.bulk(writes, Refresh::Soon).await? {
        outcome.written().map_err(ApiError::store)?;
    }
    server.uploads.put(
        &upload_id,
        Upload {
            status: UploadStatus::Uploading,
            ..upload
        },
    );
    Ok((
        [(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        StatusCode::OK,
    )
        .into_response())
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)?
        .to_str()
        .ok()
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
}

fn check_open(server: &FleetServer, upload: &Upload) -> Result<(), ApiError> {
    match upload.status {
        UploadStatus::AwaitingUpload | UploadStatus::Uploading => {}
        UploadStatus::UploadError | UploadStatus::Deleted => return Err(ApiError::Upload(UploadProblem::Stopped)),
        UploadStatus::Ready => return Err(ApiError::Upload(UploadProblem::Closed)),
    }
    if server.clock.now().duration_since(upload.started) > TIME {
        return Err(ApiError::Upload(UploadProblem::Expired));
    }
    Ok(())
}

pub(crate) async fn complete(
    State(server): State<Arc<FleetServer>>,
    Path(upload_id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let key = server.authenticate(&parts.headers).await?;
    let upload = server.upload(&upload_id).await?;
    owner(&server, &key.id, &upload.agent_id).await?;
    let limit = server.settings.limits.upload_end.max_body;
    let body = body::read(&parts.headers, body, limit, server.settings.timeouts.read).await?;
    let request: UploadCompleteRequest = body::decode("upload complete", &body)?;
    if request.transithash.sha256.is_empty() {
        return Err(ApiError::Upload(UploadProblem::TransitHashRequired));
    }
    check_open(&server, &upload)?;
    let chunks = chunks(&server, &upload).await?;
    check_whole(&upload, &chunks)?;
    let hash = transit_hash(&chunks)?;
    if hash != request.transithash.sha256.to_ascii_lowercase() {
        set_status(&server, &upload_id, &upload, UploadStatus::UploadError, None).await?;
        delete_chunks(&server, chunks).await?;
        return Err(ApiError::Upload(UploadProblem::FailedValidation));
    }
    set_status(&server, &upload_id, &upload, UploadStatus::Ready, Some(&hash)).await?;
    Ok(axum::Json(UploadCompleteResponse {
        status: "ok".to_owned(),
    })
    .into_response())
}

/// All chunks of an upload, in order.
async fn chunks(server: &FleetServer, upload: &Upload) -> Result<Vec<Chunk>, ApiError> {
    let index = indices::files_from_host_data(&upload.source);
    server.store.refresh(&index).await?;
    let mut request = SearchRequest::new(index)
        .query(Query::term("bid", upload.document_id.as_str()))
        .size(10_000);
    let includes = ["sha2", "last", "size"].map(str::to_owned).to_vec();
    request.source = SourceFilter::Some {
        includes,
        excludes: Vec::new(),
    };
    let mut chunks = Vec::new();
    for hit in server.store.search(request).await?.hits {
        let source = hit.document.source.to_value();
        let number = hit
            .document
            .id
            .rsplit('.')
            .next()
            .and_then(|number| number.parse().ok());
        chunks.push(Chunk {
            number: number.ok_or(ApiError::Upload(UploadProblem::MissingChunks))?,
            sha256: source["sha2"].as_str().unwrap_or_default().to_owned(),
            last: source["last"].as_bool().unwrap_or(false),
            size: source["size"].as_u64().unwrap_or(0),
            index: hit.document.index,
            id: hit.document.id,
        });
    }
    chunks.sort_by_key(|chunk| chunk.number);
    Ok(chunks)
}

/// Every chunk is there and as long as it must be.
fn check_whole(upload: &Upload, chunks: &[Chunk]) -> Result<(), ApiError> {
    let expected = upload.size.div_ceil(upload.chunk_size);
    let are_in_order = chunks
        .iter()
        .enumerate()
        .all(|(place, chunk)| chunk.number == place as u64);
    let is_ended = chunks.last().is_some_and(|chunk| chunk.last);
    if chunks.len() as u64 != expected || !are_in_order || !is_ended {
        return Err(ApiError::Upload(UploadProblem::MissingChunks));
    }
    let are_full = chunks.iter().all(|chunk| chunk.last || chunk.size == upload.chunk_size);
    let total: u64 = chunks.iter().map(|chunk| chunk.size).sum();
    if are_full && total <= upload.size {
        Ok(())
    } else {
        Err(ApiError::Upload(UploadProblem::FailedValidation))
    }
}

/// SHA-256 over the binary sums of the chunks.
fn transit_hash(chunks: &[Chunk]) -> Result<String, ApiError> {
    let mut context = digest::Context::new(&digest::SHA256);
    for chunk in chunks {
        context.update(&hex::decode(&chunk.sha256).map_err(ApiError::store)?);
    }
    Ok(hex::encode(context.finish()))
}

async fn set_status(
    server: &FleetServer,
    upload_id: &str,
    upload: &Upload,
    status: UploadStatus,
    hash: Option<&str>,
) -> Result<(), ApiError> {
    let mut change = json!({"file": {"Status": status.as_str()}});
    if let Some(hash) = hash {
        change["transithash"] = json!({"sha256": hash});
    }
    let change = change.as_object().cloned().unwrap_or_default();
    let write = Operation::merge(upload.index.as_str(), upload.document_id.as_str(), change);
    for outcome in server.store.bulk(vec![write], Refresh::WaitFor).await? {
        outcome.written().map_err(ApiError::store)?;
    }
    server.uploads.put(
        upload_id,
        Upload {
            status,
            ..upload.clone()
        },
    );
    Ok(())
}

async fn delete_chunks(server: &FleetServer, chunks: Vec<Chunk>) -> Result<(), ApiError> {
    let deletes = chunks
        .into_iter()
        .map(|chunk| Operation::delete(chunk.index, chunk.id))
        .collect();
    server.store.bulk(deletes, Refresh::Soon).await?;
    Ok(())
}

impl FleetServer {
    async fn upload(&self, upload_id: &str) -> Result<Upload, ApiError> {
        if let Some(upload) = self.uploads.find(upload_id) {
            return Ok(upload);
        }
        let request = SearchRequest::new(indices::FILES_FROM_HOST_META)
            .query(Query::term("upload_id", upload_id))
            .size(1);
        let hit = self
            .store
            .search(request)
            .await?
            .hits
            .pop()
            .ok_or(ApiError::Upload(UploadProblem::InvalidId))?;
        let source = hit.document.source.to_value();
        let text = |pointer: &str| {
            source
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let number = |pointer: &str| source.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let started = Timestamp::from_millisecond(source["upload_start"].as_i64().unwrap_or(0));
        let upload = Upload {
            document_id: hit.document.id,
            index: hit.document.index,
            agent_id: text("/agent_id"),
            source: text("/src"),
            size: number("/file/size"),
            chunk_size: number("/file/ChunkSize").max(1),
            status: serde_json::from_value(source["file"]["Status"].clone()).unwrap_or(UploadStatus::UploadError),
            started: started.unwrap_or(Timestamp::UNIX_EPOCH),
        };
        self.uploads.put(upload_id, upload.clone());
        Ok(upload)
    }
}

impl Uploads {
    fn find(&self, upload_id: &str) -> Option<Upload> {
        self.0
            .lock()
            .expect("no holder of this lock can panic")
            .get(upload_id)
            .cloned()
    }

    fn put(&self, upload_id: &str, upload: Upload) {
        let mut kept = self.0.lock().expect("no holder of this lock can panic");
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(upload_id.to_owned(), upload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(number: u64, size: u64, last: bool) -> Chunk {
        Chunk {
            index: String::new(),
            id: String::new(),
            number,
            sha256: "00".repeat(32),
            last,
            size,
        }
    }

    fn upload(size: u64) -> Upload {
        Upload {
            document_id: "a.b".into(),
            index: "i".into(),
            agent_id: "b".into(),
            source: "agent".into(),
            size,
            chunk_size: 10,
            status: UploadStatus::Uploading,
            started: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_file_is_whole_when_every_chunk_is_there_and_full() {
        let check = |size: u64, chunks: &[Chunk], expected: Result<(), &str>| {
            assert_eq!(
                check_whole(&upload(size), chunks).map_err(|error| error.code()),
                expected,
                "{size}"
            );
        };
        check(15, &[chunk(0, 10, false), chunk(1, 5, true)], Ok(()));
        check(15, &[chunk(0, 10, false)], Err("ErrMissingChunks"));
        check(15, &[chunk(0, 10, false), chunk(2, 5, true)], Err("ErrMissingChunks"));
        check(15, &[chunk(0, 10, false), chunk(1, 5, false)], Err("ErrMissingChunks"));
        check(15, &[chunk(0, 9, false), chunk(1, 5, true)], Err("ErrFailValidation"));
        check(15, &[chunk(0, 10, false), chunk(1, 6, true)], Err("ErrFailValidation"));
        check(10, &[chunk(0, 10, true)], Ok(()));
    }

    #[test]
    fn the_transit_hash_is_the_hash_of_the_hashes() {
        let mut chunks = [chunk(0, 10, false), chunk(1, 5, true)];
        chunks[0].sha256 = "3cab7815c40973b8fb036c7a2a69b3649882622a4a0a2f1a980efa4ef8545577".into();
        chunks[1].sha256 = "3e918709dd35766bdbe95e5460b5ab044f883fcc1e5ff2ca705928b6ee4cb89d".into();
        let recorded = "3c5aa1656689778f7df6e52d4340f0e227110460c71488c777dc79264940746b";
        assert_eq!(transit_hash(&chunks).unwrap(), recorded);
    }
}
