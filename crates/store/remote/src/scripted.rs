//! The update scripts, run here: read, change, write back only if nobody else wrote meanwhile.

use std::time::Duration;

use serde_json::{Map, Value};
use store::update_script::{self, Effect};
use store::{Action, Operation, Outcome, Refresh, RejectionKind, Source, StoreError, Update, WriteResult, Written};

use crate::document::Present;
use crate::item;
use crate::store::Inner;

/// Rounds for documents that others write at the same time.
const ROUNDS: u32 = 12;
const LONGEST_PAUSE_MS: u64 = 200;

/// What a script makes of a document.
enum Made {
    Final(Outcome),
    Write { operation: Operation, term: u64 },
}

impl Inner {
    /// Runs the scripts of `operations`, all of which are updates by script.
    pub(crate) async fn run_scripts(
        &self,
        operations: &[&Operation],
        refresh: Refresh,
    ) -> Result<Vec<Outcome>, StoreError> {
        let mut outcomes: Vec<Option<Outcome>> = operations.iter().map(|_| None).collect();
        for round in 0..ROUNDS {
            let open: Vec<usize> = (0..operations.len())
                .filter(|&number| outcomes[number].is_none())
                .collect();
            if open.is_empty() {
                break;
            }
            if round > 0 {
                let most = (10_u64 << round.min(6)).min(LONGEST_PAUSE_MS);
                tokio::time::sleep(Duration::from_millis(rand::random_range(1..=most))).await;
            }
            let last = round + 1 == ROUNDS;
            self.script_round(operations, &open, &mut outcomes, last, refresh)
                .await?;
        }
        let missing = || StoreError::Unavailable("an update found no end".to_owned());
        outcomes
            .into_iter()
            .map(|outcome| outcome.ok_or_else(missing))
            .collect()
    }

    async fn script_round(
        &self,
        operations: &[&Operation],
        open: &[usize],
        outcomes: &mut [Option<Outcome>],
        last: bool,
        refresh: Refresh,
    ) -> Result<(), StoreError> {
        let wanted: Vec<(&str, &str)> = open
            .iter()
            .map(|&number| {
                (
                    operations[number].index.as_str(),
                    operations[number].id.as_deref().unwrap_or_default(),
                )
            })
            .collect();
        let present = self.get_many(&wanted, true).await?;
        let mut writes = Vec::new();
        for (&number, present) in open.iter().zip(present) {
            match made(operations[number], present) {
                Made::Final(outcome) => outcomes[number] = Some(outcome),
                Made::Write { operation, term } => {
                    self.terms
                        .observe(&operation.index, item::expected(&operation).unwrap_or_default(), term);
                    writes.push((number, operation));
                }
            }
        }
        let to_write: Vec<&Operation> = writes.iter().map(|(_, operation)| operation).collect();
        let written = self.write_plain(&to_write, refresh).await?;
        for ((number, _), outcome) in writes.iter().zip(written) {
            let conflict =
                matches!(&outcome, Outcome::Rejected(rejection) if rejection.kind == RejectionKind::VersionConflict);
            // With an expectation of the caller's own, a conflict is the answer.
            if !conflict || last || item::expected(operations[*number]).is_some() {
                outcomes[*number] = Some(outcome);
            }
        }
        Ok(())
    }
}

fn made(operation: &Operation, present: Option<Present>) -> Made {
    let refused = |kind, reason| Made::Final(item::rejected(operation, kind, reason));
    let id = operation.id.as_deref().unwrap_or_default();
    let Action::Update {
        update: Update::Script(params),
        ..
    } = &operation.action
    else {
        return refused(RejectionKind::IllegalArgument, format!("[{id}]: this is no script"));
    };
    let Some(Present { document, term }) = present else {
        return refused(RejectionKind::DocumentMissing, format!("[{id}]: document missing"));
    };
    let expected = item::expected(operation);
    if expected.is_some_and(|expected| expected != document.seq_no) {
        let reason = format!(
            "[{id}]: version conflict, required seqNo [{}], current document has seqNo [{}]",
            expected.unwrap_or_default(),
            document.seq_no
        );
        return refused(RejectionKind::VersionConflict, reason);
    }
    let Ok(mut source) = document.source.parse::<Map<String, Value>>() else {
        return refused(
            RejectionKind::Malformed,
            format!("[{id}]: the stored document cannot be read"),
        );
    };
    match update_script::run(params, &mut source) {
        Effect::Noop => Made::Final(Outcome::Done(Written {
            index: document.index,
            id: document.id,
            version: document.version,
            seq_no: document.seq_no,
            result: WriteResult::Noop,
        })),
        Effect::Unknown => {
            let names: Vec<&str> = params.keys().map(String::as_str).collect();
            let reason = format!("no known update script takes the parameters [{}]", names.join(", "));
            refused(RejectionKind::IllegalArgument, reason)
        }
        Effect::Changed => Made::Write {
            operation: Operation::replace(operation.index.as_str(), id, Source::from_map(&source), document.seq_no),
            term,
        },
    }
}
