//! Writes: each operation goes to the half that keeps its index.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use store::{Action, Operation, Outcome, Refresh, Rejection, RejectionKind, StoreError};

use super::EmbeddedStore;
use crate::names;
use crate::streams::Stream;

impl EmbeddedStore {
    pub(super) async fn write(&self, operations: Vec<Operation>, refresh: Refresh) -> Result<Vec<Outcome>, StoreError> {
        let count = operations.len();
        let mut outcomes: Vec<Option<Outcome>> = (0..count).map(|_| None).collect();
        let (mut state, mut state_places) = (Vec::new(), Vec::new());
        let (mut appended, mut appended_places) = (Vec::new(), Vec::new());
        let mut resolved: HashMap<String, Option<Arc<Stream>>> = HashMap::new();
        for (place, operation) in operations.into_iter().enumerate() {
            let stream = if let Some(known) = resolved.get(&operation.index) {
                known.clone()
            } else {
                let found = self.stream_for(&operation).await?;
                resolved.insert(operation.index.clone(), found.clone());
                found
            };
            match (stream, self.refusal(&operation)) {
                (_, Some(rejection)) => outcomes[place] = Some(Outcome::Rejected(rejection)),
                (Some(stream), None) => {
                    appended_places.push(place);
                    appended.push((stream, operation));
                }
                (None, None) => {
                    state_places.push(place);
                    state.push(operation);
                }
            }
        }
        let has_appended = !appended.is_empty();
        let (state, appended) = tokio::join!(self.write_state(state), self.append(appended));
        let parts = [(state_places, state?), (appended_places, appended?)];
        for (places, part) in parts {
            places
                .into_iter()
                .zip(part)
                .for_each(|(place, outcome)| outcomes[place] = Some(outcome));
        }
        if refresh == Refresh::WaitFor && has_appended {
            self.streams.flush().await?;
        }
        let missing = || StoreError::Unavailable("an operation got no outcome".to_owned());
        outcomes
            .into_iter()
            .map(|outcome| outcome.ok_or_else(missing))
            .collect()
    }

    async fn write_state(&self, operations: Vec<Operation>) -> Result<Vec<Outcome>, StoreError> {
        if operations.is_empty() {
            return Ok(Vec::new());
        }
        self.writer()?.bulk(operations).await
    }

    async fn append(&self, operations: Vec<(Arc<Stream>, Operation)>) -> Result<Vec<Outcome>, StoreError> {
        if operations.is_empty() {
            return Ok(Vec::new());
        }
        self.streams.append(operations).await
    }

    /// The data stream that the operation goes to, made when it is missing.
    async fn stream_for(&self, operation: &Operation) -> Result<Option<Arc<Stream>>, StoreError> {
        let name = &operation.index;
        if let Some(stream) = self.streams.get(name) {
            return Ok(Some(stream));
        }
        if self.state.index(name).is_some() || names::check(name).is_err() {
            return Ok(None);
        }
        let templates = self.templates();
        if let Some(template) = names::data_stream_template(&templates, name) {
            return self.create_stream(name, template).await.map(Some);
        }
        let creates = !matches!(operation.action, Action::Delete { .. });
        if creates && names::template_for(&templates, name).is_some() {
            // Another writer may have made it just now.
            match self.make_index(name, Value::Object(Map::new())).await {
                Ok(()) | Err(StoreError::AlreadyExists(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn refusal(&self, operation: &Operation) -> Option<Rejection> {
        let name = &operation.index;
        let reject = |kind, reason| {
            let id = operation.id.clone().unwrap_or_default();
            Some(Rejection {
                index: name.clone(),
                id,
                kind,
                reason,
            })
        };
        let is_stream = self.streams.get(name).is_some();
        if operation.require_data_stream && !is_stream {
            let reason = format!(
                "no such index [{name}] and [require_data_stream] request is [true] and [{name}] is not a data stream"
            );
            return reject(RejectionKind::IndexNotFound, reason);
        }
        if !is_stream && name.starts_with(".ds-") {
            let reason = format!("backing index [{name}] takes no writes: write to its data stream");
            return reject(RejectionKind::IllegalArgument, reason);
        }
        None
    }
}
