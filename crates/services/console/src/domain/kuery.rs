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

/// The fields that a query names; none when it looks into all fields, or in a way that is not known here.
pub(crate) fn fields(query: &Query) -> Option<Vec<&str>> {
    let mut fields = Vec::new();
    add_fields(query, &mut fields).then_some(fields)
}

fn add_fields<'a>(query: &'a Query, fields: &mut Vec<&'a str>) -> bool {
    match query {
        Query::MatchAll | Query::MatchNone | Query::Ids(_) => true,
        Query::Bool {
            must,
            filter,
            should,
            must_not,
            ..
        } => [must, filter, should, must_not]
            .into_iter()
            .flatten()
            .all(|clause| add_fields(clause, fields)),
        Query::Term(field, _)
        | Query::Terms(field, _)
        | Query::Exists(field)
        | Query::MatchPhrase(field, _)
        | Query::Range { field, .. }
        | Query::Wildcard { field, .. }
        | Query::Match { field, .. } => {
            fields.push(field);
            !field.contains('*')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_query_are_known_unless_it_looks_into_all() {
        let of = |text: &str| {
            let query = parse(Some(text)).unwrap();
            fields(&query).map(|fields| fields.join(" "))
        };
        assert_eq!(
            of("fleet-agents.tags : a and not policy_id : b*").as_deref(),
            Some("tags policy_id")
        );
        assert_eq!(of("").as_deref(), Some(""));
        assert_eq!(of("anything"), None);
        assert_eq!(of("local_metadata.* : a"), None);
    }
}
