//! Points in time, in the words of either family.

use std::time::Duration;

use http::Method;
use query::SearchRequest;
use serde::Deserialize;
use serde_json::json;
use store::StoreError;

use crate::peer::Kind;
use crate::store::Inner;
use crate::wire::{Call, segment};

#[derive(Deserialize)]
struct Opened {
    #[serde(alias = "pit_id")]
    id: String,
}

#[derive(Deserialize)]
struct Closed {
    #[serde(default)]
    num_freed: u64,
}

impl Inner {
    pub(crate) async fn open_point_in_time(
        &self,
        indices: &[String],
        keep_alive: Duration,
    ) -> Result<String, StoreError> {
        let names = if indices.is_empty() {
            "*".to_owned()
        } else {
            indices.join(",")
        };
        let path = match self.peer.kind {
            Kind::OpenSearch => "_search/point_in_time",
            Kind::Elasticsearch | Kind::Flotilla => "_pit",
        };
        let keep_alive = keep_alive.as_millis().max(1);
        let path = format!(
            "/{}/{path}?keep_alive={keep_alive}ms&ignore_unavailable=true",
            segment(&names)
        );
        let opened: Opened = self.send(Call::ask(path)).await?.ok(&names).await?;
        Ok(opened.id)
    }

    pub(crate) async fn close_point_in_time(&self, id: &str) -> Result<bool, StoreError> {
        if self.peer.kind == Kind::OpenSearch {
            return self.close_after_a_look(id).await;
        }
        let call = Call::new(Method::DELETE, "/_pit").json(&json!({ "id": id }));
        let answer = self.send(call).await?;
        match answer.status {
            // What is no id at all (400) is one that is not there.
            400 | 404 => Ok(false),
            _ => Ok(answer.ok::<Closed>(id).await?.num_freed > 0),
        }
    }

    /// OpenSearch reports success for ids that were closed long ago, so it is asked first.
    async fn close_after_a_look(&self, id: &str) -> Result<bool, StoreError> {
        let look = SearchRequest {
            point_in_time: Some(id.to_owned()),
            size: 0,
            track_total_hits: 0,
            ..SearchRequest::default()
        };
        match self.search(&look).await {
            Ok(_) => {}
            Err(StoreError::NoSuchPointInTime(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
        let call = Call::new(Method::DELETE, "/_search/point_in_time").json(&json!({ "pit_id": [id] }));
        let _closed: serde_json::Value = self.send(call).await?.ok(id).await?;
        Ok(true)
    }
}
