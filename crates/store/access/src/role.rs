//! Roles: their JSON form, the built-in ones, and the compiled form that answers questions.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::privilege::{
    ClusterPrivilege, FleetPrivilege, IndexPrivilege, PrivilegeSet, cluster_privileges, fleet_privileges,
    index_privileges,
};

/// A role as `PUT /_security/role` and an API key's `role_descriptors` have it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RoleDescriptor {
    /// Cluster privileges.
    #[serde(default)]
    pub cluster: Vec<String>,
    /// Index privileges.
    #[serde(default, alias = "index")]
    pub indices: Vec<IndexGrant>,
    /// Privileges of other programs; those of the console are read, the rest is kept.
    #[serde(default)]
    pub applications: Vec<ApplicationGrant>,
    /// Users whose name one may take; kept, grants nothing here.
    #[serde(default)]
    pub run_as: Vec<String>,
    /// Free.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Kept.
    #[serde(default)]
    pub transient_metadata: Map<String, Value>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global: Option<Value>,
    /// Other clusters; kept, grants nothing here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remote_indices: Vec<Value>,
    /// Other clusters; kept, grants nothing here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remote_cluster: Vec<Value>,
    /// Kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restriction: Option<Value>,
}

/// Privileges on indices.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IndexGrant {
    /// Names and patterns with `*` and `?`.
    #[serde(deserialize_with = "one_or_many")]
    pub names: Vec<String>,
    /// Privilege names.
    #[serde(deserialize_with = "one_or_many")]
    pub privileges: Vec<String>,
    /// Kept. Our own indices stay out of reach either way.
    #[serde(default)]
    pub allow_restricted_indices: bool,
    /// Refused: documents cannot be filtered by role here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Value>,
    /// Refused unless it grants every field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_security: Option<Value>,
}

/// Privileges of another program.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ApplicationGrant {
    /// The program's name.
    pub application: String,
    /// Its own privilege names.
    #[serde(deserialize_with = "one_or_many")]
    pub privileges: Vec<String>,
    /// Its own resource names.
    #[serde(deserialize_with = "one_or_many")]
    pub resources: Vec<String>,
}

/// Why a role is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RoleError {
    /// Not the shape of a role.
    #[error("cannot read role [{role}]: {reason}")]
    Shape {
        /// The role's name.
        role: String,
        /// What is wrong.
        reason: String,
    },
    /// An unknown cluster privilege.
    #[error("role [{role}] has an unknown cluster privilege [{privilege}]")]
    UnknownCluster {
        /// The role's name.
        role: String,
        /// The privilege.
        privilege: String,
    },
    /// An unknown index privilege.
    #[error("role [{role}] has an unknown index privilege [{privilege}]")]
    UnknownIndex {
        /// The role's name.
        role: String,
        /// The privilege.
        privilege: String,
    },
    /// Document or field level security: refused rather than ignored, since it would grant more than was meant.
    #[error("role [{role}] restricts documents or fields, which is not supported; grant whole indices")]
    DocumentSecurity {
        /// The role's name.
        role: String,
    },
}

impl RoleDescriptor {
    /// Reads and checks one role.
    pub fn from_value(name: &str, value: &Value) -> Result<Self, RoleError> {
        let role: Self = serde_json::from_value(value.clone()).map_err(|error| RoleError::Shape {
            role: name.to_owned(),
            reason: error.to_string(),
        })?;
        Rights::default().add(name, &role)?;
        Ok(role)
    }
}

/// Roles put together: what a set of roles grants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rights {
    cluster: PrivilegeSet,
    fleet: PrivilegeSet,
    indices: Vec<(NamePattern, PrivilegeSet)>,
}

impl Rights {
    /// The rights of a `role_descriptors` object: name to role.
    pub(crate) fn from_descriptors(descriptors: &Map<String, Value>) -> Result<Self, RoleError> {
        let mut rights = Self::default();
        for (name, value) in descriptors {
            let role: RoleDescriptor = serde_json::from_value(value.clone()).map_err(|error| RoleError::Shape {
                role: name.clone(),
                reason: error.to_string(),
            })?;
            rights.add(name, &role)?;
        }
        Ok(rights)
    }

    /// Of roles that another server keeps: what is not understood grants nothing.
    pub(crate) fn of_another_server(descriptors: &Map<String, Value>) -> Self {
        let mut rights = Self::default();
        for (name, value) in descriptors {
            let role = serde_json::from_value::<RoleDescriptor>(value.clone());
            let Some(mut role) = role.ok().filter(|role| role.restriction.is_none()) else {
                continue;
            };
            role.cluster.retain(|privilege| cluster_privileges(privilege).is_some());
            role.indices.retain(|grant| !restricts_documents(grant));
            for grant in &mut role.indices {
                grant
                    .privileges
                    .retain(|privilege| index_privileges(privilege).is_some());
            }
            rights.add(name, &role).expect("what is not understood was taken out");
        }
        rights
    }

    /// Adds what `role` grants.
    pub(crate) fn add(&mut self, name: &str, role: &RoleDescriptor) -> Result<(), RoleError> {
        for privilege in &role.cluster {
            let granted = cluster_privileges(privilege).ok_or_else(|| RoleError::UnknownCluster {
                role: name.to_owned(),
                privilege: privilege.clone(),
            })?;
            self.cluster = self.cluster | granted;
        }
        for grant in &role.indices {
            self.add_indices(name, grant)?;
        }
        for grant in role.applications.iter().filter(|grant| is_console(&grant.application)) {
            self.fleet = grant
                .privileges
                .iter()
                .fold(self.fleet, |set, name| set | fleet_privileges(name));
        }
        Ok(())
    }

    fn add_indices(&mut self, role: &str, grant: &IndexGrant) -> Result<(), RoleError> {
        if restricts_documents(grant) {
            return Err(RoleError::DocumentSecurity { role: role.to_owned() });
        }
        let mut granted = PrivilegeSet::NONE;
        for privilege in &grant.privileges {
            let set = index_privileges(privilege).ok_or_else(|| RoleError::UnknownIndex {
                role: role.to_owned(),
                privilege: privilege.clone(),
            })?;
            granted = granted | set;
        }
        self.indices
            .extend(grant.names.iter().map(|name| (NamePattern::new(name), granted)));
        Ok(())
    }

    /// Whether nothing at all is granted.
    pub(crate) fn is_empty(&self) -> bool {
        let none = PrivilegeSet::NONE;
        self.cluster == none && self.fleet == none && self.indices.iter().all(|(_, set)| *set == none)
    }

    pub(crate) fn cluster(&self, privilege: ClusterPrivilege) -> bool {
        self.cluster.has(privilege as u32)
    }

    pub(crate) fn fleet(&self, privilege: FleetPrivilege) -> bool {
        self.fleet.has(privilege as u32)
    }

    pub(crate) fn index(&self, index: &str, privilege: IndexPrivilege) -> bool {
        self.indices
            .iter()
            .any(|(pattern, set)| set.has(privilege as u32) && pattern.matches(index))
    }
}

fn restricts_documents(grant: &IndexGrant) -> bool {
    grant.query.as_ref().is_some_and(|query| !query.is_null()) || restricts_fields(grant)
}

fn restricts_fields(grant: &IndexGrant) -> bool {
    let Some(Value::Object(security)) = &grant.field_security else {
        return false;
    };
    let grants_all = security.get("grant").is_none_or(|grant| {
        grant == "*"
            || grant
                .as_array()
                .is_some_and(|fields| fields.iter().any(|field| field == "*"))
    });
    let excepts = security
        .get("except")
        .and_then(Value::as_array)
        .is_some_and(|fields| !fields.is_empty());
    !grants_all || excepts
}

/// The console asks under Kibana's names.
fn is_console(application: &str) -> bool {
    application == "*" || application.starts_with("kibana-")
}

/// An index name with `*` (any text) and `?` (one character).
#[derive(Clone, Debug)]
pub(crate) struct NamePattern(String);

impl NamePattern {
    pub(crate) fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        query::pattern::wildcard(&self.0, name)
    }
}

/// A role that needs no document.
pub(crate) fn builtin(name: &str) -> Option<RoleDescriptor> {
    let data = [
        "logs-*",
        "metrics-*",
        "traces-*",
        "synthetics-*",
        "filebeat-*",
        "metricbeat-*",
        "packetbeat-*",
        "winlogbeat-*",
    ];
    Some(match name {
        "superuser" => role(&["all"], &[grant(&["*"], &["all"])], &["*"]),
        "viewer" => role(&[], &[grant(&["*"], &["read", "view_index_metadata"])], &["read"]),
        "editor" => role(&[], &[grant(&["*"], &["read", "view_index_metadata"])], &["all"]),
        "kibana_admin" => role(&[], &[], &["all"]),
        "monitoring_user" => role(
            &["monitor"],
            &[grant(&["metrics-*", ".monitoring-*"], &["read", "view_index_metadata"])],
            &[],
        ),
        "remote_monitoring_agent" => role(
            &["monitor", "manage_index_templates", "manage_ingest_pipelines"],
            &[grant(&data, &["index", "create_index"])],
            &[],
        ),
        "remote_monitoring_collector" => role(&["monitor"], &[grant(&["*"], &["monitor"])], &[]),
        "ingest_admin" => role(&["manage_index_templates", "manage_pipeline"], &[], &[]),
        "beats_admin" => role(&[], &[grant(&[".management-beats"], &["all"])], &[]),
        "beats_system" | "logstash_system" | "apm_system" => role(&["monitor"], &[], &[]),
        "kibana_system" => role(
            &[
                "monitor",
                "manage_index_templates",
                "manage_pipeline",
                "manage_ilm",
                "manage_own_api_key",
                "read_fleet_secrets",
                "write_fleet_secrets",
            ],
            &[grant(
                &[".fleet-*", ".kibana*", "logs-*", "metrics-*", "traces-*"],
                &["all"],
            )],
            &["all"],
        ),
        _ => return None,
    })
}

/// The names of the roles that need no document.
pub(crate) const BUILTIN_ROLES: &[&str] = &[
    "apm_system",
    "beats_admin",
    "beats_system",
    "editor",
    "ingest_admin",
    "kibana_admin",
    "kibana_system",
    "logstash_system",
    "monitoring_user",
    "remote_monitoring_agent",
    "remote_monitoring_collector",
    "superuser",
    "viewer",
];

pub(crate) fn role(cluster: &[&str], indices: &[IndexGrant], console: &[&str]) -> RoleDescriptor {
    let application = ApplicationGrant {
        application: "kibana-.kibana".to_owned(),
        privileges: owned(console),
        resources: vec!["*".to_owned()],
    };
    RoleDescriptor {
        cluster: owned(cluster),
        indices: indices.to_vec(),
        applications: if console.is_empty() {
            Vec::new()
        } else {
            vec![application]
        },
        ..RoleDescriptor::default()
    }
}

pub(crate) fn grant(names: &[&str], privileges: &[&str]) -> IndexGrant {
    IndexGrant {
        names: owned(names),
        privileges: owned(privileges),
        ..IndexGrant::default()
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wildcards_match_as_in_elasticsearch() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(NamePattern::new(pattern).matches(name), expected, "{pattern} {name}");
        };
        check("logs-*", "logs-system.auth-default", true);
        check("logs-*", "metrics-x", false);
        check("*", "", true);
        check("logs-?-default", "logs-a-default", true);
        check("logs-?-default", "logs-ab-default", false);
        check("*-a*b", "x-aab", true);
        check("*-a*b", "x-aac", false);
        check("exact", "exact", true);
        check("exact", "exactly", false);
    }

    #[test]
    fn every_builtin_role_compiles() {
        for name in BUILTIN_ROLES {
            let descriptor = builtin(name).unwrap();
            Rights::default().add(name, &descriptor).unwrap();
        }
    }

    fn rejected(role: Value) -> String {
        RoleDescriptor::from_value("r", &role).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        assert!(rejected(json!({"cluster": ["fly"]})).contains("[fly]"));
        assert!(rejected(json!({"indices": [{"names": "a", "privileges": ["fly"]}]})).contains("[fly]"));
        assert!(rejected(json!({"indexes": []})).contains("indexes"));
        assert!(
            rejected(json!({"indices": [{"names": "a", "privileges": "read", "query": {"match_all": {}}}]}))
                .contains("documents")
        );
        let fields = json!({"indices": [{"names": "a", "privileges": "read", "field_security": {"grant": ["*"], "except": ["x"]}}]});
        assert!(rejected(fields).contains("fields"));
    }

    #[test]
    fn create_doc_is_less_than_index_and_index_less_than_write() {
        let rights = |privilege: &str| {
            let role = json!({"r": {"indices": [{"names": ["a"], "privileges": [privilege]}]}});
            Rights::from_descriptors(role.as_object().unwrap()).unwrap()
        };
        use IndexPrivilege::{CreateDocument, Delete, IndexDocument};
        assert!(rights("create_doc").index("a", CreateDocument) && !rights("create_doc").index("a", IndexDocument));
        assert!(rights("index").index("a", IndexDocument) && !rights("index").index("a", Delete));
        assert!(rights("write").index("a", Delete) && !rights("write").index("b", Delete));
    }
}
