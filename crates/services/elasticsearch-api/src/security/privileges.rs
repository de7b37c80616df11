//! What privileges there are and who has which; what others keep beside them is empty here.

use std::collections::BTreeSet;
use std::sync::Arc;

use access::{ClusterPrivilege, privilege_names};
use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::answer;
use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::params::Params;

/// `GET /_security/privilege/_builtin`.
pub(crate) async fn builtin_privileges(
    State(_): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    caller.needs_cluster(
        ClusterPrivilege::ReadSecurity,
        "cluster:admin/xpack/security/privilege/builtin/get",
    )?;
    let (cluster, index) = privilege_names();
    Ok(answer::json(
        &json!({ "cluster": cluster, "index": index, "remote_cluster": [] }),
    ))
}

/// `GET /_security/privilege`, `/_security/role_mapping`: nobody can put any.
pub(crate) async fn none(
    State(_): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    caller.needs_cluster(
        ClusterPrivilege::ReadSecurity,
        "cluster:admin/xpack/security/privilege/get",
    )?;
    Ok(answer::json(&json!({})))
}

/// `GET /_security/user/_privileges`: what the roles of the caller say.
pub(crate) async fn own_privileges(
    State(_): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    let Some(roles) = caller.0.role_descriptors() else {
        return Err(ApiError::illegal(
            "Cannot retrieve privileges for API keys and service accounts. Please use the Get API key information API https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-security-get-api-key",
        ));
    };
    let mut cluster = BTreeSet::new();
    for name in roles.values().filter_map(|role| role["cluster"].as_array()).flatten() {
        cluster.extend(name.as_str());
    }
    Ok(answer::json(&json!({
        "cluster": cluster, "global": [], "indices": grants(roles, "indices"),
        "applications": grants(roles, "applications"), "run_as": [],
    })))
}

/// What several roles say in the same words is said once.
fn grants(roles: &Map<String, Value>, part: &str) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    for grant in roles.values().filter_map(|role| role[part].as_array()).flatten() {
        if !found.contains(grant) {
            found.push(grant.clone());
        }
    }
    found
}

/// `POST /_security/{of}/{name}/_clear_cache`: what is remembered of checked credentials is forgotten.
pub(crate) async fn clear_cache(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&["usernames"])?;
    caller.needs_cluster(
        ClusterPrivilege::ManageSecurity,
        "cluster:admin/xpack/security/cache/clear",
    )?;
    api.access.forget_checked();
    let settings = &api.settings;
    Ok(answer::json(&json!({
        "_nodes": { "total": 1, "successful": 1, "failed": 0 }, "cluster_name": settings.cluster_name,
        "nodes": { settings.cluster_uuid.as_str(): { "name": settings.node_name } },
    })))
}
