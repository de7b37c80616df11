//! Fields of documents: their names, types and most frequent values.

use std::collections::BTreeMap;

use query::{Query, SearchRequest, SortOrder};
use serde_json::{Value, json};
use store::StoreError;

use super::state::{State, kql};
use crate::Console;
use crate::domain::error::FleetError;
use crate::pages::look::figure;
use crate::pages::timeline::{aggregate, aggregation};

/// What people look for first, when it is there.
const POPULAR: [&str; 7] = [
    "log.level",
    "host.name",
    "data_stream.dataset",
    "process.name",
    "service.name",
    "event.outcome",
    "source.ip",
];
/// Values of a field that are shown.
const VALUES: usize = 5;
/// Newest documents whose fields are taken for those of all.
const SAMPLE: usize = 100;

/// A field of the list.
pub(super) struct Field {
    pub(super) name: String,
    /// `t`, `#`, `b`, `d`, `ip`.
    pub(super) kind: &'static str,
    /// Opens or closes its values.
    pub(super) href: String,
    pub(super) is_open: bool,
    pub(super) values: Vec<TopValue>,
}

/// How many documents have a value.
pub(super) struct TopValue {
    pub(super) value: String,
    /// Hundredths of all documents that match.
    pub(super) share: f64,
    pub(super) count: String,
    /// Only these.
    pub(super) href: String,
}

impl TopValue {
    fn of(state: &State, (value, count): &(String, u64), total: u64) -> Self {
        Self {
            share: (*count as f64 * 100.0 / total.max(1) as f64).min(100.0),
            count: figure(*count),
            href: state.narrowed(|state| state.filters.push(kql(&state.field, value))),
            value: value.clone(),
        }
    }

    /// `78`, or `0.3` when it is little.
    pub(super) fn percent(&self) -> String {
        if self.share >= 1.0 || self.share <= 0.0 {
            format!("{:.0}", self.share)
        } else {
            format!("{:.1}", self.share)
        }
    }
}

/// The fields of a result, in groups with a heading.
#[derive(Default)]
pub(super) struct FieldList {
    pub(super) count: usize,
    pub(super) groups: Vec<(&'static str, Vec<Field>)>,
}

impl FieldList {
    /// `values` are those of the open field, of which `total` documents may have one.
    pub(super) fn of<'a>(
        state: &State,
        values: &[(String, u64)],
        total: u64,
        documents: impl Iterator<Item = &'a Value>,
    ) -> Self {
        let names = kinds(documents);
        let field = |name: &str| Field {
            kind: names.get(name).copied().unwrap_or("t"),
            href: state.shown(|state| {
                state.field = if state.field == name {
                    String::new()
                } else {
                    name.to_owned()
                };
            }),
            is_open: state.field == name,
            values: Vec::new(),
            name: name.to_owned(),
        };
        let is_shown = |name: &&str| state.columns.iter().any(|column| column == name);
        let popular = |name: &&&str| names.contains_key(**name) && !is_shown(name);
        let mut groups: Vec<(&'static str, Vec<Field>)> = vec![
            ("Shown", state.columns.iter().map(|name| field(name)).collect()),
            (
                "Popular",
                POPULAR.iter().filter(popular).map(|name| field(name)).collect(),
            ),
            (
                "All",
                names
                    .keys()
                    .map(String::as_str)
                    .filter(|name| !is_shown(name) && !POPULAR.contains(name))
                    .map(field)
                    .collect(),
            ),
        ];
        let open = groups
            .iter_mut()
            .flat_map(|(_, fields)| fields)
            .find(|field| field.is_open);
        if let Some(open) = open {
            open.values = values.iter().map(|value| TopValue::of(state, value, total)).collect();
        }
        groups.retain(|(_, fields)| !fields.is_empty());
        Self {
            count: names.len(),
            groups,
        }
    }
}

/// The values of the open field that most documents have; none when no field is open.
pub(super) async fn top_values(
    console: &Console,
    state: &State,
    query: &Query,
) -> Result<Vec<(String, u64)>, FleetError> {
    if state.field.is_empty() {
        return Ok(Vec::new());
    }
    frequent(console, &state.index, query.clone(), &state.field, None, VALUES).await
}

/// The values of `field` that most documents have, with their number; only those that begin with `prefix`, if given.
///
/// The documents are narrowed rather than the values: what is counted then is little, whatever their number.
pub(super) async fn frequent(
    console: &Console,
    index: &str,
    query: Query,
    field: &str,
    prefix: Option<&str>,
    size: usize,
) -> Result<Vec<(String, u64)>, FleetError> {
    let prefix = prefix.unwrap_or_default();
    let (query, size_asked) = if prefix.is_empty() {
        (query, size)
    } else {
        let begins = Query::Prefix(field.into(), prefix.to_owned());
        // A list of values may hold others beside the one that begins so.
        (Query::all_of(vec![query, begins]), size * 4)
    };
    let parameters = json!({"field": field, "size": size_asked});
    let answer = aggregate(console, index, query, vec![aggregation("values", "terms", parameters)]).await;
    let answer = match answer {
        Ok(answer) => answer,
        // A field whose values cannot be counted, such as a text in words, has none to show.
        Err(FleetError::Store(StoreError::Unsupported(_) | StoreError::Misfit(_))) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let buckets = answer.get("values").and_then(|values| values["buckets"].as_array());
    let value = |bucket: &Value| {
        let key = bucket["key_as_string"].as_str().map(str::to_owned);
        let key = key.or_else(|| Some(shown(&bucket["key"])).filter(|key| !key.is_empty()));
        Some((key?, bucket["doc_count"].as_u64()?))
    };
    let values = buckets.into_iter().flatten().filter_map(value);
    Ok(values
        .filter(|(value, _)| value.starts_with(prefix))
        .take(size)
        .collect())
}

/// The fields of the newest documents.
pub(super) async fn sample(console: &Console, index: &str, query: Query) -> Result<Vec<String>, FleetError> {
    let request = SearchRequest {
        indices: index.split(',').map(str::to_owned).collect(),
        ignore_unavailable: true,
        track_total_hits: 0,
        ..SearchRequest::default()
    };
    let request = request
        .query(query)
        .size(SAMPLE)
        .sort_by("@timestamp", SortOrder::Descending);
    let found = console.store.search(request).await?;
    let documents: Vec<Value> = found.hits.iter().map(|hit| hit.document.source.to_value()).collect();
    Ok(kinds(documents.iter()).into_keys().collect())
}

fn kinds<'a>(documents: impl Iterator<Item = &'a Value>) -> BTreeMap<String, &'static str> {
    let mut names = BTreeMap::new();
    for document in documents {
        for (name, value) in flatten(document) {
            names.entry(name).or_insert_with(|| kind(value));
        }
    }
    names
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Number(_) => "#",
        Value::Bool(_) => "b",
        Value::String(text) if text.parse::<std::net::IpAddr>().is_ok() => "ip",
        Value::String(text) if text.len() > 18 && text.parse::<jiff::Timestamp>().is_ok() => "d",
        Value::Array(items) => items.first().map_or("t", kind),
        _ => "t",
    }
}

/// Every value of a document with its full dotted name, in the order of names.
pub(in crate::pages) fn flatten(document: &Value) -> Vec<(String, &Value)> {
    let mut fields = Vec::new();
    descend(String::new(), document, &mut fields);
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    fields
}

fn descend<'a>(name: String, value: &'a Value, fields: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                descend(name, value, fields);
            }
        }
        Value::Null => {}
        _ => fields.push((name, value)),
    }
}

/// A value as a person reads it.
pub(in crate::pages) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_become_dotted_names() {
        let document =
            json!({"host": {"name": "a", "ip": ["10.0.0.1", "::1"]}, "log.level": "info", "n": 2, "none": null});
        let names: Vec<String> = flatten(&document)
            .into_iter()
            .map(|(name, value)| format!("{} {name} {}", kind(value), shown(value)))
            .collect();
        assert_eq!(
            names,
            ["ip host.ip 10.0.0.1, ::1", "t host.name a", "t log.level info", "# n 2"]
        );
    }
}
