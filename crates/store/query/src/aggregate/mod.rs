//! Aggregations over any kind of document: one engine for stores without an index of their own for it, and for merging.
//!
//! A [`Plan`] is compiled once. For each matching document the store hands in a [`View`], through which the plan asks for
//! the values of its fields (by position in [`Plan::fields`]) and whether its filters hold (by position in
//! [`Plan::filters`]). [`Plan::finish`] writes the results in Elasticsearch's shape.

mod bucket;
mod compile;
mod composite;
mod interval;
mod metric;
mod plan;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use serde_json::Value;

pub(crate) use interval::fixed as fixed_interval;
pub use plan::{Plan, State, TopHits};

/// Buckets that one request may make. Source: Elasticsearch, `search.max_buckets`.
pub const MOST_BUCKETS: usize = 65_536;

/// One document as an aggregation sees it.
pub trait View {
    /// Adds the document's values of `plan.fields()[field]` to `out`.
    fn values(&mut self, field: usize, out: &mut Vec<Scalar>);

    /// Whether `plan.filters()[filter]` holds for the document.
    fn holds(&mut self, filter: usize) -> bool;

    /// The document as an element of a `top_hits` result, without its `sort`.
    fn hit(&mut self, top_hits: &TopHits) -> Value;

    /// The document's values for a `top_hits` sort.
    fn sort_values(&mut self, top_hits: &TopHits) -> Vec<Value>;
}

/// One value of a field.
#[derive(Clone, Debug)]
pub enum Scalar {
    /// A boolean.
    Flag(bool),
    /// A whole number.
    Whole(i64),
    /// Any other number.
    Fraction(f64),
    /// Milliseconds since 1970.
    Date(i64),
    /// A text.
    Text(Box<str>),
}

impl Scalar {
    /// The scalar of a JSON value; texts in the shape of a date with a time are dates.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(flag) => Some(Self::Flag(*flag)),
            Value::Number(number) => Some(
                number
                    .as_i64()
                    .map_or_else(|| Self::Fraction(number.as_f64().unwrap_or(0.0)), Self::Whole),
            ),
            Value::String(text) if crate::date_math::looks_like_date_time(text) => Some(
                crate::date_math::parse(text, &jiff::tz::TimeZone::UTC, false).map_or_else(
                    || Self::Text(text.as_str().into()),
                    |time| Self::Date(time.as_millisecond()),
                ),
            ),
            Value::String(text) => Some(Self::Text(text.as_str().into())),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// As a number: dates in milliseconds, booleans as 0 and 1; `None` for texts.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Flag(flag) => Some(f64::from(u8::from(*flag))),
            Self::Whole(number) | Self::Date(number) => Some(*number as f64),
            Self::Fraction(number) => Some(*number),
            Self::Text(_) => None,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Flag(_) => 0,
            Self::Whole(_) | Self::Fraction(_) => 1,
            Self::Date(_) => 2,
            Self::Text(_) => 3,
        }
    }
}

impl Ord for Scalar {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(left), Self::Text(right)) => left.cmp(right),
            (Self::Whole(left), Self::Whole(right)) | (Self::Date(left), Self::Date(right)) => left.cmp(right),
            (Self::Flag(left), Self::Flag(right)) => left.cmp(right),
            (left, right) if left.rank() == right.rank() => {
                left.as_f64().unwrap_or(0.0).total_cmp(&right.as_f64().unwrap_or(0.0))
            }
            (left, right) => left.rank().cmp(&right.rank()),
        }
    }
}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scalar {}

impl Hash for Scalar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Self::Text(text) => text.hash(state),
            other => other.as_f64().unwrap_or(0.0).to_bits().hash(state),
        }
    }
}
