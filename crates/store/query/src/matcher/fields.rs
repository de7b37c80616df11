//! Which fields a query looks at.

use std::collections::BTreeSet;

use crate::dsl::Query;
use crate::mapping::Mapping;
use crate::pattern;

/// Full names of the fields, or that it may be any.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FieldNames {
    /// These.
    These(BTreeSet<String>),
    /// A pattern or a nested object is asked for: the whole document is needed.
    Any,
}

impl FieldNames {
    /// None yet.
    pub fn none() -> Self {
        Self::These(BTreeSet::new())
    }

    /// Adds a field under which values are looked for.
    pub fn add(&mut self, name: &str, mapping: Option<&Mapping>) {
        let Self::These(names) = self else { return };
        if pattern::is_pattern(name) {
            *self = Self::Any;
            return;
        }
        if let Some(mapping) = mapping {
            match mapping.field(name) {
                Some(field) if !field.nested && !field.is_flattened() => {
                    names.insert(name[..field.path_length].to_owned());
                }
                // An object is there when one of its fields is: the whole document says so.
                _ => *self = Self::Any,
            }
            return;
        }
        if let Some(plain) = name.strip_suffix(".keyword") {
            names.insert(plain.to_owned());
        }
        names.insert(name.to_owned());
    }
}

/// The fields that a query looks at.
pub fn field_names(query: &Query, mapping: Option<&Mapping>, found: &mut FieldNames) {
    match query {
        Query::MatchAll | Query::MatchNone | Query::Ids(_) => {}
        Query::Bool {
            must,
            filter,
            should,
            must_not,
            ..
        } => {
            for clause in [must, filter, should, must_not].into_iter().flatten() {
                field_names(clause, mapping, found);
            }
        }
        Query::Best { queries, .. } => queries.iter().for_each(|clause| field_names(clause, mapping, found)),
        Query::Constant(inner, _) | Query::Weighted(inner, _) => field_names(inner, mapping, found),
        Query::Demoted(inner, less, _) => {
            field_names(inner, mapping, found);
            field_names(less, mapping, found);
        }
        Query::Scored(scored) => {
            field_names(&scored.query, mapping, found);
            for filter in scored.functions.iter().filter_map(|(filter, _)| filter.as_ref()) {
                field_names(filter, mapping, found);
            }
            scored
                .fields()
                .filter(|field| !field.starts_with('_'))
                .for_each(|field| found.add(field, mapping));
        }
        Query::Nested { .. } => *found = FieldNames::Any,
        clause => {
            if let Some(field) = clause.field().filter(|field| !field.starts_with('_')) {
                found.add(field, mapping);
            }
        }
    }
}
