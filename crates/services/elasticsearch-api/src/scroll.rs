//! Scrolling: a search over a frozen view, page by page, each call the next page. Kept in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use query::SearchRequest;
use serde_json::{Value, json};

use crate::answer;
use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::hits::{Answer, Shown};
use crate::params::Params;
use crate::payload::Payload;

/// Scrolls that may be open: each keeps a frozen view. Source: Elasticsearch, `search.max_open_scroll_context`, less.
const MOST_OPEN: usize = 100;

/// All open scrolls by id.
#[derive(Debug, Default)]
pub(crate) struct Scrolls {
    open: Mutex<HashMap<String, Scroll>>,
}

/// One scroll between two pages.
#[derive(Clone, Debug)]
pub(crate) struct Scroll {
    /// With the frozen view, the sort that makes every place unique, and the place behind the last page.
    pub(crate) request: SearchRequest,
    pub(crate) shown: Arc<Shown>,
    /// Who may go on.
    pub(crate) owner: String,
    pub(crate) keep: Duration,
    until: Instant,
}

impl Scrolls {
    fn insert(&self, id: String, mut scroll: Scroll) -> Result<Vec<Scroll>, ApiError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let expired: Vec<String> = open
            .iter()
            .filter(|(_, one)| one.until < now)
            .map(|(id, _)| id.clone())
            .collect();
        let expired = expired.iter().filter_map(|id| open.remove(id)).collect();
        if open.len() >= MOST_OPEN {
            return Err(ApiError::too_busy(format!(
                "Trying to create too many scroll contexts. Must be less than or equal to: [{MOST_OPEN}]."
            )));
        }
        scroll.until = now + scroll.keep;
        open.insert(id, scroll);
        Ok(expired)
    }

    fn take(&self, id: &str, caller: &Caller) -> Option<Scroll> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let ours = open
            .get(id)
            .is_some_and(|one| one.owner == caller.0.username && one.until >= now);
        if ours { open.remove(id) } else { None }
    }

    fn ids(&self, caller: &Caller) -> Vec<String> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = open.iter().filter(|(_, one)| one.owner == caller.0.username);
        ours.map(|(id, _)| id.clone()).collect()
    }
}

/// Starts a scroll: `request` has its indices and its view.
pub(crate) async fn start(
    api: &ElasticsearchApi,
    caller: &Caller,
    request: SearchRequest,
    shown: Shown,
    keep: Duration,
) -> Result<Answer, ApiError> {
    let scroll = Scroll {
        request,
        shown: Arc::new(shown),
        owner: caller.0.username.clone(),
        keep,
        until: Instant::now(),
    };
    let id = format!("fl{}", uuid::Uuid::new_v4().simple());
    page(api, id, scroll).await
}

/// Runs the next page and keeps the place behind it.
async fn page(api: &ElasticsearchApi, id: String, mut scroll: Scroll) -> Result<Answer, ApiError> {
    let started = Instant::now();
    let mut response = api.store.search(scroll.request.clone()).await.map_err(ApiError::from)?;
    if let Some(last) = response.hits.last() {
        scroll.request.search_after = Some(last.sort.clone());
    }
    // Aggregations are told once, with the first page.
    scroll.request.aggregations.clear();
    let visible = scroll.shown.sort_keys;
    response.hits.iter_mut().for_each(|hit| hit.sort.truncate(visible));
    let shown = Arc::clone(&scroll.shown);
    for expired in api.scrolls.insert(id.clone(), scroll)? {
        close_view(api, &expired).await?;
    }
    Answer::of(api, response, shown, started.elapsed(), Some(id)).await
}

async fn close_view(api: &ElasticsearchApi, scroll: &Scroll) -> Result<(), ApiError> {
    if let Some(view) = &scroll.request.point_in_time {
        api.store.close_point_in_time(view).await?;
    }
    Ok(())
}

fn no_such(id: &str) -> ApiError {
    let error = ApiError::new(
        StatusCode::NOT_FOUND,
        "search_context_missing_exception",
        format!("No search context found for id [{id}]"),
    );
    error.in_search()
}

/// `GET|POST /_search/scroll`.
pub(crate) async fn next(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    go_on(&api, &caller, None, params, payload).await
}

/// `GET|POST /_search/scroll/{id}`.
pub(crate) async fn next_of(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    go_on(&api, &caller, Some(id), params, payload).await
}

async fn go_on(
    api: &ElasticsearchApi,
    caller: &Caller,
    id: Option<String>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(&["rest_total_hits_as_int", "scroll", "scroll_id"])?;
    let body = payload.json()?.unwrap_or_else(|| json!({}));
    let text = |key: &str| {
        body.get(key)
            .and_then(Value::as_str)
            .or_else(|| params.text(key))
            .map(str::to_owned)
    };
    let id = id
        .or_else(|| text("scroll_id"))
        .ok_or_else(|| ApiError::validation("scrollId is missing"))?;
    let mut scroll = api.scrolls.take(&id, caller).ok_or_else(|| no_such(&id))?;
    if let Some(keep) = text("scroll") {
        scroll.keep = crate::time_value::parse(&keep, "scroll")?;
    }
    let answer = page(api, id, scroll).await?;
    let text = answer.text(params.flag("rest_total_hits_as_int")?, None);
    Ok(answer::text_json(StatusCode::OK, text.into()))
}

/// `DELETE /_search/scroll`.
pub(crate) async fn clear(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(&["scroll_id"])?;
    let body = payload.json()?.unwrap_or_else(|| json!({}));
    let ids = match body.get("scroll_id") {
        Some(Value::String(id)) => vec![id.clone()],
        Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => params
            .list("scroll_id")
            .ok_or_else(|| ApiError::validation("no scroll ids specified"))?,
    };
    cleared(&api, &caller, ids).await
}

/// `DELETE /_search/scroll/{id}`.
pub(crate) async fn clear_one(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    let ids = if id == "_all" {
        let ids = api.scrolls.ids(&caller);
        if ids.is_empty() {
            return Ok(answer::json(&json!({ "succeeded": true, "num_freed": 0 })));
        }
        ids
    } else {
        id.split(',').map(str::to_owned).collect()
    };
    cleared(&api, &caller, ids).await
}

async fn cleared(api: &ElasticsearchApi, caller: &Caller, ids: Vec<String>) -> Result<Response, ApiError> {
    let mut freed = 0;
    for id in ids {
        if let Some(scroll) = api.scrolls.take(&id, caller) {
            close_view(api, &scroll).await?;
            freed += 1;
        }
    }
    let status = if freed > 0 {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    };
    Ok(answer::with_status(
        status,
        &json!({ "succeeded": true, "num_freed": freed }),
    ))
}
