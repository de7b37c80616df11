//! What a `_search` asks for: its body, with what the URL says in it.

use query::{Pipelines, SearchRequest, SourceFilter};
use serde_json::{Map, Value, json};

use crate::collapse::Collapse;
use crate::error::ApiError;
use crate::hits::Shown;
use crate::params::Params;

/// What the body asks for, and how the answer is to be shown.
pub(crate) fn read(mut body: Value, typed_keys: bool) -> Result<(SearchRequest, Shown), ApiError> {
    let sizes = take_script_fields(&mut body)?;
    let collapse = Collapse::take(&mut body)?;
    let explain = take_flag(&mut body, "explain")?;
    let aggs = body.get("aggs").or_else(|| body.get("aggregations")).cloned();
    let pipelines = take_pipelines(&mut body)?;
    let named = body.get("query").map_or(Ok(Vec::new()), query::named_clauses)?;
    boost_indices(&mut body)?;
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
        aggs,
        pipelines,
        explain,
        named,
        collapse,
        sort_keys: usize::MAX,
        typed_keys,
        sizes,
    };
    if shown.needs_source() {
        request.source = SourceFilter::All;
    }
    Ok((request, shown))
}

fn take_flag(body: &mut Value, key: &str) -> Result<bool, ApiError> {
    match body.as_object_mut().and_then(|body| body.shift_remove(key)) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(flag),
        Some(other) => Err(ApiError::parsing(format!(
            "[search] [{key}] must be true or false, not [{other}]"
        ))),
    }
}

/// Stores are asked for the other aggregations alone.
fn take_pipelines(body: &mut Value) -> Result<Pipelines, ApiError> {
    let key = if body.get("aggs").is_some() {
        "aggs"
    } else {
        "aggregations"
    };
    match body.get_mut(key) {
        None => Ok(Pipelines::default()),
        Some(aggs) => Ok(Pipelines::take_out_of(aggs)?),
    }
}

/// `indices_boost` becomes functions of the score, one for each index.
fn boost_indices(body: &mut Value) -> Result<(), ApiError> {
    let Some(asked) = body.as_object_mut().and_then(|body| body.shift_remove("indices_boost")) else {
        return Ok(());
    };
    let maps: Vec<&Value> = match &asked {
        Value::Array(list) => list.iter().collect(),
        one => vec![one],
    };
    let mut functions = Vec::new();
    for map in maps {
        let entries = map
            .as_object()
            .ok_or_else(|| ApiError::parsing("[indices_boost] must be a list of objects"))?;
        for (index, boost) in entries {
            let boost = boost
                .as_f64()
                .ok_or_else(|| ApiError::parsing(format!("[indices_boost] [{index}] must be a number")))?;
            functions.push(json!({ "filter": { "wildcard": { "_index": { "value": index } } }, "weight": boost }));
        }
    }
    let inner = body.get("query").cloned().unwrap_or_else(|| json!({ "match_all": {} }));
    body["query"] = json!({ "function_score": { "query": inner, "functions": functions, "score_mode": "first" } });
    Ok(())
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
pub(crate) fn body_with(body: Option<Value>, params: &Params) -> Result<Value, ApiError> {
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
