//! `_field_caps`: which fields there are and of what type.

use std::collections::BTreeMap;
use std::sync::Arc;

use access::IndexPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::params::Params;
use crate::payload::Payload;
use crate::{answer, names};

/// `GET|POST /_field_caps`, `/{index}/_field_caps`.
pub(crate) async fn field_caps(
    State(api): State<Arc<ElasticsearchApi>>,
    caller: Caller,
    index: Option<Path<String>>,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let params = params.only(&[
        "allow_no_indices",
        "expand_wildcards",
        "fields",
        "filters",
        "ignore_unavailable",
        "include_empty_fields",
        "include_unmapped",
        "types",
    ])?;
    let wanted = wanted_fields(&params, &payload)?;
    let expression = index.map_or_else(String::new, |Path(index)| index);
    let options = names::Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        ..Default::default()
    };
    let action = "indices:data/read/field_caps";
    let indices = names::resolve(&api, &caller, &expression, IndexPrivilege::Read, action, options).await?;
    let mut found: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    for index in &indices {
        if let Some(mapping) = api.store.mapping(index).await? {
            collect(&mapping, "", &mut found);
        }
    }
    let fields: Map<String, Value> = found
        .into_iter()
        .filter(|(name, _)| wanted.iter().any(|pattern| names::matches(pattern, name)))
        .map(|(name, types)| (name, described(types)))
        .collect();
    Ok(answer::json(&json!({ "indices": indices, "fields": fields })))
}

fn wanted_fields(params: &Params, payload: &Payload) -> Result<Vec<String>, ApiError> {
    let mut wanted = params.list("fields").unwrap_or_default();
    if let Some(Value::Object(body)) = payload.json()? {
        for (key, value) in body {
            match (key.as_str(), value) {
                ("fields", Value::Array(list)) => {
                    wanted.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
                }
                ("fields", Value::String(name)) => wanted.push(name),
                (other, _) => return Err(ApiError::parsing(format!("[field_caps] unknown field [{other}]"))),
            }
        }
    }
    if wanted.is_empty() {
        return Err(ApiError::illegal("Validation Failed: 1: no fields specified;"));
    }
    Ok(wanted)
}

/// Leaves of the mapping, sub-fields included. The flag says whether it is kept in columns.
fn collect(mapping: &Value, prefix: &str, found: &mut BTreeMap<String, BTreeMap<String, bool>>) {
    for group in ["properties", "fields"] {
        let Some(Value::Object(properties)) = mapping.get(group) else {
            continue;
        };
        for (name, field) in properties {
            let full = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            let kind = field.get("type").and_then(Value::as_str).unwrap_or("object");
            let aggregatable = !matches!(kind, "text" | "match_only_text" | "object" | "nested");
            found
                .entry(full.clone())
                .or_default()
                .insert(kind.to_owned(), aggregatable);
            collect(field, &full, found);
        }
    }
}

fn described(types: BTreeMap<String, bool>) -> Value {
    let described = types.into_iter().map(|(kind, aggregatable)| {
        let searchable = kind != "object" && kind != "nested";
        let about = json!({
            "type": kind, "metadata_field": false, "searchable": searchable, "aggregatable": aggregatable,
        });
        (kind, about)
    });
    Value::Object(described.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_and_sub_fields_are_found() {
        let mapping = json!({"properties": {
            "host": {"properties": {"name": {"type": "keyword"}}},
            "message": {"type": "text", "fields": {"keyword": {"type": "keyword"}}},
        }});
        let mut found = BTreeMap::new();
        collect(&mapping, "", &mut found);
        let names: Vec<_> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["host", "host.name", "message", "message.keyword"]);
        assert!(!found["message"]["text"]);
        assert!(found["host.name"]["keyword"]);
    }
}
