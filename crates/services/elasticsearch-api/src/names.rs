//! Names of indices and data streams: what is valid, what an expression with `*` stands for, for whom.

use std::collections::HashSet;

use access::{IndexPrivilege, is_restricted};
use query::Query;
use serde_json::Value;
use store::NameKind;

use crate::aliases::Aliases;
use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::closing;
use crate::dated_names;
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
        "must not contain the following characters [' ','\"','*',',','/','<','>','?','\\\\','|']"
    } else if name.chars().any(char::is_uppercase) {
        "must be lowercase"
    } else {
        return Ok(());
    };
    Err(ApiError::invalid_index(name, wrong))
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
    Ok(!api.store.names(&[name.to_owned()]).await?.is_empty())
}

/// How missing names are treated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// A missing name is passed over.
    pub(crate) ignore_unavailable: bool,
    /// A pattern that stands for nothing is an error.
    pub(crate) refuse_no_indices: bool,
}

/// What an expression stands for.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// Indices and data streams.
    pub(crate) names: Vec<String>,
    /// Indices that are seen through filtered aliases alone, with the filters.
    pub(crate) filters: Vec<(String, Value)>,
    unfiltered: Vec<String>,
    /// Backing indices that a pattern stands for, with their streams.
    backing: Vec<(String, String)>,
}

impl Resolved {
    fn add(&mut self, name: String, filter: Option<&Value>) {
        match filter {
            Some(filter) => self.filters.push((name.clone(), filter.clone())),
            None => self.unfiltered.push(name.clone()),
        }
        if !self.names.contains(&name) {
            self.names.push(name);
        }
    }

    fn add_backing(&mut self, index: String, stream: String) {
        self.backing.push((index.clone(), stream));
        self.add(index, None);
    }

    /// A stream stands for its backing indices: none is there twice.
    fn leave_out_what_streams_hold(&mut self) {
        let names: HashSet<String> = self.names.iter().cloned().collect();
        let held = self.backing.iter().filter(|(_, stream)| names.contains(stream));
        let held: HashSet<&String> = held.map(|(index, _)| index).collect();
        self.names.retain(|name| !held.contains(name));
    }

    fn remove(&mut self, pattern: &str) {
        self.names.retain(|name| !matches(pattern, name));
        self.filters.retain(|(name, _)| !matches(pattern, name));
        self.unfiltered.retain(|name| !matches(pattern, name));
    }

    /// The query with what the aliases say.
    ///
    /// # Errors
    /// When the filter of an alias cannot be read any more.
    pub(crate) fn narrow(&self, query: Query) -> Result<Query, ApiError> {
        if self.filters.is_empty() {
            return Ok(query);
        }
        let mut parts = Vec::new();
        for (index, filter) in &self.filters {
            parts.push(Query::all_of(vec![
                Query::term("_index", index.as_str()),
                Query::from_json(filter)?,
            ]));
        }
        let filtered = |name: &&String| self.filters.iter().any(|(index, _)| index == *name);
        let free: Vec<&str> = self
            .names
            .iter()
            .filter(|name| !filtered(name))
            .map(String::as_str)
            .collect();
        if !free.is_empty() {
            parts.push(Query::none_of(vec![Query::terms(
                "_index",
                self.filters.iter().map(|(index, _)| index.as_str()),
            )]));
        }
        Ok(Query::Bool {
            must: vec![query],
            filter: vec![Query::any_of(parts)],
            should: Vec::new(),
            must_not: Vec::new(),
            minimum_should_match: 0,
        })
    }
}

/// The names that `expression` stands for: names, aliases and patterns between commas, `-pattern` to leave out, empty and
/// `_all` for all.
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
    Ok(resolve_filtered(api, caller, expression, privilege, action, options)
        .await?
        .names)
}

/// [`resolve`], with the filters of aliases.
pub(crate) async fn resolve_filtered(
    api: &ElasticsearchApi,
    caller: &Caller,
    expression: &str,
    privilege: IndexPrivilege,
    action: &str,
    options: Options,
) -> Result<Resolved, ApiError> {
    let lookup = Lookup {
        api,
        caller,
        privilege,
        action,
        options,
        aliases: Aliases::current(api).await?,
    };
    let mut found = Resolved::default();
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
    let now = api.clock.now();
    for part in parts {
        let part = &*dated_names::resolve(part, now)?;
        if let Some(excluded) = part.strip_prefix('-').filter(|_| !found.names.is_empty()) {
            found.remove(excluded);
        } else if part.contains(['*', '?']) {
            lookup.pattern(part, &mut found).await?;
        } else {
            lookup.name(part, &mut found).await?;
        }
    }
    found.leave_out_what_streams_hold();
    if found.names.is_empty() && options.refuse_no_indices {
        return Err(ApiError::no_such_index(expression));
    }
    let unfiltered = std::mem::take(&mut found.unfiltered);
    found.filters.retain(|(name, _)| !unfiltered.contains(name));
    Ok(found)
}

/// For whom and for what names are looked up.
struct Lookup<'a> {
    api: &'a ElasticsearchApi,
    caller: &'a Caller,
    privilege: IndexPrivilege,
    action: &'a str,
    options: Options,
    aliases: Aliases,
}

impl Lookup<'_> {
    async fn name(&self, name: &str, found: &mut Resolved) -> Result<(), ApiError> {
        check_for_reading(name)?;
        if let Some(members) = self.aliases.members(name) {
            for (index, part) in members {
                if !self.caller.0.may_index(name, self.privilege) {
                    self.caller.needs_index(index, self.privilege, self.action)?;
                }
                self.add_named(index, part.get("filter"), found)?;
            }
            return Ok(());
        }
        self.caller.needs_index(name, self.privilege, self.action)?;
        if !exists(self.api, name).await? {
            if self.options.ignore_unavailable {
                return Ok(());
            }
            return Err(ApiError::no_such_index(name));
        }
        self.add_named(name, None, found)
    }

    fn add_named(&self, index: &str, filter: Option<&Value>, found: &mut Resolved) -> Result<(), ApiError> {
        if !self.is_shut(index) {
            found.add(index.to_owned(), filter);
        } else if !self.options.ignore_unavailable {
            return Err(closing::is_closed(index));
        }
        Ok(())
    }

    /// What a closed index holds cannot be reached; what is known of it can.
    fn is_shut(&self, index: &str) -> bool {
        matches!(self.privilege, IndexPrivilege::Read | IndexPrivilege::Maintenance) && self.aliases.is_closed(index)
    }

    async fn pattern(&self, pattern: &str, found: &mut Resolved) -> Result<(), ApiError> {
        let hidden = pattern.starts_with('.');
        let allowed = |name: &str| {
            (hidden || !name.starts_with('.')) && !is_restricted(name) && self.caller.0.may_index(name, self.privilege)
        };
        let mut known = self.api.store.names(&[pattern.to_owned()]).await?;
        known.sort_by(|left, right| left.name.cmp(&right.name));
        for one in known {
            if !matches(pattern, &one.name) || self.is_shut(&one.name) {
                continue;
            }
            match one.kind {
                NameKind::Index | NameKind::DataStream if allowed(&one.name) => found.add(one.name, None),
                // Hidden: a pattern has to begin as they do.
                NameKind::Backing(stream) if hidden && (allowed(&one.name) || allowed(&stream)) => {
                    found.add_backing(one.name, stream);
                }
                NameKind::Index | NameKind::DataStream | NameKind::Backing(_) => {}
            }
        }
        for (alias, members) in self.aliases.all().filter(|(alias, _)| matches(pattern, alias)) {
            for (index, part) in members {
                let through_alias = self.caller.0.may_index(alias, self.privilege);
                let shown = (hidden || !alias.starts_with('.')) && (through_alias || allowed(index));
                if shown && !self.is_shut(index) {
                    found.add(index.to_owned(), part.get("filter"));
                }
            }
        }
        Ok(())
    }
}

/// A name that no index can have is told as such.
fn check_for_reading(name: &str) -> Result<(), ApiError> {
    if name.starts_with('_') {
        return Err(ApiError::invalid_index(name, "must not start with '_'."));
    }
    check(name)
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
