//! Rollover and retention of data streams in a store that does neither by itself: a cluster.
//!
//! Any number of processes may do it at the same time: what one has deleted the next does not find, and an index too many
//! that two of them rolled over to goes with the next pass.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use query::{SearchRequest, SortOrder, SourceFilter};
use serde_json::Value;
use store::{DataStreamInfo, StoreError};

use crate::api::ElasticsearchApi;
use crate::catalog::{Catalog, Kind};
use crate::error::ApiError;
use crate::{templates, time_value};

/// A backing index begins when the present one is larger. Source: Elasticsearch, the default data stream life cycle.
const LARGEST: u64 = 50 * 1024 * 1024 * 1024;
const SHORTEST_SPAN: Duration = Duration::from_hours(1);
const LONGEST_SPAN: Duration = Duration::from_hours(24);
/// Between two passes.
const PAUSE: Duration = Duration::from_mins(10);

/// What a pass has done.
#[derive(Debug, Default, PartialEq)]
pub struct Retained {
    /// Data streams with a new backing index.
    pub rolled_over: Vec<String>,
    /// Backing indices that are gone.
    pub deleted: Vec<String>,
}

impl ElasticsearchApi {
    /// Passes over the data streams again and again; ends never.
    pub async fn retain_forever(self: Arc<Self>) {
        loop {
            match self.retain().await {
                Ok(done) if done == Retained::default() => {}
                Ok(done) => {
                    tracing::info!(rolled_over = ?done.rolled_over, deleted = ?done.deleted, "data streams were kept within their retention");
                }
                Err(error) => tracing::warn!(%error, "data streams could not be kept within their retention"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One pass: begins new backing indices where the present one spans enough time, and deletes those that hold nothing
    /// but what is older than its stream keeps.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub async fn retain(&self) -> Result<Retained, StoreError> {
        let unreadable = |error: ApiError| StoreError::Unavailable(error.reason);
        let catalog = self.catalogs.current(&*self.store).await.map_err(unreadable)?;
        let mut done = Retained::default();
        for stream in self.store.data_streams(&["*".to_owned()]).await? {
            let Some(retention) = of_stream(&catalog, &stream) else {
                continue;
            };
            self.roll_over(&stream, retention, &mut done).await?;
        }
        for stream in self.store.data_streams(&["*".to_owned()]).await? {
            let Some(retention) = of_stream(&catalog, &stream) else {
                continue;
            };
            self.delete_old(&stream, retention, &mut done).await?;
        }
        Ok(done)
    }

    async fn roll_over(
        &self,
        stream: &DataStreamInfo,
        retention: Duration,
        done: &mut Retained,
    ) -> Result<(), StoreError> {
        let Some(present) = stream.backing_indices.last() else {
            return Ok(());
        };
        let span = (retention / 10).clamp(SHORTEST_SPAN, LONGEST_SPAN);
        let oldest = self.end_of(present, SortOrder::Ascending).await?;
        let spans_enough = oldest.is_some_and(|oldest| self.is_past(oldest, span));
        let info = self.store.indices(std::slice::from_ref(present)).await?.pop();
        if spans_enough || info.is_some_and(|info| info.bytes > LARGEST) {
            self.store.rollover(&stream.name).await?;
            done.rolled_over.push(stream.name.clone());
        }
        Ok(())
    }

    async fn delete_old(
        &self,
        stream: &DataStreamInfo,
        retention: Duration,
        done: &mut Retained,
    ) -> Result<(), StoreError> {
        let Some((_present, former)) = stream.backing_indices.split_last() else {
            return Ok(());
        };
        for index in former {
            let newest = self.end_of(index, SortOrder::Descending).await?;
            // Nothing is written into a former index any more: an empty one stays empty.
            if newest.is_none_or(|newest| self.is_past(newest, retention)) && self.store.delete_index(index).await? {
                done.deleted.push(index.clone());
            }
        }
        Ok(())
    }

    /// The oldest or newest `@timestamp` of an index.
    async fn end_of(&self, index: &str, order: SortOrder) -> Result<Option<Timestamp>, StoreError> {
        self.store.refresh(index).await?;
        let mut request = SearchRequest::new(index).sort_by("@timestamp", order).size(1);
        request.source = SourceFilter::None;
        request.track_total_hits = 0;
        let hit = self.store.search(request).await?.hits.pop();
        Ok(hit.and_then(|hit| hit.sort.first().and_then(instant)))
    }

    fn is_past(&self, time: Timestamp, age: Duration) -> bool {
        self.clock.now().duration_since(time).unsigned_abs() > age && time < self.clock.now()
    }
}

fn instant(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(millis) => Timestamp::from_millisecond(millis.as_i64()?).ok(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// What the stream's own life cycle says, else its template.
fn of_stream(catalog: &Catalog, stream: &DataStreamInfo) -> Option<Duration> {
    stream
        .retention
        .or_else(|| own(catalog, &stream.name))
        .or_else(|| of_template(catalog, &stream.name))
}

/// Of a stream alone, where the store cannot keep it.
pub(crate) fn own(catalog: &Catalog, stream: &str) -> Option<Duration> {
    let kept = catalog.get(Kind::Retention, stream)?;
    parsed(kept.get("data_retention")?)
}

fn of_template(catalog: &Catalog, stream: &str) -> Option<Duration> {
    let (name, template) = catalog.named_template_for(stream)?;
    let composed = templates::compose(catalog, name, template).ok()?;
    parsed(composed.pointer("/template/lifecycle/data_retention")?)
}

fn parsed(text: &Value) -> Option<Duration> {
    time_value::parse(text.as_str()?, "data_retention").ok()
}
