//! KQL of list requests, over objects that are read as a whole.

use query::{DocumentMeta, Query};
use serde_json::Value;

use crate::domain::error::FleetError;

/// Prefixes that Fleet puts before field names.
const PREFIXES: [&str; 8] = [
    "fleet-agents.",
    "ingest-agent-policies.attributes.",
    "ingest-agent-policies.",
    "ingest-package-policies.attributes.",
    "ingest-package-policies.",
    "fleet-enrollment-api-keys.",
    "fleet-agent-policies.",
    "fleet-package-policies.",
];

/// Parses KQL, field names without their prefix. An empty text matches everything.
///
/// # Errors
/// Not KQL.
pub fn parse(text: Option<&str>) -> Result<Query, FleetError> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
        return Ok(Query::MatchAll);
    };
    let mut query = query::kql::parse(text)?;
    rename(&mut query, &|field| {
        let stripped = PREFIXES.iter().find_map(|prefix| field.strip_prefix(prefix));
        stripped.unwrap_or(field).to_owned()
    });
    Ok(query)
}

/// Whether an object matches.
pub fn matches(query: &Query, id: &str, object: &Value) -> bool {
    query::matches(
        query,
        object,
        &DocumentMeta {
            id,
            ..DocumentMeta::default()
        },
    )
}

/// Changes every field name of a query.
pub(crate) fn rename(query: &mut Query, new_name: &dyn Fn(&str) -> String) {
    match query {
        Query::Bool {
            must,
            filter,
            should,
            must_not,
            ..
        } => {
            for clause in [must, filter, should, must_not].into_iter().flatten() {
                rename(clause, new_name);
            }
        }
        Query::Term(field, _)
        | Query::Terms(field, _)
        | Query::Exists(field)
        | Query::Prefix(field, _)
        | Query::Regexp(field, _)
        | Query::MatchPhrase(field, _)
        | Query::Range { field, .. }
        | Query::Wildcard { field, .. }
        | Query::Match { field, .. } => *field = new_name(field),
        _ => {}
    }
}
