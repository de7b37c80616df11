//! Download sources.

use std::sync::Arc;

use serde_json::json;

use super::call::{Call, Reply, bare_answer_of, item, whole_list};
use super::error::ApiError;
use super::fleet_server_hosts::{AUTHORITIES, SECRET};
use super::schema::{Field, ID, Kind, field, flag, text};
use crate::Console;
use crate::domain::download_sources as domain;

const SSL: &[Field] = &[
    field("certificate_authorities", AUTHORITIES),
    text("certificate"),
    text("key"),
];
const HEADER: Kind = Kind::Object(&[text("key").required(), text("value").required()]);
const AUTH: &[Field] = &[
    text("username").nullable(),
    text("password").nullable(),
    text("api_key").nullable(),
    field(
        "headers",
        Kind::List {
            of: &HEADER,
            min: 0,
            max: 100,
        },
    )
    .nullable(),
];
const SECRET_SSL: &[Field] = &[field("key", SECRET).nullable()];
const SECRET_AUTH: &[Field] = &[
    field("password", SECRET).nullable(),
    field("api_key", SECRET).nullable(),
];
const SECRETS: &[Field] = &[
    field("ssl", Kind::Object(SECRET_SSL)).nullable(),
    field("auth", Kind::Object(SECRET_AUTH)).nullable(),
];

pub(super) const CREATE: &[Field] = &[
    ID,
    text("name").required(),
    field("host", Kind::Url).required(),
    flag("is_default").default("false"),
    text("proxy_id").nullable(),
    field("ssl", Kind::Object(SSL)).nullable(),
    field("secrets", Kind::Object(SECRETS)).nullable(),
    field("auth", Kind::Object(AUTH)).nullable(),
    text("security_artifacts_url").nullable(),
    text("security_artifacts_proxy_id").nullable(),
];
pub(super) const UPDATE: &[Field] = &[
    text("name"),
    field("host", Kind::Url),
    flag("is_default"),
    text("proxy_id").nullable(),
    field("ssl", Kind::Object(SSL)).nullable(),
    field("secrets", Kind::Object(SECRETS)).nullable(),
    field("auth", Kind::Object(AUTH)).nullable(),
    text("security_artifacts_url").nullable(),
    text("security_artifacts_proxy_id").nullable(),
];

pub(super) async fn list(console: Arc<Console>, _call: Call) -> Result<Reply, ApiError> {
    whole_list(domain::list(&console).await?.iter().map(bare_answer_of).collect())
}

pub(super) async fn read(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    item(bare_answer_of(domain::read(&console, call.id("sourceId")).await?))
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
    let id = call.id("sourceId").to_owned();
    if call.flag("dry_run") {
        return item(domain::dry_run(&console, Some(&id), call.body).await?);
    }
    item(bare_answer_of(
        domain::update(&console, &call.actor(), &id, call.body).await?,
    ))
}

pub(super) async fn delete(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    domain::delete(&console, &call.actor(), call.id("sourceId")).await?;
    Ok(Reply::Json(json!({"id": call.id("sourceId")})))
}
