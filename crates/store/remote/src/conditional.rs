//! Conflicts that are none: a wrong guess of the primary term, or a write of our own whose answer got lost.

use serde_json::Value;
use store::{Action, Document, Operation, Outcome, Refresh, RejectionKind, StoreError, WriteResult, Written};

use crate::bulk::Sent;
use crate::item;
use crate::peer::Kind;
use crate::store::Inner;

impl Inner {
    /// The outcomes, with each conflict looked at that may not be one.
    pub(crate) async fn look_at_conflicts(
        &self,
        operations: &[&Operation],
        sent: Sent,
        refresh: Refresh,
    ) -> Result<Vec<Outcome>, StoreError> {
        let Sent { mut outcomes, repeated } = sent;
        let doubtful: Vec<usize> = (0..operations.len())
            .filter(|&number| is_conflict(&outcomes[number]))
            .filter(|&number| self.may_be_none(operations[number], repeated))
            .collect();
        if doubtful.is_empty() {
            return Ok(outcomes);
        }
        let wanted: Vec<(&str, &str)> = doubtful
            .iter()
            .map(|&number| {
                (
                    operations[number].index.as_str(),
                    operations[number].id.as_deref().unwrap_or_default(),
                )
            })
            .collect();
        let present = self.get_many(&wanted, repeated).await?;
        let mut again = Vec::new();
        for (&number, present) in doubtful.iter().zip(present) {
            let operation = operations[number];
            let Some(present) = present else {
                if repeated {
                    self.look_into_stream(operation, &mut outcomes[number]).await?;
                }
                continue;
            };
            if item::expected(operation) == Some(present.document.seq_no) {
                again.push((number, present.term));
            } else if repeated && is_our_own(operation, &present.document) {
                outcomes[number] = done(present.document);
            }
        }
        for (number, term) in again {
            let sent = self
                .send_lines(&[operations[number]], &move |_| Some(term), refresh)
                .await?;
            if let Some(outcome) = sent.outcomes.into_iter().next() {
                outcomes[number] = outcome;
            }
        }
        Ok(outcomes)
    }

    /// A data stream is not read by its name, so that `get_many` found nothing in it.
    async fn look_into_stream(&self, operation: &Operation, outcome: &mut Outcome) -> Result<(), StoreError> {
        let id = operation.id.as_deref().unwrap_or_default();
        if let Some(document) = self.get(&operation.index, id).await?
            && is_our_own(operation, &document)
        {
            *outcome = done(document);
        }
        Ok(())
    }

    fn may_be_none(&self, operation: &Operation, repeated: bool) -> bool {
        let guessed = item::expected(operation).is_some() && self.peer.kind != Kind::Flotilla;
        guessed || repeated
    }
}

fn done(document: Document) -> Outcome {
    let result = match document.version {
        1 => WriteResult::Created,
        _ => WriteResult::Updated,
    };
    Outcome::Done(Written {
        index: document.index,
        id: document.id,
        version: document.version,
        seq_no: document.seq_no,
        result,
    })
}

fn is_conflict(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Rejected(rejection) if rejection.kind == RejectionKind::VersionConflict)
}

/// Whether the document is what this operation writes.
fn is_our_own(operation: &Operation, document: &Document) -> bool {
    let (source, first) = match &operation.action {
        Action::Create(source) => (source, true),
        Action::Index { source, .. } => (source, false),
        Action::Update { .. } | Action::Delete { .. } => return false,
    };
    let same = || {
        let written: Option<Value> = source.parse().ok();
        let kept: Option<Value> = document.source.parse().ok();
        written.zip(kept).is_some_and(|(written, kept)| holds(&kept, &written))
    };
    (!first || document.version == 1) && same()
}

/// Whether all of `written` is in `kept`; the peer's pipelines may have added to it.
fn holds(kept: &Value, written: &Value) -> bool {
    match (kept, written) {
        (Value::Object(kept), Value::Object(written)) => written
            .iter()
            .all(|(key, value)| kept.get(key).is_some_and(|kept| holds(kept, value))),
        (kept, written) => kept == written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_pipeline_adds_does_not_make_it_another_document() {
        let written = json!({"a": {"b": 1}, "c": [1, 2]});
        for (kept, expected) in [
            (json!({"a": {"b": 1}, "c": [1, 2]}), true),
            (
                json!({"a": {"b": 1, "x": 2}, "c": [1, 2], "event": {"ingested": "t"}}),
                true,
            ),
            (json!({"a": {"b": 2}, "c": [1, 2]}), false),
            (json!({"a": {"b": 1}}), false),
            (json!({"a": {"b": 1}, "c": [1, 2, 3]}), false),
        ] {
            assert_eq!(holds(&kept, &written), expected, "{kept}");
        }
    }
}
