//! The state of a Fleet Server.

use std::sync::Arc;

use super::call::{Call, Reply};
use super::error::ApiError;
use super::schema::{Field, text};
use crate::Console;
use crate::domain::fleet_state;

pub(super) const BODY: &[Field] = &[text("id").required()];

pub(super) async fn check(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let id = call.body_text("id").unwrap_or_default();
    Ok(Reply::Json(fleet_state::health_of_host(&console, id).await?))
}
