//! `_search`, `_msearch`, `_count`, points in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use access::IndexPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use query::{Query, SearchRequest, Sort, SortOrder, SourceFilter};
use serde_json::{Map, Value, json};
use store::SearchResponse;

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::hits::{Answer, Shown};
use crate::params::Params;
use crate::payload::{Payload, unreadable};
use crate::search_body::{body_with, read};
use crate::{answer, names};

pub(crate) const SEARCH_PARAMETERS: &[&str] = &[
    "_source",
    "_source_excludes",
    "_source_includes",
    "allow_no_indices",
    "allow_partial_search_results",
    "analyze_wildcard",
    "batched_reduce_size",
    "ccs_minimize_roundtrips",
    "default_operator",
    "df",
    "docvalue_fields",
    "expand_wildcards",
    "explain",
    "from",
    "ignore_throttled",
    "ignore_unavailable",
    "lenient",
    "max_concurrent_shard_requests",
    "pre_filter_shard_size",
    "preference",
    "q",
    "request_cache",
    "rest_total_hits_as_int",
    "routing",
    "scroll",
    "search_type",
    "seq_no_primary_term",
    "size",
    "sort",
    "stored_fields",
    "terminate_after",
    "timeout",
    "track_scores",
    "track_total_hits",
    "typed_keys",
    "version",
];
const ACTION: &str = "indices:data/read/search";
/// Searches of one `_msearch`.
const MOST_SEARCHES: usize = 10_000;
/// A point in time may not be kept for longer. Source: Elasticsearch, `search.max_keep_alive`.
const LONGEST_KEEP_ALIVE: Duration = Duration::from_hours(24);

/// `GET|POST /_search`.
pub(crate) async fn search_all(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(SEARCH_PARAMETERS)?;
    run(&api, &caller, "", params, payload).await
}

/// `GET|POST /{index}/_search`.
pub(crate) async fn search_in(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(SEARCH_PARAMETERS)?;
    run(&api, &caller, &index, params, payload).await
}

async fn run(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let text = whole(api, caller, expression, &params, &payload).await?;
    Ok(answer::text_json(StatusCode::OK, text.into()))
}

/// The answer's text.
pub(crate) async fn whole(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    params: &Params,
    payload: &Payload,
) -> Result<Vec<u8>, ApiError> {
    let mut body = body_with(payload.json()?, params)?;
    let options = names::Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        refuse_no_indices: params.boolean("allow_no_indices")? == Some(false),
    };
    let typed_keys = params.flag("typed_keys")?;
    if let Some(explain) = params.boolean("explain")? {
        body["explain"] = json!(explain);
    }
    let answer = match params.duration("scroll")? {
        None => one(api, caller, expression, body, options, typed_keys).await?,
        Some(keep) => scrolled(api, caller, expression, body, options, typed_keys, keep).await?,
    };
    Ok(answer.text(params.flag("rest_total_hits_as_int")?, None))
}

/// One search; `body` is the `_search` body with the URL's parameters in it.
pub(crate) async fn one(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    mut body: Value,
    options: names::Options,
    typed_keys: bool,
) -> Result<Answer, ApiError> {
    let started = Instant::now();
    if body.get("pit").is_some() {
        if !expression.is_empty() {
            return Err(ApiError::validation(
                "[indices] cannot be used with point in time. Do not specify any index with point in time.",
            ));
        }
        add_tie_breaker(&mut body);
    }
    let (mut request, shown) = read(body, typed_keys)?;
    let mut scope = SearchRequest::default();
    let response = if request.point_in_time.is_some() {
        scope.query.clone_from(&request.query);
        scope.point_in_time.clone_from(&request.point_in_time);
        // The rights were checked when the point in time was opened, and its id cannot be guessed.
        search(api, request, &shown).await?
    } else {
        let found = names::resolve_filtered(api, caller, expression, IndexPrivilege::Read, ACTION, options).await?;
        request.query = found.narrow(request.query)?;
        request.indices = found.names;
        request.ignore_unavailable = true;
        scope.query.clone_from(&request.query);
        scope.indices.clone_from(&request.indices);
        if request.indices.is_empty() {
            SearchResponse::default()
        } else {
            search(api, request, &shown).await?
        }
    };
    let inner = inner_hits(api, &shown, &scope, &response).await?;
    let mut answer = Answer::of(api, response, Arc::new(shown), started.elapsed(), None).await?;
    answer.inner = inner;
    Ok(answer)
}

/// The hits of each group, where they were asked for.
async fn inner_hits(
    api: &ElasticsearchApi,
    shown: &Shown,
    scope: &SearchRequest,
    response: &SearchResponse,
) -> Result<Vec<Map<String, Value>>, ApiError> {
    let Some(collapse) = shown.collapse.as_ref().filter(|collapse| !collapse.inner.is_empty()) else {
        return Ok(Vec::new());
    };
    let mut all = Vec::with_capacity(response.hits.len());
    for hit in &response.hits {
        let mut groups = Map::new();
        for (name, body) in &collapse.inner {
            let (mut request, shown) = read(body.clone(), false)?;
            request.indices.clone_from(&scope.indices);
            request.point_in_time.clone_from(&scope.point_in_time);
            request.ignore_unavailable = true;
            request.query = collapse.of_group(&scope.query, hit);
            let found = search(api, request, &shown).await?;
            let answer = Answer::of(api, found, Arc::new(shown), Duration::ZERO, None).await?;
            groups.insert(name.clone(), json!({ "hits": answer.hits(false) }));
        }
        all.push(groups);
    }
    Ok(all)
}

/// A search over a frozen view whose next pages are asked for by `_search/scroll`.
async fn scrolled(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    body: Value,
    options: names::Options,
    typed_keys: bool,
    keep: Duration,
) -> Result<Answer, ApiError> {
    let (mut request, mut shown) = read(body, typed_keys)?;
    if shown.collapse.is_some() {
        return Err(ApiError::validation("cannot use `collapse` in a scroll context"));
    }
    if request.size == 0 {
        return Err(ApiError::validation("[size] cannot be [0] in a scroll context"));
    }
    if request.from > 0 {
        return Err(ApiError::validation("using [from] is not allowed in a scroll context"));
    }
    if keep > LONGEST_KEEP_ALIVE {
        return Err(ApiError::illegal(
            "Keep alive for scroll is too large, it must be at most [1d]",
        ));
    }
    let found = names::resolve_filtered(api, caller, expression, IndexPrivilege::Read, ACTION, options).await?;
    request.query = found.narrow(request.query)?;
    shown.sort_keys = request.sort.len();
    let key = |field: &str, order| Sort {
        field: field.to_owned(),
        order,
        ..Sort::default()
    };
    if request.sort.is_empty() && request.query.scores_differ() {
        request.sort.push(key("_score", SortOrder::Descending));
    }
    request.sort.push(key("_index", SortOrder::Ascending));
    request.sort.push(key("_shard_doc", SortOrder::Ascending));
    request.track_scores |= shown.sort_keys == 0;
    // Between two pages as much time may pass as was asked for, and the view must outlive that.
    let view = api
        .store
        .open_point_in_time(&found.names, keep.max(Duration::from_mins(1)))
        .await?;
    request.point_in_time = Some(view);
    crate::scroll::start(api, caller, request, shown, keep).await
}

/// A point in time that sorts gets a last key that makes every place unique.
fn add_tie_breaker(body: &mut Value) {
    let keys = match body.get("sort") {
        None => return,
        Some(Value::Array(keys)) => keys.clone(),
        Some(one) => vec![one.clone()],
    };
    let count: usize = keys.iter().map(|key| key.as_object().map_or(1, Map::len)).sum();
    let after = body.get("search_after").and_then(Value::as_array).map(Vec::len);
    let has_one = keys
        .iter()
        .any(|key| key == "_shard_doc" || key.get("_shard_doc").is_some());
    if !has_one && after.is_none_or(|after| after == count + 1) {
        let keys: Vec<Value> = keys.into_iter().chain([json!("_shard_doc")]).collect();
        body["sort"] = Value::Array(keys);
    }
}

/// Runs it. A `post_filter` is a search of its own: aggregations do not see it.
async fn search(api: &ElasticsearchApi, mut request: SearchRequest, shown: &Shown) -> Result<SearchResponse, ApiError> {
    let failed = |error: store::StoreError| ApiError::from(error).in_search();
    let Some(filter) = request.post_filter.take() else {
        return hits_of(api, request, shown).await;
    };
    let mut aggregating = request.clone();
    aggregating.size = 0;
    aggregating.from = 0;
    aggregating.search_after = None;
    request.aggregations.clear();
    request.query = Query::Bool {
        must: vec![request.query],
        filter: vec![filter],
        should: Vec::new(),
        must_not: Vec::new(),
        minimum_should_match: 0,
    };
    let mut response = hits_of(api, request, shown).await?;
    if !aggregating.aggregations.is_empty() {
        response.aggregations = api.store.search(aggregating).await.map_err(failed)?.aggregations;
    }
    Ok(response)
}

async fn hits_of(api: &ElasticsearchApi, request: SearchRequest, shown: &Shown) -> Result<SearchResponse, ApiError> {
    if let Some(collapse) = &shown.collapse {
        return collapse.search(api, request).await;
    }
    let found = api.store.search(request).await;
    found.map_err(|error| ApiError::from(error).in_search())
}

/// `_source` of a body, as `_mget` has it.
pub(crate) fn source_filter(value: &Value) -> Result<SourceFilter, ApiError> {
    Ok(SearchRequest::from_json(&json!({ "_source": value }))?.source)
}

/// `GET|POST /_msearch`.
pub(crate) async fn msearch(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    multiple(&api, &caller, "", params, payload).await
}

/// `GET|POST /{index}/_msearch`.
pub(crate) async fn msearch_in(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    multiple(&api, &caller, &index, params, payload).await
}

/// Searches one after the other: each is its own success or failure.
pub(crate) async fn multiple(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(&[
        "allow_no_indices",
        "ccs_minimize_roundtrips",
        "ignore_unavailable",
        "index",
        "max_concurrent_searches",
        "max_concurrent_shard_requests",
        "pre_filter_shard_size",
        "rest_total_hits_as_int",
        "search_type",
        "typed_keys",
        "wait_for_checkpoints",
    ])?;
    let started = Instant::now();
    let total_as_int = params.flag("rest_total_hits_as_int")?;
    let typed_keys = params.flag("typed_keys")?;
    let mut responses: Vec<u8> = Vec::new();
    let pairs = pairs(&payload)?;
    // What cannot be read is a refusal of the whole, as in the original.
    for (header, body) in &pairs {
        Header::read(expression, header)?;
        read(body.clone(), typed_keys)?;
    }
    for (header, body) in pairs {
        if !responses.is_empty() {
            responses.push(b',');
        }
        match headed(api, caller, expression, &header, body, typed_keys).await {
            Ok(answer) => responses.extend(answer.text(total_as_int, Some(200))),
            Err(error) => {
                let text = serde_json::to_vec(&error.body()).expect("a JSON value can always be written");
                responses.extend(text);
            }
        }
    }
    let mut text = format!("{{\"took\":{},\"responses\":[", started.elapsed().as_millis()).into_bytes();
    text.extend(responses);
    text.extend_from_slice(b"]}");
    Ok(answer::text_json(StatusCode::OK, text.into()))
}

/// Header and body of one search of `_msearch`.
type Pair = (Map<String, Value>, Value);

/// Header and body of each search.
fn pairs(payload: &Payload) -> Result<Vec<Pair>, ApiError> {
    let mut lines = payload.bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let mut pairs = Vec::new();
    while let Some(header) = lines.next() {
        let header = match header {
            b"" if lines.clone().all(<[u8]>::is_empty) => break,
            b"" => Map::new(),
            text => serde_json::from_slice(text).map_err(|error| unreadable(&error))?,
        };
        let Some(body) = lines.next().filter(|line| !line.is_empty()) else {
            return Err(ApiError::illegal(
                "The msearch request must be terminated by a newline [\\n] and hold a body for each header",
            ));
        };
        pairs.push((
            header,
            serde_json::from_slice(body).map_err(|error| unreadable(&error))?,
        ));
        if pairs.len() > MOST_SEARCHES {
            return Err(ApiError::illegal(format!(
                "more than {MOST_SEARCHES} searches in one request"
            )));
        }
    }
    if pairs.is_empty() {
        return Err(ApiError::validation("no requests added"));
    }
    Ok(pairs)
}

/// What the line before a search says.
struct Header {
    expression: String,
    options: names::Options,
    wait_for: Option<Value>,
}

impl Header {
    fn read(expression: &str, header: &Map<String, Value>) -> Result<Self, ApiError> {
        let mut read = Self {
            expression: expression.to_owned(),
            options: names::Options::default(),
            wait_for: None,
        };
        for (key, value) in header {
            match (key.as_str(), value) {
                ("index" | "indices", Value::String(name)) => read.expression.clone_from(name),
                ("index" | "indices", Value::Array(list)) => {
                    let listed: Vec<_> = list.iter().filter_map(Value::as_str).collect();
                    read.expression = listed.join(",");
                }
                ("ignore_unavailable", value) => read.options.ignore_unavailable = value == true || value == "true",
                ("allow_no_indices", value) => read.options.refuse_no_indices = value == false || value == "false",
                ("wait_for_checkpoints", value) => read.wait_for = Some(value.clone()),
                (
                    "expand_wildcards"
                    | "preference"
                    | "routing"
                    | "search_type"
                    | "request_cache"
                    | "index_options"
                    | "allow_partial_search_results"
                    | "ccs_minimize_roundtrips"
                    | "ignore_throttled"
                    | "wait_for_checkpoints_timeout",
                    _,
                ) => {}
                (other, _) => {
                    return Err(ApiError::illegal(format!(
                        "key [{other}] is not supported in the metadata section"
                    )));
                }
            }
        }
        Ok(read)
    }
}

async fn headed(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    header: &Map<String, Value>,
    body: Value,
    typed_keys: bool,
) -> Result<Answer, ApiError> {
    let header = Header::read(expression, header)?;
    if let Some(checkpoints) = &header.wait_for {
        crate::fleet::wait_for(api, caller, &header.expression, checkpoints).await?;
    }
    one(api, caller, &header.expression, body, header.options, typed_keys).await
}

/// `POST /{index}/_pit`.
pub(crate) async fn open_point_in_time(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(&[
        "allow_partial_search_results",
        "expand_wildcards",
        "ignore_unavailable",
        "keep_alive",
        "preference",
        "routing",
    ])?;
    let keep_alive = params
        .duration("keep_alive")?
        .ok_or_else(|| ApiError::validation("[keep_alive] is not specified"))?;
    if keep_alive > LONGEST_KEEP_ALIVE {
        return Err(ApiError::illegal("[keep_alive] is too large, it must be at most [1d]"));
    }
    let options = names::Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        ..Default::default()
    };
    let action = "indices:data/read/open_point_in_time";
    let indices = names::resolve(&api, &caller, &index, IndexPrivilege::Read, action, options).await?;
    let id = api.store.open_point_in_time(&indices, keep_alive).await?;
    let shards = json!({ "total": 1, "successful": 1, "skipped": 0, "failed": 0 });
    Ok(answer::json(&json!({ "id": id, "_shards": shards })))
}

/// `DELETE /_pit`.
pub(crate) async fn close_point_in_time(
    State(api): State<Arc<ElasticsearchApi>>,
    _caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Close {
        id: String,
    }
    params.only(&[])?;
    let body: Close = payload.parse()?;
    let closed = api.store.close_point_in_time(&body.id).await?;
    let status = if closed { StatusCode::OK } else { StatusCode::NOT_FOUND };
    Ok(answer::with_status(
        status,
        &json!({ "succeeded": closed, "num_freed": u8::from(closed) }),
    ))
}
