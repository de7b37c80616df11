//! `_field_caps`: which fields there are and of what type.

use std::collections::BTreeMap;
use std::sync::Arc;

use access::IndexPrivilege;
use axum::extract::{Path, State};
use axum::response::Response;
use query::Query;
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
    let (wanted, filter) = wanted_fields(&params, &payload)?;
    let choice = Choice::of(&params)?;
    let expression = index.map_or_else(String::new, |Path(index)| index);
    let options = names::Options {
        ignore_unavailable: params.flag("ignore_unavailable")?,
        ..Default::default()
    };
    let action = "indices:data/read/field_caps";
    let mut indices = names::resolve(&api, &caller, &expression, IndexPrivilege::Read, action, options).await?;
    if let Some(filter) = &filter {
        let mut kept = Vec::new();
        for index in indices {
            if api.store.count(std::slice::from_ref(&index), filter).await? > 0 {
                kept.push(index);
            }
        }
        indices = kept;
    }
    let mut found = Found::default();
    for index in &indices {
        if let Some(mapping) = api.store.mapping(index).await? {
            collect(&mapping, "", index, &mut found);
        }
    }
    let unmapped = params.flag("include_unmapped")?;
    let fields: Map<String, Value> = found
        .iter()
        .filter(|(name, _)| wanted.iter().any(|pattern| names::matches(pattern, name)))
        .filter(|(name, types)| choice.wants(name, types, &found))
        .map(|(name, types)| (name.clone(), described(types, &indices, unmapped)))
        .collect();
    Ok(answer::json(&json!({ "indices": indices, "fields": fields })))
}

/// Fields, their types, and the indices that have each.
type Found = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// The fields, and what an index must hold to be told of.
fn wanted_fields(params: &Params, payload: &Payload) -> Result<(Vec<String>, Option<Query>), ApiError> {
    let mut filter = None;
    let mut wanted = params.list("fields").unwrap_or_default();
    if let Some(Value::Object(body)) = payload.json()? {
        for (key, value) in body {
            match (key.as_str(), value) {
                ("fields", Value::Array(list)) => {
                    wanted.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
                }
                ("fields", Value::String(name)) => wanted.push(name),
                ("index_filter", clause) => filter = Some(Query::from_json(&clause)?),
                (other, _) => return Err(ApiError::parsing(format!("[field_caps] unknown field [{other}]"))),
            }
        }
    }
    if wanted.is_empty() {
        return Err(ApiError::validation("no fields specified"));
    }
    Ok((wanted, filter))
}

/// `types` and `filters`.
struct Choice {
    types: Vec<String>,
    filters: Vec<String>,
}

impl Choice {
    /// Source: Elasticsearch reference, field capabilities API.
    fn of(params: &Params) -> Result<Self, ApiError> {
        const KNOWN: [&str; 6] = [
            "+metadata",
            "-metadata",
            "-parent",
            "-nested",
            "-multifield",
            " metadata",
        ];
        let filters = params.list("filters").unwrap_or_default();
        match filters.iter().find(|filter| !KNOWN.contains(&filter.as_str())) {
            Some(unknown) => Err(ApiError::illegal(format!("Unknown field caps filter [{unknown}]"))),
            None => Ok(Self {
                types: params.list("types").unwrap_or_default(),
                filters,
            }),
        }
    }

    fn has(&self, filter: &str) -> bool {
        self.filters.iter().any(|one| one == filter)
    }

    fn wants(&self, name: &str, kinds: &BTreeMap<String, Vec<String>>, all: &Found) -> bool {
        let is_kind = |wanted: &str| kinds.contains_key(wanted);
        let below = || {
            let parent = name.rsplit_once('.').and_then(|(parent, _)| all.get(parent));
            parent.is_some_and(|kinds| !kinds.contains_key("object") && !kinds.contains_key("nested"))
        };
        let within_nested = || {
            let ends = name.match_indices('.').map(|(at, _)| &name[..at]);
            ends.into_iter()
                .any(|above| all.get(above).is_some_and(|kinds| kinds.contains_key("nested")))
        };
        (self.types.is_empty() || self.types.iter().any(|kind| is_kind(kind)))
            && !(self.has("-parent") && (is_kind("object") || is_kind("nested")))
            && !(self.has("-nested") && (is_kind("nested") || within_nested()))
            && !(self.has("-multifield") && below())
            // All that is told of is no metadata.
            && !self.has("+metadata")
            && !self.has(" metadata")
    }
}

/// Leaves of the mapping, sub-fields included.
fn collect(mapping: &Value, prefix: &str, index: &str, found: &mut Found) {
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
            let types = found.entry(full.clone()).or_default();
            types.entry(kind.to_owned()).or_default().push(index.to_owned());
            collect(field, &full, index, found);
        }
    }
}

/// With `indices` only where they differ.
fn described(types: &BTreeMap<String, Vec<String>>, all: &[String], unmapped: bool) -> Value {
    let missing: Vec<&String> = all
        .iter()
        .filter(|index| !types.values().any(|of| of.contains(index)))
        .collect();
    let differ = types.len() > 1 || unmapped && !missing.is_empty();
    let about = |kind: &str, indices: &Value| {
        let has_values = !matches!(kind, "object" | "nested" | "unmapped");
        let aggregatable = has_values && !matches!(kind, "text" | "match_only_text");
        let mut about = json!({
            "type": kind, "metadata_field": false, "searchable": has_values, "aggregatable": aggregatable,
        });
        if differ {
            about["indices"] = indices.clone();
        }
        (kind.to_owned(), about)
    };
    let mut described: Map<String, Value> = types
        .iter()
        .map(|(kind, indices)| about(kind, &json!(indices)))
        .collect();
    if unmapped && !missing.is_empty() {
        described.extend([about("unmapped", &json!(missing))]);
    }
    Value::Object(described)
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
        collect(&mapping, "", "i", &mut found);
        let names: Vec<_> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["host", "host.name", "message", "message.keyword"]);
        assert_eq!(found["host.name"]["keyword"], ["i"]);
        let all = ["i".to_owned(), "other".to_owned()];
        let text = described(&found["message"], &all, false);
        assert_eq!(text["text"]["aggregatable"], false);
        assert_eq!(
            described(&found["host.name"], &all, true)["unmapped"]["indices"],
            json!(["other"])
        );
    }
}
