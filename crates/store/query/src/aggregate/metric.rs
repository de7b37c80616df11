//! Metrics: one result from all values.

use std::collections::HashSet;
use std::hash::BuildHasher;

use serde_json::{Map, Value, json};

use super::Scalar;

/// Which metric, with its parameters.
#[derive(Clone, Debug)]
pub(crate) enum Metric {
    Min,
    Max,
    Avg,
    Sum,
    Count,
    Stats,
    ExtendedStats,
    Cardinality,
    Percentiles { percents: Vec<f64>, keyed: bool },
}

/// What a metric has gathered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gathered {
    count: u64,
    sum: f64,
    squares: f64,
    min: Option<f64>,
    max: Option<f64>,
    dates: bool,
    distinct: HashSet<u64>,
    values: Vec<f64>,
}

impl Gathered {
    pub(crate) fn add(&mut self, metric: &Metric, value: &Scalar) {
        self.count += 1;
        if matches!(metric, Metric::Cardinality) {
            self.distinct.insert(fingerprint(value));
            return;
        }
        let Some(number) = value.as_f64() else { return };
        self.dates |= matches!(value, Scalar::Date(_));
        self.sum += number;
        self.squares += number * number;
        self.min = Some(self.min.map_or(number, |min| min.min(number)));
        self.max = Some(self.max.map_or(number, |max| max.max(number)));
        if matches!(metric, Metric::Percentiles { .. }) {
            self.values.push(number);
        }
    }

    pub(crate) fn finish(&self, metric: &Metric, format: Option<&str>) -> Value {
        let average = (self.count > 0).then(|| self.sum / self.count as f64);
        match metric {
            Metric::Min => self.single(self.min, format),
            Metric::Max => self.single(self.max, format),
            Metric::Avg => self.single(average, format),
            Metric::Sum => json!({ "value": self.sum }),
            Metric::Count => json!({ "value": self.count }),
            Metric::Cardinality => json!({ "value": self.distinct.len() }),
            Metric::Stats => self.stats(average),
            Metric::ExtendedStats => self.extended(average),
            Metric::Percentiles { percents, keyed } => json!({ "values": self.percentiles(percents, *keyed) }),
        }
    }

    /// The number by which buckets are ordered: `property` is empty for metrics of one value.
    pub(crate) fn property(&self, metric: &Metric, property: &str) -> f64 {
        let shown = self.finish(metric, None);
        let path = if property.is_empty() { "value" } else { property };
        let value = shown
            .get(path)
            .or_else(|| shown.get("values").and_then(|values| values.get(path)));
        value.and_then(Value::as_f64).unwrap_or(f64::NEG_INFINITY)
    }

    fn single(&self, value: Option<f64>, format: Option<&str>) -> Value {
        let Some(value) = value else {
            return json!({ "value": null });
        };
        if self.dates {
            json!({ "value": value, "value_as_string": super::bucket::date_text(value, format, None) })
        } else {
            json!({ "value": value })
        }
    }

    fn stats(&self, average: Option<f64>) -> Value {
        let mut shown =
            json!({ "count": self.count, "min": self.min, "max": self.max, "avg": average, "sum": self.sum });
        if self.dates {
            for (name, value) in [
                ("min", self.min),
                ("max", self.max),
                ("avg", average),
                ("sum", Some(self.sum)),
            ] {
                let text = value.map(|value| super::bucket::date_text(value, None, None));
                shown[format!("{name}_as_string")] = json!(text);
            }
        }
        shown
    }

    fn extended(&self, average: Option<f64>) -> Value {
        let mut shown = self.stats(average);
        let count = self.count as f64;
        let variance = average.map(|average| (self.squares / count - average * average).max(0.0));
        let sampling = variance
            .filter(|_| self.count > 1)
            .map(|variance| variance * count / (count - 1.0));
        let deviation = variance.map(f64::sqrt);
        if let Value::Object(map) = &mut shown {
            map.insert(
                "sum_of_squares".to_owned(),
                json!((self.count > 0).then_some(self.squares)),
            );
            map.insert("variance".to_owned(), json!(variance));
            map.insert("variance_population".to_owned(), json!(variance));
            map.insert("variance_sampling".to_owned(), json!(sampling));
            map.insert("std_deviation".to_owned(), json!(deviation));
            map.insert("std_deviation_population".to_owned(), json!(deviation));
            map.insert("std_deviation_sampling".to_owned(), json!(sampling.map(f64::sqrt)));
            let end = |deviation: Option<f64>, sign: f64| {
                average.zip(deviation).map(|(average, one)| average + sign * 2.0 * one)
            };
            let sample = sampling.map(f64::sqrt);
            let bounds = json!({
                "upper": end(deviation, 1.0), "lower": end(deviation, -1.0),
                "upper_population": end(deviation, 1.0), "lower_population": end(deviation, -1.0),
                "upper_sampling": end(sample, 1.0), "lower_sampling": end(sample, -1.0),
            });
            map.insert("std_deviation_bounds".to_owned(), bounds);
        }
        shown
    }

    fn percentiles(&self, percents: &[f64], keyed: bool) -> Value {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |percent: f64| {
            let last = sorted.len().checked_sub(1)?;
            let place = (percent / 100.0).clamp(0.0, 1.0) * last as f64;
            let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            Some(low + (high - low) * place.fract())
        };
        if keyed {
            percents
                .iter()
                .map(|percent| (percent_name(*percent), json!(at(*percent))))
                .collect::<Map<_, _>>()
                .into()
        } else {
            percents
                .iter()
                .map(|percent| json!({ "key": percent, "value": at(*percent) }))
                .collect()
        }
    }
}

fn percent_name(percent: f64) -> String {
    if percent.fract() == 0.0 {
        format!("{percent:.1}")
    } else {
        percent.to_string()
    }
}

fn fingerprint(value: &Scalar) -> u64 {
    // Fixed keys: the same value must give the same number in every part of a search.
    std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().hash_one(value)
}
