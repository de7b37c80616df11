//! Errors of connecting, and what an answer's error means to the trait's callers.

use serde::Deserialize;
use store::StoreError;

/// Why a remote store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The settings make no sense.
    #[error("{0}")]
    Settings(String),
    /// No host answered.
    #[error("cannot reach the store at {hosts}: {reason}")]
    Unreachable {
        /// Who was asked.
        hosts: String,
        /// The story of the last attempt.
        reason: String,
    },
    /// It does not accept the credential.
    #[error(
        "the store at {hosts} refused the credential ({status}): {reason}; check the service token, key, password or client certificate"
    )]
    Refused {
        /// Who was asked.
        hosts: String,
        /// 401 or 403.
        status: u16,
        /// In the store's words.
        reason: String,
    },
    /// Something else answers there.
    #[error("{hosts} is neither Elasticsearch nor OpenSearch: {reason}")]
    NotAStore {
        /// Who was asked.
        hosts: String,
        /// What gave it away.
        reason: String,
    },
    /// The indices of keys and secrets could not be made there.
    #[error("the store answers, but what it needs for keys and secrets cannot be made there")]
    Access(#[from] access::AccessError),
}

/// The `error` of an answer.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Failure {
    #[serde(default, rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) reason: Option<String>,
    #[serde(default)]
    root_cause: Vec<Failure>,
    #[serde(default)]
    index: Option<String>,
}

/// `error` is an object, or a bare text on old paths.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum ErrorField {
    Object(Box<Failure>),
    Text(String),
}

impl ErrorField {
    pub(crate) fn into_failure(self) -> Failure {
        match self {
            Self::Object(failure) => *failure,
            Self::Text(reason) => Failure {
                reason: Some(reason),
                ..Failure::default()
            },
        }
    }
}

impl Failure {
    /// The error of a body such as `{"error":{..},"status":404}`; the text itself when it is no JSON.
    pub(crate) fn of_body(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            error: ErrorField,
        }
        if let Ok(body) = serde_json::from_slice::<Body>(body) {
            return body.error.into_failure();
        }
        let text = String::from_utf8_lossy(&body[..body.len().min(300)]);
        Self {
            reason: Some(text.trim().to_owned()),
            ..Self::default()
        }
    }

    /// What went wrong at the bottom: shards wrap their failures.
    pub(crate) fn root(&self) -> &Self {
        match self.root_cause.first() {
            Some(root) if self.kind == "search_phase_execution_exception" => root,
            _ => self,
        }
    }

    /// Peers take an id of a point in time apart and fail on what is none.
    pub(crate) fn reads_as_a_bad_id(&self) -> bool {
        let reason = self.root().reason();
        reason.contains("invalid id") || reason.contains("EOFException") || reason.contains("search context id")
    }

    pub(crate) fn reason(&self) -> &str {
        self.reason
            .as_deref()
            .filter(|text| !text.is_empty())
            .unwrap_or("no reason was given")
    }

    /// As the trait's error. `asked` names what the request was about.
    pub(crate) fn into_error(self, status: u16, asked: &str) -> StoreError {
        let root = self.root();
        let reason = root.reason().to_owned();
        match root.kind.as_str() {
            "index_not_found_exception" => {
                StoreError::IndexNotFound(root.index.clone().unwrap_or_else(|| asked.to_owned()))
            }
            "resource_already_exists_exception" => StoreError::AlreadyExists(asked.to_owned()),
            "search_context_missing_exception" => StoreError::NoSuchPointInTime(asked.to_owned()),
            "cluster_block_exception" if reason.contains("disk usage") => StoreError::DiskFull(reason),
            _ if status == 401 || status == 403 => {
                StoreError::Unavailable(format!("the credential may not do this ({status}): {reason}"))
            }
            _ if status == 429 || status >= 500 => StoreError::Unavailable(format!("status {status}: {reason}")),
            _ => StoreError::Unsupported(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, expected: &str) {
        let error = Failure::of_body(body.as_bytes()).into_error(status, "asked");
        assert_eq!(format!("{error:?}"), expected, "{body}");
    }

    #[test]
    fn answers_become_errors() {
        check(
            404,
            r#"{"error":{"type":"index_not_found_exception","reason":"no such index [a]","index":"a","root_cause":[]},"status":404}"#,
            r#"IndexNotFound("a")"#,
        );
        check(
            400,
            r#"{"error":{"type":"resource_already_exists_exception","reason":"index [a/x] already exists"},"status":400}"#,
            r#"AlreadyExists("asked")"#,
        );
        check(
            404,
            r#"{"error":{"type":"search_phase_execution_exception","reason":"all shards failed","root_cause":[{"type":"search_context_missing_exception","reason":"No search context found"}]},"status":404}"#,
            r#"NoSuchPointInTime("asked")"#,
        );
        check(
            400,
            r#"{"error":"no handler found","status":400}"#,
            r#"Unsupported("no handler found")"#,
        );
        check(503, "upstream gone", r#"Unavailable("status 503: upstream gone")"#);
        check(
            403,
            r#"{"error":{"type":"security_exception","reason":"action is unauthorized"}}"#,
            r#"Unavailable("the credential may not do this (403): action is unauthorized")"#,
        );
    }
}
