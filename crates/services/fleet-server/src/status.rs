//! `GET /api/status`: how the server is; its version only for those who show a valid key.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use protocol::{ServerStatus, StatusResponse, StatusVersion};

use crate::server::FleetServer;

pub(crate) async fn show(State(server): State<Arc<FleetServer>>, headers: HeaderMap) -> Response {
    let status = server.status();
    let has_key = headers.contains_key(http::header::AUTHORIZATION) && server.authenticate(&headers).await.is_ok();
    let version = has_key.then(|| StatusVersion {
        build_hash: server.settings.build_hash.clone(),
        build_time: server.settings.build_time.clone(),
        number: server.settings.version.clone(),
    });
    let code = match status {
        ServerStatus::Healthy => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (
        code,
        axum::Json(StatusResponse {
            name: "fleet-server".to_owned(),
            status,
            version,
        }),
    )
        .into_response()
}
