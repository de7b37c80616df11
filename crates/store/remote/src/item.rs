//! One operation as lines of a bulk body, and one item of the answer as its outcome.

use serde::Deserialize;
use serde_json::{Value, json};
use store::{
    Action, Expected, Operation, Outcome, Rejection, RejectionKind, SeqNo, Source, Update, WriteResult, Written,
};

use crate::error::Failure;
use crate::peer::Kind;

/// Times the peer repeats an update that met another one. Source: fleet-server-elasticsearch, requests.
const RETRY_ON_CONFLICT: u32 = 3;

/// Appends the lines of an operation that has its id by now. `term` goes with an expected number.
///
/// Documents are copied as they are: nothing of them is read here.
pub(crate) fn encode(operation: &Operation, kind: Kind, term: Option<u64>, lines: &mut Vec<u8>) {
    let verb: &[u8] = match &operation.action {
        Action::Create(_) => b"{\"create\":{\"_index\":",
        Action::Index { .. } => b"{\"index\":{\"_index\":",
        Action::Delete { .. } => b"{\"delete\":{\"_index\":",
        Action::Update { .. } => b"{\"update\":{\"_index\":",
    };
    lines.extend_from_slice(verb);
    text(&operation.index, lines);
    if let Some(id) = &operation.id {
        lines.extend_from_slice(b",\"_id\":");
        text(id, lines);
    }
    match (expectation(operation), term) {
        (Some(Expected::SeqNo(seq_no)), Some(term)) => {
            lines.extend_from_slice(format!(",\"if_seq_no\":{seq_no},\"if_primary_term\":{term}").as_bytes());
        }
        (Some(Expected::Version { new, or_equal }), _) => {
            let kind = if or_equal { "external_gte" } else { "external" };
            lines.extend_from_slice(format!(",\"version\":{new},\"version_type\":\"{kind}\"").as_bytes());
        }
        _ => {}
    }
    // OpenSearch refuses the whole request for this key; `ready` has looked before.
    if operation.require_data_stream && kind != Kind::OpenSearch {
        lines.extend_from_slice(b",\"require_data_stream\":true");
    }
    if matches!(operation.action, Action::Update { expected: None, .. }) {
        lines.extend_from_slice(format!(",\"retry_on_conflict\":{RETRY_ON_CONFLICT}").as_bytes());
    }
    lines.extend_from_slice(b"}}\n");
    match &operation.action {
        Action::Create(source) | Action::Index { source, .. } => one_line(source, lines),
        Action::Update { update, .. } => lines.extend_from_slice(update_body(update).to_string().as_bytes()),
        Action::Delete { .. } => return,
    }
    lines.push(b'\n');
}

/// A JSON string.
fn text(text: &str, lines: &mut Vec<u8>) {
    serde_json::to_writer(lines, text).expect("a text can always be written to memory");
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

/// The sequence number that the document must have.
pub(crate) fn expected(operation: &Operation) -> Option<SeqNo> {
    match expectation(operation) {
        Some(Expected::SeqNo(seq_no)) => Some(seq_no),
        Some(Expected::Version { .. }) | None => None,
    }
}

fn expectation(operation: &Operation) -> Option<Expected> {
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
fn one_line(source: &Source, lines: &mut Vec<u8>) {
    let start = lines.len();
    lines.extend_from_slice(source.bytes());
    let written = &mut lines[start..];
    if memchr::memchr2(b'\n', b'\r', written).is_some() {
        for byte in written {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
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
        let mut kept = Operation::index("a", "i", source("{}"));
        if let Action::Index { expected, .. } = &mut kept.action {
            *expected = Some(Expected::Version {
                new: 9,
                or_equal: false,
            });
        }
        check(
            &kept,
            Kind::OpenSearch,
            None,
            "{\"index\":{\"_index\":\"a\",\"_id\":\"i\",\"version\":9,\"version_type\":\"external\"}}\n{}\n",
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
