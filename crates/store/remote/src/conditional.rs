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
        if doubtful.is_empty() && !repeated {
            return Ok(outcomes);
        }
        let wanted: Vec<(&str, &str)> = doubtful
            .iter()
            .map(|&number| (operations[number].index.as_str(), operations[number].id.as_deref().unwrap_or_default()))
            .collect();
        let present = if wanted.is_empty() {
            Vec::new()
        } else {
            self.get_many(&wanted, repeated).await?
        };
        let mut again = Vec::new();
        for (&number, present) in doubtful.iter().zip(present) {
            let Some(present) = present else { continue };
            let operation = operations[number];
            if item::expected(operation) == Some(present.document.seq_no) {
                again.push((number, present.term));
            } else if repeated && is_our_own(operation, &present.document) {
                outcomes[number] = done(present.document);
            }
        }
        for number in 0..operations.len() {
            if repeated && is_conflict(&outcomes[number]) && self.ready.is_data_stream(&operations[number].index) {
                self.look_into_stream(operations[number], &mut outcomes[number]).await?;
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
        // Data streams are not read by their name: see `look_into_stream`.
        let guessed = item::expected(operation).is_some() && self.peer.kind != Kind::Flotilla;
        let readable = !self.ready.is_data_stream(&operation.index);
        readable && (guessed || repeated)
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
        written.is_some() && written == kept
    };
    (!first || document.version == 1) && same()
}
