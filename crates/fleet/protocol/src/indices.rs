//! Names of the indices that hold fleet state.

/// One document for each agent, `_id` = agent id.
pub const AGENTS: &str = ".fleet-agents";
/// One document for each revision of a policy, never changed.
pub const POLICIES: &str = ".fleet-policies";
/// Actions; one document may name many agents. Documents without `expiration` are never delivered.
pub const ACTIONS: &str = ".fleet-actions";
/// What agents answered to actions, `_id` = `<action id>:<agent id>`. A data stream on a full Elasticsearch: create only.
pub const ACTION_RESULTS: &str = ".fleet-actions-results";
/// Enrollment tokens.
pub const ENROLLMENT_API_KEYS: &str = ".fleet-enrollment-api-keys";
/// Artifacts (lists and the like) that policies name by their hash.
pub const ARTIFACTS: &str = ".fleet-artifacts";
/// Who enrolled with which token, from where. Ours, yet within the names that the `elastic/fleet-server` account may write.
pub const ENROLLMENT_USES: &str = ".fleet-enrollment-api-keys-uses";
/// Descriptions of files sent to agents: pattern over all sources.
pub const FILES_TO_HOST_META: &str = ".fleet-fileds-tohost-meta-*";
/// Chunks of files sent to agents: pattern over all sources.
pub const FILES_TO_HOST_DATA: &str = ".fleet-fileds-tohost-data-*";
/// Descriptions of files that agents uploaded: pattern over all sources.
pub const FILES_FROM_HOST_META: &str = ".fleet-fileds-fromhost-meta-*";
/// Chunks of files that agents uploaded: pattern over all sources.
pub const FILES_FROM_HOST_DATA: &str = ".fleet-fileds-fromhost-data-*";
/// Health of remote outputs: a data stream.
pub const OUTPUT_HEALTH: &str = "logs-fleet_server.output_health-default";

/// Index of the descriptions of files that agents uploaded for `source` (`agent`, `endpoint`).
pub fn files_from_host_meta(source: &str) -> String {
    format!(".fleet-fileds-fromhost-meta-{source}")
}

/// Index of the chunks of files that agents uploaded for `source` (`agent`, `endpoint`).
pub fn files_from_host_data(source: &str) -> String {
    format!(".fleet-fileds-fromhost-data-{source}")
}
