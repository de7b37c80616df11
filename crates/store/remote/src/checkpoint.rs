//! Checkpoints: the peer's own, or made from shard statistics; and waiting for them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use store::{SeqNo, StoreError};
use tokio::time::Instant;

use crate::peer::Kind;
use crate::store::Inner;
use crate::wire::{Call, segment};

/// Pauses between looks where the peer cannot be waited on.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// One long poll, so that a connection that broke unseen is noticed.
const LONGEST_POLL: Duration = Duration::from_mins(4);

/// Up to which number an index was made visible by us.
#[derive(Debug, Default)]
pub(crate) struct Refreshed(Mutex<HashMap<String, SeqNo>>);

impl Refreshed {
    fn is_at(&self, index: &str, seq_no: SeqNo) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(index) == Some(&seq_no)
    }

    fn set(&self, index: &str, seq_no: SeqNo) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(index.to_owned(), seq_no);
    }

    pub(crate) fn forget(&self, index: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(index);
    }
}

#[derive(Deserialize)]
struct GlobalCheckpoints {
    global_checkpoints: Vec<i64>,
}

#[derive(Default, Deserialize)]
struct Stats {
    #[serde(default)]
    indices: HashMap<String, IndexShards>,
}

#[derive(Deserialize)]
struct IndexShards {
    shards: HashMap<String, Vec<Shard>>,
}

#[derive(Deserialize)]
struct Shard {
    seq_no: Option<Numbers>,
    routing: Routing,
}

#[derive(Deserialize)]
struct Numbers {
    global_checkpoint: i64,
}

#[derive(Deserialize)]
struct Routing {
    primary: bool,
}

impl Inner {
    pub(crate) async fn checkpoint(&self, index: &str) -> Result<Option<SeqNo>, StoreError> {
        let reached = if self.peer.fleet {
            self.asked_checkpoint(index, None).await?
        } else {
            self.checkpoint_of_shards(index).await?
        };
        self.made_visible(index, reached).await
    }

    pub(crate) async fn wait_for_checkpoint(
        &self,
        index: &str,
        after: Option<SeqNo>,
        timeout: Duration,
    ) -> Result<Option<SeqNo>, StoreError> {
        let end = Instant::now() + timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let started = Instant::now();
            let reached = if self.peer.fleet {
                self.asked_checkpoint(index, Some((after, left.min(LONGEST_POLL))))
                    .await?
            } else {
                self.checkpoint_of_shards(index).await?
            };
            let advanced = reached > after;
            if advanced || Instant::now() >= end {
                return self.made_visible(index, reached).await;
            }
            // A poll that came back at once, or a peer that has none.
            if !self.peer.fleet || started.elapsed() < pause {
                let left = end.saturating_duration_since(Instant::now());
                tokio::time::sleep(pause.min(left)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// `_fleet/global_checkpoints`; with `wait`, a long poll for more than the number.
    async fn asked_checkpoint(
        &self,
        index: &str,
        wait: Option<(Option<SeqNo>, Duration)>,
    ) -> Result<Option<SeqNo>, StoreError> {
        let mut call = Call::get(format!("/{}/_fleet/global_checkpoints", segment(index)));
        if let Some((after, time)) = wait {
            let known = after.map_or_else(|| "-1".to_owned(), |after| after.to_string());
            let query = format!(
                "?wait_for_advance=true&wait_for_index=true&checkpoints={known}&timeout={}ms",
                time.as_millis()
            );
            call.path.push_str(&query);
            call.poll = Some(time);
        }
        let answer = self.send(call).await?;
        match answer.status {
            404 => Ok(None),
            // It did not come in time; what there is now is asked for.
            504 if wait.is_some() => Box::pin(self.asked_checkpoint(index, None)).await,
            // A data stream: the path takes indices with one shard only.
            400 if self.peer.kind == Kind::Elasticsearch => self.checkpoint_of_shards(index).await,
            _ => {
                let body: GlobalCheckpoints = answer.ok(index).await?;
                Ok(body
                    .global_checkpoints
                    .into_iter()
                    .max()
                    .and_then(|number| number.try_into().ok()))
            }
        }
    }

    /// Of the newest index behind the name: a data stream counts anew in each.
    async fn checkpoint_of_shards(&self, index: &str) -> Result<Option<SeqNo>, StoreError> {
        let path = format!(
            "/{}/_stats/docs?level=shards&filter_path=indices.*.shards.*.seq_no.global_checkpoint,indices.*.shards.*.routing.primary",
            segment(index)
        );
        let answer = self.send(Call::get(path)).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        let stats: Stats = answer.ok(index).await?;
        let newest = stats.indices.into_iter().max_by(|left, right| left.0.cmp(&right.0));
        let shards = newest
            .into_iter()
            .flat_map(|(_, index)| index.shards.into_values().flatten());
        let numbers = shards
            .filter(|shard| shard.routing.primary)
            .filter_map(|shard| shard.seq_no);
        Ok(numbers
            .map(|numbers| numbers.global_checkpoint)
            .max()
            .and_then(|number| number.try_into().ok()))
    }

    /// A checkpoint promises that searches find all up to it; of the peers only our own API keeps that by itself.
    async fn made_visible(&self, index: &str, reached: Option<SeqNo>) -> Result<Option<SeqNo>, StoreError> {
        if let Some(number) = reached
            && self.peer.kind != Kind::Flotilla
            && !self.refreshed.is_at(index, number)
        {
            self.refresh(index).await?;
            self.refreshed.set(index, number);
        }
        Ok(reached)
    }
}
