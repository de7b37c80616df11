//! The body: decompressed, bounded, its media type known.

use std::io::Read;
use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::ElasticsearchApi;
use crate::error::ApiError;

/// `http.max_content_length` of the original, and ours for what it becomes.
pub(crate) const MAX_BODY: usize = 100 * 1024 * 1024;
/// Smaller bodies are unpacked where they arrive: the hand-over to another thread would cost more.
const UNPACK_HERE_BELOW: usize = 16 * 1024;

/// A body as its client meant it.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) bytes: Bytes,
    pub(crate) media: Media,
    /// Kept as long as the body is, so that many bodies at once are refused rather than run out of memory.
    _memory: OwnedSemaphorePermit,
}

/// What the body is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Media {
    /// One value or one a line, by route.
    Json,
    /// Chunks of files.
    Cbor,
}

impl FromRequest<Arc<ElasticsearchApi>> for Payload {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Arc<ElasticsearchApi>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let coding = Coding::of(&parts.headers)?;
        let declared = parts
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        if declared.is_some_and(|length: usize| length > MAX_BODY) {
            return Err(ApiError::too_large(MAX_BODY));
        }
        let packed = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => return Err(ApiError::too_large(MAX_BODY)),
            Err(error) => return Err(ApiError::illegal(format!("the body broke off: {error}"))),
        };
        let media = Media::of(&parts.headers, packed.is_empty())?;
        let bytes = coding.unpack(packed).await?;
        let memory = take_memory(&api.body_memory, bytes.len())?;
        Ok(Self {
            bytes,
            media,
            _memory: memory,
        })
    }
}

impl Payload {
    /// The body as one JSON value; `None` when there is none.
    pub(crate) fn json(&self) -> Result<Option<Value>, ApiError> {
        if self.bytes.trim_ascii().is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&self.bytes)
            .map(Some)
            .map_err(|error| unreadable(&error))
    }

    /// The body as one JSON value.
    pub(crate) fn required(&self) -> Result<Value, ApiError> {
        self.json()?.ok_or_else(ApiError::no_body)
    }

    /// The body as a type; unknown fields are refused by name.
    pub(crate) fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, ApiError> {
        let value = self.required()?;
        serde_json::from_value(value).map_err(|error| ApiError::illegal(error.to_string()))
    }
}

pub(crate) fn unreadable(error: &serde_json::Error) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "x_content_parse_exception",
        format!("the body is not JSON: {error}"),
    )
}

fn take_memory(memory: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
    let kibibytes = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
    Arc::clone(memory)
        .try_acquire_many_owned(kibibytes)
        .map_err(|_| ApiError::too_busy("too many bytes of request bodies are in work; try again later"))
}

impl Media {
    /// An empty body and one without a type are taken as JSON.
    fn of(headers: &HeaderMap, is_empty: bool) -> Result<Self, ApiError> {
        let Some(text) = headers.get(header::CONTENT_TYPE) else {
            return Ok(Self::Json);
        };
        let text = text.to_str().unwrap_or_default();
        let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "application/json"
            | "application/x-ndjson"
            | "application/vnd.elasticsearch+json"
            | "application/vnd.elasticsearch+x-ndjson" => Ok(Self::Json),
            "application/cbor" | "application/vnd.elasticsearch+cbor" => Ok(Self::Cbor),
            _ if is_empty => Ok(Self::Json),
            _ => Err(ApiError::new(
                StatusCode::NOT_ACCEPTABLE,
                "media_type_header_exception",
                format!("Content-Type header [{text}] is not supported"),
            )),
        }
    }
}

/// `Content-Encoding`.
#[derive(Clone, Copy)]
enum Coding {
    Identity,
    Gzip,
    Zstd,
    Deflate,
}

impl Coding {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let Some(value) = headers.get(header::CONTENT_ENCODING) else {
            return Ok(Self::Identity);
        };
        match value.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            "deflate" => Ok(Self::Deflate),
            other => Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "illegal_argument_exception",
                format!("Content-Encoding [{other}] is not supported; use gzip, zstd, deflate or none"),
            )),
        }
    }

    async fn unpack(self, packed: Bytes) -> Result<Bytes, ApiError> {
        match self {
            Self::Identity => Ok(packed),
            _ if packed.len() < UNPACK_HERE_BELOW => self.unpack_now(&packed),
            _ => tokio::task::spawn_blocking(move || self.unpack_now(&packed))
                .await
                .map_err(|error| ApiError::illegal(format!("cannot unpack the body: {error}")))?,
        }
    }

    fn unpack_now(self, packed: &[u8]) -> Result<Bytes, ApiError> {
        match self {
            Self::Identity => Ok(Bytes::copy_from_slice(packed)),
            Self::Gzip => bounded(flate2::bufread::MultiGzDecoder::new(packed), packed.len()),
            Self::Deflate => bounded(flate2::bufread::ZlibDecoder::new(packed), packed.len()),
            Self::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(packed)
                    .map_err(|error| ApiError::illegal(format!("cannot unpack the body: {error}")))?;
                bounded(decoder, packed.len())
            }
        }
    }
}

/// Reads up to [`MAX_BODY`] and refuses what goes beyond.
fn bounded(reader: impl Read, packed: usize) -> Result<Bytes, ApiError> {
    let mut unpacked = Vec::with_capacity((packed * 8).min(16 * 1024 * 1024));
    reader
        .take(MAX_BODY as u64 + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| ApiError::illegal(format!("cannot unpack the body: {error}")))?;
    if unpacked.len() > MAX_BODY {
        return Err(ApiError::too_large(MAX_BODY));
    }
    Ok(Bytes::from(unpacked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn each_coding_is_unpacked() {
        let text = b"{\"a\":1}\n".repeat(100);
        assert_eq!(Coding::Gzip.unpack_now(&gzip(&text)).unwrap(), text);
        assert_eq!(
            Coding::Zstd
                .unpack_now(&zstd::encode_all(&text[..], 1).unwrap())
                .unwrap(),
            text
        );
        assert_eq!(
            Coding::Gzip.unpack_now(b"not gzip").unwrap_err().status,
            StatusCode::BAD_REQUEST
        );
    }

    #[test]
    fn a_bomb_is_refused_after_the_limit() {
        let bomb = gzip(&vec![b' '; MAX_BODY + 1]);
        assert!(bomb.len() < 1024 * 1024);
        assert_eq!(
            Coding::Gzip.unpack_now(&bomb).unwrap_err().status,
            StatusCode::PAYLOAD_TOO_LARGE
        );
    }
}
