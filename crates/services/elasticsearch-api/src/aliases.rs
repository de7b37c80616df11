//! Aliases: other names of indices, with filters and the index that writes go to. Kept in the catalog.

use std::sync::Arc;

use access::IndexPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use query::Query;
use serde_json::{Map, Value, json};

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::catalog::{Catalog, Kind};
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::Payload;
use crate::{answer, names};

const PARAMETERS: &[&str] = &[
    "allow_no_indices",
    "expand_wildcards",
    "ignore_unavailable",
    "local",
    "master_timeout",
    "timeout",
];

/// All aliases of now.
pub(crate) struct Aliases(Arc<Catalog>);

impl Aliases {
    pub(crate) async fn current(api: &ElasticsearchApi) -> Result<Self, ApiError> {
        Ok(Self(api.catalogs.current(&*api.store).await?))
    }

    pub(crate) fn of(catalog: &Arc<Catalog>) -> Self {
        Self(Arc::clone(catalog))
    }

    /// Whether somebody has closed the index.
    pub(crate) fn is_closed(&self, index: &str) -> bool {
        self.0.get(Kind::Closed, index).is_some()
    }

    /// The indices of an alias, each with what the alias says of it; `None` when there is no such alias.
    pub(crate) fn members(&self, alias: &str) -> Option<impl Iterator<Item = (&str, &Value)>> {
        self.0.get(Kind::Alias, alias).map(members_of)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = (&str, &Value)>)> {
        self.0
            .matching(Kind::Alias, "*")
            .map(|(name, body)| (name, members_of(body)))
    }

    /// The aliases of an index by name, in the shape of `GET /_alias`.
    pub(crate) fn of_index(&self, index: &str) -> Map<String, Value> {
        let has =
            |(alias, body): (&str, &Value)| Some((alias.to_owned(), body.pointer("/indices")?.get(index)?.clone()));
        self.0.matching(Kind::Alias, "*").filter_map(has).collect()
    }

    /// The index that a write to `name` goes to.
    ///
    /// # Errors
    /// When an alias of several indices names none for writes.
    pub(crate) fn write_index(&self, name: &str) -> Result<String, ApiError> {
        let Some(members) = self.members(name) else {
            return Ok(name.to_owned());
        };
        let members: Vec<(&str, &Value)> = members.collect();
        let chosen = members
            .iter()
            .find(|(_, part)| part.get("is_write_index") == Some(&json!(true)));
        let only = members
            .first()
            .filter(|(_, part)| members.len() == 1 && part.get("is_write_index").is_none());
        chosen.or(only).map(|(index, _)| (*index).to_owned()).ok_or_else(|| {
            ApiError::illegal(format!(
                "no write index is defined for alias [{name}]. The write index may be explicitly disabled using is_write_index=false or the alias points to multiple indices without one being designated as a write index"
            ))
        })
    }

    /// The one index that a document is read from.
    ///
    /// # Errors
    /// When the alias stands for several.
    pub(crate) fn read_index(&self, name: &str) -> Result<String, ApiError> {
        let Some(members) = self.members(name) else {
            return Ok(name.to_owned());
        };
        let members: Vec<&str> = members.map(|(index, _)| index).collect();
        match members.as_slice() {
            [one] => Ok((*one).to_owned()),
            several => Err(ApiError::illegal(format!(
                "alias [{name}] has more than one index associated with it [{}], can't execute a single index op",
                several.join(", ")
            ))),
        }
    }
}

fn members_of(body: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let indices = body.get("indices").and_then(Value::as_object).into_iter().flatten();
    indices.map(|(index, part)| (index.as_str(), part))
}

/// One change of an alias.
enum Change {
    Add {
        index: String,
        alias: String,
        part: Value,
    },
    Remove {
        index: String,
        alias: String,
        must_exist: bool,
    },
    RemoveIndex(String),
}

/// `POST /_aliases`.
pub(crate) async fn update(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    let body = payload.required()?;
    let actions = body
        .get("actions")
        .and_then(Value::as_array)
        .filter(|actions| !actions.is_empty());
    let actions = actions.ok_or_else(|| ApiError::illegal("No action specified"))?;
    let mut changes = Vec::new();
    for action in actions {
        let named = action
            .as_object()
            .filter(|map| map.len() == 1)
            .and_then(|map| map.iter().next());
        let (kind, body) = named.ok_or_else(|| ApiError::illegal("No action specified"))?;
        changes.extend(changes_of(&api, &caller, kind, body).await?);
    }
    apply(&api, changes).await?;
    Ok(acknowledged())
}

fn acknowledged() -> Response {
    answer::json(&json!({ "acknowledged": true, "errors": false }))
}

async fn changes_of(
    api: &ElasticsearchApi,
    caller: &Caller,
    kind: &str,
    body: &Value,
) -> Result<Vec<Change>, ApiError> {
    let list = |one: &str, many: &str| {
        let single = body.get(one).and_then(Value::as_str).map(str::to_owned);
        let several = body.get(many).and_then(Value::as_array).into_iter().flatten();
        let several = several.filter_map(Value::as_str).map(str::to_owned);
        single.into_iter().chain(several).collect::<Vec<String>>()
    };
    let indices = list("index", "indices");
    if indices.is_empty() {
        return Err(ApiError::validation("One of [index] or [indices] is required"));
    }
    let expression = indices.join(",");
    let privilege = if kind == "remove_index" {
        IndexPrivilege::DeleteIndex
    } else {
        IndexPrivilege::Manage
    };
    let found = names::resolve(
        api,
        caller,
        &expression,
        privilege,
        "indices:admin/aliases",
        names::Options::default(),
    );
    let found = found.await?;
    let aliases = list("alias", "aliases");
    if kind != "remove_index" && aliases.is_empty() {
        return Err(ApiError::validation("One of [alias] or [aliases] is required"));
    }
    let mut changes = Vec::new();
    for index in found {
        match kind {
            "add" => {
                let part = part_of(body)?;
                changes.extend(aliases.iter().map(|alias| Change::Add {
                    index: index.clone(),
                    alias: alias.clone(),
                    part: part.clone(),
                }));
            }
            "remove" => {
                let must_exist = body.get("must_exist").and_then(Value::as_bool).unwrap_or(true);
                changes.extend(aliases.iter().map(|alias| Change::Remove {
                    index: index.clone(),
                    alias: alias.clone(),
                    must_exist,
                }));
            }
            "remove_index" => changes.push(Change::RemoveIndex(index)),
            other => {
                return Err(ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "x_content_parse_exception",
                    format!("[alias_action] unknown field [{other}]"),
                ));
            }
        }
    }
    Ok(changes)
}

/// What an alias says of one index; its filter is checked.
fn part_of(body: &Value) -> Result<Value, ApiError> {
    let mut part = Map::new();
    for (key, value) in body.as_object().into_iter().flatten() {
        match key.as_str() {
            "index" | "indices" | "alias" | "aliases" | "must_exist" => {}
            "filter" => {
                Query::from_json(value)?;
                part.insert(key.clone(), value.clone());
            }
            "routing" => {
                part.insert("index_routing".to_owned(), value.clone());
                part.insert("search_routing".to_owned(), value.clone());
            }
            "is_write_index" | "is_hidden" | "index_routing" | "search_routing" => {
                part.insert(key.clone(), value.clone());
            }
            other => {
                return Err(ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "x_content_parse_exception",
                    format!("[alias] unknown field [{other}]"),
                ));
            }
        }
    }
    Ok(Value::Object(part))
}

async fn apply(api: &ElasticsearchApi, changes: Vec<Change>) -> Result<(), ApiError> {
    for change in changes {
        match change {
            Change::Add { index, alias, part } => put(api, &index, &alias, part).await?,
            Change::Remove {
                index,
                alias,
                must_exist,
            } => {
                let gone = remove(api, &index, &alias).await?;
                if !gone && must_exist {
                    return Err(missing(&alias));
                }
            }
            Change::RemoveIndex(index) => {
                api.store.delete_index(&index).await?;
                forget_index(api, &index).await?;
            }
        }
    }
    Ok(())
}

fn missing(alias: &str) -> ApiError {
    let mut error = ApiError::new(
        StatusCode::NOT_FOUND,
        "aliases_not_found_exception",
        format!("aliases [{alias}] missing"),
    );
    error.details.insert("resource.type".to_owned(), json!("aliases"));
    error.details.insert("resource.id".to_owned(), json!(alias));
    error
}

/// Adds an index to an alias, or changes what the alias says of it.
pub(crate) async fn put(api: &ElasticsearchApi, index: &str, alias: &str, part: Value) -> Result<(), ApiError> {
    names::check(alias)?;
    if names::exists(api, alias).await? {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_alias_name_exception",
            format!("Invalid alias name [{alias}]: an index or data stream exists with the same name as the alias"),
        ));
    }
    let catalog = api.catalogs.current(&*api.store).await?;
    let mut body = catalog
        .get(Kind::Alias, alias)
        .cloned()
        .unwrap_or_else(|| json!({ "indices": {} }));
    body["indices"][index] = part;
    api.catalogs.put(&*api.store, Kind::Alias, alias, &body).await?;
    Ok(())
}

/// Takes an index out of the aliases that fit; `false` when it is in none.
pub(crate) async fn remove(api: &ElasticsearchApi, index: &str, alias: &str) -> Result<bool, ApiError> {
    let catalog = api.catalogs.current(&*api.store).await?;
    let mut gone = false;
    for (name, body) in catalog.matching(Kind::Alias, if alias == "_all" { "*" } else { alias }) {
        let mut body = body.clone();
        let indices = body.get_mut("indices").and_then(Value::as_object_mut);
        let Some(indices) = indices.filter(|indices| indices.contains_key(index)) else {
            continue;
        };
        indices.shift_remove(index);
        gone = true;
        if indices.is_empty() {
            api.catalogs.delete(&*api.store, Kind::Alias, name).await?;
        } else {
            api.catalogs.put(&*api.store, Kind::Alias, name, &body).await?;
        }
    }
    Ok(gone)
}

/// A deleted index is in no alias.
pub(crate) async fn forget_index(api: &ElasticsearchApi, index: &str) -> Result<(), ApiError> {
    remove(api, index, "*").await.map(|_| ())
}

/// `PUT|POST /{index}/_alias/{name}`.
pub(crate) async fn put_one(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((index, alias)): Path<(String, String)>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    let mut body = payload.json()?.unwrap_or_else(|| json!({}));
    body["index"] = json!(index);
    body["alias"] = json!(alias);
    let changes = changes_of(&api, &caller, "add", &body).await?;
    apply(&api, changes).await?;
    Ok(acknowledged())
}

/// `DELETE /{index}/_alias/{name}`.
pub(crate) async fn delete_one(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((index, alias)): Path<(String, String)>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    let changes = changes_of(&api, &caller, "remove", &json!({ "index": index, "alias": alias })).await?;
    apply(&api, changes).await?;
    Ok(acknowledged())
}

/// `GET|HEAD /_alias`, `/_alias/{name}`.
pub(crate) async fn get(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    name: Option<Path<String>>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    shown(&api, &caller, "*", name.as_ref().map(|Path(name)| name.as_str())).await
}

/// `GET|HEAD /{index}/_alias`.
pub(crate) async fn get_in(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    shown(&api, &caller, &index, None).await
}

/// `GET|HEAD /{index}/_alias/{name}`.
pub(crate) async fn get_one_in(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((index, name)): Path<(String, String)>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(PARAMETERS)?;
    shown(&api, &caller, &index, Some(&name)).await
}

async fn shown(
    api: &ElasticsearchApi,
    caller: &Caller,
    indices: &str,
    wanted: Option<&str>,
) -> Result<Response, ApiError> {
    let aliases = Aliases::current(api).await?;
    let options = names::Options::default();
    let action = "indices:admin/aliases/get";
    let indices = names::resolve(api, caller, indices, IndexPrivilege::ViewMetadata, action, options).await?;
    let patterns: Vec<&str> = wanted.map_or_else(Vec::new, |wanted| wanted.split(',').collect());
    let mut found = Map::new();
    for index in indices {
        let mut of_index = aliases.of_index(&index);
        of_index.retain(|alias, _| {
            patterns.is_empty() || patterns.iter().any(|one| *one == "_all" || names::matches(one, alias))
        });
        if patterns.is_empty() || !of_index.is_empty() {
            found.insert(index, json!({ "aliases": of_index }));
        }
    }
    let there = |name: &&&str| !name.contains('*') && **name != "_all" && aliases.members(name).is_none();
    let absent: Vec<&str> = patterns.iter().filter(there).copied().collect();
    if absent.is_empty() {
        return Ok(answer::json(&found));
    }
    let (noun, absent) = (if absent.len() == 1 { "alias" } else { "aliases" }, absent.join(","));
    let mut body = json!({ "error": format!("{noun} [{absent}] missing"), "status": 404 });
    if let Value::Object(body) = &mut body {
        body.extend(found);
    }
    Ok(answer::with_status(StatusCode::NOT_FOUND, &body))
}
