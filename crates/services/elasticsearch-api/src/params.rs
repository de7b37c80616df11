//! The query string: every parameter is known, or the request is refused by its name.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::api::ElasticsearchApi;
use crate::error::ApiError;
use crate::time_value;

/// Parameters that every route takes.
const EVERYWHERE: &[&str] = &[
    "error_trace",
    "filter_path",
    "format",
    "human",
    "pretty",
    "source",
    "source_content_type",
];

const SEARCH_TYPES: [&str; 2] = ["query_then_fetch", "dfs_query_then_fetch"];
const WILDCARDS: [&str; 5] = ["all", "closed", "hidden", "none", "open"];

/// The parameters in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params {
    path: String,
    pairs: Vec<(String, String)>,
}

impl Params {
    /// Splits and decodes.
    pub(crate) fn parse(query: &str) -> Result<Self, ApiError> {
        let mut pairs = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self {
            path: String::new(),
            pairs,
        })
    }

    /// Refuses every parameter that is neither in `known` nor common to all routes.
    pub(crate) fn only(self, known: &[&str]) -> Result<Self, ApiError> {
        let unknown: Vec<_> = self
            .pairs
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| !known.contains(name) && !EVERYWHERE.contains(name))
            .collect();
        if unknown.is_empty() {
            self.check_values()?;
            return Ok(self);
        }
        let names: Vec<_> = unknown.iter().map(|name| format!("[{name}]")).collect();
        let noun = if names.len() == 1 { "parameter" } else { "parameters" };
        Err(ApiError::illegal(format!(
            "request [{}] contains unrecognized {noun}: {}",
            self.path,
            names.join(", ")
        )))
    }

    /// Values that would change the answer and cannot be obeyed are refused.
    fn check_values(&self) -> Result<(), ApiError> {
        if self.text("source").is_some() {
            return Err(ApiError::illegal(
                "[source] is not supported: send the body as the request's body",
            ));
        }
        let is_table = self.path.starts_with("/_cat");
        if let Some(format) = self.text("format").filter(|format| !is_table && *format != "json") {
            return Err(ApiError::illegal(format!(
                "[format] [{format}] is not supported, only [json] is"
            )));
        }
        if let Some(kind) = self.text("search_type").filter(|kind| !SEARCH_TYPES.contains(kind)) {
            return Err(ApiError::illegal(format!("No search type for [{kind}]")));
        }
        let wildcards = self.list("expand_wildcards").unwrap_or_default();
        if let Some(unknown) = wildcards.iter().find(|one| !WILDCARDS.contains(&one.as_str())) {
            return Err(ApiError::illegal(format!("No valid expand wildcard value [{unknown}]")));
        }
        if !wildcards.is_empty() && !wildcards.iter().any(|one| one == "open" || one == "all") {
            let asked = wildcards.join(",");
            return Err(ApiError::illegal(format!(
                "[expand_wildcards] [{asked}] is not supported: all indices are open"
            )));
        }
        Ok(())
    }

    /// Those that are not in `names`.
    pub(crate) fn without(mut self, names: &[&str]) -> Self {
        self.pairs.retain(|(name, _)| !names.contains(&name.as_str()));
        self
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Present without a value, or `true`.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        Ok(self.boolean(name)?.unwrap_or(false))
    }

    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.text(name) {
            None => Ok(None),
            Some("" | "true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(ApiError::illegal(format!(
                "Failed to parse value [{other}] of [{name}] as only [true] or [false] are allowed."
            ))),
        }
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let wrong = |_| ApiError::illegal(format!("Failed to parse int parameter [{name}] with value [{text}]"));
        text.parse().map(Some).map_err(wrong)
    }

    pub(crate) fn duration(&self, name: &str) -> Result<Option<std::time::Duration>, ApiError> {
        let Some(text) = self.text(name).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        time_value::parse(text, name).map(Some)
    }

    /// Split at commas.
    pub(crate) fn list(&self, name: &str) -> Option<Vec<String>> {
        let text = self.text(name)?;
        Some(
            text.split(',')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect(),
        )
    }
}

impl FromRequestParts<Arc<ElasticsearchApi>> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<ElasticsearchApi>) -> Result<Self, ApiError> {
        let mut params = Self::parse(parts.uri.query().unwrap_or_default())?;
        parts.uri.path().clone_into(&mut params.path);
        Ok(params)
    }
}

fn decode(text: &str) -> Result<String, ApiError> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| {
        ApiError::illegal(format!(
            "the query string holds [{text}], which is not percent-encoded UTF-8"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_parameter_is_named() {
        let mut params = Params::parse("pretty&refresh=true&filter_path=a%2Ab&nonsense=1").unwrap();
        params.path = "/_bulk".to_owned();
        assert_eq!(params.text("filter_path"), Some("a*b"));
        assert!(params.clone().only(&["refresh", "nonsense"]).is_ok());
        let error = params.only(&["refresh"]).unwrap_err();
        assert_eq!(
            error.reason,
            "request [/_bulk] contains unrecognized parameter: [nonsense]"
        );
    }

    #[test]
    fn values_are_typed() {
        let params = Params::parse("a&b=false&c=maybe&n=12&t=30s&m=x").unwrap();
        assert!(params.flag("a").unwrap() && !params.flag("b").unwrap() && params.flag("c").is_err());
        assert_eq!(params.number::<u32>("n").unwrap(), Some(12));
        assert!(params.number::<u32>("m").is_err());
        assert_eq!(params.duration("t").unwrap().unwrap().as_secs(), 30);
    }
}
