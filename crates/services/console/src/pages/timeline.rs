//! Values over time: a range that a URL names, its buckets, and how they are asked for.

use jiff::{SignedDuration, Timestamp};
use query::{Aggregation, AggregationKind, Query, SearchRequest};
use serde_json::{Map, Value, json};

use super::chart::Bucket;
use crate::Console;
use crate::domain::error::FleetError;

/// A range of time that ends now, as it stands in the URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Range {
    /// In the URL.
    pub(super) key: &'static str,
    seconds: i64,
    bucket_seconds: i64,
}

/// The choices, shortest first; none has more than 120 buckets.
pub(super) const RANGES: [Range; 4] = [
    Range {
        key: "15m",
        seconds: 900,
        bucket_seconds: 15,
    },
    Range {
        key: "1h",
        seconds: 3_600,
        bucket_seconds: 60,
    },
    Range {
        key: "24h",
        seconds: 86_400,
        bucket_seconds: 1_200,
    },
    Range {
        key: "7d",
        seconds: 604_800,
        bucket_seconds: 7_200,
    },
];

/// The words of a range.
impl Range {
    pub(super) fn name(self) -> &'static str {
        match self.key {
            "15m" => "15 min",
            "1h" => "1 hour",
            "24h" => "24 hours",
            _ => "7 days",
        }
    }
}

/// A time as a URL names it: relative ones stay relative.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Span {
    /// Until now.
    Last(Range),
    /// From, to.
    Between(Timestamp, Timestamp),
}

impl Span {
    /// By the key of a range.
    pub(super) fn named(key: &str) -> Option<Self> {
        RANGES.into_iter().find(|range| range.key == key).map(Self::Last)
    }

    /// The pairs of a URL that name it.
    pub(super) fn written(self) -> Vec<(&'static str, String)> {
        match self {
            Self::Last(range) => vec![("range", range.key.to_owned())],
            Self::Between(from, to) => vec![("from", from.to_string()), ("to", to.to_string())],
        }
    }

    /// In words.
    pub(super) fn name(self) -> String {
        match self {
            Self::Last(range) => format!("Last {}", range.name()),
            Self::Between(from, to) => format!("{} to {}", from.strftime("%-d %b %H:%M:%S"), to.strftime("%H:%M:%S")),
        }
    }
}

/// Lengths that a bucket may have, in seconds.
const LENGTHS: [i64; 14] = [
    1, 5, 15, 30, 60, 300, 600, 1_200, 3_600, 7_200, 21_600, 86_400, 604_800, 2_592_000,
];
/// Buckets of a time that is not one of the ranges.
const MOST_BUCKETS: i64 = 90;

/// A stretch of time in buckets of the same length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeline {
    /// Milliseconds since 1970, at the start of a bucket.
    start_ms: i64,
    bucket_ms: i64,
    count: usize,
}

impl Timeline {
    /// The range that ends at `now`, its last bucket not yet full.
    pub(super) fn ending(now: Timestamp, range: Range) -> Self {
        let bucket_ms = range.bucket_seconds * 1000;
        let count = usize::try_from(range.seconds / range.bucket_seconds).unwrap_or(1);
        let end_ms = now.as_millisecond().div_euclid(bucket_ms) * bucket_ms + bucket_ms;
        Self {
            start_ms: end_ms - bucket_ms * count as i64,
            bucket_ms,
            count,
        }
    }

    /// A span, its relative end at `now`.
    pub(super) fn of(now: Timestamp, span: Span) -> Self {
        match span {
            Span::Last(range) => Self::ending(now, range),
            Span::Between(from, to) => Self::between(from, to),
        }
    }

    fn between(from: Timestamp, to: Timestamp) -> Self {
        let length_ms = (to.as_millisecond() - from.as_millisecond()).max(1);
        let fits = |seconds: &&i64| length_ms.div_euclid(**seconds * 1000) < MOST_BUCKETS;
        let longest = LENGTHS[LENGTHS.len() - 1];
        let bucket_ms = LENGTHS.iter().find(fits).copied().unwrap_or(longest) * 1000;
        let start_ms = from.as_millisecond().div_euclid(bucket_ms) * bucket_ms;
        let end_ms = to.as_millisecond() + bucket_ms - 1;
        let count = (end_ms - start_ms).div_euclid(bucket_ms).clamp(1, MOST_BUCKETS * 12);
        Self {
            start_ms,
            bucket_ms,
            count: usize::try_from(count).unwrap_or(1),
        }
    }

    pub(super) fn seconds_per_bucket(&self) -> f64 {
        self.bucket_ms as f64 / 1000.0
    }

    pub(super) fn from(&self) -> Timestamp {
        at(self.start_ms)
    }

    pub(super) fn to(&self) -> Timestamp {
        at(self.start_ms + self.bucket_ms * self.count as i64)
    }

    /// Only documents of this time.
    pub(super) fn filter(&self) -> Query {
        Query::all_of(vec![
            Query::at_least("@timestamp", clock::rfc3339_millis(self.from())),
            Query::less_than("@timestamp", clock::rfc3339_millis(self.to())),
        ])
    }

    /// `children` in each bucket, as the aggregation `time`.
    pub(super) fn histogram(&self, children: Vec<Aggregation>) -> Aggregation {
        let parameters = json!({"field": "@timestamp", "fixed_interval": format!("{}s", self.bucket_ms / 1000)});
        Aggregation {
            children,
            ..aggregation("time", "date_histogram", parameters)
        }
    }

    /// What `value` finds in each bucket of the answer; a bucket without documents is `None`.
    pub(super) fn values<T>(&self, answer: &Map<String, Value>, value: impl Fn(&Value) -> Option<T>) -> Vec<Option<T>> {
        let mut values: Vec<Option<T>> = (0..self.count).map(|_| None).collect();
        let buckets = answer.get("time").and_then(|time| time["buckets"].as_array());
        for bucket in buckets.into_iter().flatten() {
            let Some(key) = bucket["key"].as_i64() else { continue };
            let index = usize::try_from((key - self.start_ms).div_euclid(self.bucket_ms)).unwrap_or(usize::MAX);
            if let Some(place) = values.get_mut(index) {
                *place = value(bucket);
            }
        }
        values
    }

    /// Names for the buckets; `link` makes the URL that shows one alone.
    pub(super) fn buckets(&self, link: impl Fn(Timestamp, Timestamp) -> Option<String>) -> Vec<Bucket> {
        let length_ms = self.bucket_ms * self.count as i64;
        let short = match length_ms {
            ..600_000 => "%H:%M:%S",
            600_000..=172_800_000 => "%H:%M",
            _ => "%-d %b",
        };
        let bucket = |index: usize| {
            let from = at(self.start_ms + self.bucket_ms * index as i64);
            let to = at(self.start_ms + self.bucket_ms * (index as i64 + 1));
            Bucket {
                short: from.strftime(short).to_string(),
                long: format!(
                    "{} to {} UTC",
                    from.strftime("%-d %b %H:%M:%S"),
                    to.strftime("%H:%M:%S")
                ),
                href: link(from, to),
            }
        };
        (0..self.count).map(bucket).collect()
    }
}

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH + SignedDuration::ZERO)
}

/// An aggregation without children.
pub(super) fn aggregation(name: &str, kind: &'static str, parameters: Value) -> Aggregation {
    Aggregation {
        name: name.to_owned(),
        kind: AggregationKind::Validated(kind, parameters),
        children: Vec::new(),
    }
}

/// Answers of aggregations alone; `index` is one name or pattern, or several with commas.
///
/// # Errors
/// The store cannot answer.
pub(super) async fn aggregate(
    console: &Console,
    index: &str,
    query: Query,
    aggregations: Vec<Aggregation>,
) -> Result<Map<String, Value>, FleetError> {
    let indices = index.split(',').map(str::to_owned).collect();
    let request = SearchRequest {
        indices,
        ignore_unavailable: true,
        aggregations,
        track_total_hits: 0,
        ..SearchRequest::default()
    };
    Ok(console.store.search(request.query(query).size(0)).await?.aggregations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_ends_with_the_bucket_of_now() {
        let now: Timestamp = "2026-03-01T12:00:30Z".parse().unwrap();
        let timeline = Timeline::ending(now, RANGES[1]);
        assert_eq!(timeline.from().to_string(), "2026-03-01T11:01:00Z");
        assert_eq!(timeline.to().to_string(), "2026-03-01T12:01:00Z");
        assert_eq!(timeline.buckets(|_, _| None).len(), 60);
    }

    #[test]
    fn any_time_has_few_buckets() {
        let check = |from: &str, to: &str, count: usize| {
            let timeline = Timeline::between(from.parse().unwrap(), to.parse().unwrap());
            assert_eq!(timeline.buckets(|_, _| None).len(), count, "{from} to {to}");
        };
        check("2026-03-01T12:00:00Z", "2026-03-01T12:01:00Z", 60);
        check("2026-03-01T12:00:00Z", "2026-03-01T12:00:00.001Z", 1);
        check("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", 72);
        check("0001-01-01T00:00:00Z", "9999-01-01T00:00:00Z", 1_080);
    }

    #[test]
    fn values_find_their_buckets() {
        let now: Timestamp = "2026-03-01T12:00:30Z".parse().unwrap();
        let timeline = Timeline::ending(now, RANGES[1]);
        let key = timeline.from().as_millisecond() + 60_000;
        let answer = json!({"time": {"buckets": [{"key": key, "doc_count": 7}, {"key": 0, "doc_count": 1}]}});
        let values = timeline.values(answer.as_object().unwrap(), |bucket| bucket["doc_count"].as_u64());
        assert_eq!(values[1], Some(7));
        assert_eq!(values.iter().flatten().count(), 1);
    }

    #[test]
    fn no_range_has_too_many_points() {
        for range in RANGES {
            assert!(range.seconds / range.bucket_seconds <= 120, "{}", range.key);
        }
    }
}
