//! `_explain`: whether one document matches a query, and how well.

use std::sync::Arc;

use access::IndexPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use query::{Query, SearchRequest, SourceFilter};
use serde_json::json;

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::document::{self, READ_PARAMETERS};
use crate::error::ApiError;
use crate::hits::explanation;
use crate::params::Params;
use crate::payload::Payload;
use crate::search_body::body_with;
use crate::{answer, names};

/// `GET|POST /{index}/_explain/{id}`.
pub(crate) async fn explain(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path((index, id)): Path<(String, String)>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let of_queries = ["analyze_wildcard", "default_operator", "df", "lenient", "q"];
    let params = params.only(&[READ_PARAMETERS, &of_queries].concat())?;
    let wants_source = ["_source", "_source_includes", "_source_excludes"]
        .iter()
        .any(|name| params.text(name).is_some());
    let mut body = body_with(payload.json()?, &params)?;
    if let Some(body) = body.as_object_mut() {
        body.shift_remove("_source");
        if let Some(unknown) = body.keys().find(|key| *key != "query") {
            return Err(ApiError::parsing(format!("request does not support [{unknown}]")));
        }
    }
    let query = body
        .get("query")
        .ok_or_else(|| ApiError::validation("query is missing"))?;
    let query = Query::from_json(query)?;
    let action = "indices:data/read/explain";
    let found = names::resolve_filtered(
        &api,
        &caller,
        &index,
        IndexPrivilege::Read,
        action,
        names::Options::default(),
    )
    .await?;
    let query = found.narrow(query)?;
    let document = document::read(&api, &caller, &index, &id).await?;
    let Some(document) = document else {
        let missing = json!({ "_index": index, "_id": id, "matched": false });
        return Ok(answer::with_status(StatusCode::NOT_FOUND, &missing));
    };
    let request = SearchRequest {
        indices: found.names,
        ignore_unavailable: true,
        query: Query::Bool {
            must: vec![query],
            filter: vec![Query::Ids(vec![id.clone()])],
            should: Vec::new(),
            must_not: Vec::new(),
            minimum_should_match: 0,
        },
        size: 1,
        source: SourceFilter::None,
        ..SearchRequest::default()
    };
    let hit = api
        .store
        .search(request)
        .await
        .map_err(|error| ApiError::from(error).in_search())?
        .hits
        .pop();
    let mut told = json!({ "_index": document.index, "_id": id, "matched": hit.is_some() });
    told["explanation"] = match hit {
        Some(hit) => explanation(hit.score),
        None => json!({ "value": 0.0, "description": "no matching term", "details": [] }),
    };
    if wants_source {
        told["get"] = document::found_part(&document, &params);
    }
    Ok(answer::json(&told))
}
