//! API keys over HTTP.

use std::sync::Arc;

use access::{ApiKeyFilter, ApiKeyInfo, ClusterPrivilege, NewApiKey, Privilege, RoleDescriptors};
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::Payload;
use crate::{answer, time_value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    #[serde(default)]
    role_descriptors: Value,
    #[serde(default)]
    metadata: Value,
    #[serde(default)]
    expiration: Option<String>,
}

/// `PUT|POST /_security/api_key`.
pub(crate) async fn create_api_key(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(&["refresh"])?;
    let action = "cluster:admin/xpack/security/api_key/create";
    caller.needs_cluster(ClusterPrivilege::ManageOwnApiKey, action)?;
    let body: Create = payload.parse()?;
    let expires = match &body.expiration {
        None => None,
        Some(text) => {
            let lifetime = SignedDuration::try_from(time_value::parse(text, "expiration")?);
            let end = lifetime
                .ok()
                .and_then(|lifetime| api.clock.now().checked_add(lifetime).ok());
            Some(end.ok_or_else(|| ApiError::illegal(format!("[expiration] [{text}] is out of range")))?)
        }
    };
    let new = NewApiKey {
        name: body.name,
        role_descriptors: body.role_descriptors.try_into()?,
        metadata: body.metadata,
        expires,
    };
    let key = api.access.create_api_key(&caller.0, new).await?;
    let mut answer = json!({
        "id": key.id, "name": key.name, "api_key": key.key.expose(), "encoded": key.encoded().expose(),
    });
    if let Some(expires) = key.expires {
        answer["expiration"] = json!(expires.as_millisecond());
    }
    Ok(answer::json(&answer))
}

/// `GET /_security/api_key`.
pub(crate) async fn get_api_keys(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(&[
        "active_only",
        "id",
        "name",
        "owner",
        "realm_name",
        "username",
        "with_limited_by",
        "with_profile_uid",
    ])?;
    let text = |name: &str| params.text(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let filter = ApiKeyFilter {
        ids: text("id").into_iter().collect(),
        name: text("name").filter(|name| name != "*"),
        username: text("username"),
        realm: text("realm_name"),
        active_only: params.flag("active_only")?,
    };
    let owner = params.flag("owner")?;
    let filter = permitted(
        &caller,
        filter,
        owner,
        "cluster:admin/xpack/security/api_key/get",
        Purpose::Read,
    )?;
    let keys = api.access.api_keys(&filter).await?;
    let with_limited_by = params.flag("with_limited_by")?;
    let shown: Vec<_> = keys.into_iter().map(|key| described(key, with_limited_by)).collect();
    let status = if shown.is_empty() && !filter.ids.is_empty() {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::OK
    };
    Ok(answer::with_status(status, &json!({ "api_keys": shown })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    #[serde(default)]
    query: Option<Value>,
    #[serde(default)]
    from: usize,
    #[serde(default)]
    size: Option<usize>,
    #[serde(default, rename = "sort")]
    _sort: Option<Value>,
}

/// `GET|POST /_security/_query/api_key`: all that the caller may see; `query` may only be `match_all` or an `ids`/`term` on id and name.
pub(crate) async fn query_api_keys(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(&["with_limited_by", "with_profile_uid", "typed_keys"])?;
    let body = payload.json()?.unwrap_or_else(|| json!({}));
    let body: Search = serde_json::from_value(body).map_err(|error| ApiError::illegal(error.to_string()))?;
    let filter = query_filter(body.query.as_ref())?;
    let action = "cluster:admin/xpack/security/api_key/query";
    let mine = !sees_all(&caller, Purpose::Read);
    let filter = permitted(&caller, filter, mine, action, Purpose::Read)?;
    let keys = api.access.api_keys(&filter).await?;
    let total = keys.len();
    let with_limited_by = params.flag("with_limited_by")?;
    let page = keys.into_iter().skip(body.from).take(body.size.unwrap_or(10));
    let shown: Vec<_> = page.map(|key| described(key, with_limited_by)).collect();
    Ok(answer::json(
        &json!({ "total": total, "count": shown.len(), "api_keys": shown }),
    ))
}

fn query_filter(query: Option<&Value>) -> Result<ApiKeyFilter, ApiError> {
    let mut filter = ApiKeyFilter::default();
    let Some(query) = query else { return Ok(filter) };
    let unsupported = || ApiError::illegal(format!("the query [{query}] is not supported for API keys"));
    match query::Query::from_json(query)? {
        query::Query::MatchAll => {}
        query::Query::Ids(ids) => filter.ids = ids,
        query::Query::Term(field, Value::String(text)) if field == "name" => filter.name = Some(text),
        query::Query::Term(field, Value::String(text)) if field == "username" => filter.username = Some(text),
        query::Query::Prefix(field, text) if field == "name" => filter.name = Some(format!("{text}*")),
        _ => return Err(unsupported()),
    }
    Ok(filter)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Invalidate {
    #[serde(default)]
    ids: Option<Vec<String>>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    realm_name: Option<String>,
    #[serde(default)]
    owner: bool,
}

/// `DELETE /_security/api_key`.
pub(crate) async fn invalidate_api_keys(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    let body: Invalidate = payload.parse()?;
    let ids: Vec<_> = body.ids.into_iter().flatten().chain(body.id).collect();
    let nothing = ids.is_empty() && body.name.is_none() && body.username.is_none() && body.realm_name.is_none();
    if nothing && !body.owner {
        return Err(ApiError::illegal(
            "Validation Failed: 1: One of [api key id(s), api key name, username, realm name] must be specified if [owner] flag is false;",
        ));
    }
    let filter = ApiKeyFilter {
        ids,
        name: body.name,
        username: body.username,
        realm: body.realm_name,
        active_only: false,
    };
    let action = "cluster:admin/xpack/security/api_key/invalidate";
    let filter = permitted(&caller, filter, body.owner, action, Purpose::Change)?;
    let ids: Vec<_> = api
        .access
        .api_keys(&filter)
        .await?
        .into_iter()
        .map(|key| key.id)
        .collect();
    let done = api.access.invalidate_api_keys(&ids).await?;
    Ok(answer::json(&json!({
        "invalidated_api_keys": done.invalidated, "previously_invalidated_api_keys": done.previously_invalidated,
        "error_count": 0,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    #[serde(default)]
    ids: Vec<String>,
    #[serde(default)]
    role_descriptors: Option<Value>,
    #[serde(default)]
    metadata: Option<Value>,
}

/// `POST /_security/api_key/_bulk_update`.
pub(crate) async fn bulk_update_api_keys(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    let body: Update = payload.parse()?;
    if body.ids.is_empty() {
        return Err(ApiError::illegal("Field [ids] cannot be empty"));
    }
    let (mut updated, mut noops, mut details) = (Vec::new(), Vec::new(), Map::new());
    for id in &body.ids {
        match change(&api, &caller, id, &body).await {
            Ok(true) => updated.push(id.clone()),
            Ok(false) => noops.push(id.clone()),
            Err(error) if error.status == StatusCode::FORBIDDEN || error.status.is_server_error() => return Err(error),
            Err(error) => {
                details.insert(id.clone(), Value::Object(error.cause()));
            }
        }
    }
    let mut answer = json!({ "updated": updated, "noops": noops });
    if !details.is_empty() {
        answer["errors"] = json!({ "count": details.len(), "details": details });
    }
    Ok(answer::json(&answer))
}

/// `PUT /_security/api_key/{id}`.
pub(crate) async fn update_api_key(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    let value = payload.json()?.unwrap_or_else(|| json!({}));
    let body: Update = serde_json::from_value(value).map_err(|error| ApiError::illegal(error.to_string()))?;
    if !body.ids.is_empty() {
        return Err(ApiError::parsing(
            "[update_api_key_request_payload] unknown field [ids]",
        ));
    }
    let updated = change(&api, &caller, &id, &body).await?;
    Ok(answer::json(&json!({ "updated": updated })))
}

/// Only one's own keys can be changed, whatever else one may do.
async fn change(api: &ElasticsearchApi, caller: &Caller, id: &str, update: &Update) -> Result<bool, ApiError> {
    let action = "cluster:admin/xpack/security/api_key/update";
    caller.needs_cluster(ClusterPrivilege::ManageOwnApiKey, action)?;
    if caller.0.api_key_id.is_some() {
        return Err(ApiError::illegal(
            "authentication via API key not supported: only the owner user can update an API key",
        ));
    }
    let owned = api
        .access
        .api_key(id)
        .await?
        .filter(|key| key.username == caller.0.username);
    if owned.is_none() {
        return Err(ApiError::not_found(format!(
            "no API key owned by requesting user found for ID [{id}]"
        )));
    }
    let roles = update
        .role_descriptors
        .clone()
        .map(RoleDescriptors::try_from)
        .transpose()?;
    Ok(api
        .access
        .update_api_key(id, roles.as_ref(), update.metadata.clone())
        .await?)
}

/// What the keys are asked for.
#[derive(Clone, Copy)]
enum Purpose {
    Read,
    Change,
}

fn sees_all(caller: &Caller, purpose: Purpose) -> bool {
    let may = |privilege| caller.0.may(Privilege::Cluster(privilege));
    may(ClusterPrivilege::ManageApiKey) || (matches!(purpose, Purpose::Read) && may(ClusterPrivilege::ReadSecurity))
}

/// Narrows the filter to what the caller may see: everybody's keys, their own, or, for a key, itself.
fn permitted(
    caller: &Caller,
    mut filter: ApiKeyFilter,
    owner: bool,
    action: &str,
    purpose: Purpose,
) -> Result<ApiKeyFilter, ApiError> {
    if sees_all(caller, purpose) && !owner {
        return Ok(filter);
    }
    if let Some(own) = &caller.0.api_key_id {
        // A key that asks by its own id may always know itself.
        if filter.ids.iter().all(|id| id == own) && (owner || !filter.ids.is_empty()) {
            filter.ids = vec![own.clone()];
            return Ok(filter);
        }
    }
    caller.needs_cluster(ClusterPrivilege::ManageOwnApiKey, action)?;
    let asks_for_others = filter.username.as_ref().is_some_and(|name| *name != caller.0.username);
    if (!owner && !matches!(purpose, Purpose::Read)) || asks_for_others {
        caller.needs_cluster(ClusterPrivilege::ManageApiKey, action)?;
    }
    filter.username = Some(caller.0.username.clone());
    Ok(filter)
}

fn described(key: ApiKeyInfo, with_limited_by: bool) -> Value {
    let realm_type = match key.realm.as_str() {
        "default_native" => "native",
        "pki1" => "pki",
        other => other,
    };
    let mut about = json!({
        "id": key.id, "name": key.name, "type": "rest", "creation": key.created.as_millisecond(),
        "invalidated": key.invalidated, "username": key.username, "realm": key.realm, "realm_type": realm_type,
        "metadata": key.metadata, "role_descriptors": with_defaults((*key.role_descriptors).clone()),
    });
    if let Some(expires) = key.expires {
        about["expiration"] = json!(expires.as_millisecond());
    }
    if let Some(at) = key.invalidated_at {
        about["invalidation"] = json!(at.as_millisecond());
    }
    if let (true, Some(roles)) = (with_limited_by, key.limited_by) {
        about["limited_by"] = json!([with_defaults(roles)]);
    }
    about
}

/// Every part of a role is there in answers, said or not.
fn with_defaults(mut roles: Map<String, Value>) -> Map<String, Value> {
    for role in roles.values_mut().filter_map(Value::as_object_mut) {
        for key in ["cluster", "indices", "applications", "run_as"] {
            role.entry(key).or_insert_with(|| json!([]));
        }
        role.entry("metadata").or_insert_with(|| json!({}));
        role.entry("transient_metadata")
            .or_insert_with(|| json!({ "enabled": true }));
        for grant in role
            .get_mut("indices")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(grant) = grant.as_object_mut() {
                grant.entry("allow_restricted_indices").or_insert(Value::Bool(false));
            }
        }
    }
    roles
}
