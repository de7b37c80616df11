//! Enrollment tokens: which policy a key enrols into, and the bounds on its use (expiry, number of uses, addresses).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use protocol::{EnrollmentApiKeyDocument, PolicyId, indices};
use query::{Query, SearchRequest};
use store::{Action, Operation, Outcome, Refresh, RejectionKind, Source, Store};
use tokio::time::Instant;

use crate::error::ApiError;

/// Records kept at most; beyond it the cache starts anew.
const MOST_CACHED: usize = 10_000;
/// How often a use is counted anew when others count at the same time.
const COUNT_ATTEMPTS: u32 = 200;

/// A token's record.
#[derive(Debug)]
pub(crate) struct EnrollmentToken {
    /// `_id` of its document; empty for a token of the configuration.
    pub(crate) document_id: String,
    pub(crate) policy_id: PolicyId,
    pub(crate) namespaces: Vec<String>,
    expires: Option<Timestamp>,
    has_use_limit: bool,
    allowed: Vec<Network>,
}

impl EnrollmentToken {
    /// A token that the configuration names.
    pub(crate) fn of_configuration(policy_id: &str) -> Self {
        Self {
            document_id: String::new(),
            policy_id: policy_id.into(),
            namespaces: Vec::new(),
            expires: None,
            has_use_limit: false,
            allowed: Vec::new(),
        }
    }

    fn read(document_id: String, document: &EnrollmentApiKeyDocument) -> Result<Self, ApiError> {
        let unreadable = |_| ApiError::TokenRefused("enrollment token has an unreadable bound");
        let expires = document
            .expire_at
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(unreadable)?;
        let allowed = document.allowed_addresses.iter().map(|text| Network::parse(text));
        Ok(Self {
            document_id,
            policy_id: document.policy_id.clone(),
            namespaces: document.namespaces.clone(),
            expires,
            has_use_limit: document.use_limit.is_some(),
            allowed: allowed
                .collect::<Option<_>>()
                .ok_or(ApiError::TokenRefused("enrollment token has an unreadable bound"))?,
        })
    }

    /// Whether it may be used now, from there. An unknown address is in no network.
    pub(crate) fn check(&self, now: Timestamp, address: Option<IpAddr>) -> Result<(), ApiError> {
        if self.expires.is_some_and(|expires| expires <= now) {
            return Err(ApiError::TokenRefused("enrollment token has expired"));
        }
        let is_allowed = |address: IpAddr| self.allowed.iter().any(|network| network.contains(address));
        if !self.allowed.is_empty() && !address.is_some_and(is_allowed) {
            return Err(ApiError::TokenRefused(
                "enrollment token may not be used from this address",
            ));
        }
        Ok(())
    }

    /// Counts one use, when there is a limit to them.
    pub(crate) async fn count_use(&self, store: &dyn Store) -> Result<(), ApiError> {
        if !self.has_use_limit {
            return Ok(());
        }
        self.change_count(store, |document| {
            let used = document.use_count.unwrap_or(0);
            if !document.active {
                return Err(ApiError::TokenRefused("enrollment token is not active"));
            }
            if document.use_limit.is_some_and(|limit| used >= limit) {
                return Err(ApiError::TokenRefused(
                    "enrollment token has been used as often as it may be",
                ));
            }
            document.use_count = Some(used + 1);
            Ok(())
        })
        .await
    }

    /// Takes a counted use back: the enrolment failed.
    pub(crate) async fn give_back_use(&self, store: &dyn Store) -> Result<(), ApiError> {
        if !self.has_use_limit {
            return Ok(());
        }
        self.change_count(store, |document| {
            document.use_count = document.use_count.map(|used| used.saturating_sub(1));
            Ok(())
        })
        .await
    }

    /// Compares and sets, so that servers side by side count right.
    async fn change_count(
        &self,
        store: &dyn Store,
        change: impl Fn(&mut EnrollmentApiKeyDocument) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        for _ in 0..COUNT_ATTEMPTS {
            let stored = store.get(indices::ENROLLMENT_API_KEYS, &self.document_id).await?;
            let stored = stored.ok_or(ApiError::TokenRefused("enrollment token is not active"))?;
            let mut document: EnrollmentApiKeyDocument = stored.source.parse().map_err(ApiError::store)?;
            change(&mut document)?;
            let action = Action::Index {
                source: Source::of(&document),
                expected: Some(stored.seq_no.into()),
            };
            let id = Some(self.document_id.clone());
            let index = indices::ENROLLMENT_API_KEYS.to_owned();
            let write = Operation {
                index,
                id,
                require_data_stream: false,
                action,
            };
            match store.bulk(vec![write], Refresh::Soon).await?.pop() {
                Some(Outcome::Rejected(rejection)) if rejection.kind == RejectionKind::VersionConflict => {}
                Some(Outcome::Rejected(rejection)) => return Err(ApiError::store(rejection)),
                _ => return Ok(()),
            }
        }
        Err(ApiError::RateLimit { retry_after: 1 })
    }
}

/// The records of tokens lately used.
#[derive(Debug, Default)]
pub(crate) struct EnrollmentTokens {
    cached: Mutex<HashMap<String, (Instant, Arc<EnrollmentToken>)>>,
}

impl EnrollmentTokens {
    /// The one active record of an API key.
    pub(crate) async fn find(
        &self,
        store: &dyn Store,
        api_key_id: &str,
        time_to_live: Duration,
    ) -> Result<Arc<EnrollmentToken>, ApiError> {
        if let Some(token) = self.cached(api_key_id, time_to_live) {
            return Ok(token);
        }
        let clauses = vec![Query::term("api_key_id", api_key_id), Query::term("active", true)];
        let request = SearchRequest::new(indices::ENROLLMENT_API_KEYS)
            .query(Query::all_of(clauses))
            .size(2);
        let mut hits = store.search(request).await?.hits;
        let (Some(hit), true) = (hits.pop(), hits.is_empty()) else {
            return Err(ApiError::TokenRefused("enrollment token is not active"));
        };
        let document: EnrollmentApiKeyDocument = hit.document.source.parse().map_err(ApiError::store)?;
        let token = Arc::new(EnrollmentToken::read(hit.document.id, &document)?);
        self.put(api_key_id, &token);
        Ok(token)
    }

    fn cached(&self, api_key_id: &str, time_to_live: Duration) -> Option<Arc<EnrollmentToken>> {
        let cached = self.cached.lock().expect("no holder of this lock can panic");
        let (read, token) = cached.get(api_key_id)?;
        (read.elapsed() < time_to_live).then(|| Arc::clone(token))
    }

    fn put(&self, api_key_id: &str, token: &Arc<EnrollmentToken>) {
        let mut cached = self.cached.lock().expect("no holder of this lock can panic");
        if cached.len() >= MOST_CACHED {
            cached.clear();
        }
        cached.insert(api_key_id.to_owned(), (Instant::now(), Arc::clone(token)));
    }
}

/// An address or a network: `192.0.2.7`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text
            .trim()
            .split_once('/')
            .map_or((text.trim(), None), |(a, p)| (a, Some(p)));
        let address = address.parse::<IpAddr>().ok()?.to_canonical();
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(longest), |prefix| prefix.parse().ok())?;
        (prefix <= longest).then_some(Self { address, prefix })
    }

    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differs = network.to_bits() ^ address.to_bits();
                self.prefix == 0 || differs >> (32 - self.prefix) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differs = network.to_bits() ^ address.to_bits();
                self.prefix == 0 || differs >> (128 - self.prefix) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        let check = |network: &str, address: &str, expected: bool| {
            let network = Network::parse(network).unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                expected,
                "{network:?} {address}"
            );
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.0.0.0/8", "::ffff:10.1.1.1", true);
        check("192.0.2.7", "192.0.2.7", true);
        check("192.0.2.7", "192.0.2.8", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("fd00::/8", "fd12::1", true);
        check("fd00::/8", "10.0.0.1", false);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "example.org", "10.0.0.0/33", "10.0.0.0/x", "10.0.0/8"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_token_is_checked_against_time_and_address() {
        let document = EnrollmentApiKeyDocument {
            expire_at: Some("2026-01-01T00:00:00Z".into()),
            allowed_addresses: vec!["10.0.0.0/8".into()],
            ..EnrollmentApiKeyDocument::default()
        };
        let token = EnrollmentToken::read("d".into(), &document).unwrap();
        let check = |now: &str, address: Option<&str>, expected: bool| {
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!(
                token.check(now.parse().unwrap(), address).is_ok(),
                expected,
                "{now} {address:?}"
            );
        };
        check("2025-12-31T23:59:59Z", Some("10.1.2.3"), true);
        check("2026-01-01T00:00:00Z", Some("10.1.2.3"), false);
        check("2025-12-31T23:59:59Z", Some("192.0.2.1"), false);
        check("2025-12-31T23:59:59Z", None, false);
    }

    #[test]
    fn an_unreadable_bound_closes_the_token() {
        let document = EnrollmentApiKeyDocument {
            allowed_addresses: vec!["everywhere".into()],
            ..EnrollmentApiKeyDocument::default()
        };
        assert!(EnrollmentToken::read("d".into(), &document).is_err());
    }
}
