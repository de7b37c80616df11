//! Log-in, log-out, and who is asking.

use std::sync::Arc;

use secret::Secret;
use serde_json::{Value, json};

use super::call::{Call, Reply};
use super::error::ApiError;
use super::routes::PublicCall;
use super::schema::{self, Field, Kind, field, text};
use crate::Console;
use crate::domain::{sessions, setup};

const PARAMS: &[Field] = &[text("username").required(), text("password").required()];
const BODY: &[Field] = &[
    text("providerType"),
    text("providerName"),
    text("currentURL"),
    field("params", Kind::Object(PARAMS)).required(),
];

pub(super) async fn log_in(console: Arc<Console>, call: PublicCall) -> Result<Reply, ApiError> {
    let body: Value = serde_json::from_slice(&call.raw)
        .map_err(|error| ApiError::BadRequest(format!("Invalid request payload JSON format: {error}")))?;
    let body = schema::check_body(BODY, body)?;
    setup::ensure(&console).await?;
    let param = |name: &str| body["params"][name].as_str().unwrap_or_default();
    let password = Secret::from(param("password"));
    let session = sessions::log_in(&console, param("username"), password, call.address).await?;
    let body = json!({"location": "/app/fleet", "csrf_token": session.csrf_token()});
    Ok(Reply::WithCookie {
        body,
        cookie: session.cookie(),
    })
}

pub(super) async fn log_out(console: Arc<Console>, call: PublicCall) -> Result<Reply, ApiError> {
    sessions::log_out(&console, &call.cookies).await?;
    Ok(Reply::WithCookie {
        body: json!({}),
        cookie: sessions::expired_cookie(),
    })
}

pub(super) async fn me(_console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let principal = &call.principal;
    Ok(Reply::Json(json!({
        "username": principal.username, "roles": principal.roles, "full_name": principal.full_name, "email": principal.email,
        "enabled": true, "authentication_type": principal.authentication_type(), "metadata": principal.metadata,
    })))
}
