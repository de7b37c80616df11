//! `GET /api/agents/upgrades/{version}/pgp-public-key`: the key that agents check upgrades with, over TLS only.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use camino::Utf8Path;
use http::header::CONTENT_TYPE;
use http::{Extensions, Request, StatusCode};
use tls::{ClientTls, LoadOptions, SslSettings};
use transport::{HttpClient, HttpClientSettings, read_body};

use crate::error::ApiError;
use crate::peer;
use crate::server::FleetServer;

const FILE: &str = "default.pgp";
/// Keys are a few kilobytes; what is larger is no key.
const LARGEST: usize = 1024 * 1024;
/// How every armored key begins. Source: RFC 9580, section 6.2.
const ARMOR: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";
/// How long the key may take to come from `pgp.upstream_url`.
const FETCH: Duration = Duration::from_secs(30);

pub(crate) async fn public_key(
    State(server): State<Arc<FleetServer>>,
    Path(version): Path<String>,
    extensions: Extensions,
) -> Result<Response, ApiError> {
    // Whichever version it is, the key is the same; but what is no version is no path.
    if version.split('.').count() != 3 {
        return Ok(crate::router::not_found().await);
    }
    if !peer::is_tls(&extensions) {
        return Err(ApiError::TlsRequired);
    }
    let dir = server.settings.pgp.dir.as_ref().ok_or(ApiError::ServiceUnavailable)?;
    let key = match kept(&dir.join(FILE)).await {
        Err(error) if error.kind() == ErrorKind::NotFound => fetch(&server, dir).await?,
        kept => kept.map_err(ApiError::store)?,
    };
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], key).into_response())
}

async fn kept(path: &Utf8Path) -> io::Result<Bytes> {
    let length = fs_err::tokio::metadata(path).await?.len();
    if length > LARGEST as u64 {
        return Err(io::Error::other(format!("`{path}` is too large to be a key")));
    }
    fs_err::tokio::read(path).await.map(Bytes::from)
}

/// Fetches the key from `pgp.upstream_url` and keeps it: once, whoever asks meanwhile.
async fn fetch(server: &FleetServer, dir: &Utf8Path) -> Result<Bytes, ApiError> {
    let url = &server.settings.pgp.upstream_url;
    if url.is_empty() {
        return Err(ApiError::ServiceUnavailable);
    }
    let _one_at_a_time = server.pgp_fetch.lock().await;
    if let Ok(key) = kept(&dir.join(FILE)).await {
        return Ok(key);
    }
    let fetched = tokio::time::timeout(FETCH, download(url)).await;
    let key = fetched
        .unwrap_or_else(|_| Err(format!("no answer within {FETCH:?}")))
        .map_err(|reason| {
            tracing::warn!(url = %url, reason, "the PGP key cannot be fetched (`pgp.upstream_url`)");
            ApiError::ServiceUnavailable
        })?;
    let (dir, copy) = (dir.to_owned(), key.clone());
    match tokio::task::spawn_blocking(move || keep(&dir, &copy)).await {
        Ok(Ok(())) => tracing::info!(url = %url, "PGP key fetched"),
        failed => tracing::warn!(error = ?failed, "the PGP key cannot be kept; the next request fetches it again"),
    }
    Ok(key)
}

async fn download(url: &str) -> Result<Bytes, String> {
    let options = LoadOptions::named("pgp.upstream_url");
    let tls = ClientTls::load(&SslSettings::default(), options).map_err(|error| error.to_string())?;
    let client = HttpClient::new(HttpClientSettings {
        tls,
        proxy: None,
        connect_timeout: FETCH,
        headers: http::HeaderMap::new(),
        connect_to: None,
    });
    let request = Request::get(url)
        .body(Bytes::new())
        .map_err(|error| error.to_string())?;
    let answer = client.send(request).await.map_err(|error| error.to_string())?;
    if answer.status() != StatusCode::OK {
        return Err(format!("the answer is {}", answer.status()));
    }
    let key = read_body(answer.into_body(), LARGEST)
        .await
        .map_err(|error| error.to_string())?;
    if !key.trim_ascii_start().starts_with(ARMOR) {
        return Err("what was answered is no PGP public key".to_owned());
    }
    Ok(key)
}

/// Written beside and put in place whole, for this user alone as in the original.
fn keep(dir: &Utf8Path, key: &[u8]) -> io::Result<()> {
    use fs_err::os::unix::fs::OpenOptionsExt;
    fs_err::create_dir_all(dir)?;
    let (path, beside) = (dir.join(FILE), dir.join("default.pgp.new"));
    let mut file = fs_err::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(key)?;
    file.sync_all()?;
    fs_err::rename(&beside, &path)
}
