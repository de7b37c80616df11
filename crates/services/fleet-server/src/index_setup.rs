//! The `.fleet-*` indices with the mappings that their searches need.
//!
//! A full Elasticsearch makes them itself; every other store would guess the types from the first document and then not
//! find ids by `term`. Source: Fleet Server <-> Elasticsearch, index mappings.

use std::time::Duration;

use protocol::indices;
use serde_json::{Map, Value, json};
use store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::server::FleetServer;

/// Fields of an index by type.
struct Mapping {
    index: &'static str,
    keywords: &'static [&'static str],
    dates: &'static [&'static str],
    integers: &'static [&'static str],
    booleans: &'static [&'static str],
}

const MAPPINGS: [Mapping; 7] = [
    Mapping {
        index: indices::AGENTS,
        keywords: &[
            "access_api_key_id",
            "agent.id",
            "agent.version",
            "agent_policy_id",
            "audit_unenrolled_reason",
            "enrollment_id",
            "last_checkin_message",
            "last_checkin_status",
            "local_metadata.elastic.agent.id",
            "local_metadata.elastic.agent.log_level",
            "local_metadata.elastic.agent.version",
            "local_metadata.host.architecture",
            "local_metadata.host.hostname",
            "local_metadata.host.id",
            "local_metadata.host.ip",
            "local_metadata.host.mac",
            "local_metadata.host.name",
            "local_metadata.os.family",
            "local_metadata.os.full",
            "local_metadata.os.kernel",
            "local_metadata.os.name",
            "local_metadata.os.platform",
            "local_metadata.os.version",
            "namespaces",
            "packages",
            "policy_base_id",
            "policy_id",
            "shared_id",
            "tags",
            "type",
            "unenrolled_reason",
            "unhealthy_reason",
            "upgrade_details.action_id",
            "upgrade_details.state",
            "upgrade_details.target_version",
            "upgrade_status",
        ],
        dates: &[
            "audit_unenrolled_time",
            "enrolled_at",
            "last_checkin",
            "last_updated",
            "unenrolled_at",
            "unenrollment_started_at",
            "updated_at",
            "upgrade_started_at",
            "upgraded_at",
        ],
        integers: &["policy_coordinator_idx", "policy_revision_idx"],
        booleans: &[
            "active",
            "local_metadata.elastic.agent.snapshot",
            "local_metadata.elastic.agent.unprivileged",
            "local_metadata.elastic.agent.upgradeable",
        ],
    },
    Mapping {
        index: indices::POLICIES,
        keywords: &["namespaces", "policy_id"],
        dates: &["@timestamp"],
        integers: &["coordinator_idx", "revision_idx", "unenroll_timeout"],
        booleans: &["default_fleet_server"],
    },
    Mapping {
        index: indices::ACTIONS,
        keywords: &["action_id", "agents", "input_type", "namespaces", "type", "user_id"],
        dates: &["@timestamp", "expiration", "start_time"],
        integers: &["minimum_execution_duration", "rollout_duration_seconds", "timeout"],
        booleans: &[],
    },
    Mapping {
        index: indices::ACTION_RESULTS,
        keywords: &["action_id", "action_input_type", "agent_id", "namespaces"],
        dates: &["@timestamp", "completed_at", "started_at"],
        integers: &[],
        booleans: &[],
    },
    Mapping {
        index: indices::ENROLLMENT_API_KEYS,
        keywords: &["api_key", "api_key_id", "name", "namespaces", "policy_id"],
        dates: &["created_at", "expire_at", "updated_at"],
        integers: &["use_count", "use_limit"],
        booleans: &["active", "hidden"],
    },
    Mapping {
        index: indices::ARTIFACTS,
        keywords: &["decoded_sha256", "encoded_sha256", "identifier", "package_name"],
        dates: &["created"],
        integers: &["decoded_size", "encoded_size"],
        booleans: &[],
    },
    Mapping {
        index: indices::ENROLLMENT_USES,
        keywords: &[
            "address",
            "agent_id",
            "api_key_id",
            "enrollment_key_id",
            "host_name",
            "policy_id",
        ],
        dates: &["@timestamp"],
        integers: &[],
        booleans: &[],
    },
];

const SOURCES: [&str; 2] = ["agent", "endpoint"];

/// Makes every index that Fleet Server reads or writes and that is not there yet.
///
/// # Errors
/// When the store cannot make one; those made before stay.
pub async fn create_indices(store: &dyn Store) -> Result<(), StoreError> {
    for mapping in &MAPPINGS {
        create(store, mapping.index, mapping.body()).await?;
    }
    for source in SOURCES {
        for direction in ["fromhost", "tohost"] {
            create(
                store,
                &format!(".fleet-fileds-{direction}-meta-{source}"),
                file_meta_body(),
            )
            .await?;
            create(
                store,
                &format!(".fleet-fileds-{direction}-data-{source}"),
                file_data_body(),
            )
            .await?;
        }
    }
    Ok(())
}

async fn create(store: &dyn Store, name: &str, body: Value) -> Result<(), StoreError> {
    match store.create_index(name, body).await {
        Ok(()) | Err(StoreError::AlreadyExists(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Tries until it is done or the server stops.
pub(crate) async fn create_until_done(server: &FleetServer, stop: &CancellationToken) {
    loop {
        match create_indices(&*server.store).await {
            Ok(()) => return,
            Err(error) => {
                server.note_store(false);
                server.metrics.store_failed("create_index");
                tracing::warn!(error = %error, "the fleet indices could not be made; trying again");
            }
        }
        let pause = tokio::time::sleep(Duration::from_secs(2));
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

impl Mapping {
    fn body(&self) -> Value {
        let mut properties = Map::new();
        for (fields, definition) in [
            (self.keywords, json!({"type": "keyword", "ignore_above": 8191})),
            (self.dates, json!({"type": "date"})),
            (self.integers, json!({"type": "long"})),
            (self.booleans, json!({"type": "boolean"})),
        ] {
            for field in fields {
                insert(&mut properties, field, &definition);
            }
        }
        json!({"mappings": {"dynamic": false, "properties": properties}})
    }
}

/// Puts `a.b.c` into nested `properties`.
fn insert(properties: &mut Map<String, Value>, field: &str, definition: &Value) {
    let Some((head, rest)) = field.split_once('.') else {
        properties.insert(field.to_owned(), definition.clone());
        return;
    };
    let group = properties.entry(head).or_insert_with(|| json!({"properties": {}}));
    if let Some(inner) = group.get_mut("properties").and_then(Value::as_object_mut) {
        insert(inner, rest, definition);
    }
}

fn file_meta_body() -> Value {
    let mut properties = Map::new();
    for field in [
        "action_id",
        "agent_id",
        "src",
        "upload_id",
        "file.Status",
        "file.Meta.target_agents",
        "file.name",
    ] {
        insert(&mut properties, field, &json!({"type": "keyword"}));
    }
    for field in ["@timestamp", "upload_start"] {
        insert(&mut properties, field, &json!({"type": "date"}));
    }
    json!({"mappings": {"dynamic": false, "properties": properties}})
}

fn file_data_body() -> Value {
    let properties = json!({
        "bid": {"type": "keyword"}, "sha2": {"type": "keyword", "index": false}, "last": {"type": "boolean"},
        "data": {"type": "binary"}, "@timestamp": {"type": "date"}
    });
    json!({"mappings": {"dynamic": false, "properties": properties}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_fields_are_nested() {
        let body = MAPPINGS[0].body();
        let agent_id = "/mappings/properties/local_metadata/properties/elastic/properties/agent/properties/id/type";
        assert_eq!(body.pointer(agent_id), Some(&json!("keyword")));
        assert_eq!(
            body.pointer("/mappings/properties/last_checkin/type"),
            Some(&json!("date"))
        );
    }
}
