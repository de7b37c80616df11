//! `composite`: all combinations of several fields' values, page by page.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::bucket::{Bucket, key_entries};
use super::interval::Interval;
use super::plan::Node;
use super::{Scalar, View};
use crate::date_math;
use crate::dsl::QueryError;

/// One field of the combination.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) field: usize,
    pub(crate) interval: Option<Interval>,
    pub(crate) dates: bool,
    pub(crate) descending: bool,
    pub(crate) missing_bucket: bool,
    pub(crate) format: Option<String>,
}

impl Source {
    fn zone(&self) -> Option<&TimeZone> {
        self.interval.as_ref().and_then(Interval::zone)
    }

    /// A part of `after`, which is written as the part of a key was shown.
    fn shown_before(&self, value: &Value) -> Result<Option<Scalar>, QueryError> {
        if let (true, Value::String(text)) = (self.dates, value) {
            let format = self
                .format
                .as_deref()
                .unwrap_or("strict_date_optional_time||epoch_millis");
            let zone = self.zone().cloned().unwrap_or(TimeZone::UTC);
            let time = date_math::parse_format(text, format, &zone, false)
                .map_err(|error| QueryError::argument(format!("[after] of [{}]: {error}", self.name)))?;
            return Ok(Some(Scalar::Fraction(time.as_millisecond() as f64)));
        }
        Ok(Scalar::of(value).map(|scalar| match scalar {
            Scalar::Whole(number) if self.interval.is_some() => Scalar::Fraction(number as f64),
            Scalar::Date(millis) if self.interval.is_some() => Scalar::Fraction(millis as f64),
            other => other,
        }))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Composite {
    sources: Vec<Source>,
    size: usize,
    after: Option<Key>,
}

/// A value, and whether larger ones come first.
type Part = (Option<Scalar>, bool);

/// A combination; a missing value sorts first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Key(Vec<Part>);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let one = |((left, descending), (right, _)): (&Part, &Part)| {
            if *descending { right.cmp(left) } else { left.cmp(right) }
        };
        self.0
            .iter()
            .zip(&other.0)
            .map(one)
            .find(|ordering| *ordering != Ordering::Equal)
            .unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Composite {
    pub(crate) fn new(sources: Vec<Source>, size: usize, after: Option<&Value>) -> Result<Self, QueryError> {
        let after = match after {
            None => None,
            Some(after) => {
                let value = |source: &Source| {
                    let value = after
                        .get(&source.name)
                        .ok_or_else(|| QueryError::argument(format!("[after] lacks [{}]", source.name)))?;
                    Ok((source.shown_before(value)?, source.descending))
                };
                Some(Key(sources.iter().map(value).collect::<Result<_, QueryError>>()?))
            }
        };
        Ok(Self { sources, size, after })
    }

    /// The combinations that a document belongs to, of those that are not on an earlier page.
    pub(crate) fn keys(&self, view: &mut dyn View) -> Vec<Key> {
        let mut keys = vec![Vec::new()];
        for source in &self.sources {
            let mut values = Vec::new();
            view.values(source.field, &mut values);
            let mut values: Vec<Option<Scalar>> = match &source.interval {
                None => values.into_iter().map(Some).collect(),
                Some(interval) => values
                    .iter()
                    .filter_map(Scalar::as_f64)
                    .map(|number| Some(Scalar::Fraction(interval.key(number))))
                    .collect(),
            };
            if values.is_empty() && source.missing_bucket {
                values.push(None);
            }
            values.sort();
            values.dedup();
            keys = keys
                .iter()
                .flat_map(|start| {
                    values.iter().map(move |value| {
                        let mut key: Vec<Part> = start.clone();
                        key.push((value.clone(), source.descending));
                        key
                    })
                })
                .collect();
        }
        keys.into_iter()
            .map(Key)
            .filter(|key| self.after.as_ref().is_none_or(|after| key > after))
            .collect()
    }

    /// Drops what cannot be on this page any more; tells how many.
    pub(crate) fn prune(&self, buckets: &mut BTreeMap<Key, Bucket>) -> usize {
        let before = buckets.len();
        if before > self.size * 2 + 1000 {
            while buckets.len() > self.size {
                buckets.pop_last();
            }
        }
        before - buckets.len()
    }

    pub(crate) fn finish(
        &self,
        nodes: &[Node],
        found: BTreeMap<Key, Bucket>,
        buckets: &mut usize,
    ) -> Result<Value, QueryError> {
        let mut shown = Vec::new();
        let mut last = None;
        for (key, bucket) in found.into_iter().take(self.size) {
            let key = self.show(&key);
            last = Some(key.clone());
            shown.push(bucket.finish(nodes, Map::from_iter([("key".to_owned(), key)]), buckets)?);
        }
        let mut result = json!({ "buckets": shown });
        if let Some(last) = last {
            result["after_key"] = last;
        }
        Ok(result)
    }

    fn show(&self, key: &Key) -> Value {
        let entry = |(source, (value, _)): (&Source, &(Option<Scalar>, bool))| {
            let shown = match value {
                None => Value::Null,
                Some(Scalar::Flag(flag)) => json!(flag),
                Some(scalar) if source.dates => {
                    let date = Scalar::Date(scalar.as_f64().unwrap_or(0.0) as i64);
                    let entries = key_entries(&date, source.format.as_deref(), source.zone());
                    let part = if source.format.is_some() {
                        "key_as_string"
                    } else {
                        "key"
                    };
                    entries.get(part).cloned().unwrap_or(Value::Null)
                }
                Some(scalar) => key_entries(scalar, None, None)
                    .get("key")
                    .cloned()
                    .unwrap_or(Value::Null),
            };
            (source.name.clone(), shown)
        };
        Value::Object(self.sources.iter().zip(&key.0).map(entry).collect())
    }
}
