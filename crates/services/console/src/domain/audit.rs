//! The audit log: who changed what, when, from what to what. Secrets never get into it.

use serde_json::{Map, Value, json};
use store::{Operation, Source};

use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::documents::{AUDIT, Collection, Fields, Stored};
use crate::domain::error::FleetError;

/// One change, not written yet.
#[derive(Debug)]
pub struct Record {
    object: &'static str,
    id: String,
    before: Option<Value>,
    after: Option<Value>,
}

/// What something was, and what it is then.
pub type BeforeAndAfter = (Option<Value>, Option<Value>);

impl Record {
    pub(crate) fn new(collection: &Collection, id: &str, before: Option<Fields>, after: Option<Fields>) -> Self {
        let hidden = |fields: Fields| hide(Value::Object(fields));
        Self {
            object: collection.noun,
            id: id.to_owned(),
            before: before.map(hidden),
            after: after.map(hidden),
        }
    }

    pub(crate) fn event(object: &'static str, id: &str, (before, after): BeforeAndAfter) -> Self {
        Self {
            object,
            id: id.to_owned(),
            before: before.map(hide),
            after: after.map(hide),
        }
    }

    pub(crate) fn operation(self, console: &Console, actor: &Actor) -> Operation {
        let action = match (&self.before, &self.after) {
            (None, Some(_)) => "create",
            (Some(_), Some(_)) => "update",
            (Some(_), None) => "delete",
            (None, None) => "event",
        };
        let document = json!({
            "@timestamp": clock::rfc3339_millis(console.clock.now()),
            "actor": actor.name,
            "credential": actor.credential(),
            "space": actor.space,
            "action": action,
            "object": {"type": self.object, "id": self.id},
            // As text: the fields of one kind of object must not fix the types of another's.
            "before": self.before.map(|value| value.to_string()),
            "after": self.after.map(|value| value.to_string()),
        });
        Operation::create(AUDIT.index, uuid::Uuid::new_v4().to_string(), Source::of(&document))
    }
}

const SECRET_KEYS: [&str; 14] = [
    "key",
    "es_key",
    "agent_key",
    "certificate_key",
    "password",
    "service_token",
    "kibana_api_key",
    "api_key",
    "token",
    "enrollment_token",
    "value_hash",
    "proxy_headers",
    "elastic_agent_cert_key_passphrase",
    "key_passphrase",
];

/// Replaces key material and tokens: what a PEM text or a secret field holds is not for the log.
fn hide(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let hidden = map.into_iter().map(|(key, value)| {
                let is_secret = SECRET_KEYS.contains(&key.as_str()) && is_plain_secret(&value);
                let value = if is_secret {
                    Value::from("<hidden>")
                } else {
                    hide(value)
                };
                (key, value)
            });
            Value::Object(hidden.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(hide).collect()),
        Value::String(text) if text.contains("PRIVATE KEY") => Value::from("<hidden>"),
        other => other,
    }
}

/// A path of a key file may be shown, the key may not; references to stored secrets may be shown, too.
fn is_plain_secret(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.starts_with('/') && !text.is_empty(),
        Value::Object(map) => !map.contains_key("id"),
        _ => false,
    }
}

/// The newest records, at most `limit`.
///
/// # Errors
/// The store cannot answer.
pub async fn newest(console: &Console, limit: usize) -> Result<Vec<Stored>, FleetError> {
    let request = query::SearchRequest::new(AUDIT.index)
        .size(limit)
        .sort_by("@timestamp", query::SortOrder::Descending);
    let found = console.store.search(request).await?;
    found
        .hits
        .into_iter()
        .map(|hit| crate::domain::documents::stored(hit.document))
        .collect()
}

/// The kinds of things that changes are of.
pub const KINDS: [&str; 12] = [
    "agent",
    "agent policy",
    "package policy",
    "output",
    "fleet server host",
    "proxy",
    "download source",
    "enrollment api key",
    "uninstall token",
    "package",
    "settings",
    "saved search",
];

/// Which records.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// In the name of who did it or the id of what was changed; empty: all.
    pub text: String,
    /// One of [`KINDS`]; empty: all.
    pub kind: String,
    /// The sort values after which to begin.
    pub after: Option<Vec<Value>>,
    /// At most so many.
    pub limit: usize,
}

/// A page of records.
#[derive(Debug)]
pub struct Found {
    /// Newest first.
    pub records: Vec<Stored>,
    /// How many match in all.
    pub total: u64,
    /// Where the next page begins.
    pub next: Option<Vec<Value>>,
}

/// Records that match, newest first.
///
/// # Errors
/// The store cannot answer.
pub async fn find(console: &Console, wanted: &Wanted) -> Result<Found, FleetError> {
    use query::{Query, SearchRequest, SortOrder};
    let holds = |field: &str| Query::Wildcard {
        field: field.to_owned(),
        pattern: format!("*{}*", wanted.text.replace(['*', '?'], "?")),
        case_insensitive: true,
    };
    let mut clauses = Vec::new();
    if !wanted.text.is_empty() {
        clauses.push(Query::any_of(vec![holds("actor"), holds("object.id")]));
    }
    if !wanted.kind.is_empty() {
        let spellings = ["-", "_", " "].map(|between| wanted.kind.replace(' ', between));
        clauses.push(Query::terms("object.type", spellings));
    }
    let request = SearchRequest {
        search_after: wanted.after.clone(),
        track_total_hits: u64::MAX,
        ..SearchRequest::new(AUDIT.index)
    };
    let request = request.query(Query::all_of(clauses)).size(wanted.limit);
    let request = request
        .sort_by("@timestamp", SortOrder::Descending)
        .sort_by("_seq_no", SortOrder::Descending);
    let answer = console.store.search(request).await?;
    let is_full = answer.hits.len() == wanted.limit;
    Ok(Found {
        total: answer.total,
        next: answer.hits.last().filter(|_| is_full).map(|hit| hit.sort.clone()),
        records: answer
            .hits
            .into_iter()
            .map(|hit| crate::domain::documents::stored(hit.document))
            .collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_tokens_are_hidden_and_paths_are_not() {
        let hidden = hide(json!({
            "ssl": {"key": "-----BEGIN PRIVATE KEY-----x", "certificate": "/fs.pem"},
            "other": {"key": "/etc/fs.key", "note": "-----BEGIN EC PRIVATE KEY-----"},
            "secrets": {"ssl": {"key": {"id": "s1"}}, "password": "hunter2"},
        }));
        assert_eq!(
            hidden,
            json!({
                "ssl": {"key": "<hidden>", "certificate": "/fs.pem"},
                "other": {"key": "/etc/fs.key", "note": "<hidden>"},
                "secrets": {"ssl": {"key": {"id": "s1"}}, "password": "<hidden>"},
            })
        );
    }
}
