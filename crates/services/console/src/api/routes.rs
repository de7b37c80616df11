//! The table of routes. Everything that a request is checked against stands here, and OpenAPI is written from it.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use access::Principal;
use bytes::Bytes;
use http::Method;

use super::answers::Answer;
use super::call::{Call, Reply};
use super::error::ApiError;
use super::schema::Field;
use super::{
    actions, agent_policies, agents, download_sources, enrollment_keys, fleet_server_hosts, health, join, login,
    openapi, outputs, package_policies, packages, proxies, security, settings, status, uninstall_tokens, uploads,
};
use crate::Console;

type Future_ = Pin<Box<dyn Future<Output = Result<Reply, ApiError>> + Send>>;

/// One route.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) method: Method,
    /// In axum's pattern syntax, which is OpenAPI's as well.
    pub(crate) path: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) needs: Needs,
    pub(crate) query: &'static [Field],
    pub(crate) body: Body,
    pub(crate) answer: Answer,
    pub(crate) handler: Handler,
}

/// What the caller must be allowed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Needs {
    /// Any valid credential.
    Login,
    /// To see the fleet.
    Read,
    /// To change it.
    All,
}

/// What the body is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    /// None; what comes is not looked at.
    None,
    /// JSON with these fields.
    Json(&'static [Field]),
    /// JSON with these fields, null, or nothing.
    Optional(&'static [Field]),
    /// A file.
    File,
}

/// What runs.
pub(crate) enum Handler {
    /// Behind a checked credential.
    Checked(fn(Arc<Console>, Call) -> Future_),
    /// For everybody: the handler sees who asks, if that is known.
    Public(fn(Arc<Console>, PublicCall) -> Future_),
}

impl std::fmt::Debug for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Checked(_) => "Checked",
            Self::Public(_) => "Public",
        })
    }
}

/// A request to a route for everybody.
#[derive(Debug)]
pub(crate) struct PublicCall {
    pub(crate) principal: Option<Arc<Principal>>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) cookies: String,
    pub(crate) raw: Bytes,
}

impl Route {
    pub(crate) fn filter(&self) -> axum::routing::MethodFilter {
        super::dispatch::method_filter(&self.method)
    }

    /// The log-in of the pages is a form of its own kind; it makes the session that the xsrf rule protects.
    pub(crate) fn is_form_login(&self) -> bool {
        self.path.starts_with("/internal/security/")
    }
}

/// One line of the table.
macro_rules! route {
    ($method:ident $path:literal, $needs:ident, $summary:literal, $handler:path $(, query: $query:expr)? $(, body: $body:expr)? $(, answer: $answer:expr)?) => {
        Route {
            method: Method::$method,
            path: $path,
            summary: $summary,
            needs: Needs::$needs,
            query: route!(@query $($query)?),
            body: route!(@body $($body)?),
            answer: route!(@answer $($answer)?),
            handler: Handler::Checked(|console, call| Box::pin($handler(console, call))),
        }
    };
    (@query) => { &[] };
    (@query $query:expr) => { $query };
    (@body) => { Body::None };
    (@body $body:expr) => { $body };
    (@answer) => { Answer::Item };
    (@answer $answer:expr) => { $answer };
}

/// A line for everybody.
macro_rules! public {
    ($method:ident $path:literal, $summary:literal, $handler:path) => {
        Route {
            method: Method::$method,
            path: $path,
            summary: $summary,
            needs: Needs::Login,
            query: &[],
            body: Body::None,
            answer: Answer::Object,
            handler: Handler::Public(|console, call| Box::pin($handler(console, call))),
        }
    };
}

/// The table.
pub(crate) fn all() -> &'static [Route] {
    static ROUTES: OnceLock<Vec<Route>> = OnceLock::new();
    ROUTES.get_or_init(table)
}

fn table() -> Vec<Route> {
    let mut routes = vec![
        public!(GET "/api/status", "State and version of the console", status::status),
        public!(POST "/internal/security/login", "Log in with name and password", login::log_in),
        public!(POST "/internal/security/logout", "Log out", login::log_out),
        route!(GET "/internal/security/me", Login, "Who is asking", login::me, answer: Answer::Object),
        route!(GET "/api/fleet/openapi.json", Login, "This description", openapi::document, answer: Answer::Object),
        route!(POST "/api/fleet/setup", All, "Make what every console has", status::setup, body: Body::Optional(&[]), answer: Answer::Object),
        route!(GET "/api/fleet/agents/setup", Read, "Whether agents can enrol", status::agents_setup, answer: Answer::Object),
        route!(POST "/api/fleet/agents/setup", All, "Make what every console has", status::setup, body: Body::Optional(&[]), answer: Answer::Object),
        route!(GET "/api/fleet/check-permissions", Login, "Whether the caller may use Fleet", status::check_permissions, query: status::PERMISSIONS_QUERY, answer: Answer::Object),
        route!(POST "/api/fleet/health_check", All, "Ask a Fleet Server for its state", health::check, body: Body::Json(health::BODY), answer: Answer::Object),
        route!(POST "/api/fleet/service_tokens", All, "Make a token for a Fleet Server", security::service_token, body: Body::Optional(security::SERVICE_TOKEN), answer: Answer::Object),
        route!(POST "/api/fleet/service-tokens", All, "Make a token for a Fleet Server", security::service_token, body: Body::Optional(security::SERVICE_TOKEN), answer: Answer::Object),
        route!(POST "/api/fleet/logstash_api_keys", All, "Make an API key for Logstash", security::logstash_api_key, body: Body::Optional(&[]), answer: Answer::Object),
        route!(POST "/api/fleet/message_signing_service/rotate_key_pair", All, "Make a new key that signs policies", security::rotate_key_pair, query: security::ROTATE_QUERY, body: Body::Optional(&[]), answer: Answer::Object),
        route!(GET "/api/fleet/settings", Read, "Settings", settings::read),
        route!(PUT "/api/fleet/settings", All, "Change settings", settings::update, body: Body::Json(settings::BODY)),
        route!(GET "/api/fleet/space_settings", Read, "Settings of the space", settings::read_space),
        route!(PUT "/api/fleet/space_settings", All, "Change settings of the space", settings::update_space, body: Body::Json(settings::SPACE_BODY)),
        route!(GET "/internal/fleet/settings/enrollment", Read, "What the enrolment pages need", settings::enrollment, query: settings::ENROLLMENT_QUERY, answer: Answer::Object),
        route!(GET "/api/fleet/audit_log", All, "The newest changes", settings::audit_log, query: settings::AUDIT_QUERY, answer: Answer::Items),
        route!(GET "/api/fleet/kubernetes", Read, "A manifest for Kubernetes", join::kubernetes, query: join::KUBERNETES_QUERY, answer: Answer::ItemOrText),
        route!(GET "/api/fleet/kubernetes/download", Read, "A manifest for Kubernetes as a file", join::kubernetes_file, query: join::KUBERNETES_QUERY, answer: Answer::File("text/plain")),
        route!(GET "/api/fleet/install/{osType}", Read, "A script that installs an agent", join::script, query: join::SCRIPT_QUERY, answer: Answer::File("text/plain")),
        route!(GET "/api/fleet/data_streams", Read, "Data streams", settings::data_streams, answer: Answer::Object),
    ];
    routes.extend(objects());
    routes.extend(policies());
    routes.extend(packages_and_keys());
    routes.extend(agent_routes());
    routes
}

fn objects() -> Vec<Route> {
    vec![
        route!(GET "/api/fleet/fleet_server_hosts", Read, "Fleet Server hosts", fleet_server_hosts::list, answer: Answer::Page),
        route!(POST "/api/fleet/fleet_server_hosts", All, "Make a Fleet Server host", fleet_server_hosts::create, query: DRY_RUN, body: Body::Json(fleet_server_hosts::CREATE)),
        route!(GET "/api/fleet/fleet_server_hosts/{itemId}", Read, "A Fleet Server host", fleet_server_hosts::read),
        route!(PUT "/api/fleet/fleet_server_hosts/{itemId}", All, "Change a Fleet Server host", fleet_server_hosts::update, query: DRY_RUN, body: Body::Json(fleet_server_hosts::UPDATE)),
        route!(DELETE "/api/fleet/fleet_server_hosts/{itemId}", All, "Remove a Fleet Server host", fleet_server_hosts::delete, answer: Answer::Id),
        route!(GET "/api/fleet/fleet_server_policy_status", Read, "Policies with Fleet Server, and how their agents are", fleet_server_hosts::policy_status, answer: Answer::Items),
        route!(GET "/api/fleet/outputs", Read, "Outputs", outputs::list, answer: Answer::Page),
        route!(POST "/api/fleet/outputs", All, "Make an output", outputs::create, query: DRY_RUN, body: Body::Json(outputs::CREATE)),
        route!(GET "/api/fleet/outputs/{outputId}", Read, "An output", outputs::read),
        route!(PUT "/api/fleet/outputs/{outputId}", All, "Change an output", outputs::update, query: DRY_RUN, body: Body::Json(outputs::UPDATE)),
        route!(DELETE "/api/fleet/outputs/{outputId}", All, "Remove an output", outputs::delete, answer: Answer::Id),
        route!(GET "/api/fleet/outputs/{outputId}/health", Read, "State of an output", outputs::health, answer: Answer::Object),
        route!(GET "/api/fleet/remote_synced_integrations/status", Read, "Integrations that another console keeps in step here", outputs::synced, answer: Answer::Object),
        route!(GET "/api/fleet/remote_synced_integrations/{outputId}/remote_status", Read, "Integrations that are kept in step at a remote output", outputs::synced_remotely, answer: Answer::Object),
        route!(GET "/api/fleet/proxies", Read, "Proxies", proxies::list, answer: Answer::Page),
        route!(POST "/api/fleet/proxies", All, "Make a proxy", proxies::create, query: DRY_RUN, body: Body::Json(proxies::CREATE)),
        route!(GET "/api/fleet/proxies/{itemId}", Read, "A proxy", proxies::read),
        route!(PUT "/api/fleet/proxies/{itemId}", All, "Change a proxy", proxies::update, query: DRY_RUN, body: Body::Json(proxies::UPDATE)),
        route!(DELETE "/api/fleet/proxies/{itemId}", All, "Remove a proxy", proxies::delete, answer: Answer::Id),
        route!(GET "/api/fleet/agent_download_sources", Read, "Download sources", download_sources::list, answer: Answer::Page),
        route!(POST "/api/fleet/agent_download_sources", All, "Make a download source", download_sources::create, query: DRY_RUN, body: Body::Json(download_sources::CREATE)),
        route!(GET "/api/fleet/agent_download_sources/{sourceId}", Read, "A download source", download_sources::read),
        route!(PUT "/api/fleet/agent_download_sources/{sourceId}", All, "Change a download source", download_sources::update, query: DRY_RUN, body: Body::Json(download_sources::UPDATE)),
        route!(DELETE "/api/fleet/agent_download_sources/{sourceId}", All, "Remove a download source", download_sources::delete, answer: Answer::Id),
        route!(GET "/api/fleet/uninstall_tokens", Read, "Uninstall tokens without their values", uninstall_tokens::list, query: uninstall_tokens::QUERY, answer: Answer::Page),
        route!(GET "/api/fleet/uninstall_tokens/{uninstallTokenId}", All, "An uninstall token", uninstall_tokens::read),
    ]
}

fn policies() -> Vec<Route> {
    vec![
        route!(GET "/api/fleet/agent_policies", Read, "Agent policies", agent_policies::list, query: agent_policies::LIST_QUERY, answer: Answer::Page),
        route!(POST "/api/fleet/agent_policies", All, "Make an agent policy", agent_policies::create, query: agent_policies::CREATE_QUERY, body: Body::Json(agent_policies::BODY)),
        route!(POST "/internal/fleet/agent_and_package_policies", All, "Make an agent policy with its integrations", agent_policies::create_with_integrations, query: agent_policies::CREATE_QUERY, body: Body::Json(agent_policies::WITH_INTEGRATIONS)),
        route!(POST "/api/fleet/agent_policies/_bulk_get", Read, "Some agent policies", agent_policies::bulk_get, query: agent_policies::FORMAT_QUERY, body: Body::Json(agent_policies::BULK_GET), answer: Answer::Items),
        route!(POST "/api/fleet/agent_policies/delete", All, "Remove an agent policy", agent_policies::delete, body: Body::Json(agent_policies::DELETE), answer: Answer::Id),
        route!(POST "/api/fleet/agent_policies/outputs", Read, "Outputs of some agent policies", agent_policies::outputs_of_many, body: Body::Json(agent_policies::IDS), answer: Answer::Items),
        route!(GET "/api/fleet/agent_policies/{agentPolicyId}", Read, "An agent policy", agent_policies::read, query: agent_policies::FORMAT_QUERY),
        route!(PUT "/api/fleet/agent_policies/{agentPolicyId}", All, "Change an agent policy", agent_policies::update, query: agent_policies::FORMAT_QUERY, body: Body::Json(agent_policies::UPDATE_BODY)),
        route!(POST "/api/fleet/agent_policies/{agentPolicyId}/copy", All, "Copy an agent policy", agent_policies::copy, query: agent_policies::FORMAT_QUERY, body: Body::Json(agent_policies::COPY)),
        route!(GET "/api/fleet/agent_policies/{agentPolicyId}/full", Read, "What agents of the policy get", agent_policies::full, query: agent_policies::FULL_QUERY, answer: Answer::ItemOrText),
        route!(GET "/api/fleet/agent_policies/{agentPolicyId}/download", Read, "The policy as a file", agent_policies::download, query: agent_policies::FULL_QUERY, answer: Answer::File("text/x-yaml")),
        route!(GET "/api/fleet/agent_policies/{agentPolicyId}/outputs", Read, "Outputs of an agent policy", agent_policies::outputs),
        route!(GET "/api/fleet/agent_policies/{agentPolicyId}/auto_upgrade_agents_status", Read, "Versions of the policy's agents", agent_policies::versions, answer: Answer::Object),
        route!(GET "/api/fleet/package_policies", Read, "Package policies", package_policies::list, query: package_policies::LIST_QUERY, answer: Answer::Page),
        route!(POST "/api/fleet/package_policies", All, "Make a package policy", package_policies::create, query: package_policies::FORMAT_QUERY, body: Body::Json(package_policies::BODY)),
        route!(POST "/api/fleet/package_policies/_bulk_get", Read, "Some package policies", package_policies::bulk_get, query: package_policies::FORMAT_QUERY, body: Body::Json(package_policies::BULK_GET), answer: Answer::Items),
        route!(POST "/api/fleet/package_policies/delete", All, "Remove package policies", package_policies::bulk_delete, body: Body::Json(package_policies::BULK_DELETE), answer: Answer::List),
        route!(POST "/api/fleet/package_policies/upgrade", All, "Move package policies to newer packages", package_policies::upgrade, body: Body::Json(package_policies::UPGRADE), answer: Answer::List),
        route!(POST "/api/fleet/package_policies/upgrade/dryrun", Read, "What an upgrade would change", package_policies::upgrade_dry_run, body: Body::Json(package_policies::UPGRADE_DRY_RUN), answer: Answer::List),
        route!(GET "/api/fleet/package_policies/{packagePolicyId}", Read, "A package policy", package_policies::read, query: package_policies::FORMAT_QUERY),
        route!(PUT "/api/fleet/package_policies/{packagePolicyId}", All, "Change a package policy", package_policies::update, query: package_policies::FORMAT_QUERY, body: Body::Json(package_policies::UPDATE_BODY)),
        route!(DELETE "/api/fleet/package_policies/{packagePolicyId}", All, "Remove a package policy", package_policies::delete, query: package_policies::DELETE_QUERY, answer: Answer::Id),
    ]
}

fn packages_and_keys() -> Vec<Route> {
    vec![
        route!(GET "/api/fleet/epm/categories", Read, "Categories of packages", packages::categories, query: packages::CATEGORIES_QUERY, answer: Answer::Items),
        route!(GET "/api/fleet/epm/packages", Read, "Packages", packages::list, query: packages::LIST_QUERY, answer: Answer::Items),
        route!(POST "/api/fleet/epm/packages", All, "Upload a package", packages::upload, query: packages::INSTALL_QUERY, body: Body::File, answer: Answer::Items),
        route!(POST "/api/fleet/epm/packages/_bulk", All, "Install packages", packages::bulk_install, query: packages::INSTALL_QUERY, body: Body::Json(packages::BULK), answer: Answer::Items),
        route!(GET "/api/fleet/epm/packages/installed", Read, "Installed packages", packages::installed, query: packages::INSTALLED_QUERY, answer: Answer::Items),
        route!(GET "/api/fleet/epm/packages/limited", Read, "Packages that a policy may have once", packages::limited, answer: Answer::Items),
        route!(GET "/api/fleet/epm/packages/{pkgName}", Read, "A package", packages::read, query: packages::READ_QUERY),
        route!(POST "/api/fleet/epm/packages/{pkgName}", All, "Install a package", packages::install, query: packages::INSTALL_QUERY, body: Body::Optional(packages::INSTALL), answer: Answer::Items),
        route!(DELETE "/api/fleet/epm/packages/{pkgName}", All, "Remove a package", packages::uninstall, query: packages::FORCE_QUERY, answer: Answer::Items),
        route!(GET "/api/fleet/epm/packages/{pkgName}/stats", Read, "Use of a package", packages::stats, answer: Answer::Object),
        route!(GET "/api/fleet/epm/packages/{pkgName}/{pkgVersion}", Read, "A package in a version", packages::read, query: packages::READ_QUERY),
        route!(POST "/api/fleet/epm/packages/{pkgName}/{pkgVersion}", All, "Install a package in a version", packages::install, query: packages::INSTALL_QUERY, body: Body::Optional(packages::INSTALL), answer: Answer::Items),
        route!(PUT "/api/fleet/epm/packages/{pkgName}/{pkgVersion}", All, "Change settings of a package", packages::update, body: Body::Json(packages::UPDATE)),
        route!(DELETE "/api/fleet/epm/packages/{pkgName}/{pkgVersion}", All, "Remove a package", packages::uninstall, query: packages::FORCE_QUERY, answer: Answer::Items),
        route!(GET "/api/fleet/epm/templates/{pkgName}/{pkgVersion}/inputs", Read, "Inputs of a package with their defaults", packages::templates, query: packages::TEMPLATES_QUERY, answer: Answer::ObjectOrFile("text/yaml")),
        route!(GET "/api/fleet/epm/verification_key_id", Read, "Key that packages are signed with", packages::verification_key_id, answer: Answer::Object),
        route!(GET "/api/fleet/enrollment_api_keys", Read, "Enrollment tokens", enrollment_keys::list, query: enrollment_keys::LIST_QUERY, answer: Answer::Page),
        route!(POST "/api/fleet/enrollment_api_keys", All, "Make an enrollment token", enrollment_keys::create, body: Body::Json(enrollment_keys::CREATE)),
        route!(POST "/api/fleet/enrollment_api_keys/_bulk_delete", All, "Revoke enrollment tokens", enrollment_keys::bulk_delete, body: Body::Json(enrollment_keys::BULK_DELETE), answer: Answer::Done),
        route!(GET "/api/fleet/enrollment_api_keys/{keyId}", Read, "An enrollment token", enrollment_keys::read),
        route!(DELETE "/api/fleet/enrollment_api_keys/{keyId}", All, "Revoke an enrollment token", enrollment_keys::delete, query: enrollment_keys::DELETE_QUERY, answer: Answer::Done),
        route!(GET "/api/fleet/enrollment-api-keys", Read, "Enrollment tokens", enrollment_keys::list, query: enrollment_keys::LIST_QUERY, answer: Answer::Page),
        route!(POST "/api/fleet/enrollment-api-keys", All, "Make an enrollment token", enrollment_keys::create, body: Body::Json(enrollment_keys::CREATE)),
        route!(GET "/api/fleet/enrollment-api-keys/{keyId}", Read, "An enrollment token", enrollment_keys::read),
        route!(DELETE "/api/fleet/enrollment-api-keys/{keyId}", All, "Revoke an enrollment token", enrollment_keys::delete, query: enrollment_keys::DELETE_QUERY, answer: Answer::Done),
    ]
}

fn agent_routes() -> Vec<Route> {
    vec![
        route!(GET "/api/fleet/agents", Read, "Agents", agents::list, query: agents::LIST_QUERY, answer: Answer::Page),
        route!(POST "/api/fleet/agents", Read, "Agents that some actions name", actions::agents_of, body: Body::Json(actions::ACTION_IDS), answer: Answer::Items),
        route!(GET "/api/fleet/agents/tags", Read, "Tags of agents", agents::tags, query: agents::TAGS_QUERY, answer: Answer::Items),
        route!(GET "/api/fleet/agents/available_versions", Read, "Versions that agents can have", agents::available_versions, answer: Answer::Items),
        route!(GET "/api/fleet/agents/action_status", Read, "State of actions", actions::status, query: actions::STATUS_QUERY, answer: Answer::Items),
        route!(POST "/api/fleet/agents/actions", Read, "Agents that some actions name", actions::agents_of, body: Body::Json(actions::ACTION_IDS), answer: Answer::Items),
        route!(POST "/api/fleet/agents/actions/{actionId}/cancel", All, "Take an action back", actions::cancel, body: Body::Optional(&[])),
        route!(POST "/api/fleet/agents/bulk_unenroll", All, "Unenrol agents", actions::bulk_unenroll, body: Body::Json(actions::BULK_UNENROLL), answer: Answer::ActionId),
        route!(POST "/api/fleet/agents/bulk_reassign", All, "Give agents another policy", actions::bulk_reassign, body: Body::Json(actions::BULK_REASSIGN), answer: Answer::ActionId),
        route!(POST "/api/fleet/agents/bulk_upgrade", All, "Upgrade agents", actions::bulk_upgrade, body: Body::Json(actions::BULK_UPGRADE), answer: Answer::ActionId),
        route!(POST "/api/fleet/agents/bulk_update_agent_tags", All, "Change tags of agents", actions::bulk_tags, body: Body::Json(actions::BULK_TAGS), answer: Answer::ActionId),
        route!(POST "/api/fleet/agents/bulk_request_diagnostics", All, "Ask agents for diagnostics", actions::bulk_diagnostics, body: Body::Json(actions::BULK_DIAGNOSTICS), answer: Answer::ActionId),
        route!(POST "/api/fleet/agents/bulk_migrate", All, "Move agents to another fleet", actions::bulk_migrate, body: Body::Json(actions::BULK_MIGRATE), answer: Answer::ActionId),
        route!(POST "/api/fleet/agents/bulk_privilege_level_change", All, "Change the privileges that agents run with", actions::bulk_privileges, body: Body::Json(actions::BULK_PRIVILEGES), answer: Answer::ActionId),
        route!(GET "/api/fleet/agents/files/{fileId}/{fileName}", Read, "A file that an agent uploaded", uploads::file, answer: Answer::File("application/zip")),
        route!(DELETE "/api/fleet/agents/files/{fileId}", All, "Remove a file that an agent uploaded", uploads::delete, answer: Answer::Id),
        route!(GET "/api/fleet/agents/{agentId}", Read, "An agent", agents::read, query: agents::READ_QUERY),
        route!(PUT "/api/fleet/agents/{agentId}", All, "Change an agent", agents::update, body: Body::Json(agents::UPDATE)),
        route!(DELETE "/api/fleet/agents/{agentId}", All, "Remove an agent", agents::delete, answer: Answer::Done),
        route!(POST "/api/fleet/agents/{agentId}/unenroll", All, "Unenrol an agent", actions::unenroll, body: Body::Optional(actions::UNENROLL), answer: Answer::Empty),
        route!(POST "/api/fleet/agents/{agentId}/reassign", All, "Give an agent another policy", actions::reassign, body: Body::Json(actions::REASSIGN), answer: Answer::Empty),
        route!(PUT "/api/fleet/agents/{agentId}/reassign", All, "Give an agent another policy", actions::reassign, body: Body::Json(actions::REASSIGN), answer: Answer::Empty),
        route!(POST "/api/fleet/agents/{agentId}/upgrade", All, "Upgrade an agent", actions::upgrade, body: Body::Json(actions::UPGRADE), answer: Answer::Empty),
        route!(POST "/api/fleet/agents/{agentId}/request_diagnostics", All, "Ask an agent for diagnostics", actions::diagnostics, body: Body::Optional(actions::DIAGNOSTICS), answer: Answer::ActionId),
        route!(POST "/api/fleet/agents/{agentId}/migrate", All, "Move an agent to another fleet", actions::migrate, body: Body::Json(actions::MIGRATE), answer: Answer::ActionId),
        route!(POST "/api/fleet/agents/{agentId}/actions", All, "Queue an action", actions::create, body: Body::Json(actions::CREATE)),
        route!(GET "/api/fleet/agents/{agentId}/uploads", Read, "Files that an agent uploaded", uploads::list, answer: Answer::Items),
        route!(GET "/api/fleet/agent_status", Read, "How many agents are how", agents::summary, query: agents::SUMMARY_QUERY, answer: Answer::Object),
        route!(GET "/api/fleet/agent-status", Read, "How many agents are how", agents::summary, query: agents::SUMMARY_QUERY, answer: Answer::Object),
        route!(GET "/api/fleet/agent_status/data", Read, "Whether agents have sent data", agents::incoming_data, query: agents::DATA_QUERY, answer: Answer::Items),
    ]
}

/// `dry_run`: the answer is a report, and nothing is saved.
const DRY_RUN: &[Field] = &[super::schema::flag("dry_run")];
