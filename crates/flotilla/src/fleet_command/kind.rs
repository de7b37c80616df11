//! The kinds of objects that the API lists, and how each looks in a table.

use serde_json::{Map, Value, json};

/// A kind of object.
#[derive(Debug)]
pub(super) struct Kind {
    /// In messages.
    pub(super) name: &'static str,
    /// Path of the list; with `/{id}` behind it that of one.
    pub(super) path: &'static str,
    /// Query of the list.
    pub(super) query: &'static str,
    /// Where the answer keeps the list.
    pub(super) items: &'static str,
    pub(super) columns: &'static [Column],
    /// Where `--host` goes.
    pub(super) host: HostField,
    /// Whether the API can check without saving.
    pub(super) dry_run: bool,
    /// Whether there is a field `is_default`.
    pub(super) default: bool,
    /// Whether there are several types.
    pub(super) typed: bool,
}

/// A column: its head, and where its value is (the first pointer that leads to one).
pub(super) type Column = (&'static str, &'static [&'static str]);

/// Where addresses of an object stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HostField {
    /// It has none.
    None,
    /// A list in this field.
    Many(&'static str),
    /// One text in this field.
    One(&'static str),
}

impl HostField {
    /// Puts `hosts` where they belong.
    pub(super) fn put(self, fields: &mut Map<String, Value>, hosts: &[String]) -> Result<(), String> {
        match (self, hosts) {
            (_, []) => {}
            (Self::Many(field), hosts) => {
                fields.insert(field.to_owned(), json!(hosts));
            }
            (Self::One(field), [host]) => {
                fields.insert(field.to_owned(), json!(host));
            }
            (Self::One(_), _) => return Err("`--host` can be given only once here".to_owned()),
            (Self::None, _) => return Err("`--host` means nothing here".to_owned()),
        }
        Ok(())
    }
}

const PLAIN: Kind = Kind {
    name: "",
    path: "",
    query: "",
    items: "/items",
    columns: &[],
    host: HostField::None,
    dry_run: false,
    default: false,
    typed: false,
};

pub(super) const OUTPUTS: Kind = Kind {
    name: "output",
    path: "/api/fleet/outputs",
    columns: &[
        ("ID", &["/id"]),
        ("NAME", &["/name"]),
        ("TYPE", &["/type"]),
        ("HOSTS", &["/hosts"]),
        ("DEFAULT", &["/is_default"]),
        ("MONITORING", &["/is_default_monitoring"]),
    ],
    host: HostField::Many("hosts"),
    dry_run: true,
    default: true,
    typed: true,
    ..PLAIN
};

pub(super) const HOSTS: Kind = Kind {
    name: "Fleet Server host",
    path: "/api/fleet/fleet_server_hosts",
    columns: &[
        ("ID", &["/id"]),
        ("NAME", &["/name"]),
        ("URLS", &["/host_urls"]),
        ("DEFAULT", &["/is_default"]),
        ("CLIENT AUTH", &["/ssl/client_auth"]),
    ],
    host: HostField::Many("host_urls"),
    dry_run: true,
    default: true,
    ..PLAIN
};

pub(super) const PROXIES: Kind = Kind {
    name: "proxy",
    path: "/api/fleet/proxies",
    columns: &[("ID", &["/id"]), ("NAME", &["/name"]), ("URL", &["/url"])],
    host: HostField::One("url"),
    ..PLAIN
};

pub(super) const DOWNLOAD_SOURCES: Kind = Kind {
    name: "download source",
    path: "/api/fleet/agent_download_sources",
    columns: &[
        ("ID", &["/id"]),
        ("NAME", &["/name"]),
        ("HOST", &["/host"]),
        ("DEFAULT", &["/is_default"]),
    ],
    host: HostField::One("host"),
    default: true,
    ..PLAIN
};

pub(super) const INTEGRATIONS: Kind = Kind {
    name: "integration",
    path: "/api/fleet/package_policies",
    query: "perPage=1000",
    columns: &[
        ("ID", &["/id"]),
        ("NAME", &["/name"]),
        ("PACKAGE", &["/package/name"]),
        ("VERSION", &["/package/version"]),
        ("POLICIES", &["/policy_ids"]),
        ("ENABLED", &["/enabled"]),
    ],
    ..PLAIN
};

pub(super) const POLICIES: Kind = Kind {
    name: "policy",
    path: "/api/fleet/agent_policies",
    // The API refuses longer pages with counts.
    query: "perPage=100&withAgentCount=true",
    columns: &[
        ("ID", &["/id"]),
        ("NAME", &["/name"]),
        ("NAMESPACE", &["/namespace"]),
        ("REVISION", &["/revision"]),
        ("AGENTS", &["/agents"]),
        ("MONITORING", &["/monitoring_enabled"]),
    ],
    ..PLAIN
};

pub(super) const AGENTS: Kind = Kind {
    name: "agent",
    path: "/api/fleet/agents",
    columns: &[
        ("ID", &["/id"]),
        ("HOST", &["/local_metadata/host/hostname"]),
        ("STATUS", &["/status"]),
        ("POLICY", &["/policy_id"]),
        ("REVISION", &["/policy_revision"]),
        ("VERSION", &["/agent/version", "/local_metadata/elastic/agent/version"]),
        ("TAGS", &["/tags"]),
        ("LAST CHECK-IN", &["/last_checkin"]),
    ],
    ..PLAIN
};

pub(super) const ACTIONS: Kind = Kind {
    name: "action",
    path: "/api/fleet/agents/action_status",
    query: "perPage=100",
    columns: &[
        ("ID", &["/actionId"]),
        ("TYPE", &["/type"]),
        ("STATUS", &["/status"]),
        ("AGENTS", &["/nbAgentsActionCreated"]),
        ("DONE", &["/nbAgentsAck"]),
        ("FAILED", &["/nbAgentsFailed"]),
        ("CREATED", &["/creationTime"]),
    ],
    ..PLAIN
};

pub(super) const TOKENS: Kind = Kind {
    name: "enrollment token",
    path: "/api/fleet/enrollment_api_keys",
    query: "perPage=1000",
    columns: &[
        ("ID", &["/id"]),
        ("NAME", &["/name"]),
        ("POLICY", &["/policy_id"]),
        ("ACTIVE", &["/active"]),
        ("CREATED", &["/created_at"]),
    ],
    ..PLAIN
};

pub(super) const UNINSTALL_TOKENS: Kind = Kind {
    name: "uninstall token",
    path: "/api/fleet/uninstall_tokens",
    query: "perPage=1000",
    columns: &[
        ("ID", &["/id"]),
        ("POLICY", &["/policy_name", "/policy_id"]),
        ("CREATED", &["/created_at"]),
    ],
    ..PLAIN
};

pub(super) const PACKAGES: Kind = Kind {
    name: "package",
    path: "/api/fleet/epm/packages",
    columns: &[
        ("NAME", &["/name"]),
        ("VERSION", &["/version"]),
        ("TITLE", &["/title"]),
        ("STATUS", &["/status"]),
    ],
    ..PLAIN
};

pub(super) const DATA_STREAMS: Kind = Kind {
    name: "data stream",
    path: "/api/fleet/data_streams",
    items: "/data_streams",
    columns: &[
        ("TYPE", &["/type"]),
        ("DATASET", &["/dataset"]),
        ("NAMESPACE", &["/namespace"]),
        ("PACKAGE", &["/package"]),
        ("SIZE", &["/size_in_bytes_formatted", "/size_in_bytes"]),
    ],
    ..PLAIN
};

pub(super) const AUDIT: Kind = Kind {
    name: "change",
    path: "/api/fleet/audit_log",
    columns: &[
        ("TIME", &["/@timestamp"]),
        ("WHO", &["/actor"]),
        ("WHAT", &["/action"]),
        ("KIND", &["/object/type"]),
        ("ID", &["/object/id"]),
    ],
    ..PLAIN
};
