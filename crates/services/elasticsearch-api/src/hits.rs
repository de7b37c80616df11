//! What a search found, in the shape of the original's answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use query::mapping::Mapping;
use query::matcher::Matcher;
use query::{DocumentMeta, Highlight, Pipelines, Query, SourceFilter};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use store::{Hit, SearchResponse, Source};

use crate::api::ElasticsearchApi;
use crate::collapse::Collapse;
use crate::error::ApiError;

/// How a search's outcome is to be shown.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) counts: u64,
    pub(crate) with_version: bool,
    pub(crate) with_seq_no: bool,
    pub(crate) point_in_time: Option<String>,
    pub(crate) source: SourceFilter,
    pub(crate) highlight: Option<Highlight>,
    pub(crate) query: Query,
    /// As the client wrote them.
    pub(crate) aggs: Option<Value>,
    /// So many of the sort values are the client's.
    pub(crate) sort_keys: usize,
    pub(crate) typed_keys: bool,
    /// Worked out on the results of the other aggregations.
    pub(crate) pipelines: Pipelines,
    /// Each hit says what its score comes from.
    pub(crate) explain: bool,
    /// Clauses of which each hit says whether it matches them.
    pub(crate) named: Vec<(String, Query)>,
    pub(crate) collapse: Option<Collapse>,
    /// Script fields that hold the size of the document's `data`.
    pub(crate) sizes: Vec<String>,
}

impl Shown {
    /// The whole source is looked at, and cut down afterwards.
    pub(crate) fn needs_source(&self) -> bool {
        !self.sizes.is_empty() || self.highlight.is_some() || !self.named.is_empty()
    }
}

/// A search's outcome and how it is to be shown.
pub(crate) struct Answer {
    response: SearchResponse,
    shown: Arc<Shown>,
    /// Of each hit, where it was asked for.
    highlights: Vec<Map<String, Value>>,
    /// Of each hit, the named clauses that it matches.
    matched: Vec<Vec<String>>,
    /// Of each hit, the others of its group.
    pub(crate) inner: Vec<Map<String, Value>>,
    took: Duration,
    scroll_id: Option<String>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    highlight: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "<[Value]>::is_empty")]
    sort: &'a [Value],
    #[serde(skip_serializing_if = "Option::is_none")]
    matched_queries: Option<&'a Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inner_hits: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    _explanation: Option<Value>,
}

#[derive(Serialize)]
struct Whole<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    _scroll_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pit_id: Option<&'a str>,
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

impl Answer {
    /// Adds to a response what is made of it here.
    pub(crate) async fn of(
        api: &ElasticsearchApi,
        mut response: SearchResponse,
        shown: Arc<Shown>,
        took: Duration,
        scroll_id: Option<String>,
    ) -> Result<Self, ApiError> {
        shown.pipelines.apply(&mut response.aggregations);
        crate::typed_keys::decorate(shown.aggs.as_ref(), &mut response.aggregations, shown.typed_keys);
        let highlights = match &shown.highlight {
            None => Vec::new(),
            Some(wanted) => highlights(api, &response.hits, &shown.query, wanted).await?,
        };
        let matched = matched_queries(api, &response.hits, &shown.named).await?;
        let looked_into = shown.highlight.is_some() || !shown.named.is_empty();
        if looked_into && shown.source != SourceFilter::None {
            for hit in &mut response.hits {
                let kept = shown
                    .source
                    .apply(hit.document.source.to_value())
                    .unwrap_or_else(|| json!({}));
                hit.document.source = Source::from_checked(kept.to_string().into());
            }
        }
        Ok(Self {
            response,
            shown,
            highlights,
            matched,
            inner: Vec::new(),
            took,
            scroll_id,
        })
    }

    /// The JSON text; `status` is there in `_msearch` only.
    pub(crate) fn text(&self, total_as_int: bool, status: Option<u16>) -> Vec<u8> {
        let whole = Whole {
            _scroll_id: self.scroll_id.as_deref(),
            pit_id: self.shown.point_in_time.as_deref(),
            took: u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            timed_out: false,
            _shards: json!({ "total": 1, "successful": 1, "skipped": 0, "failed": 0 }),
            hits: self.list(total_as_int),
            aggregations: self.shown.aggs.is_some().then_some(&self.response.aggregations),
            status,
        };
        serde_json::to_vec(&whole).expect("our own types can always be written")
    }

    /// The hits alone, as those of a group are shown.
    pub(crate) fn hits(&self, total_as_int: bool) -> Value {
        serde_json::to_value(self.list(total_as_int)).expect("our own types can always be written")
    }

    fn list(&self, total_as_int: bool) -> Hits<'_> {
        let hits = self.response.hits.iter().enumerate();
        Hits {
            total: self.total(total_as_int),
            max_score: self.response.hits.iter().filter_map(|hit| hit.score).reduce(f32::max),
            list: hits.map(|(at, hit)| self.hit(at, hit)).collect(),
        }
    }

    /// Counted up to what was asked for.
    fn total(&self, as_int: bool) -> Option<Value> {
        let (most, found) = (self.shown.counts, self.response.total);
        if as_int {
            return Some(json!(found));
        }
        let more = found > most || self.response.total_is_lower_bound;
        let relation = if more { "gte" } else { "eq" };
        (most > 0).then(|| json!({ "value": found.min(most), "relation": relation }))
    }

    fn hit<'a>(&'a self, at: usize, hit: &'a Hit) -> HitAnswer<'a> {
        let (document, shown) = (&hit.document, &self.shown);
        let mut fields = hit.fields.clone();
        if !shown.sizes.is_empty() {
            let size = data_size(&document.source.to_value());
            fields.extend(shown.sizes.iter().map(|name| (name.clone(), json!([size]))));
        }
        let shows_source = shown.source != SourceFilter::None;
        HitAnswer {
            _index: &document.index,
            _id: &document.id,
            _version: shown.with_version.then_some(document.version),
            _seq_no: shown.with_seq_no.then_some(document.seq_no),
            _primary_term: shown.with_seq_no.then_some(1),
            _score: hit.score,
            _source: if shows_source {
                serde_json::from_slice(document.source.bytes()).ok()
            } else {
                None
            },
            fields: (!fields.is_empty()).then_some(fields),
            highlight: self.highlights.get(at).filter(|marked| !marked.is_empty()),
            sort: &hit.sort,
            matched_queries: self.matched.get(at).filter(|names| !names.is_empty()),
            inner_hits: self.inner.get(at),
            _explanation: shown.explain.then(|| explanation(hit.score)),
        }
    }
}

/// What a score comes from, as far as it is told here.
pub(crate) fn explanation(score: Option<f32>) -> Value {
    // As the hit's score is written: with the digits of a `float`.
    let value: f64 = score.unwrap_or(1.0).to_string().parse().unwrap_or(1.0);
    json!({ "value": value, "description": "score of the whole query", "details": [] })
}

/// The named clauses that each hit matches.
async fn matched_queries(
    api: &ElasticsearchApi,
    hits: &[Hit],
    named: &[(String, Query)],
) -> Result<Vec<Vec<String>>, ApiError> {
    let mut all = Vec::new();
    if named.is_empty() {
        return Ok(all);
    }
    let now = Some(api.clock.now());
    for hit in hits {
        let document = &hit.document;
        let mapping = api.store.mapping(&document.index).await?;
        let mapping = mapping.and_then(|body| Mapping::parse(&body).ok());
        let meta = DocumentMeta {
            id: &document.id,
            seq_no: document.seq_no,
            index: &document.index,
        };
        let source = document.source.to_value();
        let holds = |query: &Query| {
            let matcher = Matcher::compile(query, mapping.as_ref(), now);
            matcher.is_ok_and(|matcher| matcher.holds(&source, &meta))
        };
        let names = named.iter().filter(|(_, query)| holds(query));
        all.push(names.map(|(name, _)| name.clone()).collect());
    }
    Ok(all)
}

/// The marked words of each hit.
async fn highlights(
    api: &ElasticsearchApi,
    hits: &[Hit],
    query: &Query,
    wanted: &Highlight,
) -> Result<Vec<Map<String, Value>>, ApiError> {
    let mut mappings: HashMap<&str, Option<Mapping>> = HashMap::new();
    let mut all = Vec::with_capacity(hits.len());
    for hit in hits {
        let index = hit.document.index.as_str();
        if !mappings.contains_key(index) {
            let mapping = api
                .store
                .mapping(index)
                .await?
                .and_then(|body| Mapping::parse(&body).ok());
            mappings.insert(index, mapping);
        }
        let mapping = mappings.get(index).and_then(Option::as_ref);
        all.push(query::highlight::highlight(
            query,
            wanted,
            mapping,
            &hit.document.source.to_value(),
        ));
    }
    Ok(all)
}

/// How many bytes the base64 text in `data` stands for.
fn data_size(source: &Value) -> usize {
    let text = source.get("data").and_then(Value::as_str).unwrap_or_default();
    let padding = text.bytes().rev().take_while(|&byte| byte == b'=').count();
    text.len() / 4 * 3 - padding.min(2)
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
}
