//! Tokens and keys that are made on request.

use std::sync::Arc;

use serde_json::json;

use super::call::{Call, Reply};
use super::error::ApiError;
use super::schema::{Field, Kind, field, flag};
use crate::Console;
use crate::domain::error::FleetError;
use crate::domain::tokens;

pub(super) const SERVICE_TOKEN: &[Field] = &[flag("remote").default("false")];
pub(super) const ROTATE_QUERY: &[Field] = &[field("acknowledge", Kind::True).required()];

pub(super) async fn service_token(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let (name, value) = tokens::service_token(&console, &call.actor(), call.body_flag("remote")).await?;
    Ok(Reply::Json(json!({"name": name, "value": value.expose()})))
}

pub(super) async fn logstash_api_key(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    // A key cannot make another one that has rights.
    let pair = match tokens::logstash_key(&console, &call.actor()).await {
        Err(FleetError::Invalid { message, .. }) => return Err(ApiError::Forbidden(message)),
        pair => pair?,
    };
    Ok(Reply::Json(json!({"api_key": pair.expose()})))
}

pub(super) async fn rotate_key_pair(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    if !call.flag("acknowledge") {
        let message = "Warning: this API will cause a key pair to rotate and should not be necessary in normal operation. \
                       If you proceed, you may need to reinstall Agents in your network. You must acknowledge the risks of \
                       rotating the key pair with acknowledge=true in the request parameters.";
        return Err(ApiError::BadRequest(message.to_owned()));
    }
    tokens::rotate_signing_key(&console, &call.actor()).await?;
    Ok(Reply::Json(json!({"message": "Key pair rotated successfully."})))
}
