//! Names of indices and data streams: what is valid, what an expression with `*` stands for, for whom.

use access::{IndexPrivilege, is_restricted};
use http::StatusCode;

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::error::ApiError;

/// Refuses a name that no index can have. Source: Elasticsearch reference, create index.
pub(crate) fn check(name: &str) -> Result<(), ApiError> {
    let wrong = if name.is_empty() {
        "must not be empty"
    } else if name.len() > 255 {
        "must not be longer than 255 bytes"
    } else if name.starts_with(['_', '-', '+']) {
        "must not start with '_', '-', or '+'"
    } else if name == "." || name == ".." {
        "must not be '.' or '..'"
    } else if name.contains(|c: char| "\\/*?\"<>| ,#:".contains(c) || c.is_control()) {
        "must not contain the following characters ['\\\\','/','*','?','\"','<','>','|',' ',',','#',':']"
    } else if name.chars().any(char::is_uppercase) {
        "must be lowercase"
    } else {
        return Ok(());
    };
    Err(ApiError::new(
        StatusCode::BAD_REQUEST,
        "invalid_index_name_exception",
        format!("Invalid index name [{name}], {wrong}"),
    ))
}

/// Whether `index` names data that agents ship: those documents get the final stamp.
pub(crate) fn is_agent_data(index: &str) -> bool {
    let typed = ["logs-", "metrics-", "traces-", "synthetics-", "profiling-"];
    typed
        .iter()
        .any(|prefix| index.strip_prefix(prefix).is_some_and(|rest| rest.contains('-')))
}

/// Whether there is an index or data stream of that name.
pub(crate) async fn exists(api: &ElasticsearchApi, name: &str) -> Result<bool, ApiError> {
    let pattern = [name.to_owned()];
    Ok(!api.store.data_streams(&pattern).await?.is_empty() || !api.store.indices(&pattern).await?.is_empty())
}

/// How missing names are treated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// A missing name is passed over.
    pub(crate) ignore_unavailable: bool,
    /// A pattern that stands for nothing is an error.
    pub(crate) refuse_no_indices: bool,
}

/// The names that `expression` stands for: names and patterns between commas, `-pattern` to leave out, empty and `_all` for all.
///
/// Patterns stand for what exists and the caller may do `privilege` to; a name that they may not is a refusal.
pub(crate) async fn resolve(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    privilege: IndexPrivilege,
    action: &str,
    options: Options,
) -> Result<Vec<String>, ApiError> {
    let mut names: Vec<String> = Vec::new();
    let parts: Vec<_> = expression
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    let parts = if parts.is_empty() || parts == ["_all"] {
        vec!["*"]
    } else {
        parts
    };
    for part in parts {
        if let Some(excluded) = part.strip_prefix('-').filter(|_| !names.is_empty()) {
            names.retain(|name| !matches(excluded, name));
        } else if part.contains(['*', '?']) {
            expand(api, caller, part, privilege, &mut names).await?;
        } else {
            check(part)?;
            caller.needs_index(part, privilege, action)?;
            if !exists(api, part).await? {
                if options.ignore_unavailable {
                    continue;
                }
                return Err(ApiError::no_such_index(part));
            }
            names.push(part.to_owned());
        }
    }
    if names.is_empty() && options.refuse_no_indices {
        return Err(ApiError::no_such_index(expression));
    }
    names.dedup();
    Ok(names)
}

async fn expand(
    api: &ElasticsearchApi,
    caller: &Caller,
    pattern: &str,
    privilege: IndexPrivilege,
    names: &mut Vec<String>,
) -> Result<(), ApiError> {
    let patterns = [pattern.to_owned()];
    let streams = api
        .store
        .data_streams(&patterns)
        .await?
        .into_iter()
        .map(|stream| stream.name);
    let indices = api
        .store
        .indices(&patterns)
        .await?
        .into_iter()
        .filter(|index| index.data_stream.is_none());
    let hidden = pattern.starts_with('.');
    let found = streams.chain(indices.map(|index| index.name));
    let allowed = found.filter(|name| {
        (hidden || !name.starts_with('.')) && !is_restricted(name) && caller.0.may_index(name, privilege)
    });
    names.extend(allowed);
    Ok(())
}

/// Whether `name` fits `pattern` with `*` and `?`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    query::pattern::wildcard(pattern, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_in_the_original() {
        let accepted = |name: &str| check(name).is_ok();
        assert!(accepted("logs-system.auth-default") && accepted(".fleet-agents") && accepted("a"));
        for name in ["", "_x", "-x", "+x", "A", "a b", "a,b", "a*", ".", "..", "a/b", "a\"b"] {
            assert!(!accepted(name), "{name}");
        }
    }

    #[test]
    fn agent_data_is_told_by_its_name() {
        assert!(is_agent_data("logs-system.auth-default") && is_agent_data("metrics-system.cpu-prod"));
        assert!(!is_agent_data("logs-x") && !is_agent_data(".fleet-agents") && !is_agent_data("mylogs-a-b"));
    }
}
