//! Request bodies: bounded in size, before and after decompression, and in time.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// Larger compressed bodies are unpacked off the async threads.
const UNPACK_INLINE: usize = 16 * 1024;

/// The whole body, at most `limit` bytes, at most `time` long.
pub(crate) async fn read(headers: &HeaderMap, body: Body, limit: usize, time: Duration) -> Result<Bytes, ApiError> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(ApiError::PayloadTooLarge { limit });
    }
    let whole = tokio::time::timeout(time, Limited::new(body, limit).collect());
    match whole.await {
        Err(_) => Err(ApiError::RequestTimeout),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::PayloadTooLarge { limit }),
        Ok(Err(error)) => Err(ApiError::BadRequest(format!("the body could not be read: {error}"))),
    }
}

/// Unpacks a body that says it is gzip.
pub(crate) async fn unpack(headers: &HeaderMap, body: Bytes, limit: usize) -> Result<Bytes, ApiError> {
    match headers.get(CONTENT_ENCODING).map(http::HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Ok(body),
        Some(b"gzip") if body.len() <= UNPACK_INLINE => gunzip(&body, limit).map(Bytes::from),
        Some(b"gzip") => tokio::task::spawn_blocking(move || gunzip(&body, limit).map(Bytes::from))
            .await
            .map_err(ApiError::store)?,
        Some(_) => Err(ApiError::BadRequest(
            "only gzip is accepted as Content-Encoding".to_owned(),
        )),
    }
}

fn gunzip(packed: &[u8], limit: usize) -> Result<Vec<u8>, ApiError> {
    let mut plain = Vec::with_capacity((packed.len() * 4).min(limit));
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read = MultiGzDecoder::new(packed).take(bound).read_to_end(&mut plain);
    match read {
        Ok(length) if length > limit => Err(ApiError::PayloadTooLarge { limit }),
        Ok(_) => Ok(plain),
        Err(error) => Err(ApiError::BadRequest(format!("the gzip body is damaged: {error}"))),
    }
}

/// Reads JSON as a type; `what` names the request.
pub(crate) fn decode<T: DeserializeOwned>(what: &str, body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::BadRequest(format!("unable to decode {what} request: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_gzip::gzip;

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[tokio::test]
    async fn a_zip_bomb_costs_its_limit() {
        let bomb = Bytes::from(gzip(&vec![0; 4_000_000], 9));
        assert!(bomb.len() < UNPACK_INLINE);
        let error = unpack(&headers(CONTENT_ENCODING, "gzip"), bomb.clone(), 100_000)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "ErrPayloadSizeTooLarge");
        let unpacked = unpack(&headers(CONTENT_ENCODING, "gzip"), bomb, 4_000_000)
            .await
            .unwrap();
        assert_eq!(unpacked.len(), 4_000_000);
    }

    #[tokio::test]
    async fn other_encodings_and_damage_are_the_client_s_mistake() {
        for (encoding, body) in [("br", "x"), ("gzip", "not gzip")] {
            let error = unpack(&headers(CONTENT_ENCODING, encoding), Bytes::from(body), 100)
                .await
                .unwrap_err();
            assert_eq!(error.code(), "BadRequest", "{encoding}");
        }
        assert_eq!(unpack(&HeaderMap::new(), Bytes::from("x"), 1).await.unwrap(), "x");
    }

    #[tokio::test]
    async fn bodies_are_bounded_in_size_and_time() {
        let second = Duration::from_secs(1);
        let error = read(&HeaderMap::new(), Body::from("12345"), 4, second)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "ErrPayloadSizeTooLarge");
        let error = read(&headers(CONTENT_LENGTH, "5"), Body::empty(), 4, second)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "ErrPayloadSizeTooLarge");
        let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let error = read(&HeaderMap::new(), never, 4, Duration::from_millis(1))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "RequestTimeout");
    }
}
