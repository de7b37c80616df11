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
use crate::{answer, names};

const SEARCH_PARAMETERS: &[&str] = &[
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
    let body = body_with(payload.json()?, &params)?;
    let options = names::Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        refuse_no_indices: params.boolean("allow_no_indices")? == Some(false),
    };
    let typed_keys = params.flag("typed_keys")?;
    let answer = match params.duration("scroll")? {
        None => one(api, caller, expression, body, options, typed_keys).await?,
        Some(keep) => scrolled(api, caller, expression, body, options, typed_keys, keep).await?,
    };
    Ok(answer::text_json(
        StatusCode::OK,
        answer.text(params.flag("rest_total_hits_as_int")?, None).into(),
    ))
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
    let response = if request.point_in_time.is_some() {
        // The rights were checked when the point in time was opened, and its id cannot be guessed.
        search(api, request).await?
    } else {
        let found = names::resolve_filtered(api, caller, expression, IndexPrivilege::Read, ACTION, options).await?;
        request.query = found.narrow(request.query)?;
        request.indices = found.names;
        request.ignore_unavailable = true;
        if request.indices.is_empty() {
            SearchResponse::default()
        } else {
            search(api, request).await?
        }
    };
    Answer::of(api, response, Arc::new(shown), started.elapsed(), None).await
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

/// What the body asks for, and how the answer is to be shown.
fn read(mut body: Value, typed_keys: bool) -> Result<(SearchRequest, Shown), ApiError> {
    let sizes = take_script_fields(&mut body)?;
    let mut request = SearchRequest::from_json(&body).map_err(|error| {
        const TOLD_BY_SHARDS: [&str; 4] = [
            "Result window",
            "search_after has",
            "Sort must contain",
            "Failed to parse query",
        ];
        let by_shards = TOLD_BY_SHARDS.iter().any(|start| error.message.starts_with(start));
        let error = ApiError::from(error);
        if by_shards { error.in_search() } else { error }
    })?;
    let shown = Shown {
        counts: request.track_total_hits,
        with_version: request.version,
        with_seq_no: request.seq_no_primary_term,
        point_in_time: request.point_in_time.clone(),
        source: request.source.clone(),
        highlight: request.highlight.take(),
        query: request.query.clone(),
        aggs: body.get("aggs").or_else(|| body.get("aggregations")).cloned(),
        sort_keys: usize::MAX,
        typed_keys,
        sizes,
    };
    if shown.needs_source() {
        request.source = SourceFilter::All;
    }
    Ok((request, shown))
}

/// Runs it. A `post_filter` is a search of its own: aggregations do not see it.
async fn search(api: &ElasticsearchApi, mut request: SearchRequest) -> Result<SearchResponse, ApiError> {
    let failed = |error: store::StoreError| ApiError::from(error).in_search();
    let Some(filter) = request.post_filter.take() else {
        return api.store.search(request).await.map_err(failed);
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
    let mut response = api.store.search(request).await.map_err(failed)?;
    if !aggregating.aggregations.is_empty() {
        response.aggregations = api.store.search(aggregating).await.map_err(failed)?.aggregations;
    }
    Ok(response)
}

/// Takes the one script that Fleet Server sends out of the body; returns the names of its fields.
fn take_script_fields(body: &mut Value) -> Result<Vec<String>, ApiError> {
    let Some(Value::Object(fields)) = body.as_object_mut().and_then(|body| body.remove("script_fields")) else {
        return Ok(Vec::new());
    };
    for (name, field) in &fields {
        if field.pointer("/script/source").and_then(Value::as_str) != Some("params._source.data.length") {
            return Err(ApiError::illegal(format!(
                "script field [{name}] holds a script that is not supported"
            )));
        }
    }
    Ok(fields.into_iter().map(|(name, _)| name).collect())
}

/// The body with what the URL says.
fn body_with(body: Option<Value>, params: &Params) -> Result<Value, ApiError> {
    let mut body = match body {
        None => Map::new(),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(ApiError::parsing("Expected [START_OBJECT] as the search body")),
    };
    if let Some(text) = params.text("q") {
        let operator = params.text("default_operator").unwrap_or("or");
        let mut query = json!({ "query": text, "default_operator": operator });
        if let Some(field) = params.text("df") {
            query["default_field"] = json!(field);
        }
        body.insert("query".to_owned(), json!({ "query_string": query }));
    }
    for name in ["size", "from"] {
        if let Some(number) = params.number::<u64>(name)? {
            body.insert(name.to_owned(), json!(number));
        }
    }
    for name in ["seq_no_primary_term", "track_scores", "version"] {
        if let Some(flag) = params.boolean(name)? {
            body.insert(name.to_owned(), json!(flag));
        }
    }
    if let Some(sort) = params.list("sort") {
        body.insert("sort".to_owned(), json!(sort));
    }
    for name in ["docvalue_fields", "stored_fields"] {
        if let Some(fields) = params.list(name) {
            body.insert(name.to_owned(), json!(fields));
        }
    }
    if let Some(text) = params.text("track_total_hits") {
        let value = text
            .parse::<u64>()
            .map_or_else(|_| json!(text != "false"), |number| json!(number));
        body.insert("track_total_hits".to_owned(), value);
    }
    if let Some(source) = source_param(params) {
        body.insert("_source".to_owned(), source);
    }
    Ok(Value::Object(body))
}

fn source_param(params: &Params) -> Option<Value> {
    let includes = params.list("_source_includes");
    let excludes = params.list("_source_excludes");
    match params.text("_source") {
        Some("" | "true") => Some(json!(true)),
        Some("false") => Some(json!(false)),
        Some(_) => params.list("_source").map(|list| json!(list)),
        None if includes.is_none() && excludes.is_none() => None,
        None => Some(json!({ "includes": includes.unwrap_or_default(), "excludes": excludes.unwrap_or_default() })),
    }
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

const COUNT_PARAMETERS: &[&str] = &[
    "allow_no_indices",
    "analyze_wildcard",
    "default_operator",
    "df",
    "expand_wildcards",
    "ignore_unavailable",
    "lenient",
    "min_score",
    "preference",
    "q",
    "routing",
    "terminate_after",
];

/// `GET|POST /_count`.
pub(crate) async fn count_all(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    count(&api, &caller, "", params, payload).await
}

/// `GET|POST /{index}/_count`.
pub(crate) async fn count_in(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(index): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    count(&api, &caller, &index, params, payload).await
}

async fn count(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(COUNT_PARAMETERS)?;
    let body = body_with(payload.json()?, &params)?;
    let query = match body.as_object() {
        Some(map) => {
            if let Some(key) = map.keys().find(|key| *key != "query") {
                return Err(ApiError::parsing(format!("request does not support [{key}]")));
            }
            map.get("query").map_or(Ok(Query::MatchAll), Query::from_json)?
        }
        None => Query::MatchAll,
    };
    let options = names::Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        ..Default::default()
    };
    let found = names::resolve_filtered(api, caller, expression, IndexPrivilege::Read, ACTION, options).await?;
    let query = found.narrow(query)?;
    let count = if found.names.is_empty() {
        0
    } else {
        let counted = api.store.count(&found.names, &query).await;
        counted.map_err(|error| ApiError::from(error).in_search())?
    };
    Ok(answer::json(&json!({
        "count": count, "_shards": { "total": 1, "successful": 1, "skipped": 0, "failed": 0 },
    })))
}

/// `GET|POST /_validate/query`, `/{index}/_validate/query`: whether the query can be read.
pub(crate) async fn validate(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    index: Option<Path<String>>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(&[COUNT_PARAMETERS, &["all_shards", "explain", "rewrite"]].concat())?;
    let expression = index.map_or_else(String::new, |Path(index)| index);
    let options = names::Options::default();
    let action = "indices:admin/validate/query";
    names::resolve(&api, &caller, &expression, IndexPrivilege::Read, action, options).await?;
    let body = body_with(payload.json()?, &params)?;
    let read = body.get("query").map_or(Ok(Query::MatchAll), Query::from_json);
    let mut answer = json!({ "_shards": { "total": 1, "successful": 1, "failed": 0 }, "valid": read.is_ok() });
    if let (Err(error), true) = (read, params.flag("explain")?) {
        answer["error"] = json!(error.message);
    }
    Ok(answer::json(&answer))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_goes_into_the_body() {
        let params = Params::parse("q=a:b&size=3&sort=x:desc,y&_source=f,g&track_total_hits=true").unwrap();
        let body = body_with(Some(json!({ "from": 1 })), &params).unwrap();
        assert_eq!(
            body,
            json!({
                "from": 1, "query": {"query_string": {"query": "a:b", "default_operator": "or"}}, "size": 3,
                "sort": ["x:desc", "y"], "track_total_hits": true, "_source": ["f", "g"],
            })
        );
    }
}
