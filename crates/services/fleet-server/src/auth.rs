//! Who asks: API keys from the `Authorization` header, and the agent that a key belongs to.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use protocol::{AgentId, indices};
use secret::Secret;
use store::{Document, SeqNo, StoreError};
use tokio::time::Instant;

use crate::agent_record::{AgentRecord, StoredReport, find_by_access_key};
use crate::error::ApiError;
use crate::server::FleetServer;

/// An API key as it was shown: not yet checked.
#[derive(Clone, Debug)]
pub(crate) struct ShownKey {
    /// Public half.
    pub(crate) id: String,
    /// `id:key`.
    pub(crate) pair: Secret,
}

/// An agent that proved who it is.
#[derive(Debug)]
pub(crate) struct AuthenticatedAgent {
    pub(crate) id: AgentId,
    pub(crate) record: Arc<AgentRecord>,
    pub(crate) report: StoredReport,
    /// The number of the last write of its document.
    pub(crate) seq_no: SeqNo,
    /// The store could not be asked: `record` is what it last said, and `report` is empty.
    pub(crate) is_from_memory: bool,
}

impl ShownKey {
    /// Reads the header: one value, `ApiKey <base64 of id:key>`.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(ApiError::NoAuthHeader)?;
        if values.next().is_some() {
            return Err(ApiError::MalformedHeader);
        }
        let value = value.to_str().map_err(|_| ApiError::MalformedHeader)?;
        let token = value.strip_prefix("ApiKey ").ok_or(ApiError::MalformedHeader)?.trim();
        let pair = STANDARD
            .decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = pair.ok_or(ApiError::InvalidToken)?;
        match pair.split(':').collect::<Vec<_>>()[..] {
            [id, key] if !id.is_empty() && !key.is_empty() => Ok(Self {
                id: id.to_owned(),
                pair: Secret::from(pair),
            }),
            _ => Err(ApiError::MalformedToken),
        }
    }

    /// The secret half.
    pub(crate) fn key(&self) -> &str {
        self.pair.expose().split_once(':').map_or("", |(_, key)| key)
    }

    fn hash(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, self.pair.expose().as_bytes()).as_ref());
        hash
    }
}

impl FleetServer {
    /// The key of the request, checked.
    pub(crate) async fn authenticate(&self, headers: &HeaderMap) -> Result<ShownKey, ApiError> {
        let key = ShownKey::from_headers(headers)?;
        self.check_key(&key).await?;
        Ok(key)
    }

    pub(crate) async fn check_key(&self, key: &ShownKey) -> Result<(), ApiError> {
        match self.keys.authenticate(&key.pair).await {
            Ok(_) => Ok(()),
            Err(access::AuthenticationError::Rejected(reason)) => {
                tracing::debug!(api_key.id = %key.id, reason = %reason, "API key refused");
                Err(ApiError::Unauthorized)
            }
            Err(access::AuthenticationError::Unchecked(error)) => Err(error.into()),
        }
    }

    /// The agent of the path, when the key is its own.
    pub(crate) async fn authenticate_agent(
        &self,
        headers: &HeaderMap,
        id: &AgentId,
    ) -> Result<AuthenticatedAgent, ApiError> {
        let key = ShownKey::from_headers(headers)?;
        match self.check_key(&key).await {
            Ok(()) => {}
            Err(error) if error.is_store_unavailable() => return self.remembered_agent(&key, id).ok_or(error),
            Err(error) => return Err(error),
        }
        let document = match self.store.get(indices::AGENTS, id.as_str()).await {
            Ok(document) => document.ok_or(ApiError::AgentIdentity)?,
            Err(error @ StoreError::Unavailable(_)) => {
                return self.remembered_agent(&key, id).ok_or_else(|| error.into());
            }
            Err(error) => return Err(error.into()),
        };
        let agent = self.agent_of(&key, id.clone(), &document)?;
        self.remember(&agent, &key);
        Ok(agent)
    }

    /// The agent that the key belongs to, where the path does not name it.
    pub(crate) async fn authenticate_agent_by_key(&self, headers: &HeaderMap) -> Result<AuthenticatedAgent, ApiError> {
        let key = self.authenticate(headers).await?;
        let document = find_by_access_key(&*self.store, &key.id)
            .await?
            .ok_or(ApiError::AgentNotFound)?;
        self.agent_of(&key, document.id.as_str().into(), &document)
    }

    fn agent_of(&self, key: &ShownKey, id: AgentId, document: &Document) -> Result<AuthenticatedAgent, ApiError> {
        let (record, report) = AgentRecord::read(&document.source)?;
        if record.access_api_key_id.as_str() != key.id {
            return Err(ApiError::AgentIdentity);
        }
        if !record.active {
            self.agents.remove(&id);
            return Err(ApiError::AgentInactive);
        }
        Ok(AuthenticatedAgent {
            id,
            record: Arc::new(record),
            report,
            seq_no: document.seq_no,
            is_from_memory: false,
        })
    }

    fn remember(&self, agent: &AuthenticatedAgent, key: &ShownKey) {
        let entry = self.agents.entry(&agent.id);
        let mut state = entry.state();
        state.record = Some(Arc::clone(&agent.record));
        state.verified_key = Some((key.hash(), Instant::now()));
    }

    /// The agent as it was when the store could last be asked, if that is not long ago and the key is the same.
    fn remembered_agent(&self, key: &ShownKey, id: &AgentId) -> Option<AuthenticatedAgent> {
        let entry = self.agents.find(id.as_str())?;
        let state = entry.state();
        let (hash, verified) = state.verified_key.as_ref()?;
        let is_fresh = verified.elapsed() < self.settings.cache.ttl_api_key;
        if !is_fresh || !secret::constant_time_eq(hash, &key.hash()) {
            return None;
        }
        let record = Arc::clone(state.record.as_ref()?);
        Some(AuthenticatedAgent {
            id: id.clone(),
            record,
            report: StoredReport::default(),
            seq_no: 0,
            is_from_memory: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_strictly() {
        let check = |values: &[&str], expected: Result<(&str, &str), &str>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            let found = ShownKey::from_headers(&headers);
            let found = found
                .as_ref()
                .map(|key| (key.id.as_str(), key.key()))
                .map_err(ApiError::code);
            assert_eq!(found, expected, "{values:?}");
        };
        check(&["ApiKey aWQ6a2V5"], Ok(("id", "key")));
        check(&["ApiKey   aWQ6a2V5 "], Ok(("id", "key")));
        check(&[], Err("ErrNoAuthHeader"));
        check(&["apikey aWQ6a2V5"], Err("ErrMalformedHeader"));
        check(&["Bearer aWQ6a2V5"], Err("ErrMalformedHeader"));
        check(&["ApiKey aWQ6a2V5", "ApiKey aWQ6a2V5"], Err("ErrMalformedHeader"));
        check(&["ApiKey !!!"], Err("ErrInvalidToken"));
        check(&["ApiKey /w=="], Err("ErrInvalidToken"));
        check(&["ApiKey bm9jb2xvbg=="], Err("ErrMalformedToken"));
        check(&["ApiKey YTpiOmM="], Err("ErrMalformedToken"));
    }
}
