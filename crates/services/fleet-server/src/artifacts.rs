//! `GET /api/fleet/artifacts/{identifier}/{sha256}`: lists that the agent's policy names by their hash.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use protocol::{ArtifactDocument, indices};
use query::{Query, SearchRequest};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::error::ApiError;
use crate::server::FleetServer;

/// Fetches from the store at once.
const FETCHES_AT_ONCE: usize = 8;

/// Artifacts lately asked for, up to a number of bytes.
#[derive(Debug)]
pub(crate) struct ArtifactCache {
    most_bytes: u64,
    time_to_live: Duration,
    fetches: Semaphore,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: u64,
    artifacts: HashMap<(String, String), (Instant, Bytes)>,
}

pub(crate) async fn download(
    State(server): State<Arc<FleetServer>>,
    Path((identifier, sha256)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let agent = server.authenticate_agent_by_key(&headers).await?;
    if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ApiError::Invalid("malformed sha256".to_owned()));
    }
    let wanted = (identifier, sha256);
    let policy = server.policies.newest(&agent.record.policy_id);
    if !policy.is_some_and(|policy| policy.artifacts.contains(&wanted)) {
        return Err(ApiError::ArtifactForbidden);
    }
    let body = server.artifact(wanted).await?;
    let kind = if looks_like_text(&body) {
        "text/plain; charset=utf-8"
    } else {
        "application/octet-stream"
    };
    Ok(([(CONTENT_TYPE, kind)], body).into_response())
}

/// As browsers guess: no control characters in the first bytes.
fn looks_like_text(body: &[u8]) -> bool {
    let start = &body[..body.len().min(512)];
    !start.iter().any(|byte| matches!(byte, 0..=8 | 11 | 14..=26 | 28..=31))
        && std::str::from_utf8(start).is_ok_and(|_| true)
}

impl FleetServer {
    async fn artifact(&self, wanted: (String, String)) -> Result<Bytes, ApiError> {
        if let Some(body) = self.artifacts.find(&wanted) {
            return Ok(body);
        }
        let _permit = self.artifacts.fetches.acquire().await.map_err(ApiError::store)?;
        // Another request may have fetched it while this one waited.
        if let Some(body) = self.artifacts.find(&wanted) {
            return Ok(body);
        }
        let clauses = vec![
            Query::term("decoded_sha256", wanted.1.as_str()),
            Query::term("identifier", wanted.0.as_str()),
        ];
        let request = SearchRequest::new(indices::ARTIFACTS)
            .query(Query::all_of(clauses))
            .size(1);
        let hit = self
            .store
            .search(request)
            .await?
            .hits
            .pop()
            .ok_or(ApiError::NotFound("artifact not found"))?;
        let artifact: ArtifactDocument = hit.document.source.parse().map_err(ApiError::store)?;
        let body = STANDARD.decode(&artifact.body).map_err(ApiError::store)?;
        if hex::encode(digest::digest(&digest::SHA256, &body)) != artifact.encoded_sha256 {
            let problem = format!("the stored artifact `{}` does not match its hash", artifact.identifier);
            return Err(ApiError::store(std::io::Error::other(problem)));
        }
        let body = Bytes::from(body);
        self.artifacts.put(wanted, &body);
        Ok(body)
    }
}

impl ArtifactCache {
    pub(crate) fn new(most_bytes: u64, time_to_live: Duration) -> Self {
        let fetches = Semaphore::new(FETCHES_AT_ONCE);
        Self {
            most_bytes,
            time_to_live,
            fetches,
            kept: Mutex::default(),
        }
    }

    fn find(&self, wanted: &(String, String)) -> Option<Bytes> {
        let kept = self.kept.lock().expect("no holder of this lock can panic");
        let (read, body) = kept.artifacts.get(wanted)?;
        (read.elapsed() < self.time_to_live).then(|| body.clone())
    }

    fn put(&self, wanted: (String, String), body: &Bytes) {
        let size = body.len() as u64;
        if size > self.most_bytes {
            return;
        }
        let mut kept = self.kept.lock().expect("no holder of this lock can panic");
        if kept.bytes + size > self.most_bytes {
            *kept = Kept::default();
        }
        if let Some((_, old)) = kept.artifacts.insert(wanted, (Instant::now(), body.clone())) {
            kept.bytes = kept.bytes.saturating_sub(old.len() as u64);
        }
        kept.bytes += size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_cache_stays_within_its_bytes() {
        let cache = ArtifactCache::new(10, Duration::from_mins(1));
        let key = |name: &str| (name.to_owned(), String::new());
        cache.put(key("a"), &Bytes::from_static(b"123456"));
        cache.put(key("a"), &Bytes::from_static(b"1234"));
        cache.put(key("b"), &Bytes::from_static(b"123456"));
        assert!(cache.find(&key("a")).is_some() && cache.find(&key("b")).is_some());
        cache.put(key("c"), &Bytes::from_static(b"1"));
        assert!(cache.find(&key("a")).is_none() && cache.find(&key("c")).is_some());
        cache.put(key("d"), &Bytes::from(vec![0; 11]));
        assert!(cache.find(&key("d")).is_none());
    }

    #[test]
    fn text_is_told_from_bytes() {
        assert!(looks_like_text(b"artifact-bytes") && !looks_like_text(&[0x78, 0x9c, 0, 1]));
    }
}
