//! A request that has passed all checks, and the answer to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use access::Principal;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use crate::domain::actor::Actor;
use crate::domain::page::{Page, PageRequest};

/// A checked request.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) principal: Arc<Principal>,
    pub(crate) space: String,
    pub(crate) path: BTreeMap<String, String>,
    pub(crate) query: Map<String, Value>,
    pub(crate) body: Map<String, Value>,
    /// The body as it came, for routes that take files.
    pub(crate) raw: Bytes,
}

impl Call {
    /// Who asks.
    pub(crate) fn actor(&self) -> Actor {
        Actor::of(Arc::clone(&self.principal), &self.space)
    }

    /// A part of the path; the route's pattern has it.
    pub(crate) fn id(&self, name: &str) -> &str {
        self.path.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A text of the query.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.query
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }

    /// A flag of the query; off when it is absent.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.query.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// `page` and `perPage`.
    pub(crate) fn page(&self) -> PageRequest {
        let number = |name: &str, default: usize| {
            self.query
                .get(name)
                .and_then(Value::as_u64)
                .map_or(default, |number| usize::try_from(number).unwrap_or(usize::MAX))
        };
        PageRequest {
            page: number("page", 1),
            per_page: number("perPage", 20),
        }
    }

    /// A flag of the body; off when it is absent.
    pub(crate) fn body_flag(&self, name: &str) -> bool {
        self.body.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A text of the body; none when it is absent, null or empty.
    pub(crate) fn body_text(&self, name: &str) -> Option<&str> {
        self.body
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }

    /// A list of texts of the body.
    pub(crate) fn body_texts(&self, name: &str) -> Vec<String> {
        let list = self.body.get(name).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }

    /// A field of the body as a type.
    pub(crate) fn body_as<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(value) = self.body.get(name).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let parsed = serde_json::from_value(value.clone());
        parsed
            .map(Some)
            .map_err(|error| ApiError::BadRequest(format!("[request body.{name}]: {error}")))
    }
}

/// The answer.
#[derive(Debug)]
pub(crate) enum Reply {
    Json(Value),
    File {
        content_type: &'static str,
        file_name: Option<String>,
        content: Vec<u8>,
    },
    /// JSON with a cookie.
    WithCookie {
        body: Value,
        cookie: String,
    },
}

/// `{"item": ..}`; what only the store needs has been left out by then, by [`answer_of`] or by the handler.
#[expect(clippy::unnecessary_wraps, reason = "the last expression of handlers")]
pub(crate) fn item(value: impl Serialize) -> Result<Reply, ApiError> {
    let value = serde_json::to_value(value).expect("our own types can always be written");
    Ok(Reply::Json(json!({"item": value})))
}

/// `{"items": [..], total, page, perPage}` of a whole list.
#[expect(clippy::unnecessary_wraps, reason = "the last expression of handlers")]
pub(crate) fn whole_list(items: Vec<Value>) -> Result<Reply, ApiError> {
    let total = items.len();
    Ok(Reply::Json(
        json!({"items": items, "total": total, "page": 1, "perPage": total.max(20)}),
    ))
}

/// `{"items": [..], total, page, perPage}` of a page.
pub(crate) fn page_of(page: Page<Value>) -> Value {
    json!({"items": page.items, "total": page.total, "page": page.request.page, "perPage": page.request.per_page})
}

/// Only kept, never answered.
const INTERNAL: [&str; 3] = ["created_at", "from_setup", "setup_pending"];

/// An object as the API shows it: without what only the store needs.
pub(crate) fn answer_of(value: impl Serialize) -> Value {
    let mut value = serde_json::to_value(value).expect("our own types can always be written");
    if let Some(map) = value.as_object_mut() {
        for key in INTERNAL {
            map.remove(key);
        }
    }
    value
}

/// As [`answer_of`], for objects that do not have times and users.
pub(crate) fn bare_answer_of(value: impl Serialize) -> Value {
    let mut value = answer_of(value);
    if let Some(map) = value.as_object_mut() {
        map.remove("updated_at");
        map.remove("updated_by");
    }
    value
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::Json(body) => axum::Json(body).into_response(),
            Self::WithCookie { body, cookie } => {
                let mut response = axum::Json(body).into_response();
                if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                    response.headers_mut().insert(header::SET_COOKIE, cookie);
                }
                response
            }
            Self::File {
                content_type,
                file_name,
                content,
            } => {
                let mut response = content.into_response();
                response
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
                let disposition = file_name.map(|name| {
                    format!(
                        "attachment; filename=\"{}\"",
                        name.replace(['"', '\\', '\r', '\n'], "_")
                    )
                });
                if let Some(value) = disposition.and_then(|text| HeaderValue::from_str(&text).ok()) {
                    response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
                }
                response
            }
        }
    }
}
