//! Searches and counts.
//!
//! All go through `_msearch`: it takes the index names in its body, where a list of hundreds fits, and a part of a URL does not.

use bytes::Bytes;
use query::{Query, SearchRequest, ShownField};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use store::{Document, Hit, SearchResponse, SeqNo, StoreError};

use crate::document::source_of;
use crate::dsl;
use crate::error::ErrorField;
use crate::store::Inner;
use crate::wire::{Call, parse_with};

/// One `responses` entry, as far as it is read.
#[derive(Deserialize)]
struct Response<'a> {
    #[serde(default)]
    status: u16,
    error: Option<ErrorField>,
    #[serde(default)]
    timed_out: bool,
    #[serde(borrow)]
    hits: Option<Hits<'a>>,
    #[serde(default)]
    aggregations: Map<String, Value>,
}

#[derive(Deserialize)]
struct Hits<'a> {
    total: Option<Total>,
    #[serde(borrow)]
    hits: Vec<FoundHit<'a>>,
}

#[derive(Deserialize)]
struct Total {
    value: u64,
    relation: String,
}

#[derive(Deserialize)]
struct FoundHit<'a> {
    #[serde(rename = "_index")]
    index: String,
    #[serde(rename = "_id")]
    id: String,
    #[serde(default, rename = "_version")]
    version: u64,
    #[serde(default, rename = "_seq_no")]
    seq_no: SeqNo,
    #[serde(default, rename = "_primary_term")]
    term: u64,
    #[serde(default, rename = "_score")]
    score: Option<f32>,
    #[serde(default, borrow, rename = "_source")]
    source: Option<&'a RawValue>,
    #[serde(default)]
    sort: Vec<Value>,
    #[serde(default)]
    fields: Map<String, Value>,
}

#[derive(Deserialize)]
struct Responses<'a> {
    #[serde(borrow)]
    responses: Vec<Response<'a>>,
}

/// A page with the primary terms of its hits, or the error of this one search.
type Page = Result<(SearchResponse, Vec<u64>), (u16, ErrorField)>;

impl Inner {
    pub(crate) async fn search(&self, request: &SearchRequest) -> Result<SearchResponse, StoreError> {
        let mut pages = self.search_many(std::slice::from_ref(request)).await?;
        match pages.pop() {
            Some(page) => page,
            None => Err(unanswered()),
        }
    }

    /// Several searches in one request, each with its own answer.
    pub(crate) async fn search_many(
        &self,
        requests: &[SearchRequest],
    ) -> Result<Vec<Result<SearchResponse, StoreError>>, StoreError> {
        let mut lines = Vec::new();
        for request in requests {
            lines.extend_from_slice(header(request).to_string().as_bytes());
            lines.push(b'\n');
            lines.extend_from_slice(self.body(request)?.to_string().as_bytes());
            lines.push(b'\n');
        }
        let answer = self.send(Call::ask("/_msearch").lines(Bytes::from(lines))).await?;
        if !answer.is_success() {
            return Err(answer.into_error("_msearch"));
        }
        let pages = parse_with(answer.body, pages).await?;
        if pages.len() != requests.len() {
            return Err(unanswered());
        }
        Ok(requests
            .iter()
            .zip(pages)
            .map(|(request, page)| self.page(request, page))
            .collect())
    }

    pub(crate) async fn count(&self, indices: &[String], query: &Query) -> Result<u64, StoreError> {
        let request = SearchRequest {
            indices: indices.to_vec(),
            ignore_unavailable: true,
            query: query.clone(),
            size: 0,
            track_total_hits: u64::MAX,
            ..SearchRequest::default()
        };
        Ok(self.search(&request).await?.total)
    }

    fn page(&self, request: &SearchRequest, page: Page) -> Result<SearchResponse, StoreError> {
        match page {
            Ok((response, terms)) => {
                for (hit, term) in response.hits.iter().zip(terms) {
                    self.terms.observe(&hit.document.index, hit.document.seq_no, term);
                }
                Ok(response)
            }
            Err((status, error)) => {
                let asked = match &request.point_in_time {
                    Some(id) => id.clone(),
                    None => request.indices.join(","),
                };
                let failure = error.into_failure();
                // What is no id of a point in time at all is one that is not there.
                if request.point_in_time.is_some() && status == 400 && failure.reads_as_a_bad_id() {
                    return Err(StoreError::NoSuchPointInTime(asked));
                }
                Err(failure.into_error(status, &asked))
            }
        }
    }

    fn body(&self, request: &SearchRequest) -> Result<Value, StoreError> {
        let mut body = json!({
            "query": dsl::query(&request.query)?,
            "size": request.size,
            "track_total_hits": track_total_hits(request.track_total_hits),
            "_source": dsl::source(&request.source),
            // Every document of the trait has its number and version, asked for or not.
            "seq_no_primary_term": true,
            "version": true,
        });
        if request.from > 0 {
            body["from"] = json!(request.from);
        }
        if !request.sort.is_empty() {
            body["sort"] = dsl::sort(&request.sort, self.peer.kind);
        }
        if let Some(after) = &request.search_after {
            body["search_after"] = json!(after);
        }
        for (key, column) in [("fields", false), ("docvalue_fields", true)] {
            let shown: Vec<Value> = request
                .fields
                .iter()
                .filter(|one| one.column == column)
                .map(shown_field)
                .collect();
            if !shown.is_empty() {
                body[key] = Value::Array(shown);
            }
        }
        if let Some(filter) = &request.post_filter {
            body["post_filter"] = dsl::query(filter)?;
        }
        if let Some(least) = request.min_score {
            body["min_score"] = json!(least);
        }
        if request.track_scores {
            body["track_scores"] = json!(true);
        }
        if !request.aggregations.is_empty() {
            body["aggs"] = dsl::aggregations(&request.aggregations)?;
        }
        if let Some(id) = &request.point_in_time {
            body["pit"] = json!({ "id": id });
        }
        Ok(body)
    }
}

fn shown_field(field: &ShownField) -> Value {
    match &field.format {
        Some(format) => json!({ "field": field.pattern, "format": format }),
        None => json!(field.pattern),
    }
}

fn header(request: &SearchRequest) -> Value {
    if request.point_in_time.is_some() {
        return json!({});
    }
    let names: Vec<&str> = request
        .indices
        .iter()
        .flat_map(|part| part.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    // Nothing named means everything, but never what is hidden.
    let names = if names.is_empty() { vec!["*"] } else { names };
    // A part of the answer would pass for the whole.
    json!({ "index": names, "ignore_unavailable": request.ignore_unavailable, "allow_partial_search_results": false })
}

/// A count is kept in 32 bits there.
fn track_total_hits(wanted: u64) -> Value {
    match wanted {
        u64::MAX => json!(true),
        0 => json!(false),
        some => json!(some.min(i32::MAX as u64)),
    }
}

fn pages(body: &Bytes) -> Result<Vec<Page>, serde_json::Error> {
    let parsed: Responses<'_> = serde_json::from_slice(body)?;
    Ok(parsed
        .responses
        .into_iter()
        .map(|response| page(body, response))
        .collect())
}

fn page(body: &Bytes, response: Response<'_>) -> Page {
    if let Some(error) = response.error {
        return Err((response.status, error));
    }
    if response.timed_out {
        return Err((503, ErrorField::Text("the search timed out".to_owned())));
    }
    let Some(hits) = response.hits else {
        return Err((503, ErrorField::Text("the answer to a search holds no hits".to_owned())));
    };
    let terms = hits.hits.iter().map(|hit| hit.term).collect();
    let found: Vec<Hit> = hits.hits.into_iter().map(|found| hit(body, found)).collect();
    let (total, total_is_lower_bound) = match hits.total {
        Some(total) => (total.value, total.relation != "eq"),
        None => (found.len() as u64, true),
    };
    let response = SearchResponse {
        hits: found,
        total,
        total_is_lower_bound,
        aggregations: response.aggregations,
    };
    Ok((response, terms))
}

fn hit(body: &Bytes, found: FoundHit<'_>) -> Hit {
    Hit {
        document: Document {
            index: found.index,
            id: found.id,
            version: found.version,
            seq_no: found.seq_no,
            source: source_of(body, found.source),
        },
        sort: found.sort,
        score: found.score,
        fields: found.fields,
    }
}

fn unanswered() -> StoreError {
    StoreError::Unavailable("the store left searches unanswered".to_owned())
}
