//! [`EmbeddedStore`]: names are resolved here, and the two halves' answers are put together.

mod lifecycle;
mod reading;
mod writing;

pub(crate) use reading::blocking;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use query::{Query, SearchRequest};
use serde_json::Value;
use store::{
    DataStreamInfo, Document, IndexInfo, Name, Newer, Operation, Outcome, Refresh, SearchResponse, SeqNo, Store,
    StoreError,
};
use tokio::sync::watch;

use crate::folder::{Folder, OpenError};
use crate::names::{self, Template};
use crate::options::EmbeddedOptions;
use crate::point_in_time::PointsInTime;
use crate::state::writer::WriterQueue;
use crate::state::{State, catalogue};
use crate::streams::Streams;

/// Documents in one folder.
#[derive(Debug)]
pub struct EmbeddedStore {
    options: EmbeddedOptions,
    pub(crate) state: Arc<State>,
    writer: Mutex<Option<WriterQueue>>,
    writer_thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    pub(crate) streams: Arc<Streams>,
    templates: RwLock<Vec<Template>>,
    /// Of single data streams.
    retention: RwLock<HashMap<String, Duration>>,
    points_in_time: PointsInTime,
    /// Streams that are being made, so that two writers do not make the same one.
    creating: tokio::sync::Mutex<()>,
    folder: Mutex<Option<Folder>>,
}

impl EmbeddedStore {
    /// Opens the folder, or makes it; repairs what a crash left and replays the log.
    ///
    /// # Errors
    /// When the folder cannot be used, is held by another process, was written by a newer program or is damaged.
    pub fn open(options: EmbeddedOptions) -> Result<Arc<Self>, OpenError> {
        let folder = Folder::open(&options.directory)?;
        let path = folder.path.join("state.db");
        let damaged = |error: rusqlite::Error| OpenError::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        };
        let (state, connection) = State::open(&path)?;
        let streams = catalogue::streams(&connection).map_err(damaged)?;
        let backing = catalogue::backing(&connection).map_err(damaged)?;
        let templates = catalogue::templates(&connection).map_err(damaged)?;
        let retention = catalogue::retention(&connection).map_err(damaged)?;
        let streams = Streams::open(&folder.path, &streams, backing, options.search_idle_after)?;
        let state = Arc::new(state);
        let failed = |source| OpenError::Folder {
            path: options.directory.clone(),
            source,
        };
        let (writer, thread) = WriterQueue::start(connection, state.clone()).map_err(failed)?;
        let store = Arc::new(Self {
            state,
            writer: Mutex::new(Some(writer)),
            writer_thread: Mutex::new(Some(thread)),
            streams: Arc::new(streams),
            templates: RwLock::new(templates),
            retention: RwLock::new(retention),
            points_in_time: PointsInTime::default(),
            creating: tokio::sync::Mutex::new(()),
            folder: Mutex::new(Some(folder)),
            options,
        });
        store.declare_mappings();
        Ok(store)
    }

    /// Makes everything visible and durable, ends the threads and gives the folder free. Calls afterwards fail.
    pub fn close(&self) {
        self.points_in_time.clear();
        self.streams.close();
        drop(self.writer.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.writer_thread.lock().unwrap_or_else(PoisonError::into_inner).take()
            && thread.join().is_err()
        {
            tracing::error!("the state writer ended with a panic");
        }
        drop(self.folder.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    pub(crate) fn writer(&self) -> Result<WriterQueue, StoreError> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer
            .clone()
            .ok_or_else(|| StoreError::Unavailable("the store is closed".to_owned()))
    }

    fn templates(&self) -> Vec<Template> {
        self.templates.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows the checkpoint of an index or data stream.
    fn watch(&self, index: &str) -> watch::Receiver<Option<SeqNo>> {
        match self.streams.get(index) {
            Some(stream) => stream.watch(),
            None => self.state.watch(index),
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn bulk(&self, operations: Vec<Operation>, refresh: Refresh) -> Result<Vec<Outcome>, StoreError> {
        self.write(operations, refresh).await
    }

    async fn get(&self, index: &str, id: &str) -> Result<Option<Document>, StoreError> {
        self.read_document(index, id).await
    }

    async fn get_newer(&self, index: &str, id: &str, known: SeqNo) -> Result<Newer, StoreError> {
        self.read_newer(index, id, known).await
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    async fn search(&self, request: SearchRequest) -> Result<SearchResponse, StoreError> {
        self.run_search(request).await
    }

    async fn count(&self, indices: &[String], query: &Query) -> Result<u64, StoreError> {
        self.run_count(indices, query).await
    }

    async fn checkpoint(&self, index: &str) -> Result<Option<SeqNo>, StoreError> {
        self.catch_up(&[index.to_owned()]).await;
        Ok(*self.watch(index).borrow())
    }

    async fn wait_for_checkpoint(
        &self,
        index: &str,
        after: Option<SeqNo>,
        timeout: Duration,
    ) -> Result<Option<SeqNo>, StoreError> {
        self.catch_up(&[index.to_owned()]).await;
        let mut checkpoint = self.watch(index);
        let advanced = checkpoint.wait_for(|now| now.is_some() && *now > after);
        // A timeout is an answer: the checkpoint as it is.
        drop(tokio::time::timeout(timeout, advanced).await);
        let now = *self.watch(index).borrow();
        Ok(now)
    }

    async fn refresh(&self, _pattern: &str) -> Result<(), StoreError> {
        self.streams.flush().await
    }

    async fn open_point_in_time(&self, indices: &[String], keep_alive: Duration) -> Result<String, StoreError> {
        self.freeze(indices, keep_alive).await
    }

    async fn close_point_in_time(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self.points_in_time.remove(id))
    }

    async fn create_index(&self, name: &str, body: Value) -> Result<(), StoreError> {
        self.make_index(name, body).await
    }

    async fn delete_index(&self, name: &str) -> Result<bool, StoreError> {
        self.drop_index(name).await
    }

    async fn indices(&self, patterns: &[String]) -> Result<Vec<IndexInfo>, StoreError> {
        self.catch_up(patterns).await;
        self.list_indices(patterns).await
    }

    async fn data_streams(&self, patterns: &[String]) -> Result<Vec<DataStreamInfo>, StoreError> {
        self.list_data_streams(patterns).await
    }

    async fn rollover(&self, data_stream: &str) -> Result<(String, String), StoreError> {
        self.roll_over(data_stream).await
    }

    async fn put_index_template(&self, name: &str, body: Value) -> Result<(), StoreError> {
        self.set_template(name, body).await
    }

    async fn delete_index_template(&self, name: &str) -> Result<bool, StoreError> {
        self.remove_template(name).await
    }

    async fn create_data_stream(&self, name: &str) -> Result<(), StoreError> {
        names::check(name).map_err(StoreError::Unsupported)?;
        if self.streams.get(name).is_some() {
            return Err(StoreError::AlreadyExists(name.to_owned()));
        }
        let Some(template) = names::data_stream_template(&self.templates(), name) else {
            return Err(StoreError::Unsupported(format!(
                "no matching index template with [data_stream] found for data stream [{name}]"
            )));
        };
        self.create_stream(name, template).await.map(|_| ())
    }

    async fn mapping(&self, index: &str) -> Result<Option<Value>, StoreError> {
        self.catch_up(&[index.to_owned()]).await;
        self.merged_mapping(index).await
    }

    async fn put_mapping(&self, index: &str, mapping: Value) -> Result<(), StoreError> {
        self.change_mapping(index, mapping).await
    }

    async fn names(&self, patterns: &[String]) -> Result<Vec<Name>, StoreError> {
        Ok(self.known_names(patterns))
    }

    async fn keep_data_stream_for(&self, name: &str, retention: Option<Duration>) -> Result<(), StoreError> {
        self.set_retention(name, retention).await
    }
}
