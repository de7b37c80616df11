//! Values of fields as aggregations and sorting see them.

use serde_json::Value;

use super::{Kind, Mapping, value, whole_of};
use crate::aggregate::Scalar;
use crate::dsl::{QueryError, Sort, SortMode, SortOrder};
use crate::matcher::Document;
use crate::{date_math, matcher};

impl Mapping {
    /// Adds the values of the field `name` to `out`.
    pub fn scalars(&self, document: &dyn Document, name: &str, out: &mut Vec<Scalar>) {
        let Some(field) = self.field(name) else { return };
        if let Some(constant) = field.constant() {
            out.push(Scalar::Text(value::text(constant).into()));
            return;
        }
        let (kind, format, longest) = (field.kind(), field.format(), field.ignore_above());
        document.visit(&name[..field.path_length], &mut |value| {
            out.extend(scalar(kind, format, longest, value));
        });
    }

    /// Refuses a field whose values are no columns.
    ///
    /// # Errors
    /// For texts.
    pub fn check_columns(&self, index: &str, name: &str) -> Result<(), QueryError> {
        if self.field(name).is_some_and(|field| field.kind() == Kind::Text) {
            return Err(no_columns(index, name));
        }
        Ok(())
    }

    /// Refuses a sort key that no document of the index can have.
    ///
    /// # Errors
    /// For texts and for fields that are not known.
    pub fn check_sort(&self, index: &str, sort: &Sort) -> Result<(), QueryError> {
        if sort.field.starts_with('_') {
            return Ok(());
        }
        if self.field(&sort.field).is_none() && !sort.unmapped {
            return Err(QueryError {
                kind: "query_shard_exception",
                message: format!("No mapping found for [{}] in order to sort on", sort.field),
            });
        }
        self.check_columns(index, &sort.field)
    }

    /// A document's value for a sort key: of several the one that the mode says; what is missing as the original shows it.
    pub fn sort_value(&self, document: &dyn Document, sort: &Sort) -> Value {
        let mut found = Vec::new();
        self.scalars(document, &sort.field, &mut found);
        let kind = self.field(&sort.field).map(|field| field.kind());
        if found.is_empty() {
            return self.missing(kind, sort);
        }
        shown(picked(found, sort))
    }

    /// A value of `search_after` in the form that documents have; dates become milliseconds.
    pub fn cursor(&self, sort: &Sort, value: &Value) -> Value {
        let kind = self.field(&sort.field).map(|field| (field.kind(), field.format()));
        match (kind, value) {
            (Some((Kind::Date, format)), Value::String(text)) => {
                let format = sort.format.as_deref().or(format);
                let read =
                    value::instant(value, format, &jiff::tz::TimeZone::UTC, false).map(jiff::Timestamp::as_millisecond);
                read.or_else(|| date_math::millis(text))
                    .map_or_else(|| value.clone(), Value::from)
            }
            (Some((Kind::Whole { .. }, _)), Value::String(_)) => {
                whole_of(value).map_or_else(|| value.clone(), Value::from)
            }
            _ => value.clone(),
        }
    }

    fn missing(&self, kind: Option<Kind>, sort: &Sort) -> Value {
        if let Some(missing) = &sort.missing {
            return self.cursor(sort, missing);
        }
        let last = !sort.missing_first;
        let largest = last == (sort.order == SortOrder::Ascending);
        match kind {
            // Written in a format, there is nothing to write.
            Some(Kind::Date) if sort.format.is_some() => Value::Null,
            Some(Kind::Whole { min, max }) => Value::from(if largest { max } else { min }),
            Some(Kind::Date | Kind::Boolean) => Value::from(if largest { i64::MAX } else { i64::MIN }),
            None if sort.unmapped => Value::from(if largest { i64::MAX } else { i64::MIN }),
            _ => Value::Null,
        }
    }
}

/// The refusal to sort or aggregate by a text.
pub fn no_columns(index: &str, name: &str) -> QueryError {
    QueryError::argument(format!(
        "Fielddata is disabled on [{name}] in [{index}]. Text fields are not optimised for operations that require per-document field data like aggregations and sorting, so these operations are disabled by default. Please use a keyword field instead. Alternatively, set fielddata=true on [{name}] in order to load field data by uninverting the inverted index. Note that this can use significant memory."
    ))
}

fn scalar(kind: Kind, format: Option<&str>, longest: usize, value: &Value) -> Option<Scalar> {
    if value.is_null() || value.is_object() {
        return None;
    }
    match kind {
        Kind::Keyword | Kind::Version | Kind::Ip | Kind::Flattened => {
            let text = value::text(value);
            (text.chars().count() <= longest).then(|| Scalar::Text(text.into()))
        }
        Kind::Whole { .. } => whole_of(value).map(Scalar::Whole),
        Kind::Fraction => match value {
            Value::Number(number) => number.as_f64().map(Scalar::Fraction),
            Value::String(text) => text.trim().parse().ok().map(Scalar::Fraction),
            _ => None,
        },
        Kind::Date => matcher::millis_of(value, format).map(Scalar::Date),
        Kind::Boolean => match value {
            Value::Bool(flag) => Some(Scalar::Flag(*flag)),
            Value::String(text) => Some(Scalar::Flag(text == "true")),
            _ => None,
        },
        Kind::Text | Kind::Stored => None,
    }
}

fn picked(mut found: Vec<Scalar>, sort: &Sort) -> Scalar {
    found.sort();
    let whole = found
        .iter()
        .all(|one| matches!(one, Scalar::Whole(_) | Scalar::Date(_)));
    let sum: f64 = found.iter().filter_map(Scalar::as_f64).sum();
    let number = |number: f64| {
        if whole {
            Scalar::Whole(number.round() as i64)
        } else {
            Scalar::Fraction(number)
        }
    };
    let default = if sort.order == SortOrder::Ascending {
        SortMode::Min
    } else {
        SortMode::Max
    };
    let middle = found.len() / 2;
    match sort.mode.unwrap_or(default) {
        SortMode::Sum => number(sum),
        SortMode::Avg => number(sum / found.len() as f64),
        SortMode::Median if found.len().is_multiple_of(2) => {
            let pair = found[middle - 1..=middle]
                .iter()
                .filter_map(Scalar::as_f64)
                .sum::<f64>();
            number(pair / 2.0)
        }
        SortMode::Median => found.swap_remove(middle),
        SortMode::Min => found.swap_remove(0),
        SortMode::Max => found.pop().unwrap_or(Scalar::Flag(false)),
    }
}

fn shown(scalar: Scalar) -> Value {
    match scalar {
        Scalar::Flag(flag) => Value::from(u8::from(flag)),
        Scalar::Whole(number) | Scalar::Date(number) => Value::from(number),
        Scalar::Fraction(number) => Value::from(number),
        Scalar::Text(text) => Value::from(&*text),
    }
}
