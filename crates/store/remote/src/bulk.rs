//! Writes: in order, in bodies of bounded size, each operation with its outcome.
//!
//! Ids are made here, so that a body whose answer got lost can be sent again: what was written the first time is then a
//! conflict, which `conditional` recognises as our own write.

use std::collections::HashSet;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use bytes::Bytes;
use serde::Deserialize;
use store::{Action, Operation, Outcome, Refresh, RejectionKind, StoreError, Update};

use crate::item::{self, Item};
use crate::peer::Kind;
use crate::store::Inner;
use crate::wire::{Call, pause};

/// Bytes of one body; peers take 100 MiB, but are fastest far below.
const BODY_BYTES: usize = 8 * 1024 * 1024;
/// Operations of one body.
const BODY_OPERATIONS: usize = 5_000;
/// The largest document: what one body may hold at the peer, less its lines. Source: `http.max_content_length`.
const LARGEST_DOCUMENT: usize = 99 * 1024 * 1024;
/// Rounds for operations that the peer was too busy for, the first included.
const ROUNDS: u32 = 5;
/// The parts of the answer that are read.
const WANTED: &str = "items.*._index,items.*._id,items.*._version,items.*._seq_no,items.*._primary_term,items.*.result,items.*.status,items.*.error.type,items.*.error.reason";

#[derive(Deserialize)]
struct BulkBody {
    #[serde(default)]
    items: Vec<Verb>,
}

/// The one key of an item.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Create(Item),
    Index(Item),
    Update(Item),
    Delete(Item),
}

impl Verb {
    fn into_item(self) -> Item {
        match self {
            Self::Create(item) | Self::Index(item) | Self::Update(item) | Self::Delete(item) => item,
        }
    }
}

/// What one body brought.
pub(crate) struct Sent {
    pub(crate) outcomes: Vec<Outcome>,
    /// It may have been done twice.
    pub(crate) repeated: bool,
}

impl Inner {
    pub(crate) async fn bulk(
        &self,
        mut operations: Vec<Operation>,
        refresh: Refresh,
    ) -> Result<Vec<Outcome>, StoreError> {
        let mut outcomes: Vec<Option<Outcome>> = self.make_ready(&operations).await?;
        for operation in &mut operations {
            if operation.id.is_none() && matches!(operation.action, Action::Create(_) | Action::Index { .. }) {
                operation.id = Some(new_id());
            }
        }
        for (numbers, scripted) in self.groups(&operations, &outcomes) {
            let chosen: Vec<&Operation> = numbers.iter().map(|&number| &operations[number]).collect();
            let done = if scripted {
                self.run_scripts(&chosen, refresh).await?
            } else {
                self.write_plain(&chosen, refresh).await?
            };
            for (number, outcome) in numbers.into_iter().zip(done) {
                outcomes[number] = Some(outcome);
            }
        }
        let missing = || StoreError::Unavailable("the store left operations unanswered".to_owned());
        outcomes
            .into_iter()
            .map(|outcome| outcome.ok_or_else(missing))
            .collect()
    }

    /// Positions of what is still to be done, and whether it needs scripts to be run here. Two groups when no document is
    /// named twice, else as many as keep the order.
    fn groups(&self, operations: &[Operation], outcomes: &[Option<Outcome>]) -> Vec<(Vec<usize>, bool)> {
        let scripted = |number: usize| {
            let script = matches!(
                operations[number].action,
                Action::Update {
                    update: Update::Script(_),
                    ..
                }
            );
            script && self.peer.kind != Kind::Flotilla
        };
        let open: Vec<usize> = (0..operations.len())
            .filter(|&number| outcomes[number].is_none())
            .collect();
        if !open.iter().any(|&number| scripted(number)) {
            return vec![(open, false)];
        }
        let mut named = HashSet::new();
        let distinct = open
            .iter()
            .all(|&number| named.insert((&operations[number].index, &operations[number].id)));
        if distinct {
            let (scripts, plain): (Vec<usize>, Vec<usize>) = open.into_iter().partition(|&number| scripted(number));
            return vec![(plain, false), (scripts, true)];
        }
        let mut groups: Vec<(Vec<usize>, bool)> = Vec::new();
        for number in open {
            match groups.last_mut() {
                Some((numbers, kind)) if *kind == scripted(number) => numbers.push(number),
                _ => groups.push((vec![number], scripted(number))),
            }
        }
        groups
    }

    /// Operations that the peer does by itself.
    pub(crate) async fn write_plain(
        &self,
        operations: &[&Operation],
        refresh: Refresh,
    ) -> Result<Vec<Outcome>, StoreError> {
        let mut outcomes = Vec::with_capacity(operations.len());
        for chunk in chunks(operations) {
            outcomes.extend(self.write_chunk(chunk, refresh).await?);
        }
        Ok(outcomes)
    }

    async fn write_chunk(&self, chunk: &[&Operation], refresh: Refresh) -> Result<Vec<Outcome>, StoreError> {
        if let [one] = chunk
            && item::weight(one) > LARGEST_DOCUMENT
        {
            let reason = format!("the document is larger than {LARGEST_DOCUMENT} bytes");
            return Ok(vec![item::rejected(one, RejectionKind::IllegalArgument, reason)]);
        }
        let sent = self
            .send_lines(chunk, &|operation| self.guessed_term(operation), refresh)
            .await?;
        let mut outcomes = self.look_at_conflicts(chunk, sent, refresh).await?;
        for round in 1..ROUNDS {
            let busy: Vec<usize> = (0..chunk.len()).filter(|&number| is_busy(&outcomes[number])).collect();
            if busy.is_empty() {
                break;
            }
            tokio::time::sleep(pause(round)).await;
            let again: Vec<&Operation> = busy.iter().map(|&number| chunk[number]).collect();
            let sent = self
                .send_lines(&again, &|operation| self.guessed_term(operation), refresh)
                .await?;
            let done = self.look_at_conflicts(&again, sent, refresh).await?;
            for (number, outcome) in busy.into_iter().zip(done) {
                outcomes[number] = outcome;
            }
        }
        Ok(outcomes)
    }

    /// One body.
    pub(crate) async fn send_lines(
        &self,
        operations: &[&Operation],
        term: &(dyn Fn(&Operation) -> Option<u64> + Sync),
        refresh: Refresh,
    ) -> Result<Sent, StoreError> {
        if operations.is_empty() {
            return Ok(Sent {
                outcomes: Vec::new(),
                repeated: false,
            });
        }
        let mut lines = Vec::with_capacity(operations.iter().map(|operation| item::weight(operation)).sum());
        for operation in operations {
            item::encode(operation, self.peer.kind, term(operation), &mut lines);
        }
        let visible = match refresh {
            Refresh::Soon => "",
            Refresh::WaitFor => "&refresh=true",
        };
        // Documents that come over our own API have been through their pipelines already.
        let path = format!("/_bulk?filter_path={WANTED}{visible}&pipeline=_none");
        let answer = self.send(Call::ask(path).lines(Bytes::from(lines))).await?;
        let repeated = answer.repeated;
        let body: BulkBody = answer.ok("_bulk").await?;
        if body.items.len() != operations.len() {
            return Err(StoreError::Unavailable(format!(
                "the store answered {} items to {} operations",
                body.items.len(),
                operations.len()
            )));
        }
        let items = body.items.into_iter().map(Verb::into_item);
        let outcomes = operations
            .iter()
            .zip(items)
            .map(|(operation, item)| {
                if item.term > 0 {
                    self.terms.observe(&item.index, item.seq_no, item.term);
                    self.terms.alias(&operation.index, &item.index);
                }
                item.outcome(operation)
            })
            .collect();
        Ok(Sent { outcomes, repeated })
    }

    pub(crate) fn guessed_term(&self, operation: &Operation) -> Option<u64> {
        item::expected(operation).map(|expected| self.terms.guess(&operation.index, expected))
    }
}

fn is_busy(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Rejected(rejection) if rejection.kind == RejectionKind::TooBusy)
}

/// Cuts a list where a body is full.
fn chunks<'a, 'b>(operations: &'b [&'a Operation]) -> Vec<&'b [&'a Operation]> {
    let mut chunks = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (number, operation) in operations.iter().enumerate() {
        let weight = item::weight(operation);
        let full = bytes + weight > BODY_BYTES || number - start >= BODY_OPERATIONS;
        if full && number > start {
            chunks.push(&operations[start..number]);
            (start, bytes) = (number, 0);
        }
        bytes += weight;
    }
    if start < operations.len() {
        chunks.push(&operations[start..]);
    }
    chunks
}

/// 20 characters of the url-safe alphabet: 120 random bits.
pub(crate) fn new_id() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 15]>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::Source;

    #[test]
    fn bodies_are_cut_by_bytes_and_by_number() {
        let sized = |bytes: usize| Operation::create("a", "i", Source::from_checked(vec![b' '; bytes].into()));
        let check = |sizes: &[usize], expected: &[usize]| {
            let operations: Vec<Operation> = sizes.iter().map(|&size| sized(size)).collect();
            let operations: Vec<&Operation> = operations.iter().collect();
            let found: Vec<usize> = chunks(&operations).iter().map(|chunk| chunk.len()).collect();
            assert_eq!(found, expected, "{} operations", sizes.len());
        };
        check(&[], &[]);
        check(&[10, 10], &[2]);
        check(&[5 << 20, 5 << 20, 1], &[1, 2]);
        check(&[20 << 20, 1], &[1, 1]);
        check(&vec![1; BODY_OPERATIONS + 1], &[BODY_OPERATIONS, 1]);
    }

    #[test]
    fn ids_are_long_and_never_repeat() {
        assert_eq!(new_id().len(), 20);
        assert_ne!(new_id(), new_id());
    }
}
