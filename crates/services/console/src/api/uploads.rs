//! Files that agents uploaded.

use std::sync::Arc;

use serde_json::{Value, json};

use super::call::{Call, Reply};
use super::error::ApiError;
use crate::Console;
use crate::domain::uploads::{self as domain, Upload};

pub(super) async fn list(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let items: Vec<Value> = domain::list(&console, call.id("agentId"))
        .await?
        .iter()
        .map(Upload::to_json)
        .collect();
    Ok(Reply::Json(json!({"items": items})))
}

pub(super) async fn file(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let content = domain::content(&console, call.id("fileId")).await?;
    Ok(Reply::File {
        content_type: "application/zip",
        file_name: Some(call.id("fileName").to_owned()),
        content,
    })
}

pub(super) async fn delete(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    domain::delete(&console, &call.actor(), call.id("fileId")).await?;
    Ok(Reply::Json(json!({"id": call.id("fileId"), "deleted": true})))
}
