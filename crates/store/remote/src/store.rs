//! [`RemoteStore`]: opened once, then the trait's methods, each in a module of its own.

use std::sync::Arc;
use std::time::Duration;

use access::{Access, ApiKeys, NativeIdentities};
use async_trait::async_trait;
use query::{Query, SearchRequest};
use serde_json::Value;
use store::{
    DataStreamInfo, Document, IndexInfo, Name, Operation, Outcome, Refresh, SearchResponse, SeqNo, Store, StoreError,
};

use crate::account_token;
use crate::api_keys::NativeKeys;
use crate::checkpoint::Refreshed;
use crate::error::ConnectError;
use crate::peer::{Kind, Peer};
use crate::ready::Ready;
use crate::settings::RemoteSettings;
use crate::terms::Terms;
use crate::wire::{Answer, Call, Wire};

/// A store behind the Elasticsearch HTTP API.
#[derive(Clone, Debug)]
pub struct RemoteStore {
    inner: Arc<Inner>,
    keys: Option<Arc<dyn ApiKeys>>,
    native: Option<Arc<NativeKeys>>,
}

/// What all parts share.
#[derive(Debug)]
pub(crate) struct Inner {
    wire: Wire,
    pub(crate) peer: Peer,
    pub(crate) ready: Ready,
    pub(crate) terms: Terms,
    pub(crate) refreshed: Refreshed,
}

impl Inner {
    /// Sends a call and checks that the answer is the peer's.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer, StoreError> {
        let answer = self.wire.send(call).await?;
        self.peer.check(&answer, &self.wire.hosts())?;
        Ok(answer)
    }
}

impl RemoteStore {
    /// Finds out what answers at the hosts, and makes there what is missing: templates for data streams, and where the peer
    /// has no API keys, the indices that keep ours.
    ///
    /// # Errors
    /// No host answers, the credential is refused, or something else is there.
    pub async fn connect(settings: RemoteSettings) -> Result<Arc<Self>, ConnectError> {
        let wire = Wire::new(&settings)?;
        let peer = Peer::detect(&wire).await?;
        tracing::info!(
            hosts = %wire.hosts(), product = ?peer.kind, version = %peer.version, api_keys = peer.api_keys,
            fleet = peer.fleet, secrets = peer.secrets, data_streams = peer.data_streams, "connected to the store"
        );
        let inner = Arc::new(Inner {
            wire,
            peer,
            ready: Ready::default(),
            terms: Terms::default(),
            refreshed: Refreshed::default(),
        });
        if let Err(error) = inner.install_templates().await {
            // A credential with few rights is enough where the data streams are there already.
            tracing::warn!(error = %error, "index templates for data streams could not be set; set them as an administrator");
        }
        let bare = Arc::new(Self {
            inner: inner.clone(),
            keys: None,
            native: None,
        });
        if !inner.peer.api_keys {
            let keys: Arc<dyn ApiKeys> = Access::open(bare, settings.clock.clone()).await?;
            return Ok(Arc::new(Self {
                inner,
                keys: Some(keys),
                native: None,
            }));
        }
        let account = account_token::of(&bare, &settings.credential).await?;
        let native = Arc::new(NativeKeys::new(bare, &settings, account.as_ref()));
        Ok(Arc::new(Self {
            keys: Some(native.clone()),
            native: (inner.peer.kind == Kind::Elasticsearch).then_some(native),
            inner,
        }))
    }

    /// As [`RemoteStore::connect`], but makes nothing there: for a credential that may only read.
    ///
    /// # Errors
    /// As [`RemoteStore::connect`].
    pub async fn connect_to_read(settings: RemoteSettings) -> Result<Arc<Self>, ConnectError> {
        let wire = Wire::new(&settings)?;
        let peer = Peer::detect(&wire).await?;
        let inner = Arc::new(Inner {
            wire,
            peer,
            ready: Ready::default(),
            terms: Terms::default(),
            refreshed: Refreshed::default(),
        });
        let bare = Arc::new(Self {
            inner: inner.clone(),
            keys: None,
            native: None,
        });
        let keys: Arc<dyn ApiKeys> = Arc::new(NativeKeys::new(bare, &settings, None));
        Ok(Arc::new(Self {
            inner,
            keys: Some(keys),
            native: None,
        }))
    }

    /// The peer's own API keys and secrets where it has them, else documents of ours in it.
    pub fn api_keys(&self) -> Arc<dyn ApiKeys> {
        Arc::clone(
            self.keys
                .as_ref()
                .expect("`connect`, the only way to a store, sets them"),
        )
    }

    /// Users, keys and tokens that the peer keeps itself, for an [`Access`] beside them; `None` where it keeps none.
    pub fn native_identities(&self) -> Option<Arc<dyn NativeIdentities>> {
        let native = self.native.clone()?;
        Some(native)
    }

    /// The peer's product: `Elasticsearch`, `OpenSearch` or `Flotilla`.
    pub fn product(&self) -> &'static str {
        match self.inner.peer.kind {
            Kind::Flotilla => "Flotilla",
            Kind::Elasticsearch => "Elasticsearch",
            Kind::OpenSearch => "OpenSearch",
        }
    }

    /// The peer's version, such as `9.5.3`.
    pub fn version(&self) -> &str {
        &self.inner.peer.version
    }

    /// Whether agents can be given keys of the peer itself, so that they may ship to it directly.
    pub fn has_native_api_keys(&self) -> bool {
        self.inner.peer.api_keys
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}

#[async_trait]
impl Store for RemoteStore {
    async fn bulk(&self, operations: Vec<Operation>, refresh: Refresh) -> Result<Vec<Outcome>, StoreError> {
        self.inner.bulk(operations, refresh).await
    }

    async fn get(&self, index: &str, id: &str) -> Result<Option<Document>, StoreError> {
        self.inner.get(index, id).await
    }

    async fn search(&self, request: SearchRequest) -> Result<SearchResponse, StoreError> {
        self.inner.search(&request).await
    }

    async fn count(&self, indices: &[String], query: &Query) -> Result<u64, StoreError> {
        self.inner.count(indices, query).await
    }

    async fn checkpoint(&self, index: &str) -> Result<Option<SeqNo>, StoreError> {
        self.inner.checkpoint(index).await
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
        self.inner.refresh(pattern).await
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
        self.inner.list_indices(patterns).await
    }

    async fn data_streams(&self, patterns: &[String]) -> Result<Vec<DataStreamInfo>, StoreError> {
        self.inner.list_data_streams(patterns).await
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
        self.inner.put_pipeline(name, &body).await
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
        self.inner.put_mapping(index, &mapping).await
    }

    async fn names(&self, patterns: &[String]) -> Result<Vec<Name>, StoreError> {
        self.inner.names(patterns).await
    }
}
