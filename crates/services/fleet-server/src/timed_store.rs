//! The store, with its answers timed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use query::{Query, SearchRequest};
use serde_json::Value;
use store::{
    DataStreamInfo, Document, IndexInfo, Name, Newer, Operation, Outcome, Refresh, SearchResponse, SeqNo, Store,
    StoreError,
};
use tokio::time::Instant;

use crate::metrics::{CallLabels, CallTimes};

/// A store that notes how long its answers take.
#[derive(Debug)]
pub(crate) struct TimedStore {
    inner: Arc<dyn Store>,
    times: CallTimes,
}

impl TimedStore {
    pub(crate) fn new(inner: Arc<dyn Store>, times: CallTimes) -> Self {
        Self { inner, times }
    }

    async fn timed<T>(&self, operation: &'static str, call: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let answer = call.await;
        let seconds = started.elapsed().as_secs_f64();
        self.times.get_or_create(&CallLabels { operation }).observe(seconds);
        answer
    }
}

#[async_trait]
impl Store for TimedStore {
    async fn bulk(&self, operations: Vec<Operation>, refresh: Refresh) -> Result<Vec<Outcome>, StoreError> {
        self.timed("bulk", self.inner.bulk(operations, refresh)).await
    }

    async fn get(&self, index: &str, id: &str) -> Result<Option<Document>, StoreError> {
        self.timed("get", self.inner.get(index, id)).await
    }

    async fn get_newer(&self, index: &str, id: &str, known: SeqNo) -> Result<Newer, StoreError> {
        self.timed("get", self.inner.get_newer(index, id, known)).await
    }

    fn is_exclusive(&self) -> bool {
        self.inner.is_exclusive()
    }

    async fn search(&self, request: SearchRequest) -> Result<SearchResponse, StoreError> {
        self.timed("search", self.inner.search(request)).await
    }

    async fn count(&self, indices: &[String], query: &Query) -> Result<u64, StoreError> {
        self.timed("count", self.inner.count(indices, query)).await
    }

    async fn checkpoint(&self, index: &str) -> Result<Option<SeqNo>, StoreError> {
        self.timed("checkpoint", self.inner.checkpoint(index)).await
    }

    async fn wait_for_checkpoint(
        &self,
        index: &str,
        after: Option<SeqNo>,
        timeout: Duration,
    ) -> Result<Option<SeqNo>, StoreError> {
        self.inner.wait_for_checkpoint(index, after, timeout).await
    }

    async fn refresh(&self, pattern: &str) -> Result<(), StoreError> {
        self.timed("refresh", self.inner.refresh(pattern)).await
    }

    async fn open_point_in_time(&self, indices: &[String], keep_alive: Duration) -> Result<String, StoreError> {
        self.inner.open_point_in_time(indices, keep_alive).await
    }

    async fn close_point_in_time(&self, id: &str) -> Result<bool, StoreError> {
        self.inner.close_point_in_time(id).await
    }

    async fn create_index(&self, name: &str, body: Value) -> Result<(), StoreError> {
        self.inner.create_index(name, body).await
    }

    async fn delete_index(&self, name: &str) -> Result<bool, StoreError> {
        self.inner.delete_index(name).await
    }

    async fn indices(&self, patterns: &[String]) -> Result<Vec<IndexInfo>, StoreError> {
        self.inner.indices(patterns).await
    }

    async fn data_streams(&self, patterns: &[String]) -> Result<Vec<DataStreamInfo>, StoreError> {
        self.inner.data_streams(patterns).await
    }

    async fn rollover(&self, data_stream: &str) -> Result<(String, String), StoreError> {
        self.inner.rollover(data_stream).await
    }

    async fn put_index_template(&self, name: &str, body: Value) -> Result<(), StoreError> {
        self.inner.put_index_template(name, body).await
    }

    async fn delete_index_template(&self, name: &str) -> Result<bool, StoreError> {
        self.inner.delete_index_template(name).await
    }

    async fn put_pipeline(&self, name: &str, body: Value) -> Result<bool, StoreError> {
        self.inner.put_pipeline(name, body).await
    }

    async fn delete_pipeline(&self, name: &str) -> Result<(), StoreError> {
        self.inner.delete_pipeline(name).await
    }

    async fn create_data_stream(&self, name: &str) -> Result<(), StoreError> {
        self.inner.create_data_stream(name).await
    }

    async fn mapping(&self, index: &str) -> Result<Option<Value>, StoreError> {
        self.inner.mapping(index).await
    }

    async fn put_mapping(&self, index: &str, mapping: Value) -> Result<(), StoreError> {
        self.inner.put_mapping(index, mapping).await
    }

    async fn names(&self, patterns: &[String]) -> Result<Vec<Name>, StoreError> {
        self.inner.names(patterns).await
    }

    async fn keep_data_stream_for(&self, name: &str, retention: Option<Duration>) -> Result<(), StoreError> {
        self.inner.keep_data_stream_for(name, retention).await
    }
}
