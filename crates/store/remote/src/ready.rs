//! Before the first write to a name: an index with a useful mapping, or a data stream.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use http::Method;
use query::pattern;
use serde_json::json;
use store::{Operation, Outcome, RejectionKind, StoreError};

use crate::error::Failure;
use crate::item;
use crate::mappings;
use crate::peer::{Kind, Peer};
use crate::store::Inner;
use crate::wire::{Call, segment};

/// Names of these shapes are data streams. Source: Elasticsearch, the data stream naming scheme.
pub(crate) const STREAM_PATTERNS: &[&str] = &["logs-*-*", "metrics-*-*", "traces-*-*", "synthetics-*-*"];

/// Names that a full Elasticsearch makes by itself, with mappings and templates of its own.
/// Source: fleet-server-elasticsearch, indices.
const SYSTEM_PATTERNS: &[&str] = &[
    ".fleet-agents",
    ".fleet-policies",
    ".fleet-actions",
    ".fleet-actions-results",
    ".fleet-enrollment-api-keys",
    ".fleet-artifacts",
    ".fleet-servers",
    ".fleet-policies-leader",
    ".fleet-fileds-*",
];

/// Names that are remembered; beyond it all are forgotten, which costs one request each.
const MOST: usize = 10_000;

/// What a name is known to stand for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum What {
    Index,
    DataStream,
}

/// Names that need no look any more.
#[derive(Debug, Default)]
pub(crate) struct Ready(Mutex<HashMap<String, What>>);

impl Ready {
    pub(crate) fn is_data_stream(&self, name: &str) -> bool {
        self.what(name) == Some(What::DataStream)
    }

    pub(crate) fn forget(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn what(&self, name: &str) -> Option<What> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    fn remember(&self, name: &str, what: What) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > MOST {
            known.clear();
        }
        known.insert(name.to_owned(), what);
    }
}

fn fits(patterns: &[&str], name: &str) -> bool {
    patterns.iter().any(|one| pattern::wildcard(one, name))
}

/// Whether the peer makes this name itself when it is first written to.
pub(crate) fn is_made_by_the_peer(peer: &Peer, name: &str) -> bool {
    peer.kind == Kind::Flotilla || peer.fleet && fits(SYSTEM_PATTERNS, name)
}

impl Inner {
    /// Looks at the names of a bulk that were not seen before; answers the operations that cannot be sent.
    pub(crate) async fn make_ready(&self, operations: &[Operation]) -> Result<Vec<Option<Outcome>>, StoreError> {
        let mut outcomes: Vec<Option<Outcome>> = operations.iter().map(|_| None).collect();
        if self.peer.kind == Kind::Flotilla {
            return Ok(outcomes);
        }
        let mut last = "";
        for (operation, outcome) in operations.iter().zip(&mut outcomes) {
            if operation.require_data_stream {
                *outcome = self.require_data_stream(operation).await?;
            } else if operation.index != last {
                self.make_name_ready(&operation.index).await?;
                last = &operation.index;
            }
        }
        Ok(outcomes)
    }

    async fn make_name_ready(&self, name: &str) -> Result<(), StoreError> {
        if self.ready.what(name).is_some() || name.is_empty() || name.starts_with(".ds-") {
            return Ok(());
        }
        if fits(STREAM_PATTERNS, name) {
            self.ready.remember(name, What::DataStream);
            return Ok(());
        }
        if is_made_by_the_peer(&self.peer, name) {
            self.ready.remember(name, What::Index);
            return Ok(());
        }
        let call = Call::new(Method::PUT, format!("/{}", segment(name))).json(&mappings::of_new_index(name));
        let answer = self.send(call).await?;
        let (status, failure) = (answer.status, Failure::of_body(&answer.body));
        if answer.is_success() {
            tracing::info!(index = name, "index made");
            self.ready.remember(name, What::Index);
        } else if failure.reason().contains("creates data streams only") {
            self.ready.remember(name, What::DataStream);
        } else if failure.kind == "resource_already_exists_exception" || matches!(status, 401 | 403) {
            // Who may write but not create leaves the making to the peer.
            self.ready.remember(name, What::Index);
        } else if status == 429 || status >= 500 {
            return Err(failure.into_error(status, name));
        }
        // What is left is a name that cannot be; the operation will say so.
        Ok(())
    }

    /// OpenSearch does not know the request's own key for this.
    async fn require_data_stream(&self, operation: &Operation) -> Result<Option<Outcome>, StoreError> {
        let name = operation.index.as_str();
        if self.peer.kind != Kind::OpenSearch || self.ready.is_data_stream(name) {
            return Ok(None);
        }
        if fits(STREAM_PATTERNS, name) {
            self.ready.remember(name, What::DataStream);
            return Ok(None);
        }
        let call = Call::new(Method::PUT, format!("/_data_stream/{}", segment(name))).json(&json!({}));
        let answer = self.send(call).await?;
        let (status, failure) = (answer.status, Failure::of_body(&answer.body));
        if answer.is_success() || failure.kind == "resource_already_exists_exception" {
            self.ready.remember(name, What::DataStream);
            return Ok(None);
        }
        if status == 429 || status >= 500 {
            return Err(failure.into_error(status, name));
        }
        let reason = format!(
            "no such index [{name}] and [require_data_stream] request flag is [true] and [{name}] is not a data stream"
        );
        Ok(Some(item::rejected(operation, RejectionKind::IndexNotFound, reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_full_elasticsearch_makes() {
        let peer = |kind, fleet| Peer {
            kind,
            version: "9.5.3".to_owned(),
            api_keys: true,
            fleet,
            secrets: fleet,
            data_streams: true,
        };
        for (kind, fleet, name, expected) in [
            (Kind::Elasticsearch, true, ".fleet-agents", true),
            (Kind::Elasticsearch, true, ".fleet-fileds-fromhost-data-agent", true),
            (Kind::Elasticsearch, true, ".fleet-enrollment-api-keys-uses", false),
            (Kind::Elasticsearch, false, ".fleet-agents", false),
            (Kind::OpenSearch, false, ".fleet-agents", false),
            (Kind::Flotilla, true, "anything", true),
        ] {
            assert_eq!(
                is_made_by_the_peer(&peer(kind, fleet), name),
                expected,
                "{kind:?} {name}"
            );
        }
    }
}
