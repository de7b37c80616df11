//! `_search`, `_msearch`, `_count`, points in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use access::IndexPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use query::{Query, SearchRequest, SourceFilter};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use store::{Hit, SearchResponse};

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
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
    "search_type",
    "seq_no_primary_term",
    "size",
    "sort",
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
    let answer = one(api, caller, expression, body, options).await?;
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
) -> Result<Answer, ApiError> {
    let started = Instant::now();
    let sizes = take_script_fields(&mut body)?;
    let mut request = SearchRequest::from_json(&body)?;
    let shown = request.source.clone();
    if !sizes.is_empty() {
        request.source = SourceFilter::All;
    }
    let with_version = request.version;
    let with_seq_no = request.seq_no_primary_term;
    let has_aggregations = !request.aggregations.is_empty();
    let counts = request.track_total_hits > 0;
    let response = if request.point_in_time.is_some() {
        // The rights were checked when the point in time was opened, and its id cannot be guessed.
        Some(api.store.search(request).await?)
    } else {
        request.indices = names::resolve(api, caller, expression, IndexPrivilege::Read, ACTION, options).await?;
        request.ignore_unavailable = true;
        if request.indices.is_empty() {
            None
        } else {
            Some(api.store.search(request).await?)
        }
    };
    Ok(Answer {
        response: response.unwrap_or_default(),
        has_aggregations,
        counts,
        with_version,
        with_seq_no,
        shown,
        sizes,
        took: started.elapsed(),
    })
}

/// A search's outcome and how it is to be shown.
pub(crate) struct Answer {
    response: SearchResponse,
    has_aggregations: bool,
    counts: bool,
    with_version: bool,
    with_seq_no: bool,
    shown: SourceFilter,
    /// Script fields that hold the size of the document's `data`.
    sizes: Vec<String>,
    took: Duration,
}

#[derive(Serialize)]
struct HitAnswer<'a> {
    _index: &'a str,
    _id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    _version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    _seq_no: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    _primary_term: Option<u64>,
    _score: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    _source: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "<[Value]>::is_empty")]
    sort: &'a [Value],
}

impl Answer {
    /// The JSON text; `status` is there in `_msearch` only.
    pub(crate) fn text(&self, total_as_int: bool, status: Option<u16>) -> Vec<u8> {
        #[derive(Serialize)]
        struct Whole<'a> {
            took: u64,
            timed_out: bool,
            _shards: Value,
            hits: Hits<'a>,
            #[serde(skip_serializing_if = "Option::is_none")]
            aggregations: Option<&'a Map<String, Value>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            status: Option<u16>,
        }
        #[derive(Serialize)]
        struct Hits<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            total: Option<Value>,
            max_score: Option<f32>,
            #[serde(rename = "hits")]
            list: Vec<HitAnswer<'a>>,
        }
        let relation = if self.response.total_is_lower_bound {
            "gte"
        } else {
            "eq"
        };
        let total = if total_as_int {
            json!(self.response.total)
        } else {
            json!({ "value": self.response.total, "relation": relation })
        };
        let hits: Vec<_> = self.response.hits.iter().map(|hit| self.hit(hit)).collect();
        let whole = Whole {
            took: u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            timed_out: false,
            _shards: json!({ "total": 1, "successful": 1, "skipped": 0, "failed": 0 }),
            hits: Hits {
                total: self.counts.then_some(total),
                max_score: self.response.hits.iter().filter_map(|hit| hit.score).reduce(f32::max),
                list: hits,
            },
            aggregations: self.has_aggregations.then_some(&self.response.aggregations),
            status,
        };
        serde_json::to_vec(&whole).expect("our own types can always be written")
    }

    fn hit<'a>(&self, hit: &'a Hit) -> HitAnswer<'a> {
        let document = &hit.document;
        let mut fields = hit.fields.clone();
        if !self.sizes.is_empty() {
            let size = data_size(&document.source.to_value());
            fields.extend(self.sizes.iter().map(|name| (name.clone(), json!([size]))));
        }
        let shows_source = self.shown != SourceFilter::None;
        HitAnswer {
            _index: &document.index,
            _id: &document.id,
            _version: self.with_version.then_some(document.version),
            _seq_no: self.with_seq_no.then_some(document.seq_no),
            _primary_term: self.with_seq_no.then_some(1),
            _score: hit.score,
            _source: if shows_source {
                serde_json::from_slice(document.source.bytes()).ok()
            } else {
                None
            },
            fields: (!fields.is_empty()).then_some(fields),
            sort: &hit.sort,
        }
    }
}

/// How many bytes the base64 text in `data` stands for.
fn data_size(source: &Value) -> usize {
    let text = source.get("data").and_then(Value::as_str).unwrap_or_default();
    let padding = text.bytes().rev().take_while(|&byte| byte == b'=').count();
    text.len() / 4 * 3 - padding.min(2)
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
        let query = json!({ "query_string": { "query": text, "default_operator": operator } });
        body.insert("query".to_owned(), query);
    }
    for name in ["size", "from"] {
        if let Some(number) = params.number::<u64>(name)? {
            body.insert(name.to_owned(), json!(number));
        }
    }
    for name in ["seq_no_primary_term", "version"] {
        if let Some(flag) = params.boolean(name)? {
            body.insert(name.to_owned(), json!(flag));
        }
    }
    if let Some(sort) = params.list("sort") {
        body.insert("sort".to_owned(), json!(sort));
    }
    if let Some(fields) = params.list("docvalue_fields") {
        body.insert("docvalue_fields".to_owned(), json!(fields));
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
    let mut responses: Vec<u8> = Vec::new();
    for (header, body) in pairs(&payload)? {
        if !responses.is_empty() {
            responses.push(b',');
        }
        match headed(api, caller, expression, &header, body).await {
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
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "action_request_validation_exception",
            "Validation Failed: 1: no requests added;",
        ));
    }
    Ok(pairs)
}

async fn headed(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    header: &Map<String, Value>,
    body: Value,
) -> Result<Answer, ApiError> {
    let mut expression = expression.to_owned();
    let mut options = names::Options::default();
    for (key, value) in header {
        match (key.as_str(), value) {
            ("index" | "indices", Value::String(name)) => expression.clone_from(name),
            ("index" | "indices", Value::Array(list)) => {
                let listed: Vec<_> = list.iter().filter_map(Value::as_str).collect();
                expression = listed.join(",");
            }
            ("ignore_unavailable", value) => options.ignore_unavailable = value == true || value == "true",
            ("allow_no_indices", value) => options.refuse_no_indices = value == false || value == "false",
            ("wait_for_checkpoints", value) => crate::fleet::wait_for(api, caller, &expression, value).await?,
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
    one(api, caller, &expression, body, options).await
}

const COUNT_PARAMETERS: &[&str] = &[
    "allow_no_indices",
    "analyze_wildcard",
    "default_operator",
    "expand_wildcards",
    "ignore_unavailable",
    "lenient",
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
    let indices = names::resolve(api, caller, expression, IndexPrivilege::Read, ACTION, options).await?;
    let count = if indices.is_empty() {
        0
    } else {
        api.store.count(&indices, &query).await?
    };
    Ok(answer::json(&json!({
        "count": count, "_shards": { "total": 1, "successful": 1, "skipped": 0, "failed": 0 },
    })))
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
        .ok_or_else(|| ApiError::illegal("[keep_alive] is required to open a point in time"))?;
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
    fn sizes_of_base64_are_the_sizes_of_the_bytes() {
        let check = |text: &str, expected: usize| assert_eq!(data_size(&json!({ "data": text })), expected, "{text}");
        check("", 0);
        check("YQ==", 1);
        check("YWI=", 2);
        check("YWJj", 3);
    }

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
