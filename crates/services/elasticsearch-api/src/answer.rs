//! What every answer has in common: the product header, the media type that was asked for, `filter_path`, `pretty`.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use serde::Serialize;
use serde_json::Value;

use crate::error::ApiError;
use crate::params::Params;

/// Clients of the official family refuse an answer without it.
const PRODUCT: HeaderName = HeaderName::from_static("x-elastic-product");
const COMPATIBLE: &str = "application/vnd.elasticsearch+json";

/// 200 with a JSON body.
pub(crate) fn json<T: Serialize>(value: &T) -> Response {
    with_status(StatusCode::OK, value)
}

/// A JSON body with another status.
pub(crate) fn with_status<T: Serialize>(status: StatusCode, value: &T) -> Response {
    let text = serde_json::to_vec(value).expect("our own types can always be written");
    text_json(status, Bytes::from(text))
}

/// A body that is JSON text already.
pub(crate) fn text_json(status: StatusCode, text: Bytes) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        text,
    )
        .into_response()
}

/// `{"acknowledged": true}`.
pub(crate) fn acknowledged() -> Response {
    json(&serde_json::json!({ "acknowledged": true }))
}

/// Middleware around all routes.
pub(crate) async fn finish(request: Request, next: Next) -> Response {
    let accept = accepted(request.headers());
    let shape = Shape::of(&request);
    let mut response = match (&accept, shape) {
        (Err(error), _) => error.clone().into_response(),
        (Ok(_), Err(error)) => error.into_response(),
        (Ok(_), Ok(None)) => next.run(request).await,
        (Ok(_), Ok(Some(shape))) => shape.apply(next.run(request).await).await,
    };
    let headers = response.headers_mut();
    headers.insert(PRODUCT, HeaderValue::from_static("Elasticsearch"));
    if let Ok(Some(media)) = accept
        && headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
    {
        headers.insert(header::CONTENT_TYPE, media);
    }
    response
}

/// The compatible media type that the answer must have, when the client asked for one.
fn accepted(headers: &HeaderMap) -> Result<Option<HeaderValue>, ApiError> {
    let Some(accept) = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()) else {
        return Ok(None);
    };
    let Some(asked) = accept.split(',').find(|part| part.trim().starts_with(COMPATIBLE)) else {
        return Ok(None);
    };
    let version = asked
        .split(';')
        .find_map(|part| part.trim().strip_prefix("compatible-with="));
    match version {
        None => Ok(None),
        Some("8") => Ok(Some(HeaderValue::from_static(
            "application/vnd.elasticsearch+json;compatible-with=8",
        ))),
        Some("9") => Ok(Some(HeaderValue::from_static(
            "application/vnd.elasticsearch+json;compatible-with=9",
        ))),
        Some(other) => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "media_type_header_exception",
            format!("Accept version must be either version 9 or 8, but found {other}. Accept={accept}"),
        )),
    }
}

/// How the JSON of the answer is to be changed.
struct Shape {
    filter_path: Option<String>,
    pretty: bool,
}

impl Shape {
    /// `None` when it stays as it is. `_bulk` filters while it writes.
    fn of(request: &Request) -> Result<Option<Self>, ApiError> {
        let Some(query) = request.uri().query() else {
            return Ok(None);
        };
        if !query.contains("filter_path") && !query.contains("pretty") {
            return Ok(None);
        }
        let params = Params::parse(query)?;
        let filter_path = params
            .text("filter_path")
            .filter(|path| !path.is_empty())
            .map(str::to_owned);
        let shape = Self {
            filter_path,
            pretty: params.flag("pretty")?,
        };
        Ok((shape.filter_path.is_some() || shape.pretty).then_some(shape))
    }

    async fn apply(self, response: Response) -> Response {
        let is_json = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let is_filtered = response.extensions().get::<AlreadyFiltered>().is_some();
        if !is_json || (is_filtered && !self.pretty) {
            return response;
        }
        let (mut parts, body) = response.into_parts();
        // Our own answer, complete in memory: collecting it cannot fail and is bounded by what made it.
        let text = body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        let Ok(mut value) = serde_json::from_slice::<Value>(&text) else {
            return Response::from_parts(parts, Body::from(text));
        };
        if let Some(paths) = &self.filter_path
            && !is_filtered
        {
            query::filter_path::apply(&mut value, paths);
        }
        let text = if self.pretty {
            serde_json::to_vec_pretty(&value)
        } else {
            serde_json::to_vec(&value)
        };
        parts.headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(parts, Body::from(text.unwrap_or_default()))
    }
}

/// Marks a response whose writer has applied `filter_path` itself.
#[derive(Clone, Copy)]
pub(crate) struct AlreadyFiltered;
