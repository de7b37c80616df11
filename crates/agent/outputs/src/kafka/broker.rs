//! One connection to one broker: frames, versions, and signing in.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse, RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslAuthenticateResponse,
    SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, Message, StrBytes, encode_request_header_into_buffer,
};
use rsasl::prelude::{Mechname, SASLClient, SASLConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::settings::{KafkaSettings, Sasl};
use crate::wire::{HostPort, Wire};

/// No answer to what is asked here is larger: metadata of ten thousand partitions stays below.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// A request, its answer, and the newest version of both that is spoken here.
pub(super) trait Spoken: Encodable + Message {
    const KEY: ApiKey;
    const NEWEST: i16;
    type Answer: Decodable + HeaderVersion;
}

impl Spoken for ApiVersionsRequest {
    const KEY: ApiKey = ApiKey::ApiVersions;
    const NEWEST: i16 = 0;
    type Answer = ApiVersionsResponse;
}

impl Spoken for MetadataRequest {
    const KEY: ApiKey = ApiKey::Metadata;
    const NEWEST: i16 = 9;
    type Answer = MetadataResponse;
}

impl Spoken for ProduceRequest {
    const KEY: ApiKey = ApiKey::Produce;
    const NEWEST: i16 = 9;
    type Answer = ProduceResponse;
}

impl Spoken for SaslHandshakeRequest {
    const KEY: ApiKey = ApiKey::SaslHandshake;
    const NEWEST: i16 = 1;
    type Answer = SaslHandshakeResponse;
}

impl Spoken for SaslAuthenticateRequest {
    const KEY: ApiKey = ApiKey::SaslAuthenticate;
    const NEWEST: i16 = 2;
    type Answer = SaslAuthenticateResponse;
}

/// A connected broker; after an error it must not be used again.
pub(super) struct Broker {
    wire: Box<dyn Wire>,
    settings: Arc<KafkaSettings>,
    /// The oldest and the newest version of each request that the broker takes, by the request's key.
    versions: HashMap<i16, (i16, i16)>,
    correlation: i32,
}

impl Broker {
    /// Connects, asks for versions, signs in. The error is a sentence for people.
    pub(super) async fn connect(host: &HostPort, settings: &Arc<KafkaSettings>) -> Result<Self, String> {
        let within = |error| format!("{host}: {error}");
        let wire = host
            .connect(settings.tls.as_deref(), settings.timeout)
            .await
            .map_err(within)?;
        let mut broker = Self {
            wire,
            settings: Arc::clone(settings),
            versions: HashMap::new(),
            correlation: 0,
        };
        let starting = tokio::time::timeout(settings.timeout, broker.start());
        starting
            .await
            .map_err(|_| within("no answer within the timeout".to_owned()))?
            .map_err(within)?;
        Ok(broker)
    }

    async fn start(&mut self) -> Result<(), String> {
        self.write(&ApiVersionsRequest::default(), 0).await?;
        let answer: ApiVersionsResponse = self.read(0).await.map_err(|error| {
            let hint = if self.settings.tls.is_some() {
                "does it want a client certificate (`ssl.certificate`), or does it speak no TLS there?"
            } else {
                "does it want TLS (`ssl.enabled: true`)?"
            };
            format!("{error}; {hint}")
        })?;
        let known = answer
            .api_keys
            .iter()
            .map(|key| (key.api_key, (key.min_version, key.max_version)));
        self.versions = known.collect();
        match self.settings.sasl.clone() {
            Some(sasl) => self.sign_in(&sasl).await,
            None => Ok(()),
        }
    }

    /// Sends `request` and waits for its answer.
    pub(super) async fn ask<R: Spoken>(&mut self, request: &R) -> Result<R::Answer, String> {
        let version = self.version::<R>()?;
        self.write(request, version).await?;
        self.read(version).await
    }

    /// Sends a request that the broker does not answer.
    pub(super) async fn tell<R: Spoken>(&mut self, request: &R) -> Result<(), String> {
        let version = self.version::<R>()?;
        self.write(request, version).await
    }

    fn version<R: Spoken>(&self) -> Result<i16, String> {
        let oldest = R::VERSIONS.min;
        match self.versions.get(&(R::KEY as i16)) {
            Some((min, max)) if *min <= R::NEWEST && *max >= oldest => Ok(R::NEWEST.min(*max)),
            Some((min, max)) => Err(format!(
                "the broker takes versions {min} to {max} of {:?}, and this agent knows {oldest} to {}",
                R::KEY,
                R::NEWEST
            )),
            None => Err(format!("the broker does not know {:?}", R::KEY)),
        }
    }

    async fn write<R: Spoken>(&mut self, request: &R, version: i16) -> Result<(), String> {
        self.correlation = self.correlation.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_string(self.settings.client_id.clone())));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        encode_request_header_into_buffer(&mut frame, &header).map_err(|error| error.to_string())?;
        request.encode(&mut frame, version).map_err(|error| error.to_string())?;
        let length = i32::try_from(frame.len() - 4).map_err(|_| "the request is larger than 2 GiB")?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.wire.write_all(&frame).await.map_err(|error| error.to_string())?;
        self.wire.flush().await.map_err(|error| error.to_string())
    }

    async fn read<A: Decodable + HeaderVersion>(&mut self, version: i16) -> Result<A, String> {
        let length = self.wire.read_i32().await.map_err(|error| error.to_string())?;
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_ANSWER);
        let mut frame = vec![0; length.ok_or("the answer is not Kafka's protocol")?];
        self.wire
            .read_exact(&mut frame)
            .await
            .map_err(|error| error.to_string())?;
        let mut frame = Bytes::from(frame);
        let header =
            ResponseHeader::decode(&mut frame, A::header_version(version)).map_err(|error| error.to_string())?;
        if header.correlation_id != self.correlation {
            return Err("the answer belongs to another request".to_owned());
        }
        let answer = A::decode(&mut frame, version).map_err(|error| error.to_string())?;
        if frame.has_remaining() {
            return Err("the answer is longer than its version allows".to_owned());
        }
        Ok(answer)
    }

    async fn sign_in(&mut self, sasl: &Sasl) -> Result<(), String> {
        let mechanism = sasl.mechanism.name();
        let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
        let answer = self.ask(&request).await?;
        if let Some(error) = ResponseError::try_from_code(answer.error_code) {
            let offered: Vec<&str> = answer.mechanisms.iter().map(StrBytes::as_str).collect();
            return Err(format!(
                "SASL mechanism {mechanism} is refused ({error}); the broker offers {}",
                offered.join(", ")
            ));
        }
        let config = SASLConfig::with_credentials(None, sasl.username.clone(), sasl.password.expose().to_owned())
            .map_err(|error| error.to_string())?;
        let name = Mechname::parse(mechanism.as_bytes()).map_err(|error| error.to_string())?;
        let mut session = SASLClient::new(config)
            .start_suggested(&[name])
            .map_err(|error| error.to_string())?;
        let mut challenge: Option<Bytes> = None;
        loop {
            let mut response = Vec::new();
            let state = session
                .step(challenge.as_deref(), &mut response)
                .map_err(|error| format!("SASL {mechanism}: {error}"))?;
            if state.has_sent_message() {
                challenge = Some(self.authenticate(response, sasl).await?);
            }
            if !state.is_running() {
                return Ok(());
            }
        }
    }

    async fn authenticate(&mut self, response: Vec<u8>, sasl: &Sasl) -> Result<Bytes, String> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(response));
        let answer = self.ask(&request).await?;
        match ResponseError::try_from_code(answer.error_code) {
            None => Ok(answer.auth_bytes),
            Some(error) => Err(format!(
                "user `{}` is refused ({error}); check `username`, `password` and `sasl.mechanism`",
                sasl.username
            )),
        }
    }
}
