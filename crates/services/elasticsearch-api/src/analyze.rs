//! `_analyze`: how a text becomes words.

use std::sync::Arc;

use access::ClusterPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use query::analysis;
use query::mapping::{Kind, Mapping};
use serde_json::{Value, json};

use crate::answer;
use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::Payload;

/// Between the words of two texts lie so many places. Source: Elasticsearch, `position_increment_gap`.
const GAP: usize = 100;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    analyzer: Option<String>,
    #[serde(default)]
    field: Option<String>,
    #[serde(default)]
    tokenizer: Option<String>,
    #[serde(default)]
    filter: Vec<Value>,
    #[serde(default)]
    text: Value,
}

/// How a text is cut.
#[derive(Clone, Copy)]
enum Cut {
    Standard,
    /// Standard, letters as they are.
    StandardCase,
    Spaces,
    /// Runs of letters.
    Letters,
    Whole,
}

/// `GET|POST /_analyze`, `/{index}/_analyze`.
pub(crate) async fn analyze(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    index: Option<Path<String>>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    params.only(&["index"])?;
    caller.needs_cluster(ClusterPrivilege::Monitor, "indices:admin/analyze")?;
    let body: Body = payload.parse()?;
    let texts: Vec<&str> = match &body.text {
        Value::String(text) => vec![text],
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
        _ => return Err(ApiError::validation("text is missing")),
    };
    let cut = match (&body.field, index) {
        (Some(field), Some(Path(index))) => of_field(&api, &index, field).await?,
        _ => cut_of(&body)?,
    };
    let mut tokens = Vec::new();
    let mut first = 0;
    for text in texts {
        let (kind, words) = words(text, cut);
        let count = words.len();
        let base = text.encode_utf16().count();
        for (at, (range, word)) in words.into_iter().enumerate() {
            let offset = |byte: usize| text.get(..byte).map_or(base, |part| part.encode_utf16().count());
            let kind = if word.chars().all(char::is_numeric) && kind != "word" {
                "<NUM>"
            } else {
                kind
            };
            tokens.push(json!({
                "token": word, "start_offset": offset(range.start), "end_offset": offset(range.end),
                "type": kind, "position": first + at,
            }));
        }
        first += count + GAP;
    }
    Ok(answer::json(&json!({ "tokens": tokens })))
}

async fn of_field(api: &ElasticsearchApi, index: &str, field: &str) -> Result<Cut, ApiError> {
    let mapping = api
        .store
        .mapping(index)
        .await?
        .ok_or_else(|| ApiError::no_such_index(index))?;
    let mapping = Mapping::parse(&mapping)?;
    Ok(match mapping.field(field).map(|field| field.kind()) {
        Some(Kind::Keyword) => Cut::Whole,
        _ => Cut::Standard,
    })
}

fn cut_of(body: &Body) -> Result<Cut, ApiError> {
    if let Some(tokenizer) = &body.tokenizer {
        let lower = match body.filter.as_slice() {
            [] => false,
            [one] if one == "lowercase" => true,
            [other, ..] => {
                return Err(ApiError::illegal(format!(
                    "failed to find global filter under [{other}]"
                )));
            }
        };
        return match (tokenizer.as_str(), lower) {
            ("standard", true) => Ok(Cut::Standard),
            ("standard", false) => Ok(Cut::StandardCase),
            ("whitespace", false) => Ok(Cut::Spaces),
            ("keyword", false) => Ok(Cut::Whole),
            ("letter" | "lowercase", _) => Ok(Cut::Letters),
            _ => Err(ApiError::illegal(format!(
                "failed to find global tokenizer under [{tokenizer}]"
            ))),
        };
    }
    match body.analyzer.as_deref() {
        None | Some("standard" | "default") => Ok(Cut::Standard),
        Some("whitespace") => Ok(Cut::Spaces),
        Some("simple") => Ok(Cut::Letters),
        Some("keyword") => Ok(Cut::Whole),
        Some(other) => Err(ApiError::illegal(format!("failed to find global analyzer [{other}]"))),
    }
}

type Words = Vec<(std::ops::Range<usize>, String)>;

fn words(text: &str, cut: Cut) -> (&'static str, Words) {
    let runs = |inside: fn(char) -> bool| {
        let mut found: Words = Vec::new();
        let mut start = None;
        for (at, letter) in text.char_indices().chain([(text.len(), '\0')]) {
            match (inside(letter) && at < text.len(), start) {
                (true, None) => start = Some(at),
                (false, Some(from)) => {
                    found.push((from..at, text[from..at].to_owned()));
                    start = None;
                }
                _ => {}
            }
        }
        found
    };
    match cut {
        Cut::Standard => ("<ALPHANUM>", analysis::standard(text)),
        Cut::StandardCase => {
            let words = analysis::standard(text).into_iter();
            (
                "<ALPHANUM>",
                words
                    .map(|(range, _)| (range.clone(), text[range].to_owned()))
                    .collect(),
            )
        }
        Cut::Spaces => ("word", runs(|letter| !letter.is_whitespace())),
        Cut::Letters => {
            let words = runs(char::is_alphabetic).into_iter();
            (
                "word",
                words.map(|(range, word)| (range, word.to_lowercase())).collect(),
            )
        }
        Cut::Whole => ("word", vec![(0..text.len(), text.to_owned())]),
    }
}
