//! `_terms_enum`: which values of a field begin with a text.

use std::sync::Arc;

use access::IndexPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use query::mapping::{Kind, Mapping};
use query::{Query, SearchRequest};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::Payload;
use crate::{answer, names};

/// Values that may be asked for. Source: Elasticsearch reference, terms enum API.
const MOST: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    field: Option<String>,
    #[serde(default)]
    string: Option<String>,
    #[serde(default = "ten")]
    size: usize,
    #[serde(default)]
    case_insensitive: bool,
    /// It is always quick.
    #[serde(default, rename = "timeout")]
    _timeout: Option<String>,
    #[serde(default)]
    index_filter: Option<Value>,
    #[serde(default)]
    search_after: Option<String>,
}

fn ten() -> usize {
    10
}

/// `GET|POST /{index}/_terms_enum`.
pub(crate) async fn terms_enum(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(&["allow_no_indices", "expand_wildcards", "ignore_unavailable"])?;
    let body = payload.json()?.unwrap_or_else(|| json!({}));
    let asked: Asked = serde_json::from_value(body).map_err(|error| {
        let reason = format!("[terms_enum_request] {error}");
        ApiError::new(http::StatusCode::BAD_REQUEST, "x_content_parse_exception", reason)
    })?;
    let Some(field) = asked.field.as_deref() else {
        return Err(ApiError::validation("field cannot be null"));
    };
    if asked.size == 0 || asked.size > MOST {
        return Err(ApiError::validation(&format!("size must be from 1 to {MOST}")));
    }
    let options = names::Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        ..names::Options::default()
    };
    let action = "indices:data/read/xpack/termsenum/list";
    let found = names::resolve_filtered(&api, &caller, &index, IndexPrivilege::Read, action, options).await?;
    let filter = asked
        .index_filter
        .as_ref()
        .map_or(Ok(Query::MatchAll), Query::from_json)?;
    let query = found.narrow(filter)?;
    let mut terms: Vec<String> = Vec::new();
    for name in &found.names {
        if has_keywords(&api, name, field).await? {
            terms.extend(of_index(&api, name, field, &asked, query.clone()).await?);
        }
    }
    terms.sort();
    terms.dedup();
    terms.retain(|term| asked.search_after.as_ref().is_none_or(|after| term > after));
    terms.truncate(asked.size);
    let shards = json!({ "total": 1, "successful": 1, "failed": 0 });
    Ok(answer::json(
        &json!({ "_shards": shards, "terms": terms, "complete": true }),
    ))
}

/// Only whole values are told: keywords.
async fn has_keywords(api: &ElasticsearchApi, index: &str, field: &str) -> Result<bool, ApiError> {
    let mapping = api.store.mapping(index).await?;
    let mapping = mapping.and_then(|body| Mapping::parse(&body).ok());
    let kind = mapping
        .as_ref()
        .and_then(|mapping| mapping.field(field))
        .map(|field| field.kind());
    Ok(matches!(kind, Some(Kind::Keyword | Kind::Flattened)))
}

async fn of_index(
    api: &ElasticsearchApi,
    index: &str,
    field: &str,
    asked: &Asked,
    query: Query,
) -> Result<Vec<String>, ApiError> {
    let mut terms = json!({ "field": field, "size": MOST, "order": { "_key": "asc" } });
    if let Some(start) = asked.string.as_deref().filter(|start| !start.is_empty()) {
        terms["include"] = Value::from(beginning_with(start, asked.case_insensitive));
    }
    let body = json!({ "size": 0, "aggs": { "terms": { "terms": terms } } });
    let mut request = SearchRequest::from_json(&body)?;
    request.indices = vec![index.to_owned()];
    request.ignore_unavailable = true;
    request.query = query;
    let response = api.store.search(request).await?;
    let buckets = response
        .aggregations
        .get("terms")
        .and_then(|terms| terms.get("buckets"));
    let keys = buckets.and_then(Value::as_array).into_iter().flatten();
    Ok(keys
        .filter_map(|bucket| bucket["key"].as_str().map(str::to_owned))
        .collect())
}

/// An expression in the syntax of `include`.
fn beginning_with(start: &str, case_insensitive: bool) -> String {
    let mut expression = String::new();
    for letter in start.chars() {
        let (low, high): (String, String) = (letter.to_lowercase().collect(), letter.to_uppercase().collect());
        if case_insensitive && low != high {
            expression.extend(["[", &low, &high, "]"]);
        } else {
            if !letter.is_alphanumeric() {
                expression.push('\\');
            }
            expression.push(letter);
        }
    }
    expression + ".*"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_expressions() {
        assert_eq!(beginning_with("a.b", false), "a\\.b.*");
        assert_eq!(beginning_with("a1", true), "[aA]1.*");
    }
}
