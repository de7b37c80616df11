//! From the body's lines to writes. Sources stay slices of the body.

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::error::ApiError;
use crate::write::{Body, External, Kind, Write};

/// What the URL says for lines that do not.
#[derive(Debug)]
pub(super) struct Defaults {
    pub(super) index: Option<String>,
    pub(super) pipeline: Option<String>,
    pub(super) require_data_stream: bool,
    pub(super) require_alias: bool,
}

/// Splits the body into writes.
///
/// # Errors
/// When an action line cannot be read: then nothing of the request is done, as in the original.
pub(super) fn scan(body: &Bytes, defaults: &Defaults) -> Result<Vec<Write>, ApiError> {
    if body.is_empty() {
        return Err(ApiError::no_body());
    }
    if std::str::from_utf8(body).is_err() {
        return Err(malformed("the body is not UTF-8".to_owned()));
    }
    if body.last() != Some(&b'\n') {
        return Err(ApiError::illegal(
            "The bulk request must be terminated by a newline [\\n]",
        ));
    }
    let mut lines = Lines { body, at: 0, number: 0 };
    let mut writes = Vec::new();
    while let Some((number, line)) = lines.next() {
        if !line.trim_ascii().is_empty() {
            writes.push(write(number, &line, &mut lines, defaults)?);
        }
    }
    if writes.is_empty() {
        return Err(validation("no requests added"));
    }
    Ok(writes)
}

struct Lines<'a> {
    body: &'a Bytes,
    at: usize,
    number: usize,
}

impl Iterator for Lines<'_> {
    type Item = (usize, Bytes);

    fn next(&mut self) -> Option<(usize, Bytes)> {
        let rest = &self.body[self.at..];
        if rest.is_empty() {
            return None;
        }
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = self.body.slice(self.at..self.at + length);
        self.at += length + 1;
        self.number += 1;
        Some((self.number, line))
    }
}

fn write(number: usize, line: &[u8], lines: &mut Lines<'_>, defaults: &Defaults) -> Result<Write, ApiError> {
    let action: Action = serde_json::from_slice(line).map_err(|error| action_error(number, line, &error))?;
    let (kind, meta) = match action {
        Action::Create(meta) => (Kind::Create, meta),
        Action::Index(meta) => (Kind::Index, meta),
        Action::Update(meta) => (Kind::Update, meta),
        Action::Delete(meta) => (Kind::Delete, meta),
    };
    let kind = match meta.op_type.as_deref() {
        Some("create") if kind == Kind::Index => Kind::Create,
        None | Some("index" | "create") => kind,
        Some(other) => {
            return Err(malformed(format!(
                "Action/metadata line [{number}] has an unknown op_type [{other}]"
            )));
        }
    };
    let body = match kind {
        Kind::Delete => Body::None,
        Kind::Update => Body::Update(source(number, lines)?),
        Kind::Create | Kind::Index => Body::Source(source(number, lines)?),
    };
    let index = meta
        .index
        .or_else(|| defaults.index.clone())
        .ok_or_else(|| validation("index is missing"))?;
    let version = meta.version.as_ref().map(ToString::to_string);
    let version = External::parse(kind, version.as_deref(), meta.version_type.as_deref())?;
    if meta.id.is_none() && matches!(kind, Kind::Update | Kind::Delete) {
        return Err(validation("id is missing"));
    }
    Ok(Write {
        kind,
        index,
        id: meta.id,
        pipeline: meta.pipeline.or_else(|| defaults.pipeline.clone()),
        require_data_stream: meta.require_data_stream.unwrap_or(defaults.require_data_stream),
        require_alias: meta.require_alias.unwrap_or(defaults.require_alias),
        expected: meta.if_seq_no.map(|seq_no| (seq_no, meta.if_primary_term.unwrap_or(0))),
        version,
        body,
    })
}

fn source(number: usize, lines: &mut Lines<'_>) -> Result<Bytes, ApiError> {
    let (_, line) = lines.next().ok_or_else(|| {
        malformed(format!(
            "Action/metadata line [{number}] is not followed by a source line"
        ))
    })?;
    Ok(line)
}

/// `{"create": {..}}` and its like.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Create(Meta),
    Index(Meta),
    Update(Meta),
    Delete(Meta),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    #[serde(rename = "_index", default)]
    index: Option<String>,
    #[serde(rename = "_id", default, deserialize_with = "text_or_number")]
    id: Option<String>,
    #[serde(default)]
    pipeline: Option<String>,
    #[serde(default)]
    require_data_stream: Option<bool>,
    #[serde(default)]
    if_seq_no: Option<u64>,
    #[serde(default)]
    if_primary_term: Option<u64>,
    #[serde(default)]
    op_type: Option<String>,
    #[serde(default)]
    version: Option<Value>,
    #[serde(default)]
    version_type: Option<String>,
    /// One shard: routing changes nothing.
    #[serde(default, rename = "routing")]
    _routing: Option<Value>,
    #[serde(default)]
    require_alias: Option<bool>,
    /// Updates are atomic in the store and never conflict with themselves.
    #[serde(default, rename = "retry_on_conflict")]
    _retry_on_conflict: Option<u32>,
    #[serde(default, rename = "list_executed_pipelines")]
    _list_executed_pipelines: Option<bool>,
    /// Hints for mappings; dynamic mapping finds the types by itself.
    #[serde(default, rename = "dynamic_templates")]
    _dynamic_templates: Option<Value>,
}

/// Clients send numbers as ids.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    struct Id;
    impl serde::de::Visitor<'_> for Id {
        type Value = Option<String>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a text or a number")
        }
        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(text.to_owned()))
        }
        fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
            Ok(Some(number.to_string()))
        }
        fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
            Ok(Some(number.to_string()))
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(Id)
}

/// Says what of the action line is not understood.
fn action_error(number: usize, line: &[u8], error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    let named = text.split('`').nth(1).unwrap_or_default();
    if text.starts_with("unknown field") {
        return ApiError::illegal(format!(
            "Action/metadata line [{number}] contains an unknown parameter [{named}]"
        ));
    }
    if text.starts_with("unknown variant") {
        return ApiError::illegal(format!(
            "Malformed action/metadata line [{number}], expected field [create], [delete], [index] or [update] but found [{named}]"
        ));
    }
    let shown = String::from_utf8_lossy(&line[..line.len().min(200)]);
    malformed(format!("Malformed action/metadata line [{number}]: {error}: [{shown}]"))
}

fn malformed(reason: String) -> ApiError {
    ApiError::illegal(reason)
}

fn validation(what: &str) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "action_request_validation_exception",
        format!("Validation Failed: 1: {what};"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Defaults {
        Defaults {
            index: None,
            pipeline: None,
            require_data_stream: false,
            require_alias: false,
        }
    }

    #[test]
    fn each_action_is_read() {
        let body = concat!(
            "{\"create\":{\"_index\":\"logs-a-default\",\"require_data_stream\":true}}\n{\"a\":1}\n",
            "\n",
            "{\"index\":{\"_index\":\"x\",\"_id\":7,\"if_seq_no\":3,\"if_primary_term\":1}}\n{}\n",
            "{\"update\":{\"_index\":\"x\",\"_id\":\"u\",\"retry_on_conflict\":3}}\n{\"doc\":{}}\r\n",
            "{\"delete\":{\"_index\":\"x\",\"_id\":\"d\"}}\n",
        );
        let writes = scan(&Bytes::from(body), &defaults()).unwrap();
        let kinds: Vec<_> = writes.iter().map(|write| (write.kind, write.id.as_deref())).collect();
        assert_eq!(
            kinds,
            [
                (Kind::Create, None),
                (Kind::Index, Some("7")),
                (Kind::Update, Some("u")),
                (Kind::Delete, Some("d"))
            ]
        );
        assert!(writes[0].require_data_stream);
        assert_eq!(writes[1].expected, Some((3, 1)));
    }

    fn refused(body: &str) -> String {
        scan(&Bytes::copy_from_slice(body.as_bytes()), &defaults())
            .unwrap_err()
            .reason
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        assert!(refused("{\"create\":{\"_index\":\"x\",\"_type\":\"d\"}}\n{}\n").contains("unknown parameter [_type]"));
        assert!(refused("{\"upsert\":{\"_index\":\"x\"}}\n{}\n").contains("found [upsert]"));
        assert!(refused("{\"create\":{}}\n{}\n").contains("index is missing"));
        assert!(refused("{\"delete\":{\"_index\":\"x\"}}\n").contains("id is missing"));
        assert!(refused("{\"create\":{\"_index\":\"x\"}}\n").contains("not followed"));
        assert!(refused("{\"create\":{\"_index\":\"x\"}}\n{}").contains("terminated by a newline"));
        assert!(refused("\n\n").contains("no requests added"));
        assert!(refused("not json\n").contains("Malformed action/metadata line [1]"));
    }
}
