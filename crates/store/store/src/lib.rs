//! Documents, written and searched the way Elasticsearch does it: the trait that every store implements.
//!
//! A store keeps JSON documents in indices and data streams, gives every write a strictly rising sequence number within
//! its index (never reused, deletes included), and acknowledges a write only when it would survive a kill -9 or a power cut.
//! What the documents mean is left to the callers; who may read them is the business of `access`.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod text_update;
pub mod update_script;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use query::{Query, SearchRequest};
use serde_json::{Map, Value};

/// A sequence number: strictly rising within an index, from 0.
pub type SeqNo = u64;

/// Documents, written and searched. Implementations pass `conformance::run`.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Writes `operations` in order and returns one outcome for each, at the same position.
    ///
    /// An index that does not exist is created; a name for which a data stream template matches becomes a data stream.
    /// When it returns, every successful outcome is durable. With [`Refresh::WaitFor`] it is visible to searches, too.
    ///
    /// # Errors
    /// Only when the store as a whole cannot answer; a rejected document is an outcome, not an error.
    async fn bulk(&self, operations: Vec<Operation>, refresh: Refresh) -> Result<Vec<Outcome>, StoreError>;

    /// The document, visible as soon as its write was acknowledged (no refresh needed).
    async fn get(&self, index: &str, id: &str) -> Result<Option<Document>, StoreError>;

    /// The document, if it has been written since `known`, the sequence number under which the caller remembers it.
    async fn get_newer(&self, index: &str, id: &str, known: SeqNo) -> Result<Newer, StoreError> {
        Ok(match self.get(index, id).await? {
            None => Newer::Missing,
            Some(document) if document.seq_no == known => Newer::Unchanged,
            Some(document) => Newer::Changed(document),
        })
    }

    /// Whether nobody beside this process can write to it.
    fn is_exclusive(&self) -> bool {
        false
    }

    /// Hits, totals and aggregations.
    async fn search(&self, request: SearchRequest) -> Result<SearchResponse, StoreError>;

    /// How many documents match.
    async fn count(&self, indices: &[String], query: &Query) -> Result<u64, StoreError>;

    /// The highest sequence number up to which every write of `index` is durable and visible; `None` for a missing index.
    async fn checkpoint(&self, index: &str) -> Result<Option<SeqNo>, StoreError>;

    /// Waits until [`Store::checkpoint`] is above `after` (any value when `after` is `None`), at most `timeout`;
    /// returns the checkpoint then, advanced or not.
    async fn wait_for_checkpoint(
        &self,
        index: &str,
        after: Option<SeqNo>,
        timeout: Duration,
    ) -> Result<Option<SeqNo>, StoreError>;

    /// Makes everything acknowledged so far visible to searches.
    async fn refresh(&self, pattern: &str) -> Result<(), StoreError>;

    /// Freezes what the indices hold now; the id goes into [`SearchRequest::point_in_time`].
    async fn open_point_in_time(&self, indices: &[String], keep_alive: Duration) -> Result<String, StoreError>;

    /// Frees a point in time; `false` when there is none of that id.
    async fn close_point_in_time(&self, id: &str) -> Result<bool, StoreError>;

    /// Creates an index; `settings` and `mappings` as in the Elasticsearch body.
    async fn create_index(&self, name: &str, body: Value) -> Result<(), StoreError>;

    /// Deletes an index or data stream; `false` when there is none.
    async fn delete_index(&self, name: &str) -> Result<bool, StoreError>;

    /// The indices (backing indices included) that match any of the patterns.
    async fn indices(&self, patterns: &[String]) -> Result<Vec<IndexInfo>, StoreError>;

    /// The data streams that match any of the patterns.
    async fn data_streams(&self, patterns: &[String]) -> Result<Vec<DataStreamInfo>, StoreError>;

    /// Starts a new backing index of a data stream; returns old and new name.
    async fn rollover(&self, data_stream: &str) -> Result<(String, String), StoreError>;

    /// Sets the index template `name` (patterns, `data_stream`, mappings, priority), as in the Elasticsearch body.
    async fn put_index_template(&self, name: &str, body: Value) -> Result<(), StoreError>;

    /// Removes the index template `name`; what it made stays. `false` when there is none.
    async fn delete_index_template(&self, name: &str) -> Result<bool, StoreError> {
        Err(StoreError::Unsupported(format!(
            "removing the index template [{name}] is not supported by this store"
        )))
    }

    /// Puts an ingest pipeline where the store runs pipelines for those who write to it directly; [`Store::bulk`] takes documents as
    /// they are. `false`: this store runs none, or not this one.
    async fn put_pipeline(&self, _name: &str, _body: Value) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Removes an ingest pipeline that [`Store::put_pipeline`] put; one that is not there does not matter.
    async fn delete_pipeline(&self, _name: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Makes a data stream before its first document, when a template for it exists.
    async fn create_data_stream(&self, name: &str) -> Result<(), StoreError> {
        Err(StoreError::Unsupported(format!(
            "making the data stream [{name}] by itself is not supported by this store; write its first document"
        )))
    }

    /// The merged mapping (`{"properties": ..}`) of an index: declared and dynamic fields.
    async fn mapping(&self, index: &str) -> Result<Option<Value>, StoreError>;

    /// Lays a mapping over that of an index.
    async fn put_mapping(&self, index: &str, _mapping: Value) -> Result<(), StoreError> {
        Err(StoreError::Unsupported(format!(
            "changing the mapping of [{index}] is not supported by this store"
        )))
    }

    /// Which indices and data streams match any of the patterns, without looking into them.
    async fn names(&self, patterns: &[String]) -> Result<Vec<Name>, StoreError> {
        let streams = self.data_streams(patterns).await?.into_iter();
        let indices = self.indices(patterns).await?.into_iter();
        let streams = streams.map(|stream| Name {
            name: stream.name,
            kind: NameKind::DataStream,
        });
        let indices = indices.map(|index| Name {
            kind: index.data_stream.map_or(NameKind::Index, NameKind::Backing),
            name: index.name,
        });
        Ok(streams.chain(indices).collect())
    }

    /// Keeps the documents of a data stream for this long; `None` is what the template or the store says.
    async fn keep_data_stream_for(&self, name: &str, _retention: Option<Duration>) -> Result<(), StoreError> {
        Err(StoreError::Unsupported(format!(
            "a retention of the data stream [{name}] alone is not supported by this store"
        )))
    }
}

/// A name that documents are kept under.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Name {
    /// The name.
    pub name: String,
    /// What it stands for.
    pub kind: NameKind,
}

/// What a name stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NameKind {
    /// An ordinary index.
    Index,
    /// A data stream.
    DataStream,
    /// A backing index of this data stream.
    Backing(String),
}

/// A document's JSON text, checked to be one object.
#[derive(Clone, PartialEq, Eq)]
pub struct Source(Bytes);

impl Source {
    /// Takes over a text that the caller has already checked to be one JSON object.
    pub fn from_checked(text: Bytes) -> Self {
        Self(text)
    }

    /// Writes an object out.
    pub fn from_map(map: &Map<String, Value>) -> Self {
        Self(Bytes::from(
            serde_json::to_vec(map).expect("a map of JSON values can always be written"),
        ))
    }

    /// Any serialisable struct that becomes an object.
    ///
    /// # Panics
    /// When it does not become an object: a mistake in our own types.
    pub fn of<T: serde::Serialize>(value: &T) -> Self {
        let text = serde_json::to_vec(value).expect("our own types can always be written");
        assert_eq!(text.first(), Some(&b'{'), "a document must be an object");
        Self(Bytes::from(text))
    }

    /// The text.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The parsed object.
    pub fn to_value(&self) -> Value {
        serde_json::from_slice(&self.0).unwrap_or(Value::Null)
    }

    /// Reads it as a type.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({} bytes)", self.0.len())
    }
}

/// One write.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Index, alias or data stream.
    pub index: String,
    /// Generated for `Create` and `Index` when missing.
    pub id: Option<String>,
    /// Refuse (404 `index_not_found_exception`) unless `index` is or becomes a data stream.
    pub require_data_stream: bool,
    /// What to do.
    pub action: Action,
}

/// What a write does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Fails with 409 when the id exists. The only action data streams take.
    Create(Source),
    /// Creates or replaces.
    Index {
        /// The new document.
        source: Source,
        /// Compare-and-set; 409 when it does not hold.
        expected: Option<Expected>,
    },
    /// Merges or transforms the present document; 404 when there is none and no upsert.
    Update {
        /// How.
        update: Update,
        /// Compare-and-set.
        expected: Option<Expected>,
    },
    /// Removes; 404 (not an error for the whole) when there is none.
    Delete {
        /// Compare-and-set.
        expected: Option<Expected>,
    },
}

/// What a write expects of the document that is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// Its sequence number is this.
    SeqNo(SeqNo),
    /// Its version is lower, or it is not there; its version becomes `new`. Not for updates.
    Version {
        /// The version that the client counts.
        new: u64,
        /// The present version may also be equal.
        or_equal: bool,
    },
}

impl From<SeqNo> for Expected {
    fn from(seq_no: SeqNo) -> Self {
        Self::SeqNo(seq_no)
    }
}

/// How an update changes a document.
#[derive(Clone, Debug)]
pub enum Update {
    /// `doc`: objects are merged recursively, everything else is replaced; no change at all is `Noop`.
    Merge {
        /// The partial document.
        partial: Map<String, Value>,
        /// Stored when there is no document.
        upsert: Option<Map<String, Value>>,
    },
    /// One of the stock Fleet Server's update scripts, recognised by its parameters.
    /// Source: fleet-server-elasticsearch, update scripts.
    Script(Map<String, Value>),
}

impl Operation {
    /// Creates `id` in `index`.
    pub fn create(index: impl Into<String>, id: impl Into<String>, source: Source) -> Self {
        Self::new(index, Some(id.into()), Action::Create(source))
    }

    /// Appends to a data stream, or creates with a generated id.
    pub fn append(index: impl Into<String>, source: Source) -> Self {
        Self::new(index, None, Action::Create(source))
    }

    /// Creates or replaces `id` in `index`.
    pub fn index(index: impl Into<String>, id: impl Into<String>, source: Source) -> Self {
        Self::new(index, Some(id.into()), Action::Index { source, expected: None })
    }

    /// Replaces `id` only if its sequence number is still `expected`.
    pub fn replace(index: impl Into<String>, id: impl Into<String>, source: Source, expected: SeqNo) -> Self {
        Self::new(
            index,
            Some(id.into()),
            Action::Index {
                source,
                expected: Some(Expected::SeqNo(expected)),
            },
        )
    }

    /// Merges `partial` into `id`.
    pub fn merge(index: impl Into<String>, id: impl Into<String>, partial: Map<String, Value>) -> Self {
        let update = Update::Merge { partial, upsert: None };
        Self::new(index, Some(id.into()), Action::Update { update, expected: None })
    }

    /// Removes `id`.
    pub fn delete(index: impl Into<String>, id: impl Into<String>) -> Self {
        Self::new(index, Some(id.into()), Action::Delete { expected: None })
    }

    fn new(index: impl Into<String>, id: Option<String>, action: Action) -> Self {
        Self {
            index: index.into(),
            id,
            require_data_stream: false,
            action,
        }
    }
}

/// When a write is visible to searches.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Refresh {
    /// Within a second.
    #[default]
    Soon,
    /// Before the call returns.
    WaitFor,
}

/// What became of one operation.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Durable.
    Done(Written),
    /// Not written.
    Rejected(Rejection),
}

impl Outcome {
    /// The write, or the rejection as an error.
    pub fn written(self) -> Result<Written, Rejection> {
        match self {
            Self::Done(written) => Ok(written),
            Self::Rejected(rejection) => Err(rejection),
        }
    }
}

/// A durable write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Written {
    /// The concrete (backing) index.
    pub index: String,
    /// The document's id.
    pub id: String,
    /// Number of writes to this id, from 1.
    pub version: u64,
    /// Its place in the index's history.
    pub seq_no: SeqNo,
    /// What happened.
    pub result: WriteResult,
}

/// `result` of a bulk item.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WriteResult {
    /// 201.
    Created,
    /// 200.
    Updated,
    /// 200.
    Deleted,
    /// 200, nothing changed.
    Noop,
    /// 404: delete of a document that is not there.
    NotFound,
}

/// A refused document.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct Rejection {
    /// The index that was asked for.
    pub index: String,
    /// The id that was asked for or generated.
    pub id: String,
    /// Which rule refused it.
    pub kind: RejectionKind,
    /// In words.
    pub reason: String,
}

/// Why a document was refused; each has one HTTP status and one Elasticsearch error type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RejectionKind {
    /// 409 `version_conflict_engine_exception`.
    VersionConflict,
    /// 404 `document_missing_exception`.
    DocumentMissing,
    /// 404 `index_not_found_exception`.
    IndexNotFound,
    /// 400 `document_parsing_exception`: a value does not fit its mapping.
    Malformed,
    /// 400 `strict_dynamic_mapping_exception`: the mapping takes no new fields.
    StrictMapping,
    /// 400 `illegal_argument_exception`.
    IllegalArgument,
    /// 429 `es_rejected_execution_exception`: try again later.
    TooBusy,
}

/// A stored document.
#[derive(Clone, Debug)]
pub struct Document {
    /// The concrete index.
    pub index: String,
    /// Its id.
    pub id: String,
    /// Number of writes, from 1.
    pub version: u64,
    /// Its place in the index's history.
    pub seq_no: SeqNo,
    /// The text.
    pub source: Source,
}

/// What became of a document that the caller remembers.
#[derive(Clone, Debug)]
pub enum Newer {
    /// It is not there any more.
    Missing,
    /// Nobody has written it since.
    Unchanged,
    /// This is how it is now.
    Changed(Document),
}

/// A search's answer.
#[derive(Clone, Debug, Default)]
pub struct SearchResponse {
    /// The hits of this page.
    pub hits: Vec<Hit>,
    /// How many match.
    pub total: u64,
    /// `total` is a lower bound.
    pub total_is_lower_bound: bool,
    /// Named results in Elasticsearch's shape.
    pub aggregations: Map<String, Value>,
}

/// One hit.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The document; `source` is already filtered.
    pub document: Document,
    /// Present when the request sorted.
    pub sort: Vec<Value>,
    /// Present when it scored.
    pub score: Option<f32>,
    /// `fields` results: name to list of values.
    pub fields: Map<String, Value>,
}

/// An index.
#[derive(Clone, Debug)]
pub struct IndexInfo {
    /// Its name.
    pub name: String,
    /// A stable id.
    pub uuid: String,
    /// The data stream it backs.
    pub data_stream: Option<String>,
    /// Live documents.
    pub documents: u64,
    /// On disk.
    pub bytes: u64,
}

/// A data stream.
#[derive(Clone, Debug)]
pub struct DataStreamInfo {
    /// Its name.
    pub name: String,
    /// Oldest first.
    pub backing_indices: Vec<String>,
    /// Live documents.
    pub documents: u64,
    /// On disk.
    pub bytes: u64,
    /// RFC 3339 of the newest `@timestamp`.
    pub newest_timestamp: Option<String>,
    /// The template that made it.
    pub template: Option<String>,
    /// For how long its documents are kept, when it has a retention of its own.
    pub retention: Option<Duration>,
}

/// Why the store as a whole could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A named index does not exist.
    #[error("no such index [{0}]")]
    IndexNotFound(String),
    /// It exists already.
    #[error("index [{0}] already exists")]
    AlreadyExists(String),
    /// A request that this store cannot serve, with the part that it cannot.
    #[error("{0}")]
    Unsupported(String),
    /// A search or a mapping that does not fit the fields of an index.
    #[error("{0}")]
    Misfit(#[from] query::QueryError),
    /// A point in time that is unknown or expired.
    #[error("no search context found for id [{0}]")]
    NoSuchPointInTime(String),
    /// No room on the disk; reads go on.
    #[error("the disk that holds the store is full: {0}")]
    DiskFull(String),
    /// Overloaded or out of reach for now.
    #[error("the store cannot answer now: {0}")]
    Unavailable(String),
    /// The files are damaged in a way that was not repaired.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}
