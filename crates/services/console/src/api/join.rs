//! Texts that bring agents to hosts.

use std::sync::Arc;

use serde_json::json;

use super::call::{Call, Reply};
use super::error::ApiError;
use super::schema::{Field, flag, text};
use crate::Console;
use crate::domain::join as domain;

/// What a script can be for.
pub(super) const SYSTEMS: [&str; 3] = ["linux", "macos", "windows"];
pub(super) const KUBERNETES_QUERY: &[Field] = &[flag("download"), text("fleetServer"), text("enrolToken")];
pub(super) const SCRIPT_QUERY: &[Field] = &[text("fleetServer"), text("enrollmentToken")];

async fn manifest(console: &Console, call: &Call) -> Result<String, ApiError> {
    Ok(domain::kubernetes(console, call.text("fleetServer"), call.text("enrolToken")).await?)
}

pub(super) async fn kubernetes(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    Ok(Reply::Json(json!({"item": manifest(&console, &call).await?})))
}

pub(super) async fn kubernetes_file(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    Ok(Reply::File {
        // Several documents in one file, which readers of one YAML document refuse.
        content_type: "text/plain; charset=utf-8",
        file_name: Some("elastic-agent-managed-kubernetes.yaml".to_owned()),
        content: manifest(&console, &call).await?.into_bytes(),
    })
}

pub(super) async fn script(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let script = domain::script(
        &console,
        call.id("osType"),
        call.text("fleetServer"),
        call.text("enrollmentToken"),
    );
    Ok(Reply::File {
        content_type: "text/plain; charset=utf-8",
        file_name: None,
        content: script.await?.into_bytes(),
    })
}
