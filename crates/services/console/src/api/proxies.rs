//! Proxies.

use std::sync::Arc;

use serde_json::json;

use super::call::{Call, Reply, bare_answer_of, item, whole_list};
use super::error::ApiError;
use super::schema::{Field, ID, Kind, field, flag, text};
use crate::Console;
use crate::domain::proxies as domain;

const HEADERS: Kind = Kind::Map(&Kind::Either(&[Kind::Text, Kind::Bool, Kind::Number]));

pub(super) const CREATE: &[Field] = &[
    ID,
    text("name").required(),
    field("url", Kind::Url).required(),
    field("proxy_headers", HEADERS).nullable(),
    text("certificate_authorities").nullable(),
    text("certificate").nullable(),
    text("certificate_key").nullable(),
    flag("is_preconfigured").default("false"),
];
pub(super) const UPDATE: &[Field] = &[
    text("name"),
    field("url", Kind::Url),
    field("proxy_headers", HEADERS).nullable(),
    text("certificate_authorities").nullable(),
    text("certificate").nullable(),
    text("certificate_key").nullable(),
];

pub(super) async fn list(console: Arc<Console>, _call: Call) -> Result<Reply, ApiError> {
    whole_list(domain::list(&console).await?.iter().map(bare_answer_of).collect())
}

pub(super) async fn read(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    item(bare_answer_of(domain::read(&console, call.id("itemId")).await?))
}

pub(super) async fn create(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    if call.flag("dry_run") {
        return item(domain::dry_run(&console, None, call.body).await?);
    }
    item(bare_answer_of(
        domain::create(&console, &call.actor(), call.body).await?,
    ))
}

pub(super) async fn update(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let id = call.id("itemId").to_owned();
    if call.flag("dry_run") {
        return item(domain::dry_run(&console, Some(&id), call.body).await?);
    }
    item(bare_answer_of(
        domain::update(&console, &call.actor(), &id, call.body).await?,
    ))
}

pub(super) async fn delete(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    domain::delete(&console, &call.actor(), call.id("itemId")).await?;
    Ok(Reply::Json(json!({"id": call.id("itemId")})))
}
