//! The privileges that roles grant, by Elasticsearch's names.
//!
//! A name stands for a set of things one may do; the sets are kept as bits. Names that Elasticsearch has and that guard
//! nothing here are accepted and grant nothing; unknown names are refused when the role is read.

use std::ops::BitOr;

/// One thing that a request needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Privilege<'a> {
    /// Something on one index, data stream or alias.
    Index {
        /// Its name, not a pattern.
        index: &'a str,
        /// What is to be done to it.
        privilege: IndexPrivilege,
    },
    /// Something on the whole.
    Cluster(ClusterPrivilege),
    /// Something in the console.
    Fleet(FleetPrivilege),
}

/// What can be done to an index.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum IndexPrivilege {
    /// Get, search, count.
    Read = 1,
    /// Bulk and single operations `create`.
    CreateDocument = 1 << 1,
    /// Operation `index`.
    IndexDocument = 1 << 2,
    /// Operation `update`.
    Update = 1 << 3,
    /// Operation `delete`, delete by query.
    Delete = 1 << 4,
    /// Create the index or data stream that a write needs.
    AutoCreate = 1 << 5,
    /// Create an index by name.
    Create = 1 << 6,
    /// Delete an index or data stream.
    DeleteIndex = 1 << 7,
    /// See mappings, settings, aliases, data streams.
    ViewMetadata = 1 << 8,
    /// See counts and sizes, checkpoints.
    Monitor = 1 << 9,
    /// Refresh, flush.
    Maintenance = 1 << 10,
    /// Change mappings, settings, aliases; roll over.
    Manage = 1 << 11,
}

/// What can be done to the whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum ClusterPrivilege {
    /// Name, version, health, nodes.
    Monitor = 1,
    /// Settings of the whole.
    Manage = 1 << 1,
    /// Users, roles, service tokens, everybody's API keys.
    ManageSecurity = 1 << 2,
    /// See users, roles and API keys.
    ReadSecurity = 1 << 3,
    /// Everybody's API keys.
    ManageApiKey = 1 << 4,
    /// API keys that one made.
    ManageOwnApiKey = 1 << 5,
    /// Index and component templates.
    ManageIndexTemplates = 1 << 6,
    /// Write ingest pipelines.
    ManagePipeline = 1 << 7,
    /// See ingest pipelines.
    ReadPipeline = 1 << 8,
    /// Write life cycle policies.
    ManageIlm = 1 << 9,
    /// See life cycle policies.
    ReadIlm = 1 << 10,
    /// Read fleet secrets.
    ReadFleetSecrets = 1 << 11,
    /// Write and delete fleet secrets.
    WriteFleetSecrets = 1 << 12,
}

/// What can be done in the console.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum FleetPrivilege {
    /// See agents, policies and settings.
    Read = 1,
    /// Change them.
    All = 1 << 1,
}

/// A set of privileges of one of the three kinds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct PrivilegeSet(u32);

impl PrivilegeSet {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const ALL: Self = Self(u32::MAX);

    pub(crate) fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

impl BitOr for PrivilegeSet {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl From<IndexPrivilege> for PrivilegeSet {
    fn from(privilege: IndexPrivilege) -> Self {
        Self(privilege as u32)
    }
}

fn index_set(privileges: &[IndexPrivilege]) -> PrivilegeSet {
    privileges.iter().fold(PrivilegeSet::NONE, |set, privilege| {
        set | PrivilegeSet(*privilege as u32)
    })
}

fn cluster_set(privileges: &[ClusterPrivilege]) -> PrivilegeSet {
    privileges.iter().fold(PrivilegeSet::NONE, |set, privilege| {
        set | PrivilegeSet(*privilege as u32)
    })
}

/// What a name in `indices[].privileges` grants; `None` for an unknown name.
/// Source: Elasticsearch reference, security privileges.
pub(crate) fn index_privileges(name: &str) -> Option<PrivilegeSet> {
    use IndexPrivilege as P;
    let manage = [
        P::Manage,
        P::Monitor,
        P::ViewMetadata,
        P::Maintenance,
        P::Create,
        P::AutoCreate,
        P::DeleteIndex,
    ];
    Some(match name {
        "all" => PrivilegeSet::ALL,
        "read" => index_set(&[P::Read]),
        "create_doc" => index_set(&[P::CreateDocument]),
        "create" => index_set(&[P::CreateDocument, P::IndexDocument]),
        "index" => index_set(&[P::CreateDocument, P::IndexDocument, P::Update]),
        "write" => index_set(&[P::CreateDocument, P::IndexDocument, P::Update, P::Delete]),
        "delete" => index_set(&[P::Delete]),
        "auto_configure" => index_set(&[P::AutoCreate]),
        "create_index" => index_set(&[P::Create, P::AutoCreate]),
        "delete_index" => index_set(&[P::DeleteIndex]),
        "view_index_metadata" => index_set(&[P::ViewMetadata]),
        "monitor" => index_set(&[P::Monitor]),
        "maintenance" => index_set(&[P::Maintenance]),
        "manage" => index_set(&manage),
        "none"
        | "cross_cluster_replication"
        | "cross_cluster_replication_internal"
        | "manage_data_stream_lifecycle"
        | "manage_failure_store"
        | "manage_follow_index"
        | "manage_ilm"
        | "manage_leader_index"
        | "read_cross_cluster"
        | "read_failure_store" => PrivilegeSet::NONE,
        _ => return None,
    })
}

/// What a name in `cluster` grants; `None` for an unknown name.
/// Source: Elasticsearch reference, security privileges.
pub(crate) fn cluster_privileges(name: &str) -> Option<PrivilegeSet> {
    use ClusterPrivilege as P;
    Some(match name {
        "all" => PrivilegeSet::ALL,
        "monitor" => cluster_set(&[P::Monitor]),
        "manage" => cluster_set(&[
            P::Monitor,
            P::Manage,
            P::ManageIndexTemplates,
            P::ManagePipeline,
            P::ReadPipeline,
            P::ManageIlm,
            P::ReadIlm,
        ]),
        "manage_security" => cluster_set(&[P::ManageSecurity, P::ReadSecurity, P::ManageApiKey, P::ManageOwnApiKey]),
        "read_security" => cluster_set(&[P::ReadSecurity]),
        "manage_api_key" => cluster_set(&[P::ManageApiKey, P::ManageOwnApiKey]),
        "manage_own_api_key" => cluster_set(&[P::ManageOwnApiKey]),
        "manage_index_templates" => cluster_set(&[P::ManageIndexTemplates]),
        "manage_pipeline" | "manage_ingest_pipelines" => cluster_set(&[P::ManagePipeline, P::ReadPipeline]),
        "read_pipeline" => cluster_set(&[P::ReadPipeline]),
        "manage_ilm" => cluster_set(&[P::ManageIlm, P::ReadIlm]),
        "read_ilm" => cluster_set(&[P::ReadIlm]),
        "read_fleet_secrets" => cluster_set(&[P::ReadFleetSecrets]),
        "write_fleet_secrets" => cluster_set(&[P::WriteFleetSecrets]),
        name if GUARDS_NOTHING_HERE.contains(&name) => PrivilegeSet::NONE,
        _ => return None,
    })
}

/// The names that are understood in `cluster` and in `indices`, sorted.
pub fn privilege_names() -> (Vec<&'static str>, Vec<&'static str>) {
    let mut cluster = [CLUSTER_NAMES, GUARDS_NOTHING_HERE].concat();
    cluster.sort_unstable();
    (cluster, INDEX_NAMES.to_vec())
}

const CLUSTER_NAMES: &[&str] = &[
    "all",
    "manage",
    "manage_api_key",
    "manage_ilm",
    "manage_index_templates",
    "manage_ingest_pipelines",
    "manage_own_api_key",
    "manage_pipeline",
    "manage_security",
    "monitor",
    "read_fleet_secrets",
    "read_ilm",
    "read_pipeline",
    "read_security",
    "write_fleet_secrets",
];

const INDEX_NAMES: &[&str] = &[
    "all",
    "auto_configure",
    "create",
    "create_doc",
    "create_index",
    "cross_cluster_replication",
    "cross_cluster_replication_internal",
    "delete",
    "delete_index",
    "index",
    "maintenance",
    "manage",
    "manage_data_stream_lifecycle",
    "manage_failure_store",
    "manage_follow_index",
    "manage_ilm",
    "manage_leader_index",
    "monitor",
    "none",
    "read",
    "read_cross_cluster",
    "read_failure_store",
    "view_index_metadata",
    "write",
];

/// Cluster privileges of Elasticsearch for parts that do not exist here.
const GUARDS_NOTHING_HERE: &[&str] = &[
    "cancel_task",
    "create_snapshot",
    "cross_cluster_replication",
    "cross_cluster_search",
    "delegate_pki",
    "grant_api_key",
    "manage_autoscaling",
    "manage_behavioral_analytics",
    "manage_ccr",
    "manage_connector",
    "manage_data_frame_transforms",
    "manage_data_stream_global_retention",
    "manage_enrich",
    "manage_inference",
    "manage_logstash_pipelines",
    "manage_ml",
    "manage_oidc",
    "manage_rollup",
    "manage_saml",
    "manage_search_application",
    "manage_search_query_rules",
    "manage_search_synonyms",
    "manage_service_account",
    "manage_slm",
    "manage_token",
    "manage_transform",
    "manage_user_profile",
    "manage_watcher",
    "monitor_connector",
    "monitor_data_frame_transforms",
    "monitor_data_stream_global_retention",
    "monitor_enrich",
    "monitor_esql",
    "monitor_inference",
    "monitor_ml",
    "monitor_rollup",
    "monitor_snapshot",
    "monitor_stats",
    "monitor_text_structure",
    "monitor_transform",
    "monitor_watcher",
    "none",
    "post_behavioral_analytics_event",
    "read_ccr",
    "read_connector_secrets",
    "read_slm",
    "transport_client",
    "write_connector_secrets",
];

/// What an application privilege of the console grants; names that mean other pages grant nothing.
pub(crate) fn fleet_privileges(name: &str) -> PrivilegeSet {
    let all = PrivilegeSet(FleetPrivilege::Read as u32 | FleetPrivilege::All as u32);
    match name {
        "*" | "all" | "space_all" | "feature_fleetv2.all" | "feature_fleet.all" => all,
        "read" | "space_read" | "feature_fleetv2.read" | "feature_fleet.read" => {
            PrivilegeSet(FleetPrivilege::Read as u32)
        }
        _ => PrivilegeSet::NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_told_is_understood() {
        let (cluster, index) = privilege_names();
        assert!(cluster.iter().all(|name| cluster_privileges(name).is_some()));
        assert!(index.iter().all(|name| index_privileges(name).is_some()));
    }
}
