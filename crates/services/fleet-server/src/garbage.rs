//! Removes actions that expired long ago.

use std::sync::Arc;

use protocol::indices;
use query::{Query, SearchRequest, SourceFilter};
use store::{Operation, Refresh, StoreError};
use tokio_util::sync::CancellationToken;

use crate::server::FleetServer;

/// Documents removed at once.
const PAGE: usize = 1000;

/// Removes until `stop`.
pub(crate) async fn remove_old_actions(server: Arc<FleetServer>, stop: CancellationToken) {
    let interval = server
        .settings
        .gc
        .schedule_interval
        .max(std::time::Duration::from_secs(1));
    loop {
        if stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_none() {
            return;
        }
        match remove(&server).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "expired actions were removed"),
            Err(error) => tracing::warn!(error = %error, "expired actions could not be removed"),
        }
    }
}

async fn remove(server: &FleetServer) -> Result<usize, StoreError> {
    let age =
        jiff::SignedDuration::try_from(server.settings.gc.cleanup_after_expired).unwrap_or(jiff::SignedDuration::MAX);
    let Ok(before) = server.clock.now().saturating_sub(age) else {
        return Ok(0);
    };
    let old = Query::at_most("expiration", clock::rfc3339_seconds(before));
    let mut removed = 0;
    loop {
        let mut request = SearchRequest::new(indices::ACTIONS).query(old.clone()).size(PAGE);
        request.source = SourceFilter::None;
        let hits = server.store.search(request).await?.hits;
        let is_last = hits.len() < PAGE;
        let deletes: Vec<_> = hits
            .into_iter()
            .map(|hit| Operation::delete(hit.document.index, hit.document.id))
            .collect();
        removed += deletes.len();
        if !deletes.is_empty() {
            server.store.bulk(deletes, Refresh::WaitFor).await?;
        }
        if is_last {
            return Ok(removed);
        }
    }
}
