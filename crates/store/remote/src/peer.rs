//! What the peer is and what it lacks: asked once.

use http::Method;
use serde::Deserialize;
use store::StoreError;

use crate::error::{ConnectError, Failure};
use crate::wire::{Answer, Call, Wire};

/// Whom we talk to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Our own Elasticsearch API: makes indices itself, runs update scripts by their parameters.
    Flotilla,
    Elasticsearch,
    OpenSearch,
}

/// The peer as it was when the store was opened.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    pub(crate) version: String,
    /// `_security/api_key`.
    pub(crate) api_keys: bool,
    /// `_fleet/global_checkpoints`: then `.fleet-*` are system indices, which the peer makes with their mappings.
    pub(crate) fleet: bool,
    /// `_fleet/secret`.
    pub(crate) secrets: bool,
    /// `_data_stream`.
    pub(crate) data_streams: bool,
}

#[derive(Deserialize)]
struct Root {
    version: Version,
}

#[derive(Deserialize)]
struct Version {
    number: String,
    #[serde(default)]
    distribution: Option<String>,
}

#[derive(Deserialize)]
struct LicenseBody {
    license: License,
}

#[derive(Deserialize)]
struct License {
    #[serde(default)]
    issuer: String,
}

impl Peer {
    pub(crate) async fn detect(wire: &Wire) -> Result<Self, ConnectError> {
        let (kind, version) = product(wire).await?;
        if kind == Kind::Flotilla {
            return Ok(Self {
                kind,
                version,
                api_keys: true,
                fleet: true,
                secrets: true,
                data_streams: true,
            });
        }
        let elasticsearch = kind == Kind::Elasticsearch;
        let api_keys = elasticsearch && has(wire, "/_security/_authenticate").await?;
        let fleet = elasticsearch && has(wire, "/.fleet-policies/_fleet/global_checkpoints").await?;
        let secrets = elasticsearch && has(wire, "/_fleet/secret/none").await?;
        let data_streams = has(wire, "/_data_stream/none").await?;
        Ok(Self {
            kind,
            version,
            api_keys,
            fleet,
            secrets,
            data_streams,
        })
    }

    /// Elasticsearch says so on every answer; what does not is a proxy's page or another program.
    pub(crate) fn check(&self, answer: &Answer, hosts: &str) -> Result<(), StoreError> {
        if self.kind == Kind::OpenSearch || !answer.is_success() || has_product_header(answer) {
            return Ok(());
        }
        Err(StoreError::Unavailable(format!(
            "an answer from {hosts} lacks `X-Elastic-Product: Elasticsearch`; something between is answering"
        )))
    }
}

fn has_product_header(answer: &Answer) -> bool {
    answer
        .headers
        .get("x-elastic-product")
        .is_some_and(|value| value.as_bytes() == b"Elasticsearch")
}

async fn product(wire: &Wire) -> Result<(Kind, String), ConnectError> {
    let answer = wire
        .send(Call::get("/").first())
        .await
        .map_err(|error| ConnectError::Unreachable {
            hosts: wire.hosts(),
            reason: error.to_string(),
        })?;
    let status = answer.status;
    let reason = Failure::of_body(&answer.body).reason().to_owned();
    if matches!(status, 401 | 403) {
        return Err(ConnectError::Refused {
            hosts: wire.hosts(),
            status,
            reason,
        });
    }
    let stranger = |reason: String| ConnectError::NotAStore {
        hosts: wire.hosts(),
        reason,
    };
    if !answer.is_success() {
        return Err(stranger(format!("it answers `GET /` with status {status}: {reason}")));
    }
    let from_elasticsearch = has_product_header(&answer);
    let Root { version } = answer
        .parse()
        .await
        .map_err(|_| stranger("its answer to `GET /` holds no `version.number`".to_owned()))?;
    if version.distribution.as_deref() == Some("opensearch") {
        return Ok((Kind::OpenSearch, version.number));
    }
    if !from_elasticsearch {
        return Err(stranger(
            "its answer lacks `X-Elastic-Product: Elasticsearch`".to_owned(),
        ));
    }
    let kind = if is_ours(wire).await? {
        Kind::Flotilla
    } else {
        Kind::Elasticsearch
    };
    Ok((kind, version.number))
}

/// Our own API says so in the one place where a product may: who issued its licence.
async fn is_ours(wire: &Wire) -> Result<bool, ConnectError> {
    let answer = wire
        .send(Call::get("/_license"))
        .await
        .map_err(|error| ConnectError::Unreachable {
            hosts: wire.hosts(),
            reason: error.to_string(),
        })?;
    if !answer.is_success() {
        return Ok(false);
    }
    let parsed: Result<LicenseBody, _> = answer.parse().await;
    Ok(parsed.is_ok_and(|body| body.license.issuer == "flotilla"))
}

/// Whether a path is known there. An unknown one is a 400, or a 405 where the first part is taken for an index.
async fn has(wire: &Wire, path: &str) -> Result<bool, ConnectError> {
    let answer = wire
        .send(Call::new(Method::GET, path))
        .await
        .map_err(|error| ConnectError::Unreachable {
            hosts: wire.hosts(),
            reason: error.to_string(),
        })?;
    Ok(!matches!(answer.status, 400 | 405))
}
