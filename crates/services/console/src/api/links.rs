//! Where the ids in answers lead: OpenAPI links from what makes or lists objects to what reads, changes and removes them, and to what
//! names them in its body or query.

use http::Method;
use serde_json::{Map, Value, json};

use super::openapi::operation_id;
use super::routes::{self, Route};

/// Objects of one kind.
struct Kind {
    /// The answers that have ids of them, and where.
    found: &'static [(Method, &'static str, &'static str)],
    /// What takes an id.
    taken: &'static [Taken],
}

/// Where an id goes.
enum Taken {
    /// A parameter of every path that begins so.
    Path(&'static str, &'static str),
    /// A field of a body.
    Field(Method, &'static str, &'static str),
    /// A field of a body that is a list.
    List(Method, &'static str, &'static str),
    /// Every path that begins so and has this parameter and another one, whose value stands there in the answer.
    Pair(&'static str, &'static str, (&'static str, &'static str)),
    /// A parameter of a query.
    Query(&'static str, &'static str),
}

use Taken::{Field, List, Pair, Path, Query};

const ITEM: &str = "/item/id";
const FIRST: &str = "/items/0/id";

const KINDS: &[Kind] = &[
    Kind {
        found: &[
            (Method::POST, "/api/fleet/agent_policies", ITEM),
            (Method::GET, "/api/fleet/agent_policies", FIRST),
            (Method::POST, "/api/fleet/agent_policies/{agentPolicyId}/copy", ITEM),
            (Method::POST, "/internal/fleet/agent_and_package_policies", ITEM),
        ],
        taken: &[
            Path("/api/fleet/agent_policies/", "agentPolicyId"),
            Field(Method::POST, "/api/fleet/agent_policies/delete", "agentPolicyId"),
            List(Method::POST, "/api/fleet/agent_policies/_bulk_get", "ids"),
            List(Method::POST, "/api/fleet/agent_policies/outputs", "ids"),
            List(Method::POST, "/api/fleet/package_policies", "policy_ids"),
            List(
                Method::PUT,
                "/api/fleet/package_policies/{packagePolicyId}",
                "policy_ids",
            ),
            Field(Method::POST, "/api/fleet/enrollment_api_keys", "policy_id"),
            Field(Method::POST, "/api/fleet/agents/bulk_reassign", "policy_id"),
            Field(Method::POST, "/api/fleet/agents/{agentId}/reassign", "policy_id"),
            Query("/api/fleet/agent_status", "policyId"),
            Query("/api/fleet/uninstall_tokens", "policyId"),
            Query("/internal/fleet/settings/enrollment", "agentPolicyId"),
        ],
    },
    Kind {
        found: &[
            (Method::POST, "/api/fleet/package_policies", ITEM),
            (Method::GET, "/api/fleet/package_policies", FIRST),
        ],
        taken: &[
            Path("/api/fleet/package_policies/", "packagePolicyId"),
            List(Method::POST, "/api/fleet/package_policies/_bulk_get", "ids"),
            List(Method::POST, "/api/fleet/package_policies/delete", "packagePolicyIds"),
            List(Method::POST, "/api/fleet/package_policies/upgrade", "packagePolicyIds"),
            List(
                Method::POST,
                "/api/fleet/package_policies/upgrade/dryrun",
                "packagePolicyIds",
            ),
        ],
    },
    Kind {
        found: &[
            (Method::POST, "/api/fleet/fleet_server_hosts", ITEM),
            (Method::GET, "/api/fleet/fleet_server_hosts", FIRST),
        ],
        taken: &[
            Path("/api/fleet/fleet_server_hosts/", "itemId"),
            Field(Method::POST, "/api/fleet/health_check", "id"),
            Field(Method::POST, "/api/fleet/agent_policies", "fleet_server_host_id"),
            Field(
                Method::PUT,
                "/api/fleet/agent_policies/{agentPolicyId}",
                "fleet_server_host_id",
            ),
        ],
    },
    Kind {
        found: &[
            (Method::POST, "/api/fleet/outputs", ITEM),
            (Method::GET, "/api/fleet/outputs", FIRST),
        ],
        taken: &[
            Path("/api/fleet/outputs/", "outputId"),
            Path("/api/fleet/remote_synced_integrations/", "outputId"),
            Field(Method::POST, "/api/fleet/agent_policies", "data_output_id"),
            Field(
                Method::PUT,
                "/api/fleet/agent_policies/{agentPolicyId}",
                "monitoring_output_id",
            ),
            Field(Method::POST, "/api/fleet/package_policies", "output_id"),
        ],
    },
    Kind {
        found: &[
            (Method::POST, "/api/fleet/proxies", ITEM),
            (Method::GET, "/api/fleet/proxies", FIRST),
        ],
        taken: &[
            Path("/api/fleet/proxies/", "itemId"),
            Field(Method::POST, "/api/fleet/fleet_server_hosts", "proxy_id"),
            Field(Method::POST, "/api/fleet/outputs", "proxy_id"),
            Field(Method::POST, "/api/fleet/agent_download_sources", "proxy_id"),
            Field(Method::PUT, "/api/fleet/fleet_server_hosts/{itemId}", "proxy_id"),
        ],
    },
    Kind {
        found: &[
            (Method::POST, "/api/fleet/agent_download_sources", ITEM),
            (Method::GET, "/api/fleet/agent_download_sources", FIRST),
        ],
        taken: &[
            Path("/api/fleet/agent_download_sources/", "sourceId"),
            Field(Method::POST, "/api/fleet/agent_policies", "download_source_id"),
            Field(
                Method::PUT,
                "/api/fleet/agent_policies/{agentPolicyId}",
                "download_source_id",
            ),
        ],
    },
    Kind {
        found: &[
            (Method::POST, "/api/fleet/enrollment_api_keys", ITEM),
            (Method::GET, "/api/fleet/enrollment_api_keys", FIRST),
            (Method::POST, "/api/fleet/enrollment-api-keys", ITEM),
        ],
        taken: &[
            Path("/api/fleet/enrollment_api_keys/", "keyId"),
            Path("/api/fleet/enrollment-api-keys/", "keyId"),
            List(Method::POST, "/api/fleet/enrollment_api_keys/_bulk_delete", "tokenIds"),
        ],
    },
    Kind {
        found: &[(Method::GET, "/api/fleet/uninstall_tokens", FIRST)],
        taken: &[Path("/api/fleet/uninstall_tokens/", "uninstallTokenId")],
    },
    Kind {
        found: &[
            (Method::GET, "/api/fleet/epm/packages", "/items/0/name"),
            (Method::GET, "/api/fleet/epm/packages/installed", "/items/0/name"),
        ],
        taken: &[
            Path("/api/fleet/epm/", "pkgName"),
            Pair("/api/fleet/epm/", "pkgName", ("pkgVersion", "/items/0/version")),
            List(Method::POST, "/api/fleet/epm/packages/_bulk", "packages"),
        ],
    },
    Kind {
        found: &[(Method::GET, "/api/fleet/agents", FIRST)],
        taken: &[
            Path("/api/fleet/agents/", "agentId"),
            List(Method::POST, "/api/fleet/agents/bulk_unenroll", "agents"),
            List(Method::POST, "/api/fleet/agents/bulk_reassign", "agents"),
            List(Method::POST, "/api/fleet/agents/bulk_upgrade", "agents"),
            List(Method::POST, "/api/fleet/agents/bulk_update_agent_tags", "agents"),
            List(Method::POST, "/api/fleet/agents/bulk_request_diagnostics", "agents"),
            List(Method::POST, "/api/fleet/agents/bulk_migrate", "agents"),
            List(Method::POST, "/api/fleet/agents/bulk_privilege_level_change", "agents"),
            Query("/api/fleet/agent_status/data", "agentsIds"),
        ],
    },
    Kind {
        found: &[
            (Method::POST, "/api/fleet/agents/{agentId}/actions", ITEM),
            (
                Method::POST,
                "/api/fleet/agents/{agentId}/request_diagnostics",
                "/actionId",
            ),
            (Method::POST, "/api/fleet/agents/bulk_unenroll", "/actionId"),
            (Method::POST, "/api/fleet/agents/bulk_reassign", "/actionId"),
            (Method::POST, "/api/fleet/agents/bulk_upgrade", "/actionId"),
            (Method::POST, "/api/fleet/agents/bulk_update_agent_tags", "/actionId"),
            (Method::POST, "/api/fleet/agents/bulk_request_diagnostics", "/actionId"),
            (Method::GET, "/api/fleet/agents/action_status", "/items/0/actionId"),
        ],
        taken: &[
            Path("/api/fleet/agents/actions/", "actionId"),
            List(Method::POST, "/api/fleet/agents/actions", "actionIds"),
        ],
    },
    Kind {
        found: &[(Method::GET, "/api/fleet/agents/{agentId}/uploads", FIRST)],
        taken: &[
            Path("/api/fleet/agents/files/", "fileId"),
            Pair("/api/fleet/agents/files/", "fileId", ("fileName", "/items/0/name")),
        ],
    },
];

/// The links of a route's answer.
pub(super) fn of(route: &Route) -> Map<String, Value> {
    let mut links = Map::new();
    for kind in KINDS {
        let found = kind
            .found
            .iter()
            .find(|(method, path, _)| *method == route.method && *path == route.path);
        let Some((_, _, pointer)) = found else { continue };
        let id = format!("$response.body#{pointer}");
        for taken in kind.taken {
            for (target, link) in taken.links(&id) {
                links.insert(operation_id(target), link);
            }
        }
    }
    links
}

impl Taken {
    /// The routes that take the id, and how.
    fn links(&self, id: &str) -> Vec<(&'static Route, Value)> {
        let body = |method: &Method, path: &str, body: Value| {
            let takes = |route: &&Route| route.method == *method && route.path == path;
            let link =
                |route: &'static Route| (route, json!({"operationId": operation_id(route), "requestBody": body}));
            routes::all().iter().filter(takes).map(link).collect()
        };
        let parameters = |takes: &dyn Fn(&Route) -> bool, parameters: Value| {
            let link = |route: &'static Route| {
                (
                    route,
                    json!({"operationId": operation_id(route), "parameters": parameters}),
                )
            };
            routes::all().iter().filter(|route| takes(route)).map(link).collect()
        };
        match self {
            Path(start, name) => parameters(&|route| has_parameters(route, start, &[name]), json!({*name: id})),
            Pair(start, name, (other, pointer)) => parameters(
                &|route| has_parameters(route, start, &[name, other]),
                json!({*name: id, *other: format!("$response.body#{pointer}")}),
            ),
            Field(method, path, field) => body(method, path, json!({*field: id})),
            List(method, path, field) => body(method, path, json!({*field: [id]})),
            Query(path, name) => parameters(
                &|route| route.path == *path && route.method == Method::GET,
                json!({*name: id}),
            ),
        }
    }
}

/// Whether a path begins so, and these are its parameters.
fn has_parameters(route: &Route, start: &str, names: &[&str]) -> bool {
    let parts = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    route.path.starts_with(start) && parts.eq(names.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word that is misspelt here would only leave a link out.
    #[test]
    fn everything_named_is_there() {
        let is_route = |method: &Method, path: &str| {
            routes::all()
                .iter()
                .any(|route| route.method == *method && route.path == path)
        };
        for kind in KINDS {
            for (method, path, _) in kind.found {
                assert!(is_route(method, path), "{method} {path}");
            }
            for taken in kind.taken {
                let links = taken.links("id");
                let (Path(what, name)
                | Pair(what, name, _)
                | Field(_, what, name)
                | List(_, what, name)
                | Query(what, name)) = taken;
                assert!(!links.is_empty(), "{what} {name}");
                for (route, _) in links {
                    let has_field = match (taken, route.body) {
                        (Path(..) | Pair(..), _) => true,
                        (Query(..), _) => route.query.iter().any(|field| field.name == *name),
                        (_, routes::Body::Json(fields)) => fields.iter().any(|field| field.name == *name),
                        _ => false,
                    };
                    assert!(has_field, "{} {name}", route.path);
                }
            }
        }
    }

    /// Every route that takes an id is led to, so that chains of requests come there.
    #[test]
    fn every_id_in_a_path_comes_from_somewhere() {
        let linked: Vec<String> = routes::all()
            .iter()
            .flat_map(|route| of(route).into_iter().map(|(id, _)| id))
            .collect();
        let lonely = routes::all()
            .iter()
            .filter(|route| route.path.contains('{') && !linked.contains(&operation_id(route)));
        assert_eq!(
            lonely.map(|route| route.path).collect::<Vec<_>>(),
            ["/api/fleet/install/{osType}"]
        );
    }
}
