//! `GET /api/fleet/file/{id}`: files for agents, whole or in part, sent chunk by chunk.

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query as UrlQuery, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use protocol::indices;
use query::{Query, SearchRequest, SourceFilter};
use serde::Deserialize;
use serde_json::Value;
use store::Document;

use crate::error::ApiError;
use crate::server::FleetServer;

const PRODUCT_ORIGIN: &str = "x-elastic-product-origin";
const ENDPOINT: &str = "endpoint-security";
const FILE_HASH: HeaderName = HeaderName::from_static("x-file-sha2");

#[derive(Debug, Deserialize)]
pub(crate) struct FileQuery {
    /// A library of an integration, in place of files for this agent.
    source: Option<String>,
}

/// A file's description.
struct File {
    mime_type: String,
    sha256: Option<String>,
    size: u64,
    chunk_size: u64,
    data_index: String,
    id: String,
}

pub(crate) async fn deliver(
    State(server): State<Arc<FleetServer>>,
    Path(id): Path<String>,
    UrlQuery(query): UrlQuery<FileQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let agent = server.authenticate_agent_by_key(&headers).await?;
    let file = match query.source.filter(|source| !source.is_empty()) {
        Some(library) => library_file(&server, &headers, &library, &id).await?,
        None => own_file(&server, agent.id.as_str(), &id).await?,
    };
    let range = match headers.get(RANGE).and_then(|range| range.to_str().ok()) {
        Some(text) => parse_range(text, file.size).ok_or(ApiError::RangeNotSatisfiable { size: file.size })?,
        None => None,
    };
    let chunks = chunk_ids(&server, &file).await?;
    Ok(respond(server, file, range, chunks))
}

/// A file that names this agent and is complete.
async fn own_file(server: &FleetServer, agent_id: &str, id: &str) -> Result<File, ApiError> {
    let clauses = vec![
        Query::Ids(vec![id.to_owned()]),
        Query::term("file.Meta.target_agents", agent_id),
        Query::term("file.Status", "READY"),
    ];
    let request = SearchRequest::new(indices::FILES_TO_HOST_META)
        .query(Query::all_of(clauses))
        .size(1);
    let hit = server.store.search(request).await?.hits.pop().ok_or(ApiError::NoFile)?;
    Ok(File::read(&hit.document, indices::FILES_TO_HOST_DATA.to_owned()))
}

/// A file of an integration's library, for that integration's own program.
async fn library_file(server: &FleetServer, headers: &HeaderMap, library: &str, id: &str) -> Result<File, ApiError> {
    let is_endpoint = headers.get(PRODUCT_ORIGIN).is_some_and(|origin| origin == ENDPOINT);
    let is_plain_name = library
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if !is_endpoint || !is_plain_name {
        return Err(ApiError::FileForbidden);
    }
    let index = format!(".endpoint-fleetfiles-{library}-meta");
    let document = server.store.get(&index, id).await?.ok_or(ApiError::NoFile)?;
    Ok(File::read(&document, format!(".endpoint-fleetfiles-{library}-data")))
}

impl File {
    fn read(document: &Document, data_index: String) -> Self {
        let source = document.source.to_value();
        let text = |pointer: &str| {
            source
                .pointer(pointer)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        Self {
            mime_type: text("/file/mime_type").unwrap_or("application/octet-stream").to_owned(),
            sha256: text("/file/hash/sha256").map(str::to_owned),
            size: source["file"]["size"].as_u64().unwrap_or(0),
            chunk_size: source["file"]["ChunkSize"]
                .as_u64()
                .unwrap_or(protocol::UPLOAD_CHUNK_SIZE)
                .max(1),
            data_index,
            id: document.id.clone(),
        }
    }
}

/// Index and id of each chunk, in order.
async fn chunk_ids(server: &FleetServer, file: &File) -> Result<Vec<(String, String)>, ApiError> {
    let mut request = SearchRequest::new(file.data_index.as_str())
        .query(Query::term("bid", file.id.as_str()))
        .size(10_000);
    request.source = SourceFilter::None;
    let hits = server.store.search(request).await?.hits;
    let number = |id: &str| {
        id.rsplit('.')
            .next()
            .and_then(|number| number.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let mut chunks: Vec<_> = hits
        .into_iter()
        .map(|hit| (hit.document.index, hit.document.id))
        .collect();
    chunks.sort_by_key(|(_, id)| number(id));
    if chunks.is_empty() {
        Err(ApiError::NoFile)
    } else {
        Ok(chunks)
    }
}

/// The bytes asked for: nothing in particular (`Some(None)`), a part, or what the file does not have (`None`).
/// Several parts at once are not served.
#[expect(
    clippy::option_option,
    reason = "no range, a good range and a bad one are three different things"
)]
fn parse_range(text: &str, size: u64) -> Option<Option<RangeInclusive<u64>>> {
    let Some(spec) = text.trim().strip_prefix("bytes=") else {
        return Some(None);
    };
    let (first, last) = spec.split_once('-')?;
    let range = match (first.trim(), last.trim()) {
        ("", suffix) => {
            let length = suffix.parse::<u64>().ok().filter(|length| *length > 0)?;
            size.saturating_sub(length)..=size.checked_sub(1)?
        }
        (first, "") => first.parse().ok()?..=size.checked_sub(1)?,
        (first, last) => first.parse().ok()?..=last.parse::<u64>().ok()?.min(size.checked_sub(1)?),
    };
    (range.start() <= range.end() && *range.start() < size).then_some(Some(range))
}

fn respond(
    server: Arc<FleetServer>,
    file: File,
    range: Option<RangeInclusive<u64>>,
    chunks: Vec<(String, String)>,
) -> Response {
    let wanted = range.clone().unwrap_or(0..=file.size.saturating_sub(1));
    let length = if file.size == 0 {
        0
    } else {
        wanted.end() - wanted.start() + 1
    };
    let mut response = Response::new(Body::from_stream(contents(
        server,
        file.chunk_size,
        wanted.clone(),
        chunks,
    )));
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    let octets = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, HeaderValue::try_from(file.mime_type).unwrap_or(octets));
    if let Some(hash) = file.sha256.and_then(|hash| HeaderValue::try_from(hash).ok()) {
        headers.insert(FILE_HASH, hash);
    }
    if range.is_some() {
        let text = format!("bytes {}-{}/{}", wanted.start(), wanted.end(), file.size);
        headers.insert(
            CONTENT_RANGE,
            HeaderValue::try_from(text).expect("numbers are plain ASCII"),
        );
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

/// Reads one chunk after the other, only those that have a wanted byte.
fn contents(
    server: Arc<FleetServer>,
    chunk_size: u64,
    wanted: RangeInclusive<u64>,
    chunks: Vec<(String, String)>,
) -> impl futures_util::Stream<Item = Result<Bytes, ApiError>> {
    let starts = (0..).map(move |number: u64| number * chunk_size);
    let needed: Vec<_> = chunks
        .into_iter()
        .zip(starts)
        .filter(|(_, start)| *start <= *wanted.end() && start + chunk_size > *wanted.start())
        .collect();
    stream::iter(needed).then(move |((index, id), start)| {
        let server = Arc::clone(&server);
        let wanted = wanted.clone();
        async move {
            let chunk = read_chunk(&server, &index, &id).await?;
            let from = usize::try_from(wanted.start().saturating_sub(start))
                .unwrap_or(usize::MAX)
                .min(chunk.len());
            let to = usize::try_from(wanted.end().saturating_sub(start) + 1)
                .unwrap_or(usize::MAX)
                .min(chunk.len());
            Ok(chunk.slice(from..to.max(from)))
        }
    })
}

async fn read_chunk(server: &FleetServer, index: &str, id: &str) -> Result<Bytes, ApiError> {
    #[derive(Deserialize)]
    struct Data {
        data: String,
    }
    let document = server.store.get(index, id).await?.ok_or(ApiError::NoFile)?;
    let data: Data = document.source.parse().map_err(ApiError::store)?;
    Ok(Bytes::from(STANDARD.decode(data.data).map_err(ApiError::store)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_at_a_time() {
        let check = |text: &str, expected: Option<Option<RangeInclusive<u64>>>| {
            assert_eq!(parse_range(text, 260), expected, "{text}");
        };
        check("bytes=5-14", Some(Some(5..=14)));
        check("bytes=250-", Some(Some(250..=259)));
        check("bytes=-10", Some(Some(250..=259)));
        check("bytes=0-9999", Some(Some(0..=259)));
        check("bytes=9999-", None);
        check("bytes=9-5", None);
        check("bytes=1-2,5-6", None);
        check("bytes=x-", None);
        check("lines=1-2", Some(None));
        assert_eq!(parse_range("bytes=0-", 0), None);
    }
}
