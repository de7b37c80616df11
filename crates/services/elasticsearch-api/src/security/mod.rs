//! `_security/*`: who am I, API keys, users, roles, service tokens.

mod api_keys;
mod people;
mod privileges;

pub(crate) use api_keys::{
    bulk_update_api_keys, create_api_key, get_api_keys, invalidate_api_keys, query_api_keys, update_api_key,
};
pub(crate) use people::{
    change_own_password, change_password, create_service_token, create_service_token_unnamed, delete_role,
    delete_service_token, delete_user, disable_user, enable_user, put_role, put_user, roles, service_tokens, users,
};

pub(crate) use privileges::{builtin_privileges, clear_cache, none, own_privileges};

use std::sync::Arc;

use access::{ClusterPrivilege, FleetPrivilege, IndexPrivilege, PrincipalKind, Privilege};
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::answer;
use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::Payload;

/// `GET /_security/_authenticate`.
pub(crate) async fn authenticate(
    State(_): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    let principal = &caller.0;
    let (name, kind) = principal.realm();
    let realm = json!({ "name": name, "type": kind });
    let mut body = json!({
        "username": principal.username, "roles": principal.roles, "full_name": principal.full_name,
        "email": principal.email, "metadata": principal.metadata, "enabled": true,
        "authentication_realm": realm, "lookup_realm": realm, "authentication_type": principal.authentication_type(),
    });
    match (&principal.kind, &principal.api_key_id) {
        (PrincipalKind::ApiKey { name, .. }, Some(id)) => {
            body["api_key"] = json!({ "id": id, "name": name, "managed_by": "elasticsearch" });
        }
        (PrincipalKind::ServiceAccount { token }, _) => {
            body["token"] = json!({ "name": token, "type": "_service_account_index" });
        }
        _ => {}
    }
    Ok(answer::json(&body))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    #[serde(default)]
    cluster: Vec<String>,
    #[serde(default, alias = "indices")]
    index: Vec<IndexQuestion>,
    #[serde(default)]
    application: Vec<ApplicationQuestion>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IndexQuestion {
    names: Vec<String>,
    privileges: Vec<String>,
    #[serde(default, rename = "allow_restricted_indices")]
    _allow_restricted_indices: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplicationQuestion {
    application: String,
    privileges: Vec<String>,
    #[serde(default)]
    resources: Vec<String>,
}

/// `GET|POST /_security/user/_has_privileges`.
pub(crate) async fn has_privileges(
    State(_): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    let question: Question = payload.parse()?;
    let mut all = true;
    let mut answered = |map: &mut Map<String, Value>, name: &str, has: bool| {
        all &= has;
        map.insert(name.to_owned(), Value::Bool(has));
    };
    let mut cluster = Map::new();
    for name in &question.cluster {
        let privilege = cluster_privilege(name)?;
        answered(&mut cluster, name, caller.0.may(Privilege::Cluster(privilege)));
    }
    let mut index = Map::new();
    for asked in &question.index {
        for name in &asked.names {
            let mut privileges = Map::new();
            for privilege in &asked.privileges {
                let has = index_privileges(privilege)?
                    .iter()
                    .all(|one| caller.0.may_index(name, *one));
                answered(&mut privileges, privilege, has);
            }
            index.insert(name.clone(), Value::Object(privileges));
        }
    }
    let mut application = Map::new();
    for asked in &question.application {
        let reads = caller.0.may(Privilege::Fleet(FleetPrivilege::All));
        let mut resources = Map::new();
        for resource in &asked.resources {
            let mut privileges = Map::new();
            for privilege in &asked.privileges {
                answered(&mut privileges, privilege, reads);
            }
            resources.insert(resource.clone(), Value::Object(privileges));
        }
        application.insert(asked.application.clone(), Value::Object(resources));
    }
    Ok(answer::json(&json!({
        "username": caller.0.username, "has_all_requested": all, "cluster": cluster, "index": index,
        "application": application,
    })))
}

fn cluster_privilege(name: &str) -> Result<ClusterPrivilege, ApiError> {
    use ClusterPrivilege as P;
    Ok(match name {
        "monitor" => P::Monitor,
        "manage" | "all" => P::Manage,
        "manage_security" => P::ManageSecurity,
        "read_security" => P::ReadSecurity,
        "manage_api_key" => P::ManageApiKey,
        "manage_own_api_key" => P::ManageOwnApiKey,
        "manage_index_templates" => P::ManageIndexTemplates,
        "manage_pipeline" | "manage_ingest_pipelines" => P::ManagePipeline,
        "read_pipeline" => P::ReadPipeline,
        "manage_ilm" => P::ManageIlm,
        "read_ilm" => P::ReadIlm,
        "read_fleet_secrets" => P::ReadFleetSecrets,
        "write_fleet_secrets" => P::WriteFleetSecrets,
        other => return Err(ApiError::illegal(format!("unknown cluster privilege [{other}]"))),
    })
}

/// What one must be able to do to have the privilege of that name.
fn index_privileges(name: &str) -> Result<&'static [IndexPrivilege], ApiError> {
    use IndexPrivilege as P;
    Ok(match name {
        "read" => &[P::Read],
        "create_doc" => &[P::CreateDocument],
        "create" => &[P::CreateDocument, P::IndexDocument],
        "index" => &[P::CreateDocument, P::IndexDocument, P::Update],
        "write" => &[P::CreateDocument, P::IndexDocument, P::Update, P::Delete],
        "delete" => &[P::Delete],
        "auto_configure" => &[P::AutoCreate],
        "create_index" => &[P::Create],
        "delete_index" => &[P::DeleteIndex],
        "view_index_metadata" => &[P::ViewMetadata],
        "monitor" => &[P::Monitor],
        "maintenance" => &[P::Maintenance],
        "manage" => &[P::Manage],
        "all" => &[P::Read, P::Delete, P::IndexDocument, P::Manage],
        other => return Err(ApiError::illegal(format!("unknown index privilege [{other}]"))),
    })
}
