//! `collapse`: of all hits with the same value of a field only the first is shown, with the others below it on demand.
//!
//! Stores know nothing of it: hits are taken page by page until there are enough different values.

use query::mapping::{Kind, Mapping};
use query::{Query, SearchRequest, ShownField};
use serde_json::{Map, Value, json};
use store::{Hit, SearchResponse};

use crate::api::ElasticsearchApi;
use crate::error::ApiError;

/// Hits of one round.
const PAGE: usize = 1_000;
/// Hits that are looked through.
const MOST: usize = 100_000;

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Collapse {
    field: String,
    /// Each with its name: the hits of a group.
    pub(crate) inner: Vec<(String, Value)>,
}

impl Collapse {
    /// Takes it out of a search body.
    pub(crate) fn take(body: &mut Value) -> Result<Option<Self>, ApiError> {
        let Some(asked) = body.as_object_mut().and_then(|body| body.shift_remove("collapse")) else {
            return Ok(None);
        };
        let asked = asked
            .as_object()
            .ok_or_else(|| ApiError::parsing("[collapse] must be an object"))?;
        const KNOWN: [&str; 3] = ["field", "inner_hits", "max_concurrent_group_searches"];
        if let Some(unknown) = asked.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            let reason = format!("[collapse] unknown field [{unknown}]");
            return Err(ApiError::new(
                http::StatusCode::BAD_REQUEST,
                "x_content_parse_exception",
                reason,
            ));
        }
        let field = asked.get("field").and_then(Value::as_str);
        let field = field.ok_or_else(|| ApiError::illegal("no collapse field specified").in_search())?;
        let inner = match asked.get("inner_hits") {
            None => Vec::new(),
            Some(Value::Array(list)) => list.clone(),
            Some(one) => vec![one.clone()],
        };
        let inner = inner.into_iter().map(named).collect::<Result<_, _>>()?;
        if let Some(after) = body.get("search_after").filter(|after| !after.is_null()) {
            check_cursor(field, after, body.get("sort"))?;
        }
        Ok(Some(Self {
            field: field.to_owned(),
            inner,
        }))
    }

    /// Runs the search and keeps the first hit of each group.
    pub(crate) async fn search(
        &self,
        api: &ElasticsearchApi,
        mut request: SearchRequest,
    ) -> Result<SearchResponse, ApiError> {
        self.check_field(api, &request.indices).await?;
        let (from, wanted) = (request.from, request.from + request.size);
        request.fields.push(ShownField {
            pattern: self.field.clone(),
            format: None,
            column: true,
        });
        request.size = if wanted == 0 { 0 } else { PAGE };
        request.from = 0;
        let mut whole = search(api, request.clone()).await?;
        request.aggregations.clear();
        let mut seen: Vec<Value> = Vec::new();
        let mut kept: Vec<Hit> = Vec::new();
        let mut page = std::mem::take(&mut whole.hits);
        loop {
            let full = page.len() == PAGE;
            for hit in page {
                let key = self.key(&hit)?;
                if kept.len() < wanted && !seen.contains(&key) {
                    seen.push(key);
                    kept.push(hit);
                }
            }
            if kept.len() >= wanted || !full {
                break;
            }
            request.from += PAGE;
            if request.from >= MOST {
                return Err(ApiError::illegal(format!(
                    "[collapse] looks through at most [{MOST}] hits; narrow the query"
                )));
            }
            page = search(api, request.clone()).await?.hits;
        }
        whole.hits = kept.into_iter().skip(from).collect();
        Ok(whole)
    }

    /// The query for the hits of the group that `hit` stands for.
    pub(crate) fn of_group(&self, query: &Query, hit: &Hit) -> Query {
        let group = match self.key(hit) {
            Ok(value) if !value.is_null() => Query::term(self.field.as_str(), value),
            _ => Query::none_of(vec![Query::exists(self.field.as_str())]),
        };
        Query::Bool {
            must: vec![query.clone()],
            filter: vec![group],
            should: Vec::new(),
            must_not: Vec::new(),
            minimum_should_match: 0,
        }
    }

    fn key(&self, hit: &Hit) -> Result<Value, ApiError> {
        match hit.fields.get(&self.field).and_then(Value::as_array).map(Vec::as_slice) {
            None | Some([]) => Ok(Value::Null),
            Some([one]) => Ok(one.clone()),
            Some(_) => {
                let reason = format!(
                    "failed to extract doc:{}, the grouping field must be single valued",
                    hit.document.id
                );
                Err(ApiError::illegal(reason).in_search())
            }
        }
    }

    async fn check_field(&self, api: &ElasticsearchApi, indices: &[String]) -> Result<(), ApiError> {
        let field = &self.field;
        let mut known = false;
        for index in indices {
            let Some(mapping) = api.store.mapping(index).await? else {
                continue;
            };
            let Ok(mapping) = Mapping::parse(&mapping) else {
                continue;
            };
            let Some(found) = mapping.field(field) else { continue };
            known = true;
            if !matches!(found.kind(), Kind::Keyword | Kind::Whole { .. } | Kind::Fraction) {
                let name = found.type_name();
                let reason = format!("collapse is not supported for the field [{field}] of the type [{name}]");
                return Err(ApiError::illegal(reason).in_search());
            }
        }
        if known {
            return Ok(());
        }
        let reason = format!("no mapping found for `{field}` in order to collapse on");
        Err(ApiError::illegal(reason).in_search())
    }
}

async fn search(api: &ElasticsearchApi, request: SearchRequest) -> Result<SearchResponse, ApiError> {
    api.store
        .search(request)
        .await
        .map_err(|error| ApiError::from(error).in_search())
}

fn named(mut body: Value) -> Result<(String, Value), ApiError> {
    let name = body.as_object_mut().and_then(|body| body.shift_remove("name"));
    let Some(Value::String(name)) = name else {
        return Err(ApiError::illegal("inner_hits must have a [name] in order to collapse"));
    };
    if let Value::Object(body) = &mut body {
        body.shift_remove("ignore_unmapped");
        body.entry("size").or_insert_with(|| json!(3));
    }
    Ok((name, body))
}

/// Pages by a cursor need the groups themselves to be the order.
fn check_cursor(field: &str, after: &Value, sort: Option<&Value>) -> Result<(), ApiError> {
    let key = match sort {
        Some(Value::Array(keys)) if keys.len() == 1 => keys.first(),
        Some(Value::Array(_)) | None => None,
        one => one,
    };
    let same = key.is_some_and(|key| {
        let by_name = key.as_str().is_some_and(|key| key.split(':').next() == Some(field));
        by_name
            || key
                .as_object()
                .is_some_and(|key: &Map<String, Value>| key.len() == 1 && key.contains_key(field))
    });
    if same && after.as_array().is_some_and(|after| after.len() == 1) {
        return Ok(());
    }
    let reason = "Cannot use [collapse] in conjunction with [search_after] unless the search is sorted on the same field. Multiple sort fields are not allowed.";
    Err(ApiError::illegal(reason).in_search())
}
