//! [`ElasticsearchApi`]: what the handlers share, and the router.

use std::sync::Arc;

use access::Access;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use clock::SharedClock;
use store::Store;
use tokio::sync::Semaphore;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;

use crate::catalog::Catalogs;
use crate::scroll::Scrolls;
use crate::{answer, routes};

/// Bytes of bodies that may be in work at once; beyond it, 429. The original's bound is a tenth of its heap.
const BODY_BYTES_AT_ONCE: usize = 256 * 1024 * 1024;
/// Answers below this are sent as they are.
const COMPRESS_ABOVE: u64 = 4096;

/// What the API says about itself.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// `cluster_name`.
    pub cluster_name: String,
    /// The node's name.
    pub node_name: String,
    /// A stable id of this store, 22 characters or a UUID.
    pub cluster_uuid: String,
    /// The version of Elasticsearch whose behaviour it has, such as `9.2.0`.
    pub version: String,
}

/// The API over one store.
#[derive(Debug)]
pub struct ElasticsearchApi {
    pub(crate) settings: ApiSettings,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) access: Arc<Access>,
    pub(crate) clock: SharedClock,
    pub(crate) catalogs: Catalogs,
    pub(crate) scrolls: Scrolls,
    /// One permit for each KiB of bodies in work.
    pub(crate) body_memory: Arc<Semaphore>,
}

impl ElasticsearchApi {
    /// Makes the API.
    pub fn new(settings: ApiSettings, store: Arc<dyn Store>, access: Arc<Access>, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self {
            settings,
            store,
            access,
            clock,
            catalogs: Catalogs::default(),
            scrolls: Scrolls::default(),
            body_memory: Arc::new(Semaphore::new(BODY_BYTES_AT_ONCE / 1024)),
        })
    }

    /// Every route, ready to be served.
    pub fn router(self: &Arc<Self>) -> Router {
        let mut router = Router::new();
        for route in routes::routes() {
            router = router.route(route.path, route.handler);
        }
        router
            .fallback(routes::no_handler)
            .method_not_allowed_fallback(routes::wrong_method)
            // `payload` bounds bodies itself, after decompression.
            .layer(DefaultBodyLimit::disable())
            .layer(middleware::from_fn(answer::finish))
            .layer(
                CompressionLayer::new()
                    .gzip(true)
                    .compress_when(SizeAbove::new(COMPRESS_ABOVE)),
            )
            .with_state(Arc::clone(self))
    }
}
