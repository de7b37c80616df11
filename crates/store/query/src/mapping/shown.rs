//! The `fields` and `docvalue_fields` of hits.

use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::{Field, Kind, Mapping, value, whole_of};
use crate::dsl::{QueryError, ShownField};
use crate::matcher::Document;
use crate::{date_math, matcher, pattern};

impl Mapping {
    /// What of a document the patterns name, by full name: values as their types show them.
    pub fn shown_fields(&self, source: &Value, wanted: &[ShownField]) -> Map<String, Value> {
        let mut shown = Map::new();
        if wanted.is_empty() {
            return shown;
        }
        for name in self.names() {
            let Some(pattern) = wanted.iter().find(|one| pattern::wildcard(&one.pattern, &name)) else {
                continue;
            };
            let Some(field) = self.field(&name).filter(|field| !field.nested && !field.is_flattened()) else {
                continue;
            };
            let mut values = Vec::new();
            source.visit(&name[..field.path_length], &mut |value| {
                values.extend(shown_value(&field, pattern, value));
            });
            if pattern.column && matches!(field.kind(), Kind::Keyword | Kind::Ip) {
                values.sort_by(crate::compare_values);
                values.dedup();
            }
            if !values.is_empty() {
                shown.insert(name.clone(), Value::Array(values));
            }
        }
        shown
    }

    /// Refuses `docvalue_fields` that have no columns.
    ///
    /// # Errors
    /// For texts.
    pub fn check_shown(&self, index: &str, wanted: &[ShownField]) -> Result<(), QueryError> {
        wanted
            .iter()
            .filter(|one| one.column && !pattern::is_pattern(&one.pattern))
            .try_for_each(|one| self.check_columns(index, &one.pattern))
    }
}

fn shown_value(field: &Field<'_>, wanted: &ShownField, given: &Value) -> Option<Value> {
    if given.is_null() || given.is_object() {
        return None;
    }
    Some(match field.kind() {
        Kind::Date => {
            let millis = matcher::millis_of(given, field.format())?;
            let time = jiff::Timestamp::from_millisecond(millis).ok()?.to_zoned(TimeZone::UTC);
            Value::from(date_math::write_format(
                &time,
                wanted.format.as_deref().or(field.format()),
            ))
        }
        Kind::Whole { .. } => Value::from(whole_of(given)?),
        Kind::Fraction => Value::from(value::text(given).parse::<f64>().ok()?),
        Kind::Boolean => Value::from(value::text(given) == "true"),
        Kind::Keyword | Kind::Text | Kind::Ip | Kind::Version => {
            let text = value::text(given);
            if text.chars().count() > field.ignore_above() {
                return None;
            }
            Value::from(text)
        }
        Kind::Flattened | Kind::Stored => given.clone(),
    })
}
