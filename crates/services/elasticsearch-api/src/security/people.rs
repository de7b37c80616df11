//! Users, roles and service tokens over HTTP.

use std::sync::Arc;

use access::{ClusterPrivilege, NewUser, RoleDescriptor, Secret, User};
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::answer;
use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::Payload;

const READ: ClusterPrivilege = ClusterPrivilege::ReadSecurity;
const CHANGE: ClusterPrivilege = ClusterPrivilege::ManageSecurity;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutUser {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<Secret>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    full_name: Option<String>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    #[serde(default)]
    enabled: Option<bool>,
}

/// `PUT|POST /_security/user/{name}`.
pub(crate) async fn put_user(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(&["refresh"])?;
    caller.needs_cluster(CHANGE, "cluster:admin/xpack/security/user/put")?;
    let body: PutUser = payload.parse()?;
    if body.username.as_ref().is_some_and(|said| *said != name) {
        return Err(ApiError::illegal(
            "Username in source does not match the one in the URL",
        ));
    }
    let user = NewUser {
        password: body.password,
        roles: body.roles,
        full_name: body.full_name,
        email: body.email,
        metadata: body.metadata.unwrap_or_default(),
        enabled: body.enabled.unwrap_or(true),
    };
    let created = api.access.put_user(&name, user).await?;
    Ok(answer::json(&json!({ "created": created })))
}

/// `GET /_security/user`, `/_security/user/{name}`.
pub(crate) async fn users(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    name: Option<Path<String>>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&["with_profile_uid"])?;
    caller.needs_cluster(READ, "cluster:admin/xpack/security/user/get")?;
    let asked_for_one = name.is_some();
    let found = match name {
        None => api.access.users().await?,
        Some(Path(names)) => {
            let mut found = Vec::new();
            for name in names.split(',') {
                found.extend(api.access.user(name).await?);
            }
            found
        }
    };
    let status = if found.is_empty() && asked_for_one {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::OK
    };
    let shown: Map<String, Value> = found
        .into_iter()
        .map(|user| (user.username.clone(), described(user)))
        .collect();
    Ok(answer::with_status(status, &shown))
}

fn described(user: User) -> Value {
    json!({
        "username": user.username, "roles": user.roles, "full_name": user.full_name, "email": user.email,
        "metadata": user.metadata, "enabled": user.enabled,
    })
}

/// `DELETE /_security/user/{name}`.
pub(crate) async fn delete_user(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&["refresh"])?;
    caller.needs_cluster(CHANGE, "cluster:admin/xpack/security/user/delete")?;
    Ok(found(api.access.delete_user(&name).await?))
}

fn found(found: bool) -> Response {
    let status = if found { StatusCode::OK } else { StatusCode::NOT_FOUND };
    answer::with_status(status, &json!({ "found": found }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Password {
    password: Secret,
}

/// `PUT|POST /_security/user/{name}/_password`: one's own, or with `manage_security` anybody's.
pub(crate) async fn change_password(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(&["refresh"])?;
    set_password(&api, &caller, name, payload).await
}

/// `PUT|POST /_security/user/_password`.
pub(crate) async fn change_own_password(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(&["refresh"])?;
    let name = caller.0.username.clone();
    set_password(&api, &caller, name, payload).await
}

async fn set_password(
    api: &ElasticsearchApi,
    caller: &Caller,
    name: String,
    payload: Payload,
) -> Result<Response, ApiError> {
    if caller.0.kind != access::PrincipalKind::User || caller.0.username != name {
        caller.needs_cluster(CHANGE, "cluster:admin/xpack/security/user/change_password")?;
    }
    let body: Password = payload.parse()?;
    api.access.set_password(&name, body.password).await?;
    Ok(answer::json(&json!({})))
}

/// `PUT|POST /_security/user/{name}/_enable`.
pub(crate) async fn enable_user(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    set_enabled(&api, &caller, &name, params, true).await
}

/// `PUT|POST /_security/user/{name}/_disable`.
pub(crate) async fn disable_user(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    set_enabled(&api, &caller, &name, params, false).await
}

async fn set_enabled(
    api: &ElasticsearchApi,
    caller: &Caller,
    name: &str,
    params: Params,
    enabled: bool,
) -> Result<Response, ApiError> {
    params.only(&["refresh"])?;
    caller.needs_cluster(CHANGE, "cluster:admin/xpack/security/user/set_enabled")?;
    api.access.set_enabled(name, enabled).await?;
    Ok(answer::json(&json!({})))
}

/// `PUT|POST /_security/role/{name}`.
pub(crate) async fn put_role(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(&["refresh"])?;
    caller.needs_cluster(CHANGE, "cluster:admin/xpack/security/role/put")?;
    let role = RoleDescriptor::from_value(&name, &payload.required()?)
        .map_err(|error| ApiError::illegal(error.to_string()))?;
    let created = api.access.put_role(&name, role).await?;
    Ok(answer::json(&json!({ "role": { "created": created } })))
}

/// `GET /_security/role`, `/_security/role/{name}`.
pub(crate) async fn roles(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    name: Option<Path<String>>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    caller.needs_cluster(READ, "cluster:admin/xpack/security/role/get")?;
    let Some(Path(names)) = name else {
        let all: Map<String, Value> = api
            .access
            .roles()
            .await?
            .into_iter()
            .map(|(name, role)| (name, json!(role)))
            .collect();
        return Ok(answer::json(&all));
    };
    let mut found = Map::new();
    for name in names.split(',') {
        if let Some(role) = api.access.role(name).await? {
            found.insert(name.to_owned(), json!(role));
        }
    }
    let status = if found.is_empty() {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::OK
    };
    Ok(answer::with_status(status, &found))
}

/// `DELETE /_security/role/{name}`.
pub(crate) async fn delete_role(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&["refresh"])?;
    caller.needs_cluster(CHANGE, "cluster:admin/xpack/security/role/delete")?;
    Ok(found(api.access.delete_role(&name).await?))
}

/// `PUT|POST /_security/service/{namespace}/{service}/credential/token/{name}`.
pub(crate) async fn create_service_token(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((namespace, service, name)): Path<(String, String, String)>,
    params: Params,
) -> Result<Response, ApiError> {
    token(&api, &caller, &format!("{namespace}/{service}"), &name, params).await
}

/// `POST /_security/service/{namespace}/{service}/credential/token`: with a name of our own.
pub(crate) async fn create_service_token_unnamed(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((namespace, service)): Path<(String, String)>,
    params: Params,
) -> Result<Response, ApiError> {
    let name = format!("token_{}", uuid::Uuid::new_v4().simple());
    token(&api, &caller, &format!("{namespace}/{service}"), &name, params).await
}

async fn token(
    api: &ElasticsearchApi,
    caller: &Caller,
    account: &str,
    name: &str,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&["refresh"])?;
    caller.needs_cluster(CHANGE, "cluster:admin/xpack/security/service_account/token/create")?;
    let value = api.access.create_service_token(account, name).await?;
    Ok(answer::json(
        &json!({ "created": true, "token": { "name": name, "value": value.expose() } }),
    ))
}

/// `GET /_security/service/{namespace}/{service}/credential`.
pub(crate) async fn service_tokens(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((namespace, service)): Path<(String, String)>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    caller.needs_cluster(READ, "cluster:admin/xpack/security/service_account/credential/get")?;
    let account = format!("{namespace}/{service}");
    let names = api.access.service_tokens(&account).await?;
    let tokens: Map<String, Value> = names.into_iter().map(|name| (name, json!({}))).collect();
    Ok(answer::json(&json!({
        "service_account": account, "count": tokens.len(), "tokens": tokens,
        "nodes_credentials": { "_nodes": { "total": 1, "successful": 1, "failed": 0 }, "file_tokens": {} },
    })))
}

/// `DELETE /_security/service/{namespace}/{service}/credential/token/{name}`.
pub(crate) async fn delete_service_token(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((namespace, service, name)): Path<(String, String, String)>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&["refresh"])?;
    caller.needs_cluster(CHANGE, "cluster:admin/xpack/security/service_account/token/delete")?;
    Ok(found(
        api.access
            .delete_service_token(&format!("{namespace}/{service}"), &name)
            .await?,
    ))
}
