//! Who asks: API keys from the `Authorization` header, and the agent that a key belongs to.

use std::sync::Arc;

use access::AuthenticationError;
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use protocol::{AgentId, indices};
use secret::Secret;
use store::{Document, Newer, SeqNo};
use tokio::time::Instant;

use crate::agent_record::{AgentRecord, StoredReport, find_by_access_key};
use crate::error::ApiError;
use crate::registry::{DocumentWrite, VerifiedKey};
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
    /// Nobody has written the document since it was read: it was not read again, and `report` is empty.
    pub(crate) is_unchanged: bool,
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
        checked(key, self.keys.authenticate(&key.pair).await).map(drop)
    }

    /// The agent of the path, when the key is its own.
    pub(crate) async fn authenticate_agent(
        &self,
        headers: &HeaderMap,
        id: &AgentId,
    ) -> Result<AuthenticatedAgent, ApiError> {
        let key = ShownKey::from_headers(headers)?;
        let verified = match self.verify(&key, id).await {
            Ok(verified) => verified,
            Err(error) if error.is_store_unavailable() => return self.remembered_agent(&key, id).ok_or(error),
            Err(error) => return Err(error),
        };
        match self.read_agent(&key, id, verified).await {
            Err(error) if error.is_store_unavailable() => self.remembered_agent(&key, id).ok_or(error),
            result => result,
        }
    }

    /// Checks an agent's key, or finds that it was good and that no key was revoked since.
    async fn verify(&self, key: &ShownKey, id: &AgentId) -> Result<VerifiedKey, ApiError> {
        let hash = key.hash();
        let known = self
            .agents
            .find(id.as_str())
            .and_then(|entry| entry.state().verified_key);
        if let Some(known) = known
            && known.revocations == Some(self.keys.revocations())
            && known.at.elapsed() < self.settings.cache.ttl_api_key
            && secret::constant_time_eq(&known.hash, &hash)
        {
            return Ok(known);
        }
        let revocations = checked(key, self.keys.authenticate_lasting(&key.pair).await)?;
        Ok(VerifiedKey {
            hash,
            at: Instant::now(),
            revocations,
        })
    }

    /// The agent's document, read unless nobody has written it since this server did.
    async fn read_agent(
        &self,
        key: &ShownKey,
        id: &AgentId,
        verified: VerifiedKey,
    ) -> Result<AuthenticatedAgent, ApiError> {
        let known = self.agents.find(id.as_str()).and_then(|entry| {
            let state = entry.state();
            Some((state.record.clone()?, state.write?))
        });
        let Some((record, write)) = known else {
            let document = self.store.get(indices::AGENTS, id.as_str()).await?;
            return self.remember(key, id, document.as_ref(), verified);
        };
        match self.store.get_newer(indices::AGENTS, id.as_str(), write.seq_no).await? {
            Newer::Missing => Err(ApiError::AgentIdentity),
            Newer::Changed(document) => self.remember(key, id, Some(&document), verified),
            Newer::Unchanged => {
                self.admit(key, id, &record)?;
                self.agents.entry(id).state().verified_key = Some(verified);
                Ok(AuthenticatedAgent {
                    id: id.clone(),
                    record,
                    report: StoredReport::default(),
                    seq_no: write.seq_no,
                    is_from_memory: false,
                    is_unchanged: true,
                })
            }
        }
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
        self.admit(key, &id, &record)?;
        Ok(AuthenticatedAgent {
            id,
            record: Arc::new(record),
            report,
            seq_no: document.seq_no,
            is_from_memory: false,
            is_unchanged: false,
        })
    }

    /// Whether the key is this agent's, and the agent one that may still come.
    fn admit(&self, key: &ShownKey, id: &AgentId, record: &AgentRecord) -> Result<(), ApiError> {
        if record.access_api_key_id.as_str() != key.id {
            return Err(ApiError::AgentIdentity);
        }
        if !record.active {
            self.agents.remove(id);
            return Err(ApiError::AgentInactive);
        }
        Ok(())
    }

    /// The agent of a document that was just read, which is kept in mind.
    fn remember(
        &self,
        key: &ShownKey,
        id: &AgentId,
        document: Option<&Document>,
        verified: VerifiedKey,
    ) -> Result<AuthenticatedAgent, ApiError> {
        let document = document.ok_or(ApiError::AgentIdentity)?;
        let agent = self.agent_of(key, id.clone(), document)?;
        let entry = self.agents.entry(id);
        let mut state = entry.state();
        state.record = Some(Arc::clone(&agent.record));
        // Somebody else may have written another report since: this one is compared with what stands there.
        (state.metadata, state.components, state.rollbacks) = (None, None, None);
        state.write = Some(DocumentWrite {
            seq_no: document.seq_no,
            version: document.version,
        });
        state.verified_key = Some(verified);
        drop(state);
        Ok(agent)
    }

    /// The agent as it was when the store could last be asked, if that is not long ago and the key is the same.
    fn remembered_agent(&self, key: &ShownKey, id: &AgentId) -> Option<AuthenticatedAgent> {
        let entry = self.agents.find(id.as_str())?;
        let state = entry.state();
        let verified = state.verified_key?;
        let is_fresh = verified.at.elapsed() < self.settings.cache.ttl_api_key;
        if !is_fresh || !secret::constant_time_eq(&verified.hash, &key.hash()) {
            return None;
        }
        let record = Arc::clone(state.record.as_ref()?);
        Some(AuthenticatedAgent {
            id: id.clone(),
            record,
            report: StoredReport::default(),
            seq_no: 0,
            is_from_memory: true,
            is_unchanged: false,
        })
    }
}

/// What the check of a key comes down to; why it is refused is for the log.
fn checked<T>(key: &ShownKey, checked: Result<T, AuthenticationError>) -> Result<T, ApiError> {
    checked.map_err(|error| match error {
        AuthenticationError::Rejected(reason) => {
            tracing::debug!(api_key.id = %key.id, reason = %reason, "API key refused");
            ApiError::Unauthorized
        }
        AuthenticationError::Unchecked(error) => error.into(),
    })
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
