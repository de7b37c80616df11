//! Outputs.

use std::sync::Arc;

use serde_json::json;

use super::call::{Call, Reply, bare_answer_of, item, whole_list};
use super::error::ApiError;
use super::fleet_server_hosts::{AUTHORITIES, SECRET};
use super::schema::{Field, ID, Kind, NATURAL, TEXTS, field, flag, text};
use crate::Console;
use crate::domain::{output_health, outputs as domain};

const HOSTS: Kind = Kind::List {
    of: &Kind::Text,
    min: 1,
    max: 10,
};
const TYPES: Kind = Kind::Choice(&["elasticsearch", "remote_elasticsearch", "logstash", "kafka"]);
const SSL: &[Field] = &[
    field("certificate_authorities", AUTHORITIES),
    text("certificate"),
    text("key"),
    field(
        "verification_mode",
        Kind::Choice(&["full", "none", "certificate", "strict"]),
    ),
];
const SECRET_SSL: &[Field] = &[field("key", SECRET).nullable()];
const SECRETS: &[Field] = &[
    field("ssl", Kind::Object(SECRET_SSL)).nullable(),
    field("password", SECRET).nullable(),
    field("service_token", SECRET).nullable(),
    field("kibana_api_key", SECRET).nullable(),
];
const SHIPPER: &[Field] = &[
    flag("disk_queue_enabled").nullable(),
    text("disk_queue_path").nullable(),
    field("disk_queue_max_size", Kind::Number).nullable(),
    flag("disk_queue_encryption_enabled").nullable(),
    flag("disk_queue_compression_enabled").nullable(),
    field("compression_level", Kind::Number).nullable(),
    flag("loadbalance").nullable(),
    field("mem_queue_events", NATURAL).nullable(),
    field("queue_flush_timeout", Kind::Number).nullable(),
    field("max_batch_bytes", NATURAL).nullable(),
];
const SASL: &[Field] = &[field(
    "mechanism",
    Kind::Choice(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
)];
const GROUPED: &[Field] = &[field("group_events", Kind::Number)];
const HASHED: &[Field] = &[text("hash"), flag("random")];
const HEADER: Kind = Kind::Object(&[text("key").required(), text("value").required()]);

pub(super) const CREATE: &[Field] = &[
    ID,
    text("name").required(),
    field("type", TYPES).required(),
    field("hosts", HOSTS).required(),
    flag("is_default").default("false"),
    flag("is_default_monitoring").default("false"),
    flag("is_internal"),
    flag("is_preconfigured"),
    field("allow_edit", TEXTS),
    text("ca_sha256").nullable(),
    text("ca_trusted_fingerprint").nullable(),
    text("config_yaml").nullable(),
    text("otel_exporter_config_yaml").nullable(),
    text("proxy_id").nullable(),
    field("ssl", Kind::Object(SSL)).nullable(),
    field("secrets", Kind::Object(SECRETS)).nullable(),
    field("shipper", Kind::Object(SHIPPER)).nullable(),
    field(
        "preset",
        Kind::Choice(&["balanced", "custom", "throughput", "scale", "latency"]),
    ),
    flag("write_to_logs_streams").nullable(),
    text("service_token").nullable(),
    text("kibana_url").nullable(),
    text("kibana_api_key").nullable(),
    flag("sync_integrations"),
    flag("sync_uninstalled_integrations"),
    text("version"),
    text("key"),
    field("compression", Kind::Choice(&["gzip", "snappy", "lz4", "none"])),
    field("compression_level", Kind::Integer { min: -1, max: 9 }).nullable(),
    text("client_id"),
    field("auth_type", Kind::Choice(&["none", "user_pass", "ssl", "kerberos"])),
    field("connection_type", Kind::Choice(&["plaintext", "encryption"])).nullable(),
    text("username").nullable(),
    text("password").nullable(),
    field("sasl", Kind::Object(SASL)).nullable(),
    field("partition", Kind::Choice(&["random", "round_robin", "hash"])),
    field("random", Kind::Object(GROUPED)),
    field("round_robin", Kind::Object(GROUPED)),
    field("hash", Kind::Object(HASHED)),
    text("topic").nullable(),
    field(
        "headers",
        Kind::List {
            of: &HEADER,
            min: 0,
            max: 100,
        },
    ),
    field("timeout", Kind::Number),
    field("broker_timeout", Kind::Number),
    field("required_acks", Kind::Integer { min: -1, max: 1 }),
];
pub(super) const UPDATE: &[Field] = &[
    text("name"),
    field("type", TYPES),
    field("hosts", HOSTS),
    flag("is_default"),
    flag("is_default_monitoring"),
    flag("is_internal"),
    flag("is_preconfigured"),
    field("allow_edit", TEXTS),
    text("ca_sha256").nullable(),
    text("ca_trusted_fingerprint").nullable(),
    text("config_yaml").nullable(),
    text("otel_exporter_config_yaml").nullable(),
    text("proxy_id").nullable(),
    field("ssl", Kind::Object(SSL)).nullable(),
    field("secrets", Kind::Object(SECRETS)).nullable(),
    field("shipper", Kind::Object(SHIPPER)).nullable(),
    field(
        "preset",
        Kind::Choice(&["balanced", "custom", "throughput", "scale", "latency"]),
    ),
    flag("write_to_logs_streams").nullable(),
    text("service_token").nullable(),
    text("kibana_url").nullable(),
    text("kibana_api_key").nullable(),
    flag("sync_integrations"),
    flag("sync_uninstalled_integrations"),
    text("version"),
    text("key"),
    field("compression", Kind::Choice(&["gzip", "snappy", "lz4", "none"])),
    field("compression_level", Kind::Integer { min: -1, max: 9 }).nullable(),
    text("client_id"),
    field("auth_type", Kind::Choice(&["none", "user_pass", "ssl", "kerberos"])),
    field("connection_type", Kind::Choice(&["plaintext", "encryption"])).nullable(),
    text("username").nullable(),
    text("password").nullable(),
    field("sasl", Kind::Object(SASL)).nullable(),
    field("partition", Kind::Choice(&["random", "round_robin", "hash"])),
    field("random", Kind::Object(GROUPED)),
    field("round_robin", Kind::Object(GROUPED)),
    field("hash", Kind::Object(HASHED)),
    text("topic").nullable(),
    field(
        "headers",
        Kind::List {
            of: &HEADER,
            min: 0,
            max: 100,
        },
    ),
    field("timeout", Kind::Number),
    field("broker_timeout", Kind::Number),
    field("required_acks", Kind::Integer { min: -1, max: 1 }),
];

pub(super) async fn list(console: Arc<Console>, _call: Call) -> Result<Reply, ApiError> {
    whole_list(domain::list(&console).await?.iter().map(bare_answer_of).collect())
}

pub(super) async fn read(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    item(bare_answer_of(domain::read(&console, call.id("outputId")).await?))
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
    let id = call.id("outputId").to_owned();
    if call.flag("dry_run") {
        return item(domain::dry_run(&console, Some(&id), call.body).await?);
    }
    item(bare_answer_of(
        domain::update(&console, &call.actor(), &id, call.body).await?,
    ))
}

pub(super) async fn delete(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    domain::delete(&console, &call.actor(), call.id("outputId")).await?;
    Ok(Reply::Json(json!({"id": call.id("outputId")})))
}

pub(super) async fn health(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    Ok(Reply::Json(output_health::newest(&console, call.id("outputId")).await?))
}

/// Consoles that keep integrations in step do so over the original's own replication, which no store of ours has.
pub(super) async fn synced(_console: Arc<Console>, _call: Call) -> Result<Reply, ApiError> {
    Ok(Reply::Json(json!({"integrations": []})))
}

pub(super) async fn synced_remotely(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let output = domain::read(&console, call.id("outputId")).await?;
    if output.kind != "remote_elasticsearch" {
        return Err(ApiError::BadRequest(format!(
            "Output {} is not a remote elasticsearch output",
            output.id
        )));
    }
    Ok(Reply::Json(json!({"integrations": []})))
}
