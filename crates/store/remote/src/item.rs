//! One operation as lines of a bulk body, and one item of the answer as its outcome.

use serde::Deserialize;
use serde_json::{Value, json};
use store::{Action, Operation, Outcome, Rejection, RejectionKind, SeqNo, Source, Update, WriteResult, Written};

use crate::error::Failure;
use crate::peer::Kind;

/// Times the peer repeats an update that met another one. Source: fleet-server-elasticsearch, requests.
const RETRY_ON_CONFLICT: u32 = 3;

/// Appends the lines of an operation that has its id by now. `term` goes with an expected number.
pub(crate) fn encode(operation: &Operation, kind: Kind, term: Option<u64>, lines: &mut Vec<u8>) {
    let mut head = json!({ "_index": operation.index });
    if let Some(id) = &operation.id {
        head["_id"] = json!(id);
    }
    if let (Some(expected), Some(term)) = (expected(operation), term) {
        head["if_seq_no"] = json!(expected);
        head["if_primary_term"] = json!(term);
    }
    // OpenSearch refuses the whole request for this key; `ready` has looked before.
    if operation.require_data_stream && kind != Kind::OpenSearch {
        head["require_data_stream"] = json!(true);
    }
    let (verb, document) = match &operation.action {
        Action::Create(source) => ("create", Some(one_line(source))),
        Action::Index { source, .. } => ("index", Some(one_line(source))),
        Action::Delete { .. } => ("delete", None),
        Action::Update { update, expected } => {
            if expected.is_none() {
                head["retry_on_conflict"] = json!(RETRY_ON_CONFLICT);
            }
            ("update", Some(update_body(update).to_string().into_bytes()))
        }
    };
    lines.extend_from_slice(json!({ verb: head }).to_string().as_bytes());
    lines.push(b'\n');
    if let Some(document) = document {
        lines.extend_from_slice(&document);
        lines.push(b'\n');
    }
}

/// What the operation may cost in the body, roughly.
pub(crate) fn weight(operation: &Operation) -> usize {
    let document = match &operation.action {
        Action::Create(source) | Action::Index { source, .. } => source.bytes().len(),
        Action::Update { update, .. } => update_body(update).to_string().len(),
        Action::Delete { .. } => 0,
    };
    200 + document
}

pub(crate) fn expected(operation: &Operation) -> Option<SeqNo> {
    match &operation.action {
        Action::Create(_) => None,
        Action::Index { expected, .. } | Action::Update { expected, .. } | Action::Delete { expected } => *expected,
    }
}

fn update_body(update: &Update) -> Value {
    match update {
        Update::Merge { partial, upsert: None } => json!({ "doc": partial }),
        Update::Merge {
            partial,
            upsert: Some(upsert),
        } => json!({ "doc": partial, "upsert": upsert }),
        // Only for our own API, which knows the scripts by their parameters.
        Update::Script(params) => json!({ "script": { "lang": "painless", "source": "params", "params": params } }),
    }
}

/// The document's text without line breaks. Within a JSON string they are escaped, so that what is left is only layout.
fn one_line(source: &Source) -> Vec<u8> {
    let mut text = source.bytes().to_vec();
    if memchr::memchr2(b'\n', b'\r', &text).is_some() {
        for byte in &mut text {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
    text
}

/// `items[n].VERB` of a bulk answer.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Item {
    #[serde(default, rename = "_index")]
    pub(crate) index: String,
    #[serde(default, rename = "_id")]
    pub(crate) id: Option<String>,
    #[serde(default, rename = "_version")]
    pub(crate) version: u64,
    #[serde(default, rename = "_seq_no")]
    pub(crate) seq_no: SeqNo,
    #[serde(default, rename = "_primary_term")]
    pub(crate) term: u64,
    #[serde(default)]
    result: Option<String>,
    #[serde(default)]
    status: u16,
    #[serde(default)]
    error: Option<Failure>,
}

impl Item {
    /// What became of `operation`.
    pub(crate) fn outcome(self, operation: &Operation) -> Outcome {
        let id = self.id.or_else(|| operation.id.clone()).unwrap_or_default();
        if let Some(error) = self.error {
            return Outcome::Rejected(Rejection {
                index: operation.index.clone(),
                id,
                kind: kind_of(self.status, &error.kind),
                reason: error.reason().to_owned(),
            });
        }
        Outcome::Done(Written {
            index: self.index,
            id,
            version: self.version,
            seq_no: self.seq_no,
            result: match self.result.as_deref() {
                Some("created") => WriteResult::Created,
                Some("deleted") => WriteResult::Deleted,
                Some("noop") => WriteResult::Noop,
                Some("not_found") => WriteResult::NotFound,
                _ => WriteResult::Updated,
            },
        })
    }
}

/// OpenSearch keeps the older names.
fn kind_of(status: u16, kind: &str) -> RejectionKind {
    match kind {
        "version_conflict_engine_exception" => RejectionKind::VersionConflict,
        "document_missing_exception" => RejectionKind::DocumentMissing,
        "index_not_found_exception" => RejectionKind::IndexNotFound,
        "document_parsing_exception" | "mapper_parsing_exception" => RejectionKind::Malformed,
        "strict_dynamic_mapping_exception" => RejectionKind::StrictMapping,
        _ if status == 429 || status >= 500 => RejectionKind::TooBusy,
        _ => RejectionKind::IllegalArgument,
    }
}

/// A refusal that never left this process.
pub(crate) fn rejected(operation: &Operation, kind: RejectionKind, reason: String) -> Outcome {
    Outcome::Rejected(Rejection {
        index: operation.index.clone(),
        id: operation.id.clone().unwrap_or_default(),
        kind,
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(operation: &Operation, kind: Kind, term: Option<u64>, expected: &str) {
        let mut lines = Vec::new();
        encode(operation, kind, term, &mut lines);
        assert_eq!(String::from_utf8_lossy(&lines), expected);
    }

    fn source(text: &'static str) -> Source {
        Source::from_checked(text.as_bytes().into())
    }

    #[test]
    fn operations_become_lines() {
        let mut append = Operation::create("logs-a-b", "i", source("{\n \"a\": \"x\\ny\"}"));
        append.require_data_stream = true;
        let lines =
            "{\"create\":{\"_index\":\"logs-a-b\",\"_id\":\"i\",\"require_data_stream\":true}}\n{  \"a\": \"x\\ny\"}\n";
        check(&append, Kind::Elasticsearch, None, lines);
        check(
            &append,
            Kind::OpenSearch,
            None,
            "{\"create\":{\"_index\":\"logs-a-b\",\"_id\":\"i\"}}\n{  \"a\": \"x\\ny\"}\n",
        );
        check(
            &Operation::replace("a", "i", source("{}"), 7),
            Kind::Elasticsearch,
            Some(2),
            "{\"index\":{\"_index\":\"a\",\"_id\":\"i\",\"if_seq_no\":7,\"if_primary_term\":2}}\n{}\n",
        );
        check(
            &Operation::delete("a", "i"),
            Kind::Elasticsearch,
            None,
            "{\"delete\":{\"_index\":\"a\",\"_id\":\"i\"}}\n",
        );
        let partial = json!({"b": 1}).as_object().cloned().unwrap_or_default();
        check(
            &Operation::merge("a", "i", partial),
            Kind::OpenSearch,
            None,
            "{\"update\":{\"_index\":\"a\",\"_id\":\"i\",\"retry_on_conflict\":3}}\n{\"doc\":{\"b\":1}}\n",
        );
    }

    #[test]
    fn refusals_keep_their_kind() {
        for (status, kind, expected) in [
            (409, "version_conflict_engine_exception", RejectionKind::VersionConflict),
            (404, "document_missing_exception", RejectionKind::DocumentMissing),
            (400, "mapper_parsing_exception", RejectionKind::Malformed),
            (429, "rejected_execution_exception", RejectionKind::TooBusy),
            (503, "unavailable_shards_exception", RejectionKind::TooBusy),
            (400, "invalid_index_name_exception", RejectionKind::IllegalArgument),
            (403, "security_exception", RejectionKind::IllegalArgument),
        ] {
            assert_eq!(kind_of(status, kind), expected, "{kind}");
        }
    }
}
