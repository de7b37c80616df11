//! Aggregations that sort documents into buckets.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use regex::Regex;
use serde_json::{Map, Value, json};

use super::interval::Interval;
use super::plan::{Node, NodeState, collect, finish, order_value, start, too_many_buckets};
use super::{MOST_BUCKETS, Scalar, View};
use crate::date_math;
use crate::dsl::QueryError;
use crate::evaluate::anchored;

/// A bucket in the making.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) count: u64,
    pub(crate) children: Vec<NodeState>,
}

impl Bucket {
    pub(crate) fn start(children: &[Node]) -> Self {
        Self {
            count: 0,
            children: start(children),
        }
    }

    pub(crate) fn collect(&mut self, children: &[Node], keys: &mut usize, view: &mut dyn View) {
        self.count += 1;
        if !children.is_empty() {
            collect(children, &mut self.children, keys, view);
        }
    }

    /// Adds `doc_count` and the children's results to what is known of the bucket.
    pub(crate) fn finish(
        self,
        nodes: &[Node],
        mut shown: Map<String, Value>,
        buckets: &mut usize,
    ) -> Result<Value, QueryError> {
        *buckets += 1;
        let count = self.count;
        shown.insert("doc_count".to_owned(), json!(count));
        let mut children = finish(nodes, self.children, buckets)?;
        set_totals(&mut children, count);
        shown.extend(children);
        Ok(Value::Object(shown))
    }
}

/// Hits do not know how many documents there were.
pub(crate) fn set_totals(results: &mut Map<String, Value>, count: u64) {
    for result in results.values_mut() {
        if let Some(total) = result.pointer_mut("/hits/total/value") {
            *total = json!(count);
        }
    }
}

/// What buckets are ordered by.
#[derive(Clone, Debug)]
pub(crate) enum By {
    Count,
    Key,
    Metric(String),
}

/// Keys of an order, most important first; `true` is descending.
pub(crate) type Order = Vec<(By, bool)>;

pub(crate) fn order(value: Option<&Value>) -> Result<Order, QueryError> {
    let wrong = || QueryError::argument("[order] must be an object such as {\"_count\": \"desc\"}, or a list of such");
    let mut found = Vec::new();
    let entries: Vec<&Value> = match value {
        None => return Ok(vec![(By::Count, true)]),
        Some(Value::Array(list)) => list.iter().collect(),
        Some(one) => vec![one],
    };
    for entry in entries {
        for (key, direction) in entry.as_object().ok_or_else(wrong)? {
            let by = match key.as_str() {
                "_count" => By::Count,
                "_key" | "_term" | "_time" => By::Key,
                path => By::Metric(path.to_owned()),
            };
            match direction.as_str() {
                Some("asc") => found.push((by, false)),
                Some("desc") => found.push((by, true)),
                _ => return Err(wrong()),
            }
        }
    }
    Ok(found)
}

fn sort_buckets(order: &Order, nodes: &[Node], buckets: &mut [(Scalar, Bucket)]) {
    buckets.sort_by(|(left_key, left), (right_key, right)| {
        let by = |(by, descending): &(By, bool)| {
            let ordering = match by {
                By::Count => left.count.cmp(&right.count),
                By::Key => left_key.cmp(right_key),
                By::Metric(path) => {
                    let value = |bucket: &Bucket| order_value(nodes, &bucket.children, path);
                    value(left).total_cmp(&value(right))
                }
            };
            if *descending { ordering.reverse() } else { ordering }
        };
        order
            .iter()
            .map(by)
            .find(|ordering| *ordering != Ordering::Equal)
            .unwrap_or_else(|| left_key.cmp(right_key))
    });
}

/// `include` and `exclude`: an expression or exact values.
#[derive(Clone, Debug)]
pub(crate) enum Selection {
    Expression(Regex),
    Values(HashSet<String>),
}

impl Selection {
    pub(crate) fn parse(key: &str, value: Option<&Value>) -> Result<Option<Self>, QueryError> {
        let wrong = || QueryError::argument(format!("[{key}] must be an expression or a list of values"));
        match value {
            None => Ok(None),
            Some(Value::String(expression)) => anchored(expression)
                .map(|regex| Some(Self::Expression(regex)))
                .ok_or_else(wrong),
            Some(Value::Array(list)) => {
                let texts = list
                    .iter()
                    .map(|value| crate::parse::scalar_text(value).ok_or_else(wrong));
                Ok(Some(Self::Values(texts.collect::<Result<_, _>>()?)))
            }
            Some(_) => Err(wrong()),
        }
    }

    fn fits(&self, value: &Scalar) -> bool {
        let text = match value {
            Scalar::Text(text) => text.to_string(),
            Scalar::Flag(flag) => flag.to_string(),
            Scalar::Whole(number) | Scalar::Date(number) => number.to_string(),
            Scalar::Fraction(number) => number.to_string(),
        };
        match self {
            Self::Expression(regex) => regex.is_match(&text),
            Self::Values(values) => values.contains(&text),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) field: usize,
    pub(crate) size: usize,
    pub(crate) minimum: u64,
    pub(crate) missing: Option<Scalar>,
    pub(crate) order: Order,
    pub(crate) include: Option<Selection>,
    pub(crate) exclude: Option<Selection>,
    pub(crate) format: Option<String>,
    pub(crate) show_errors: bool,
}

impl Terms {
    pub(crate) fn wants(&self, value: &Scalar) -> bool {
        self.include.as_ref().is_none_or(|include| include.fits(value))
            && !self.exclude.as_ref().is_some_and(|exclude| exclude.fits(value))
    }

    pub(crate) fn finish(
        &self,
        nodes: &[Node],
        found: HashMap<Scalar, Bucket>,
        buckets: &mut usize,
    ) -> Result<Value, QueryError> {
        let mut list: Vec<(Scalar, Bucket)> = found
            .into_iter()
            .filter(|(_, bucket)| bucket.count >= self.minimum)
            .collect();
        sort_buckets(&self.order, nodes, &mut list);
        let others: u64 = list.iter().skip(self.size).map(|(_, bucket)| bucket.count).sum();
        list.truncate(self.size);
        let shown = list.into_iter().map(|(key, bucket)| {
            let mut entries = key_entries(&key, self.format.as_deref(), None);
            if self.show_errors {
                entries.insert("doc_count_error_upper_bound".to_owned(), json!(0));
            }
            bucket.finish(nodes, entries, buckets)
        });
        let shown: Vec<Value> = shown.collect::<Result<_, _>>()?;
        Ok(json!({ "doc_count_error_upper_bound": 0, "sum_other_doc_count": others, "buckets": shown }))
    }
}

/// `key`, and `key_as_string` where the key is not its own text.
pub(crate) fn key_entries(key: &Scalar, format: Option<&str>, zone: Option<&TimeZone>) -> Map<String, Value> {
    let mut shown = Map::new();
    match key {
        Scalar::Text(text) => shown.insert("key".to_owned(), json!(text)),
        Scalar::Whole(number) => shown.insert("key".to_owned(), json!(number)),
        Scalar::Fraction(number) => shown.insert("key".to_owned(), json!(number)),
        Scalar::Flag(flag) => {
            shown.insert("key".to_owned(), json!(u8::from(*flag)));
            shown.insert("key_as_string".to_owned(), json!(flag.to_string()))
        }
        Scalar::Date(millis) => {
            shown.insert(
                "key_as_string".to_owned(),
                json!(date_text(*millis as f64, format, zone)),
            );
            shown.insert("key".to_owned(), json!(millis))
        }
    };
    shown
}

/// Milliseconds as a text.
pub(crate) fn date_text(millis: f64, format: Option<&str>, zone: Option<&TimeZone>) -> String {
    match Timestamp::from_millisecond(millis as i64) {
        Ok(time) => date_math::write_format(&time.to_zoned(zone.cloned().unwrap_or(TimeZone::UTC)), format),
        Err(_) => millis.to_string(),
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    pub(crate) field: usize,
    pub(crate) interval: Interval,
    pub(crate) dates: bool,
    pub(crate) missing: Option<Scalar>,
    pub(crate) minimum: u64,
    pub(crate) keyed: bool,
    pub(crate) format: Option<String>,
    pub(crate) order: Order,
    pub(crate) extended: Option<(f64, f64)>,
    pub(crate) hard: Option<(f64, f64)>,
}

impl Histogram {
    pub(crate) fn key(&self, value: &Scalar) -> Option<f64> {
        let number = value.as_f64()?;
        let inside = self.hard.is_none_or(|(min, max)| (min..=max).contains(&number));
        inside.then(|| self.interval.key(number))
    }

    pub(crate) fn finish(
        &self,
        nodes: &[Node],
        found: HashMap<Scalar, Bucket>,
        buckets: &mut usize,
    ) -> Result<Value, QueryError> {
        let mut list: Vec<(Scalar, Bucket)> = found.into_iter().collect();
        list.sort_by(|left, right| left.0.cmp(&right.0));
        if self.minimum == 0 {
            list = self.fill_gaps(nodes, list)?;
        }
        list.retain(|(_, bucket)| bucket.count >= self.minimum);
        sort_buckets(&self.order, nodes, &mut list);
        let mut keyed = Map::new();
        let mut plain = Vec::new();
        for (key, bucket) in list {
            let number = key.as_f64().unwrap_or(0.0);
            let key = if self.dates {
                Scalar::Date(number as i64)
            } else {
                Scalar::Fraction(number)
            };
            let entries = key_entries(&key, self.format.as_deref(), self.interval.zone());
            let name = entries
                .get("key_as_string")
                .and_then(Value::as_str)
                .map_or_else(|| format!("{number:?}"), ToOwned::to_owned);
            let shown = bucket.finish(nodes, entries, buckets)?;
            if self.keyed {
                keyed.insert(name, shown);
            } else {
                plain.push(shown);
            }
        }
        Ok(json!({ "buckets": if self.keyed { Value::Object(keyed) } else { Value::Array(plain) } }))
    }

    fn fill_gaps(&self, nodes: &[Node], list: Vec<(Scalar, Bucket)>) -> Result<Vec<(Scalar, Bucket)>, QueryError> {
        let number = |entry: Option<&(Scalar, Bucket)>| entry.and_then(|(key, _)| key.as_f64());
        let (mut first, mut last) = (number(list.first()), number(list.last()));
        if let Some((min, max)) = self.extended {
            let (min, max) = (self.interval.key(min), self.interval.key(max));
            first = Some(first.map_or(min, |first| first.min(min)));
            last = Some(last.map_or(max, |last| last.max(max)));
        }
        let (Some(mut key), Some(last)) = (first, last) else {
            return Ok(list);
        };
        let mut filled = Vec::new();
        let mut rest = list.into_iter().peekable();
        while key <= last {
            if filled.len() > MOST_BUCKETS {
                return Err(too_many_buckets(MOST_BUCKETS));
            }
            // Compared with room for rounding; a bucket that lies before is the present one.
            let middle = f64::midpoint(key, self.interval.next(key));
            match rest.next_if(|(found, _)| found.as_f64().unwrap_or(0.0) < middle) {
                Some(found) => filled.push(found),
                None => filled.push((Scalar::Fraction(key), Bucket::start(nodes))),
            }
            key = self.interval.next(key);
        }
        filled.extend(rest);
        Ok(filled)
    }
}

/// One range.
#[derive(Clone, Debug)]
pub(crate) struct RangeSlot {
    pub(crate) key: Option<String>,
    pub(crate) from: Option<f64>,
    pub(crate) to: Option<f64>,
}

/// Buckets that are known beforehand.
#[derive(Clone, Debug)]
pub(crate) enum Fixed {
    One(usize),
    Missing(usize),
    Several {
        filters: Vec<(Option<String>, usize)>,
        other: Option<String>,
    },
    Ranges {
        field: usize,
        missing: Option<Scalar>,
        slots: Vec<RangeSlot>,
        dates: bool,
        keyed: bool,
        format: Option<String>,
        zone: TimeZone,
    },
}

impl Fixed {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(_) | Self::Missing(_) => 1,
            Self::Several { filters, other } => filters.len() + usize::from(other.is_some()),
            Self::Ranges { slots, .. } => slots.len(),
        }
    }

    /// Which of the buckets the document belongs to.
    pub(crate) fn fits(&self, view: &mut dyn View) -> Vec<bool> {
        match self {
            Self::One(filter) => vec![view.holds(*filter)],
            Self::Missing(field) => {
                let mut values = Vec::new();
                view.values(*field, &mut values);
                vec![values.is_empty()]
            }
            Self::Several { filters, other } => {
                let mut fits: Vec<bool> = filters.iter().map(|(_, filter)| view.holds(*filter)).collect();
                if other.is_some() {
                    fits.push(!fits.contains(&true));
                }
                fits
            }
            Self::Ranges {
                field, missing, slots, ..
            } => {
                let mut values = Vec::new();
                view.values(*field, &mut values);
                if values.is_empty() {
                    values.extend(missing.clone());
                }
                let numbers: Vec<f64> = values.iter().filter_map(Scalar::as_f64).collect();
                let inside = |slot: &RangeSlot, number: f64| {
                    slot.from.is_none_or(|from| number >= from) && slot.to.is_none_or(|to| number < to)
                };
                slots
                    .iter()
                    .map(|slot| numbers.iter().any(|number| inside(slot, *number)))
                    .collect()
            }
        }
    }

    pub(crate) fn finish(&self, nodes: &[Node], found: Vec<Bucket>, buckets: &mut usize) -> Result<Value, QueryError> {
        let mut shown: Vec<(Option<String>, Value)> = Vec::new();
        for (place, bucket) in found.into_iter().enumerate() {
            let (name, entries) = self.label(place);
            shown.push((name, bucket.finish(nodes, entries, buckets)?));
        }
        let keyed = match self {
            Self::One(_) | Self::Missing(_) => return Ok(shown.pop().map_or(Value::Null, |(_, bucket)| bucket)),
            Self::Several { filters, .. } => filters.first().is_some_and(|(name, _)| name.is_some()),
            Self::Ranges { keyed, .. } => *keyed,
        };
        Ok(if keyed {
            let named = shown.into_iter().map(|(name, mut bucket)| {
                if let Value::Object(bucket) = &mut bucket {
                    bucket.shift_remove("key");
                }
                (name.unwrap_or_default(), bucket)
            });
            json!({ "buckets": named.collect::<Map<_, _>>() })
        } else {
            json!({ "buckets": shown.into_iter().map(|(_, bucket)| bucket).collect::<Vec<_>>() })
        })
    }

    fn label(&self, place: usize) -> (Option<String>, Map<String, Value>) {
        let mut entries = Map::new();
        let name = match self {
            Self::One(_) | Self::Missing(_) => None,
            Self::Several { filters, other } => filters.get(place).map_or(other.clone(), |(name, _)| name.clone()),
            Self::Ranges {
                slots,
                dates,
                format,
                zone,
                ..
            } => {
                let slot = &slots[place];
                let text = |end: Option<f64>| match end {
                    None => "*".to_owned(),
                    Some(end) if *dates => date_text(end, format.as_deref(), Some(zone)),
                    Some(end) => format!("{end:?}"),
                };
                let name = slot
                    .key
                    .clone()
                    .unwrap_or_else(|| format!("{}-{}", text(slot.from), text(slot.to)));
                entries.insert("key".to_owned(), json!(name));
                for (key, end) in [("from", slot.from), ("to", slot.to)] {
                    if let Some(end) = end {
                        entries.insert(key.to_owned(), json!(end));
                        if *dates {
                            entries.insert(format!("{key}_as_string"), json!(text(Some(end))));
                        }
                    }
                }
                Some(name)
            }
        };
        (name, entries)
    }
}
