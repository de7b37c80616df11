//! `GET /api/agents/upgrades/{version}/pgp-public-key`: the key that agents check upgrades with, over TLS only.

use std::io::ErrorKind;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::Extensions;
use http::header::CONTENT_TYPE;

use crate::error::ApiError;
use crate::peer;
use crate::server::FleetServer;

const FILE: &str = "default.pgp";
/// Keys are a few kilobytes; what is larger is no key.
const LARGEST: u64 = 1024 * 1024;

pub(crate) async fn public_key(
    State(server): State<Arc<FleetServer>>,
    extensions: Extensions,
) -> Result<Response, ApiError> {
    if !peer::is_tls(&extensions) {
        return Err(ApiError::TlsRequired);
    }
    let path = server
        .settings
        .pgp
        .dir
        .as_ref()
        .ok_or(ApiError::ServiceUnavailable)?
        .join(FILE);
    let length = fs_err::tokio::metadata(&path).await.map_err(unreadable)?.len();
    if length > LARGEST {
        return Err(ApiError::store(std::io::Error::other(format!(
            "`{path}` is too large to be a key"
        ))));
    }
    let key = fs_err::tokio::read(&path).await.map_err(unreadable)?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], key).into_response())
}

fn unreadable(error: std::io::Error) -> ApiError {
    match error.kind() {
        ErrorKind::NotFound => ApiError::ServiceUnavailable,
        _ => ApiError::store(error),
    }
}
