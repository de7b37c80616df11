//! A store that can be taken away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use query::{Query, SearchRequest};
use serde_json::Value;
use store::{
    DataStreamInfo, Document, IndexInfo, Newer, Operation, Outcome, Refresh, SearchResponse, SeqNo, Store, StoreError,
};

/// Passes everything on, unless it is away.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn Store>,
    away: AtomicBool,
    pub(crate) bulks: AtomicU64,
    pub(crate) gets: AtomicU64,
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            away: AtomicBool::new(false),
            bulks: AtomicU64::new(0),
            gets: AtomicU64::new(0),
        })
    }

    pub(crate) fn take_away(&self) {
        self.away.store(true, Ordering::SeqCst);
    }

    pub(crate) fn bring_back(&self) {
        self.away.store(false, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.away.load(Ordering::SeqCst) {
            Err(StoreError::Unavailable("taken away".into()))
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn bulk(&self, operations: Vec<Operation>, refresh: Refresh) -> Result<Vec<Outcome>, StoreError> {
        self.check()?;
        self.bulks.fetch_add(1, Ordering::SeqCst);
        self.inner.bulk(operations, refresh).await
    }

    async fn get(&self, index: &str, id: &str) -> Result<Option<Document>, StoreError> {
        self.check()?;
        self.gets.fetch_add(1, Ordering::SeqCst);
        self.inner.get(index, id).await
    }

    async fn get_newer(&self, index: &str, id: &str, known: SeqNo) -> Result<Newer, StoreError> {
        self.check()?;
        let newer = self.inner.get_newer(index, id, known).await;
        if !matches!(newer, Ok(Newer::Unchanged)) {
            self.gets.fetch_add(1, Ordering::SeqCst);
        }
        newer
    }

    fn is_exclusive(&self) -> bool {
        self.inner.is_exclusive()
    }

    async fn search(&self, request: SearchRequest) -> Result<SearchResponse, StoreError> {
        self.check()?;
        self.inner.search(request).await
    }

    async fn count(&self, indices: &[String], query: &Query) -> Result<u64, StoreError> {
        self.check()?;
        self.inner.count(indices, query).await
    }

    async fn checkpoint(&self, index: &str) -> Result<Option<SeqNo>, StoreError> {
        self.check()?;
        self.inner.checkpoint(index).await
    }

    async fn wait_for_checkpoint(
        &self,
        index: &str,
        after: Option<SeqNo>,
        timeout: Duration,
    ) -> Result<Option<SeqNo>, StoreError> {
        self.check()?;
        let waited = self.inner.wait_for_checkpoint(index, after, timeout).await;
        self.check()?;
        waited
    }

    async fn refresh(&self, pattern: &str) -> Result<(), StoreError> {
        self.check()?;
        self.inner.refresh(pattern).await
    }

    async fn open_point_in_time(&self, indices: &[String], keep_alive: Duration) -> Result<String, StoreError> {
        self.inner.open_point_in_time(indices, keep_alive).await
    }

    async fn close_point_in_time(&self, id: &str) -> Result<bool, StoreError> {
        self.inner.close_point_in_time(id).await
    }

    async fn create_index(&self, name: &str, body: Value) -> Result<(), StoreError> {
        self.check()?;
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

    async fn mapping(&self, index: &str) -> Result<Option<Value>, StoreError> {
        self.inner.mapping(index).await
    }
}
