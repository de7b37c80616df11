//! What stands in a form.

use std::collections::{BTreeMap, BTreeSet};

use axum::RequestExt;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart};
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode, header};
use serde_json::Value;

use crate::domain::documents::Fields;

/// A form with uploads is no larger than this.
const LARGEST: usize = 2 * 1024 * 1024;

/// Texts by the path of their field: `ssl.certificate`, `host_urls`.
#[derive(Clone, Debug, Default)]
pub(in crate::pages) struct Values {
    texts: BTreeMap<String, Vec<String>>,
    /// Paths of secrets that are stored, below `secrets`.
    stored: BTreeSet<String>,
}

/// A form that was sent.
#[derive(Debug, Default)]
pub(in crate::pages) struct Submission {
    pub(in crate::pages) values: Values,
    pub(in crate::pages) files: Vec<Upload>,
}

/// A file that came with a form.
#[derive(Debug)]
pub(in crate::pages) struct Upload {
    /// The field that it is for.
    pub(in crate::pages) path: String,
    pub(in crate::pages) bytes: Vec<u8>,
}

impl Values {
    /// Everything in an object, flat.
    pub(in crate::pages) fn of_object(fields: &Fields) -> Self {
        let mut values = Self::default();
        for (key, value) in fields {
            values.take(key, value);
        }
        values
    }

    fn take(&mut self, path: &str, value: &Value) {
        match value {
            Value::Null => {}
            Value::Object(map) if path.starts_with("secrets.") && map.contains_key("id") => {
                self.stored.insert(path.to_owned());
            }
            Value::Object(map) => {
                for (key, value) in map {
                    self.take(&format!("{path}.{key}"), value);
                }
                if let Some(lines) = pairs(value) {
                    self.texts.entry(path.to_owned()).or_insert(vec![lines]);
                }
            }
            Value::Array(items) => {
                if let Some(lines) = pair_list(items) {
                    self.texts.insert(path.to_owned(), vec![lines]);
                } else {
                    self.texts.insert(path.to_owned(), items.iter().map(as_text).collect());
                }
            }
            other => {
                self.texts.insert(path.to_owned(), vec![as_text(other)]);
            }
        }
    }

    /// The first text of a field, trimmed; empty when there is none.
    pub(in crate::pages) fn one(&self, path: &str) -> &str {
        self.texts
            .get(path)
            .and_then(|texts| texts.first())
            .map_or("", |text| text.trim())
    }

    /// All texts of a field that are not blank.
    pub(in crate::pages) fn all(&self, path: &str) -> Vec<&str> {
        let texts = self.texts.get(path).into_iter().flatten();
        texts.map(|text| text.trim()).filter(|text| !text.is_empty()).collect()
    }

    /// Whether a switch is on.
    pub(in crate::pages) fn is_on(&self, path: &str) -> bool {
        matches!(self.one(path), "on" | "true")
    }

    pub(in crate::pages) fn is_stored(&self, path: &str) -> bool {
        self.stored.contains(path)
    }

    pub(in crate::pages) fn set(&mut self, path: &str, texts: Vec<String>) {
        self.texts.insert(path.to_owned(), texts);
    }

    pub(in crate::pages) fn push(&mut self, path: &str, text: String) {
        self.texts.entry(path.to_owned()).or_default().push(text);
    }

    /// Keeps in mind which secrets are stored.
    pub(in crate::pages) fn stored_as_in(mut self, other: &Self) -> Self {
        self.stored.clone_from(&other.stored);
        self
    }
}

fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn is_plain(value: &Value) -> bool {
    !matches!(value, Value::Object(_) | Value::Array(_))
}

/// An object of plain values as `name: value` lines.
fn pairs(value: &Value) -> Option<String> {
    let map = value.as_object().filter(|map| map.values().all(is_plain))?;
    let lines = map.iter().map(|(key, value)| format!("{key}: {}", as_text(value)));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// A list of `{key, value}` or `{name, value}` as lines.
fn pair_list(items: &[Value]) -> Option<String> {
    let line = |item: &Value| {
        let name = item.get("key").or_else(|| item.get("name"))?.as_str()?;
        let value = item.get("value").filter(|value| is_plain(value)).map(as_text)?;
        Some((name.to_owned(), value))
    };
    let lines: Vec<(String, String)> = items.iter().map(line).collect::<Option<_>>()?;
    let lines = lines
        .into_iter()
        .filter(|(name, value)| !(name.is_empty() && value.is_empty()));
    (!items.is_empty()).then(|| {
        lines
            .map(|(name, value)| format!("{name}: {value}"))
            .collect::<Vec<_>>()
            .join("\n")
    })
}

impl<S: Send + Sync> FromRequest<S> for Submission {
    type Rejection = Response;

    async fn from_request(mut request: Request<Body>, state: &S) -> Result<Self, Response> {
        DefaultBodyLimit::max(LARGEST).apply(&mut request);
        let is_multipart = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/form-data"));
        if is_multipart {
            let parts = Multipart::from_request(request, state).await;
            return of_parts(parts.map_err(IntoResponse::into_response)?).await;
        }
        let body: bytes::Bytes = request.extract().await.map_err(IntoResponse::into_response)?;
        let mut submission = Self::default();
        for (name, text) in url::form_urlencoded::parse(&body) {
            submission.values.push(&name, unix_lines(&text));
        }
        Ok(submission)
    }
}

async fn of_parts(mut parts: Multipart) -> Result<Submission, Response> {
    let mut submission = Submission::default();
    while let Some(part) = parts.next_field().await.map_err(IntoResponse::into_response)? {
        let name = part.name().unwrap_or_default().to_owned();
        let is_file = part.file_name().is_some();
        let bytes = part.bytes().await.map_err(IntoResponse::into_response)?;
        if is_file {
            if !bytes.is_empty() {
                submission.files.push(Upload {
                    path: name.trim_end_matches(".file").to_owned(),
                    bytes: bytes.to_vec(),
                });
            }
            continue;
        }
        let text = String::from_utf8(bytes.to_vec())
            .map_err(|_| (StatusCode::BAD_REQUEST, format!("`{name}` is not text")).into_response())?;
        submission.values.push(&name, unix_lines(&text));
    }
    Ok(submission)
}

/// Browsers send text areas with the line ends of the web.
fn unix_lines(text: &str) -> String {
    text.replace("\r\n", "\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_becomes_flat_texts() {
        let object = json!({"name": "a", "host_urls": ["x", "y"], "ssl": {"certificate": "c"}, "is_default": true,
            "secrets": {"ssl": {"key": {"id": "1"}}}, "proxy_headers": {"a": 1}, "headers": [{"key": "k", "value": "v"}]});
        let values = Values::of_object(object.as_object().unwrap());
        assert_eq!(values.all("host_urls"), ["x", "y"]);
        assert_eq!(values.one("ssl.certificate"), "c");
        assert!(values.is_on("is_default"));
        assert!(values.is_stored("secrets.ssl.key"));
        assert_eq!(values.one("proxy_headers"), "a: 1");
        assert_eq!(values.one("headers"), "k: v");
    }
}
